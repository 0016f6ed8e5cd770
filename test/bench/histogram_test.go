package main

import (
	"sync"
	"testing"
	"time"
)

func TestBucketsAreOrderedAndTight(t *testing.T) {
	last := -1
	for us := int64(0); us < 1<<26; us += 1 + us/50 {
		b := bucketOf(time.Duration(us) * time.Microsecond)
		if b < last {
			t.Fatalf("%d µs is in bucket %d, after bucket %d", us, b, last)
		}
		last = b
		start := bucketStart(b)
		if start > us || float64(us-start) > 0.032*float64(us) {
			t.Fatalf("%d µs is reported as %d µs", us, start)
		}
	}
	if b := bucketOf(time.Hour); b != bucketCount-1 {
		t.Errorf("an hour is in bucket %d, expected the last, %d", b, bucketCount-1)
	}
}

func TestQuantile(t *testing.T) {
	var h histogram
	if got := h.quantile(.5); got != 0 {
		t.Errorf("median of nothing is %d, expected 0", got)
	}
	for us := 1; us <= 20; us++ {
		h.record(time.Duration(us) * time.Microsecond)
	}
	for _, c := range []struct {
		q    float64
		want int64
	}{{0, 1}, {.5, 10}, {.9, 18}, {.99, 20}, {1, 20}} {
		if got := h.quantile(c.q); got != c.want {
			t.Errorf("quantile %v is %d, expected %d", c.q, got, c.want)
		}
	}
	var sum histogram
	sum.add(&h)
	sum.add(&h)
	if got := sum.count(); got != 40 {
		t.Errorf("%d observations after adding twice, expected 40", got)
	}
}

func TestSharedHistogramLosesNothing(t *testing.T) {
	var h sharedHistogram
	var recorders sync.WaitGroup
	for range 4 {
		recorders.Go(func() {
			for us := range 1000 {
				h.record(time.Duration(us) * time.Microsecond)
			}
		})
	}
	recorders.Wait()
	c := h.copy()
	if n := c.count(); n != 4000 {
		t.Errorf("%d observations, expected 4000", n)
	}
	if got := c.quantile(.5); got < 480 || got > 499 {
		t.Errorf("median %d µs, expected 499 to within 3 %%", got)
	}
}
