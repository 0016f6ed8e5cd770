package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// ours is compared with the best of the others.
const ours = "protoraft"

type cell struct {
	impl string
	conc int
}

// table renders the median of each library at each concurrency, with the range,
// and how ours compares with the best peer.
func table(outcomes []outcome) string {
	runs := map[cell][]outcome{}
	var impls []string
	var concs []int
	for _, o := range outcomes {
		c := cell{o.Impl, o.Conc}
		runs[c] = append(runs[c], o)
		if !slices.Contains(impls, o.Impl) {
			impls = append(impls, o.Impl)
		}
		if !slices.Contains(concs, o.Conc) {
			concs = append(concs, o.Conc)
		}
	}
	var b strings.Builder
	b.WriteString("| in flight | library | ops/s (range) | p50 µs | p99 µs | p99.9 µs | CPU µs/op | RSS MB | errors | ops/s ÷ best peer | p50 ÷ best peer |\n")
	b.WriteString("|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, conc := range concs {
		for _, impl := range impls {
			rs := runs[cell{impl, conc}]
			ops := func(o outcome) float64 { return float64(o.OpsPerSecond) }
			lo, hi := slices.Min(of(rs, ops)), slices.Max(of(rs, ops))
			errs := 0.0
			for _, o := range rs {
				errs += float64(o.Errors)
			}
			fmt.Fprintf(&b, "| %d | %s | %.0f (%.0f–%.0f) | %.0f | %.0f | %.0f | %.2f | %.0f | %.0f |",
				conc, impl, median(of(rs, ops)), lo, hi,
				median(of(rs, p50)), median(of(rs, func(o outcome) float64 { return float64(o.P99) })),
				median(of(rs, func(o outcome) float64 { return float64(o.P999) })),
				median(of(rs, func(o outcome) float64 { return o.CPUPerOp })),
				median(of(rs, func(o outcome) float64 { return float64(o.RSS) })), errs)
			fmt.Fprintf(&b, " %s | %s |\n",
				ratio(runs, impls, cell{impl, conc}, ops, slices.Max),
				ratio(runs, impls, cell{impl, conc}, p50, slices.Min))
		}
	}
	return b.String()
}

func p50(o outcome) float64 { return float64(o.P50) }

// ratio compares ours with the peer whose median best picks; it is empty in the
// rows of peers and where there is no peer.
func ratio(runs map[cell][]outcome, impls []string, at cell, value func(outcome) float64, best func([]float64) float64) string {
	if at.impl != ours {
		return ""
	}
	var peers []float64
	for _, impl := range impls {
		if impl != ours {
			peers = append(peers, median(of(runs[cell{impl, at.conc}], value)))
		}
	}
	if len(peers) == 0 || best(peers) == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", median(of(runs[at], value))/best(peers))
}

func of(rs []outcome, value func(outcome) float64) []float64 {
	vs := make([]float64, len(rs))
	for i, r := range rs {
		vs[i] = value(r)
	}
	return vs
}

// median of an even number of values is the mean of the middle two.
func median(vs []float64) float64 {
	if len(vs) == 0 {
		return 0
	}
	vs = slices.Clone(vs)
	slices.SortFunc(vs, cmp.Compare[float64])
	return (vs[(len(vs)-1)/2] + vs[len(vs)/2]) / 2
}
