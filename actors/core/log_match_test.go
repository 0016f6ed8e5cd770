package core

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// plainMatch is the paper's AppendEntries (figure 2) read entry by entry. It
// returns the log after the append; bad says that a committed entry would change.
func plainMatch(p *plainLog, commit Index, a Append) (m Match, after *plainLog, bad bool) {
	after = p.clone()
	if a.Prev.Index >= p.before.Index {
		if t, ok := p.termAt(a.Prev.Index); !ok || t != a.Prev.Term {
			return Match{Hint: p.hintBelow(a.Prev.Index, a.Prev.Term)}, after, a.Prev.Index <= commit
		}
	}
	m = Match{Accepted: true, MatchIndex: a.Last}
	for i := max(a.Prev.Index, p.before.Index) + 1; i <= a.Last; i++ {
		t, ok := after.termAt(i)
		if ok && t == a.Term {
			continue
		}
		if ok {
			if i <= commit {
				return m, after, true
			}
			m.TruncateFrom = i
			after.terms = after.terms[:i-p.before.Index-1]
		}
		if m.AppendFrom == 0 {
			m.AppendFrom = i
		}
		after.terms = append(after.terms, a.Term)
	}
	return m, after, false
}

// perform does to the log what the match says.
func perform(l *LogShape, m Match, a Append) {
	if m.TruncateFrom != 0 {
		l.TruncateFrom(m.TruncateFrom)
	}
	if m.AppendFrom != 0 {
		l.Append(a.Term, m.AppendFrom, a.Last)
	}
}

func randomLog(r *rand.Rand, before Position, most int) *plainLog {
	p := &plainLog{before: before}
	for range r.IntN(most + 1) {
		p.terms = append(p.terms, max(p.last().Term, 1)+Term(r.IntN(5)/4))
	}
	return p
}

func TestMatchAppendIsThePaperEntryByEntry(t *testing.T) {
	var refused, truncated, appended, repeated, panicked int
	for seed := range uint64(20_000) {
		r := newRand(seed)
		var before Position
		if r.IntN(3) == 0 {
			before = Position{Index(1 + r.IntN(4)), 1}
		}
		p := randomLog(r, before, 8)
		commit := p.before.Index + Index(r.IntN(len(p.terms)+1))
		a := Append{Prev: Position{Index(r.IntN(10)), Term(r.IntN(4))}}
		if t, ok := p.termAt(a.Prev.Index); ok && r.IntN(2) == 0 {
			a.Prev.Term = t
		}
		a.Last = a.Prev.Index + Index(r.IntN(4))
		a.Term = max(a.Prev.Term, p.last().Term, 1) + Term(r.IntN(2))
		if r.IntN(2) == 0 {
			a.Term = max(a.Prev.Term, 1)
		}
		want, after, bad := plainMatch(p, commit, a)
		if wouldGoBack(after) {
			continue // no leader's log looks like that
		}
		l := p.shape()
		var got Match
		reason := panicOf(func() { got = MatchAppend(&l, commit, a) })
		if (reason != "") != bad {
			t.Fatalf("seed %d: panic %q, committed entry would change: %v (log %v, commit %d, append %+v)", seed, reason, bad, p, commit, a)
		}
		if bad {
			panicked++
			continue
		}
		if got != want {
			t.Fatalf("seed %d: %+v, expected %+v (log %v, commit %d, append %+v)", seed, got, want, p, commit, a)
		}
		perform(&l, got, a)
		compareShape(t, &l, after)
		switch {
		case !got.Accepted:
			refused++
		case got.TruncateFrom != 0:
			truncated++
		case got.AppendFrom != 0:
			appended++
		default:
			repeated++
		}
	}
	for name, n := range map[string]int{"refused": refused, "truncated": truncated, "appended": appended, "repeated": repeated, "panicked": panicked} {
		if n < 100 {
			t.Errorf("only %d appends %s: the test proves little", n, name)
		}
	}
}

func wouldGoBack(p *plainLog) bool {
	return !slices.IsSorted(p.terms) || len(p.terms) > 0 && p.terms[0] < p.before.Term
}

