package actors

import (
	"fmt"
	"testing"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/messages"
)

func (m *member) askVote(from core.NodeID, term, lastIndex, lastTerm uint64) {
	m.t.Helper()
	m.send(m.peer(from), m.pid, &messages.RequestVote{
		Group: 1, Term: term, Candidate: string(from), LastIndex: lastIndex, LastTerm: lastTerm,
	})
}

func (m *member) heartbeatOf(leader core.NodeID, term, commit uint64) {
	m.t.Helper()
	m.send(m.peer(leader), m.pid, &messages.Heartbeat{Group: 1, Term: term, Leader: string(leader), Commit: commit, Round: 7})
}

// Nothing that rests on term or vote leaves before both are on disk: else a member
// that crashes votes twice in a term.
func TestGrantLeavesOnlyWhenTheVoteIsDurable(t *testing.T) {
	m := newMember(t, 3).begin()
	m.askVote("n2", 2, 1, 1)
	expectNone[*messages.VoteGranted](t, m.peer("n2"), "nothing is on disk")
	for len(m.writer.pending) > 1 { // the new term is on disk, the vote is not
		m.writer.flush(1)
		m.settle()
		expectNone[*messages.VoteGranted](t, m.peer("n2"), "the vote is not on disk")
	}
	m.sync()
	if g := takeOne[*messages.VoteGranted](t, m.peer("n2")); g.Term != 2 || g.From != "n1" {
		t.Fatalf("granted %v", g)
	}
	if s, _ := m.store.Load(1); s.HardState.Term != 2 || s.HardState.Vote != "n2" {
		t.Fatalf("stored %+v", s.HardState)
	}
}

func TestRefusalAndAcksAlsoWaitForTheTerm(t *testing.T) {
	m := newMember(t, 3).begin()
	m.heartbeatOf("n2", 4, 0) // a new term
	m.append(4, 1, 1, 0)
	if n := len(m.peer("n2").inbox); n != 0 {
		t.Fatalf("%d answers in term 4 before it is on disk", n)
	}
	m.sync()
	takeOne[*messages.HeartbeatAcked](t, m.peer("n2"))
	takeOne[*messages.AppendAccepted](t, m.peer("n2"))
	m.askVote("n3", 9, 0, 0) // not heeded: a leader is heard
	m.advance(electionTimeout)
	m.askVote("n3", 9, 0, 0) // its log is stale
	expectNone[*messages.VoteRejected](t, m.peer("n3"), "term 9 is not on disk")
	m.sync()
	if r := takeOne[*messages.VoteRejected](t, m.peer("n3")); r.Term != 9 {
		t.Fatalf("refused in term %d", r.Term)
	}
}

// The term may have changed while its vote was being written.
func TestHeldGrantOfAnOlderTermIsDropped(t *testing.T) {
	m := newMember(t, 3).begin()
	m.askVote("n2", 2, 1, 1)
	m.askVote("n3", 3, 1, 1)
	for len(m.writer.pending) > 0 {
		m.writer.flush(1)
		m.settle()
	}
	expectNone[*messages.VoteGranted](t, m.peer("n2"), "its term is over")
	if g := takeOne[*messages.VoteGranted](t, m.peer("n3")); g.Term != 3 {
		t.Fatalf("granted %v", g)
	}
}

func TestOneVoteATermAlsoAfterRestart(t *testing.T) {
	m := newMember(t, 3).begin()
	m.askVote("n2", 2, 1, 1)
	m.sync()
	takeOne[*messages.VoteGranted](t, m.peer("n2"))
	check := func(when string) {
		t.Helper()
		m.askVote("n3", 2, 5, 2)
		m.sync()
		expectNone[*messages.VoteGranted](t, m.peer("n3"), when)
		takeOne[*messages.VoteRejected](t, m.peer("n3"))
		m.askVote("n2", 2, 1, 1) // a repeated request is answered again
		m.sync()
		takeOne[*messages.VoteGranted](t, m.peer("n2"))
		m.askVote("n2", 2, 0, 0) // but logs are compared again
		m.sync()
		expectNone[*messages.VoteGranted](t, m.peer("n2"), when)
	}
	check("before the restart")
	m.restart()
	check("after the restart")
}

// A vote that was not on disk when the process died was never given.
func TestVoteLostWithTheProcessWasNotGiven(t *testing.T) {
	m := newMember(t, 3).begin()
	m.askVote("n2", 2, 1, 1)
	expectNone[*messages.VoteGranted](t, m.peer("n2"), "nothing is on disk")
	m.restart()
	m.askVote("n3", 2, 1, 1)
	m.sync()
	takeOne[*messages.VoteGranted](t, m.peer("n3"))
}

