package cluster

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors"
	"github.com/protoraft/protoraft/messages"
)

// desk is what a client asks in place of a Gateway. It opens sessions at once, and
// answers commands by the test's word.
type desk struct {
	system *actor.ActorSystem

	mu       sync.Mutex
	opened   uint64
	closed   bool // to new sessions
	answer   func(m *messages.Propose, nth int) *messages.ResultItem
	proposed []*messages.Propose
	queries  []*messages.Query
	together int // messages of several operations
}

func (d *desk) SendUserMessage(_ *actor.PID, message any) {
	_, inner, sender := actor.UnwrapEnvelope(message)
	d.mu.Lock()
	defer d.mu.Unlock()
	switch m := inner.(type) {
	case *messages.Propose:
		d.take(m, sender)
	case *messages.Query:
		d.queries = append(d.queries, m)
	case *actors.Operations:
		d.together++
		for _, item := range m.Items {
			if p, ok := item.(*messages.Propose); ok {
				d.take(p, sender)
			} else {
				d.queries = append(d.queries, item.(*messages.Query))
			}
		}
	}
}

func (d *desk) take(m *messages.Propose, sender *actor.PID) {
	item := &messages.ResultItem{Outcome: messages.Outcome_APPLIED}
	switch {
	case m.Kind == messages.EntryKind_SESSION && d.closed:
		item.Outcome, item.Reason = messages.Outcome_NOT_APPLIED, messages.Reason_NO_LEADER
	case m.Kind == messages.EntryKind_SESSION:
		d.opened += 100
		item.Index = d.opened
	default:
		d.proposed = append(d.proposed, m)
		nth := 0
		for _, p := range d.proposed {
			if p.Session == m.Session && p.Sequence == m.Sequence {
				nth++
			}
		}
		if item = d.answer(m, nth); item == nil {
			return
		}
	}
	item.Request = m.Request
	d.system.Root.Send(sender, &messages.Results{Items: []messages.ResultItem{*item}})
}

func (d *desk) SendSystemMessage(*actor.PID, any) {}
func (d *desk) Stop(*actor.PID)                   {}

func newDesk(t *testing.T, timeout time.Duration, answer func(m *messages.Propose, nth int) *messages.ResultItem) (*desk, *Client) {
	t.Helper()
	d := &desk{system: NewSystem(nil), answer: answer}
	pid, _ := d.system.ProcessRegistry.Add(d, "desk")
	c, err := newClient(d.system, pid, timeout)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		d.system.Shutdown()
	})
	return d, c
}

// opened returns when the session is open: that is a moment after the first command of it
// was answered.
func (c *Client) opened(t *testing.T) {
	t.Helper()
	for s := c.session(1); ; runtime.Gosched() {
		s.mu.Lock()
		open := s.open
		s.mu.Unlock()
		if open {
			return
		}
	}
}

func says(outcome messages.Outcome, reason messages.Reason) *messages.ResultItem {
	return &messages.ResultItem{Outcome: outcome, Reason: reason}
}

var done = &messages.ResultItem{Outcome: messages.Outcome_APPLIED, Data: []byte("done")}

// A command whose outcome is not known is sent again as the same one, until it is.
func TestSessionSendsAgain(t *testing.T) {
	d, c := newDesk(t, patience, func(_ *messages.Propose, nth int) *messages.ResultItem {
		return []*messages.ResultItem{
			says(messages.Outcome_UNKNOWN, messages.Reason_LEADERSHIP_LOST), says(messages.Outcome_NOT_APPLIED, messages.Reason_BUSY),
			says(messages.Outcome_UNKNOWN, messages.Reason_STOPPED), done,
		}[nth-1]
	})
	for want := uint64(1); want <= 2; want++ {
		if reply, err := c.Propose(t.Context(), 1, []byte("x")); err != nil || string(reply) != "done" {
			t.Fatalf("%q, %v", reply, err)
		}
	}
	for i, m := range d.proposed {
		sequence := uint64(1 + i/4)
		if m.Session != 100 || m.Sequence != sequence || m.Acknowledged != sequence || string(m.Command) != "x" {
			t.Errorf("try %d: %v", i, m)
		}
	}
	if len(d.proposed) != 8 || d.opened != 100 {
		t.Errorf("%d tries, last session %d", len(d.proposed), d.opened)
	}
}

