package main

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// The histogram counts microseconds exactly up to subBuckets, and above that in
// subBuckets steps for every doubling: an error of at most 3 %.
const (
	subBits     = 5
	subBuckets  = 1 << subBits
	bucketCount = (26 - subBits + 1) * subBuckets // up to 2^26 µs, 67 s
)

type histogram [bucketCount]int64

func (h *histogram) record(d time.Duration) { h[bucketOf(d)]++ }

func (h *histogram) add(other *histogram) {
	for i, n := range other {
		h[i] += n
	}
}

func (h *histogram) count() (n int64) {
	for _, c := range h {
		n += c
	}
	return n
}

// quantile returns, in microseconds, the lower bound of the bucket that holds the
// observation of rank ceil(q·n); 0 where nothing was recorded.
func (h *histogram) quantile(q float64) int64 {
	n := h.count()
	if n == 0 {
		return 0
	}
	left := int64(q*float64(n) + 0.999999)
	if left < 1 {
		left = 1
	}
	for i, c := range h {
		if left -= c; left <= 0 {
			return bucketStart(i)
		}
	}
	return bucketStart(bucketCount - 1)
}

func bucketOf(d time.Duration) int {
	us := uint64(max(d.Microseconds(), 0))
	if us < subBuckets {
		return int(us)
	}
	exp := bits.Len64(us) - 1 // ≥ subBits
	sub := int(us>>(exp-subBits)) & (subBuckets - 1)
	return min((exp-subBits+1)*subBuckets+sub, bucketCount-1)
}

func bucketStart(i int) int64 {
	if i < subBuckets {
		return int64(i)
	}
	exp := i/subBuckets - 1
	return int64(subBuckets+i%subBuckets) << exp
}

// sharedHistogram is a histogram that many goroutines may record in at once.
type sharedHistogram [bucketCount]atomic.Int64

func (h *sharedHistogram) record(d time.Duration) { h[bucketOf(d)].Add(1) }

func (h *sharedHistogram) copy() *histogram {
	var c histogram
	for i := range h {
		c[i] = h[i].Load()
	}
	return &c
}