// A log whose last term is above the stored one vouches for that term, and for no
// vote in it.
func TestTermFollowsTheLogAfterRestart(t *testing.T) {
	m := newMember(t, 3).stored(2, "n3", block(1, 4, 2, 1, "x"))
	m.start()
	m.expectRole("follower", 4)
	m.askVote("n2", 4, 9, 4)
	m.sync()
	takeOne[*messages.VoteGranted](t, m.peer("n2"))
}

func TestRequestVoteLeavesOnlyWhenTheOwnVoteIsDurable(t *testing.T) {
	m := newMember(t, 3).begin()
	m.advance(2 * electionTimeout)
	m.expectRole("pre-candidate", 1)
	m.grantPreVotes()
	m.expectRole("candidate", 2)
	expectNone[*messages.RequestVote](t, m.peer("n2"), "the own vote is not on disk")
	m.sync()
	for _, id := range m.ids[1:] {
		r := takeOne[*messages.RequestVote](t, m.peer(id))
		if r.Term != 2 || r.Candidate != "n1" || r.LastIndex != 1 || r.LastTerm != 1 || r.Transfer {
			t.Fatalf("asked %v", r)
		}
	}
}

// The own vote is one of the quorum's only once it is on disk. A member that is its
// whole group stands at once.
func TestOwnVoteCountsOnlyWhenDurable(t *testing.T) {
	m := newMember(t, 1).start()
	m.writer.flush(2) // the first entry and the hard state before it
	m.settle()
	m.expectRole("candidate", 2)
	m.writer.flush(1) // the note that it takes part
	m.settle()
	m.expectRole("candidate", 2)
	m.writer.flush(1)
	m.settle()
	m.expectRole("leader", 2)
}

// Votes are counted by voter, and only those of this term.
func TestVotesAreCountedOncePerVoterAndTerm(t *testing.T) {
	m := newMember(t, 5).begin()
	m.advance(2 * electionTimeout)
	m.grantPreVotes()
	m.sync()
	m.expectRole("candidate", 2)
	for range 4 {
		m.send(m.peer("n2"), m.pid, &messages.VoteGranted{Group: 1, Term: 2, From: "n2"})
	}
	m.send(m.peer("n3"), m.pid, &messages.VoteGranted{Group: 1, Term: 1, From: "n3"})
	m.send(m.peer("x"), m.pid, &messages.VoteGranted{Group: 1, Term: 2, From: "x"})
	m.expectRole("candidate", 2)
	m.send(m.peer("n3"), m.pid, &messages.VoteGranted{Group: 1, Term: 2, From: "n3"})
	m.expectRole("leader", 2)
}

// A member that is cut off does not raise its term, and so deposes nobody when it
// comes back.
func TestMemberCutOffKeepsItsTerm(t *testing.T) {
	m := newMember(t, 3).stored(5, "")
	m.start()
	m.heartbeatOf("n2", 5, 1)
	m.advance(40 * electionTimeout)
	m.expectRole("pre-candidate", 5)
	if len(m.writer.pending) > 0 {
		t.Fatalf("%d hard states written while cut off", len(m.writer.pending))
	}
	m.forget()
	m.heartbeatOf("n2", 5, 1)
	m.expectRole("follower", 5)
	takeOne[*messages.HeartbeatAcked](t, m.peer("n2"))
}

// A late grant of an earlier round of pre-votes counts for nothing.
func TestLatePreVoteDoesNotCount(t *testing.T) {
	m := newMember(t, 3).begin()
	m.advance(2 * electionTimeout)
	first := take[*messages.RequestPreVote](m.peer("n2"))
	m.advance(2 * electionTimeout)
	if len(first) == 0 {
		t.Fatal("no pre-vote was asked for")
	}
	second := take[*messages.RequestPreVote](m.peer("n2"))
	now := second[len(second)-1].Campaign
	for _, r := range first {
		if r.Campaign == now {
			t.Fatal("two rounds under one number")
		}
		m.send(m.peer("n2"), m.pid, &messages.PreVoteGranted{Group: 1, Term: 2, From: "n2", Campaign: r.Campaign})
	}
	m.expectRole("pre-candidate", 1)
	m.send(m.peer("n2"), m.pid, &messages.PreVoteGranted{Group: 1, Term: 9, From: "n2", Campaign: now})
	m.expectRole("pre-candidate", 1)
	m.send(m.peer("n2"), m.pid, &messages.PreVoteGranted{Group: 1, Term: 2, From: "n2", Campaign: now})
	m.expectRole("candidate", 2)
	m.send(m.peer("n3"), m.pid, &messages.PreVoteGranted{Group: 1, Term: 2, From: "n3", Campaign: now})
	m.expectRole("candidate", 2)
}