// Who gives a call up while the answer to its command is being taken may be the first to
// settle it, and must not say that the command was not applied.
func TestGivenUpWhileItIsAnswered(t *testing.T) {
	table := newCallTable(patience)
	defer table.close()
	c := table.begin(false)
	c.tries.begin(c.id, tried{kind: messages.EntryKind_COMMAND})
	c.tries.sent = 1
	c.answered(&messages.ResultItem{Request: c.id, Outcome: messages.Outcome_APPLIED, Index: 7})
	late := unanswered(c.id, messages.Reason_TIMED_OUT)
	if c.tries.end(c.id, &late); late.Outcome != messages.Outcome_UNKNOWN {
		t.Errorf("given up behind the answer that it was applied: %v, expected that it is unknown", late.Outcome)
	}
	if _, index, err := c.WaitIndex(); err != nil || index != 7 {
		t.Errorf("applied at %d, %v; expected 7", index, err)
	}
}

// What a client may say is what its tries came to, all of them.
func TestOutcomeOfSeveralTries(t *testing.T) {
	busy, lost := says(messages.Outcome_NOT_APPLIED, messages.Reason_BUSY), says(messages.Outcome_UNKNOWN, messages.Reason_LEADERSHIP_LOST)
	for name, k := range map[string]struct {
		answers []*messages.ResultItem // the last again and again; nil: silence
		outcome Outcome
		reason  error
	}{
		"refused each time":       {[]*messages.ResultItem{busy}, NotApplied, ErrBusy},
		"refused after doubt":     {[]*messages.ResultItem{lost, busy}, Unknown, ErrTimeout},
		"refused for good":        {[]*messages.ResultItem{says(messages.Outcome_NOT_APPLIED, messages.Reason_NO_GROUP)}, NotApplied, ErrNoGroup},
		"for good, after doubt":   {[]*messages.ResultItem{lost, says(messages.Outcome_NOT_APPLIED, messages.Reason_STOPPED)}, Unknown, ErrStopped},
		"silence":                 {[]*messages.ResultItem{nil}, Unknown, ErrTimeout},
		"silence after a refusal": {[]*messages.ResultItem{busy, nil}, Unknown, ErrTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			_, c := newDesk(t, 300*time.Millisecond, func(_ *messages.Propose, nth int) *messages.ResultItem {
				return k.answers[min(nth, len(k.answers))-1]
			})
			if _, err := c.Propose(t.Context(), 1, nil); OutcomeOf(err) != k.outcome || !errors.Is(err, k.reason) {
				t.Errorf("%v, expected %v, %v", err, k.outcome, k.reason)
			}
		})
	}
}

// A command of a session that the group has forgotten is unknown, and never sent in
// another session; the next command is.
func TestExpiredSessionIsOpenedAnew(t *testing.T) {
	d, c := newDesk(t, patience, func(m *messages.Propose, _ int) *messages.ResultItem {
		if m.Session == 100 {
			return says(messages.Outcome_UNKNOWN, messages.Reason_SESSION_EXPIRED)
		}
		return done
	})
	if _, err := c.Propose(t.Context(), 1, []byte("first")); !errors.Is(err, ErrSessionExpired) || OutcomeOf(err) != Unknown {
		t.Fatal(err)
	}
	if _, err := c.Propose(t.Context(), 1, []byte("second")); err != nil {
		t.Fatal(err)
	}
	if len(d.proposed) != 2 || d.proposed[1].Session != 200 || d.proposed[1].Sequence != 1 || string(d.proposed[1].Command) != "second" {
		t.Fatalf("%v", d.proposed)
	}
}

