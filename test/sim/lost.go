package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/messages"
)

// lostOne of so many seeds ends with a majority that is lost for ever.
const lostOne = 4

// lostPhase has some worlds lose all nodes but one for ever, after that one was cut off
// and the others have gone on for a while. It is ordered to go on alone, must serve, and
// must hold what it held before, also after a power cut.
func (w *World) lostPhase() {
	rng := stream(w.seed, chanceLost, 0)
	if w.failure != nil || w.guests != nil || rng.IntN(lostOne) > 0 {
		return
	}
	survivor := w.drawSurvivor(rng)
	if survivor == nil {
		return
	}
	for _, n := range w.everyone {
		if !n.up {
			n.restartIn(time.Duration(rng.Int64N(int64(w.setup.electionTimeout))))
		}
	}
	if !w.settles() {
		if w.failure == nil && !w.beyondRepair() && !w.nowhere() {
			w.violate("converges after healing", "%s before a majority is lost", w.whyNot())
		}
		return
	}
	before := w.cutOffForEver(survivor)
	w.goOnWithout(rng)
	w.loseAllBut(survivor)
	w.runUntil(w.now+3*w.setup.electionTimeout, nil)
	for _, g := range w.checks.groups {
		g.goBack(before[g.id-1], w.setup.sessions)
		w.resetGroup(survivor, g)
	}
	w.servesAlone(survivor)
	if w.failure == nil {
		survivor.crash(true)
		survivor.restartIn(0)
		w.servesAlone(survivor)
	}
}

// drawSurvivor picks a node that is a member of every group and decides none alone.
func (w *World) drawSurvivor(rng *rand.Rand) *node {
	for _, i := range rng.Perm(len(w.nodes)) {
		fit := !w.nodes[i].witness() // who has no state is refused
		for _, g := range w.checks.groups {
			c, _ := g.settled()
			fit = fit && c.has(w.nodes[i].id) && !c.decide(func(id string) bool { return id == w.nodes[i].id })
		}
		if fit {
			return w.nodes[i]
		}
	}
	return nil
}

// cutOffForEver cuts a node's links, and returns what its groups' models know when nothing can
// reach it any more.
func (w *World) cutOffForEver(n *node) (before []*heldBefore) {
	w.net.each(func(from, to int, l *link) { l.cut = from == n.number || to == n.number })
	w.runUntil(w.now+w.setup.electionTimeout/2, nil)
	for _, g := range w.checks.groups {
		before = append(before, g.remember(g.members[n.number]))
	}
	return before
}

// goOnWithout has clients write on both sides of the cut. Of those nobody waits for an
// answer: it may be lost with the rest.
func (w *World) goOnWithout(rng *rand.Rand) {
	for _, g := range w.checks.groups {
		for _, n := range w.nodes {
			if rng.IntN(2) == 0 {
				continue
			}
			c := &client{w: w, name: fmt.Sprintf("client-%d-of-the-lost", g.id), group: g.id}
			c.register(n)
			defer n.host.system.ProcessRegistry.Remove(actor.NewPID(n.address, c.name))
			c.send(n.gatewayPID(), c.newOp(n, opAppend, 0))
		}
	}
	w.runUntil(w.now+time.Duration(rng.Int64N(int64(4*w.setup.electionTimeout))), nil)
}

func (w *World) loseAllBut(survivor *node) {
	for _, n := range w.everyone {
		if n != survivor && n.up {
			n.crash(true)
		}
	}
}

// resetGroup orders the survivor to go on alone, without the word that it takes first. One
// that leads asleep has to learn by being asked that nobody answers any more.
func (w *World) resetGroup(n *node, g *groupModel) {
	order := func(accept bool) {
		n.host.system.Root.RequestWithCustomSender(n.memberPID(g.id), &messages.ResetPeers{Group: g.id, AcceptLoss: accept}, w.probe.pid(n))
		w.runUntil(w.now+w.setup.electionTimeout/4, nil)
	}
	if m := g.members[n.number]; m.leads != 0 && m.asleep {
		w.cover.add("reset of one that leads asleep")
		order(true)
		if g.before == nil {
			w.violate("a reset keeps what is held", "group %d: %s goes on alone while it leads", g.id, n.id)
		}
		w.runUntil(w.now+2*w.setup.electionTimeout, nil)
	}
	for _, accept := range []bool{false, true} {
		order(accept)
		if reset := g.before == nil; reset && !accept {
			w.violate("a reset keeps what is held", "group %d: %s goes on alone without being told to accept loss", g.id, n.id)
		}
	}
	done := func() bool { return g.before == nil }
	if !w.runUntil(w.now+w.settleTime(), done) && w.failure == nil {
		w.violate("serves after healing", "group %d: %s does not go on alone", g.id, n.id)
	}
}

func (w *World) servesAlone(n *node) {
	for _, g := range w.checks.groups {
		if w.failure == nil && !w.runUntil(w.now+w.settleTime(), func() bool { return n.up && g.members[n.number].leads != 0 }) && w.failure == nil {
			w.violate("serves after healing", "group %d: %s does not lead alone", g.id, n.id)
		}
		if w.failure == nil {
			w.serves(n, g)
		}
	}
}
