package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/protoraft/protoraft/actors"
	"github.com/protoraft/protoraft/actors/core"
)

// snapshotSetup says when members take snapshots, and how they are sent.
type snapshotSetup struct {
	off      bool // members keep none
	policy   core.SnapshotPolicy
	interval time.Duration
	keep     core.Index
}

// drawSnapshots makes them common: after a few entries, with little of the log kept,
// and sent in crumbs.
func (s *setup) drawSnapshots(d draw) {
	s.snapshots = snapshotSetup{
		// A state that has drifted comes back with its member's own snapshots.
		off: d.chance(0.1) || slices.Contains(s.strikes, strikeDrift),
		policy: core.SnapshotPolicy{
			Entries: core.Index(d.one(0, 3, 3, 5, 10, 40)), Bytes: d.one(0, 0, 200, 1000, 20_000),
		},
		keep: core.Index(d.one(0, 0, 0, 1, 3, 20)),
	}
	if d.chance(0.3) {
		s.snapshots.interval = d.time(s.electionTimeout/4, 20*s.electionTimeout)
	}
	s.limits.Transfer = actors.Transfer{
		ChunkBytes: d.one(20, 100, 100, 1000, actors.ChunkBytesMax), Chunks: d.one(1, 2, 4, 16),
	}
	if d.chance(0.3) {
		s.limits.Transfer.BytesPerSecond = d.count(300, 100_000)
	}
}

func (s *snapshotSetup) configure(o *actors.MemberOptions, n *node) {
	if s.off {
		return
	}
	o.Snapshots, o.SnapshotPolicy, o.SnapshotInterval, o.KeepEntries = n.snapshots, s.policy, s.interval, s.keep
}

func (s *snapshotSetup) String() string {
	if s.off {
		return "no snapshots"
	}
	return fmt.Sprintf("snapshots after %d entries, %d bytes, %v, keeping %d", s.policy.Entries, s.policy.Bytes, s.interval, s.keep)
}
