package sim

// Election safety: at most one leader a term, ever (paper §5.2). A restart is no
// excuse: a member that led a term does not lead it again after it has forgotten
// that it did.

type leadership struct {
	node *node
	life int
}

func (m *memberModel) onLeadershipBegun(term uint64) {
	w := m.c.w
	if l, ok := m.g.leaders[term]; ok {
		w.violate("election safety", "group %d, term %d: %s leads, and %s did before", m.g.id, term, m.n.id, l.node.id)
		return
	}
	m.g.leaders[term] = leadership{m.n, m.n.life}
	if w.setup.priority(m.n.number) < 0 {
		w.cover.add("leader of last resort")
	}
	if m.n.witness() {
		w.cover.add("witness leads")
	}
	w.cover.add("leader elected")
	m.leads, m.termStart = term, uint64(len(m.log))+1
	m.entersOffice(&w.checks.turn)
	m.checkElected(term)
	for _, o := range m.g.members {
		if o.snapshots.receiving != 0 {
			w.cover.add("leader change during a snapshot's transfer")
		}
		if o != m && o.leads != 0 {
			w.cover.add("two leaders of different terms")
		}
	}
	for _, n := range w.nodes {
		if n.up && n.fault.struck() {
			w.cover.add("election while a disk has failed")
		}
	}
	m.g.checkComplete(m)
	m.checkElected(term)
}

// leaderSays: only the leader of a term speaks as one, and only when its term is
// durable.
func (m *memberModel) leaderSays(what string, term, commit uint64) {
	if l, ok := m.g.leaders[term]; !ok || l.node != m.n || l.life != m.n.life {
		m.c.w.violate("election safety", "group %d: %s from %s in term %d, which it does not lead", m.g.id, what, m.n.id, term)
		return
	}
	if durable := max(m.hard.Term, lastTerm(m.disk)); durable < term {
		m.c.w.violate("persisted before reply", "group %d: %s from %s in term %d, but its disk has term %d", m.g.id, what, m.n.id, term, durable)
	}
	m.claim(what, term, commit)
}