func TestMatchAppendRules(t *testing.T) {
	// 1..3 of term 1, 4..5 of term 2, 6..7 of term 4.
	runs := []TermRun{{1, 1, 3}, {2, 4, 5}, {4, 6, 7}}
	tests := []struct {
		name   string
		commit Index
		a      Append
		want   Match
	}{
		{"a shorter, delayed append does not truncate what follows", 3,
			Append{Position{1, 1}, 1, 2}, Match{Accepted: true, MatchIndex: 2}},
		{"the acknowledged index is the append's end, not the log's", 3,
			Append{Position{5, 2}, 0, 5}, Match{Accepted: true, MatchIndex: 5}},
		{"a conflict truncates from the conflicting entry on", 3,
			Append{Position{5, 2}, 5, 6}, Match{Accepted: true, TruncateFrom: 6, AppendFrom: 6, MatchIndex: 6}},
		{"a conflict in the middle of an append keeps what matches", 3,
			Append{Position{3, 1}, 2, 8}, Match{Accepted: true, TruncateFrom: 6, AppendFrom: 6, MatchIndex: 8}},
		{"an overlap is not appended twice", 3,
			Append{Position{5, 2}, 4, 9}, Match{Accepted: true, AppendFrom: 8, MatchIndex: 9}},
		{"a gap is refused, with the end of the log as hint", 3,
			Append{Position{9, 4}, 4, 10}, Match{Hint: Position{7, 4}}},
		{"the hint skips whole terms", 3,
			Append{Position{7, 3}, 3, 8}, Match{Hint: Position{5, 2}}},
		{"an append at the start of the log", 0,
			Append{Position{}, 1, 3}, Match{Accepted: true, MatchIndex: 3}},
		{"a probe beyond the end matches nothing", 3,
			Append{Position{8, 0}, 0, 8}, Match{Hint: Position{}}},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			l := NewLogShape(Position{}, runs)
			if got := MatchAppend(&l, c.commit, c.a); got != c.want {
				t.Errorf("%+v, expected %+v", got, c.want)
			}
		})
	}
}

// A place below the log's beginning was compacted, so it is committed and matches.
func TestCompactedPlaceIsNoConflict(t *testing.T) {
	for _, c := range []struct {
		a    Append
		want Match
	}{
		{Append{Position{2, 1}, 1, 4}, Match{Accepted: true, MatchIndex: 4}},
		{Append{Position{2, 1}, 2, 10}, Match{Accepted: true, MatchIndex: 10}},
		{Append{Position{2, 1}, 2, 12}, Match{Accepted: true, AppendFrom: 11, MatchIndex: 12}},
	} {
		l := NewLogShape(Position{5, 1}, []TermRun{{2, 6, 10}})
		if got := MatchAppend(&l, 6, c.a); got != c.want {
			t.Errorf("%+v: %+v, expected %+v", c.a, got, c.want)
		}
	}
}

// Refusals lead a leader to the place where the logs agree in as many steps as
// there are terms, not entries.
func TestHintsFindThePlaceWithinTheNumberOfTerms(t *testing.T) {
	for seed := range uint64(2_000) {
		r := newRand(seed)
		common := randomLog(r, Position{}, 6)
		leader, follower := common.clone(), common.clone()
		for i := range 60 {
			if i%2 == 0 || r.IntN(3) == 0 {
				leader.terms = append(leader.terms, leader.last().Term+Term(r.IntN(8)/7)*2+Term(leader.last().Term%2))
			} else {
				follower.terms = append(follower.terms, follower.last().Term+Term(r.IntN(8)/7)*2+1-Term(follower.last().Term%2))
			}
		}
		ls, fs := leader.shape(), follower.shape()
		terms := map[Term]bool{}
		for _, t := range append(leader.terms, follower.terms...) {
			terms[t] = true
		}
		next := ls.Last().Index + 1
		for steps := 0; ; steps++ {
			if steps > len(terms)+1 {
				t.Fatalf("seed %d: no agreement after %d probes with %d terms", seed, steps, len(terms))
			}
			term, _ := ls.TermAt(next - 1)
			m := MatchAppend(&fs, 0, Append{Prev: Position{next - 1, term}, Last: next - 1})
			if m.Accepted {
				break
			}
			next = ls.HintBelow(min(m.Hint.Index, next-2), m.Hint.Term).Index + 1
		}
		if leader.last().Index >= next-1 && next-1 < Index(len(common.terms)) {
			t.Fatalf("seed %d: went back to %d though the logs agree up to %d", seed, next-1, len(common.terms))
		}
	}
}

// The commit index is bounded by what the append vouches for, not by the log's own
// end, which may hold entries the leader lacks.
func TestFollowerCommit(t *testing.T) {
	tests := []struct{ commit, leader, match, want Index }{
		{3, 6, 4, 4}, // not 6, even where the log is longer
		{3, 5, 9, 5},
		{3, 2, 9, 3}, // never goes back
		{3, 9, 2, 3},
		{0, 0, 0, 0},
	}
	for _, c := range tests {
		if got := FollowerCommit(c.commit, c.leader, c.match); got != c.want {
			t.Errorf("FollowerCommit(%d, %d, %d) = %d, expected %d", c.commit, c.leader, c.match, got, c.want)
		}
	}
}
