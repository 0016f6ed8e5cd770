package sim

import (
	"errors"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/logstore/snapshots"
	"github.com/protoraft/protoraft/messages"
)

// healPhase mends everything, waits for the groups to agree within a bound, has every
// node serve a fresh write and a fresh read, and looks what the disks have.
func (w *World) healPhase() {
	if w.failure != nil {
		return
	}
	w.heal()
	if !w.settles() {
		if w.failure == nil && (w.beyondRepair() || w.nowhere()) {
			w.cover.add("memory lost that a change of members needed")
			return
		}
		if w.failure == nil {
			w.violate("converges after healing", "%s after %v", w.whyNot(), w.settleTime())
		}
		return
	}
	for _, n := range w.everyone {
		for _, g := range w.checks.groups {
			if c, _ := g.settled(); n.outsider || c.has(n.id) {
				w.serves(n, g)
			}
		}
	}
	if w.failure == nil && !w.runUntil(w.now+w.settleTime(), w.converged) && w.failure == nil {
		w.violate("converges after healing", "%s after fresh writes", w.whyNot())
	}
	// An answer that got lost is made up for at the deadline.
	w.runUntil(max(w.now, w.thawed)+2*w.setup.requestTimeout+time.Second, nil)
	if w.failure == nil {
		w.checks.history.finish()
		w.guests.compare()
		w.scan()
	}
}

func (w *World) heal() {
	w.trace.printf("healed")
	w.healed, w.net.calm = true, true
	w.thawed = w.net.heal()
	w.hearLate()
	for i, factor := range w.setup.syncOf {
		w.setup.syncOf[i] = min(factor, 1)
	}
	w.endDrift()
	w.endMoves()
	for _, n := range w.everyone {
		n.actsLeft = -1
		w.thawed = max(w.thawed, n.frozenUntil)
		n.disk.Inject(nil)
		n.emptyDisk()
		n.mend()
		if n.frozenUntil > max(w.now, n.sleepsUntil) {
			// What was put off until then comes then; the rest need not wait.
			n.frozenUntil = max(n.sleepsUntil, min(n.frozenUntil, w.now+w.setup.electionTimeout))
		}
		if !n.up && (!n.outsider || w.mover == nil) { // else endMoves has said when
			n.restartIn(time.Duration(w.chaos.Int64N(int64(w.setup.electionTimeout))))
		}
	}
}

// settles waits for the groups to agree, and longer for as long as those behind catch
// up: with a window of one message that may take a while.
func (w *World) settles() bool {
	for {
		lag := w.lag()
		if w.runUntil(max(w.now, w.thawed)+w.settleTime(), w.converged) {
			return true
		}
		if w.failure != nil || w.lag() >= lag {
			return false
		}
	}
}

// lag counts the entries that members lack of the longest log of their group.
func (w *World) lag() (lag int) {
	for _, g := range w.checks.groups {
		longest := 0
		for _, m := range g.members {
			longest = max(longest, len(m.log))
		}
		for _, m := range g.members {
			if g.involves(m.n.id) {
				lag += longest - len(m.disk)
			}
		}
	}
	return lag
}

func (w *World) converged() bool { return w.whyNot() == "" }

// whyNot says what is missing for the groups to agree.
func (w *World) whyNot() string {
	for _, c := range w.clients {
		if len(c.waiting) > 0 {
			return "a client waits: " + c.waiting[0].String()
		}
	}
	for _, n := range w.everyone {
		if !n.up || n.dying || n.frozenUntil > w.now {
			return n.id + " is not up"
		}
	}
	for _, g := range w.checks.groups {
		if why := g.whyNot(); why != "" {
			return why
		}
	}
	if n := w.astray(); n != nil {
		return n.id + " is not where its groups look for it"
	}
	return ""
}

