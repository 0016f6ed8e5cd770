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
	each := 0
	if d.spec.Conc > 0 {
		each = max(1, d.spec.Conc/d.spec.active())
	}
	d.workers = make([]worker, each*len(d.led))
	d.done = make(chan tally, len(d.workers))
	for i, g := range d.led {
		for w := range each {
			go d.work(g, &d.workers[i*each+w], uint64(w))
		}
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

func (d *driver) work(group int, w *worker, seed uint64) {
	t := tally{group: group}
	random := rand.New(rand.NewPCG(uint64(group), seed))
	counted := uint64(0)
	for {
		read := d.spec.Reads > 0 && random.Float64() < d.spec.Reads
		began := time.Now()
		err := d.operate(group, read, random)
		ended := time.Now()
		phase := d.phase.Load()
		switch {
		case err != nil && phase == counting:
			t.errors++
			if t.firstError == nil {
				t.firstError = err
			}
		case err == nil && phase == counting:
			t.latency.record(ended.Sub(began))
			d.stalls.saw(int64(ended.Sub(d.began)))
			counted++
			w.acked.Store(counted)
		}
		if err == nil && !read {
			t.acked++
		}
		if phase == stopped {
			d.done <- t
			return
		}
		if err != nil {
			time.Sleep(time.Millisecond) // a refusal costs nothing: do not count them by the million
		}
	}
}

// operate makes a command of its own for every write: a library may hold on to
// the bytes long after it has answered.
func (d *driver) operate(group int, read bool, random *rand.Rand) error {
	if read {
		return d.member.Read(group)
	}
	command := make([]byte, max(8, d.spec.Payload))
	binary.LittleEndian.PutUint64(command, random.Uint64())
	return d.member.Propose(group, command[:d.spec.Payload])
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
