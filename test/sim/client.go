package sim

import (
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors"
	"github.com/protoraft/protoraft/messages"
)

// opKind is what a client asks for.
type opKind int

const (
	opAppend  opKind = iota
	opCompare        // append where the list is as long as expected
	opRead
	opReadLog     // through the log
	opReadLease   // by the leader's clock
	opReadMember  // by the member asked, which asks its leader
	opReadAtLeast // by the member asked, once it has applied an index
	opReadWithin  // by the member asked, so old at most
	opReadStale   // from whoever is asked
	opPair        // an append and, without waiting, a read that must see it
	opLarge       // larger than allowed
	opKinds
	opOpen = opKinds // opens a session
)

func (k opKind) String() string {
	return [...]string{"append", "compare", "read", "read through the log", "read by lease", "read on the member", "read at least", "read within", "stale read", "pair", "large", "open"}[k]
}

// linearizable says whether a read of this kind must show all that was shown before.
func (k opKind) linearizable() bool {
	return k != opReadStale && k != opReadAtLeast && k != opReadWithin
}

func (k opKind) writes() bool { return k == opAppend || k == opCompare || k == opLarge }

// op is one operation and what became of it.
type op struct {
	client  int
	group   uint64
	request uint64
	kind    opKind
	command command // its key also where nothing is written
	after   *op     // the append that this read must see
	atLeast uint64  // the index that it must see
	within  time.Duration

	node    *node
	life    int
	call    int64 // counts calls and returns
	back    int64 // 0 while not known to the client
	floor   uint32
	term    uint64 // highest leadership when it was called
	answers int
	outcome messages.Outcome
	reason  messages.Reason
	result  result
	index   uint64
	settled bool // the client waits no longer

	once    *once // the command it is a try of, nil without a session
	repeats bool  // it is not the first try
	opened  uint64
}

func (o *op) String() string {
	return fmt.Sprintf("request %d of client %d at %s: %v of key %d, value %d", o.request, o.client, o.node.id, o.kind, o.command.key, o.command.value)
}

// client does one thing, or a pair of them, at a time, each time at any node.
type client struct {
	w       *World
	number  int
	name    string
	group   uint64
	asked   uint64 // things so far
	waiting []*op
	session clientSession
	driven  bool // by strikes: it asks for nothing itself
}

func newClient(w *World, number int) *client {
	return &client{w: w, number: number, name: fmt.Sprintf("client-%d", number), group: uint64(number%w.setup.groups) + 1}
}

func (c *client) register(n *node) {
	n.host.system.ProcessRegistry.Add(&listener{n: n, hear: c.hear}, c.name)
}

// unregister also ends what the client has there: its connection is gone.
func (c *client) unregister(n *node) {
	n.host.system.ProcessRegistry.Remove(actor.NewPID(n.address, c.name))
	for _, o := range c.waiting {
		if o.node == n {
			c.settle(o)
		}
	}
}

// next asks for something after a while.
func (c *client) next() {
	w := c.w
	if w.healed || c.driven {
		return
	}
	next, ok := w.decisions.nextAsk(c)
	if !ok {
		return
	}
	w.at(time.Duration(next.At), func() {
		if kind, key, n := w.decisions.askAt(c, next); n.up {
			c.ask(n, kind, key)
		} else {
			c.next()
		}
	})
}

func (c *client) ask(n *node, kind opKind, key uint8) {
	w := c.w
	to := n.memberPID(c.group)
	if w.work.IntN(2) == 0 || n.outsider {
		to = n.gatewayPID()
	}
	if kind == opAppend && c.askOnce(n, to, key) {
		// as a part of a session
	} else if kind == opPair {
		first := c.newOp(n, opAppend, key)
		second := c.newOp(n, opRead, key)
		second.after = first
		c.waiting = append(c.waiting, first, second)
		if first.request%2 == 0 {
			c.sendTogether(to, first, second)
		} else {
			c.send(to, first)
			c.send(to, second)
		}
	} else {
		o := c.newOp(n, kind, key)
		c.waiting = append(c.waiting, o)
		c.send(to, o)
	}
	waiting := append([]*op(nil), c.waiting...)
	w.after(time.Duration(1+w.work.IntN(3))*w.setup.requestTimeout, func() {
		for _, o := range waiting {
			c.settle(o)
		}
	})
}

