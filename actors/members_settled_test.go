package actors

import (
	"testing"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/messages"
)

// inOneTurn has the member hear all that f sends together.
func (m *member) inOneTurn(f func()) {
	m.t.Helper()
	m.tellSystem(m.pid, &actor.SuspendMailbox{})
	f()
	m.tellSystem(m.pid, &actor.ResumeMailbox{})
}

func (m *member) addLearner(request uint64, id string) {
	m.t.Helper()
	m.send(m.client, m.pid, &messages.ChangeMembers{
		Group: 1, Request: request, Add: []*messages.Member{{Id: id, Address: id + ":1", Role: messages.Role_LEARNER}},
	})
}

// A leader that has removed itself begins nothing more: it would wait for an entry that
// it does not write any more, and lead for ever.
func TestLeaderThatLeavesBeginsNoChange(t *testing.T) {
	m := lead(t)
	m.send(m.client, m.pid, &messages.ChangeMembers{Group: 1, Request: 1, Remove: []string{"n1"}})
	m.sync()
	m.accept("n2")
	m.accept("n3")
	m.sync()
	m.expectConfig(4, "n2,n3 /  /  / n1")
	m.expectRole("leader", 2)
	m.inOneTurn(func() {
		m.accept("n2")
		m.accept("n3") // the end is committed
		m.addLearner(2, "n4")
	})
	m.expectRole("removed", 2)
	expectResults(t, m.client, "1 APPLIED", "2 NOT_APPLIED BUSY")
}

// The same of one that leads on what another leader has left.
func TestSuccessorThatLeavesBeginsNoChange(t *testing.T) {
	m := lead(t)
	m.send(m.client, m.pid, &messages.ChangeMembers{Group: 1, Request: 1, Remove: []string{"n1"}})
	m.sync()
	m.accept("n2")
	m.accept("n3")
	m.sync()
	m.restart().elect()
	m.accept("n2")
	m.inOneTurn(func() {
		m.accept("n3") // an entry of its term is committed, and so is the end
		m.addLearner(2, "n4")
	})
	m.expectRole("removed", 3)
	expectResults(t, m.client, "2 NOT_APPLIED BUSY")
}

// Who asked for a change hears of its end, though somebody asks for the next one when
// that is not yet done.
func TestNextChangeWaitsForTheAnswerToTheLast(t *testing.T) {
	m := alone(t, func(*member) {})
	m.addLearner(1, "n2")
	m.inOneTurn(func() {
		m.sync() // the end is committed
		m.addLearner(2, "n3")
	})
	expectResults(t, m.client, "1 APPLIED", "2 NOT_APPLIED BUSY")
	m.addLearner(3, "n3")
	m.sync()
	expectResults(t, m.client, "3 APPLIED")
}

// A newcomer that is asked for again begins anew: it may have lost what it had. Nothing
// that was said before, by the Replicator that it parts from either, brings it in.
func TestNewcomerThatComesAgainCatchesUpAgain(t *testing.T) {
	for name, parted := range map[string]bool{"parted": true, "still parting": false} {
		t.Run(name, func(t *testing.T) {
			m := lead(t)
			m.change(&messages.ChangeMembers{Add: newMembers("n4", "n5")})
			m.sync()
			m.accept("n2")
			m.accept("n4") // caught up, n5 is not
			m.send(m.client, m.pid, &messages.AbortChange{Group: 1, Request: 7})
			m.sync()
			m.accept("n2")
			m.expectConfig(4, "n1,n2,n3 /  /  / ")
			if parted {
				m.accept("n4")
			}
			late := takeLetters[*messages.AppendEntries](m.peer("n4"))
			m.advance(heartbeat)
			m.forget()
			m.change(&messages.ChangeMembers{Add: newMembers("n4")})
			m.sync()
			m.accept("n2")
			for _, l := range late {
				m.send(m.peer("n4"), l.from, accepted(t, l, "n4"))
			}
			m.expectConfig(5, "n1,n2,n3 / n1,n2,n3,n4 /  / ")
			if n := m.status().Change.Newcomers[0]; n.CaughtUp || n.MatchIndex != 0 {
				t.Fatalf("%v, expected one that nothing is known of", n)
			}
			m.accept("n4")
			m.expectConfig(6, "n1,n2,n3,n4 /  / n1,n2,n3 / ")
		})
	}
}
