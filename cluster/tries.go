package cluster

import (
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/messages"
)

// tries are the sendings of one command of a session: the same command, session and
// sequence each time, so that it does no harm when more than one arrives. They stand in
// their Call, which is used again: who comes late asks for an id that is there no more.
type tries struct {
	mu sync.Mutex
	id uint64 // of the call, 0 while there are no tries
	tried

	sent    int
	answers int
	doubt   bool                // a try may have been applied, and was answered as unknown
	over    bool                // never again
	turned  bool                // away, as busy, and not sent again: counted by the session
	again   atomic.Int64        // when to send again, by the table's coarse clock; changed with mu
	last    messages.ResultItem // the last answer that was no end, where there was one
}

// tried is what is sent again as it is.
type tried struct {
	client   *Client
	group    uint64
	kind     messages.EntryKind
	command  []byte
	session  *clientSession // nil for a session with a name
	sequence uint64
}

// turnAway notes that the group was too busy for the last try: the session sends it
// again. It needs the lock.
func (c *Call) turnAway(now int64) {
	t := &c.tries
	t.again.Store(0) // each sweep looks whether it may go
	if !t.turned {
		t.turned = true
		t.session.turnedAway.add(c, t.id, now)
	}
}

// turnedNot: the command is not turned away, or no more. It needs the lock.
func (t *tries) turnedNot() {
	if t.turned {
		t.turned = false
		t.session.turnedAway.gone()
	}
}

// Between two tries.
const (
	retryFirst = 20 * time.Millisecond
	retryMost  = 500 * time.Millisecond
)

// begin notes a command that may be sent more than once. It is not sent yet.
func (t *tries) begin(id uint64, what tried) {
	t.mu.Lock()
	t.id, t.tried = id, what
	t.sent, t.answers, t.doubt, t.over = 0, 0, false, false
	t.again.Store(notBefore)
	t.mu.Unlock()
}

// forget lets go of the command of a call that is done with.
func (t *tries) forget() {
	t.mu.Lock()
	if t.id != 0 {
		t.turnedNot()
		t.id, t.client, t.command, t.session = 0, nil, nil, nil
		if t.answers > 1 {
			t.last = messages.ResultItem{}
		}
	}
	t.mu.Unlock()
}

// inSession is where the command of the call with this id belongs.
func (t *tries) inSession(id uint64) (*clientSession, uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.id != id {
		return nil, 0
	}
	return t.session, t.sequence
}

// refuse settles a call that was not sent.
func (c *Call) refuse(reason messages.Reason) {
	c.settle(c.id, &messages.ResultItem{Outcome: messages.Outcome_NOT_APPLIED, Reason: reason})
}

// abandon settles a call whose answer is waited for no longer.
func (c *Call) abandon(id uint64, reason messages.Reason) {
	item := unanswered(id, reason)
	c.tries.end(id, &item)
	c.settle(id, &item)
}

// end says in item what is known when no more is waited for: the command was not applied
// when that was the answer to every try.
func (t *tries) end(id uint64, item *messages.ResultItem) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.id != id {
		return
	}
	t.over = true
	t.turnedNot()
	if t.doubt || t.answers < t.sent {
		return
	}
	item.Outcome = messages.Outcome_NOT_APPLIED
	if t.answers > 0 {
		item.Reason, item.Leader = t.last.Reason, t.last.Leader
	}
}

// answered takes an answer. It runs on the sender's goroutine.
func (c *Call) answered(answer *messages.ResultItem) {
	t, item := &c.tries, *answer // which is the sender's
	t.mu.Lock()
	if t.id != item.Request {
		t.mu.Unlock()
		c.settle(item.Request, &item) // of a call that is sent once, or of one that is over
		return
	}
	t.answers++
	now := c.table.now.Load()
	if item.Outcome == messages.Outcome_UNKNOWN && !t.doubt {
		// To know is worth more time: once as much as the command had.
		t.doubt = true
		c.deadline.Store(now + int64(c.table.timeout))
	}
	if !t.over && worthAnother(&item) {
		t.last = item
		if item.Reason == messages.Reason_BUSY && t.session != nil {
			c.turnAway(now)
		} else {
			t.again.Store(now + retryAfter(t.sent))
			t.turnedNot()
		}
		t.mu.Unlock()
		return
	}
	if item.Outcome == messages.Outcome_NOT_APPLIED && (t.doubt || t.answers < t.sent) {
		item.Outcome = messages.Outcome_UNKNOWN // this try was not, another may have been
	}
	t.over = true
	t.doubt = t.doubt || item.Outcome == messages.Outcome_APPLIED // for who gives the call up before it is settled below
	t.turnedNot()
	session, sequence := t.session, t.sequence
	t.mu.Unlock()
	if item.Reason == messages.Reason_SESSION_EXPIRED && session != nil {
		session.expired()
	}
	if c.state.CompareAndSwap(item.Request, 0) {
		c.decided(&item, session, sequence)
	}
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
func (c *Call) sendAgain(id uint64, now int64) {
	t := &c.tries
	if now < t.again.Load() {
		return
	}
	t.mu.Lock()
	due, session, turned := t.id == id && !t.over && now >= t.again.Load(), t.session, t.turned
	t.mu.Unlock()
	switch {
	case !due:
	case turned:
		session.sendTurnedAway(now)
	case session == nil:
		c.sendTry(id, 0, 0)
	default:
		number, low := session.stand()
		c.sendTry(id, number, low)
	}
}

// posted is a command on its way, in one piece of memory that nobody changes any more.
type posted struct {
	envelope actor.MessageEnvelope
	propose  messages.Propose
}

// sendTry sends the command, the first time or again.
func (c *Call) sendTry(id, session, acknowledged uint64) {
	t := &c.tries
	t.mu.Lock()
	if t.id != id || t.over {
		t.mu.Unlock()
		return
	}
	t.sent++
	t.again.Store(notBefore)
	t.turnedNot()
	client, group := t.client, t.group
	p := &posted{propose: messages.Propose{
		Group: group, Request: id, Command: t.command, Kind: t.kind,
		Session: session, Sequence: t.sequence, Acknowledged: acknowledged,
	}}
	t.mu.Unlock()
	p.envelope = actor.MessageEnvelope{Message: &p.propose, Sender: client.self}
	client.system.Root.Send(client.firstHop(group), &p.envelope)
}

// sentFirst notes the first try of a command that is sent with others.
func (t *tries) sentFirst() {
	t.mu.Lock()
	t.sent++
	t.mu.Unlock()
}

// notBefore an answer is a command sent again.
const notBefore = math.MaxInt64

func (c *Client) startNamed(call *Call, group uint64, id string, sequence uint64, command []byte) {
	if call.state.Load() != call.id {
		return // refused: the client ends
	}
	call.tries.begin(call.id, tried{
		client: c, group: group, kind: messages.EntryKind_NAMED_COMMAND,
		command: messages.NamedCommand(id, command), sequence: sequence,
	})
	call.sendTry(call.id, 0, 0)
}
