package cluster

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/protoraft/protoraft/messages"
)

// A Pipeline's commands have consecutive sequences in their session and come as one
// message. One of unknown outcome is sent again, by itself and as the same command; what
// was added is told in its order.
func TestPipelineInASession(t *testing.T) {
	d, c := newDesk(t, patience, func(m *messages.Propose, nth int) *messages.ResultItem {
		if m.Sequence == 3 && nth == 1 {
			return says(messages.Outcome_UNKNOWN, messages.Reason_LEADERSHIP_LOST)
		}
		return &messages.ResultItem{Outcome: messages.Outcome_APPLIED, Data: m.Command}
	})
	if _, err := c.Propose(t.Context(), 1, []byte("opens the session")); err != nil {
		t.Fatal(err)
	}
	c.opened(t)
	p := c.NewPipeline(1)
	for i := range 4 {
		p.Propose([]byte(fmt.Sprint(i)))
	}
	for i := range 4 {
		if reply, _, err := p.Next(); err != nil || string(reply) != fmt.Sprint(i) {
			t.Fatalf("operation %d: %q, %v", i, reply, err)
		}
	}
	if d.together != 1 || len(d.proposed) != 6 {
		t.Fatalf("%d messages of several, %d tries", d.together, len(d.proposed))
	}
	for i, sequence := range []uint64{1, 2, 3, 4, 5, 3} {
		if m := d.proposed[i]; m.Session != 100 || m.Sequence != sequence || i > 0 && string(m.Command) != fmt.Sprint(sequence-2) {
			t.Errorf("try %d: %v", i, m)
		}
	}
	if low := d.proposed[1].Acknowledged; low != 2 {
		t.Errorf("acknowledged %d, expected 2", low)
	}
}

// What is added before the session is open waits for it, in order: a query that must see
// the commands before it, too, and no other.
func TestPipelineWaitsForItsSession(t *testing.T) {
	d, c := newDesk(t, patience, func(m *messages.Propose, _ int) *messages.ResultItem { return done })
	d.mu.Lock() // nothing is taken, so the session cannot open
	p := c.NewPipeline(1)
	s := &clientSession{client: c, group: 1, low: 1}
	c.sessions.Store(uint64(1), s)
	d.mu.Unlock()
	p.Propose([]byte("a"))
	p.Query([]byte("sees a"), Linearizable, true)
	p.Query([]byte("sees what it sees"), Linearizable, false)
	p.Propose([]byte("b"))
	p.Send()
	if len(d.proposed) != 0 || len(d.queries) != 1 || string(d.queries[0].Query) != "sees what it sees" {
		t.Fatalf("sent before the session was open: %v %v", d.proposed, d.queries)
	}
	if n := p.Ready(); n != 0 {
		t.Fatalf("%d ready", n)
	}
	s.opened(7)
	if len(d.proposed) != 2 || d.proposed[0].Sequence != 1 || d.proposed[1].Sequence != 2 || d.proposed[0].Session != 7 || len(d.queries) != 2 {
		t.Fatalf("%v %v", d.proposed, d.queries)
	}
}

// While a command that was turned away waits, those added are refused, and queries are
// not. All that is settled is ready.
func TestPipelineBehindWhoWasTurnedAway(t *testing.T) {
	d, c := newDesk(t, patience, func(m *messages.Propose, _ int) *messages.ResultItem { return done })
	if _, err := c.Propose(t.Context(), 1, nil); err != nil {
		t.Fatal(err)
	}
	c.opened(t)
	s := c.session(1)
	s.turnedAway.Add(1)
	p := c.NewPipeline(1)
	p.Propose([]byte("a"))
	p.Propose([]byte("b"))
	p.Send()
	if n := p.Ready(); n != 2 {
		t.Fatalf("%d ready, expected 2", n)
	}
	p.Propose([]byte("c"))
	p.Query(nil, Linearizable, false)
	p.Send()
	if n := p.Ready(); n != 2 { // the query is not answered, and what came with it waits
		t.Fatalf("%d ready, expected 2", n)
	}
	for range 2 {
		if _, _, err := p.Next(); !errors.Is(err, ErrBusy) || OutcomeOf(err) != NotApplied {
			t.Fatal(err)
		}
	}
	if len(d.queries) != 1 || len(d.proposed) != 1 {
		t.Fatalf("%d queries and %d commands came", len(d.queries), len(d.proposed))
	}
	s.turnedAway.Add(-1)
	q := c.NewPipeline(1)
	q.Propose([]byte("d"))
	if _, _, err := q.Next(); err != nil {
		t.Fatal(err)
	}
}

