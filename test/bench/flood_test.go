package main

import (
	"errors"
	"runtime"
	"testing"
)

var errFull = errors.New("full")

// door admits as many as there are tokens, and answers them when it is told to.
type door struct {
	member
	tokens chan struct{}
	opened chan struct{}
}

func (d *door) Propose(int, []byte) error {
	select {
	case <-d.tokens:
		<-d.opened
		return nil
	default:
		return errFull
	}
}

func TestFloodDoesNotWaitForAnswers(t *testing.T) {
	d := &door{tokens: make(chan struct{}, 3), opened: make(chan struct{})}
	for range cap(d.tokens) {
		d.tokens <- struct{}{}
	}
	f := &flood{member: d, busy: func(err error) bool { return errors.Is(err, errFull) }}
	f.start(100_000, 16)
	for f.sample().Refused < 1000 { // three wait at the door meanwhile
		runtime.Gosched()
	}
	close(d.opened)
	for f.sample().Acked < 3 {
		runtime.Gosched()
	}
	got := f.stop()
	if got.Acked != 3 || got.Failed != 0 || got.Held != 0 || got.MostWaiting < 3 || got.Begun < 1003 {
		t.Errorf("flood %+v, expected 3 acknowledged, the rest refused", got)
	}
	if n := got.Latency.count(); n != 3 {
		t.Errorf("%d latencies, expected 3", n)
	}
	if n := got.Refusals.count(); n < 1000 {
		t.Errorf("%d refusals timed, expected 1000 or more", n)
	}
	if f.running() || f.stop() != nil {
		t.Error("a flood that was stopped runs on")
	}
}
