package sim

import (
	"container/heap"
	"time"

	"github.com/protoraft/protoraft/messages"
)

// Strikes aimed at what rests on clocks, and on answers that belong to one question.
// Of a lease or an index that a leader has confirmed, harm comes only where another
// leader, or another entry, is there before they end, where somebody reads by them
// just then, and somebody else has been shown more. Faults drawn without an aim bring
// that together in one world of many thousands.

// hunter is a client that asks only while such a strike lasts.
type hunter struct {
	*client
	until time.Duration
}

func newHunter(w *World) *hunter {
	c := newClient(w, len(w.clients))
	c.driven = true
	return &hunter{client: c}
}

// hunts has somebody ask for something every now and then, from a time on.
func (h *hunter) hunts(g *groupModel, from, until, every time.Duration, ask func()) {
	w := h.w
	w.at(from, func() {
		if w.healed || w.now >= until {
			return
		}
		h.group = g.id
		ask()
		h.hunts(g, w.now+every/2+time.Duration(w.chaos.Int64N(int64(every))), until, every, ask)
	})
}

// asksOf asks a node's member itself, or its Gateway.
func (h *hunter) asksOf(n *node, kind opKind, gateway bool) {
	if !n.up {
		return
	}
	to := n.memberPID(h.group)
	if gateway {
		to = n.gatewayPID()
	}
	o := h.newOp(n, kind, 0)
	h.waiting = append(h.waiting, o)
	h.send(to, o)
	h.w.after(2*h.w.setup.requestTimeout, func() { h.settle(o) })
}

// writesBeside has the other members asked for appends.
func (h *hunter) writesBeside(n *node, g *groupModel, from, until time.Duration) {
	h.hunts(g, from, until, h.w.setup.electionTimeout/12, func() {
		if other := h.w.nodes[h.w.chaos.IntN(len(h.w.nodes))]; other != n {
			h.asksOf(other, opAppend, true)
		}
	})
}

func (h *hunter) reads(n *node, g *groupModel, from, until time.Duration, kinds ...opKind) {
	h.hunts(g, from, until, h.w.setup.electionTimeout/12, func() {
		h.asksOf(n, kinds[h.w.chaos.IntN(len(kinds))], false)
	})
}

// leading is a member that leads, that of the node where it does.
func (w *World) leading(n *node) *memberModel {
	var found *memberModel
	for _, g := range w.checks.groups {
		for _, m := range g.members {
			if m.leads != 0 && m.n.up && (found == nil || m.n == n) {
				found = m
			}
		}
	}
	return found
}

// cutOff loses what members say to one and it says to them, until a time. What is on
// its way arrives.
func (w *World) cutOff(n *node, from, until time.Duration) {
	set := func(cut bool) func() {
		return func() {
			w.net.each(func(a, b int, l *link) {
				if (a == n.number || b == n.number) && a < len(w.nodes) && b < len(w.nodes) && !w.healed {
					l.cut = cut
				}
			})
		}
	}
	w.at(from, set(true))
	w.at(until, set(false))
}

// strikeLease is trouble for a leader that is read by its lease.
func (w *World) strikeLease(n *node) {
	m, h, et := w.leading(n), w.hunter, w.setup.electionTimeout
	if m == nil || w.now < h.until || w.setup.nodes < 3 {
		return
	}
	part := func(low, high float64) time.Duration {
		return time.Duration((low + (high-low)*w.chaos.Float64()) * float64(et))
	}
	h.until = w.now + 4*et
	switch w.chaos.IntN(4) {
	case 0:
		w.answersLate(m, part(0.6, 1))
	case 1:
		w.sleeps(m, part(1.3, 3), part(0.3, 0.8))
	case 2:
		m.n.orderLate = &lateOrder{m: m, arrives: w.now + part(1.02, 1.6), cutBefore: part(0, 0.3)}
		w.asksHandOver(m)
		h.until += 2 * et
	case 3:
		w.applierAway(m, part(0.2, 2), part(0.02, 0.3))
	}
}

// answersLate: what peers answer in the beginning comes late, and nothing later.
func (w *World) answersLate(m *memberModel, late time.Duration) {
	w.cover.add("lease: answers to a heartbeat come late")
	g, et := m.g, w.setup.electionTimeout
	w.net.each(func(a, b int, l *link) {
		if b == m.n.number {
			l.heldUntil = w.now + late
		}
	})
	soon := w.now + w.setup.heartbeat + time.Duration(w.chaos.Int64N(int64(w.setup.heartbeat)))
	w.cutOff(m.n, soon, w.now+3*et)
	w.hunter.writesBeside(m.n, g, w.now+et, w.now+3*et)
	w.hunter.reads(m.n, g, w.now+et, w.now+late+et, opReadLease)
}

// sleeps: the machine is suspended while the others go on.
func (w *World) sleeps(m *memberModel, d, awake time.Duration) {
	w.at(w.now+time.Duration(w.chaos.Int64N(int64(w.setup.heartbeat))), func() {
		if w.healed || !m.n.up || m.n.frozenUntil > w.now {
			return
		}
		w.cover.add("lease: machine suspended")
		m.n.sleep(d)
		w.cutOff(m.n, w.now, w.now+d+awake)
		w.hunter.writesBeside(m.n, m.g, w.now+d/2, w.now+d+awake)
		w.hunter.reads(m.n, m.g, w.now+d, w.now+d+awake, opReadLease)
	})
}

