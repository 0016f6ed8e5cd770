package core

import "fmt"

// SnapshotPolicy says when a member takes a snapshot by itself; what is 0 is no
// reason for one.
type SnapshotPolicy struct {
	Entries Index // applied since the last one
	Bytes   int   // of log applied since the last one
}

// First is the policy until the first snapshot of a member's life, at fraction of
// the way from half of it to all of it: groups that began together do not take
// their snapshots together for ever.
func (p SnapshotPolicy) First(fraction float64) SnapshotPolicy {
	part := 0.5 + fraction/2
	if p.Entries > 0 {
		p.Entries = max(1, Index(part*float64(p.Entries)))
	}
	if p.Bytes > 0 {
		p.Bytes = max(1, int(part*float64(p.Bytes)))
	}
	return p
}

// Due says whether it is time, with the log applied up to applied, bytes of it
// since the last snapshot, and the interval over or not. Nothing new is no snapshot.
func (p SnapshotPolicy) Due(applied, snapshot Index, bytes int, intervalOver bool) bool {
	if applied <= snapshot {
		return false
	}
	return intervalOver ||
		p.Entries > 0 && applied-snapshot >= p.Entries ||
		p.Bytes > 0 && bytes >= p.Bytes
}

// CompactTo is how far a log that begins after before may be cut behind a durable
// snapshot: not above what is applied, for the machine still reads from there, and
// short of it by keep entries, for followers that lag a little. ok is false where
// there is nothing to cut.
func CompactTo(before, snapshot, applied, keep Index) (to Index, ok bool) {
	to = min(snapshot, applied)
	if to <= keep {
		return 0, false
	}
	to -= keep
	return to, to > before
}

// InstallDecision is what a member does with a snapshot that a leader sent.
type InstallDecision int

const (
	// InstallIgnored: everything in it is committed here already.
	InstallIgnored InstallDecision = iota
	// InstallCommitted: the log holds the snapshot's last entry, and so all before it
	// (Log Matching): they are committed, and what follows them stays.
	InstallCommitted
	// InstallReset: the log ends before it or has another entry there. It begins anew
	// after the snapshot.
	InstallReset
)

// DecideInstall decides about a snapshot that ends at p.
func DecideInstall(log *LogShape, commit Index, p Position) InstallDecision {
	switch {
	case p.Index <= commit:
		return InstallIgnored
	case log.Has(p):
		return InstallCommitted
	default:
		return InstallReset
	}
}

// DecideStart says whether a member that starts must have its log begin anew after
// its newest snapshot: the log ends before it, or has another entry there, for a
// crash came between the snapshot and the log. A log that begins beyond the snapshot
// has lost what is between them: that is an error.
func DecideStart(log *LogShape, snapshot Position) (reset bool, err error) {
	if log.Before().Index > snapshot.Index {
		return false, fmt.Errorf("the log begins at %d, and the newest snapshot ends at %d: what is between them is lost", log.First(), snapshot.Index)
	}
	return !log.Has(snapshot), nil
}
