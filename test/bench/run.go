package main

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// outcome is one run's line of JSON.
type outcome struct {
	spec
	OpsPerSecond int64   `json:"ops_s,omitempty"`
	P50          int64   `json:"p50_us,omitempty"`
	P99          int64   `json:"p99_us,omitempty"`
	P999         int64   `json:"p999_us,omitempty"`
	CPUPerOp     float64 `json:"cpu_us_op,omitempty"` // user and system time of all three processes
	Cores        float64 `json:"cores,omitempty"`     // the same, over elapsed time
	NodeCores    float64 `json:"node_cores,omitempty"`
	Written      float64 `json:"written_x,omitempty"` // bytes all three caused to be written, per byte of acknowledged commands
	Device       float64 `json:"device_x,omitempty"`  // the same as the device has it, by everybody who writes to it
	RSS          int64   `json:"rss_mb,omitempty"`    // of all three processes, at the end
	NodeRSS      int64   `json:"node_rss_mb,omitempty"`
	WorstStall   float64 `json:"worst_stall_ms,omitempty"`
	Errors       int64   `json:"errs"`
	FirstError   string  `json:"first_err,omitempty"`

	FailoverMS []float64 `json:"failover_ms,omitempty"` // one for each kill
}

// run does one run of -all. It must be called on the main thread.
func run(s spec) (o outcome, err error) {
	limit := s.Warm + s.Dur
	if s.Kills > 0 {
		limit = time.Duration(s.Kills) * (failoverMax + electionMax)
	}
	t, err := startTrio(s, limit)
	if err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	if s.Kills > 0 {
		return t.killLeaders()
	}
	return t.measure()
}

// measure drives load for the time measured.
func (t *trio) measure() (outcome, error) {
	if _, err := t.ask(cmdStart); err != nil {
		return outcome{}, err
	}
	time.Sleep(t.spec.Warm)
	if err := t.count(); err != nil {
		return outcome{}, err
	}
	time.Sleep(t.spec.Dur)
	return t.finish()
}

// count begins to measure.
func (t *trio) count(but ...int) error {
	t.device = deviceBytes(t.root)
	_, err := t.ask(cmdCount, but...)
	return err
}

// finish ends what is measured and sums up, but for members left out.
func (t *trio) finish(but ...int) (outcome, error) {
	o := outcome{spec: t.spec}
	if _, err := t.ask(cmdFreeze, but...); err != nil {
		return o, err
	}
	device := deviceBytes(t.root) - t.device
	rs, err := t.ask(cmdStop, but...)
	if err != nil {
		return o, err
	}
	return o, o.sum(rs, device)
}

var errNothing = errors.New("no operation succeeded")

func (o *outcome) sum(rs [members]report, device int64) error {
	var latency histogram
	var seconds, cpu float64
	var written, stall int64
	for _, r := range rs {
		if r.Latency != nil {
			latency.add(r.Latency)
		}
		o.Errors += r.Errors
		if o.FirstError == "" {
			o.FirstError = r.FirstError
		}
		o.RSS += r.RSSBytes >> 20
		o.NodeRSS = max(o.NodeRSS, r.RSSBytes>>20)
		if r.Seconds > 0 {
			o.NodeCores = max(o.NodeCores, rounded(r.CPUSeconds/r.Seconds, 4))
		}
		if r.Acked > 0 {
			stall = max(stall, r.WorstStall)
		}
		cpu += r.CPUSeconds
		written += r.Written
		seconds = max(seconds, r.Seconds)
	}
	ops := float64(latency.count())
	o.Cores = rounded(cpu/seconds, 2)
	if o.Conc == 0 {
		return nil
	}
	if ops == 0 {
		return fmt.Errorf("%w, %d failed: %s", errNothing, o.Errors, o.FirstError)
	}
	o.OpsPerSecond = int64(ops / seconds)
	o.P50, o.P99, o.P999 = latency.quantile(.5), latency.quantile(.99), latency.quantile(.999)
	o.CPUPerOp = rounded(cpu*1e6/ops, 2)
	o.WorstStall = rounded(float64(stall)/1e6, 1)
	if proposed := ops * (1 - o.Reads) * float64(o.Payload); proposed > 0 {
		o.Written, o.Device = rounded(float64(written)/proposed, 2), rounded(float64(device)/proposed, 2)
	}
	return nil
}

func rounded(v float64, digits int) float64 {
	unit := math.Pow10(digits)
	return math.Round(v*unit) / unit
}
