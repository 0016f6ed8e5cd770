package actors

import (
	"errors"
	"fmt"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/hashicorp/go-hclog"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/messages"
)

// Replicator
//
//	owns   one peer's next index and what is in flight to it, while its parent leads
//	hears  ReplicateBlock, CheckProgress and EntriesCompacted from its Raft,
//	       AppendAccepted and AppendRejected from the peer, EntriesRead, and news of a
//	       snapshot's transfer
//	says   AppendEntries to the peer; PeerAdvanced, HigherTermSeen, FetchEntries and
//	       ProgressReported to its Raft; SendSnapshot to the Snapshotter
//
// It probes for the place where the peer's log agrees, then sends without waiting,
// within a window of messages and bytes. A refusal, or silence, sends it back to
// probing; answers to what it sent before are then of an older session.
type replicator struct {
	raft, peerPID *actor.PID
	group         uint64
	term          core.Term
	self, peer    core.NodeID
	witness       bool     // the peer is one
	resets        []uint64 // of the group, while its parent leads
	quietChecks   int      // checks without an answer after which what is in flight is lost
	quietMax      int      // and how many there may come to be
	fetchBytes    int
	logger        hclog.Logger

	progress   core.Progress
	positioned bool      // prevTerm is known
	prevTerm   core.Term // of the entry before progress.Next, while probing
	hintTerm   core.Term // what the peer has there, from its last refusal

	queue    []messages.Block // to send next, contiguous
	queued   int              // bytes in queue
	end      core.Index       // the entry that would continue the queue
	last     core.Index       // of the leader's log
	commit   core.Index
	fetching bool
	held     bool // the peer's disk is full

	transfer transferState

	quiet  int  // checks since the peer last answered
	silent bool // it did not answer in time
}

func (l *leader) replicatorProps(raftPID *actor.PID, peer core.NodeID, next core.Index, prevTerm core.Term, positioned bool) *actor.Props {
	r := &replicator{
		raft: raftPID, peerPID: l.peers.get(peer), group: l.opts.Group, term: l.term,
		self: l.opts.Node, peer: peer, witness: l.config().Witness(peer), resets: l.config().Resets,
		quietChecks: max(2, int(l.opts.ElectionTimeout/(2*l.opts.HeartbeatInterval))),
		fetchBytes:  l.opts.Limits.Window.Bytes,
		logger:      l.logger.With("peer", peer, "term", l.term),
		progress:    core.NewProgress(next, l.opts.Limits.Window),
		positioned:  positioned, prevTerm: prevTerm, end: next,
		last: l.tail.last().Index, commit: l.commit,
	}
	r.quietMax = 8 * r.quietChecks
	return l.rt.props(replicatorYields, func() behavior { return r })
}

const replicatorYields = 1

// started finds the position of a peer that lags; usually the first block of the
// leader's term comes at once and is the probe.
func (r *replicator) started(ctx actor.Context) {
	if r.progress.Next <= r.last {
		r.fetch(ctx)
	}
}

func (r *replicator) receive(ctx actor.Context, message any, _ *actor.PID) {
	switch m := message.(type) {
	case *ReplicateBlock:
		r.onReplicateBlock(m)
	case *messages.AppendAccepted:
		r.onAppendAccepted(ctx, m)
	case *messages.AppendRejected:
		r.onAppendRejected(ctx, m)
	case *EntriesRead:
		r.onEntriesRead(ctx, m)
	case *EntriesCompacted:
		r.onEntriesCompacted(ctx, m)
	case *SnapshotProgressed:
		r.onSnapshotProgressed(m)
	case *SnapshotDelivered:
		r.onSnapshotDelivered(ctx, m)
	case *SnapshotNotDelivered:
		r.onSnapshotNotDelivered(ctx, m)
	case *messages.CheckProgress:
		r.onCheckProgress(ctx, m)
	}
}

