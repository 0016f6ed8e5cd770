package sim

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/protoraft/protoraft/actors"
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
	"answer: session expired",
	"applied before, reply lost",
	"block read in two pieces",
	"clocks leap",
	"committed entries lost with a majority",
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
	"disk slower than elections",
	"disk lost",
	"disk put back",
	"log rotten",
	"memory lost while it was being recovered",
	"memory restored",
	"election while a disk has failed",
	"entries committed by a reset",
	"election on demand",
	"leader cut off from the members only",
	"forwarded commands of sessions duplicated",
	"follower suspended",
	"index confirmed late and twice",
	"install interrupted by a crash",
	"leader change during a snapshot's transfer",
	"lease ran out before its answer",
	"lease: Applier held up",
	"lease: answers to a heartbeat come late",
	"lease: machine suspended",
	"lease: order to stand comes late",
	"leader leaves its full disk",
	"log begun anew at the start",
	"log compacted",
	"log read from disk",
	"lost majority given up",
	"machine failed",
	"machine goes on from its own disk",
	"machine that went backwards refused",
	"member failed, others of its process go on",
	"members: a former member is told",
	"members: change answered",
	"members: change rolled back",
	"members: changed",
	"members: configuration truncated",
	"members: joint",
	"members: joint under a leader that leaves",
	"members: leader elected while joint",
	"members: leader elected while new voters catch up",
	"members: newcomer caught up by snapshot",
	"message duplicated",
	"message lost in a reset",
	"message reordered",
	"message very late",
	"news of an earlier leadership",
	"operations in one message",
	"panic of a member",
	"panic of a Replicator",
	"panic of an Applier",
	"panic of the Gateway",
	"panic of the LogReader",
	"panic of the LogWriter",
	"panic of the Node",
	"process frozen",
	"proposal forwarded",
	"repeat answered by the table",
	"repeat of a command with a name answered by the table",
	"repeat refused",
	"read answered after the leader changed",
	"read error",
	"read of rotten bytes",
	"restart from a snapshot",
	"sleep: follower",
	"sleep: follower woken",
	"sleep: leader",
	"sleep: leader woken",
	"sleep: witness",
	"sleep: roused, is silent",
	"sleep: told that its leader sleeps",
	"snapshot failed",
	"snapshot installed",
	"snapshot on request",
	"snapshot received in pieces",
	"snapshot taken",
	"storage failed",
	"term and vote written on a full disk",
	"timer late",
	"transfer of leadership done",
	"turn held up",
	"two leaders of different terms",
	"witness cuts its log",
	"witness hands over",
	"witness is told where its log begins",
	"witness leads",
	"write refused on a full disk",
	"written when a full disk had room again",
	"what a machine holds is noted",
}

// RequiredOfMany are required besides of a run of so many seeds: one in a hundred or more
// reaches them.
var RequiredOfMany = []string{
	"diverged leader stopped",
	"diverged member stopped",
	"members: leader crashes while joint",
}

const (
	seedsOfRun  = 250
	seedsOfMany = 2000
)

// posted counts what messages between actors of one process say.
func (c Coverage) posted(message any) {
	switch m := message.(type) {
	case *actors.Roused:
		what := m.Reason
		if _, port, at := strings.Cut(what, ":"); at { // by whom does not matter
			_, what, _ = strings.Cut(port, " ")
		}
		c.add("sleep: roused, " + what)
	case *actors.LeaderAsleep:
		c.add("sleep: told that its leader sleeps")
	case *actors.SnapshotFailed:
		c.add("snapshot failed")
	}
}

// Missing lists what was required of a run of so many seeds and not reached.
func (c Coverage) Missing(seeds int) (missing []string) {
	var required []string
	if seeds >= seedsOfRun {
		required = Required
	}
	if seeds >= seedsOfMany {
		required = slices.Concat(Required, RequiredOfMany)
	}
	for _, k := range required {
		if c[k] == 0 {
			missing = append(missing, k)
		}
	}
	return missing
}
