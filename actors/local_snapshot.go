package actors

import (
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/fsm"
	"github.com/protoraft/protoraft/messages"
)

// CompactLog: Raft → LogWriter, local; answered with LogCompacted. The log begins
// after To from here on: what is at or below it is gone, and first everything from
// ResetFrom, readable or not, and from TruncateFrom on, where these are set.
type CompactLog struct {
	Group        uint64
	Incarnation  uint64
	ResetFrom    core.Index // what is stored from here on is damaged, 0 for nothing
	TruncateFrom core.Index // 0 for no truncation
	To           core.Position
}

// EntriesCompacted: Raft(leader) → Replicator, local. What was asked for with
// FetchEntries is compacted: the peer needs a snapshot. Where InDoubt, later: members
// are in different states, and nobody knows yet whether the leader's is the wrong one.
// Snapshotter has it; nil for nobody, or nobody yet: ask again. Stale when Session is not
// the receiver's.
type EntriesCompacted struct {
	Session     uint64
	InDoubt     bool
	Snapshotter *actor.PID
}

// CaptureSnapshot: Raft → Applier, local; answered with SaveSnapshot to the
// Snapshotter, or with SnapshotFailed. Take a view of the state as of now.
type CaptureSnapshot struct {
	Incarnation    uint64
	Configurations []configuration // all that are known, in order
}

// SaveSnapshot: Applier, or a witness's Raft → Snapshotter, local; answered with SnapshotSaved or
// SnapshotFailed to the Raft. Write this to disk.
type SaveSnapshot struct {
	Meta    *messages.SnapshotMeta
	Capture *capture
}

// capture is what the Applier's parts have given for a snapshot. Whoever claims it,
// and nobody else, writes and releases it: an Applier that stops does not know
// whether a writer has taken over.
type capture struct {
	sections []section
	claimed  atomic.Bool
}

// section is one part's view. A section of a part that is not known to a reader of
// the file is skipped by it.
type section struct {
	name string
	view fsm.View
}

func (c *capture) claim() bool { return c.claimed.CompareAndSwap(false, true) }

func (c *capture) release() {
	for _, s := range c.sections {
		s.view.Release()
	}
}

// SnapshotWritten: SnapshotWriter → Snapshotter, local. The file is durable.
type SnapshotWritten struct {
	Meta *messages.SnapshotMeta
}

// SnapshotNotWritten: SnapshotWriter → Snapshotter, local. There is no file.
type SnapshotNotWritten struct {
	Reason string
}

// SnapshotSaved: Snapshotter → Raft, local. A snapshot is durable here.
type SnapshotSaved struct {
	Meta *messages.SnapshotMeta
}

// SnapshotFailed: Applier or Snapshotter → Raft, local. The snapshot asked for last
// was not taken.
type SnapshotFailed struct {
	Reason string
}

// FindSnapshot: Raft → Snapshotter, local; answered with SnapshotFound. What is the
// newest snapshot that is whole, below Below?
type FindSnapshot struct {
	Below core.Index // 0 for any
}

// SnapshotFound: Snapshotter → Raft, local. Meta is nil where there is none.
type SnapshotFound struct {
	Meta  *messages.SnapshotMeta
	Older []uint64 // the history of those before it: the longest
	Err   error
}

// RestoreSnapshot: Raft → Applier, local; answered with EntriesApplied. Everything up
// to the snapshot's index is committed; the state after it is in the file.
type RestoreSnapshot struct {
	Meta *messages.SnapshotMeta
}

// ReceiveSnapshot: Raft → Snapshotter, local; answered with SnapshotReceived to From,
// and with InstallSnapshot to the Raft when all of it is durable. The leader of this
// term offers a snapshot that is of use here.
type ReceiveSnapshot struct {
	Offer *messages.OfferSnapshot
	From  *actor.PID // a SnapshotSender
}

// InstallSnapshot: Snapshotter → Raft, local; answered with SnapshotSettled. What the
// leader of Term offered is durable here. Stale when Term is not the receiver's.
type InstallSnapshot struct {
	Term core.Term
	Meta *messages.SnapshotMeta
	From *actor.PID
}

// SnapshotSettled: Raft → Snapshotter, local. The snapshot of InstallSnapshot has been
// taken over, or is of no use.
type SnapshotSettled struct {
	Meta    *messages.SnapshotMeta
	Adopted bool
}

// DropSnapshots: Raft → Snapshotter, local. Nobody here reads a snapshot below Index
// any more.
type DropSnapshots struct {
	Below core.Index
}

// SendSnapshot: Replicator → Snapshotter, local; answered with SnapshotProgressed,
// and at last with SnapshotDelivered or SnapshotNotDelivered. Send the newest snapshot
// to a peer's Raft. A transfer to the same peer that is under way ends.
type SendSnapshot struct {
	Term    core.Term
	Peer    core.NodeID
	To      *actor.PID
	Bare    bool   // to a witness: only what the snapshot is of
	Session uint64 // returned in the answers
	Resets  []uint64
}

// SnapshotProgressed: SnapshotSender → Replicator, local. The peer has Offset bytes of
// Size. Stale when Session is not the receiver's.
type SnapshotProgressed struct {
	Session      uint64
	Offset, Size uint64
}

// SnapshotDelivered: SnapshotSender → Replicator, local. The peer holds everything up
// to Index. Stale when Session is not the receiver's.
type SnapshotDelivered struct {
	Session uint64
	Index   core.Index
}

// SnapshotNotDelivered: SnapshotSender or Snapshotter → Replicator, local. The transfer
// has ended. Stale when Session is not the receiver's.
type SnapshotNotDelivered struct {
	Session uint64
	Term    core.Term // the peer's, where that is why
	Reason  string
}
