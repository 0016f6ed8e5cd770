package cluster

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/protoraft/protoraft/fsm/counter"
	"github.com/protoraft/protoraft/messages"
)

// TestFloodIsRefusedAtOnce: many times what a cluster can do, and nobody waits for what is
// done. What is refused is refused before the call is back, what is taken is applied, what
// waits is bounded, and the leader leads on.
func TestFloodIsRefusedAtOnce(t *testing.T) {
	t.Run("without sessions", func(t *testing.T) { testFlood(t, 600_000, true) })
	t.Run("with sessions", func(t *testing.T) { testFlood(t, 300_000, false) })
}

func testFlood(t *testing.T, flood int, noSessions bool) {
	c := newTrio(t)
	c.change = func(_ int, o *Options) {
		o.NoSessions = noSessions
		o.ElectionTimeout, o.HeartbeatInterval = 3*time.Second, 300*time.Millisecond // of a machine that has much else to do
		o.RequestTimeout = patience
	}
	for i := range c.nodes {
		c.start(i, 1)
	}
	leads, err := c.nodes[0].Client().Leader(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	leader := c.nodes[slices.Index(c.members, leads)]
	client := leader.Client()
	if _, err := client.Propose(t.Context(), 1, counter.Add(1)); err != nil {
		t.Fatal(err)
	}
	before := termOf(t, leader)

	const most = 4 << 16
	taken := make(chan *Call, flood)
	var waiting atomic.Int64
	applied, late := 0, 0
	waited := make(chan struct{})
	go func() {
		defer close(waited)
		for call := range taken {
			switch _, err := call.Wait(); {
			case err == nil:
				applied++
			case errors.Is(err, ErrBusy) && OutcomeOf(err) == NotApplied:
				late++
			default:
				t.Errorf("%v, expected Busy or nothing", err)
			}
			waiting.Add(-1)
		}
	}()
	atOnce := 0
	for range flood {
		call := client.StartPropose(1, counter.Add(1))
		if !call.Decided() {
			if n := waiting.Add(1); n > most {
				t.Errorf("%d wait, expected at most %d", n, most)
				break
			}
			taken <- call
			continue
		}
		switch _, err := call.Wait(); {
		case err == nil:
			applied++
		case errors.Is(err, ErrBusy) && OutcomeOf(err) == NotApplied:
			atOnce++
		default:
			t.Fatalf("%v, expected Busy or nothing", err)
		}
	}
	close(taken)
	<-waited
	t.Logf("%d applied, %d refused at once, %d later", applied, atOnce, late)
	if late > (atOnce+late)/3 { // a machine may be so fast that nothing is refused
		t.Errorf("%d refused at once and %d later, expected most at once", atOnce, late)
	}
	if after := termOf(t, leader); after != before {
		t.Errorf("in term %v, was in %v", after, before)
	}
	reply, err := client.Query(t.Context(), 1, counter.Read(), Linearizable)
	if got, _ := counter.Parse(reply); err != nil || got != int64(applied)+1 {
		t.Errorf("counted %d, %v, expected %d: what was acknowledged, and nothing of what was refused", got, err, applied+1)
	}
}

func termOf(t *testing.T, n *Node) uint64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	status, err := n.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if status.Groups[0].Role != "leader" {
		t.Fatalf("%s in term %d", status.Groups[0].Role, status.Groups[0].Term)
	}
	return status.Groups[0].Term
}

// TestNothingIsBegunBeforeWhatWasTurnedAway: while a busy group turns a session's commands
// away, the next are refused at once, and do not come to wait behind them.
func TestNothingIsBegunBeforeWhatWasTurnedAway(t *testing.T) {
	var busy atomic.Bool
	_, c := newDesk(t, patience, func(*messages.Propose, int) *messages.ResultItem {
		if busy.Load() {
			return says(messages.Outcome_NOT_APPLIED, messages.Reason_BUSY)
		}
		return done
	})
	if _, err := c.Propose(t.Context(), 1, nil); err != nil {
		t.Fatal(err)
	}
	busy.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	given := c.StartPropose(1, nil) // to be given up
	session := c.session(1)
	var begun []*Call
	for refused, passed, end := 0, 0, time.Now().Add(patience); refused < 1000; {
		if time.Now().After(end) {
			t.Fatalf("%d were refused at once, expected 1000", refused)
		}
		if session.turnedAway.Load() == 0 { // the one turned away is on its way again
			runtime.Gosched()
			continue
		}
		call := c.StartPropose(1, nil)
		if len(call.done) == 0 {
			if passed++; passed > 100 { // one may have been sent again just now
				t.Fatalf("%d were begun while one was turned away, %d refused at once", passed, refused)
			}
			begun = append(begun, call)
			continue
		}
		if _, err := call.Wait(); !errors.Is(err, ErrBusy) || OutcomeOf(err) != NotApplied {
			t.Fatalf("%v, expected Busy", err)
		}
		refused++
	}
	cancel()
	if _, err := given.WaitContext(ctx); err == nil || OutcomeOf(err) != NotApplied {
		t.Errorf("%v of what was turned away and given up", err)
	}
	busy.Store(false)
	for _, call := range begun {
		if _, err := call.Wait(); err != nil {
			t.Error(err)
		}
	}
	if _, err := c.Propose(t.Context(), 1, nil); err != nil {
		t.Errorf("%v after the group was busy", err)
	}
}
