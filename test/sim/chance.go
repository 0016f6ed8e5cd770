package sim

import (
	"math/rand/v2"
	"time"
)

// source is chance that depends on as little as it can: on the seed, on the moment,
// and on what was drawn from it at that very moment. So a run in which one thing is
// decided otherwise stays the same wherever that thing has not reached. For a decision
// that has a number it begins anew: then the moment does not matter either.
type source struct {
	w     *World
	key   uint64
	at    time.Duration
	state uint64
}

// Each kind of chance has a key of its own: changing what one decides leaves the
// others' choices as they were.
const (
	chanceSetup uint64 = iota + 1
	chanceOrder        // of turns, and how long they wait
	chanceStrikes
	chanceAsks
	chanceWire
	chanceDecisions
	chanceGuest
	chanceDisk
	chanceSessions
	chanceLost
	chanceMachines
	chanceMoves
	chanceGroups
)

func (w *World) newSource(kind, order uint64) *source {
	s := &source{w: w, key: mix(mix(w.seed, kind), order)}
	s.begin(0)
	return s
}

// begin sets the source to what belongs to a decision, until time moves on.
func (s *source) begin(of ...uint64) {
	s.at, s.state = s.w.now, s.key
	for _, v := range of {
		s.state = mix(s.state, v)
	}
}

// Uint64 implements rand.Source (splitmix64).
func (s *source) Uint64() uint64 {
	if s.at != s.w.now {
		s.begin(uint64(s.w.now))
	}
	v := mix(s.state, 0)
	s.state += 0x9e3779b97f4a7c15
	return v
}

// stream is chance in a fixed order, for what is drawn once or by one owner.
func stream(seed uint64, kind, number uint64) *rand.Rand {
	return rand.New(rand.NewPCG(seed, kind<<32|number))
}
