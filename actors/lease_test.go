package actors

import (
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/messages"
)

// leased leads a group of three whose members give leases, and has just been answered
// by n2.
func leased(t *testing.T) *member {
	t.Helper()
	m := newMember(t, 3)
	m.opts.ClockDrift = 0.1
	m.begin().elect()
	m.accept("n2")
	m.advance(heartbeat)
	m.forget()
	m.advance(heartbeat)
	m.ack("n2")
	m.forget()
	return m
}

func (m *member) leaseRead(request uint64) {
	m.t.Helper()
	m.send(m.client, m.pid, &messages.Query{Group: 1, Request: request, Query: []byte("q"), Consistency: messages.Consistency_LEASE})
}

func TestLeaseReadsTakeNoRound(t *testing.T) {
	m := leased(t)
	m.leaseRead(1)
	expectResults(t, m.client, "1 APPLIED")
	expectNone[*messages.Heartbeat](t, m.peer("n2"), "a round was begun")
}

// The lease counts from when the heartbeat was sent, and is shorter than the voters'
// patience by what clocks may differ.
func TestLeaseEnds(t *testing.T) {
	m := newMember(t, 3)
	m.opts.ClockDrift = 0.1
	m.begin().elect()
	m.accept("n2")
	m.advance(heartbeat)
	m.forget()
	m.advance(heartbeat)
	sent := m.clock.now
	beat := take[*messages.Heartbeat](m.peer("n2"))[0]
	drift := m.opts.ClockDrift
	lease := time.Duration(float64(electionTimeout) * (1 - drift) / (1 + drift))
	m.clock.now = sent + lease - time.Millisecond // the answer is late
	m.ackRound("n2", beat.Round)
	m.leaseRead(1)
	expectResults(t, m.client, "1 APPLIED")
	m.clock.now = sent + lease
	m.leaseRead(2)
	expectResults(t, m.client)
	m.ack("n2")
	expectResults(t, m.client, "2 APPLIED")
}

// A machine that slept has held no lease meanwhile, though its timers know nothing.
func TestLeaseEndsInSleep(t *testing.T) {
	m := leased(t)
	m.clock.asleep = electionTimeout
	m.leaseRead(1)
	expectResults(t, m.client)
	m.ack("n2")
	expectResults(t, m.client, "1 APPLIED")
}

// Between the leader's decision and the reading of the state time may pass: the
// Applier looks at the clock when it has read.
func TestAnswerReadAfterTheLeaseIsVoid(t *testing.T) {
	m := leased(t)
	applier := m.applierOf()
	m.tellSystem(applier, &actor.SuspendMailbox{})
	m.leaseRead(1)
	m.clock.now += electionTimeout
	m.tellSystem(applier, &actor.ResumeMailbox{})
	expectResults(t, m.client)
	m.ack("n2")
	expectResults(t, m.client, "1 APPLIED")
}

// Who is told to stand is voted for at once, and may be told late: the lease is gone
// for the term.
func TestNoLeaseOnceLeadershipWasOffered(t *testing.T) {
	m := leased(t)
	m.transfer("n2")
	m.leaseRead(1)
	expectResults(t, m.client)
	m.ack("n3")
	expectResults(t, m.client, "1 APPLIED")
	m.advance(2 * electionTimeout / 3)
	m.ack("n3")
	m.advance(electionTimeout / 2)
	m.ack("n3")
	m.expectRole("leader", 2)
	m.forget()
	m.leaseRead(2)
	expectResults(t, m.client)
}

func TestNoLeaseBeforeTheOwnTermCommits(t *testing.T) {
	m := newMember(t, 3)
	m.opts.ClockDrift = 0.1
	m.begin().elect()
	m.ack("n2")
	m.leaseRead(1)
	expectResults(t, m.client)
	m.accept("n2")
	m.ack("n2")
	expectResults(t, m.client, "1 APPLIED")
}

func TestWithoutDriftBoundThereIsNoLease(t *testing.T) {
	m := lead(t)
	m.advance(heartbeat)
	m.ack("n2")
	m.leaseRead(1)
	expectResults(t, m.client)
	m.ack("n2")
	expectResults(t, m.client, "1 APPLIED")
}

