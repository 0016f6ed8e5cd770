// Package fsm is the contract between a group's log and the state machine it
// replicates. Package kv and package counter are machines to use and to copy.
package fsm

import (
	"io"
	"math/rand/v2"
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

	// Session and Sequence identify the command within its client's session, as the
	// group numbers it; Session is 0 where the client has none. A machine is given each
	// of them once.
	Session, Sequence uint64
}

// Rand returns a source of chance for the command: the same on every replica and in
// every replay, another one for each entry. It is seeded from group, index and term,
// which a client can guess, so it is no source of secrets. Each call begins anew.
func (e Entry) Rand() *rand.Rand {
	return rand.New(rand.NewPCG(e.Group*0x9e3779b97f4a7c15^e.Term, e.Index))
}

// StateMachine is replicated by a group: every member applies the same entries
// in the same order and so reaches the same state. All methods but those of the
// View are called by the group's Applier, one at a time.
//
// A StateMachine must be deterministic: no clock, no randomness but the entry's, no
// map order, nothing but its state and the entry. It may send nothing and wait for
// nothing.
//
// What else there is to know of its group it learns by the interfaces below, each of
// which it may have. All are called in order with its entries:
//
//	Hosted.Start                  once, first of all
//	Durable.AppliedIndex          after it, and before each Snapshot
//	Restore                       where there is a snapshot to begin with, or one is installed
//	ConfigurationCommitted        with each configuration, at its index
//	StartFollowing, StopFollowing in pairs, with every change of whom to follow
//	LeaderStart, LeaderStop       in pairs, after the first entry of the own term
//	Failed                        once, when the group stops here
//	Shutdown, Hosted.Stop         once, when the member ends; nothing comes after them
//
// A crash of the process calls nothing. An actor gets them as messages: see FromProps.
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

// Durable is a StateMachine that keeps its state on disk by itself. It is not given
// the log again from the start, only what it lacks. All members of a group have one, or
// none has.
//
// The contract of its disk:
//
//   - An entry, its effect and its index become durable together, and entries in the
//     order of the log, so that after a crash the state is as of AppliedIndex and no
//     other entry. So does what Restore brings: a view holds the index of its state.
//   - Nothing need be durable when Apply or Restore returns: what was lost is restored
//     or applied again, from the snapshot and the log.
//   - What AppliedIndex has once returned must be durable before, and must never be lost.
//     The node notes it on the log's disk before the log is cut.
//
// It is given an entry only when that is durable in its member's log, which costs a
// leader whose disk is slower than its followers' the difference. Configurations that it
// has by itself are not told again. Its replies to entries that it has by itself are not
// known after a restart: to who sends such a command again, the group says that it was
// applied, and that the reply is lost.
type Durable interface {
	// AppliedIndex returns the last entry that is durable in the state, or any other
	// between that and the last command in it; 0 for none. It is asked for when a member
	// starts and before each snapshot. The group stops here, by name, when it is below
	// what was returned before, in this life or an earlier one: the machine's disk was
	// lost, or is an older copy; when it is beyond the end of the log: the log's disk
	// was, or the machine is another group's; and on an error.
	//
	// A member whose machine's disk was lost is replaced by a new one.
	AppliedIndex() (uint64, error)
}

// Hasher is a StateMachine that keeps a hash of its state. The members of a group
// compare where they have come to, again and again, and the minority that differs stops,
// named. Without Hasher they compare their replies instead: every one so far, so that a
// difference is found as soon as it shows in one. With it, replies may differ.
type Hasher interface {
	// StateHash returns a number for the state: equal for equal states, whatever led
	// to them and whatever process asks, and almost surely another one for others. It
	// is asked for after every 64th entry, so it must be kept as the state changes. 0
	// says that it is not known.
	StateHash() uint64
}

// LeaderObserver is a StateMachine that wants to know when its member leads.
// Both are called between entries, in order with them.
type LeaderObserver interface {
	// LeaderStart is called when this member leads in term and has applied the
	// first entry of that term, so that its state is complete. A leader that loses
	// its term before that is never told.
	LeaderStart(term uint64)
	// LeaderStop is called once for each LeaderStart, when the member has stepped
	// down, before it follows another. A hand-over that fails does not stop it. A
	// leader that is cut off learns it late: LeaderStop is no fence.
	LeaderStop(term uint64)
}

// FollowObserver is a StateMachine that wants to know whom its member follows.
// StopFollowing comes before the next StartFollowing or LeaderStart, with the same
// leader and term as the StartFollowing it ends. The same leader in a later term is
// followed anew.
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

// FailureObserver is a StateMachine that wants to know when its group has stopped on
// this node.
type FailureObserver interface {
	// Failed is called once, whatever the cause: the machine's own error or panic, the
	// log, the storage, a state that differs from the other members'. Nothing is applied
	// or asked afterwards. The reason is the one in status.
	Failed(reason string)
}

// ShutdownObserver is a StateMachine that has something to close.
type ShutdownObserver interface {
	// Shutdown is called once, when the member ends in an orderly way, also after
	// Failed. A view that is being written may still be in use.
	Shutdown()
}
