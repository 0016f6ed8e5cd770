package actors

import (
	"testing"

	"github.com/protoraft/protoraft/messages"
)

func (m *member) transfer(to string) {
	m.t.Helper()
	m.send(m.client, m.pid, &messages.TransferLeadership{Group: 1, To: to})
}

// The target stands only when its log is as long as the leader's, and all of it is
// committed; proposals that come meanwhile wait, since the log must not grow, and
// are asked again at the next leader.
func TestLeadershipIsHandedOver(t *testing.T) {
	m := lead(t)
	m.propose("a")
	m.transfer("n2")
	expectNone[*messages.TimeoutNow](t, m.peer("n2"), "its log is shorter")
	m.propose("b")
	m.accept("n2")
	expectNone[*messages.TimeoutNow](t, m.peer("n2"), "the log is not committed")
	m.sync()
	m.expectLog(3, 3, 3)
	if o := takeOne[*messages.TimeoutNow](t, m.peer("n2")); o.Term != 2 || o.From != "n1" {
		t.Fatalf("%v", o)
	}
	m.accept("n3")
	expectNone[*messages.TimeoutNow](t, m.peer("n2"), "it was told already")
	m.send(m.peer("n2"), m.pid, &messages.RequestVote{Group: 1, Term: 3, Candidate: "n2", LastIndex: 3, LastTerm: 2, Transfer: true})
	m.sync()
	takeOne[*messages.VoteGranted](t, m.peer("n2"))
	m.expectRole("follower", 3)
	expectNone[*messages.LeadershipTransferred](t, m.client, "nobody leads yet")
	m.heartbeatOf("n2", 3, 3)
	if to := takeOne[*messages.LeadershipTransferred](t, m.client); to.Leader != "n2" || to.Term != 3 {
		t.Fatalf("%v", to)
	}
	expectResults(t, m.client, "1 APPLIED")
	if p := takeOne[*messages.Propose](t, m.gateway); p.Request != 2 {
		t.Fatalf("handed back %v", p)
	}
}

// With nobody named it is the peer that holds the most.
func TestTransferToTheBest(t *testing.T) {
	m := lead(t)
	m.propose("a")
	m.sync()
	m.accept("n3")
	m.transfer("")
	takeOne[*messages.TimeoutNow](t, m.peer("n3"))
}

func TestTransferThatCannotBe(t *testing.T) {
	m := lead(t)
	for _, to := range []string{"n1", "n9"} {
		m.transfer(to)
		if k := takeOne[*messages.LeadershipKept](t, m.client); k.Reason == "" {
			t.Errorf("to %s: no reason given", to)
		}
	}
	m.transfer("n2")
	m.transfer("n3")
	takeOne[*messages.LeadershipKept](t, m.client) // one is under way
	takeOne[*messages.TimeoutNow](t, m.peer("n2"))
	expectNone[*messages.TimeoutNow](t, m.peer("n3"), "the transfer was refused")
	alone := newMember(t, 1).begin().elect()
	alone.transfer("")
	takeOne[*messages.LeadershipKept](t, alone.client)
}

// A target that does not stand within an election timeout leaves the leader leading,
// with its door open again.
func TestTransferThatDoesNotSucceedExpires(t *testing.T) {
	m := lead(t)
	m.transfer("n2")
	m.propose("a")
	m.forget()
	for range 8 {
		m.advance(heartbeat)
		m.ack("n2", "n3")
	}
	takeOne[*messages.LeadershipKept](t, m.client)
	m.expectRole("leader", 2)
	m.propose("b")
	for range 2 {
		m.sync()
		m.accept("n3")
	}
	expectResults(t, m.client, "1 APPLIED", "2 APPLIED")
}

// An order to stand does not wait for the leader's disk, which notes another's new life:
// it would be given when the hand-over has long ended.
func TestOrderToStandIsNotHeldUp(t *testing.T) {
	m := lead(t)
	life := func(nonce uint64) {
		m.send(m.peer("n3"), m.pid, &messages.Greet{Group: 1, From: "n3", Life: &messages.Life{Number: nonce, Nonce: nonce}, LastIndex: 2, ConfigurationIndex: 1})
	}
	life(7)
	m.transfer("n2")
	m.propose("a")
	for range 8 {
		m.advance(heartbeat)
		m.send(m.peer("n2"), m.pid, &messages.HeartbeatAcked{Group: 1, Term: 2, From: "n2"})
	}
	takeOne[*messages.LeadershipKept](t, m.client)
	m.sync()
	m.expectLog(3, 3, 2)
	expectNone[*messages.TimeoutNow](t, m.peer("n2"), "the hand-over was given up")
	m.accept("n2")
	life(8)
	m.transfer("n2")
	expectNone[*messages.TimeoutNow](t, m.peer("n2"), "nothing is said before the life is on disk")
	m.sync()
	takeOne[*messages.TimeoutNow](t, m.peer("n2"))
}

// What was queued before the transfer is not lost: it is decided, or asked again at
// the next leader.
func TestQueuedProposalsSurviveATransfer(t *testing.T) {
	m := lead(t)
	m.propose("a")
	m.propose("b") // waits for the disk
	m.transfer("n2")
	for range 3 {
		m.sync()
		m.accept("n2")
	}
	takeOne[*messages.TimeoutNow](t, m.peer("n2"))
	last := m.status().LastIndex
	m.send(m.peer("n2"), m.pid, &messages.RequestVote{Group: 1, Term: 3, Candidate: "n2", LastIndex: last, LastTerm: 2, Transfer: true})
	m.sync()
	answered, handedBack := results(m.client), take[*messages.Propose](m.gateway)
	if len(answered)+len(handedBack) != 2 {
		t.Fatalf("answered %v, handed back %v", answered, handedBack)
	}
	for _, r := range answered {
		if r.Outcome != messages.Outcome_APPLIED {
			t.Fatalf("%v", r)
		}
	}
}