// A Pipeline that only asks opens no session.
func TestPipelineOfQueriesOpensNoSession(t *testing.T) {
	d, c := newDesk(t, patience, nil)
	p := c.NewPipeline(1)
	p.Query(nil, Linearizable, true)
	p.Query(nil, Linearizable, false)
	p.Send()
	if _, known := c.sessions.Load(uint64(1)); known || len(d.queries) != 2 {
		t.Fatalf("session %v, %d queries came", known, len(d.queries))
	}
}

// A command that was sent with others and never answered may have been applied.
func TestPipelineGivenUpUnanswered(t *testing.T) {
	_, c := newDesk(t, 100*time.Millisecond, func(m *messages.Propose, _ int) *messages.ResultItem {
		if string(m.Command) == "opens the session" {
			return done
		}
		return nil
	})
	if _, err := c.Propose(t.Context(), 1, []byte("opens the session")); err != nil {
		t.Fatal(err)
	}
	c.opened(t)
	p := c.NewPipeline(1)
	p.Propose([]byte("a"))
	p.Propose([]byte("b"))
	for range 2 {
		if _, _, err := p.Next(); !errors.Is(err, ErrTimeout) || OutcomeOf(err) != Unknown {
			t.Fatal(err)
		}
	}
}

// A command that is given up before it has its sequence, as by a process that stood still,
// does not hold its session's window for ever.
func TestGivenUpBeforeItsSequence(t *testing.T) {
	d, c := newDesk(t, patience, func(m *messages.Propose, _ int) *messages.ResultItem { return done })
	if _, err := c.Propose(t.Context(), 1, nil); err != nil {
		t.Fatal(err)
	}
	c.opened(t)
	s := c.session(1)
	for _, together := range []bool{false, true} {
		call := c.calls.begin(false)
		call.abandon(call.id, messages.Reason_TIMED_OUT)
		if together {
			s.startAll([]*Call{call}, []any{&messages.Propose{Group: 1, Request: call.id}})
		} else {
			s.start(call, nil)
		}
		if _, err := call.Wait(); !errors.Is(err, ErrTimeout) {
			t.Fatal(err)
		}
	}
	if _, err := c.Propose(t.Context(), 1, nil); err != nil {
		t.Fatal(err)
	}
	c.opened(t)
	if _, low := s.stand(); low != 5 || len(d.proposed) != 2 {
		t.Fatalf("the lowest that is not settled is %d, expected 5; %d commands came", low, len(d.proposed))
	}
}

// What a pipeline's calls were sent with is let go of with them.
func TestPipelineLetsGoOfItsCommands(t *testing.T) {
	_, c := newDesk(t, patience, func(m *messages.Propose, _ int) *messages.ResultItem { return done })
	p := c.NewPipeline(1)
	for range 3 {
		p.Propose(make([]byte, 1000))
	}
	for range 3 {
		if _, _, err := p.Next(); err != nil {
			t.Fatal(err)
		}
	}
	for _, call := range *c.calls.all.Load() {
		if call.tries.id != 0 || call.tries.command != nil || call.tries.session != nil {
			t.Fatalf("%+v is kept", call.tries.tried)
		}
	}
}
