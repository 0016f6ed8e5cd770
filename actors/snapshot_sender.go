package actors

import (
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/hashicorp/go-hclog"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/logstore/snapshots"
	"github.com/protoraft/protoraft/messages"
)

// SnapshotSender
//
//	owns   the transfer of one snapshot to one peer
//	hears  SnapshotReceived from the peer's Snapshotter, SnapshotInstalled from its
//	       Raft, SnapshotDeclined from either, SnapshotSendTimeout
//	says   OfferSnapshot to the peer's Raft, SnapshotChunk to its Snapshotter;
//	       SnapshotProgressed, SnapshotDelivered and SnapshotNotDelivered to the
//	       Replicator
//
// Where to begin, and where to go on after a break, is the receiver's to say. A few
// chunks are under way at a time, so that heartbeats pass between them.
type snapshotSender struct {
	SendSnapshot
	rt          *Runtime
	opts        *MemberOptions
	file        *snapshots.Reader
	info        snapshots.Info
	snapshotter *actor.PID // the peer's
	replicator  *actor.PID
	logger      hclog.Logger

	began bool   // the receiver has said where
	acked uint64 // the receiver has everything below
	next  uint64 // to send

	timer     timer
	checkAt   time.Duration // when to look whether the peer answers
	heard     bool          // since it was looked at last
	advanced  bool          // acked has grown since
	silent    int           // looks without an answer
	allowance float64       // bytes that may leave now
	filledAt  time.Duration
	done      bool
}

// throttleMoment is what timers cannot tell apart, several times over.
const throttleMoment = 10 * time.Millisecond

// silentMax is how many election timeouts without any answer end a transfer. What the
// receiver has it keeps.
const silentMax = 10

func (s *snapshotter) senderProps(m *SendSnapshot, file *snapshots.Reader, replicatorPID *actor.PID) *actor.Props {
	info := file.Info()
	if m.Bare {
		info = snapshots.Info{Meta: info.Meta}
	}
	to := &snapshotSender{
		SendSnapshot: *m, rt: s.rt, opts: s.opts, file: file, info: info,
		snapshotter: actor.NewPID(m.To.Address, m.To.Id+"/"+snapshotterName),
		replicator:  replicatorPID, logger: s.logger().With("peer", m.Peer, "term", m.Term, "index", file.Meta().Index),
	}
	return s.rt.props(0, func() behavior { return to })
}

func (s *snapshotSender) started(ctx actor.Context) {
	s.logger.Info("sending a snapshot", "size", s.info.Size)
	now := s.rt.Clock.Now()
	s.checkAt, s.filledAt = now+s.opts.ElectionTimeout, now
	s.allowance = float64(s.opts.Limits.Transfer.ChunkBytes)
	s.offer(ctx)
	s.arm(ctx, s.opts.ElectionTimeout)
}

func (s *snapshotSender) receive(ctx actor.Context, message any, _ *actor.PID) {
	switch m := message.(type) {
	case *messages.SnapshotReceived:
		s.onSnapshotReceived(ctx, m)
	case *messages.SnapshotInstalled:
		s.onSnapshotInstalled(ctx, m)
	case *messages.SnapshotDeclined:
		s.end(ctx, &SnapshotNotDelivered{Session: s.Session, Term: core.Term(m.Term), Reason: m.Reason})
	case *messages.SnapshotSendTimeout:
		s.onSnapshotSendTimeout(ctx, m)
	}
}

func (s *snapshotSender) offer(ctx actor.Context) {
	ctx.Request(s.To, &messages.OfferSnapshot{
		Group: s.opts.Group, Term: uint64(s.Term), Leader: string(s.opts.Node),
		Meta: s.info.Meta, Size: uint64(s.info.Size), Checksum: s.info.Checksum,
		Resets: s.Resets,
	})
}

func (s *snapshotSender) onSnapshotReceived(ctx actor.Context, m *messages.SnapshotReceived) {
	if m.Index != s.info.Meta.Index || m.Checksum != s.info.Checksum || m.Offset > uint64(s.info.Size) {
		return
	}
	s.heard = true
	if !s.began {
		s.began, s.acked, s.next = true, m.Offset, m.Offset
	}
	if m.Offset > s.acked {
		s.acked, s.advanced = m.Offset, true
		s.next = max(s.next, m.Offset)
		s.report(ctx)
	}
}

func (s *snapshotSender) report(ctx actor.Context) {
	ctx.Send(s.replicator, &SnapshotProgressed{Session: s.Session, Offset: s.acked, Size: uint64(s.info.Size)})
}