func (s *setup) drawKind(d draw) opKind {
	sum := 0
	for _, weight := range s.kinds {
		sum += weight
	}
	at := d.IntN(sum)
	for k, weight := range s.kinds {
		if at -= weight; at < 0 {
			return opKind(k)
		}
	}
	return opAppend
}

func (c *client) newOp(n *node, kind opKind, key uint8) *op {
	h := &c.w.checks.history
	o := &op{client: c.number, group: c.group, kind: kind, node: n, life: n.life, command: command{key: key}}
	h.called(o)
	if kind.writes() {
		o.command.value = o.request // unique
	}
	switch kind {
	case opReadAtLeast: // sometimes one that is still to come
		o.atLeast = h.c.group(c.group).acknowledged + uint64(c.w.work.IntN(3))
	case opReadWithin:
		o.within = time.Duration(c.w.work.Int64N(int64(c.w.setup.electionTimeout)))
		o.floor = h.floorBefore(o)
	case opCompare:
		o.command.onlyAt = true
		o.command.expect = o.floor + uint32(c.w.work.IntN(2))
	}
	return o
}

func (c *client) send(to *actor.PID, o *op) { c.post(to, o, c.messageFor(o)) }

// sendTogether sends operations as one message, as a pipeline does.
func (c *client) sendTogether(to *actor.PID, ops ...*op) {
	c.w.cover.add("operations in one message")
	together := &actors.Operations{}
	for _, o := range ops {
		together.Items = append(together.Items, c.messageFor(o))
	}
	c.post(to, ops[0], together)
}

func (c *client) post(to *actor.PID, o *op, message any) {
	o.node.whenAwake(o.life, func() {
		o.node.host.system.Root.RequestWithCustomSender(to, message, actor.NewPID(o.node.address, c.name))
	})
}

func (c *client) messageFor(o *op) any {
	w := c.w
	w.trace.add(evClient, uint64(o.node.number), o.request, uint64(o.kind))
	w.trace.printf("%s asks: %v", c.name, o)
	switch o.kind {
	case opAppend, opCompare, opLarge:
		padding := min(w.setup.padding, w.setup.limits.CommandBytes-14)
		if o.kind == opLarge {
			padding = w.setup.limits.CommandBytes
		}
		return o.proposal(func() []byte { return w.guests.add(o.command.encode(padding)) })
	case opOpen:
		return &messages.Propose{Group: o.group, Request: o.request, Kind: messages.EntryKind_SESSION}
	}
	q := &messages.Query{Group: o.group, Request: o.request, Query: []byte{o.command.key}, AfterWrites: o.after != nil}
	switch o.kind {
	case opReadLog:
		q.Consistency = messages.Consistency_THROUGH_LOG
	case opReadStale:
		q.Consistency = messages.Consistency_STALE
	case opReadLease:
		q.Consistency = messages.Consistency_LEASE
	case opReadMember:
		q.Consistency = messages.Consistency_MEMBER
	case opReadAtLeast:
		q.Consistency, q.MinIndex = messages.Consistency_AT_LEAST, o.atLeast
	case opReadWithin:
		q.Consistency, q.MaxAge = messages.Consistency_WITHIN, int64(o.within)
	}
	return q
}

func (c *client) hear(n *node, message any) {
	results, ok := message.(*messages.Results)
	if !ok {
		c.w.violate("no stray message", "%T for %s on %s", message, c.name, n.id)
		return
	}
	for i := range results.Items {
		if o := c.w.checks.history.answered(n, &results.Items[i]); o != nil {
			c.settle(o)
		}
	}
}

// settle has the client wait no longer, for whichever reason, and ask for the next
// thing when it waits for nothing.
func (c *client) settle(o *op) {
	if o.settled {
		return
	}
	o.settled = true
	if o.answers == 0 {
		c.w.cover.add("answer: none in time")
	}
	kept := c.waiting[:0]
	for _, other := range c.waiting {
		if other != o {
			kept = append(kept, other)
		}
	}
	c.waiting = kept
	c.session.settled(c.w, o)
	if len(kept) == 0 {
		c.next()
	}
}
