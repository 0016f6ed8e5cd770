package actors

import (
	"slices"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/messages"
)

func (m *member) ackRound(id core.NodeID, round uint64) {
	m.t.Helper()
	m.send(m.peer(id), m.pid, &messages.HeartbeatAcked{Group: 1, Term: m.status().Term, From: string(id), Round: round})
}

// round takes the round of the last heartbeat a peer has received.
func (m *member) round(id core.NodeID) uint64 {
	m.t.Helper()
	beats := take[*messages.Heartbeat](m.peer(id))
	if len(beats) == 0 {
		m.t.Fatalf("%s received no heartbeat", id)
	}
	return beats[len(beats)-1].Round
}

// A new leader does not know what is committed until an entry of its own term is:
// it begins no round before.
func TestNoReadsBeforeTheOwnTermCommits(t *testing.T) {
	m := newMember(t, 3).begin().elect()
	before := m.round("n2")
	m.query(1, "q")
	expectNone[*messages.Heartbeat](t, m.peer("n2"), "a round was begun")
	m.ackRound("n2", before)
	m.ackRound("n3", before)
	expectResults(t, m.client)
	m.accept("n2")
	r := m.round("n2")
	if r <= before {
		t.Fatalf("round %d after %d", r, before)
	}
	m.ackRound("n3", before)
	expectResults(t, m.client)
	m.ackRound("n2", r)
	expectResults(t, m.client, "1 APPLIED")
}

// Answers to a round confirm the reads that waited when it began, and no later one.
func TestLateAnswersConfirmNoLaterRead(t *testing.T) {
	m := lead(t)
	m.query(1, "a")
	first := m.round("n2")
	m.query(2, "b") // came after the round began
	if len(take[*messages.Heartbeat](m.peer("n2"))) > 0 {
		t.Fatal("two rounds at a time")
	}
	m.ackRound("n2", first)
	expectResults(t, m.client, "1 APPLIED")
	second := m.round("n2")
	if second <= first {
		t.Fatalf("round %d after %d", second, first)
	}
	m.ackRound("n2", first) // again, and late
	m.ackRound("n3", first)
	expectResults(t, m.client)
	m.ackRound("n3", second+5) // a round that was never begun
	expectResults(t, m.client)
	m.ackRound("n3", second)
	expectResults(t, m.client, "2 APPLIED")
}

// Heartbeats that follow a round carry it: one answer that was lost is no harm.
func TestRoundIsRepeatedByTheNextHeartbeat(t *testing.T) {
	m := lead(t)
	m.query(1, "q")
	r := m.round("n2")
	m.advance(heartbeat)
	if again := m.round("n2"); again != r {
		t.Fatalf("round %d, expected %d", again, r)
	}
	m.ackRound("n2", r)
	expectResults(t, m.client, "1 APPLIED")
}

func TestGroupOfOneReadsAtOnce(t *testing.T) {
	m := newMember(t, 1).begin().elect()
	m.query(1, "q")
	m.query(2, "q")
	expectResults(t, m.client, "1 APPLIED", "2 APPLIED")
}

// A query after writes reflects every command its sender sent before, whether it
// is in the log already or still waits for a block.
func TestQueryAfterWritesSeesThem(t *testing.T) {
	m := lead(t)
	m.propose("a")
	m.propose("b") // waits for the disk
	m.send(m.client, m.pid, &messages.Query{Group: 1, Request: 9, Query: []byte("q"), AfterWrites: true},
		&messages.Query{Group: 1, Request: 10, Query: []byte("r")})
	m.ack("n2") // confirmed, but nothing is committed yet
	var done []uint64
	for _, r := range results(m.client) {
		done = append(done, r.Request)
	}
	if !slices.Equal(done, []uint64{10}) {
		t.Fatalf("answered %v, expected only the one that waits for no write", done)
	}
	m.sync()
	m.accept("n2")
	for _, r := range results(m.client) {
		if r.Request == 9 && string(r.Data) != "q after 2" {
			t.Fatalf("answered %q", r.Data)
		}
		done = append(done, r.Request)
	}
	slices.Sort(done)
	if !slices.Equal(done, []uint64{1, 2, 9, 10}) {
		t.Fatalf("answered %v", done)
	}
}

func TestQueryThroughTheLog(t *testing.T) {
	m := lead(t)
	m.post(m.client, m.pid, &messages.Propose{Group: 1, Request: 1, Command: []byte("a")},
		&messages.Query{Group: 1, Request: 2, Query: []byte("q"), Consistency: messages.Consistency_THROUGH_LOG},
		&messages.Propose{Group: 1, Request: 3, Command: []byte("b")})
	m.settle()
	expectResults(t, m.client)
	m.sync()
	m.accept("n2")
	for _, r := range results(m.client) {
		if r.Request == 2 && (string(r.Data) != "q after 1" || r.Index != 4) {
			t.Fatalf("answered %q at %d", r.Data, r.Index)
		}
	}
	m.expectApplied("3@2 a", "5@2 b")
}