// A member that starts again may have answered a heartbeat just before: it votes for
// nobody until that leader's lease has surely ended.
func TestRestartedMemberKeepsItsPromise(t *testing.T) {
	m := newMember(t, 3)
	m.opts.ClockDrift = 0.1
	m.begin()
	m.restart()
	vote := &messages.RequestVote{Group: 1, Term: 9, Candidate: "n3", LastIndex: 5, LastTerm: 5}
	m.send(m.peer("n3"), m.pid, vote)
	m.sync()
	expectNone[*messages.VoteGranted](t, m.peer("n3"), "a vote within an election timeout of the start")
	m.clock.now += electionTimeout
	m.send(m.peer("n3"), m.pid, vote)
	m.sync()
	takeOne[*messages.VoteGranted](t, m.peer("n3"))
}

// Rounds that are confirmed are forgotten, also where nobody reads by the lease for days.
func TestConfirmedRoundsAreForgotten(t *testing.T) {
	for _, ids := range [][]core.NodeID{{"n1"}, {"n1", "n2", "n3"}} {
		c := members(ids...)
		w := newWorld(t)
		l := &leader{
			raft:  &raft{rt: w.rt, opts: MemberOptions{Node: "n1", ElectionTimeout: electionTimeout, ClockDrift: 0.1}},
			reads: readQueue{rounds: core.NewReads(c.Quorum(), "n1")},
		}
		for range 1000 {
			w.clock.now += heartbeat
			l.reads.rounds.Acked("n2", l.beginRound())
		}
		if n := len(l.reads.lease.sent); n != 1 {
			t.Fatalf("%d rounds of 1000 are kept in a group of %d, expected the last one", n, len(ids))
		}
		if until := l.leaseUntil(); until <= w.clock.now {
			t.Fatalf("the lease ends at %v, expected after %v", until, w.clock.now)
		}
	}
}

// A lease rests on what this member has answered, and its leader does not know of a
// later term because this member does: whoever names one ends no promise but the leader.
func TestHigherTermEndsNoPromise(t *testing.T) {
	for name, stray := range map[string]any{
		"pre-vote refused":   &messages.PreVoteRejected{Group: 1, Term: 6, From: "n3", Campaign: 1},
		"vote refused":       &messages.VoteRejected{Group: 1, Term: 6, From: "n3"},
		"vote granted":       &messages.VoteGranted{Group: 1, Term: 6, From: "n3"},
		"heartbeat answered": &messages.HeartbeatAcked{Group: 1, Term: 6, From: "n3"},
		"higher term seen":   &messages.HigherTermSeen{Term: 6},
	} {
		t.Run(name, func(t *testing.T) {
			m := joined(t)
			m.heartbeatOf("n2", 2, 2)
			m.send(m.peer("n3"), m.pid, stray)
			m.sync()
			m.expectRole("follower", 6)
			m.clock.now += electionTimeout - 1
			m.send(m.peer("n3"), m.pid, &messages.RequestPreVote{Group: 1, Term: 7, Candidate: "n3", LastIndex: 50, LastTerm: 2, Campaign: 3})
			m.askVote("n3", 7, 50, 2)
			m.send(m.client, m.pid, &messages.StandForElection{Group: 1})
			m.sync()
			expectNone[*messages.PreVoteGranted](t, m.peer("n3"), "n2 may hold a lease")
			expectNone[*messages.VoteGranted](t, m.peer("n3"), "n2 may hold a lease")
			takeOne[*messages.ElectionRefused](t, m.client)
			m.expectRole("follower", 6)

			m.send(m.peer("n3"), m.pid, &messages.RequestVote{Group: 1, Term: 7, Candidate: "n3", LastIndex: 50, LastTerm: 2, Transfer: true})
			m.sync()
			takeOne[*messages.VoteGranted](t, m.peer("n3")) // the leader's own wish
			m.clock.now++
			m.askVote("n3", 8, 50, 2)
			m.sync()
			takeOne[*messages.VoteGranted](t, m.peer("n3")) // its time is up
		})
	}
}

func (m *member) memberRead(request uint64, q *messages.Query) {
	m.t.Helper()
	q.Group, q.Request, q.Query = 1, request, []byte("q")
	m.send(m.client, m.pid, q)
}

// following is a member that follows n2 in term 2 and has applied entry 2.
func following(t *testing.T) *member {
	m := joined(t)
	m.append(2, 1, 1, 2, block(1, 2, 2, 1, "a"))
	m.sync()
	m.append(2, 2, 2, 2)
	m.forget()
	return m
}

