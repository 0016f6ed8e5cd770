package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/messages"
)

// Nodes move: an operator has a node's process start at another address and the members
// changed, in either order, one node at a time. The operator does what the manual says: no
// node leaves its place while a group needs it there, as far as anybody can tell.

// mover is the operator.
type mover struct {
	rng       *rand.Rand
	n         *node // that moves, nil for none
	to        string
	nodeFirst bool // it is started at the new address before the members are changed
	restarts  time.Duration
	givesUp   time.Duration
	vacant    []string // addresses that were left
	numbers   int
}

const homePort = "7000"

// drawMoves has members move in some worlds. It is drawn by itself: the others stay what
// they were.
func (s *setup) drawMoves(d draw) {
	if !d.chance(0.3) || s.nodes == s.spares || len(s.strikes) < 3 {
		return
	}
	for range 1 + len(s.strikes)/5 {
		s.strikes = append(s.strikes, strikeMove)
	}
}

func (w *World) operator() *mover {
	if w.mover == nil {
		w.mover = &mover{rng: stream(w.seed, chanceMoves, 1)}
		if w.script == nil { // which does that itself
			w.mindPlaces()
		}
	}
	return w.mover
}

// newAddress is one that a node has not had, or that another has left.
func (m *mover) newAddress(w *World, n *node) string {
	if len(m.vacant) > 0 && m.rng.IntN(3) == 0 {
		i := m.rng.IntN(len(m.vacant))
		if at := m.vacant[i]; !w.listsAnywhere(at) {
			m.vacant = slices.Delete(m.vacant, i, i+1)
			w.cover.add("member moves to where another was")
			return at
		}
	}
	m.numbers++
	return fmt.Sprintf("%s:%d", n.id, 7000+m.numbers)
}

// listsAnywhere says whether a member's configuration has somebody at an address.
func (w *World) listsAnywhere(address string) (found bool) {
	w.eachConfiguration(func(_ *groupModel, c *members) {
		for _, one := range c.everyone() {
			found = found || one.Address == address
		}
	})
	return found
}

// eachConfiguration visits what is settled, and what those members go by that have that or
// more. One that has less, or recovers, leads nobody: the others find it.
func (w *World) eachConfiguration(f func(*groupModel, *members)) {
	for _, g := range w.checks.groups {
		settled, index := g.settled()
		if settled != nil {
			f(g, settled)
		}
		for _, m := range g.members {
			if n := len(m.configs); n > 0 && m.configs[n-1] >= index && !m.recovers && !m.forgot {
				f(g, m.current())
			}
		}
	}
}

func (w *World) strikeMove(n *node) {
	if !w.begun() {
		return
	}
	m := w.operator()
	if m.n != nil || n.outsider || w.healed {
		return
	}
	m.n, m.to = n, m.newAddress(w, n)
	m.nodeFirst = m.rng.IntN(3) == 0
	m.restarts = w.now + time.Duration(m.rng.ExpFloat64()*2*float64(w.setup.electionTimeout))
	m.givesUp = w.now + 30*w.setup.electionTimeout
	if w.byAddress[m.to] == nil {
		w.byAddress[m.to] = n
	}
	w.trace.printf("%s is to move to %s, the node first: %v", n.id, m.to, m.nodeFirst)
}

// begun says whether every founder of every group has begun. Before, nobody can be told that
// another has moved: those that wait look for all of them where the first list has them.
func (w *World) begun() bool {
	founders := w.configuration()
	for _, g := range w.checks.groups {
		if c, _ := g.settled(); c == nil {
			return false
		}
		for _, one := range founders.Members {
			if m := g.byID(string(one.ID)); len(m.disk) == 0 && !m.forgot {
				return false
			}
		}
	}
	return true
}

// mindPlaces does what is next for the node that moves, and asks groups to look for nodes
// where they are, or are to be.
func (w *World) mindPlaces() {
	w.after(w.setup.electionTimeout/2, func() {
		w.moveOn()
		for _, n := range w.nodes {
			for _, g := range w.checks.groups {
				if c, _ := g.settled(); c.place(n.id) != "" && c.place(n.id) != w.wanted(n) {
					w.askMove(g, n, w.wanted(n))
				}
			}
		}
		w.mindPlaces()
	})
}

// wanted is where a group is to look for a node.
func (w *World) wanted(n *node) string {
	if m := w.mover; m.n == n && !m.nodeFirst {
		return m.to
	}
	return n.address
}

