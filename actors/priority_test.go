package actors

import (
	"testing"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/messages"
)

// Each election timeout without a leader lets the next lower priority stand.
func TestLowerPriorityWaitsForHigherOnes(t *testing.T) {
	m := newMember(t, 3)
	m.opts.Bootstrap.Members[1].Priority = 2
	m.opts.Bootstrap.Members[2].Priority = 1
	m.begin()
	m.advance(2 * electionTimeout)
	expectNone[*messages.RequestPreVote](t, m.peer("n2"), "n2 and n3 come first")
	m.advance(4 * electionTimeout)
	if len(take[*messages.RequestPreVote](m.peer("n2"))) == 0 {
		t.Fatal("never stood, though nobody else did")
	}
	m.heartbeatOf("n2", 5, 0) // a leader: the count begins anew
	m.sync()
	m.forget()
	m.advance(3 * electionTimeout)
	expectNone[*messages.RequestPreVote](t, m.peer("n2"), "n2 and n3 come first again")
}

// One that is not to lead stands when nobody else has managed to: what is committed may
// be on no other member. It hands over at once to one that keeps up.
func TestLeaderOfLastResort(t *testing.T) {
	m := newMember(t, 3)
	m.opts.Bootstrap.Members[0].Priority = -1
	m.begin()
	m.advance(4 * electionTimeout)
	expectNone[*messages.RequestPreVote](t, m.peer("n2"), "others may lead")
	m.advance(8 * electionTimeout)
	m.elect()
	m.accept("n2")
	m.advance(heartbeat)
	m.ack("n2")
	m.accept("n2")
	m.advance(heartbeat)
	takeOne[*messages.TimeoutNow](t, m.peer("n2"))
}

func TestMemberOfNegativePriorityDoesNotStandByOrder(t *testing.T) {
	m := newMember(t, 3)
	m.opts.Bootstrap.Members[0].Priority = -1
	m.begin()
	m.heartbeatOf("n2", 2, 0)
	m.sync()
	m.send(m.peer("n2"), m.pid, &messages.TimeoutNow{Group: 1, Term: 2, From: "n2"})
	expectNone[*messages.RequestVote](t, m.peer("n3"), "not even by order")
	m.expectRole("follower", 2)
}

func TestLeadershipGoesToTheHighestPriority(t *testing.T) {
	m := newMember(t, 3)
	m.opts.Bootstrap.Members[2].Priority = 1
	m.begin()
	m.advance(2 * electionTimeout)
	m.elect()
	m.accept("n2")
	m.accept("n3")
	m.forget()
	m.transfer("")
	takeOne[*messages.TimeoutNow](t, m.peer("n3"))
}

func TestTransferToOneThatMayNotLead(t *testing.T) {
	m := newMember(t, 3)
	m.opts.Bootstrap.Members[1].Priority = -1
	m.begin().elect()
	m.accept("n2")
	m.forget()
	m.transfer("n2")
	takeOne[*messages.LeadershipKept](t, m.client)
	expectNone[*messages.TimeoutNow](t, m.peer("n2"), "it may not lead")
}

func (m *member) stand() {
	m.t.Helper()
	m.send(m.client, m.pid, &messages.StandForElection{Group: 1})
}

func TestStandingOnDemand(t *testing.T) {
	m := newMember(t, 3).begin()
	m.stand()
	if e := takeOne[*messages.ElectionStarted](t, m.client); e.Term != 2 {
		t.Fatalf("%v", e)
	}
	m.expectRole("pre-candidate", 1)
	m.heartbeatOf("n2", 2, 0)
	m.sync()
	m.stand()
	takeOne[*messages.ElectionRefused](t, m.client) // it has promised n2 not to
	m.expectRole("follower", 2)
	m.clock.now += electionTimeout
	m.stand()
	takeOne[*messages.ElectionStarted](t, m.client)
	leads := lead(t)
	leads.stand()
	takeOne[*messages.ElectionRefused](t, leads.client)
}

// Voters break their promise for whom the leader told to stand. What was given to the
// Applier under the lease must be answered before.
func TestNobodyIsToldToStandWhileTheLeaseIsReadBy(t *testing.T) {
	m := leased(t)
	m.accept("n2")
	applier := m.applierOf()
	m.tellSystem(applier, &actor.SuspendMailbox{})
	m.leaseRead(1)
	m.transfer("n2")
	expectNone[*messages.TimeoutNow](t, m.peer("n2"), "a read by lease is not answered")
	m.tellSystem(applier, &actor.ResumeMailbox{})
	expectResults(t, m.client, "1 APPLIED")
	takeOne[*messages.TimeoutNow](t, m.peer("n2"))
}

// A leader that gives up before its successor was told has not handed over.
func TestStepDownIsNoHandOver(t *testing.T) {
	m := lead(t)
	m.propose("a") // n2 lags
	m.transfer("n2")
	m.heartbeatOf("n3", 3, 0)
	m.sync()
	takeOne[*messages.LeadershipKept](t, m.client)
	expectNone[*messages.LeadershipTransferred](t, m.client, "n2 was never told")
}
