package cluster

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/messages"
)

// hatch is the door of a member, as a test has it.
type hatch struct{ leads, shut atomic.Bool }

func (h *hatch) Leads() bool { return h.leads.Load() }
func (h *hatch) Shut() bool  { return h.shut.Load() }

// newHatch is a desk behind a door, which answers BUSY while that is shut.
func newHatch(t *testing.T, leads bool) (*hatch, *desk, *Client) {
	t.Helper()
	h := &hatch{}
	h.leads.Store(leads)
	d, c := newDesk(t, patience, func(*messages.Propose, int) *messages.ResultItem {
		if h.shut.Load() {
			return says(messages.Outcome_NOT_APPLIED, messages.Reason_BUSY)
		}
		return done
	})
	c.routes.learn(1, actor.NewPID(d.system.ProcessRegistry.Address, "desk"), h)
	return h, d, c
}

// brought are the sequences of the commands that were brought so far.
func (d *desk) brought() (sequences []uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range d.proposed {
		sequences = append(sequences, m.Sequence)
	}
	return sequences
}

func expectBusy(t *testing.T, call *Call) {
	t.Helper()
	if !call.Decided() {
		t.Fatal("a command that is refused was not refused at once")
	}
	if _, err := call.Wait(); !errors.Is(err, ErrBusy) || OutcomeOf(err) != NotApplied {
		t.Fatalf("%v, expected Busy", err)
	}
}

