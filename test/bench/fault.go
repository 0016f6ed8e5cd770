package main

import (
	"fmt"
	"syscall"
	"time"
)

// fault is what is wrong with a follower.
type fault string

const (
	faultNone   fault = ""
	faultFrozen fault = "frozen" // SIGSTOP
	faultKilled fault = "killed" // SIGKILL, started again when healed
	faultSlow   fault = "slow"   // frozen for slowStopped of every slowPeriod
)

const (
	slowPeriod  = 100 * time.Millisecond
	slowStopped = 90 * time.Millisecond
)

// strike does it to a member, and returns what ends it and whom not to ask meanwhile:
// who is frozen does not answer. To heal again does nothing.
func (f fault) strike(t *trio, id int) (heal func() error, but []int, err error) {
	switch f {
	case faultNone:
		return func() error { return nil }, nil, nil
	case faultFrozen:
		return once(func() error { return t.signal(id, syscall.SIGCONT) }), []int{id}, t.signal(id, syscall.SIGSTOP)
	case faultKilled:
		t.kill(id)
		return once(func() error { return t.start(id) }), []int{id}, nil
	case faultSlow:
		return once(slow(t.all[id-1])), []int{id}, nil
	}
	return nil, nil, fmt.Errorf("no fault %q", f)
}

// slow has a process run for a part of the time only, until it is ended.
func slow(c *child) (end func() error) {
	stop, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			if err := c.signal(syscall.SIGSTOP); err != nil {
				ended <- err
				return
			}
			select {
			case <-stop:
				ended <- c.signal(syscall.SIGCONT)
				return
			case <-time.After(slowStopped):
			}
			if err := c.signal(syscall.SIGCONT); err != nil {
				ended <- err
				return
			}
			select {
			case <-stop:
				ended <- nil
				return
			case <-time.After(slowPeriod - slowStopped):
			}
		}
	}()
	return func() error { close(stop); return <-ended }
}

func once(f func() error) func() error {
	done := false
	return func() error {
		if done {
			return nil
		}
		done = true
		return f()
	}
}
