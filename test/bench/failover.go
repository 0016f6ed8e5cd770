package main

import (
	"errors"
	"fmt"
	"syscall"
	"time"
)

const (
	failoverMax   = 30 * time.Second // from kill to acknowledgement
	failoverAsked = 2 * time.Millisecond
)

// killLeaders kills the leader with SIGKILL, measures the time until a write is
// acknowledged, starts it again, and does so anew when all three are equal.
func (t *trio) killLeaders() (outcome, error) {
	o := outcome{spec: t.spec}
	for moved := 0; len(o.FailoverMS) < t.spec.Kills; {
		took, err := t.killLeader()
		switch {
		case errors.Is(err, errMoved) && moved < movedMax:
			moved++
			err = t.awaitLeaders()
		case err == nil:
			o.FailoverMS = append(o.FailoverMS, rounded(took.Seconds()*1e3, 1))
		}
		if err != nil {
			return o, fmt.Errorf("kill %d of %d: %w", len(o.FailoverMS)+1, t.spec.Kills, err)
		}
	}
	return o, nil
}

// errMoved says that the wrong one was killed: leadership had just moved, on a machine
// that is busy. It is done again, movedMax times.
var errMoved = errors.New("another member led before the leader was killed")

const movedMax = 3

func (t *trio) killLeader() (time.Duration, error) {
	leader, err := t.leader()
	if err != nil {
		return 0, err
	}
	if _, err := t.ask(cmdProbe, leader); err != nil {
		return 0, err
	}
	killed := time.Now()
	if err := t.signal(leader, syscall.SIGKILL); err != nil {
		return 0, err
	}
	t.kill(leader)
	acked, err := t.awaitProbe(killed)
	if err != nil {
		return 0, err
	}
	if err := t.start(leader); err != nil {
		return 0, err
	}
	if acked.Before(killed) {
		return 0, errMoved
	}
	return acked.Sub(killed), t.awaitLeaders()
}

// awaitProbe returns when the first write was acknowledged, by the survivors' wall
// clock, which is the harness's.
func (t *trio) awaitProbe(since time.Time) (time.Time, error) {
	for time.Since(since) < failoverMax {
		rs, err := t.ask(cmdProbed)
		if err != nil {
			return time.Time{}, err
		}
		first := int64(0)
		for _, r := range rs {
			if r.AckedAt > 0 && (first == 0 || r.AckedAt < first) {
				first = r.AckedAt
			}
		}
		if first > 0 {
			return time.Unix(0, first), nil
		}
		time.Sleep(failoverAsked)
	}
	return time.Time{}, fmt.Errorf("no write acknowledged within %v of the leader's death", failoverMax)
}
