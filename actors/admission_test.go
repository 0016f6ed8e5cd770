package actors

import (
	"fmt"
	"testing"

	"github.com/protoraft/protoraft/messages"
)

// What a mailbox has enough of is refused in the turn of who brings it, and Raft's own
// messages are not.
func TestDoorRefusesAtOnce(t *testing.T) {
	for name, limit := range map[string]func(l *Limits){
		"by number": func(l *Limits) { l.QueuedProposals = 2 },
		"by bytes":  func(l *Limits) { l.QueuedBytes = 2 * sizeOf(commandOf(1, "1")) },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMember(t, 3)
			limit(m.opts.Limits)
			m.begin().elect()
			m.accept("n2")
			m.post(m.client, m.pid, commandOf(1, "1"), queryOf(2, messages.Consistency_LINEARIZABLE), commandOf(3, "3"), together(commandOf(4, "4"), queryOf(5, messages.Consistency_STALE)))
			m.post(m.client, m.pid, &ReturnedOperation{Message: commandOf(6, "6"), Asker: m.client.pid})
			expectResults(t, m.client, "3 NOT_APPLIED BUSY", "4 NOT_APPLIED BUSY", "5 NOT_APPLIED BUSY", "6 NOT_APPLIED BUSY")
			m.append(3, 1, 1, 0) // of another leader
			m.expectRole("follower", 3)
			m.forget()
			for n := range uint64(10) { // one a turn
				m.send(m.client, m.pid, commandOf(n, "x"))
			}
			if got := take[*messages.Propose](m.gateway); len(got) != 10 {
				t.Fatalf("%d passed after the turn, expected 10", len(got))
			}
		})
	}
}

// What entered is counted out again, whatever it was and however the turn went.
func TestDoorCountsOut(t *testing.T) {
	d := newAdmission(4, 1<<20)
	for _, message := range []any{
		commandOf(1, "a"), queryOf(2, messages.Consistency_STALE), together(commandOf(3, "b"), queryOf(4, messages.Consistency_THROUGH_LOG)),
		&ReturnedOperation{Message: commandOf(5, "c")}, &messages.HeartbeatTimeout{}, &messages.ChangeMembers{Group: 1},
		forwarded(commandOf(6, "d"), nil),
	} {
		for range 10 {
			pass, refused := d.admit(message)
			if pass != message || len(refused) != 0 {
				t.Fatalf("%T: passed %v, refused %v", message, pass, refused)
			}
			d.left(pass)
		}
	}
	if o, b, w := d.operations.Load(), d.bytes.Load(), d.writes.Load(); o != 0 || b != 0 || w != 0 {
		t.Fatalf("%d operations, %d bytes, %d writes in an empty mailbox", o, b, w)
	}
	d.open(1, 1<<20)
	for n, want := range []string{"pass 2 of 2", "pass 1 of 2", "pass 1 of 2"} {
		pass, refused := d.admit(together(commandOf(1, "a"), queryOf(2, messages.Consistency_LINEARIZABLE)))
		if got := fmt.Sprintf("pass %d of %d", len(pass.(*Operations).Items), len(pass.(*Operations).Items)+len(refused)); got != want {
			t.Errorf("%d: %s, expected %s", n, got, want)
		}
	}
	if pass, refused := d.admit(&messages.ChangeMembers{Group: 1}); pass == nil || refused != nil {
		t.Error("a change of members was refused as busy")
	}
}

func forwarded(commands ...*messages.Propose) *messages.ForwardRequests {
	m := &messages.ForwardRequests{}
	for _, c := range commands {
		m.Requests = append(m.Requests, &messages.ForwardedRequest{Request: &messages.ForwardedRequest_Propose{Propose: c}})
	}
	return m
}

// A Gateway answers other nodes' Gateways, too.
func TestGatewayRefusesAtOnce(t *testing.T) {
	w := newWorld(t)
	pid := w.spawn(GatewayProps(w.rt, GatewayOptions{RequestTimeout: patience, Waiting: 2, WaitingBytes: 1 << 20}), GatewayName)
	client, other := w.probe("client"), w.at("n2:1", GatewayName)
	w.post(other, pid, forwarded(commandOf(1, "1"), commandOf(2, "2")))
	w.post(client, pid, commandOf(3, "3"))
	w.post(other, pid, forwarded(commandOf(4, "4"), commandOf(5, "5")))
	expectResults(t, client, "3 NOT_APPLIED BUSY")
	expectResults(t, other, "4 NOT_APPLIED BUSY", "5 NOT_APPLIED BUSY")
	w.settle()
	expectResults(t, other, "1 NOT_APPLIED NO_GROUP", "2 NOT_APPLIED NO_GROUP")
}

// While what a leader has taken is not applied for too long, new writes are refused at
// once; reads and what has come in are not. A follower passes them on as before.
func TestLeaderRefusesWhatWouldWaitTooLong(t *testing.T) {
	m := newMember(t, 3)
	m.opts.Limits.PatientProposals, m.opts.Limits.QueueDelay = 3, heartbeat
	m.begin().elect()
	m.accept("n2")
	m.sync()
	m.settle()
	m.forget()
	m.send(m.client, m.pid, commandOf(1, "1"))
	m.send(m.client, m.pid, commandOf(2, "2"), commandOf(3, "3"))
	m.advance(heartbeat)
	m.ack("n2", "n3")
	m.post(m.client, m.pid, commandOf(4, "4"), queryOf(5, messages.Consistency_STALE))
	expectResults(t, m.client, "4 NOT_APPLIED BUSY")
	m.settle()
	expectResults(t, m.client, "5 APPLIED")
	for range 3 {
		m.sync()
		m.accept("n2")
	}
	m.settle()
	expectResults(t, m.client, "1 APPLIED", "2 APPLIED", "3 APPLIED")
	m.send(m.client, m.pid, commandOf(6, "6"))
	expectNone[*messages.Results](t, m.client, "refused though everything was applied")
	m.send(m.client, m.pid, commandOf(7, "7"), commandOf(8, "8"))
	m.advance(heartbeat)
	m.append(3, 1, 1, 0) // of another leader
	m.expectRole("follower", 3)
	m.forget()
	m.send(m.client, m.pid, commandOf(9, "9"))
	if p := takeOne[*messages.Propose](t, m.gateway); p.Request != 9 {
		t.Fatalf("passed on %v", p)
	}
}
