package actors

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/messages"
)

// The messages below never leave the process: they carry live blocks and PIDs,
// shared and therefore frozen. The rest of the catalogue is in package messages.

// LoadGroup: Raft → LogReader, local; answered with GroupLoaded.
// Read what the group has stored.
type LoadGroup struct {
	Group uint64
}

// GroupLoaded: LogReader → Raft, local.
// What is stored, or why it cannot be trusted.
type GroupLoaded struct {
	State  logstore.GroupState
	Damage *logstore.CorruptError // what of it is not whole, nil for nothing
	Err    error
}

// ReadEntries: Raft, Replicator or Applier → LogReader, local; answered with
// EntriesRead to ReplyTo. Read stored blocks covering First..Last.
type ReadEntries struct {
	Group       uint64
	First, Last core.Index
	MaxBytes    int
	Session     uint64 // returned in the answer
	PrevTerm    core.Term
	ReplyTo     *actor.PID
}

// EntriesRead: LogReader or Raft → Replicator or Applier, local.
// Blocks of the log from First on, at least the one that holds it, or an error.
// Stale when Session is not the receiver's, or First is not where it stands.
type EntriesRead struct {
	First    core.Index
	PrevTerm core.Term // of the entry before First
	Blocks   []messages.Block
	Session  uint64
	Err      error
}

// FetchEntries: Replicator → Raft(leader), local; answered with EntriesRead by the
// Raft or by the LogReader. The log from First on, please; where the peer gave a
// hint, from the last place at or before First where the logs can still agree.
// Stale when Term is not the receiver's.
type FetchEntries struct {
	Term     core.Term
	First    core.Index
	HintTerm core.Term // the peer's term just before First, 0 for no hint
	MaxBytes int
	Session  uint64
}

// PersistHardState: Raft → LogWriter, local; answered with HardStatePersisted.
// Make this term and vote durable.
type PersistHardState struct {
	Group       uint64
	Incarnation uint64
	Change      uint64 // counts the changes of this member's life
	State       logstore.HardState
	Note        []byte // what is kept beside the log, nil to leave it
}

// PersistEntries: Raft → LogWriter, local; answered with EntriesPersisted.
// Make these blocks durable, after removing everything from TruncateFrom on.
type PersistEntries struct {
	Group        uint64
	Incarnation  uint64
	Term         core.Term
	Generation   uint64
	ResetFrom    core.Index // what is stored from here on is damaged, 0 for nothing
	TruncateFrom core.Index // 0 for no truncation
	Block        messages.Block
}

// LogFull: LogWriter → Node → Raft, local. The disk is full. What was to be written is
// kept and tried again; terms and votes may still be written.
type LogFull struct {
	Reason string
}

// LogHasRoom: LogWriter → Node → Raft, local. The disk has room again, and what was kept
// is written.
type LogHasRoom struct{}

// RetryWrite: Clock → LogWriter, local. See whether the disk has room again.
// Stale when Generation is not the timer's.
type RetryWrite struct {
	Generation uint64
}

// ReplicateBlock: Raft(leader) → Replicator, local.
// The log has grown by Block; the commit index is Commit.
type ReplicateBlock struct {
	Block  messages.Block
	Commit core.Index
}

// ApplyCommitted: Raft → Applier, local; answered with EntriesApplied.
// Everything up to Commit is committed. Blocks hold what is in memory of it, in
// order; what is missing before them is on disk.
type ApplyCommitted struct {
	Commit core.Index
	Blocks []CommittedBlock
}

// CommittedBlock is a block and, on the leader that proposed it, who waits for
// each of its entries.
type CommittedBlock struct {
	messages.Block
	Waiters []Waiter // empty, or one an entry
}

// Waiter is who wants to hear of an entry. The zero Waiter is nobody.
type Waiter struct {
	To      *actor.PID
	Request uint64
}

// AnswerQueries: Raft → Applier, local. Answer each once its index is applied, and tell
// when those are answered whose index is applied now.
type AnswerQueries struct {
	Queries []PendingQuery
	Round   core.Round // theirs, 0 where nobody waits to be told
}

// PendingQuery is a query, who asked it, and the index its answer must reflect.
type PendingQuery struct {
	Waiter
	Query    []byte
	Index    core.Index
	Deadline time.Duration // when waiting for the index has been too long
	// LeaseUntil, where not 0, is when the leader's lease ends. An answer read from
	// the state later is void.
	LeaseUntil time.Duration
}

