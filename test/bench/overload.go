package main

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// scenario is too much work, a follower in trouble, or both.
type scenario struct {
	name  string
	flood bool // ten times the capacity, in an open loop; else the closed loop goes on
	fault fault
}

var scenarios = []scenario{
	{"overload", true, faultNone},
	{"overload-frozen", true, faultFrozen},
	{"overload-killed", true, faultKilled},
	{"overload-slow", true, faultSlow},
	{"follower-frozen", false, faultFrozen},
	{"follower-killed", false, faultKilled},
	{"follower-slow", false, faultSlow},
}

const (
	floodTimes     = 10   // the capacity
	floodConc      = 2048 // in flight, where capacity is measured
	followerConc   = 256
	recoveryWatch  = 10 * time.Second // for things to be normal again
	recoveryStep   = 500 * time.Millisecond
	recoveryWindow = 2 // steps that throughput is taken over
)

// ordeal is what one scenario came to.
type ordeal struct {
	Workload string `json:"workload"`
	Impl     string `json:"impl"`
	Payload  int    `json:"payload"`
	Conc     int    `json:"conc"`

	Capacity int64 `json:"capacity_ops_s"` // in the closed loop just before
	P99      int64 `json:"p99_us"`         // the same

	Offered   float64   `json:"offered_ops_s"` // begun, by an open loop
	Goodput   float64   `json:"goodput_ops_s"`
	Applied   float64   `json:"applied_ops_s"` // under an open loop: what was answered too late is more than the goodput
	BySecond  []float64 `json:"goodput_by_second"`
	RSSes     []int64   `json:"rss_mb_by_second"` // of all members
	DuringP50 int64     `json:"during_p50_us"`    // of what was acknowledged
	DuringP99 int64     `json:"during_p99_us"`
	Flood     *flooded  `json:"flood,omitempty"`
	BusyP50   int64     `json:"busy_p50_us"` // how long a refusal took
	BusyP99   int64     `json:"busy_p99_us"`
	Errors    int64     `json:"errs"`
	Stall     float64   `json:"worst_stall_ms"`

	LeaderMoved bool    `json:"leader_moved,omitempty"` // between the beginning and the end of the trouble
	NormalAfter float64 `json:"normal_after_s"`         // below 0: not within recoveryWatch
	AfterP99    int64   `json:"after_p99_us"`

	AfterBySteps []float64 `json:"after_ops_s_by_half_second,omitempty"` // of the closed loop, from its beginning

	Verdict ordealVerdict `json:"verdict"`
}

func runScenario(s spec, sc scenario, long time.Duration, progress io.Writer) (o ordeal, err error) {
	t, err := startTrio(s, s.Warm+s.Dur+long+2*recoveryWatch)
	if err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	o = ordeal{Workload: s.Workload, Impl: s.Impl, Payload: s.Payload, Conc: s.Conc}
	healthy, err := t.measure()
	if err != nil {
		return o, err
	}
	o.Capacity, o.P99 = healthy.OpsPerSecond, healthy.P99
	leader, err := t.leader()
	if err != nil {
		return o, err
	}
	victim := leader%members + 1
	heal, but, err := sc.fault.strike(t, victim)
	if err != nil {
		return o, err
	}
	defer heal() // on the way out of an error; to heal twice does no harm
	tell := func(seen []point) {
		if len(seen)%steadyLine == 0 {
			p := seen[len(seen)-1]
			fmt.Fprintf(progress, "%s %s %4.0f s: %.0f acked/s, refused %d, failed %d, waiting at most %d, rss %d MB\n", s.Workload, s.Impl,
				p.at.Seconds(), ratesOf(seen)[len(seen)-1], p.flood.Refused, p.flood.Failed, p.flood.MostWaiting, p.rss>>20)
		}
	}
	if sc.flood {
		err = o.overwhelm(t, long, tell, but)
	} else {
		err = o.carryOn(t, long, tell, but)
	}
	if err != nil {
		return o, err
	}
	if err := heal(); err != nil {
		return o, err
	}
	if err := o.recover(t, leader); err != nil {
		return o, err
	}
	o.Verdict = judgeOrdeal(&o, sc.flood)
	return o, nil
}