// What a leader in this process would turn away is not brought to it.
func TestRefusedBeforeTheDoor(t *testing.T) {
	h, d, c := newHatch(t, true)
	c.noSessions = true
	h.shut.Store(true)
	for range 100 {
		expectBusy(t, c.StartPropose(1, nil))
	}
	if got := d.brought(); len(got) != 0 {
		t.Errorf("%d commands were brought to a door that is shut", len(got))
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 { // either may be seen first
		if _, err := c.Propose(ended, 1, nil); !errors.Is(err, ErrBusy) {
			t.Fatalf("%v, expected Busy", err)
		}
	}
	if _, err := c.Propose(t.Context(), 1, make([]byte, MaxCommandBytes+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%v, expected that it is too large, also at a door that is shut", err)
	}
	h.leads.Store(false)
	expectBusy(t, c.StartPropose(1, nil)) // by who was asked
	h.shut.Store(false)
	for range 2 {
		if _, err := c.Propose(t.Context(), 1, nil); err != nil {
			t.Fatal(err)
		}
		h.leads.Store(true)
	}
	if got := d.brought(); len(got) != 3 {
		t.Errorf("%d commands were brought, expected 3", len(got))
	}
	if made := len(*c.calls.all.Load()); made > 2 {
		t.Errorf("%d calls were made for one at a time", made)
	}
	h.shut.Store(true)
	c.calls.refuse()
	if _, err := c.Propose(t.Context(), 1, nil); !errors.Is(err, ErrStopped) {
		t.Errorf("%v, expected that the client ends", err)
	}
}

// TestRefusalCostsNoMemory: neither where the door is looked at, nor in a session that has a
// command turned away.
func TestRefusalCostsNoMemory(t *testing.T) {
	for _, noSessions := range []bool{true, false} {
		h, _, c := newHatch(t, true)
		c.noSessions = noSessions
		if _, err := c.Propose(t.Context(), 1, nil); err != nil {
			t.Fatal(err)
		}
		h.shut.Store(true)
		var first *Call
		if !noSessions {
			first = c.StartPropose(1, nil)
		}
		n := testing.AllocsPerRun(10_000, func() {
			if _, err := c.StartPropose(1, nil).Wait(); !errors.Is(err, ErrBusy) {
				t.Fatalf("%v, expected Busy", err)
			}
		})
		if n != 0 {
			t.Errorf("without sessions %v: %v allocations for a refusal", noSessions, n)
		}
		h.shut.Store(false)
		if first != nil {
			if _, err := first.Wait(); err != nil {
				t.Error(err)
			}
		}
	}
}

// BenchmarkRefusal is what it costs to be told that the leader in this process is busy.
func BenchmarkRefusal(b *testing.B) {
	system := NewSystem(nil)
	c, err := newClient(system, actor.NewPID(system.ProcessRegistry.Address, "nobody"), time.Minute)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	h := &hatch{}
	h.leads.Store(true)
	h.shut.Store(true)
	c.routes.learn(1, actor.NewPID(system.ProcessRegistry.Address, "nobody"), h)
	c.noSessions = true
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.StartPropose(1, nil).Wait(); !errors.Is(err, ErrBusy) {
			b.Fatal(err)
		}
	}
}

// sweeps returns when so many sweeps have begun.
func (c *Client) sweeps(n int) {
	for end := c.calls.now.Load() + int64(n)*int64(deadlineSweep); c.calls.now.Load() < end; {
		runtime.Gosched()
	}
}

// While a leader in this process has no room nothing is brought to it, but for the one that
// found out. That one goes first when there is room again, before whoever comes.
func TestTurnedAwayWaitsForTheDoor(t *testing.T) {
	h, d, c := newHatch(t, true)
	if _, err := c.Propose(t.Context(), 1, nil); err != nil {
		t.Fatal(err)
	}
	c.opened(t)
	h.shut.Store(true)
	first := c.StartPropose(1, nil)
	for range 100 {
		expectBusy(t, c.StartPropose(1, nil))
	}
	c.sweeps(10)
	if got := d.brought(); !slices.Equal(got, []uint64{1, 2}) {
		t.Fatalf("brought %v, expected 1 and, once, 2", got)
	}
	h.shut.Store(false)
	for range 2 {
		if _, err := c.Propose(t.Context(), 1, nil); err != nil {
			t.Fatalf("%v when there is room", err)
		}
	}
	if _, err := first.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := d.brought(); !slices.Equal(got, []uint64{1, 2, 2, 3, 4}) {
		t.Errorf("brought %v, expected 2 again, and then 3", got)
	}
}

// When there is room and nobody comes, the sweep brings what was turned away.
func TestTurnedAwayIsBroughtBySweep(t *testing.T) {
	for _, leads := range []bool{true, false} {
		h, d, c := newHatch(t, leads)
		h.shut.Store(true)
		first := c.StartPropose(1, nil)
		for c.session(1).turnedAway.Load() == 0 { // its session is opened first
			runtime.Gosched()
		}
		h.shut.Store(false)
		if _, err := first.Wait(); err != nil {
			t.Fatalf("leads %v: %v", leads, err)
		}
		if got := d.brought(); len(got) < 2 {
			t.Errorf("leads %v: brought %v", leads, got)
		}
	}
}

// Of a leader that is elsewhere nothing is known: one is sent ahead, and more and more
// follow while nothing comes back.
func TestTurnedAwayFollowOneAnother(t *testing.T) {
	table := newCallTable(patience)
	defer table.close()
	var a turnedAway
	bring := func(n int, now int64) {
		for range n {
			c := table.begin(false)
			a.add(c, c.id, now)
		}
	}
	now := int64(0)
	go1 := func() int {
		t.Helper()
		for range busyMost / deadlineSweep {
			now += int64(deadlineSweep)
			if n := len(a.next(now)); n > 0 {
				return n
			}
		}
		t.Fatalf("nobody goes within %v", busyMost)
		return 0
	}
	bring(1000, now)
	if n := len(a.next(now)); n != 0 {
		t.Fatalf("%d go at once", n)
	}
	for i := range 10 { // each comes back
		if n := go1(); n != 1 {
			t.Fatalf("%d go ahead, expected 1", n)
		}
		began := now
		bring(1, now)
		if first := int64(busyFirst); i == 0 && a.nextTry-began > 2*first || a.nextTry-began > int64(busyMost) || a.nextTry-began < first/2 {
			t.Fatalf("the next goes after %v", time.Duration(a.nextTry-began))
		}
	}
	gone := 0
	for want := 1; gone < 1000; want *= 2 {
		n := go1()
		if n != min(want, 1000-gone) {
			t.Fatalf("%d go, expected %d", n, want)
		}
		gone += n
	}
	bring(9, now)
	if n := go1(); n != 1 {
		t.Errorf("%d go ahead after others were turned away, expected 1", n)
	}
	// Who has been settled meanwhile is no scout.
	bring(5, now)
	for _, w := range a.line[:8] {
		w.call.refuse(messages.Reason_TIMED_OUT)
	}
	live := a.line[8]
	now += int64(busyMost)
	if got := a.next(now); len(got) == 0 || got[len(got)-1] != live {
		t.Errorf("%d go, expected the first that waits to be the last of them", len(got))
	}
	for a.Load() > 0 {
		a.gone()
	}
	if len(a.line) != 0 {
		t.Errorf("%d in a line in which nobody waits", len(a.line))
	}
}
