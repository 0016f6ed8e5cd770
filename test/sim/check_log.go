package sim

import "github.com/protoraft/protoraft/actors"

// Leader append-only: a leader never overwrites or deletes entries of its log
// (paper §5.3). Log matching: two logs with an entry of one index and term are equal
// up to it; checked by comparing the chain of every entry appended anywhere with
// the first one seen at its index and term.

func (m *memberModel) onPersistEntries(p *actors.PersistEntries) {
	w, g := m.c.w, m.g
	if from := uint64(p.TruncateFrom); from != 0 {
		m.truncated(from)
	}
	b := &p.Block
	if b.Count == 0 {
		return
	}
	if b.FirstIndex != uint64(len(m.log))+1 || b.PrevTerm != lastTerm(m.log) || b.Term < b.PrevTerm {
		w.violate("index order", "group %d: %s appends %d of term %d after %d, its log ends at %d of term %d",
			g.id, m.n.id, b.FirstIndex, b.Term, b.PrevTerm, len(m.log), lastTerm(m.log))
		return
	}
	from := len(m.log)
	var err error
	if m.log, err = extend(m.log, b); err != nil {
		w.violate("log matching", "group %d: %s appends a block that cannot be read: %v", g.id, m.n.id, err)
		return
	}
	for i, e := range m.log[from:] {
		at := position{uint64(from+i) + 1, e.term}
		if first, ok := g.known[at]; !ok {
			g.known[at] = e
		} else if first.chain != e.chain {
			w.violate("log matching", "group %d: %s has another entry, or another history, at %d of term %d", g.id, m.n.id, at.index, at.term)
			return
		}
	}
	m.learnConfigs(b, from+1)
}

func (m *memberModel) truncated(from uint64) {
	w, g := m.c.w, m.g
	switch {
	case m.leads != 0:
		w.violate("leader append-only", "group %d: %s, leader of term %d, truncates from %d", g.id, m.n.id, m.leads, from)
	case from <= m.commit:
		w.violate("committed entries stay", "group %d: %s truncates from %d, it has acted on commit %d", g.id, m.n.id, from, m.commit)
	}
	w.cover.add("conflict truncation")
	if from <= uint64(len(m.disk)) {
		w.cover.add("conflict truncation of durable entries")
	}
	if from <= m.loaded {
		w.cover.add("conflict truncation of entries from before a restart")
		m.loaded = from - 1
	}
	if from <= uint64(len(m.log)) {
		m.log = m.log[: from-1 : from-1]
		if n := len(m.configs); n > 0 && m.configs[n-1] >= int(from) {
			w.cover.add("members: configuration truncated")
		}
		m.findConfigs(int(from))
	}
}
