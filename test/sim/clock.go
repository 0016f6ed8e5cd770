package sim

import (
	"container/heap"
	"time"
)

// event is something that happens at a time.
type event struct {
	at   time.Duration
	seq  uint64 // of two at one time the first made comes first
	f    func()
	dead bool
	late bool // it has gone off, and is yet to be heard of

	timerOf *node // whose clock it goes by, nil for true time
	life    int
}

type events []*event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].seq < e[j].seq
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(*event)) }
func (e *events) Pop() any {
	old := *e
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*e = old[:len(old)-1]
	return last
}

// at has f called at a time, in true time.
func (w *World) at(t time.Duration, f func()) *event {
	w.seq++
	e := &event{at: max(t, w.now), seq: w.seq, f: f}
	heap.Push(&w.events, e)
	return e
}

// hearLate has what is late heard soon.
func (w *World) hearLate() {
	for _, e := range w.events {
		if e.late {
			e.at = min(e.at, w.now+w.setup.electionTimeout)
		}
	}
	heap.Init(&w.events)
}

func (w *World) popEvent() *event { return heap.Pop(&w.events).(*event) }

func (w *World) after(d time.Duration, f func()) *event { return w.at(w.now+d, f) }

// clock is a node's idea of time: it runs at a rate of its own, from an origin of
// its own, and its time of day jumps. It dies with the process.
type clock struct {
	n    *node
	life int
}

// Now implements actors.Clock.
func (c clock) Now() time.Duration {
	return c.Elapsed() - c.n.slept
}

// Elapsed implements actors.Clock.
func (c clock) Elapsed() time.Duration {
	return c.n.origin + time.Duration(float64(c.n.w.now-c.n.bootedAt)*c.n.rate)
}

// epoch is the time of day at which every world begins.
const epoch = int64(1_700_000_000) * int64(time.Second)

// Wall implements actors.Clock.
func (c clock) Wall() int64 { return epoch + int64(c.n.w.now) + int64(c.n.wallSkew) }

// After implements actors.Clock.
func (c clock) After(d time.Duration, f func()) (stop func()) {
	w := c.n.w
	e := w.after(time.Duration(float64(d)/c.n.rate), nil)
	e.timerOf, e.life = c.n, c.life
	e.f = func() {
		if w.setup.lateTimers > 0 && !w.healed && w.rng.Float64() < w.setup.lateTimers {
			// It has gone off, and who hears of it comes late: too late to be stopped.
			w.cover.add("timer late")
			late := w.setup.electionTimeout / 2
			if w.rng.IntN(4) == 0 {
				late *= 6
			}
			w.after(time.Duration(w.rng.ExpFloat64()*float64(late)), func() { c.n.whenThawed(c.life, f) }).late = true
			return
		}
		c.n.whenThawed(c.life, f)
	}
	c.n.w.script.timerSet(e)
	return func() { e.dead = true }
}
