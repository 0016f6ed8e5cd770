package cluster

import (
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/protoraft/protoraft/messages"
)

// tries are the sendings of one command of a session: the same command, session and
// sequence each time, so that it does no harm when more than one arrives.
type tries struct {
	id       uint64 // of the call
	client   *Client
	group    uint64
	kind     messages.EntryKind
	command  []byte
	session  *clientSession // nil for a session with a name
	sequence uint64

	mu      sync.Mutex
	sent    int
	answers int
	doubt   bool                // a try may have been applied, and was answered as unknown
	last    messages.ResultItem // the last answer that was no end
	again   int64               // when to send again, by the table's coarse clock
	over    bool                // never again
	turned  bool                // away, as busy, and not sent again: counted by the session
}

// turn notes whether the group was too busy for the last try. It needs the lock.
func (t *tries) turn(away bool) {
	if t.turned == away || t.session == nil {
		return
	}
	if t.turned = away; away {
		t.session.turnedAway.Add(1)
	} else {
		t.session.turnedAway.Add(-1)
	}
}

// Between two tries.
const (
	retryFirst = 20 * time.Millisecond
	retryMost  = 500 * time.Millisecond
)

func (c *Call) triesOf(id uint64) *tries {
	if t := c.tries.Load(); t != nil && t.id == id {
		return t
	}
	return nil
}

// refuse settles a call that was not sent.
func (c *Call) refuse(reason messages.Reason) {
	c.settle(c.id, messages.ResultItem{Outcome: messages.Outcome_NOT_APPLIED, Reason: reason})
}

// abandon settles a call whose answer is waited for no longer.
func (c *Call) abandon(id uint64, reason messages.Reason) {
	item := unanswered(id, reason)
	if t := c.triesOf(id); t != nil {
		item = t.end(item)
	}
	c.settle(id, item)
}

// end says what is known when no more is waited for: the command was not applied when
// that was the answer to every try.
func (t *tries) end(item messages.ResultItem) messages.ResultItem {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
	t.turn(false)
	if t.doubt || t.answers < t.sent {
		return item
	}
	item.Outcome = messages.Outcome_NOT_APPLIED
	if t.answers > 0 {
		item.Reason, item.Leader = t.last.Reason, t.last.Leader
	}
	return item
}

// answered takes an answer. It runs on the sender's goroutine.
func (t *tries) answered(c *Call, item messages.ResultItem) {
	t.mu.Lock()
	t.answers++
	now := c.table.now.Load()
	if item.Outcome == messages.Outcome_UNKNOWN && !t.doubt {
		// To know is worth more time: once as much as the command had.
		t.doubt = true
		c.deadline.Store(now + int64(c.table.timeout))
	}
	if !t.over && worthAnother(&item) {
		t.last = item
		t.again = now + retryAfter(t.sent)
		t.turn(item.Reason == messages.Reason_BUSY)
		t.mu.Unlock()
		return
	}
	if item.Outcome == messages.Outcome_NOT_APPLIED && (t.doubt || t.answers < t.sent) {
		item.Outcome = messages.Outcome_UNKNOWN // this try was not, another may have been
	}
	t.over = true
	t.turn(false)
	t.mu.Unlock()
	if item.Reason == messages.Reason_SESSION_EXPIRED && t.session != nil {
		t.session.expired()
	}
	c.settle(t.id, item)
}

// worthAnother: the command may fare better with another try.
func worthAnother(item *messages.ResultItem) bool {
	switch item.Outcome {
	case messages.Outcome_UNKNOWN:
		return item.Reason != messages.Reason_SESSION_EXPIRED
	case messages.Outcome_NOT_APPLIED:
		switch item.Reason {
		case messages.Reason_BUSY, messages.Reason_NOT_LEADER, messages.Reason_LEADERSHIP_LOST:
			return true
		}
	}
	return false
}

// retryAfter is how long to wait after so many tries: doubled each time, and anything from
// half of that to all of it, so that clients do not come back all at once.
func retryAfter(tries int) int64 {
	d := min(retryFirst<<min(tries, 8), retryMost)
	return int64(d/2) + rand.Int64N(int64(d/2)+1)
}

// sendAgain sends when it is time to.
func (t *tries) sendAgain(now int64) {
	t.mu.Lock()
	due := !t.over && now >= t.again
	t.mu.Unlock()
	if due {
		t.send()
	}
}

// send sends the command, the first time or again.
func (t *tries) send() {
	var session, acknowledged uint64
	if t.session != nil {
		session, acknowledged = t.session.stand()
	}
	t.sendIn(session, acknowledged)
}

func (t *tries) sendIn(session, acknowledged uint64) {
	m := &messages.Propose{
		Group: t.group, Request: t.id, Command: t.command, Kind: t.kind,
		Session: session, Sequence: t.sequence, Acknowledged: acknowledged,
	}
	t.mu.Lock()
	if t.over {
		t.mu.Unlock()
		return
	}
	t.sent++
	t.again = notBefore
	t.turn(false)
	t.mu.Unlock()
	t.client.post(t.group, m)
}

// notBefore an answer is a command sent again.
const notBefore = math.MaxInt64

func (c *Client) newTries(call *Call, group uint64, kind messages.EntryKind, command []byte) *tries {
	return &tries{id: call.id, client: c, group: group, kind: kind, command: command, again: notBefore}
}

func (c *Client) startNamed(call *Call, group uint64, id string, sequence uint64, command []byte) {
	if call.state.Load() != call.id {
		return // refused: the client ends
	}
	t := c.newTries(call, group, messages.EntryKind_NAMED_COMMAND, messages.NamedCommand(id, command))
	t.sequence = sequence
	call.tries.Store(t)
	t.send()
}
