package sim

import "github.com/protoraft/protoraft/actors"

// drawGroups says how the groups of a node share what they say.
func (s *setup) drawGroups(d draw) {
	s.pulse = d.chance(0.75)
}

func (s *setup) pulseOptions() actors.PulseOptions {
	if !s.pulse {
		return actors.PulseOptions{}
	}
	return actors.PulseOptions{Interval: s.heartbeat, Timeout: s.electionTimeout}
}