// Members whose terms have drifted apart must not refuse each other for ever: a
// refusal's higher term is adopted, and a grant names the term that was asked for.
func TestPreVotesAcrossTerms(t *testing.T) {
	m := newMember(t, 3).begin()
	m.advance(2 * electionTimeout)
	ask := take[*messages.RequestPreVote](m.peer("n2"))
	m.send(m.peer("n2"), m.pid, &messages.PreVoteRejected{Group: 1, Term: 9, From: "n2", Campaign: ask[len(ask)-1].Campaign})
	m.expectRole("follower", 9)

	m.send(m.peer("n3"), m.pid, &messages.RequestPreVote{Group: 1, Term: 12, Candidate: "n3", LastIndex: 1, LastTerm: 1, Campaign: 4})
	m.send(m.peer("n2"), m.pid, &messages.RequestPreVote{Group: 1, Term: 3, Candidate: "n2", LastIndex: 1, LastTerm: 1, Campaign: 5})
	m.sync()
	if g := takeOne[*messages.PreVoteGranted](t, m.peer("n3")); g.Term != 12 || g.Campaign != 4 {
		t.Fatalf("granted %v", g)
	}
	if r := takeOne[*messages.PreVoteRejected](t, m.peer("n2")); r.Term != 9 || r.Campaign != 5 {
		t.Fatalf("refused %v", r)
	}
	m.expectRole("follower", 9) // granting a pre-vote changes nothing
}

// A leader that works is not deposed by who was cut off from it; its own order to
// stand is.
func TestLeaderHeardIsProtected(t *testing.T) {
	m := newMember(t, 3).stored(5, "")
	m.start()
	m.heartbeatOf("n2", 5, 1)
	m.forget()
	m.askVote("n3", 8, 9, 5)
	m.send(m.peer("n3"), m.pid, &messages.RequestPreVote{Group: 1, Term: 8, Candidate: "n3", LastIndex: 9, LastTerm: 5})
	m.sync()
	m.expectRole("follower", 5)
	expectNone[*messages.VoteGranted](t, m.peer("n3"), "a leader is heard")
	takeOne[*messages.PreVoteRejected](t, m.peer("n3"))
	m.send(m.peer("n3"), m.pid, &messages.RequestVote{Group: 1, Term: 6, Candidate: "n3", LastIndex: 9, LastTerm: 5, Transfer: true})
	m.sync()
	takeOne[*messages.VoteGranted](t, m.peer("n3"))
	m.advance(electionTimeout)
	m.askVote("n2", 8, 9, 5)
	m.sync()
	takeOne[*messages.VoteGranted](t, m.peer("n2"))
}

func TestOrderToStandNeedsNoPreVote(t *testing.T) {
	m := newMember(t, 3).stored(5, "")
	m.start()
	m.heartbeatOf("n2", 5, 1)
	m.send(m.peer("n2"), m.pid, &messages.TimeoutNow{Group: 1, Term: 4, From: "n2"})
	m.expectRole("follower", 5) // an order of an earlier term
	m.send(m.peer("n2"), m.pid, &messages.TimeoutNow{Group: 1, Term: 5, From: "n2"})
	m.expectRole("candidate", 6)
	m.sync()
	if r := takeOne[*messages.RequestVote](t, m.peer("n3")); !r.Transfer {
		t.Fatal("voters are not told that the leader sent the candidate")
	}
}

// A message of a lower term is answered with the higher one, so that its sender
// steps down rather than being ignored for ever.
func TestLowerTermIsToldOfTheHigherOne(t *testing.T) {
	m := newMember(t, 3).stored(9, "")
	m.start()
	m.append(5, 1, 1, 1)
	m.heartbeatOf("n2", 5, 1)
	m.askVote("n3", 5, 9, 5)
	m.sync()
	if r := takeOne[*messages.AppendRejected](t, m.peer("n2")); r.Term != 9 {
		t.Fatalf("append answered in term %d", r.Term)
	}
	if r := takeOne[*messages.HeartbeatAcked](t, m.peer("n2")); r.Term != 9 {
		t.Fatalf("heartbeat answered in term %d", r.Term)
	}
	if r := takeOne[*messages.VoteRejected](t, m.peer("n3")); r.Term != 9 {
		t.Fatalf("vote answered in term %d", r.Term)
	}
	if s := m.status(); s.Term != 9 || s.Leader != "" || s.CommitIndex != 0 {
		t.Fatalf("a leader of the past was followed: %v", s)
	}
}

