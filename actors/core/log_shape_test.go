package core

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// plainLog is the plainest log there is: the term of every entry, one by one.
type plainLog struct {
	before Position
	terms  []Term // of before.Index+1 and on
}

func (p *plainLog) last() Position {
	if n := len(p.terms); n > 0 {
		return Position{p.before.Index + Index(n), p.terms[n-1]}
	}
	return p.before
}

func (p *plainLog) termAt(i Index) (Term, bool) {
	switch {
	case i == p.before.Index:
		return p.before.Term, true
	case i < p.before.Index || i > p.last().Index:
		return 0, false
	}
	return p.terms[i-p.before.Index-1], true
}

func (p *plainLog) hintBelow(i Index, term Term) Position {
	for ; i > p.before.Index; i-- {
		if t, ok := p.termAt(i); ok && t <= term {
			return Position{i, t}
		}
	}
	return p.before
}

func (p *plainLog) clone() *plainLog {
	return &plainLog{p.before, append([]Term(nil), p.terms...)}
}

func (p *plainLog) shape() LogShape {
	l := NewLogShape(p.before, nil)
	for i, t := range p.terms {
		at := p.before.Index + Index(i) + 1
		l.Append(t, at, at)
	}
	return l
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 7)) }

// compare checks every question a LogShape answers against the plain log.
func compareShape(t *testing.T, l *LogShape, p *plainLog) {
	t.Helper()
	if l.Before() != p.before || l.First() != p.before.Index+1 || l.Last() != p.last() {
		t.Fatalf("before %v first %d last %v, expected %v, %d, %v", l.Before(), l.First(), l.Last(), p.before, p.before.Index+1, p.last())
	}
	var low Index
	if p.before.Index > 2 {
		low = p.before.Index - 2
	}
	for i := low; i <= p.last().Index+2; i++ {
		got, ok := l.TermAt(i)
		want, known := p.termAt(i)
		if got != want || ok != known {
			t.Fatalf("TermAt(%d) = %d, %v, expected %d, %v in %v", i, got, ok, want, known, p)
		}
		for term := Term(0); term <= p.last().Term+1; term++ {
			if has := l.Has(Position{i, term}); has != (known && term == want) {
				t.Fatalf("Has(%d@%d) = %v in %v", i, term, has, p)
			}
			if i < p.before.Index {
				continue
			}
			if hint, want := l.HintBelow(i, term), p.hintBelow(i, term); hint != want {
				t.Fatalf("HintBelow(%d, %d) = %v, expected %v in %v", i, term, hint, want, p)
			}
		}
	}
}

func TestLogShapeIsThePlainLog(t *testing.T) {
	for seed := range uint64(300) {
		r := newRand(seed)
		p := &plainLog{}
		if r.IntN(2) == 0 {
			p.before = Position{Index(r.IntN(10)), Term(r.IntN(3) + 1)}
		}
		l := NewLogShape(p.before, nil)
		for range 40 {
			switch r.IntN(4) {
			case 0:
				from := p.before.Index + 1 + Index(r.IntN(len(p.terms)+2))
				l.TruncateFrom(from)
				if keep := int(from - p.before.Index - 1); keep < len(p.terms) {
					p.terms = p.terms[:keep]
				}
			default:
				term, n := p.last().Term+Term(r.IntN(2)), 1+r.IntN(4)
				first := p.last().Index + 1
				l.Append(term, first, first+Index(n)-1)
				for range n {
					p.terms = append(p.terms, term)
				}
			}
			compareShape(t, &l, p)
		}
	}
}

func TestNewLogShapeFromRuns(t *testing.T) {
	l := NewLogShape(Position{4, 2}, []TermRun{{2, 5, 6}, {5, 7, 7}})
	compareShape(t, &l, &plainLog{Position{4, 2}, []Term{2, 2, 5}})
}

// An entry that is not there has no term, rather than term 0, which would match the
// empty position at the start of a log.
func TestMissingEntryMatchesNothing(t *testing.T) {
	l := NewLogShape(Position{}, []TermRun{{1, 1, 3}})
	if l.Has(Position{4, 0}) || l.Has(Position{9, 0}) {
		t.Fatal("an entry beyond the end of the log matches term 0")
	}
	if !l.Has(Position{}) {
		t.Fatal("the start of the log does not match 0@0")
	}
}

func TestLogShapeRefusesWhatCannotBe(t *testing.T) {
	whole := func() *LogShape {
		l := NewLogShape(Position{3, 2}, []TermRun{{2, 4, 5}, {4, 6, 8}})
		return &l
	}
	tests := map[string]func(){
		"gap":                      func() { whole().Append(4, 10, 11) },
		"overlap":                  func() { whole().Append(4, 8, 9) },
		"nothing":                  func() { whole().Append(4, 9, 8) },
		"term going back":          func() { whole().Append(3, 9, 9) },
		"truncating what is below": func() { whole().TruncateFrom(3) },
		"runs with a gap":          func() { NewLogShape(Position{}, []TermRun{{1, 1, 2}, {1, 4, 4}}) },
	}
	for name, do := range tests {
		t.Run(name, func(t *testing.T) {
			if reason := panicOf(do); reason == "" {
				t.Fatal("accepted")
			}
		})
	}
}

// panicOf returns what f panicked with, empty where it did not.
func panicOf(f func()) (reason string) {
	defer func() {
		if r := recover(); r != nil {
			reason = fmt.Sprint(r)
		}
	}()
	f()
	return ""
}

func TestFreshAsComparesTermsFirst(t *testing.T) {
	tests := []struct {
		p, q Position
		want bool
	}{
		{Position{1, 2}, Position{2, 1}, true}, // the later term wins over the longer log
		{Position{2, 1}, Position{1, 2}, false},
		{Position{2, 2}, Position{1, 2}, true},
		{Position{1, 2}, Position{2, 2}, false},
		{Position{2, 2}, Position{2, 2}, true},
		{Position{}, Position{}, true},
	}
	for _, c := range tests {
		if got := c.p.FreshAs(c.q); got != c.want {
			t.Errorf("%v fresh as %v: %v, expected %v", c.p, c.q, got, c.want)
		}
	}
	// Of any two logs at least one is as fresh as the other: else nobody could win.
	for p := range Index(4) {
		for pt := range Term(4) {
			for q := range Index(4) {
				for qt := range Term(4) {
					a, b := Position{p, pt}, Position{q, qt}
					if !a.FreshAs(b) && !b.FreshAs(a) {
						t.Fatalf("neither %v nor %v is as fresh as the other", a, b)
					}
				}
			}
		}
	}
}
