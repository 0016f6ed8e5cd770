package core

import "fmt"

// Append is what a leader asks a follower to store: entries First..Last of one
// term, right after Prev. An append without entries has Last == Prev.Index.
type Append struct {
	Prev Position
	Term Term // of the entries
	Last Index
}

// Match is a follower's decision on an Append.
type Match struct {
	// Accepted: the log holds Prev. Otherwise Hint says where to try next and
	// nothing else is set.
	Accepted bool
	Hint     Position

	// TruncateFrom is the first entry that conflicts and must go, 0 for none.
	TruncateFrom Index
	// AppendFrom is the first entry of the append that is new, 0 for none.
	AppendFrom Index
	// MatchIndex is the end of the append: what may be acknowledged once durable.
	// Never the log's own last index, which may hold entries the leader lacks.
	MatchIndex Index
}

// MatchAppend decides how an append fits a log of which everything up to commit
// is committed (paper §5.3). Entries that are already there stay: only a real
// conflict truncates, because a delayed append is shorter than what came after it.
// It panics when a committed entry would have to change: then the log or the
// leader is wrong, and going on would lose data.
func MatchAppend(log *LogShape, commit Index, a Append) Match {
	if a.Prev.Index < log.Before().Index {
		// What lies below was compacted, and so committed: it matches by Leader
		// Completeness (§5.4). Go on from where this log begins.
		if a.Last <= log.Before().Index {
			return Match{Accepted: true, MatchIndex: a.Last}
		}
		a.Prev = log.Before()
	} else if !log.Has(a.Prev) {
		if a.Prev.Index <= commit {
			panic(fmt.Sprintf("core: the leader has %v where another entry is committed (commit %d)", a.Prev, commit))
		}
		return Match{Hint: log.HintBelow(a.Prev.Index, a.Prev.Term)}
	}
	m := Match{Accepted: true, MatchIndex: a.Last}
	if a.Last == a.Prev.Index {
		return m
	}
	fresh, conflict := firstNew(log, a)
	switch {
	case conflict && fresh <= commit:
		panic(fmt.Sprintf("core: entry %d is committed and conflicts with one of term %d", fresh, a.Term))
	case conflict:
		m.TruncateFrom, m.AppendFrom = fresh, fresh
	case fresh <= a.Last:
		m.AppendFrom = fresh
	}
	return m
}

// firstNew finds the first entry of the append that the log does not hold, and
// whether it holds another in its place. All of the append's entries have one
// term, so within a run of the log either all match or none does.
func firstNew(log *LogShape, a Append) (i Index, conflict bool) {
	last := log.Last().Index
	for i = a.Prev.Index + 1; i <= a.Last; {
		if i > last {
			return i, false
		}
		run := log.runs[log.find(i)]
		if run.Term != a.Term {
			return i, true
		}
		i = run.Last + 1
	}
	return i, false
}

// FollowerCommit is how far a follower may commit after an append or heartbeat
// that vouches for the log up to match: never further, since beyond it the log may
// hold entries the leader lacks (paper figure 2, AppendEntries rule 5).
func FollowerCommit(commit, leaderCommit, match Index) Index {
	return max(commit, min(leaderCommit, match))
}