var onMember = messages.Consistency_MEMBER

// A follower answers when it has applied what the leader had committed at the time.
func TestFollowerReads(t *testing.T) {
	m := following(t)
	m.memberRead(1, &messages.Query{Consistency: onMember})
	expectResults(t, m.client)
	ask := takeOne[*messages.ConfirmReadIndex](t, m.peer("n2"))
	m.memberRead(2, &messages.Query{Consistency: onMember}) // shares the next question
	expectNone[*messages.ConfirmReadIndex](t, m.peer("n2"), "two questions at a time")
	m.send(m.peer("n2"), m.pid, &messages.ReadIndexConfirmed{Group: 1, Term: 2, Request: ask.Request, Index: 3})
	expectResults(t, m.client) // entry 3 is not here yet
	next := takeOne[*messages.ConfirmReadIndex](t, m.peer("n2"))
	if next.Request == ask.Request {
		t.Fatal("two questions of one number")
	}
	m.send(m.peer("n2"), m.pid, &messages.ReadIndexConfirmed{Group: 1, Term: 2, Request: ask.Request, Index: 2}) // late, again
	expectResults(t, m.client)
	m.append(2, 2, 2, 3, block(1, 2, 3, 2, "b"))
	m.sync()
	expectResults(t, m.client, "1 APPLIED")
	m.send(m.peer("n2"), m.pid, &messages.ReadIndexConfirmed{Group: 1, Term: 2, Request: next.Request, Index: 3})
	expectResults(t, m.client, "2 APPLIED")
}

// A question that is lost is sent again, and another leader is asked another one.
func TestFollowerAsksAgain(t *testing.T) {
	m := following(t)
	m.memberRead(1, &messages.Query{Consistency: onMember})
	lost := takeOne[*messages.ConfirmReadIndex](t, m.peer("n2"))
	m.clock.now += electionTimeout / 2
	m.heartbeatOf("n2", 2, 2)
	again := takeOne[*messages.ConfirmReadIndex](t, m.peer("n2"))
	if again.Request != lost.Request {
		t.Fatalf("sent again as %d, it was %d: a peer that answers late would never be heard", again.Request, lost.Request)
	}
	m.heartbeatOf("n3", 3, 2)
	m.sync()
	other := takeOne[*messages.ConfirmReadIndex](t, m.peer("n3"))
	m.send(m.peer("n2"), m.pid, &messages.ReadIndexConfirmed{Group: 1, Term: 2, Request: again.Request, Index: 2})
	expectResults(t, m.client)
	m.send(m.peer("n3"), m.pid, &messages.ReadIndexConfirmed{Group: 1, Term: 3, Request: other.Request, Index: 2})
	expectResults(t, m.client, "1 APPLIED")
}

// The answer to a question of before a restart may come after: what was committed then is
// less than what a query of today must see.
func TestAnswerToAnEarlierLifeIsNone(t *testing.T) {
	m := following(t)
	m.memberRead(1, &messages.Query{Consistency: onMember})
	ask := takeOne[*messages.ConfirmReadIndex](t, m.peer("n2"))
	m.restart().sync()
	m.heartbeatOf("n2", 2, 2)
	m.forget()
	m.memberRead(2, &messages.Query{Consistency: onMember})
	m.send(m.peer("n2"), m.pid, &messages.ReadIndexConfirmed{Group: 1, Term: 2, Request: ask.Request, Index: 2})
	expectResults(t, m.client)
	ask = takeOne[*messages.ConfirmReadIndex](t, m.peer("n2"))
	m.send(m.peer("n2"), m.pid, &messages.ReadIndexConfirmed{Group: 1, Term: 2, Request: ask.Request, Index: 2})
	expectResults(t, m.client, "2 APPLIED")
}

func TestFollowerReadsEndWithoutALeader(t *testing.T) {
	m := following(t)
	m.memberRead(1, &messages.Query{Consistency: onMember})
	m.advance(2 * electionTimeout)
	expectResults(t, m.client, "1 NOT_APPLIED NO_LEADER")
}

