package sim

import (
	"bytes"
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	fsmsession "github.com/protoraft/protoraft/fsm/session"
	"github.com/protoraft/protoraft/messages"
)

// once is a command of a session, which may be sent more than once.
type once struct {
	name              string // empty for an opened session
	session, sequence uint64
	first             *op
	data              []byte // the same bytes each time
	tries             int
}

// clientSession is what a client of the world does with sessions: it sends a command
// again, by way of any node, when it has no answer, and sometimes when it has one.
type clientSession struct {
	name     string
	id       uint64
	sequence uint64
	last     *once
	again    bool // last is sent again
}

const triesMax = 5

// drawSessions makes limits so small that sessions are forgotten while they are used.
func (s *setup) drawSessions(d draw) {
	s.once = [...]float64{0, 0.3, 1}[d.IntN(3)]
	s.sessions = fsmsession.Limits{
		Opened: d.one(1, 3, 100), Named: 100, Idle: d.time(200*time.Millisecond, time.Hour),
		Window: d.one(1, 4, 100), NamedWindow: d.one(1, 4, 100), ReplyBytes: d.one(0, 13, 1000),
		Lossy: s.durable,
	}
	s.sessions.Bytes = (s.sessions.ReplyBytes + 200) * d.one(1, 5, 100)
}

// askOnce asks for an append as part of a session, or for a session. It does not where
// the seed wants none.
func (c *client) askOnce(n *node, to *actor.PID, key uint8) bool {
	w, s := c.w, &c.session
	if w.again == nil || w.again.Float64() >= w.setup.once {
		return false
	}
	if s.id == 0 && s.name == "" && w.again.IntN(2) == 0 {
		s.name, s.sequence = fmt.Sprintf("%s-%d", c.name, w.again.Uint64()), 0
	}
	var o *op
	switch {
	case s.again:
		o, s.again = c.tryAgain(n, s.last), false
	case s.id == 0 && s.name == "":
		o = c.newOp(n, opOpen, key)
	default:
		s.sequence++
		o = c.newOp(n, opAppend, key)
		o.once = &once{name: s.name, session: s.id, sequence: s.sequence, first: o}
		s.last = o.once
	}
	if o.once != nil {
		o.once.tries++
	}
	c.waiting = append(c.waiting, o)
	c.send(to, o)
	return true
}

// tryAgain is another try of a command: what it is told may be as old as the first.
func (c *client) tryAgain(n *node, of *once) *op {
	o := c.newOp(n, opAppend, of.first.command.key)
	o.command, o.floor, o.once, o.repeats = of.first.command, of.first.floor, of, true
	return o
}

// settled decides what becomes of a session after a try.
func (s *clientSession) settled(w *World, o *op) {
	switch {
	case w.again == nil:
	case o.kind == opOpen:
		s.id, s.sequence = o.opened, 0
	case o.once == nil || o.once != s.last:
	case o.reason == messages.Reason_SESSION_EXPIRED:
		s.id, s.name, s.last, s.again = 0, "", nil, false
	case o.once.name != "" && o.once.sequence == 1:
		// The first command of a name looks new when the name was forgotten: a client
		// that may wait too long does not send it again.
		if o.outcome != messages.Outcome_APPLIED {
			s.name, s.last = "", nil
		}
	case o.once.tries < triesMax:
		s.again = o.answers == 0 || o.outcome != messages.Outcome_APPLIED || w.again.IntN(4) == 0
	}
}

// proposal is the message for an operation that writes.
func (o *op) proposal(data func() []byte) *messages.Propose {
	m := &messages.Propose{Group: o.group, Request: o.request}
	if o.once == nil {
		m.Command = data()
		return m
	}
	if o.once.data == nil {
		o.once.data = data()
		if o.once.name != "" {
			o.once.data = messages.NamedCommand(o.once.name, o.once.data)
		}
	}
	m.Command, m.Session, m.Sequence = bytes.Clone(o.once.data), o.once.session, o.once.sequence
	if o.once.name != "" {
		m.Kind = messages.EntryKind_NAMED_COMMAND
	} else {
		m.Acknowledged = o.once.sequence
	}
	return m
}

// onlyOnce says whether a message does no harm when it comes twice: it forwards only
// commands that their sessions know again.
func onlyOnce(message any) bool {
	m, ok := message.(*messages.ForwardRequests)
	if !ok {
		return false
	}
	for _, r := range m.Requests {
		p := r.GetPropose()
		if p.GetSession() == 0 && (p.GetKind() != messages.EntryKind_NAMED_COMMAND || p.GetSequence() == 1) {
			return false
		}
	}
	return true
}
