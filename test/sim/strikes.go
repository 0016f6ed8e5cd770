package sim

import (
	"container/heap"
	"errors"
	"syscall"
	"time"

	"github.com/protoraft/protoraft/actors"
	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/messages"
)

// failure of a machine.
type failure int

const (
	failsNot failure = iota
	failsApply
	panicsInApply
	panicsInQuery
	failures
)

var errBroken = errors.New("broken by the simulation")

// leap has processes find that much time has passed, as on a host that slept: timers
// that would have gone off go off now, those of several members at once.
func (w *World) leap(nodes []*node) {
	d := draw{w.chaos}.time(w.setup.electionTimeout/2, 3*w.setup.electionTimeout)
	for _, n := range nodes {
		if !n.up {
			continue
		}
		n.origin += d
		for _, e := range w.events {
			if e.timerOf == n && e.life == n.life && !e.dead {
				e.at = max(w.now, e.at-time.Duration(float64(d)/n.rate))
			}
		}
	}
	heap.Init(&w.events)
	w.cover.add("clocks leap")
}

// strikeElections has the election timers of several members go off together, again
// and again.
func (w *World) strikeElections() {
	var nodes []*node
	for _, n := range w.nodes {
		if w.chaos.IntN(4) > 0 {
			nodes = append(nodes, n)
		}
	}
	for range 1 + w.chaos.IntN(4) {
		w.after(time.Duration(w.chaos.ExpFloat64()*float64(8*(w.setup.delay+w.setup.jitter+w.setup.sync))), func() {
			if !w.healed {
				w.leap(nodes)
			}
		})
	}
}

// isolate cuts a member, a leader where there is one, off from the other members, or
// those from it. Clients everywhere still reach it.
func (w *World) isolate(n *node) {
	how := w.chaos.IntN(4)
	w.net.each(func(from, to int, l *link) {
		members := from < len(w.nodes) && to < len(w.nodes)
		l.cut = members && (from == n.number && how != 1 || to == n.number && how != 2)
	})
	w.cover.add("leader cut off from the members only")
}

// panicIn has a turn of one of the process's actors end in a panic.
func (w *World) panicIn(n *node) {
	want := w.chaos.IntN(6)
	first := w.chaos.IntN(len(n.mailboxes))
	for i := range n.mailboxes {
		b := n.mailboxes[(first+i)%len(n.mailboxes)]
		fits := [...]bool{b.kind == memberActor, b.kind == replicatorActor, b.kind == replicatorActor,
			b.kind == applierActor, b.stores, b.kind == otherActor && !b.stores}
		if _, alive := n.host.system.ProcessRegistry.GetLocal(b.pid.Id); alive && fits[want] {
			b.poisoned = true
			b.schedule()
			return
		}
	}
}

// poison adds to a turn a message that no actor can bear.
func (m *stepMailbox) poison(heard []any) []any {
	w := m.n.w
	m.n.panicked = true
	m.poisoned = false
	name := "a member"
	var poison any = (*messages.RequestVote)(nil)
	switch {
	case m.kind == replicatorActor:
		name, poison = "a Replicator", (*messages.AppendAccepted)(nil)
	case m.kind == applierActor:
		name, poison = "an Applier", (*actors.ApplyCommitted)(nil)
	case m.log:
		name, poison = "the LogWriter", (*actors.PersistEntries)(nil)
	case m.pid.Id == actors.NodeName:
		name, poison = "the Node", (*actors.MemberStopped)(nil)
	case m.stores:
		name, poison = "the LogReader", (*actors.ReadEntries)(nil)
	case m.kind == otherActor:
		name, poison = "the Gateway", (*messages.Results)(nil)
	}
	if m.stores {
		m.n.felled = true
	}
	w.cover.add("panic of " + name)
	w.trace.printf("%s %s is to panic", m.n.id, m.pid.Id)
	w.trace.add(evFault, uint64(m.n.number), 3, m.number)
	return append(heard[:len(heard):len(heard)], poison)
}

// breakMachine has a member's machine fail from now on, until its process ends.
func (w *World) breakMachine(n *node) {
	m := w.checks.member(n, uint64(1+w.chaos.IntN(w.setup.groups)))
	if n.witness() {
		return
	}
	m.breaks = failure(1 + w.chaos.IntN(int(failures)-1))
}

