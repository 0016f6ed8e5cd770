package main

import (
	"fmt"
	"strings"
	"time"
)

// What too much work and a follower in trouble may cost.
const (
	goodputShare = 0.80 // of the capacity, at ten times of it
	normalShare  = 0.90 // of the capacity: normal
	normalMax    = 5 * time.Second
	p99Times     = 2.0
	busyMax      = 10 * time.Millisecond // at once, on two cores that have ten times too much to do
	flatGrowth   = 1.10                  // of memory, from the second quarter to the last
	flatSlackMB  = 32                    // which a garbage collector may be off by
)

// ordealVerdict says which promises were kept. Those that were not asked for are nil.
type ordealVerdict struct {
	Goodput *bool `json:"goodput_80_percent,omitempty"`
	Busy    *bool `json:"busy_at_once,omitempty"`
	P99     *bool `json:"p99_at_most_twice,omitempty"`
	Memory  bool  `json:"memory_flat"`
	Normal  bool  `json:"normal_within_5s"`
}

func judgeOrdeal(o *ordeal, flood bool) ordealVerdict {
	v := ordealVerdict{
		Memory: flat(o.RSSes),
		Normal: o.NormalAfter >= 0 && o.NormalAfter <= normalMax.Seconds(),
	}
	if flood {
		goodput := o.Goodput >= goodputShare*float64(o.Capacity)
		busy := o.Flood.Refused > 0 && o.Flood.Held == 0 && o.BusyP99 <= busyMax.Microseconds()
		v.Goodput, v.Busy = &goodput, &busy
	} else {
		p99 := float64(o.DuringP99) <= p99Times*float64(o.P99)
		v.P99 = &p99
	}
	return v
}

// flat says whether memory grows no more once it has had a quarter of the time to
// settle in.
func flat(mb []int64) bool {
	n := len(mb)
	if n < 4 {
		return false // too little is known
	}
	before, after := floats(mb[n/4:n/2]), floats(mb[n-n/4:])
	return median(after) <= max(median(before)*flatGrowth, median(before)+flatSlackMB)
}

func floats(vs []int64) []float64 {
	fs := make([]float64, len(vs))
	for i, v := range vs {
		fs[i] = float64(v)
	}
	return fs
}

// ordealTable is what the scenarios came to, in Markdown.
func ordealTable(ordeals []ordeal) string {
	var b strings.Builder
	b.WriteString("| scenario | library | capacity ops/s | offered ops/s | goodput ops/s | applied ops/s | p99 µs before | p99 µs during | Busy | Busy p50, p99 µs | other errors | waiting at most | held back | RSS MB start, peak, end | worst stall ms | leader moved | normal after s | kept |\n")
	b.WriteString("|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|--:|---|\n")
	for _, o := range ordeals {
		f := o.Flood
		if f == nil {
			f = &flooded{Failed: uint64(o.Errors)}
		}
		fmt.Fprintf(&b, "| %s | %s | %d | %.0f | %.0f (%.0f %%) | %.0f | %d | %d | %d | %d, %d | %d | %d | %d | %s | %.0f | %v | %.1f | %s |\n",
			o.Workload, o.Impl, o.Capacity, o.Offered, o.Goodput, 100*o.Goodput/float64(max(1, o.Capacity)), o.Applied, o.P99, o.DuringP99,
			f.Refused, o.BusyP50, o.BusyP99, f.Failed, f.MostWaiting, f.Held, memorySpan(o.RSSes), o.Stall, o.LeaderMoved, o.NormalAfter, o.Verdict.words())
	}
	return b.String()
}

func memorySpan(mb []int64) string {
	if len(mb) == 0 {
		return ""
	}
	peak := mb[0]
	for _, v := range mb {
		peak = max(peak, v)
	}
	return fmt.Sprintf("%d, %d, %d", mb[0], peak, mb[len(mb)-1])
}

func (v ordealVerdict) words() string {
	var words []string
	say := func(what string, kept bool) { words = append(words, what+" "+yes(kept)) }
	if v.Goodput != nil {
		say("goodput ≥ 80 %:", *v.Goodput)
	}
	if v.Busy != nil {
		say("Busy at once:", *v.Busy)
	}
	if v.P99 != nil {
		say("p99 ≤ 2×:", *v.P99)
	}
	say("memory flat:", v.Memory)
	say("normal ≤ 5 s:", v.Normal)
	return strings.Join(words, "; ")
}
