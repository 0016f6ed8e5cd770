package main

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// flood is an open loop: one goroutine begins commands at a rate, whatever becomes of
// those before. It also looks after those under way, so that none of them costs the
// machine a goroutine or a wake-up: the loop is not to be what is measured. Where a
// library's call does not return before the end, a goroutine waits for each.
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

// floodCounts is written by the beginner, and by goroutines that wait.
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

// begin catches up with the rate every floodTick, and with what was decided meanwhile.
func (f *flood) begin(rate int, command []byte, stopping <-chan struct{}) {
	ticks := time.NewTicker(floodTick)
	defer ticks.Stop()
	starter, starts := f.member.(starter)
	var under underWay
	began := time.Now()
	for tick, sent := 0, 0; ; tick++ {
		select {
		case <-stopping:
			go under.letGo()
			return
		case <-ticks.C:
		}
		now := time.Now()
		under.reap(tick%floodSearch == 0, now, f.ended)
		due := int(now.Sub(began).Seconds() * float64(rate))
		// A beginner that was held up does not make good for it in one burst.
		sent = max(sent, due-rate/floodBurst)
		for ; sent < due; sent++ {
			switch {
			case !f.admit():
			case starts:
				now = f.one(starter.Start(0, command), now, &under)
			default:
				f.apart(command, now)
				now = time.Now()
			}
		}
	}
}

const (
	floodTick   = time.Millisecond
	floodBurst  = 20 // of a second: the most that is begun at once
	floodSearch = 20 // ticks between two looks at all that is under way
)

// admit counts a command in, unless too many wait.
func (f *flood) admit() bool {
	c := f.counts
	waiting := c.waiting.Add(1)
	if waiting > floodWaitingMax {
		c.waiting.Add(-1)
		c.held.Add(1)
		return false
	}
	if waiting > c.mostWaiting.Load() {
		c.mostWaiting.Store(waiting) // only the beginner writes it
	}
	c.begun.Add(1)
	return true
}

// one looks at a command just begun: one refused at once is known to be now. It returns
// what time it is.
func (f *flood) one(b begun, began time.Time, under *underWay) time.Time {
	decided := b.Decided()
	now := time.Now()
	if decided {
		f.ended(b.Wait(), now.Sub(began))
	} else {
		under.push(waiting{b, began})
	}
	return now
}

func (f *flood) apart(command []byte, began time.Time) {
	go func() {
		err := f.member.Propose(0, command)
		f.ended(err, time.Since(began))
	}()
}

// underWay are the commands that are not decided, in the order they were begun in. Most
// are decided in that order.
type underWay struct{ fifo[waiting] }

type waiting struct {
	begun
	since time.Time
}

// reap tells what became of those that are decided: of the first in order, up to one that
// is not, or of all.
func (u *underWay) reap(all bool, now time.Time, ended func(error, time.Duration)) {
	for u.len() > 0 && u.at(0).Decided() {
		w := u.pop()
		ended(w.Wait(), now.Sub(w.since))
	}
	if !all {
		return
	}
	for range u.len() {
		if w := u.pop(); w.Decided() {
			ended(w.Wait(), now.Sub(w.since))
		} else {
			u.push(w)
		}
	}
}

// letGo waits for those that nobody asks after any more: the library has them back.
func (u *underWay) letGo() {
	for u.len() > 0 {
		u.pop().Wait()
	}
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
