package cluster

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/messages"
)

// Call is an operation under way. Wait, or WaitContext, is called exactly once;
// afterwards the Call belongs to its Client again.
type Call struct {
	table    *callTable
	id       uint64        // generation, kind and slot: what the answer carries
	state    atomic.Uint64 // the id while the call waits, 0 once it is decided
	deadline atomic.Int64  // by the table's coarse clock
	done     chan struct{} // one token when item is set
	flight   *flight       // what it was sent with by a Pipeline, which waits for all; else nil
	tries    tries         // of a command that may be sent again
	free     bool          // to be begun; with the table's lock, as the next
	swept    bool          // the sweep looks at it, or will
	item     messages.ResultItem
}

// A call's id: its slot in the table, whether it is a query, and how often the slot
// was used before.
const (
	slotMask   = 1<<23 - 1
	queryBit   = 1 << 23
	generation = 1 << 24
)

// Decided says whether Wait would return without waiting for an answer. It is for who looks
// after many calls and does not want to be woken for each, and is not asked after Wait.
func (c *Call) Decided() bool { return c.state.Load() == 0 }

// Wait returns the state machine's reply, or an *Error. The reply must not be changed: see
// Client.Propose.
func (c *Call) Wait() ([]byte, error) {
	reply, _, err := c.WaitIndex()
	return reply, err
}

// WaitIndex is Wait, and tells the index the operation was applied or read at.
func (c *Call) WaitIndex() (reply []byte, index uint64, err error) {
	<-c.done
	return c.finish()
}

// WaitContext is Wait, given up when ctx ends. Of a command that was given up it is
// not known whether it is applied.
func (c *Call) WaitContext(ctx context.Context) ([]byte, error) {
	reply, _, err := c.waitIndexContext(ctx)
	return reply, err
}

func (c *Call) waitIndexContext(ctx context.Context) (reply []byte, index uint64, err error) {
	if ctx.Done() == nil {
		return c.WaitIndex()
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		c.abandon(c.id, messages.Reason_TIMED_OUT)
		<-c.done
	}
	return c.finish()
}

// take waits for what the call came to, and gives it back.
func (c *Call) take() messages.ResultItem {
	<-c.done
	item := c.item
	c.item = messages.ResultItem{}
	c.table.release(c)
	return item
}

func (c *Call) finish() (reply []byte, index uint64, err error) {
	reply, index, err = c.outcome()
	c.table.release(c)
	return reply, index, err
}

// outcome is what a call that is settled came to.
func (c *Call) outcome() (reply []byte, index uint64, err error) {
	item := c.item
	c.item = messages.ResultItem{}
	if c.id&queryBit != 0 && item.Outcome == messages.Outcome_UNKNOWN {
		item.Outcome = messages.Outcome_NOT_APPLIED // a query changes nothing, also in the log
	}
	if item.Outcome == messages.Outcome_APPLIED && item.Reason == messages.Reason_NONE {
		return item.Data, item.Index, nil
	}
	return nil, item.Index, c.table.errorOf(item)
}

// settle decides the call of this id, unless it is decided.
func (c *Call) settle(id uint64, item *messages.ResultItem) {
	if c.state.CompareAndSwap(id, 0) {
		session, sequence := c.tries.inSession(id)
		c.decided(item, session, sequence)
	}
}

// decided is for the one who has set the state to 0.
func (c *Call) decided(item *messages.ResultItem, session *clientSession, sequence uint64) {
	c.item = *item
	if session != nil {
		session.finished(sequence)
	}
	if c.flight != nil {
		c.flight.settled()
		return
	}
	c.done <- struct{}{}
}

// unanswered is what may be said of a call without an answer: a query has changed
// nothing.
func unanswered(id uint64, reason messages.Reason) messages.ResultItem {
	outcome := messages.Outcome_UNKNOWN
	if id&queryBit != 0 {
		outcome = messages.Outcome_NOT_APPLIED
	}
	return messages.ResultItem{Outcome: outcome, Reason: reason}
}