// LeaseRanOut: Applier → Raft, local. These queries were read after their lease had
// ended; they need a round.
type LeaseRanOut struct {
	Queries []PendingQuery
}

// ExpireQueries: Raft → Applier, local. Answer queries whose deadline is before Now.
type ExpireQueries struct {
	Now time.Duration
}

// LeadershipBegun: Raft → Applier, local. This member leads in Term.
type LeadershipBegun struct {
	Term core.Term
}

// LeadershipEnded: Raft → Applier and Snapshotter, local. This member leads in Term no more.
type LeadershipEnded struct {
	Term core.Term
}

// LeaderFollowed: Raft → Applier, local. This member follows Leader in Term, or
// nobody where Leader is empty.
type LeaderFollowed struct {
	Term   core.Term
	Leader core.NodeID
}

// EntriesApplied: Applier → Raft, local. The machine has applied up to Index, and
// answered so many more queries.
type EntriesApplied struct {
	Index       core.Index
	Queries     int
	Leased      int               // of them, by lease
	Round       core.Round        // of the AnswerQueries heard last since the last report, 0 for none; see readQueue
	Bytes       int               // of log applied since the last report
	Checkpoints []core.Checkpoint // passed on the way, in order
	Machine     core.Index        // what a machine with a disk of its own has said to hold there
}

// ApplierFailed: Applier → Raft, local. The state machine cannot go on.
type ApplierFailed struct {
	Reason string
}

// LeaderChanged: Raft → Gateway and Node, who publishes it, local; answered by the
// Gateway with GatewayCaughtUp to a member that leads. What this
// member knows of its group's leader; Leader is empty when it knows none.
// Stale when Term is below one already heard from the same member.
type LeaderChanged struct {
	Group   uint64
	Term    core.Term
	Leader  core.NodeID
	Address string // of the leader's node
}

// ConfigurationChanged: Raft → Node and Gateway, local. From now on these are whoever receives the
// group's log, by the configuration of Index: appended, or what a truncation went
// back to. Stale when a later one from the same member has come.
type ConfigurationChanged struct {
	Group    uint64
	Index    core.Index
	Everyone []core.Member
	Removed  []core.NodeID
}

// Operations: Client → Raft or Gateway; Raft → Gateway; Gateway → Raft, local; answered
// with Results to the sender. What one asker wants, in its order: as if each Propose, Query
// or other operation had come by itself.
type Operations struct {
	Items []any
}

// ReturnedOperation: Gateway → Raft, local; answered with Results to Asker. An
// operation that was forwarded and belongs here after all.
type ReturnedOperation struct {
	Message any
	Asker   *actor.PID
}

// GatewayCaughtUp: Gateway → Raft(leader), local. Everything that waited for Term's
// leader has been returned; what comes now may be taken directly.
// Stale when Term is not the receiver's.
type GatewayCaughtUp struct {
	Term core.Term
}

// MemberStarted: Raft → Node, who passes it to the Gateway and Pulse, local; answered with
// MemberAdmitted, by way of the disk, or with MemberRefused.
type MemberStarted struct {
	Group uint64
	PID   *actor.PID
}

// AdmitMember: Node → LogWriter, local; answered with MemberAdmitted to PID. The member
// may begin when everything that was to be written before is on disk.
type AdmitMember struct {
	Group uint64
	PID   *actor.PID
}

// MemberAdmitted: LogWriter → Raft, local. The member may begin; it is the only one of
// its group here, and nothing of an earlier one is under way.
type MemberAdmitted struct{}

// MemberRefused: Node → Raft, local. The member must not touch the group's log.
type MemberRefused struct {
	Reason string
}

// MemberStopped: Raft → Node, who passes it to the Gateway and Pulse, local.
type MemberStopped struct {
	Group uint64
	PID   *actor.PID
}

// MemberFailed: Raft → Node, local. The group has stopped on this node; the others
// go on.
type MemberFailed struct {
	Group  uint64
	Reason string
}

// SweepDeadlines: Clock → Gateway, local. Look for operations that waited too
// long. Stale when Generation is not the timer's.
type SweepDeadlines struct {
	Generation uint64
}