// fail is asked before everything the machine does.
func (m *machine) fail(which ...failure) error {
	if m.member == nil {
		return nil
	}
	for _, f := range which {
		if m.member.breaks != f {
			continue
		}
		m.member.brokeInTurn = true
		m.member.c.w.cover.add("machine failed")
		if f != failsApply {
			panic(errBroken)
		}
		return errBroken
	}
	return nil
}

// readFault fails one of the reads of the log: the device does not answer, or the
// store finds other bytes than were written.
func (s *watchedStore) readFault(group uint64) error {
	if s.n.badReads == 0 {
		return nil
	}
	s.n.badReads--
	s.n.misread = true
	if s.n.w.chaos.IntN(2) == 0 {
		s.n.w.cover.add("read error")
		return syscall.EIO
	}
	s.n.w.cover.add("read of rotten bytes")
	return &logstore.CorruptError{Group: group, Where: logDir, Reason: "rotten by the simulation"}
}

// cut returns blocks in other pieces than they were written in: a store may, and a
// leader's log, a follower's and the Applier's portions then end at different places.
func (s *watchedStore) cut(blocks []messages.Block, first, last uint64) ([]messages.Block, error) {
	w := s.n.w
	if w.setup.cutReads == 0 {
		return blocks, nil
	}
	var out []messages.Block
	for _, b := range blocks {
		if b.Count == 1 || w.rng.Float64() >= w.setup.cutReads {
			out = append(out, b)
			continue
		}
		at := b.FirstIndex + uint64(w.rng.IntN(int(b.Count)-1))
		head, err := b.Prefix(at)
		if err != nil {
			return nil, err
		}
		rest, err := b.Suffix(at + 1)
		if err != nil {
			return nil, err
		}
		w.cover.add("block read in two pieces")
		if head.LastIndex() >= first {
			out = append(out, head)
		}
		if rest.FirstIndex <= last {
			out = append(out, rest)
		}
	}
	return out, nil
}

// endSoon ends a process that has lost an actor or its storage, as an operator would.
func (n *node) endSoon(within time.Duration) {
	w, life := n.w, n.life
	n.ending = true
	w.after(time.Duration(w.chaos.Int64N(int64(within))), func() {
		if n.up && n.life == life {
			n.crash(w.chaos.IntN(2) == 0)
			n.restartIn(w.drawDowntime())
		}
	})
}

// narrow makes draws small, and so election waits equal: members stand together.
type narrow struct {
	n     *node
	inner interface{ Uint64() uint64 }
}

func (c narrow) Uint64() uint64 {
	v := c.inner.Uint64()
	if c.n.w.healed || v&1 == 0 {
		return v
	}
	return v >> c.n.w.setup.narrow
}

// mend takes back what has not struck yet, and ends a process that has lost a member or
// is about to end.
func (n *node) mend() {
	n.badReads, n.slowUntil, n.orderLate, n.applierAwayUntil = 0, 0, nil, 0
	for _, b := range n.mailboxes {
		b.poisoned = false
	}
	lost := n.ending
	for _, g := range n.w.checks.groups {
		if !n.outsider {
			m := g.members[n.number]
			m.breaks, lost = failsNot, lost || m.failed
		}
	}
	if n.up && lost {
		n.crash(false)
	}
}

// holdUp makes a turn whose thread is taken away in its midst: what it says leaves
// later, in its order, when others have gone on.
func (m *stepMailbox) holdUp() {
	w := m.n.w
	w.cover.add("turn held up")
	w.after(time.Duration(w.rng.ExpFloat64()*float64(w.setup.electionTimeout)), m.withhold())
}

// withhold has a turn say nothing until it is released.
func (m *stepMailbox) withhold() (release func()) {
	w := m.n.w
	var said []func()
	w.withheld, m.away = &said, true
	m.invoker.InvokeUserMessage(&m.batch)
	w.withheld = nil
	return func() {
		m.n.whenAwake(m.life, func() {
			for _, leaves := range said {
				if m.n.acts(m.life) {
					leaves()
				}
			}
			m.away = false
			m.schedule()
		})
	}
}