func (w *World) askMove(g *groupModel, n *node, to string) {
	via := w.nodes[w.mover.rng.IntN(len(w.nodes))]
	if !via.up {
		return
	}
	w.memberRequest++
	request := memberRequests + w.memberRequest*memberGroups + g.id
	var asked proto.Message = &messages.ChangeMembers{Group: g.id, Request: request, Move: []*messages.Member{{Id: n.id, Address: to}}}
	if c, _ := g.settled(); c.waitsFor(n.id) && n.address == to {
		asked = &messages.AbortChange{Group: g.id, Request: request}
		w.cover.add("change undone that waits for who has moved")
	}
	w.trace.printf("%s is asked for %v", via.id, asked)
	via.host.system.Root.RequestWithCustomSender(via.gatewayPID(), asked, w.probe.pid(via))
}

// waitsFor says whether a change under way may need a member to go on: then neither it nor
// a move of that member comes to an end.
func (c *members) waitsFor(id string) bool {
	return slices.ContainsFunc(c.Next, func(m *messages.Member) bool { return m.Id == id && m.Role != messages.Role_LEARNER })
}

func (w *World) moveOn() {
	m := w.mover
	switch n := m.n; {
	case n == nil:
	case n.address == m.to && n.up && w.looksFor(n):
		w.cover.add("member moved")
		if m.nodeFirst {
			w.cover.add("member moved, the node first")
		}
		m.n = nil
	case n.address == m.to && w.fits(n, n.address):
	case n.moves != "": // when it is up again
	case !w.fits(n, n.address):
		w.putBack(n)
	case w.now >= m.restarts && w.fits(n, m.to):
		w.relocate(n, m.to)
	case w.now >= m.givesUp && m.to != n.address:
		w.cover.add("move given up")
		m.to = n.address
	}
}

// relocate ends a node's process; the next one is somewhere else. Once all is mended nobody
// moves who need not, and clients that began meanwhile are told.
func (w *World) relocate(n *node, to string) {
	n.moves = to
	if w.healed {
		w.tellOutsiders()
	}
	if n.up {
		n.crash(w.mover.rng.IntN(3) > 0)
		n.restartIn(time.Duration(w.mover.rng.ExpFloat64() * float64(w.setup.downtime)))
	}
}

// fits says whether all groups can go on with a node at an address: they look for it there,
// or are enough without it and without those that have lost memory.
func (w *World) fits(n *node, address string) bool {
	fits := true
	w.eachConfiguration(func(g *groupModel, c *members) {
		at := c.place(n.id)
		fits = fits && (at == "" || at == address || g.counts(c, func(o *memberModel) bool {
			return o.n != n && !o.forgot && !o.recovers
		}))
	})
	return fits
}

// looksFor says whether all groups have come to look for a node where it is.
func (w *World) looksFor(n *node) bool {
	right := true
	w.eachConfiguration(func(_ *groupModel, c *members) {
		right = right && (c.place(n.id) == "" || c.place(n.id) == n.address)
	})
	return right
}

// astray is a node that a group has come to look for in another place, nil for none.
func (w *World) astray() *node {
	if w.mover == nil {
		return nil
	}
	for _, n := range w.nodes {
		for _, g := range w.checks.groups {
			if c, _ := g.settled(); c.place(n.id) != "" && c.place(n.id) != n.address {
				return n
			}
		}
	}
	return nil
}

// endMoves settles where the node that moves is to be from now on.
func (w *World) endMoves() {
	if w.mover == nil {
		return
	}
	w.tellOutsiders()
	if w.mover.n == nil {
		return
	}
	w.putBack(w.mover.n)
}

// putBack has the node run where no group needs it elsewhere: a quorum may have come to
// need it since it left, as when another has lost memory.
func (w *World) putBack(n *node) {
	m := w.mover
	for _, at := range w.candidates(n) {
		if w.fits(n, at) {
			m.to, m.nodeFirst = at, false
			break
		}
	}
	if n.moves = ""; n.address != m.to {
		w.relocate(n, m.to)
	}
}

// tellOutsiders starts those anew that have no member to learn from: while they asked for
// nothing, all that they were told of may have moved.
func (w *World) tellOutsiders() {
	for _, n := range w.everyone {
		if n.outsider && n.up {
			n.crash(false)
		}
		if n.outsider {
			n.restartIn(2 * w.setup.electionTimeout)
		}
	}
}

// candidates are where the node could be: where it is to be, where it is, and where a group
// looks for it.
func (w *World) candidates(n *node) []string {
	all := []string{w.mover.to, n.address}
	w.eachConfiguration(func(_ *groupModel, c *members) {
		if at := c.place(n.id); at != "" {
			all = append(all, at)
		}
	})
	return all
}

// nowhere says whether groups need a node in different places, as after a change of members
// that was on its way when it left.
func (w *World) nowhere() bool {
	if w.mover == nil {
		return false
	}
	return slices.ContainsFunc(w.nodes, func(n *node) bool {
		return !slices.ContainsFunc(w.candidates(n), func(at string) bool { return w.fits(n, at) })
	})
}
