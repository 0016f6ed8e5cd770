package main

import (
	"sync/atomic"
	"time"
)

// stallDetector finds the longest time without an acknowledgement, to within
// stallGrain. Many goroutines tell it of acknowledgements; most only read.
type stallDetector struct {
	last  atomic.Int64 // nanoseconds, of the newest that was written down
	worst atomic.Int64
}

const stallGrain = time.Millisecond

// begin starts anew at a moment, given as any monotonic clock's nanoseconds.
func (s *stallDetector) begin(now int64) {
	s.last.Store(now)
	s.worst.Store(0)
}

// saw takes one acknowledgement, or the end of what is watched.
func (s *stallDetector) saw(now int64) {
	last := s.last.Load()
	if now < last+int64(stallGrain) {
		return
	}
	if !s.last.CompareAndSwap(last, now) {
		return // another one, as new to within what matters, ended this gap
	}
	for gap := now - last; ; {
		worst := s.worst.Load()
		if gap <= worst || s.worst.CompareAndSwap(worst, gap) {
			return
		}
	}
}

func (s *stallDetector) longest() time.Duration { return time.Duration(s.worst.Load()) }