// overwhelm floods the leader.
func (o *ordeal) overwhelm(t *trio, long time.Duration, tell func([]point), but []int) error {
	if _, err := t.ask(fmt.Sprintf("%s %d", cmdFlood, o.Capacity*floodTimes), but...); err != nil {
		return err
	}
	points, err := t.watch(long, time.Second, tell, but...)
	if err != nil {
		return err
	}
	rs, err := t.ask(cmdCalm, but...)
	if err != nil {
		return err
	}
	for _, r := range rs {
		if r.Flood == nil {
			continue
		}
		o.Flood = r.Flood
		o.DuringP50, o.DuringP99 = r.Flood.Latency.quantile(.5), r.Flood.Latency.quantile(.99)
		o.BusyP50, o.BusyP99 = r.Flood.Refusals.quantile(.5), r.Flood.Refusals.quantile(.99)
		o.Flood.Latency, o.Flood.Refusals = nil, nil
	}
	if o.Flood == nil {
		return fmt.Errorf("nobody led when the flood was to begin")
	}
	o.take(points)
	first, last := points[0], points[len(points)-1]
	o.Offered = rounded(float64(o.Flood.Begun)/last.at.Seconds(), 0)
	if last.at > first.at {
		o.Applied = rounded(float64(last.done-first.done)/(last.at-first.at).Seconds(), 0)
	}
	return nil
}

// carryOn drives the same closed loop as before.
func (o *ordeal) carryOn(t *trio, long time.Duration, tell func([]point), but []int) error {
	if _, err := t.ask(cmdStart, but...); err != nil {
		return err
	}
	if err := t.count(but...); err != nil {
		return err
	}
	points, err := t.watch(long, time.Second, tell, but...)
	if err != nil {
		return err
	}
	during, err := t.finish(but...)
	if err != nil {
		return err
	}
	o.DuringP50, o.DuringP99, o.Errors, o.Stall = during.P50, during.P99, during.Errors, during.WorstStall
	o.take(points)
	return nil
}

func (o *ordeal) take(points []point) {
	o.BySecond = ratesOf(points)
	for _, p := range points {
		o.RSSes = append(o.RSSes, p.rss>>20)
	}
	last := points[len(points)-1]
	o.Goodput = rounded(float64(last.acked)/last.at.Seconds(), 0)
}

// recover finds who leads now that all is well again, drives the closed loop there, and
// finds when it is what it was.
func (o *ordeal) recover(t *trio, before int) error {
	o.NormalAfter = -1
	healed := time.Now()
	leader, err := t.awaitLeader(recoveryWatch)
	if leader == 0 {
		return err
	}
	led := time.Since(healed)
	o.LeaderMoved = leader != before
	if _, err := t.ask(cmdStart); err != nil {
		return err
	}
	if err := t.count(); err != nil {
		return err
	}
	points, err := t.watch(recoveryWatch, recoveryStep, func([]point) {})
	if err != nil {
		return err
	}
	o.AfterBySteps = ratesOf(points)
	if after, err := t.finish(); err == nil {
		o.AfterP99 = after.P99
	} else if !errors.Is(err, errNothing) {
		return err
	}
	if normal := normalAfter(points, normalShare*float64(o.Capacity)); normal >= 0 {
		o.NormalAfter = rounded((led + normal).Seconds(), 1)
	}
	return nil
}

// normalAfter is the beginning of the first window in which at least so many
// operations a second were acknowledged; below 0 where there is none.
func normalAfter(points []point, rate float64) time.Duration {
	points = append([]point{{}}, points...)
	for i := recoveryWindow; i < len(points); i++ {
		from, to := points[i-recoveryWindow], points[i]
		if float64(to.acked-from.acked) >= rate*(to.at-from.at).Seconds() {
			return from.at
		}
	}
	return -time.Second
}
