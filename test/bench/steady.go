package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// What a long run must keep to.
const (
	steadyShare  = 0.80 // of the first minute's throughput, in every later one
	steadyStall  = 250 * time.Millisecond
	steadyMinute = 60 // seconds
	steadyLine   = 10 // seconds a line of the series covers
)

// steadyOutcome is one long run.
type steadyOutcome struct {
	outcome
	Seconds []float64     `json:"ops_by_second"`
	RSSes   []int64       `json:"rss_mb_by_second"`
	Verdict steadyVerdict `json:"verdict"`
}

// steadyVerdict compares minutes, or fifths of a run that is shorter than five.
type steadyVerdict struct {
	First   float64 `json:"first_minute_ops_s"`
	Lowest  float64 `json:"lowest_minute_ops_s"` // of those after the first
	Last    float64 `json:"last_minute_ops_s"`
	Kept    float64 `json:"kept"` // lowest over first
	Kept80  bool    `json:"kept_80_percent"`
	NoStall bool    `json:"no_stall_over_250ms"`
}

func judgeSteady(bySecond []float64, worst time.Duration) steadyVerdict {
	v := steadyVerdict{NoStall: worst <= steadyStall}
	minute := max(1, min(steadyMinute, len(bySecond)/5))
	for from := 0; from+minute <= len(bySecond); from += minute {
		rate := mean(bySecond[from : from+minute])
		switch {
		case from == 0:
			v.First = rate
			continue
		case from == minute:
			v.Lowest = rate
		}
		v.Lowest, v.Last = min(v.Lowest, rate), rate
	}
	if v.First > 0 {
		v.Kept = rounded(v.Lowest/v.First, 3)
	}
	v.Kept80 = v.First > 0 && v.Kept >= steadyShare
	return v
}

func mean(vs []float64) float64 {
	sum := 0.0
	for _, v := range vs {
		sum += v
	}
	return sum / float64(max(1, len(vs)))
}

// runSteady drives a machine that has something to snapshot for long, and tells how it
// goes while it goes.
func runSteady(s spec, progress io.Writer) (o steadyOutcome, err error) {
	t, err := startTrio(s, s.Warm+s.Dur)
	if err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	o.spec = s
	if _, err := t.ask(cmdStart); err != nil {
		return o, err
	}
	time.Sleep(s.Warm)
	if err := t.count(); err != nil {
		return o, err
	}
	points, err := t.watch(s.Dur, time.Second, func(seen []point) {
		if len(seen)%steadyLine == 0 {
			rates := ratesOf(seen)
			p := seen[len(seen)-1]
			fmt.Fprintf(progress, "%s %s %4.0f s: %.0f ops/s, rss %d MB, worst stall so far %v\n",
				s.Workload, s.Impl, p.at.Seconds(), mean(rates[max(0, len(rates)-steadyLine):]), p.rss>>20, p.stall.Round(time.Millisecond))
		}
	})
	if err != nil {
		return o, err
	}
	if o.outcome, err = t.finish(); err != nil {
		return o, err
	}
	o.Seconds = ratesOf(points)
	for _, p := range points {
		o.RSSes = append(o.RSSes, p.rss>>20)
	}
	o.Verdict = judgeSteady(o.Seconds, time.Duration(o.WorstStall*float64(time.Millisecond)))
	return o, nil
}

// point is how far things were at a time.
type point struct {
	at    time.Duration // since the watch began
	acked uint64
	done  uint64 // commands applied where a flood is begun, answered in time or not
	rss   int64  // of all members that are there, bytes
	stall time.Duration
	flood flooded
}

// watch looks at the members every so often, and tells each time what was seen so
// far. Members left out are not asked; their memory is seen all the same.
func (t *trio) watch(long, every time.Duration, tell func([]point), but ...int) ([]point, error) {
	began := time.Now()
	ticks := time.NewTicker(every)
	defer ticks.Stop()
	points := []point{{}} // the beginning
	for time.Since(began) < long {
		<-ticks.C
		rs, err := t.ask(cmdSample, but...)
		if err != nil {
			return points, err
		}
		p := point{at: time.Since(began)}
		for i, r := range rs {
			p.acked += r.Acked
			if r.Acked > 0 {
				p.stall = max(p.stall, time.Duration(r.WorstStall))
			}
			if r.Flood != nil {
				p.flood, p.done = *r.Flood, r.Applied[0]
				p.acked += r.Flood.Acked
			}
			if t.all[i] != nil {
				p.rss += t.all[i].rss()
			}
		}
		points = append(points, p)
		tell(points[1:])
	}
	return points[1:], nil
}

// ratesOf is the operations a second between each point and the one before.
func ratesOf(points []point) (rates []float64) {
	last := point{}
	for _, p := range points {
		rates = append(rates, rounded(float64(p.acked-last.acked)/(p.at-last.at).Seconds(), 0))
		last = p
	}
	return rates
}

// steadyReport is what a long run says in Markdown.
func steadyReport(o steadyOutcome) string {
	var b strings.Builder
	fmt.Fprintf(&b, "### %s, %s\n\n", o.Workload, o.Impl)
	fmt.Fprintf(&b, "%d bytes a command, %d in flight, %d s; state of %d MiB, snapshots by the defaults.\n\n",
		o.Payload, o.Conc, len(o.Seconds), slotsInAll*max(o.Payload, slotKeyBytes)>>20)
	v := o.Verdict
	fmt.Fprintf(&b, "| first minute ops/s | lowest later minute | last minute | worst stall ms | p50 µs | p99 µs | p99.9 µs | CPU µs/op | written/byte | device/byte | RSS MB at the end | errors |\n")
	fmt.Fprintf(&b, "|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	fmt.Fprintf(&b, "| %.0f | %.0f (%.0f %%) | %.0f | %.0f | %d | %d | %d | %.2f | %.2f | %.2f | %d | %d |\n\n",
		v.First, v.Lowest, v.Kept*100, v.Last, o.WorstStall, o.P50, o.P99, o.P999, o.CPUPerOp, o.Written, o.Device, o.RSS, o.Errors)
	fmt.Fprintf(&b, "- at least 80 %% of the first minute kept: %s\n- no stall over 250 ms: %s\n\n", yes(v.Kept80), yes(v.NoStall))
	fmt.Fprintf(&b, "| from s | ops/s, each second | RSS MB |\n|--:|---|--:|\n")
	for from := 0; from < len(o.Seconds); from += steadyLine {
		to := min(from+steadyLine, len(o.Seconds))
		fmt.Fprintf(&b, "| %d | %s | %d |\n", from, strings.Trim(fmt.Sprint(o.Seconds[from:to]), "[]"), o.RSSes[to-1])
	}
	return b.String()
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "**no**"
}

func printLine(w io.Writer, v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(w, string(line))
	return err
}