func TestWaitingReadsAreBounded(t *testing.T) {
	m := newMember(t, 3)
	m.opts.Limits.PendingReads = 2
	m.begin().elect()
	m.accept("n2")
	m.query(1, "in the round")
	m.query(2, "waits")
	m.query(3, "too many")
	expectResults(t, m.client, "3 NOT_APPLIED BUSY")
	m.send(m.client, m.pid, &messages.Query{Group: 1, Request: 4, Consistency: messages.Consistency_STALE})
	expectResults(t, m.client, "4 APPLIED")
}

// Queries that a slow machine has not answered count too, stale ones among them.
func TestUnansweredQueriesAreBounded(t *testing.T) {
	m := newMember(t, 3)
	m.opts.Limits.PendingReads = 2
	m.begin().elect()
	m.accept("n2")
	applier := m.applierOf()
	m.tellSystem(applier, &actor.SuspendMailbox{})
	stale := func(request uint64) {
		m.send(m.client, m.pid, &messages.Query{Group: 1, Request: request, Query: []byte("q"), Consistency: messages.Consistency_STALE})
	}
	stale(1)
	stale(2)
	stale(3)
	m.query(4, "q")
	expectResults(t, m.client, "3 NOT_APPLIED BUSY", "4 NOT_APPLIED BUSY")
	m.tellSystem(applier, &actor.ResumeMailbox{})
	stale(5)
	expectResults(t, m.client, "1 APPLIED", "2 APPLIED", "5 APPLIED")
}

// A query whose index is not applied when the leadership ends is handed back, not
// left to wait for an entry that may never come.
func TestQueryAfterWritesEndsWithTheLeadership(t *testing.T) {
	m := lead(t)
	m.propose("a")
	m.send(m.client, m.pid, &messages.Query{Group: 1, Request: 9, Query: []byte("q"), AfterWrites: true})
	m.ack("n2")
	m.heartbeatOf("n2", 3, 0)
	expectResults(t, m.client, "1 UNKNOWN LEADERSHIP_LOST", "9 NOT_APPLIED LEADERSHIP_LOST")
}

// A read that waits for a round, or for the next one, does not wait for ever: not where
// the leader's own first entry is never committed, nor where rounds are not confirmed.
func TestReadsWaitForARoundOnlySoLong(t *testing.T) {
	for name, commits := range map[string]bool{"settled": true, "not settled": false} {
		t.Run(name, func(t *testing.T) {
			m := newMember(t, 3).begin().elect()
			if commits {
				m.accept("n2")
				m.query(1, "in the round")
			} else {
				m.query(1, "waits")
			}
			m.query(2, "waits")
			contact := func(d time.Duration) {
				for end := m.clock.now + d; m.clock.now < end; {
					m.advance(heartbeat)
					m.ackRound("n2", 0) // it answers, and to no round
				}
			}
			contact(readTimeout)
			expectResults(t, m.client)
			m.query(3, "later")
			contact(heartbeat)
			expectResults(t, m.client, "1 NOT_APPLIED TIMED_OUT", "2 NOT_APPLIED TIMED_OUT")
			m.expectRole("leader", 2)
			contact(readTimeout)
			expectResults(t, m.client, "3 NOT_APPLIED TIMED_OUT")
		})
	}
}

// Nor does one that waits for its leader's answer.
func TestReadsWaitForTheLeadersAnswerOnlySoLong(t *testing.T) {
	m := following(t)
	m.memberRead(1, &messages.Query{Consistency: onMember})
	m.memberRead(2, &messages.Query{Consistency: onMember}) // waits for the next question
	for end := m.clock.now + readTimeout; m.clock.now <= end; m.heartbeatOf("n2", 2, 2) {
		m.advance(heartbeat)
		expectResults(t, m.client)
	}
	for range 2 * int(electionTimeout/heartbeat) {
		m.heartbeatOf("n2", 2, 2)
		m.advance(heartbeat)
	}
	expectResults(t, m.client, "1 NOT_APPLIED TIMED_OUT", "2 NOT_APPLIED TIMED_OUT")
	m.expectRole("follower", 2)
	m.memberRead(3, &messages.Query{Consistency: onMember})
	asks := take[*messages.ConfirmReadIndex](m.peer("n2"))
	m.send(m.peer("n2"), m.pid, &messages.ReadIndexConfirmed{Group: 1, Term: 2, Request: asks[len(asks)-1].Request, Index: 2})
	expectResults(t, m.client, "3 APPLIED")
}
