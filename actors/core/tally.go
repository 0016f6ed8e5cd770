package core

// Tally is a leader's count of who holds how much of its log, and what follows
// from it: the commit index.
type Tally struct {
	quorum    Quorum
	ahead     Quorum // what is to be committed must be so by this one, too; of nobody: there is none
	termStart Index  // the first entry of the leader's term
	match     map[NodeID]Index
	commit    Index
}

// NewTally begins a leadership whose first entry is termStart.
func NewTally(q Quorum, termStart, commit Index) *Tally {
	return &Tally{quorum: q, termStart: termStart, match: make(map[NodeID]Index), commit: commit}
}

// Advance notes that a member durably holds the log up to match and returns the
// commit index, and whether it moved. A late or repeated answer changes nothing: a
// match falls only by Forget.
func (t *Tally) Advance(id NodeID, match Index) (commit Index, moved bool) {
	if match <= t.match[id] {
		return t.commit, false
	}
	t.match[id] = match
	return t.count()
}

// SetQuorum counts by another configuration from here on, and returns what Advance
// does.
func (t *Tally) SetQuorum(q Quorum) (commit Index, moved bool) {
	t.quorum, t.ahead = q, Quorum{}
	return t.count()
}

// CountAhead has what is committed from here on counted by q as well, by which it will be
// counted alone when that is the active configuration's; nobody's quorum ends it. It
// returns what Advance does.
func (t *Tally) CountAhead(q Quorum) (commit Index, moved bool) {
	t.ahead = q
	return t.count()
}

func (t *Tally) count() (commit Index, moved bool) {
	reached := Reached(t.quorum, t.Match)
	if len(t.ahead.Voters) > 0 {
		reached = min(reached, Reached(t.ahead, t.Match))
	}
	// Counting replicas commits only entries of this term (paper §5.4.2, figure 8);
	// older ones commit beneath them. Otherwise a successor may erase what was
	// confirmed.
	if reached > t.commit && reached >= t.termStart {
		t.commit = reached
		return t.commit, true
	}
	return t.commit, false
}

// Forget notes that a member has lost what it held. The commit index stays: what it
// has acknowledged was committed then, and it does not vote until it holds it again.
func (t *Tally) Forget(id NodeID) { delete(t.match, id) }

// Match is what a member is known to hold durably.
func (t *Tally) Match(id NodeID) Index { return t.match[id] }

// Commit is the commit index.
func (t *Tally) Commit() Index { return t.commit }

// TermStart is the first entry of the leader's term.
func (t *Tally) TermStart() Index { return t.termStart }

// Settled says whether an entry of the leader's own term is committed: only then
// does it know all that is committed (paper §8).
func (t *Tally) Settled() bool { return t.commit >= t.termStart }

// Best is the voter that is to lead next: of those with the highest rank the one that
// holds the most; ok is false where there is none. One of a rank below 0 does not come
// into question. Ties go to the lower id.
func (t *Tally) Best(rank func(NodeID) int) (best NodeID, ok bool) {
	for _, id := range t.quorum.Voters {
		switch r := rank(id); {
		case r < 0:
		case !ok, r > rank(best),
			r == rank(best) && t.match[id] > t.match[best],
			r == rank(best) && t.match[id] == t.match[best] && id < best:
			best, ok = id, true
		}
	}
	return best, ok
}
