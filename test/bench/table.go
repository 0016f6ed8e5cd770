package main

import (
	"fmt"
	"slices"
	"strings"
)

// loadTable renders each workload's median of each library, with the range of its
// throughput, and how ours compare with the best peer.
func loadTable(outcomes []outcome) string {
	r := collect(outcomes, func(o outcome) bool { return o.Kills == 0 })
	if len(r.workloads) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("| workload | library | ops/s (range) | p50 µs | p99 µs | p99.9 µs | CPU µs/op | written/byte | device/byte | RSS MB | errors | ÷ best peer: ops/s | p50 | p99 | CPU |\n")
	b.WriteString("|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, workload := range r.workloads {
		for _, impl := range r.impls {
			at := cell{workload, impl}
			rs := r.runs[at]
			if len(rs) == 0 {
				continue
			}
			fmt.Fprintf(&b, "| %s | %s | %.0f (%.0f–%.0f) | %.0f | %.0f | %.0f | %.2f | %.2f | %.2f | %.0f | %.0f |",
				workload, impl, r.median(at, ops), slices.Min(of(rs, ops)), slices.Max(of(rs, ops)),
				r.median(at, p50), r.median(at, p99), r.median(at, p999), r.median(at, cpu), r.median(at, written), r.median(at, device), r.median(at, rss), sum(of(rs, errs)))
			fmt.Fprintf(&b, " %s | %s | %s | %s |\n",
				r.ratio(at, ops, slices.Max), r.ratio(at, p50, slices.Min), r.ratio(at, p99, slices.Min), r.ratio(at, cpu, slices.Min))
		}
	}
	return b.String()
}

// failoverTable renders the times from kill to acknowledgement, of all rounds
// together.
func failoverTable(outcomes []outcome) string {
	r := collect(outcomes, func(o outcome) bool { return o.Kills > 0 })
	if len(r.workloads) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("| workload | library | kills | p50 ms | p99 ms | least ms | most ms |\n|---|---|--:|--:|--:|--:|--:|\n")
	for _, workload := range r.workloads {
		for _, impl := range r.impls {
			var took []float64
			for _, o := range r.runs[cell{workload, impl}] {
				took = append(took, o.FailoverMS...)
			}
			if len(took) > 0 {
				fmt.Fprintf(&b, "| %s | %s | %d | %.0f | %.0f | %.0f | %.0f |\n", workload, impl, len(took),
					quantile(took, .5), quantile(took, .99), slices.Min(took), slices.Max(took))
			}
		}
	}
	return b.String()
}

func ops(o outcome) float64     { return float64(o.OpsPerSecond) }
func p50(o outcome) float64     { return float64(o.P50) }
func p99(o outcome) float64     { return float64(o.P99) }
func p999(o outcome) float64    { return float64(o.P999) }
func cpu(o outcome) float64     { return o.CPUPerOp }
func written(o outcome) float64 { return o.Written }
func device(o outcome) float64  { return o.Device }
func rss(o outcome) float64     { return float64(o.RSS) }
func errs(o outcome) float64    { return float64(o.Errors) }

type cell struct{ workload, impl string }

// results are runs by workload and library, both in the order they first came in.
type results struct {
	workloads, impls []string
	runs             map[cell][]outcome
}

func collect(outcomes []outcome, wanted func(outcome) bool) results {
	r := results{runs: map[cell][]outcome{}}
	for _, o := range outcomes {
		if !wanted(o) {
			continue
		}
		at := cell{o.Workload, o.Impl}
		r.runs[at] = append(r.runs[at], o)
		if !slices.Contains(r.workloads, o.Workload) {
			r.workloads = append(r.workloads, o.Workload)
		}
		if !slices.Contains(r.impls, o.Impl) {
			r.impls = append(r.impls, o.Impl)
		}
	}
	return r
}

func (r results) median(at cell, value func(outcome) float64) float64 {
	return median(of(r.runs[at], value))
}

// ratio compares ours with the peer whose median best picks; it is empty in the rows
// of peers and where there is no peer.
func (r results) ratio(at cell, value func(outcome) float64, best func([]float64) float64) string {
	if !libraries[at.impl].ours {
		return ""
	}
	var peers []float64
	for _, impl := range r.impls {
		peer := cell{at.workload, impl}
		if !libraries[impl].ours && len(r.runs[peer]) > 0 {
			peers = append(peers, r.median(peer, value))
		}
	}
	if len(peers) == 0 || best(peers) == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", r.median(at, value)/best(peers))
}

func of(rs []outcome, value func(outcome) float64) []float64 {
	vs := make([]float64, len(rs))
	for i, r := range rs {
		vs[i] = value(r)
	}
	return vs
}

func sum(vs []float64) (total float64) {
	for _, v := range vs {
		total += v
	}
	return total
}
