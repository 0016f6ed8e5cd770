package sim

import (
	"slices"
	"strings"
	"time"
)

// A machine drifts when what it holds is not what its log says: memory that has
// failed, or code that is not deterministic. Here only the number it gives for its
// state goes wrong, so that nothing but the comparison between members can notice.
// One member of a group drifts at a time, through restarts, until it is noticed: a
// majority never does, where there are more than two; so not where there are spares, or
// members change. Whoever stops for it is started again, as an operator would. Nor where
// there are snapshots: the own one would bring the drift back, until somebody removes it.

// hashing is the world's machine, with a hash of its state.
type hashing struct{ *machine }

// StateHash implements fsm.Hasher.
func (h *hashing) StateHash() uint64 {
	state := max(h.state, 1)
	if h.member != nil && h.member.drifts {
		state ^= 1 << 40
	}
	return state
}

// drift strikes the members of a node.
func (w *World) drift(n *node) {
	if !w.setup.hashing || w.guests != nil || n.outsider || w.setup.spares > 0 || w.setup.witness || slices.Contains(w.setup.strikes, strikeMembers) {
		return
	}
	for _, g := range w.checks.groups {
		if m := g.members[n.number]; !m.failed && !g.drifts() {
			m.drifts, g.drifted = true, true
			w.cover.add("machine drifts")
		}
	}
}

func (g *groupModel) drifts() bool {
	for _, m := range g.members {
		if m.drifts {
			return true
		}
	}
	return false
}

// driftNoticed says whether a member has stopped for a state that drifts, and must
// have: its own, or nobody knows whose where there are two. It is not the fault of any
// other member.
func (m *memberModel) driftNoticed(reason string) bool {
	split := strings.Contains(reason, "no state is a majority's")
	switch w := m.c.w; {
	case strings.Contains(reason, "the state restored is") && m.g.drifted:
		w.cover.add("snapshot of a state that drifts refused")
		return true
	case !strings.HasPrefix(reason, "state diverged"):
		return false
	case split && m.g.drifted && len(m.g.members) == 2:
		w.cover.add("split state stopped")
	case split || !m.drifts:
		w.violate("a majority is never stopped for a minority's state", "group %d: %s: %s", m.g.id, m.n.id, reason)
		return true
	case strings.Contains(reason, "than the leader here"):
		w.cover.add("diverged leader stopped")
	default:
		w.cover.add("diverged member stopped")
	}
	m.drifts = false // from the next life on: this one has ended
	if m.c.w.script != nil {
		return true // it starts nodes when it wants to
	}
	n, life := m.n, m.n.life
	m.c.w.after(time.Duration(m.c.w.chaos.Int64N(int64(m.c.w.setup.electionTimeout))), func() {
		if n.up && n.life == life {
			n.crash(false)
			n.restartIn(0)
		}
	})
	return true
}

// endDrift starts the nodes again whose machines drift: nothing else mends them.
func (w *World) endDrift() {
	for _, n := range w.nodes {
		for _, g := range w.checks.groups {
			m := g.members[n.number]
			if n.up && m.drifts {
				n.crash(false)
			}
			m.drifts = false
		}
	}
}