// onReplicateBlock queues a block that continues what is queued; any other is
// fetched when its turn comes, so that a slow peer costs no memory.
func (r *replicator) onReplicateBlock(m *ReplicateBlock) {
	r.last, r.commit = core.Index(m.Block.LastIndex()), m.Commit
	if core.Index(m.Block.FirstIndex) == r.end && r.queued < r.fetchBytes && !r.fetching && r.progress.State != core.Snapshot {
		r.enqueue(m.Block)
	}
}

func (r *replicator) enqueue(b messages.Block) {
	r.queue = append(r.queue, b)
	r.queued += b.Len()
	r.end = core.Index(b.LastIndex()) + 1
}

func (r *replicator) onAppendAccepted(ctx actor.Context, m *messages.AppendAccepted) {
	if core.Term(m.Term) != r.term || core.NodeID(m.From) != r.peer {
		return // another answers for itself: it is where the peer was looked for
	}
	probing := r.progress.State == core.Probe
	if !r.progress.Accepted(m.Session, core.Index(m.MatchIndex)) {
		r.bePatient(m.Session)
		return
	}
	r.quiet, r.silent = 0, false
	if probing {
		r.logger.Debug("replicating", "next", r.progress.Next)
		if len(r.queue) == 0 || core.Index(r.queue[0].FirstIndex) != r.progress.Next {
			r.dropQueue()
		}
	}
	ctx.Send(r.raft, &messages.PeerAdvanced{Term: uint64(r.term), Peer: string(r.peer), MatchIndex: m.MatchIndex, Recovering: m.Recovering})
}

func (r *replicator) onAppendRejected(ctx actor.Context, m *messages.AppendRejected) {
	if core.Term(m.Term) > r.term {
		ctx.Send(r.raft, &messages.HigherTermSeen{Term: m.Term, Peer: string(r.peer)})
		return
	}
	if core.Term(m.Term) != r.term || core.NodeID(m.From) != r.peer || !r.progress.Rejected(m.Session, core.Index(m.PrevIndex), core.Index(m.HintIndex)) {
		return
	}
	r.logger.Debug("append refused, probing", "prev", m.PrevIndex, "hint", m.HintIndex, "next", r.progress.Next)
	r.quiet, r.silent = 0, false
	r.reposition(core.Term(m.HintTerm))
}

// bePatient: an answer to an earlier session was not lost, only late. To give up sooner
// than the peer can answer would begin again for ever.
func (r *replicator) bePatient(session uint64) {
	if session < r.progress.Session {
		r.quietChecks = min(2*r.quietChecks, r.quietMax)
	}
}

// reposition makes the next probe ask where it stands first.
func (r *replicator) reposition(hint core.Term) {
	r.positioned, r.hintTerm, r.fetching = false, hint, false
	r.dropQueue()
}

func (r *replicator) dropQueue() {
	clear(r.queue)
	r.queue, r.queued, r.end = r.queue[:0], 0, r.progress.Next
}

// onEntriesRead takes the log from Next on or, after a hint, from where the leader
// thinks the logs agree.
func (r *replicator) onEntriesRead(ctx actor.Context, m *EntriesRead) {
	if !r.fetching || m.Session != r.progress.Session || m.First > r.progress.Next {
		return
	}
	if errors.Is(m.Err, logstore.ErrCompacted) {
		r.fetching = false // the log was cut meanwhile: the Raft knows by now
		r.fetch(ctx)
		return
	}
	if m.Err != nil {
		r.logger.Error("cannot read the log for a peer", "first", m.First, "error", m.Err)
		return // still fetching: checks without an answer ask again
	}
	if r.progress.State == core.Probe {
		r.progress.Next = m.First
		r.positioned, r.prevTerm, r.hintTerm = true, m.PrevTerm, 0
	}
	r.dropQueue()
	for _, b := range m.Blocks {
		if b.FirstIndex < uint64(r.end) {
			cut, err := b.Suffix(uint64(r.end))
			if err != nil {
				r.logger.Error("cannot read the log for a peer", "first", m.First, "error", err)
				return
			}
			b = cut
		}
		r.enqueue(b)
	}
	r.fetching = false
}

