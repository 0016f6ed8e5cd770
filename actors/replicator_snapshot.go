package actors

import (
	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/messages"
)

// transferState is a snapshot on its way to the peer, while progress is in state
// Snapshot, or the pause after one that failed.
type transferState struct {
	offset, size uint64
	pausing      bool
	checks       int // without news, or of the pause
	failures     int // in a row
}

const (
	// transferQuiet is after how many times quietMax checks without a word a transfer
	// counts as lost: its sender speaks at least once an election timeout.
	transferQuiet = 4
	// transferPauses bounds how often the pause after a failure is doubled.
	transferPauses = 6
)

// onEntriesCompacted: only a snapshot brings the peer on.
func (r *replicator) onEntriesCompacted(ctx actor.Context, m *EntriesCompacted) {
	if !r.fetching || m.Session != r.progress.Session || m.Snapshotter == nil {
		return
	}
	r.progress.BeginSnapshot()
	r.reposition(0)
	r.logger.Info("the peer needs a snapshot", "match", r.progress.Match, "next", r.progress.Next)
	r.transfer = transferState{failures: r.transfer.failures}
	if m.InDoubt && !r.witness { // a state that may be wrong must not become a majority's
		r.logger.Error("no snapshot is sent while members are in different states and it is not known whose is wrong")
		r.pause()
		return
	}
	ctx.Request(m.Snapshotter, &SendSnapshot{Term: r.term, Peer: r.peer, Bare: r.witness, To: r.peerPID, Session: r.progress.Session, Resets: r.resets})
}

// sendsSnapshot says whether news of a transfer is of the one under way.
func (r *replicator) sendsSnapshot(session uint64) bool {
	return r.progress.State == core.Snapshot && session == r.progress.Session && !r.transfer.pausing
}

func (r *replicator) onSnapshotProgressed(m *SnapshotProgressed) {
	if r.sendsSnapshot(m.Session) {
		r.transfer.offset, r.transfer.size, r.transfer.checks = m.Offset, m.Size, 0
	}
}

// onSnapshotDelivered probes behind the snapshot. Only the answer to the probe says
// that the peer holds it durably.
func (r *replicator) onSnapshotDelivered(ctx actor.Context, m *SnapshotDelivered) {
	if !r.sendsSnapshot(m.Session) {
		return
	}
	r.logger.Info("the peer has the snapshot", "index", m.Index)
	r.transfer = transferState{}
	r.progress.EndSnapshot(m.Index)
	r.reposition(0)
	r.quiet, r.silent = 0, false
	r.fetch(ctx)
}

// onSnapshotNotDelivered tries again after a while, longer each time.
func (r *replicator) onSnapshotNotDelivered(ctx actor.Context, m *SnapshotNotDelivered) {
	if m.Term > r.term {
		ctx.Send(r.raft, &messages.HigherTermSeen{Term: uint64(m.Term), Peer: string(r.peer)})
		return
	}
	if r.sendsSnapshot(m.Session) {
		r.logger.Warn("the snapshot was not delivered", "reason", m.Reason)
		r.pause()
	}
}

// pause waits before the next try, longer each time.
func (r *replicator) pause() {
	r.transfer.pausing, r.transfer.checks = true, 0
	r.transfer.failures = min(r.transfer.failures+1, transferPauses)
}

// checkTransfer ends a pause, and a transfer of which nothing is heard any more.
func (r *replicator) checkTransfer() {
	limit := transferQuiet * r.quietMax
	if r.transfer.pausing {
		limit = r.quietChecks << (r.transfer.failures - 1)
	}
	if r.transfer.checks++; r.transfer.checks < limit {
		return
	}
	if !r.transfer.pausing {
		r.logger.Warn("nothing is heard of the snapshot's transfer, probing")
		r.transfer.failures = min(r.transfer.failures+1, transferPauses)
	}
	r.transfer = transferState{failures: r.transfer.failures}
	r.progress.Restart()
	r.reposition(0)
}
