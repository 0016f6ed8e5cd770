package core

import "fmt"

// LogShape knows the term of every entry of a log, as stretches of one term: a
// few words an election, whatever the log's length.
type LogShape struct {
	before Position // the entry before the first, 0@0 at the start of the log
	runs   []TermRun
}

// TermRun says that the entries First..Last are of one term.
type TermRun struct {
	Term        Term
	First, Last Index
}

// NewLogShape describes a log whose first entry follows before. Runs must be in
// order and without gaps.
func NewLogShape(before Position, runs []TermRun) LogShape {
	l := LogShape{before: before}
	for _, r := range runs {
		l.Append(r.Term, r.First, r.Last)
	}
	return l
}

// First is the index of the first entry held, or where it will be.
func (l *LogShape) First() Index { return l.before.Index + 1 }

// Before is the position before the first entry held.
func (l *LogShape) Before() Position { return l.before }

// Last is the position of the last entry.
func (l *LogShape) Last() Position {
	if n := len(l.runs); n > 0 {
		return Position{l.runs[n-1].Last, l.runs[n-1].Term}
	}
	return l.before
}

// TermAt returns the term of the entry at i. It is not known below Before and
// beyond Last; an unknown term is never 0 in disguise.
func (l *LogShape) TermAt(i Index) (Term, bool) {
	if i == l.before.Index {
		return l.before.Term, true
	}
	if r := l.find(i); r >= 0 {
		return l.runs[r].Term, true
	}
	return 0, false
}

// Has says whether the log holds an entry at p.
func (l *LogShape) Has(p Position) bool {
	t, ok := l.TermAt(p.Index)
	return ok && t == p.Term
}

// find returns the run that holds i, or -1. Almost always it is the last one.
func (l *LogShape) find(i Index) int {
	for r := len(l.runs) - 1; r >= 0; r-- {
		if l.runs[r].First <= i {
			if i <= l.runs[r].Last {
				return r
			}
			return -1
		}
	}
	return -1
}

// Append adds entries first..last of one term at the end.
func (l *LogShape) Append(term Term, first, last Index) {
	end := l.Last()
	if first != end.Index+1 || last < first || term < end.Term {
		panic(fmt.Sprintf("core: append %d..%d of term %d to a log that ends at %v", first, last, term, end))
	}
	if n := len(l.runs); n > 0 && l.runs[n-1].Term == term {
		l.runs[n-1].Last = last
		return
	}
	l.runs = append(l.runs, TermRun{term, first, last})
}

// TruncateFrom forgets every entry at or above i.
func (l *LogShape) TruncateFrom(i Index) {
	if i < l.First() {
		panic(fmt.Sprintf("core: truncate from %d a log that begins at %d", i, l.First()))
	}
	for n := len(l.runs); n > 0 && l.runs[n-1].Last >= i; n = len(l.runs) {
		if l.runs[n-1].First < i {
			l.runs[n-1].Last = i - 1
			return
		}
		l.runs = l.runs[:n-1]
	}
}

// CompactTo forgets every entry at or below i. The log then begins after it.
func (l *LogShape) CompactTo(i Index) {
	term, known := l.TermAt(i)
	if !known || i > l.Last().Index {
		panic(fmt.Sprintf("core: compact up to %d a log of %d to %v", i, l.First(), l.Last()))
	}
	l.before = Position{i, term}
	gone := 0
	for gone < len(l.runs) && l.runs[gone].Last <= i {
		gone++
	}
	l.runs = l.runs[:copy(l.runs, l.runs[gone:])]
	if len(l.runs) > 0 {
		l.runs[0].First = max(l.runs[0].First, i+1)
	}
}

// HintBelow is what a follower tells a leader whose append it refuses: the last
// entry at or below i whose term is not above term. The leader's next guess may
// jump there, over whole terms at once (paper §5.3).
func (l *LogShape) HintBelow(i Index, term Term) Position {
	for r := len(l.runs) - 1; r >= 0; r-- {
		run := l.runs[r]
		if run.First <= i && run.Term <= term {
			return Position{min(run.Last, i), run.Term}
		}
	}
	return l.before
}
