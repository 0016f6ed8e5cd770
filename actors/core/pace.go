package core

import "math"

// Pace knows how fast a leader's entries are applied, and so how many newcomers it can
// take without making them wait for longer than is bearable. Bounds of number and bytes
// do not say: what a fast machine does in a blink keeps a slow one busy until nobody waits
// for the answer any more, and then all of its work is for nothing. Times are of one
// clock, in nanoseconds.
type Pace struct {
	Bearable int64 // wait
	Patient  int   // so many may always wait, but in a stall

	blocks  []paced // not applied, in order
	entries int     // of them

	rate  float64 // entries by nanosecond of time with something to do, 0 while unknown
	since int64   // when the measurement under way began, later by what was idle
	idle  int64   // when there was nothing more to do
	done  int     // since
}

type paced struct {
	last    Index
	entries int
	began   int64
}

// Began notes a block that ends at last, cut at now.
func (p *Pace) Began(last Index, entries int, now int64) {
	if len(p.blocks) == 0 {
		p.since += now - p.idle
	}
	p.blocks = append(p.blocks, paced{last, entries, now})
	p.entries += entries
}

// Ended notes that everything up to applied is.
func (p *Pace) Ended(applied Index, now int64) {
	n, done := 0, 0
	for n < len(p.blocks) && p.blocks[n].last <= applied {
		done += p.blocks[n].entries
		n++
	}
	if n == 0 {
		return
	}
	p.blocks = p.blocks[:copy(p.blocks, p.blocks[n:])]
	p.entries -= done
	p.measure(done, now)
	p.idle = now
}

// measure takes means over an eighth of Bearable, and of each with what it was before.
func (p *Pace) measure(done int, now int64) {
	p.done += done
	took := now - p.since
	if took < p.Bearable/8 || took <= 0 {
		return
	}
	rate := float64(p.done) / float64(took)
	if p.rate > 0 {
		rate = (rate + p.rate) / 2
	}
	p.rate, p.since, p.done = rate, now, 0
}

// Room is how many more may be taken while queued ones wait for their block. As many may
// wait as are applied in Bearable, and not fewer than Patient: a client that began slowly
// may go on faster.
//
// In a stall of the disk or the machine the pace of before says nothing. When the first in
// line has waited for Bearable, number by time may come to Patient by Bearable: fewer may
// wait longer, more less.
func (p *Pace) Room(queued int, now int64) int {
	waiting := p.entries + queued
	if len(p.blocks) > 0 {
		waited := now - p.blocks[0].began
		if waited >= p.Bearable && float64(waiting)*float64(waited) >= float64(p.Patient)*float64(p.Bearable) {
			return 0
		}
	}
	if p.rate == 0 {
		return math.MaxInt
	}
	return max(0, max(p.Patient, int(p.rate*float64(p.Bearable)))-waiting)
}
