// Package fsm is the contract between a group's log and the state machine it
// replicates. Package kv and package counter are machines to use and to copy.
package fsm

import (
	"io"
	"time"
)

// Entry is one committed command.
type Entry struct {
	Group uint64
	Index uint64
	Term  uint64

	// Time is the log time the leader stamped on the entry. It is the same on
	// every replica and never goes back; use it, never time.Now.
	Time time.Time

	// Data is the command as proposed. It is valid until Apply returns: copy what
	// you keep.
	Data []byte

	// Session and Sequence identify the command within its client's session; both
	// are 0 where the client has none.
	Session, Sequence uint64
}

// StateMachine is replicated by a group: every member applies the same entries
// in the same order and so reaches the same state. All methods but those of the
// View are called by the group's Applier, one at a time.
//
// A StateMachine must be deterministic: no clock, no randomness, no map order,
// nothing but its state and the entry. It may send nothing and wait for nothing.
type StateMachine interface {
	// Apply executes a committed command and returns the reply for whoever proposed
	// it. A command the machine refuses (a bad argument, a failed condition) is an
	// ordinary reply. An error, like a panic, says that this replica cannot go on:
	// its group stops here, named in the log and in status; the entry is never
	// skipped. A reply is at most 2 MiB: a larger one may not reach another node.
	Apply(e Entry) (reply []byte, err error)

	// Snapshot returns an immutable view of the state as of the last applied entry.
	// It must be cheap: applying goes on while the view is written elsewhere.
	Snapshot() (View, error)

	// Restore replaces the state by what a view has written.
	Restore(r io.Reader) error
}

// View is a state at one index. It is used from another goroutine than the
// machine's, while the machine changes.
type View interface {
	// WriteTo writes the state. Equal states write equal bytes.
	io.WriterTo
	// Release frees the view. It is called once, after the last WriteTo.
	Release()
}

// Querier is a StateMachine that answers queries. Without it, queries are refused.
type Querier interface {
	// Query reads the state and must not change it. An error is passed to the
	// asker; it does not stop the group.
	Query(query []byte) (answer []byte, err error)
}

// BatchApplier is a StateMachine that prefers consecutive entries together.
// ApplyBatch is then called instead of Apply.
type BatchApplier interface {
	// ApplyBatch executes entries in order and stores each one's reply at the same
	// position of replies. The error has the meaning of Apply's.
	ApplyBatch(entries []Entry, replies [][]byte) error
}

// LeaderObserver is a StateMachine that wants to know when its member leads.
// Both are called between entries, in order with them.
type LeaderObserver interface {
	// LeaderStart is called when this member leads in term and has applied the
	// first entry of that term, so that its state is complete.
	LeaderStart(term uint64)
	// LeaderStop is called when it no longer does, after any LeaderStart of the
	// same term. A leader that is cut off learns it late: LeaderStop is no fence.
	LeaderStop(term uint64)
}

// FollowObserver is a StateMachine that wants to know whom its member follows.
type FollowObserver interface {
	StartFollowing(leader string, term uint64)
	StopFollowing(leader string, term uint64)
}

// ConfigurationObserver is a StateMachine that wants to know its group's members.
type ConfigurationObserver interface {
	// ConfigurationCommitted is called when a configuration is applied at index. The
	// steps of a change of members are not told, only where it ends.
	ConfigurationCommitted(index uint64, members []string)
}
