package sim

// Leader completeness: what a leader has committed is in the log of every leader of
// a later term (paper §5.4). Commit quorum: when an index is first acted on as
// committed, a majority has it on disk, and from then on a majority always does.
// Committed entries stay what they are, on every member and for ever. A leader commits
// by counting only what is of its own term: before the first such entry is on a
// majority of disks it commits nothing new (paper §5.4.2, figure 8).

// claim: the member acts on commit as the commit index; term is the one it does so
// in.
func (m *memberModel) claim(what string, term, commit uint64) {
	w, g := m.c.w, m.g
	if commit > uint64(len(m.log)) {
		w.violate("index order", "group %d: %s of %s commits to %d, its log ends at %d", g.id, what, m.n.id, commit, len(m.log))
		return
	}
	if shared := min(commit, uint64(len(g.committed))); shared > 0 && g.committed[shared-1].chain != m.log[shared-1].chain {
		w.violate("committed entries stay", "group %d: %s of %s commits to %d, where another entry or history is committed", g.id, what, m.n.id, shared)
		return
	}
	if commit <= uint64(len(g.committed)) {
		return
	}
	if m.leads != 0 && commit > uint64(len(m.disk)) {
		w.cover.add("commit before the leader's own disk")
	}
	first := uint64(len(g.committed)) + 1
	for i := first; i <= commit; i++ {
		g.committed = append(g.committed, committedEntry{m.log[i-1], term, m.counting(i)})
	}
	g.checkQuorum(commit, commit, "on commit")
	g.checkLeft(first)
	if m.leads == term && commit > m.tallied {
		m.checkOwnTerm()
	}
	for _, o := range g.members {
		if o.leads > term {
			g.checkComplete(o)
		}
	}
}

// tally notes what a leader commits when a peer has acknowledged up to match, whether or
// not it comes to say so: whose own disk is full hands nothing over, and may lose its
// office before it beats again. What it has committed then it may say when it leads a
// later term, before it has committed there.
func (m *memberModel) tally(match uint64) {
	for i := min(match, uint64(len(m.log))); i > m.tallied && m.log[i-1].term == m.leads; i-- {
		holds := func(id string) bool {
			return m.matches[id] >= i || id == m.n.id && i <= uint64(len(m.disk)) && m.disk[i-1].chain == m.log[i-1].chain
		}
		if m.current().decide(holds) {
			m.tallied = i
		}
	}
}

func (m *memberModel) checkOwnTerm() {
	counted := m.g.counts(m.counting(m.termStart), func(o *memberModel) bool {
		held, start := o.held(), m.termStart
		return start <= uint64(len(held)) && held[start-1].term == m.leads
	})
	if !counted {
		m.c.w.violate("commit of the own term", "group %d: %s commits in term %d, whose first entry, %d, is not on the disks of a quorum of %v",
			m.g.id, m.n.id, m.leads, m.termStart, m.current())
	}
}

// checkQuorum counts who has the committed entries first..last on disk.
func (g *groupModel) checkQuorum(first, last uint64, when string) {
	for i := first; i <= last; i++ {
		by := g.committed[i-1].by
		if !g.counts(by, func(m *memberModel) bool { return m.holds(i) }) {
			w := g.members[0].c.w
			w.violate("commit quorum", "group %d: committed entry %d is not on the disks of a quorum of %v, %s", g.id, i, by, when)
			return
		}
	}
}

// holds says whether the member's disk has the committed entry.
func (m *memberModel) holds(i uint64) bool {
	held, snapshot := m.held(), m.snapshots.durable
	if m.forgot {
		snapshot = m.beforeSnapshot
	}
	return i <= snapshot || i <= uint64(len(held)) && held[i-1].chain == m.g.committed[i-1].chain
}

// checkComplete compares a leader's log with what leaders of earlier terms have
// committed.
func (g *groupModel) checkComplete(m *memberModel) {
	i := len(g.committed)
	for i > 0 && g.committed[i-1].in >= m.leads {
		i--
	}
	if i > 0 && (i > len(m.log) || m.log[i-1].chain != g.committed[i-1].chain) {
		m.c.w.violate("leader completeness", "group %d: %s leads term %d without entry %d, committed in term %d", g.id, m.n.id, m.leads, i, g.committed[i-1].in)
	}
}

func (m *memberModel) onApplyCommitted(commit uint64) {
	if commit <= m.commit {
		m.c.w.violate("index order", "group %d: %s hands over up to %d after %d", m.g.id, m.n.id, commit, m.commit)
		return
	}
	m.claim("hand-over", m.asked.Term, commit)
	m.commit = commit
}

// becomesDurable: the disk has changed for good.
func (m *memberModel) becomesDurable(now image) {
	m.checkHard(now.hard)
	before := m.disk
	m.disk, m.hard, m.note, m.snapshots.purged = now.log, now.hard, now.note, now.purged
	m.voted()
	m.remembers()
	// Only where the new image lacks what the old one had can a quorum have got lost.
	last := min(uint64(len(before)), uint64(len(m.g.committed)))
	same := min(last, uint64(len(m.disk)))
	for same > 0 && m.disk[same-1].chain != before[same-1].chain {
		same--
	}
	if same < last {
		m.g.checkQuorum(same+1, last, "after "+m.n.id+" has truncated")
	}
}
