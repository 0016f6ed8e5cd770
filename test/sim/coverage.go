package sim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Coverage counts how often a rare situation was reached.
type Coverage map[string]int

func (c Coverage) add(situation string) { c[situation]++ }

// Add counts another run's.
func (c Coverage) Add(o Coverage) {
	for k, n := range o {
		c[k] += n
	}
}

func (c Coverage) String() string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(c)) {
		fmt.Fprintf(&b, "%9d  %s\n", c[k], k)
	}
	return b.String()
}

// Required is what a run of many seeds must have reached: else the faults or the
// workload have lost their teeth.
var Required = []string{
	"all nodes down",
	"answered: read at least",
	"answered: read by lease",
	"answered: read on the member",
	"answered: read within",
	"answer: busy",
	"answer: disk full",
	"answer: leadership lost",
	"answer: too large",
	"answer to a process without members",
	"commit before the leader's own disk",
	"conflict truncation",
	"conflict truncation of durable entries",
	"conflict truncation of entries from before a restart",
	"crash in a write that was kept",
	"crash in a write that was lost",
	"crash within a turn",
	"disk fault: EIO",
	"disk fault: failed sync",
	"disk fault: power cut",
	"election while a disk has failed",
	"election on demand",
	"leader leaves its full disk",
	"log read from disk",
	"message duplicated",
	"message lost in a reset",
	"message reordered",
	"process frozen",
	"proposal forwarded",
	"read answered after the leader changed",
	"storage failed",
	"term and vote written on a full disk",
	"transfer of leadership done",
	"two leaders of different terms",
	"write refused on a full disk",
	"written when a full disk had room again",
}

// Missing lists what was required and not reached.
func (c Coverage) Missing() (missing []string) {
	for _, k := range Required {
		if c[k] == 0 {
			missing = append(missing, k)
		}
	}
	return missing
}
