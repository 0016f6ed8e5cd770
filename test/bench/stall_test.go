package main

import (
	"sync"
	"testing"
	"time"
)

func TestStallIsTheLongestGap(t *testing.T) {
	ms := func(n int64) int64 { return n * int64(time.Millisecond) }
	for _, c := range []struct {
		name string
		saw  []int64
		want time.Duration
	}{
		{"nothing seen", nil, 0},
		{"even", []int64{ms(1002), ms(1004), ms(1006)}, 2 * time.Millisecond},
		{"before the first", []int64{ms(1300), ms(1301)}, 300 * time.Millisecond},
		{"in between", []int64{ms(1001), ms(1251), ms(1252)}, 250 * time.Millisecond},
		{"at the end", []int64{ms(1001), ms(1701)}, 700 * time.Millisecond},
		{"told late", []int64{ms(1100), ms(1050), ms(1101)}, 100 * time.Millisecond},
		{"finer than the grain", []int64{ms(1000) + 10, ms(1000) + 20}, 0},
	} {
		var s stallDetector
		s.worst.Store(1 << 50) // of an earlier watch
		s.begin(ms(1000))
		for _, at := range c.saw {
			s.saw(at)
		}
		if got := s.longest(); got != c.want {
			t.Errorf("%s: %v, expected %v", c.name, got, c.want)
		}
	}
}

// Goroutines that tell of the same moments hide no gap and make none.
func TestStallByManyTellers(t *testing.T) {
	var s stallDetector
	s.begin(0)
	var tellers sync.WaitGroup
	for range 8 {
		tellers.Go(func() {
			for at := int64(0); at <= int64(time.Second); at += int64(2 * time.Millisecond) {
				s.saw(at)
			}
		})
	}
	tellers.Wait()
	s.saw(int64(1500 * time.Millisecond))
	if got := s.longest(); got != 500*time.Millisecond {
		t.Errorf("longest gap %v, expected 500ms", got)
	}
}
