package cluster

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// leaderDoor is the door of the group's member in this process where that leads, else nil:
// no other says whether the group is too busy.
func (c *Client) leaderDoor(group uint64) doorSign {
	if door := c.routes.find(group).door; door != nil && door.Leads() {
		return door
	}
	return nil
}

// turnsAway says whether the leader, which is in this process, would answer a command BUSY
// at once.
func (c *Client) turnsAway(group uint64) bool {
	door := c.leaderDoor(group)
	return door != nil && door.Shut()
}

// turnedAway counts the commands of a session that the group was too busy for and that were
// not sent again yet, and has them sent. While there are some none is begun in the session:
// else newcomers would take their places until their time was up, and with the window's
// first the whole window.
//
// A leader in this process is seen to have room again: then they are sent, by who comes
// next with a command, or by the sweep. Of another nothing is known, so the first in line
// goes ahead, and as long as nothing comes back twice as many follow with each sweep.
type turnedAway struct {
	atomic.Int64 // changed with mu

	mu      sync.Mutex
	line    []turnedCall // in the order they came back; some may be settled, or sent again
	burst   int          // how many go next
	back    bool         // some have come back since the last went
	pause   time.Duration
	nextTry int64 // by the table's coarse clock
}

type turnedCall struct {
	call *Call
	id   uint64
}

// Between two tries of a group that is busy.
const (
	busyFirst = deadlineSweep
	busyMost  = 100 * time.Millisecond
)

// add puts a command in line. The lock of its tries is held.
func (a *turnedAway) add(c *Call, id uint64, now int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.Add(1)
	a.line = append(a.line, turnedCall{c, id})
	if !a.back {
		a.back, a.burst = true, 1
		a.pause = min(max(2*a.pause, busyFirst), busyMost)
		a.nextTry = now + int64(a.pause/2) + rand.Int64N(int64(a.pause/2)+1)
	}
}

// gone counts out a command that was sent again or is settled. The lock of its tries is held.
func (a *turnedAway) gone() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.Add(-1) == 0 {
		a.line = nil // which nobody waits in
	}
}

// next takes those out of the line that may be sent now, knowing nothing of the leader.
func (a *turnedAway) next(now int64) []turnedCall {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now < a.nextTry || len(a.line) == 0 {
		return nil
	}
	if !a.back {
		a.burst, a.pause = 2*a.burst, 0
	}
	a.back, a.nextTry = false, now+int64(busyFirst)
	n := 0
	for live := 0; n < len(a.line) && live < a.burst; n++ {
		if a.line[n].waits() {
			live++
		}
	}
	out := a.line[:n:n]
	a.line = a.line[n:]
	return out
}

// first takes the first in line, where there is one.
func (a *turnedAway) first() (turnedCall, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.line) == 0 {
		return turnedCall{}, false
	}
	first := a.line[0]
	a.line = a.line[1:]
	return first, true
}

// waits says whether the call has not been settled.
func (w turnedCall) waits() bool { return w.call.state.Load() == w.id }

// send sends the command again, unless that was done or is not wanted any more.
func (w turnedCall) send() {
	t := &w.call.tries
	t.mu.Lock()
	due, session := t.id == w.id && !t.over && t.turned, t.session
	t.mu.Unlock()
	if due {
		number, low := session.stand()
		w.call.sendTry(w.id, number, low)
	}
}

// sendTurnedAway sends again what may be by now.
func (s *clientSession) sendTurnedAway(now int64) {
	if door := s.client.leaderDoor(s.group); door != nil {
		s.sendWhileOpen(door)
		return
	}
	for _, w := range s.turnedAway.next(now) {
		w.send()
	}
}

// sendWhileOpen sends at most as many as there are: what is turned away anew stands at the
// end of the line.
func (s *clientSession) sendWhileOpen(door doorSign) {
	for n := s.turnedAway.Load(); n > 0 && !door.Shut(); n-- {
		w, ok := s.turnedAway.first()
		if !ok {
			return
		}
		w.send()
	}
}

// busy says whether a command may not be begun in the session, because others that were
// turned away come first.
func (s *clientSession) busy() bool {
	if s.turnedAway.Load() == 0 {
		return false
	}
	if door := s.client.leaderDoor(s.group); door != nil {
		s.sendWhileOpen(door)
	}
	return s.turnedAway.Load() > 0
}