func (t *callTable) errorOf(item messages.ResultItem) error {
	if item.Reason == messages.Reason_BUSY && item.Outcome == messages.Outcome_NOT_APPLIED && item.Leader == "" {
		return tooBusy
	}
	e := &Error{Outcome: Unknown, Reason: reasons[item.Reason], Leader: item.Leader}
	switch item.Outcome {
	case messages.Outcome_APPLIED:
		e.Outcome = Applied
	case messages.Outcome_NOT_APPLIED:
		e.Outcome = NotApplied
	}
	if e.Reason == nil {
		e.Reason = ErrStopped
	}
	switch item.Reason {
	case messages.Reason_REFUSED, messages.Reason_MEMBERS_KEPT:
		e.Detail = string(item.Data)
	case messages.Reason_NO_LEADER, messages.Reason_TIMED_OUT:
		if t.trouble != nil {
			e.Detail = t.trouble()
		}
	}
	return e
}

// callTable is where answers find their calls: an actor.Process, so that an answer
// costs a table look-up and no future. Deadlines are swept, since a timer for each
// call costs more than the call.
type callTable struct {
	timeout time.Duration
	trouble func() string // why nodes cannot be reached; nil in a node
	now     atomic.Int64  // coarse, nanoseconds since start

	mu      sync.Mutex // guards free, begun, all's growth, refusing
	free    []*Call
	begun   []*Call // since the last sweep, of those it did not look at
	all     atomic.Pointer[[]*Call]
	refused bool

	stop    chan struct{}
	stopped sync.WaitGroup
}

const deadlineSweep = 20 * time.Millisecond

func newCallTable(timeout time.Duration) *callTable {
	t := &callTable{timeout: timeout, stop: make(chan struct{})}
	t.all.Store(&[]*Call{})
	t.stopped.Go(t.sweep)
	return t
}

// begin takes a free call and opens it. After refuse it comes back decided.
func (t *callTable) begin(query bool) *Call {
	t.mu.Lock()
	c := t.take()
	refused := t.refused
	t.mu.Unlock()
	c.open(query, nil)
	if refused {
		c.refuse(messages.Reason_STOPPED)
	}
	return c
}

// take needs the lock.
func (t *callTable) take() *Call {
	n := len(t.free)
	if n == 0 {
		return t.grow()
	}
	c := t.free[n-1]
	t.free = t.free[:n-1]
	t.noteBegun(c)
	return c
}

// give takes a call back. It needs the lock.
func (t *callTable) give(c *Call) {
	c.free = true
	t.free = append(t.free, c)
}

// open makes a free call one that waits, with an id of its own.
func (c *Call) open(query bool, f *flight) {
	c.id = (c.id + generation) &^ queryBit
	if query {
		c.id |= queryBit
	}
	c.flight = f
	c.deadline.Store(c.table.now.Load() + int64(c.table.timeout))
	c.state.Store(c.id)
}

func (t *callTable) grow() *Call {
	all := *t.all.Load()
	c := &Call{table: t, id: uint64(len(all)), done: make(chan struct{}, 1)}
	all = append(all, c)
	t.all.Store(&all)
	t.noteBegun(c)
	return c
}

func (t *callTable) release(c *Call) {
	c.tries.forget()
	t.mu.Lock()
	t.give(c)
	t.mu.Unlock()
}

// SendUserMessage takes answers. It runs on the sender's goroutine.
func (t *callTable) SendUserMessage(_ *actor.PID, message any) {
	results, ok := actor.UnwrapEnvelopeMessage(message).(*messages.Results)
	if !ok {
		return
	}
	all := *t.all.Load()
	for i := range results.Items {
		if slot := results.Items[i].Request & slotMask; slot < uint64(len(all)) {
			all[slot].answered(&results.Items[i])
		}
	}
}

// SendSystemMessage is part of actor.Process; nobody watches a client.
func (t *callTable) SendSystemMessage(*actor.PID, any) {}

// Stop is part of actor.Process.
func (t *callTable) Stop(*actor.PID) {}

// each visits the calls that wait.
func (t *callTable) each(f func(c *Call, id uint64)) {
	for _, c := range *t.all.Load() {
		if id := c.state.Load(); id != 0 {
			f(c, id)
		}
	}
}

// pause waits a while, and says whether the table is still open then.
func (t *callTable) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-t.stop:
		return false
	}
}

// refuse answers every call begun from now on as not applied.
func (t *callTable) refuse() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refused = true
}

// awaitIdle returns when no call waits, or after limit.
func (t *callTable) awaitIdle(limit time.Duration) {
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(time.Millisecond) {
		busy := false
		t.each(func(*Call, uint64) { busy = true })
		if !busy {
			return
		}
	}
}

func (t *callTable) close() {
	t.refuse()
	close(t.stop)
	t.stopped.Wait()
	t.each(func(c *Call, id uint64) { c.abandon(id, messages.Reason_STOPPED) })
}