// lateOrder has the order to stand that a leader gives arrive when it has given the
// hand-over up, and been cut off.
type lateOrder struct {
	m         *memberModel
	arrives   time.Duration
	cutBefore time.Duration
}

// orders sees an order to stand on its way, and says how much later it is to arrive.
func (n *node) orders(message any) time.Duration {
	o, w := n.orderLate, n.w
	order, ok := message.(*messages.TimeoutNow)
	if !ok || order.Group != o.m.g.id || o.m.leads != order.Term || w.healed || o.arrives < w.now {
		return 0
	}
	n.orderLate = nil
	w.cover.add("lease: order to stand comes late")
	et := w.setup.electionTimeout
	w.cutOff(n, o.arrives-o.cutBefore, o.arrives+2*et)
	w.hunter.writesBeside(n, o.m.g, o.arrives, o.arrives+et)
	w.hunter.reads(n, o.m.g, o.arrives, o.arrives+et, opReadLease)
	return o.arrives - w.now
}

func (w *World) asksHandOver(m *memberModel) { w.asksHandOverTo(m, "") }

// asksHandOverTo names who is to lead, or nobody.
func (w *World) asksHandOverTo(m *memberModel, to string) {
	if m.n.up && m.leads != 0 {
		m.n.host.system.Root.RequestWithCustomSender(m.n.memberPID(m.g.id), &messages.TransferLeadership{Group: m.g.id, To: to}, w.probe.pid(m.n))
	}
}

// applierAway: the Applier's thread is taken away while it has been given queries, and
// the leader is to hand over.
func (w *World) applierAway(m *memberModel, d, handOver time.Duration) {
	w.cover.add("lease: Applier held up")
	w.hunter.reads(m.n, m.g, w.now, w.now+d, opReadLease)
	w.at(w.now+handOver/2, func() { m.n.applierAwayUntil = w.now + d })
	w.at(w.now+handOver, func() {
		if !w.healed {
			w.asksHandOver(m)
		}
	})
}

// strikeLateIndex has a follower read what its leader has confirmed: the answers come
// late and twice, and new entries not at all.
func (w *World) strikeLateIndex(n *node) {
	m, h, et := w.leading(n), w.hunter, w.setup.electionTimeout
	if m == nil || w.now < h.until || w.setup.nodes < 3 {
		return
	}
	f := w.nodes[w.chaos.IntN(len(w.nodes))]
	if f == m.n || !f.up {
		return
	}
	if w.chaos.IntN(3) == 0 {
		w.oversleeps(m, f)
		return
	}
	w.cover.add("index confirmed late and twice")
	d := et + time.Duration(w.chaos.Int64N(int64(et)))
	h.until = w.now + d + et
	w.net.links[m.n.number][f.number].starvedUntil = w.now + d
	h.hunts(m.g, w.now, w.now+d, et/12, func() { h.asksOf(m.n, opAppend, true) })
	h.reads(f, m.g, w.now, w.now+d, opReadMember, opReadWithin)
}

// oversleeps: the follower's machine is suspended when it has just been told an index,
// and is read while nobody tells it of others.
func (w *World) oversleeps(m *memberModel, f *node) {
	h, et := w.hunter, w.setup.electionTimeout
	asleep := w.now + et/4
	wakes := asleep + time.Duration(w.chaos.Int64N(int64(2*et)))
	h.until = wakes + et
	h.reads(f, m.g, w.now, asleep, opReadMember)
	w.at(asleep, func() {
		if w.healed || !f.up || f.frozenUntil > w.now {
			return
		}
		w.cover.add("follower suspended")
		f.sleep(wakes - asleep)
		w.cutOff(f, w.now, wakes+et/2)
		h.hunts(m.g, w.now, wakes, et/12, func() { h.asksOf(m.n, opAppend, true) })
		h.reads(f, m.g, wakes, wakes+et/2, opReadWithin)
	})
}

// starves says how a message fares on a link that is to bear no entries.
func (l *link) starves(now time.Duration, message any) (lost, again bool) {
	if now >= l.starvedUntil {
		return false, false
	}
	switch message.(type) {
	case *messages.AppendEntries, *messages.OfferSnapshot:
		return true, false
	case *messages.ReadIndexConfirmed:
		return false, true
	}
	return false, false
}

// lateIndex is how late an answer about an index comes.
func lateIndex(w *World) time.Duration {
	return 1 + time.Duration(w.wire.Float64()*float64(w.setup.electionTimeout))
}

// sleep suspends the machine: it does nothing, its timers wait, and one of its clocks
// stands still.
func (n *node) sleep(d time.Duration) {
	w := n.w
	n.sleepsUntil = w.now + d
	n.frozenUntil = max(n.frozenUntil, n.sleepsUntil)
	n.slept += time.Duration(float64(d) * n.rate)
	for _, e := range w.events {
		if e.timerOf == n && e.life == n.life && !e.dead {
			e.at += d
		}
	}
	heap.Init(&w.events)
}
