package sim

import "github.com/protoraft/protoraft/fsm"

// State machine safety: if a member has applied an entry at an index, no member ever
// applies another one there (paper §5.4.3), and after the same index all machines
// are in the same state. Entries are applied in order, each once, none skipped, and
// none before it is committed. Log time never goes back.

func (m *memberModel) applied(e fsm.Entry, state uint64) {
	w, g := m.c.w, m.g
	if e.Index > m.commit || e.Index > uint64(len(g.committed)) {
		w.violate("index order", "group %d: %s applies %d, commit is %d", g.id, m.n.id, e.Index, m.commit)
		return
	}
	c := g.committed[e.Index-1]
	if c.term != e.Term || !c.command() || c.data != digest(e.Data) {
		w.violate("state machine safety", "group %d: %s applies another entry at %d than was committed", g.id, m.n.id, e.Index)
		return
	}
	if !g.sessions.decided(m, e.Index) {
		return
	}
	for i := m.appliedI + 1; i < e.Index; i++ {
		if g.committed[i-1].command() && !g.sessions.passed[i] {
			w.violate("state machine safety", "group %d: %s applies %d after %d and skips %d", g.id, m.n.id, e.Index, m.appliedI, i)
			return
		}
	}
	if e.Index <= m.appliedI {
		w.violate("state machine safety", "group %d: %s applies %d after %d", g.id, m.n.id, e.Index, m.appliedI)
		return
	}
	if t := e.Time.UnixNano(); t < m.lastTime {
		w.violate("log time never goes back", "group %d: %s applies %d at %d after %d", g.id, m.n.id, e.Index, t, m.lastTime)
	} else {
		m.lastTime = t
	}
	m.appliedI = e.Index
	if known, ok := g.states[e.Index]; !ok {
		g.states[e.Index] = state
		m.c.history.applied(g, e)
	} else if known != state {
		w.violate("state machine safety", "group %d: %s is in another state after %d", g.id, m.n.id, e.Index)
	}
}

func (m *memberModel) onEntriesApplied(index uint64) {
	if index < m.reported || index > m.commit {
		m.c.w.violate("index order", "group %d: %s reports %d applied after %d, commit is %d", m.g.id, m.n.id, index, m.reported, m.commit)
	}
	m.reported = index
	if !m.applierEnded { // its table has let in what its machine then failed at
		m.g.sessions.compare(m, index)
	}
}
