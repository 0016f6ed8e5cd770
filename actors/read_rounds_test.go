package actors

import (
	"testing"
	"time"

	"github.com/protoraft/protoraft/messages"
)

// raftTurn has the member hear what was posted, and nobody else anything.
func (m *member) raftTurn() {
	m.t.Helper()
	if len(m.scheduled) == 0 {
		m.t.Fatal("nothing was posted")
	}
	last := len(m.scheduled) - 1
	turn := m.scheduled[last]
	m.scheduled = m.scheduled[:last:last]
	turn()
}

const roundTrip = 200 * time.Microsecond

// leadAfterRound leads, and knows from a round how long one takes and that its queries
// are answered in no time.
func leadAfterRound(t *testing.T) *member {
	t.Helper()
	m := lead(t)
	m.query(1, "a")
	m.clock.now += roundTrip
	m.ackRound("n2", m.round("n2"))
	expectResults(t, m.client, "1 APPLIED")
	m.forget()
	return m
}

// confirmBeforeApplier confirms the round that queries are in, and leaves the Applier
// without a turn to answer them.
func (m *member) confirmBeforeApplier() {
	m.t.Helper()
	r := m.round("n2")
	m.clock.now += roundTrip
	m.post(m.peer("n2"), m.pid, &messages.HeartbeatAcked{Group: 1, Term: 2, From: "n2", Round: r})
	m.raftTurn()
}

// outlive lets time pass in which n2 answers, and no round.
func (m *member) outlive(d time.Duration) {
	m.t.Helper()
	for end := m.clock.now + d; m.clock.now < end; {
		m.advance(heartbeat)
		m.ackRound("n2", 0)
	}
}

func (m *member) postQuery(request uint64) {
	m.post(m.client, m.pid, &messages.Query{Group: 1, Request: request, Query: []byte("q")})
}

// The next round begins when the queries of the one before are answered: what their askers
// ask next is then in it.
func TestRoundWaitsForAnswers(t *testing.T) {
	m := leadAfterRound(t)
	m.query(2, "b")
	m.query(3, "c") // comes too late for the round
	m.confirmBeforeApplier()
	expectNone[*messages.Heartbeat](t, m.peer("n2"), "query 2 is not answered yet")
	m.postQuery(4)
	m.settle()
	expectResults(t, m.client, "2 APPLIED")
	m.ackRound("n2", m.round("n2"))
	expectResults(t, m.client, "3 APPLIED", "4 APPLIED")
}

// A machine that takes its time is not waited for.
func TestRoundWaitsNotForASlowMachine(t *testing.T) {
	m := leadAfterRound(t)
	m.query(2, "b")
	m.query(3, "c")
	m.confirmBeforeApplier()
	expectNone[*messages.Heartbeat](t, m.peer("n2"), "query 2 is not answered yet")
	m.clock.now += 3 * roundTrip
	m.postQuery(4)
	m.raftTurn()
	m.round("n2")
	m.settle()
}

// The queries of another member are not for this machine, and wait for no answer of it.
func TestRoundOfAnotherMemberWaitsForNoAnswer(t *testing.T) {
	m := leadAfterRound(t)
	m.query(2, "b")
	m.confirmBeforeApplier()
	m.post(m.peer("n3"), m.pid, &messages.ConfirmReadIndex{Group: 1, Term: 2, Request: 7})
	m.raftTurn()
	r := m.round("n2")
	m.settle()
	expectResults(t, m.client, "2 APPLIED")
	m.ackRound("n2", r)
	takeOne[*messages.ReadIndexConfirmed](t, m.peer("n3"))
}

// A query that has to see a command which is not committed is with the Applier for long,
// and holds up nobody else's.
func TestRoundWaitsForNoWrite(t *testing.T) {
	m := leadAfterRound(t)
	m.propose("x") // waits for the disk
	m.send(m.client, m.pid, &messages.Query{Group: 1, Request: 8, Query: []byte("q"), AfterWrites: true})
	m.query(9, "r")
	m.clock.now += roundTrip
	m.ackRound("n2", m.round("n2"))
	expectResults(t, m.client)
	m.ackRound("n2", m.round("n2"))
	expectResults(t, m.client, "9 APPLIED")
}

