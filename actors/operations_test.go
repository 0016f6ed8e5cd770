package actors

import (
	"testing"

	"github.com/protoraft/protoraft/messages"
)

func together(items ...any) *Operations { return &Operations{Items: items} }

func commandOf(request uint64, command string) *messages.Propose {
	return &messages.Propose{Group: 1, Request: request, Command: []byte(command)}
}

func queryOf(request uint64, c messages.Consistency) *messages.Query {
	return &messages.Query{Group: 1, Request: request, Query: []byte("q"), Consistency: c, AfterWrites: true}
}

// What comes together is taken in its order: a query sees the commands before it.
func TestLeaderTakesOperationsInOrder(t *testing.T) {
	m := lead(t)
	before := m.status().LastIndex
	m.send(m.client, m.pid, together(commandOf(1, "a"), commandOf(2, "b"), queryOf(3, messages.Consistency_LINEARIZABLE), commandOf(4, "c")))
	round := m.round("n2")
	m.sync()
	m.accept("n2")
	if got := results(m.client); len(got) != 3 || string(got[0].Data) != "did a" || string(got[2].Data) != "did c" {
		t.Fatalf("answered %v", got)
	}
	m.ackRound("n2", round)
	if got := results(m.client); len(got) != 1 || got[0].Request != 3 || string(got[0].Data) < "q after 2" {
		t.Fatalf("answered %v, expected the query, by a state with what came before it", got)
	}
	if last := m.status().LastIndex; last != before+3 {
		t.Fatalf("the log ends at %d, expected %d", last, before+3)
	}
}

// A member that leads nothing passes all on as it came, in one message.
func TestFollowerPassesOperationsOnTogether(t *testing.T) {
	m := joined(t)
	sent := together(commandOf(1, "a"), queryOf(2, messages.Consistency_LINEARIZABLE), commandOf(3, "b"))
	m.send(m.client, m.pid, sent)
	if got := takeLetters[*Operations](m.gateway); len(got) != 1 || got[0].message != any(sent) || !got[0].from.Equal(m.client.pid) {
		t.Fatalf("the Gateway received %v", got)
	}
	// What is for this very member stays, and the rest keeps its order.
	m.forget()
	m.send(m.client, m.pid, together(commandOf(4, "a"), queryOf(5, messages.Consistency_STALE), queryOf(6, messages.Consistency_LINEARIZABLE)))
	if p := takeOne[*messages.Propose](t, m.gateway); p.Request != 4 {
		t.Fatalf("passed on %v", p)
	}
	if q := takeOne[*messages.Query](t, m.gateway); q.Request != 6 {
		t.Fatalf("passed on %v", q)
	}
	expectResults(t, m.client, "5 APPLIED")
	// What came from another node's Gateway goes back.
	m.forget()
	other := m.at("n2:1", GatewayName)
	m.send(other, m.pid, together(commandOf(7, "a"), queryOf(8, messages.Consistency_LINEARIZABLE)))
	if len(m.gateway.inbox) > 0 {
		t.Fatal("operations were forwarded twice")
	}
	expectResults(t, other, "7 NOT_APPLIED NOT_LEADER", "8 NOT_APPLIED NOT_LEADER")
}

// The Gateway takes each as it takes one, and sends them on in their order.
func TestGatewayTakesOperationsInOrder(t *testing.T) {
	d := newDoor(t, GatewayOptions{Waiting: 3, WaitingBytes: 1 << 20})
	d.leader(2, "n2")
	d.send(d.client, d.pid, together(commandOf(1, "a"), queryOf(2, messages.Consistency_LINEARIZABLE), commandOf(3, "b"), commandOf(4, "c")))
	_, order := d.forwarded("n2")
	if len(order) != 3 || order[0] != "a" || order[1] != "qq" || order[2] != "b" {
		t.Fatalf("forwarded %v, expected as many as may wait, in order", order)
	}
	expectResults(t, d.client, "4 NOT_APPLIED BUSY")
}

// What comes together wakes who sleeps when anything of it does by itself.
func TestOperationsWakeWhoSleeps(t *testing.T) {
	m := sleepingLeader(t)
	m.send(m.client, m.pid, together(queryOf(1, messages.Consistency_STALE), queryOf(2, messages.Consistency_STALE)))
	m.expectAsleep(true)
	m.send(m.client, m.pid, together(queryOf(3, messages.Consistency_STALE), commandOf(4, "x")))
	m.expectAsleep(false)
	m.sync()
	m.accept("n2")
	expectResults(t, m.client, "1 APPLIED", "2 APPLIED", "3 APPLIED", "4 APPLIED")
}
