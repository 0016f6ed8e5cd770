package cluster

import (
	"time"

	"github.com/protoraft/protoraft/messages"
)

// underSweep are the calls that may wait for an answer. A table keeps every call that ever
// waited at the same time as others, to be used again: to look at all of them every time
// would cost those few that wait today as much as the flood of yesterday.
type underSweep struct {
	calls []*Call // the sweep's own, without order
	idle  []*Call // of these, for a moment
}

// noteBegun has the next sweeps look at a call. It needs the table's lock.
func (t *callTable) noteBegun(c *Call) {
	c.free = false
	if !c.swept {
		c.swept = true
		t.begun = append(t.begun, c)
	}
}

// sweep advances the coarse clock, sends again what it is time for, and ends calls whose
// time is up.
func (t *callTable) sweep() {
	start := time.Now()
	ticker := time.NewTicker(deadlineSweep)
	defer ticker.Stop()
	var u underSweep
	for {
		select {
		case <-t.stop:
			return
		case <-ticker.C:
			now := int64(time.Since(start))
			t.now.Store(now)
			u.look(t, now)
		}
	}
}

func (u *underSweep) look(t *callTable, now int64) {
	t.mu.Lock()
	u.calls = append(u.calls, t.begun...)
	clear(t.begun)
	t.begun = t.begun[:0]
	t.mu.Unlock()
	wait := u.calls[:0]
	for _, c := range u.calls {
		id := c.state.Load()
		if id == 0 {
			u.idle = append(u.idle, c)
			continue
		}
		wait = append(wait, c)
		if now > c.deadline.Load() {
			c.abandon(id, messages.Reason_TIMED_OUT)
		} else {
			c.sendAgain(id, now)
		}
	}
	clear(u.calls[len(wait):])
	u.calls = wait
	u.dismiss(t)
}

// dismiss lets go of those that are free. What is decided and not given back yet is looked
// at again, and so is what was taken and does not wait yet.
func (u *underSweep) dismiss(t *callTable) {
	t.mu.Lock()
	for _, c := range u.idle {
		if c.free {
			c.swept = false
		} else {
			u.calls = append(u.calls, c)
		}
	}
	t.mu.Unlock()
	clear(u.idle)
	u.idle = u.idle[:0]
}