// A round whose queries have all expired is answered by nobody: no other waits for that.
func TestRoundOfExpiredQueriesHoldsUpNone(t *testing.T) {
	m := leadAfterRound(t)
	m.query(2, "b")
	m.outlive(2 * readTimeout)
	expectResults(t, m.client, "2 NOT_APPLIED TIMED_OUT")
	m.forget()
	m.query(3, "c")
	m.ackRound("n2", m.round("n2"))
	expectResults(t, m.client, "3 APPLIED")
}

// leadWithPulse leads a group whose node has others, too.
func leadWithPulse(t *testing.T) *member {
	t.Helper()
	m := restful(t).begin().elect()
	m.accept("n2")
	m.accept("n3")
	m.forget()
	m.pulse.inbox = nil
	return m
}

// Where no other leader of the node reads, heartbeats that are waited for go by themselves;
// those of every interval do not.
func TestRoundAloneGoesByItself(t *testing.T) {
	m := leadWithPulse(t)
	m.query(1, "q")
	h := takeOne[*messages.Heartbeat](t, m.peer("n2"))
	if !h.Prompt || m.rounds.Load() != 1 {
		t.Fatalf("prompt %v, %d rounds under way, expected a prompt one, and 1", h.Prompt, m.rounds.Load())
	}
	expectNone[*SendBeat](t, m.pulse, "the heartbeat went by itself")
	m.advance(heartbeat)
	expectNone[*messages.Heartbeat](t, m.peer("n2"), "an interval's heartbeat goes with those of other groups")
	if again := m.beats("n2"); len(again) != 1 || again[0].Prompt || again[0].Round != h.Round {
		t.Fatalf("the Pulse was given %v, expected round %d, not prompt", again, h.Round)
	}
	m.ackRound("n2", h.Round)
	expectResults(t, m.client, "1 APPLIED")
	if n := m.rounds.Load(); n != 0 {
		t.Fatalf("%d rounds under way, expected none", n)
	}
}

// While another leader of the node reads, their heartbeats share a message.
func TestRoundsOfSeveralGroupsShareTheWay(t *testing.T) {
	m := leadWithPulse(t)
	m.rounds.Add(1)
	m.query(1, "q")
	expectNone[*messages.Heartbeat](t, m.peer("n2"), "another group has a round under way")
	beats := m.beats("n2")
	if len(beats) != 1 || beats[0].Prompt {
		t.Fatalf("the Pulse was given %v, expected one heartbeat, not prompt", beats)
	}
	m.ackRound("n2", beats[0].Round)
	expectResults(t, m.client, "1 APPLIED")
	if n := m.rounds.Load(); n != 1 {
		t.Fatalf("%d rounds under way, expected the other's", n)
	}
}

// A round counts no longer when its leader leads no more, or nobody waits for it.
func TestRoundsThatEndUnansweredAreNotCounted(t *testing.T) {
	m := leadWithPulse(t)
	m.query(1, "q")
	m.send(m.peer("n2"), m.pid, &messages.HeartbeatAcked{Group: 1, Term: 9, From: "n2"})
	m.expectRole("follower", 9)
	if n := m.rounds.Load(); n != 0 {
		t.Fatalf("%d rounds under way in a follower, expected none", n)
	}
	m = leadWithPulse(t)
	m.query(1, "q")
	m.outlive(2 * readTimeout)
	expectResults(t, m.client, "1 NOT_APPLIED TIMED_OUT")
	if n := m.rounds.Load(); n != 0 {
		t.Fatalf("%d rounds under way with no reader left, expected none", n)
	}
}

// A follower answers the way it was asked.
func TestPromptHeartbeatIsAnsweredPromptly(t *testing.T) {
	m := restful(t).begin()
	beat := func(prompt bool) *messages.Heartbeat {
		return &messages.Heartbeat{Group: 1, Term: 2, Leader: "n2", Round: 3, To: "n1", Prompt: prompt}
	}
	m.send(m.peer("n2"), m.pid, beat(true))
	m.sync() // the term
	if a := takeOne[*messages.HeartbeatAcked](t, m.peer("n2")); !a.Prompt || a.Round != 3 {
		t.Fatalf("answered %v, expected round 3, prompt", a)
	}
	expectNone[*SendBeat](t, m.pulse, "the answer went by itself")
	m.send(m.peer("n2"), m.pid, beat(false))
	expectNone[*messages.HeartbeatAcked](t, m.peer("n2"), "it was not asked promptly")
	if b := takeOne[*SendBeat](t, m.pulse); b.Message.(*messages.HeartbeatAcked).Prompt {
		t.Fatalf("the Pulse was given %v, expected an answer that is not prompt", b.Message)
	}
}
