package core

import "testing"

func TestSnapshotPolicy(t *testing.T) {
	p := SnapshotPolicy{Entries: 10, Bytes: 1000}
	for _, c := range []struct {
		applied, snapshot Index
		bytes             int
		over, want        bool
	}{
		{9, 0, 999, false, false}, {10, 0, 0, false, true}, {1, 0, 1000, false, true}, {1, 0, 0, true, true},
		{19, 10, 0, false, false}, {20, 10, 0, false, true},
		{10, 10, 5000, true, false}, {0, 0, 5000, true, false}, {5, 10, 5000, true, false},
	} {
		if got := p.Due(c.applied, c.snapshot, c.bytes, c.over); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
	if (SnapshotPolicy{}).Due(1<<40, 0, 1<<40, false) {
		t.Error("due without a policy")
	}
	for _, f := range []float64{0, 0.3, 0.999} {
		if first := p.First(f); first.Entries < 5 || first.Entries > 10 || first.Bytes < 500 || first.Bytes > 1000 {
			t.Errorf("first at %v: %+v", f, first)
		}
	}
	if first := (SnapshotPolicy{Entries: 1}).First(0); first.Entries != 1 || first.Bytes != 0 {
		t.Errorf("%+v: neither more often than always, nor where it was off", first)
	}
}

func TestCompactTo(t *testing.T) {
	for _, c := range []struct {
		before, snapshot, applied, keep, want Index
		ok                                    bool
	}{
		{0, 10, 10, 0, 10, true}, {0, 10, 20, 3, 7, true}, {0, 10, 6, 0, 6, true}, {0, 10, 6, 2, 4, true},
		{7, 10, 20, 3, 7, false}, {9, 10, 20, 3, 7, false}, {0, 10, 20, 10, 0, false}, {0, 10, 20, 99, 0, false}, {0, 0, 20, 0, 0, false},
	} {
		if to, ok := CompactTo(c.before, c.snapshot, c.applied, c.keep); to != c.want || ok != c.ok {
			t.Errorf("%+v: %d %v", c, to, ok)
		}
	}
}

func TestDecideInstall(t *testing.T) {
	log := NewLogShape(Position{3, 1}, []TermRun{{1, 4, 5}, {2, 6, 8}})
	for _, c := range []struct {
		commit Index
		p      Position
		want   InstallDecision
	}{
		{5, Position{5, 1}, InstallIgnored}, {5, Position{4, 9}, InstallIgnored}, {5, Position{2, 1}, InstallIgnored},
		{5, Position{6, 2}, InstallCommitted}, {5, Position{8, 2}, InstallCommitted},
		{5, Position{6, 3}, InstallReset}, {5, Position{9, 2}, InstallReset}, {5, Position{20, 2}, InstallReset},
	} {
		if got := DecideInstall(&log, c.commit, c.p); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestDecideStart(t *testing.T) {
	log := NewLogShape(Position{3, 1}, []TermRun{{1, 4, 5}, {2, 6, 8}})
	for _, c := range []struct {
		p          Position
		reset, bad bool
	}{
		{Position{2, 1}, false, true}, {Position{3, 1}, false, false}, {Position{5, 1}, false, false}, {Position{8, 2}, false, false},
		{Position{9, 2}, true, false}, {Position{6, 3}, true, false},
	} {
		if reset, err := DecideStart(&log, c.p); reset != c.reset || (err != nil) != c.bad {
			t.Errorf("%+v: %v %v", c, reset, err)
		}
	}
}

func TestShapeCompactTo(t *testing.T) {
	make := func() LogShape { return NewLogShape(Position{}, []TermRun{{1, 1, 3}, {2, 4, 8}}) }
	for _, c := range []struct {
		to     Index
		before Position
	}{{0, Position{}}, {2, Position{2, 1}}, {3, Position{3, 1}}, {6, Position{6, 2}}, {8, Position{8, 2}}} {
		log := make()
		log.CompactTo(c.to)
		if log.Before() != c.before || log.Last() != (Position{8, 2}) || log.First() != c.to+1 {
			t.Errorf("to %d: before %v, last %v", c.to, log.Before(), log.Last())
		}
		for i := Index(1); i <= 8; i++ {
			was := make()
			want, _ := was.TermAt(i)
			if term, ok := log.TermAt(i); ok != (i >= c.to) || ok && term != want {
				t.Errorf("to %d: term at %d is %d, %v", c.to, i, term, ok)
			}
		}
	}
}
