package sim

import (
	"time"

	"github.com/protoraft/protoraft/actors"
)

// drawGroups says how the groups of a node share what they say, and after how long
// without anything to do they sleep.
func (s *setup) drawGroups(d draw) {
	s.pulse = d.chance(0.75)
	if s.pulse && d.chance(0.5) {
		s.sleepAfter = d.time(time.Millisecond, 2*s.electionTimeout)
	}
}

func (s *setup) pulseOptions() actors.PulseOptions {
	if !s.pulse {
		return actors.PulseOptions{}
	}
	return actors.PulseOptions{Interval: s.heartbeat, Timeout: s.electionTimeout}
}