func (s *snapshotSender) onSnapshotInstalled(ctx actor.Context, m *messages.SnapshotInstalled) {
	if m.Index == s.info.Meta.Index && core.NodeID(m.From) == s.Peer {
		s.end(ctx, &SnapshotDelivered{Session: s.Session, Index: core.Index(m.Index)})
	}
}

// onSnapshotSendTimeout: the throttle lets more pass, or it is time to look whether
// the peer still answers. A receiver that has lost what it had says so when it is
// asked where to go on: the offer is that question.
func (s *snapshotSender) onSnapshotSendTimeout(ctx actor.Context, m *messages.SnapshotSendTimeout) {
	if m.Generation != s.timer.generation {
		return
	}
	now := s.rt.Clock.Now()
	if now < s.checkAt {
		s.arm(ctx, s.checkAt-now)
		return
	}
	s.checkAt = now + s.opts.ElectionTimeout
	s.arm(ctx, s.opts.ElectionTimeout)
	if s.silent++; s.heard {
		s.silent = 0
	}
	if s.silent >= silentMax {
		s.end(ctx, &SnapshotNotDelivered{Session: s.Session, Reason: "no answer"})
		return
	}
	s.report(ctx)
	if !s.advanced {
		s.began = false // what is under way counts as lost
		s.offer(ctx)
	}
	s.heard, s.advanced = false, false
}

// endTurn sends what the window and the throttle allow.
func (s *snapshotSender) endTurn(ctx actor.Context) {
	if s.done || !s.began {
		return
	}
	t := &s.opts.Limits.Transfer
	window := uint64(t.ChunkBytes) * uint64(t.Chunks)
	for s.next < uint64(s.info.Size) && s.next-s.acked < window {
		n := min(t.ChunkBytes, int(uint64(s.info.Size)-s.next))
		if !s.allowed(ctx, n) {
			return
		}
		data := make([]byte, n)
		if _, err := s.file.ReadAt(data, int64(s.next)); err != nil {
			s.logger.Error("cannot read a snapshot to send it", "offset", s.next, "error", err)
			s.end(ctx, &SnapshotNotDelivered{Session: s.Session, Reason: err.Error()})
			return
		}
		ctx.Request(s.snapshotter, &messages.SnapshotChunk{
			Group: s.opts.Group, Index: s.info.Meta.Index, Checksum: s.info.Checksum, Offset: s.next, Data: data,
		})
		s.next += uint64(n)
	}
}

// allowed takes n bytes from what may leave now, or comes back when there are as many.
// What gathers while nothing is sent is one chunk, or what passes in a moment.
func (s *snapshotSender) allowed(ctx actor.Context, n int) bool {
	rate := float64(s.opts.Limits.Transfer.BytesPerSecond)
	if rate == 0 {
		return true
	}
	now := s.rt.Clock.Now()
	most := max(float64(s.opts.Limits.Transfer.ChunkBytes), rate*throttleMoment.Seconds())
	s.allowance = min(s.allowance+rate*(now-s.filledAt).Seconds(), most)
	s.filledAt = now
	if missing := float64(n) - s.allowance; missing > 0 {
		wait := time.Duration(missing / rate * float64(time.Second))
		s.arm(ctx, min(wait, s.checkAt-now))
		return false
	}
	s.allowance -= float64(n)
	return true
}

func (s *snapshotSender) arm(ctx actor.Context, wait time.Duration) {
	s.timer.set(ctx, s.rt.Clock, max(wait, time.Millisecond), func(generation uint64) any {
		return &messages.SnapshotSendTimeout{Generation: generation}
	})
}

// end tells the Replicator how it ended, once.
func (s *snapshotSender) end(ctx actor.Context, how any) {
	if s.done {
		return
	}
	s.done = true
	s.timer.cancel()
	ctx.Send(s.replicator, how)
	ctx.Stop(ctx.Self())
}

func (s *snapshotSender) stopping(actor.Context) {
	s.done = true
	s.timer.cancel()
	if err := s.file.Close(); err != nil {
		s.logger.Warn("a snapshot's file was not closed", "error", err)
	}
}

func (s *snapshotSender) crashed(ctx actor.Context, reason any, stack []byte) {
	s.logger.Error("snapshot sender crashed", "panic", reason, "stack", string(stack))
	s.end(ctx, &SnapshotNotDelivered{Session: s.Session, Reason: fmt.Sprintf("the sender crashed: %v", reason)})
}