// belonging are the members that the group has come to have.
func (g *groupModel) belonging() (out []*memberModel) {
	c, _ := g.settled()
	for _, m := range g.members {
		if c.has(m.n.id) {
			out = append(out, m)
		}
	}
	return out
}

// involves says whether id is a member for good, or is to become one.
func (g *groupModel) involves(id string) bool {
	c, _ := g.settled()
	return c.has(id) || c != nil && slices.ContainsFunc(c.Next, func(m *messages.Member) bool { return m.Id == id })
}

func (g *groupModel) whyNot() string {
	var leader *memberModel
	for _, m := range g.members {
		switch {
		case m.failed:
			return m.n.id + " has a failed member"
		case m.leads != 0 && leader != nil:
			return "there are two leaders"
		case m.leads != 0:
			leader = m
		}
	}
	if leader == nil {
		return "there is no leader: " + g.whoCould()
	}
	if c, _ := g.settled(); c == nil {
		return "no configuration is committed"
	}
	if leader.n.witness() || g.members[0].c.w.setup.priority(leader.n.number) < 0 {
		return leader.n.id + " leads and is not to"
	}
	if leader.current().changing() {
		return "a change of members to " + leader.current().String() + " has no end"
	}
	last := uint64(len(leader.log))
	for _, m := range g.belonging() {
		if m.asked.Term != leader.leads || uint64(len(m.log)) != last || uint64(len(m.disk)) != last || m.commit != last || m.reported != last {
			return m.n.id + " is behind the leader " + leader.n.id
		}
		if m.forgot {
			return m.n.id + " has not recovered what it forgot"
		}
	}
	return ""
}

// serves has a node take a write and a linearizable read, each tried again while it
// is refused.
func (w *World) serves(n *node, g *groupModel) {
	deadline := w.now + w.settleTime()
	c := &client{w: w, name: "last-client", group: g.id}
	c.register(n)
	defer n.host.system.ProcessRegistry.Remove(actor.NewPID(n.address, c.name))
	for _, kind := range []opKind{opAppend, opRead} {
		for done := false; !done && w.failure == nil; {
			o := c.newOp(n, kind, 0)
			c.waiting = []*op{o}
			c.send(n.gatewayPID(), o)
			if !w.runUntil(deadline, func() bool { return o.answers > 0 }) {
				if w.failure == nil {
					w.violate("serves after healing", "%v is not served in %v", o, w.settleTime())
				}
				return
			}
			if done = o.outcome == messages.Outcome_APPLIED; !done {
				w.runUntil(w.now+w.setup.electionTimeout/4, nil)
			}
		}
	}
}

// scan cuts the power everywhere and compares what the disks have with what is
// committed; the checks of a restart compare the rest.
func (w *World) scan() {
	for _, n := range w.nodes {
		n.crash(true)
		store, err := w.openStore(n)
		if err != nil {
			w.violate("a disk that works can be opened", "%s: %v", n.id, err)
			return
		}
		if n.snapshots, err = snapshots.Open(n.disk, snapshotDir); err != nil {
			w.violate("a disk that works can be opened", "%s: %v", n.id, err)
			return
		}
		n.decay(store)
		w.checks.booted(n, store)
		if err := errors.Join(store.Close(), n.snapshots.Close()); err != nil {
			w.violate("a store can be closed", "%s: %v", n.id, err)
		}
	}
	for _, g := range w.checks.groups {
		last := uint64(len(g.committed))
		for _, m := range g.belonging() {
			if !m.holds(last) {
				w.violate("what is acknowledged survives", "group %d: %s has not all of the %d committed entries on disk", g.id, m.n.id, last)
			}
		}
		for _, o := range w.checks.history.ops {
			if o.group == g.id && o.kind.writes() && o.outcome == messages.Outcome_APPLIED && (o.index == 0 || o.index > last) {
				w.violate("what is acknowledged survives", "%v was acknowledged at %d, committed are %d", o, o.index, last)
			}
		}
	}
}
