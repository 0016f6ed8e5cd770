package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime/pprof"
	"slices"
	"sync/atomic"
	"time"
)

// driver keeps conc operations in flight in a closed loop. It may be started again
// after it has stopped.
type driver struct {
	member member
	spec   spec
	led    []int
	acked  map[int]uint64 // writes, by group, of all the times it was started

	began   time.Time
	phase   atomic.Int32
	workers []worker
	done    chan tally
	stalls  stallDetector

	from    time.Time
	before  usage
	used    usage
	seconds float64
	rss     int64
}

const (
	warming int32 = iota
	counting
	frozen
	stopped
)

// worker is one goroutine's count of operations acknowledged while counting, alone on
// its cache line.
type worker struct {
	acked atomic.Uint64
	_     [56]byte
}

// tally is what one worker saw.
type tally struct {
	group      int
	latency    histogram
	acked      uint64 // writes, measured or not
	errors     int64
	firstError error
}

// start drives the groups that are both led here and active.
func (d *driver) start(led []int) {
	d.led = slices.DeleteFunc(led, func(g int) bool { return g >= d.spec.active() })
	d.phase.Store(warming)
	d.began = time.Now()
	d.workers, d.done = nil, nil
	if d.spec.Conc == 0 || len(d.led) == 0 {
		return
	}
	var work []func(*worker)
	for _, g := range d.led {
		inFlight := max(1, d.spec.Conc/d.spec.active())
		asks, windows := askersOf(d.member, g, inFlight, max(1, goroutines/len(d.led)), d.spec.Calls)
		for n, window := range windows {
			work = append(work, func(w *worker) { d.work(g, asks(), window, w, uint64(n)) })
		}
	}
	d.workers = make([]worker, len(work))
	d.done = make(chan tally, len(work))
	for i, f := range work {
		go f(&d.workers[i])
	}
}

func (d *driver) count() error {
	if err := d.beginProfile(); err != nil {
		return err
	}
	d.from, d.before = time.Now(), usageNow()
	d.stalls.begin(int64(d.from.Sub(d.began)))
	d.phase.Store(counting)
	return nil
}

func (d *driver) freeze() {
	d.phase.Store(frozen)
	d.stalls.saw(int64(time.Since(d.began)))
	d.seconds, d.used, d.rss = time.Since(d.from).Seconds(), usageNow().since(d.before), rssBytes()
	pprof.StopCPUProfile()
}

// sample is how far things are since count.
func (d *driver) sample() report {
	r := report{RSSBytes: rssBytes(), usage: usageNow().since(d.before)}
	for i := range d.workers {
		r.Acked += d.workers[i].acked.Load()
	}
	r.WorstStall = int64(d.stalls.longest())
	return r
}

// beginProfile does nothing unless a profile is wanted of this member.
func (d *driver) beginProfile() error {
	if d.spec.CPUProfile == "" || len(d.led) == 0 {
		return nil
	}
	f, err := os.Create(d.spec.CPUProfile)
	if err != nil {
		return err
	}
	return pprof.StartCPUProfile(f)
}

// work keeps window operations on the group in flight. What has ended is told of all at
// once, where the library can: so many are then begun together.
func (d *driver) work(group int, ask asker, window int, w *worker, seed uint64) {
	l := &loop{driver: d, ask: ask, worker: w, random: rand.New(rand.NewPCG(uint64(group), seed))}
	l.tally.group = group
	l.begin(window, time.Now())
	for d.phase.Load() != stopped {
		err := ask.Next()
		now := time.Now()
		l.ended(err, now)
		n := ask.Ready()
		for range n {
			l.ended(ask.Next(), now)
		}
		if err != nil {
			time.Sleep(time.Millisecond) // a refusal costs nothing: do not count them by the million
		}
		l.begin(1+n, now)
	}
	for range window {
		l.ended(ask.Next(), time.Now())
	}
	d.done <- l.tally
}

// loop is what one goroutine has in flight.
type loop struct {
	*driver
	ask    asker
	worker *worker
	random *rand.Rand
	tally  tally

	counted uint64
	flight  fifo[operation]
}

type operation struct {
	at   time.Time
	read bool
}

// begin makes a command of its own for every write: a library may hold on to the bytes
// long after it has answered.
func (l *loop) begin(n int, now time.Time) {
	for range n {
		read := l.spec.Reads > 0 && l.random.Float64() < l.spec.Reads
		l.flight.push(operation{now, read})
		if read {
			l.ask.Read()
			continue
		}
		command := make([]byte, max(8, l.spec.Payload))
		binary.LittleEndian.PutUint64(command, l.random.Uint64())
		l.ask.Write(command[:l.spec.Payload])
	}
}

// ended counts the oldest operation.
func (l *loop) ended(err error, now time.Time) {
	op, phase := l.flight.pop(), l.phase.Load()
	switch {
	case err != nil && phase == counting:
		l.tally.errors++
		if l.tally.firstError == nil {
			l.tally.firstError = err
		}
	case err == nil && phase == counting:
		l.tally.latency.record(now.Sub(op.at))
		l.stalls.saw(int64(now.Sub(l.began)))
		l.counted++
		l.worker.acked.Store(l.counted)
	}
	if err == nil && !op.read {
		l.tally.acked++
	}
}

func (d *driver) stop() (report, error) {
	d.phase.Store(stopped)
	r := report{
		Latency: &histogram{}, Seconds: d.seconds, usage: d.used, RSSBytes: d.rss,
		WorstStall: int64(d.stalls.longest()),
	}
	deadline := time.After(teardownMax)
	for left := len(d.workers); left > 0; left-- {
		select {
		case t := <-d.done:
			r.Latency.add(&t.latency)
			r.Errors += t.errors
			if t.firstError != nil {
				r.FirstError = t.firstError.Error()
			}
			d.acked[t.group] += t.acked
		case <-deadline:
			return r, fmt.Errorf("%d of %d operations unanswered after %v", left, len(d.workers), teardownMax)
		}
	}
	r.Acked = uint64(r.Latency.count())
	for _, g := range d.led {
		if applied := d.member.Applied(g); applied < d.acked[g] {
			return r, fmt.Errorf("group %d: %d writes acknowledged, %d applied", g, d.acked[g], applied)
		}
	}
	return r, nil
}