// The leader tells members what it had committed when a round began that confirms it
// still leads.
func TestLeaderConfirmsIndexesByARound(t *testing.T) {
	m := lead(t)
	m.send(m.peer("n3"), m.pid, &messages.ConfirmReadIndex{Group: 1, Term: 1, From: "n3", Request: 1}) // of an earlier term
	expectNone[*messages.Heartbeat](t, m.peer("n2"), "a round for a stale question")
	m.send(m.peer("n3"), m.pid, &messages.ConfirmReadIndex{Group: 1, Term: 2, From: "n3", Request: 7})
	expectNone[*messages.ReadIndexConfirmed](t, m.peer("n3"), "an index before the round")
	m.ack("n2")
	if c := takeOne[*messages.ReadIndexConfirmed](t, m.peer("n3")); c.Request != 7 || c.Index != 2 || c.Term != 2 {
		t.Fatalf("confirmed %v", c)
	}
}

func TestReadAtLeast(t *testing.T) {
	m := following(t)
	m.memberRead(1, &messages.Query{Consistency: messages.Consistency_AT_LEAST, MinIndex: 2})
	expectResults(t, m.client, "1 APPLIED")
	m.memberRead(2, &messages.Query{Consistency: messages.Consistency_AT_LEAST, MinIndex: 3})
	m.memberRead(3, &messages.Query{Consistency: messages.Consistency_AT_LEAST, MinIndex: 1 << 60})
	expectResults(t, m.client)
	m.append(2, 2, 2, 3, block(1, 2, 3, 2, "b"))
	m.sync()
	expectResults(t, m.client, "2 APPLIED")
	m.advance(readTimeout + 2*electionTimeout)
	expectResults(t, m.client, "3 NOT_APPLIED TIMED_OUT")
}

// What the leader has confirmed lately is good enough for a read that may be so old.
func TestReadWithin(t *testing.T) {
	m := following(t)
	within := func(request uint64, age time.Duration) {
		m.memberRead(request, &messages.Query{Consistency: messages.Consistency_WITHIN, MaxAge: int64(age)})
	}
	within(1, time.Hour) // nothing is known yet
	asked := m.clock.now
	ask := takeOne[*messages.ConfirmReadIndex](t, m.peer("n2"))
	m.clock.now += electionTimeout / 4
	m.send(m.peer("n2"), m.pid, &messages.ReadIndexConfirmed{Group: 1, Term: 2, Request: ask.Request, Index: 2})
	expectResults(t, m.client, "1 APPLIED")
	within(2, m.clock.now-asked)
	expectResults(t, m.client, "2 APPLIED")
	within(3, m.clock.now-asked-1) // it counts from the question, not from the answer
	expectResults(t, m.client)
	takeOne[*messages.ConfirmReadIndex](t, m.peer("n2"))
}

// What a leader has said grows older while the machine sleeps.
func TestReadWithinCountsSleep(t *testing.T) {
	m := following(t)
	within := func(request uint64) {
		m.memberRead(request, &messages.Query{Consistency: messages.Consistency_WITHIN, MaxAge: int64(electionTimeout)})
	}
	within(1)
	ask := takeOne[*messages.ConfirmReadIndex](t, m.peer("n2"))
	m.send(m.peer("n2"), m.pid, &messages.ReadIndexConfirmed{Group: 1, Term: 2, Request: ask.Request, Index: 2})
	expectResults(t, m.client, "1 APPLIED")
	m.clock.asleep = electionTimeout
	within(2)
	expectResults(t, m.client, "2 APPLIED")
	m.clock.asleep++
	within(3)
	expectResults(t, m.client)
	takeOne[*messages.ConfirmReadIndex](t, m.peer("n2"))
}

// Reads that a member held for its leader go on when it leads itself.
func TestFollowerReadsSurviveItsElection(t *testing.T) {
	m := newMember(t, 3).begin()
	m.advance(2 * electionTimeout)
	m.grantPreVotes()
	m.sync()
	m.memberRead(1, &messages.Query{Consistency: onMember}) // a candidate by now
	term := m.status().Term
	m.send(m.peer("n2"), m.pid, &messages.VoteGranted{Group: 1, Term: term, From: "n2"})
	m.sync()
	m.tell(m.pid, &GatewayCaughtUp{Term: core.Term(term)})
	m.accept("n2")
	m.ack("n2")
	expectResults(t, m.client, "1 APPLIED")
}
