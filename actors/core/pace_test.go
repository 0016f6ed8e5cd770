package core

import (
	"math"
	"testing"
)

const ms = int64(1e6)

// As many may wait as are applied in what is bearable.
func TestPaceTakesWhatItCanServe(t *testing.T) {
	p := Pace{Bearable: 500 * ms, Patient: 10}
	if got := p.Room(0, 0); got != math.MaxInt {
		t.Fatalf("room for %d where nothing is known", got)
	}
	index, now := Index(0), int64(0)
	apply := func(blocks, entries int, each int64) {
		for range blocks {
			index++
			p.Began(index, entries, now)
			now += each
			p.Ended(index, now)
		}
	}
	apply(100, 100, 10*ms) // 10 a ms
	if got := p.Room(0, now); got != 5000 {
		t.Errorf("room for %d, expected 5000", got)
	}
	now += 3600e3 * ms // in which nothing was to do
	apply(10, 100, 10*ms)
	if got := p.Room(0, now); got != 5000 {
		t.Errorf("room for %d after a pause, expected 5000", got)
	}
	p.Began(index+1, 3000, now)
	if got := p.Room(500, now); got != 1500 {
		t.Errorf("room for %d beside 3500, expected 1500", got)
	}
	if got := p.Room(2500, now); got != 0 {
		t.Errorf("room for %d beside 5500", got)
	}
	index++
	now += 10 * ms
	p.Ended(index, now)
	apply(100, 1, 100*ms) // slow by now
	if got := p.Room(0, now); got != 10 {
		t.Errorf("room for %d on a slow machine, expected the 10 that may always wait", got)
	}
}

// In a stall the first in line says how it is.
func TestPaceOfAStall(t *testing.T) {
	for name, k := range map[string]struct {
		waiting int
		waited  int64
		none    bool
	}{
		"too many for too long":   {100, 500 * ms, true},
		"not yet":                 {100, 499 * ms, false},
		"many for a short time":   {4000, 499 * ms, false},
		"few for long":            {49, 1000 * ms, false},
		"half for twice as long":  {50, 1000 * ms, true},
		"queued ones count, too":  {50, 500 * ms, true},
		"a tenth for ten times":   {10, 5000 * ms, true},
		"one for a hundred times": {1, 50_000 * ms, true},
	} {
		t.Run(name, func(t *testing.T) {
			p := Pace{Bearable: 500 * ms, Patient: 100}
			p.Began(7, k.waiting, 1000*ms)
			queued := 0
			if name == "queued ones count, too" {
				queued = 50
			}
			if got := p.Room(queued, 1000*ms+k.waited); (got == 0) != k.none {
				t.Errorf("room for %d", got)
			}
			p.Ended(6, 1001*ms)
			if k.none && p.Room(queued, 1000*ms+k.waited) != 0 {
				t.Error("room after what came before was applied")
			}
			p.Ended(7, 1000*ms+k.waited)
			if p.Room(0, 1000*ms+k.waited) == 0 {
				t.Error("no room after everything was applied")
			}
		})
	}
}