// What is acknowledged is the lowest sequence somebody still waits for.
func TestAcknowledgesUpToTheLowestUnsettled(t *testing.T) {
	d, c := newDesk(t, patience, func(m *messages.Propose, _ int) *messages.ResultItem {
		if m.Sequence == 2 {
			return nil
		}
		return done
	})
	call := func() *Call { return c.StartPropose(1, nil) }
	wait := func(call *Call) {
		t.Helper()
		if _, err := call.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	wait(call())
	ctx, giveUp := context.WithCancel(t.Context())
	stuck := call()
	wait(call())
	wait(call())
	giveUp()
	if _, err := stuck.WaitContext(ctx); OutcomeOf(err) != Unknown {
		t.Fatal(err)
	}
	wait(call())
	var got []uint64
	for _, m := range d.proposed {
		got = append(got, m.Acknowledged)
	}
	for i, want := range []uint64{1, 2, 2, 2, 5} {
		if got[i] != want {
			t.Fatalf("acknowledged %v", got)
		}
	}
}

// Nothing of a session that cannot be opened was sent.
func TestSessionThatCannotBeOpened(t *testing.T) {
	d, c := newDesk(t, patience, func(*messages.Propose, int) *messages.ResultItem { return done })
	d.closed = true
	call, query := c.StartPropose(1, nil), c.StartQuery(1, nil, Linearizable, true)
	if _, err := call.Wait(); !errors.Is(err, ErrNoLeader) || OutcomeOf(err) != NotApplied {
		t.Fatal(err)
	}
	if len(d.queries) == 0 { // it waited with the command, or was sent after it had failed
		if _, err := query.Wait(); !errors.Is(err, ErrNoLeader) {
			t.Fatal(err)
		}
	}
	d.mu.Lock()
	d.closed = false
	d.mu.Unlock()
	if _, err := c.Propose(t.Context(), 1, nil); err != nil {
		t.Fatal(err)
	}
}

func TestProposeOnce(t *testing.T) {
	lost := says(messages.Outcome_UNKNOWN, messages.Reason_LEADERSHIP_LOST)
	d, c := newDesk(t, patience, func(_ *messages.Propose, nth int) *messages.ResultItem {
		return []*messages.ResultItem{lost, done}[nth-1]
	})
	if _, err := c.StartProposeOnce(1, "me", 7, []byte("x")).Wait(); err != nil {
		t.Fatal(err)
	}
	for _, m := range d.proposed {
		name, command, ok := messages.SplitNamed(m.Command)
		if !ok || string(name) != "me" || string(command) != "x" || m.Sequence != 7 || m.Kind != messages.EntryKind_NAMED_COMMAND || m.Session != 0 {
			t.Fatal(m)
		}
	}
	if len(d.proposed) != 2 || d.opened != 0 {
		t.Fatalf("%d tries, %d sessions", len(d.proposed), d.opened)
	}
	for _, call := range []*Call{
		c.StartProposeOnce(1, "", 1, nil), c.StartProposeOnce(1, "me", 0, nil), c.StartProposeOnce(1, string(make([]byte, MaxSessionIDBytes+1)), 1, nil),
	} {
		if _, err := call.Wait(); !errors.Is(err, ErrRefused) || OutcomeOf(err) != NotApplied {
			t.Error(err)
		}
	}
}

func TestNoSessions(t *testing.T) {
	d, c := newDesk(t, patience, func(m *messages.Propose, _ int) *messages.ResultItem {
		return says(messages.Outcome_UNKNOWN, messages.Reason_LEADERSHIP_LOST)
	})
	c.noSessions = true
	if _, err := c.Propose(t.Context(), 1, nil); OutcomeOf(err) != Unknown || !errors.Is(err, ErrLeadershipLost) {
		t.Fatal(err)
	}
	if len(d.proposed) != 1 || d.proposed[0].Session != 0 || d.proposed[0].Sequence != 0 {
		t.Fatal(d.proposed)
	}
}