// Timers that were stopped, and whose message was on its way, belong to a role that
// is no more.
func TestStaleTimersAreIgnored(t *testing.T) {
	m := lead(t)
	m.fireStopped()
	m.expectRole("leader", 2)
	m.heartbeatOf("n2", 3, 0)
	m.sync()
	m.forget()
	m.fireStopped()
	m.expectRole("follower", 3)
	expectNone[*messages.Heartbeat](t, m.peer("n3"), "a follower beats")
	expectNone[*messages.RequestPreVote](t, m.peer("n3"), "an election timer of earlier fired")
}

// Who has just granted a vote waits anew, whatever timer was on its way.
func TestGrantStartsTheWaitAnew(t *testing.T) {
	m := newMember(t, 3).begin()
	m.askVote("n2", 2, 1, 1)
	m.sync()
	m.fireStopped()
	m.expectRole("follower", 2)
	m.advance(2 * electionTimeout)
	m.expectRole("pre-candidate", 2)
}

// A learner stores what it is sent and never stands.
func TestLearnerNeverStands(t *testing.T) {
	m := newMember(t, 3)
	m.opts.Bootstrap.Members[0].Role = core.RoleLearner
	m.begin()
	m.advance(20 * electionTimeout)
	m.expectRole("learner", 1)
	m.heartbeatOf("n2", 2, 0)
	m.send(m.peer("n2"), m.pid, &messages.TimeoutNow{Group: 1, Term: 2, From: "n2"})
	m.expectRole("learner", 2)
	m.advance(electionTimeout)
	m.askVote("n3", 3, 1, 1) // but it votes when asked: it may be a voter and not know it yet
	m.sync()
	takeOne[*messages.VoteGranted](t, m.peer("n3"))
}

// Before a member knows what it has stored it answers nobody.
func TestStartingMemberAnswersNoPeer(t *testing.T) {
	m := newMember(t, 3)
	m.reader.auto = false
	m.arrive()
	m.askVote("n2", 2, 1, 1)
	m.append(2, 1, 1, 1)
	m.heartbeatOf("n2", 2, 1)
	m.send(m.peer("n2"), m.pid, &messages.RequestPreVote{Group: 1, Term: 2, Candidate: "n2", LastIndex: 1, LastTerm: 1})
	m.send(m.peer("n2"), m.pid, &messages.TimeoutNow{Group: 1, Term: 0, From: "n2"})
	m.advance(10 * electionTimeout)
	if n := len(m.peer("n2").inbox) + len(m.writer.pending); n != 0 {
		t.Fatalf("%d things said before the log is loaded: %v", n, m.peer("n2").inbox)
	}
	m.tell(m.pid, &messages.TransferLeadership{Group: 1}) // from nobody
	m.expectRole("starting", 0)
	m.reader.flush(1)
	m.settle()
	m.sync()
	m.expectRole("starting", 0) // it has to meet the others
	m.greeted()
	m.sync()
	m.expectRole("follower", 1)
}

// A new group's first write that was cut off is begun again.
func TestBootstrapThatWasCutOffBeginsAgain(t *testing.T) {
	for n := range 3 {
		t.Run(fmt.Sprintf("%d writes", n), func(t *testing.T) {
			m := newMember(t, 3).start()
			if n > len(m.writer.pending) {
				t.Skip("there are fewer writes")
			}
			m.writer.flush(n)
			m.restart()
			m.sync()
			if s := m.status(); s.Role != "follower" || s.LastIndex != 1 || s.DurableIndex != 1 || s.Term != 1 {
				t.Fatalf("%v", s)
			}
		})
	}
}

func TestLogWithoutAConfigurationIsRefused(t *testing.T) {
	m := newMember(t, 3)
	b := block(1, 1, 1, 0, "no configuration")
	m.writer.do(letter{m.probe("nobody").pid, &PersistEntries{Group: 1, Incarnation: 1, Block: b}})
	m.start()
	if s := m.status(); s.Role != "failed" || s.Failure == "" {
		t.Fatalf("%v", s)
	}
	takeOne[*MemberFailed](t, m.node)
}

func TestSecondMemberOfAGroupTouchesNothing(t *testing.T) {
	m := newMember(t, 3)
	props, _ := MemberProps(m.rt, m.links(), m.opts)
	m.pid = m.spawn(props, "second")
	m.tell(m.pid, &MemberRefused{Reason: "there is one"})
	m.advance(10 * electionTimeout)
	if m.expectRole("failed", 0); len(m.writer.pending)+len(m.reader.inbox) != 0 {
		t.Fatal("the log was touched")
	}
}
