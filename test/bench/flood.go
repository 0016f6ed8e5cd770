package main

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// flood is an open loop: one goroutine begins commands at a rate, whatever becomes of
// those before. A goroutine waits for each, and begins it where the library's call
// does not return before the end.
type flood struct {
	member member
	busy   func(error) bool

	stopping chan struct{}
	beginner sync.WaitGroup
	counts   *floodCounts
}

// floodWaitingMax bounds what waits, to save the machine from a library that refuses
// nothing. Commands beyond are not begun, and counted as held back.
const floodWaitingMax = 1 << 19

// floodCounts is written by every goroutine that waits.
type floodCounts struct {
	begun, held, acked, refused, failed atomic.Uint64

	waiting, mostWaiting atomic.Int64

	latency, refusals sharedHistogram
	firstError        atomic.Pointer[string]
}

// flooded is what became of a flood so far.
type flooded struct {
	Begun       uint64 // commands
	Held        uint64 // not begun, since too many waited
	Acked       uint64
	Refused     uint64 // as busy
	Failed      uint64 // otherwise
	FirstError  string `json:",omitempty"`
	MostWaiting int64

	Latency  *histogram `json:",omitempty"` // of those acknowledged
	Refusals *histogram `json:",omitempty"` // how long it took to say no
}

func (f *flood) running() bool { return f.stopping != nil }

// start begins commands of one and the same content, which nobody changes.
func (f *flood) start(rate, payload int) {
	command := make([]byte, payload)
	for i := range command {
		command[i] = byte(rand.Uint32())
	}
	f.stopping, f.counts = make(chan struct{}), &floodCounts{}
	stopping := f.stopping
	f.beginner.Go(func() { f.begin(rate, command, stopping) })
}

// begin catches up with the rate every floodTick.
func (f *flood) begin(rate int, command []byte, stopping <-chan struct{}) {
	ticks := time.NewTicker(floodTick)
	defer ticks.Stop()
	began := time.Now()
	for sent := 0; ; {
		select {
		case <-stopping:
			return
		case <-ticks.C:
		}
		due := int(time.Since(began).Seconds() * float64(rate))
		// A beginner that was held up does not make good for it in one burst.
		sent = max(sent, due-rate/floodBurst)
		for ; sent < due; sent++ {
			f.one(command)
		}
	}
}

const (
	floodTick  = time.Millisecond
	floodBurst = 20 // of a second: the most that is begun at once
)

func (f *flood) one(command []byte) {
	c := f.counts
	waiting := c.waiting.Add(1)
	if waiting > floodWaitingMax {
		c.waiting.Add(-1)
		c.held.Add(1)
		return
	}
	if waiting > c.mostWaiting.Load() {
		c.mostWaiting.Store(waiting) // only the beginner writes it
	}
	c.begun.Add(1)
	began := time.Now()
	wait := func() error { return f.member.Propose(0, command) }
	if m, ok := f.member.(starter); ok {
		wait = m.Start(0, command)
	}
	go func() {
		err := wait()
		f.ended(err, time.Since(began))
	}()
}

func (f *flood) ended(err error, took time.Duration) {
	c := f.counts
	c.waiting.Add(-1)
	switch {
	case err == nil:
		c.acked.Add(1)
		c.latency.record(took)
	case f.busy(err):
		c.refused.Add(1)
		c.refusals.record(took)
	default:
		c.failed.Add(1)
		said := err.Error()
		c.firstError.CompareAndSwap(nil, &said)
	}
}

func (f *flood) sample() *flooded {
	c := f.counts
	s := &flooded{
		Begun: c.begun.Load(), Held: c.held.Load(), Acked: c.acked.Load(), Refused: c.refused.Load(), Failed: c.failed.Load(),
		MostWaiting: c.mostWaiting.Load(),
	}
	if said := c.firstError.Load(); said != nil {
		s.FirstError = *said
	}
	return s
}

// stop returns what became of the commands, but of those that still wait.
func (f *flood) stop() *flooded {
	if !f.running() {
		return nil
	}
	close(f.stopping)
	f.beginner.Wait()
	f.stopping = nil
	s := f.sample()
	s.Latency, s.Refusals = f.counts.latency.copy(), f.counts.refusals.copy()
	return s
}