// onCheckProgress: appends are lost silently. What was not answered for long counts
// as lost, and the log is sent again from the break.
func (r *replicator) onCheckProgress(ctx actor.Context, m *messages.CheckProgress) {
	ctx.Send(r.raft, &messages.ProgressReported{
		Term: uint64(r.term), Peer: string(r.peer), State: r.progress.State.String(),
		NextIndex: uint64(r.progress.Next), Inflight: uint64(r.progress.Inflight()),
		SnapshotSent: r.transfer.offset, SnapshotSize: r.transfer.size,
	})
	r.held = m.DiskFull
	if r.progress.State == core.Snapshot {
		r.checkTransfer()
		return
	}
	if r.progress.Inflight() == 0 && !r.fetching || r.held {
		r.quiet = 0
		return
	}
	if r.quiet++; r.quiet < r.quietChecks {
		return
	}
	r.logger.Debug("no answer, probing", "match", r.progress.Match, "next", r.progress.Next)
	r.quiet, r.silent = 0, true
	r.progress.Restart()
	r.reposition(0)
}

// endTurn sends what may be sent.
func (r *replicator) endTurn(ctx actor.Context) {
	if r.held {
		return
	}
	switch r.progress.State {
	case core.Snapshot:
		return
	case core.Probe:
		r.probe(ctx)
		return
	}
	for r.progress.CanSend() && len(r.queue) > 0 {
		r.sendNext(ctx)
	}
	if len(r.queue) == 0 && r.progress.CanSend() && r.progress.Next <= r.last {
		r.fetch(ctx)
	}
}

// probe sends one append and waits. To a peer that has fallen silent it is an
// empty one: a peer that is gone must not cost its weight in entries.
func (r *replicator) probe(ctx actor.Context) {
	switch {
	case r.progress.Inflight() > 0:
	case !r.positioned:
		r.fetch(ctx)
	case r.silent || len(r.queue) == 0:
		prev := r.progress.Next - 1
		r.sendAppend(ctx, prev, r.prevTerm, nil, prev)
	default:
		r.sendNext(ctx)
	}
}

func (r *replicator) sendNext(ctx actor.Context) {
	b := r.queue[0]
	n := copy(r.queue, r.queue[1:])
	r.queue[n] = messages.Block{}
	r.queue = r.queue[:n]
	r.queued -= b.Len()
	r.sendAppend(ctx, core.Index(b.FirstIndex)-1, core.Term(b.PrevTerm), b.Bytes(), core.Index(b.LastIndex()))
}

func (r *replicator) sendAppend(ctx actor.Context, prev core.Index, prevTerm core.Term, block []byte, last core.Index) {
	ctx.Request(r.peerPID, &messages.AppendEntries{
		Group: r.group, Term: uint64(r.term), Leader: string(r.self), Session: r.progress.Session,
		PrevIndex: uint64(prev), PrevTerm: uint64(prevTerm), Commit: uint64(r.commit), Block: block, Resets: r.resets,
	})
	r.progress.Sent(last, len(block))
}

func (r *replicator) fetch(ctx actor.Context) {
	if r.fetching {
		return
	}
	r.fetching = true
	ctx.Request(r.raft, &FetchEntries{
		Term: r.term, First: r.progress.Next, HintTerm: r.hintTerm,
		MaxBytes: r.fetchBytes, Session: r.progress.Session,
	})
}

func (r *replicator) stopping(actor.Context) {}

// crashed ends this Replicator; its leader starts another.
func (r *replicator) crashed(ctx actor.Context, reason any, stack []byte) {
	r.logger.Error("replicator crashed", "panic", fmt.Sprint(reason), "stack", string(stack))
	ctx.Stop(ctx.Self())
}
