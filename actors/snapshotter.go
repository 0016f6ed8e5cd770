package actors

import (
	"errors"
	"fmt"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/hashicorp/go-hclog"
	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/logstore/snapshots"
	"github.com/protoraft/protoraft/messages"
)

// Snapshotter
//
//	owns   the files of one member's snapshots, and what passes in and out of them
//	hears  FindSnapshot, ReceiveSnapshot, SnapshotSettled, DropSnapshots and
//	       LeadershipEnded from its Raft, SaveSnapshot from the Applier, SendSnapshot
//	       from Replicators, SnapshotChunk from a peer's SnapshotSender,
//	       SnapshotWritten and SnapshotNotWritten from its SnapshotWriter
//	says   SnapshotFound, SnapshotSaved, SnapshotFailed and InstallSnapshot to its
//	       Raft, SnapshotReceived and SnapshotDeclined to the sender,
//	       SnapshotNotDelivered to the Replicator
//
// It decides nothing: what is taken over is the Raft's to say. A file counts when it
// is whole and durable. Writing and sending are done by children, so that it always
// answers; of what it receives, it takes one snapshot at a time. A member that sleeps has
// none: see raft.snapshotter.
type snapshotter struct {
	raft       *actor.PID
	rt         *Runtime
	opts       *MemberOptions
	store      *snapshots.Store
	raftLogger *memberLog

	newest  core.Index                 // that this member stands on; 0 for none
	writer  *actor.PID                 // nil while nothing is written
	senders map[core.NodeID]*actor.PID // SnapshotSenders, by peer
	number  uint32                     // of the member's Snapshotters, and
	spawned int                        // of its children, for their names

	incoming *incoming
}

// incoming is the snapshot being received.
type incoming struct {
	offer     *messages.OfferSnapshot
	from      *actor.PID          // who sent last of it
	file      *snapshots.Incoming // nil once it is whole
	answer    bool                // at the end of the turn
	installed bool                // given to the Raft, which has not settled it yet
}

// snapshotterName makes the Snapshotter known to peers, as <raft>/snapshotter.
const snapshotterName = "snapshotter"

func (r *raft) snapshotterProps(raftPID *actor.PID) *actor.Props {
	s := &snapshotter{
		raft: raftPID, rt: r.rt, opts: &r.opts, store: r.opts.Snapshots,
		raftLogger: r.logger, newest: r.snapshots.newest.Index, number: r.snapshots.made,
	}
	return r.rt.props(0, func() behavior { return s })
}

// logger is made when there is something to say: most members have one of those for hours
// and say nothing.
func (s *snapshotter) logger() hclog.Logger { return s.raftLogger.Named("snapshot") }

func (s *snapshotter) started(actor.Context) {}

func (s *snapshotter) receive(ctx actor.Context, message any, sender *actor.PID) {
	switch m := message.(type) {
	case *messages.SnapshotChunk:
		s.onSnapshotChunk(ctx, m, sender)
	case *SaveSnapshot:
		s.onSaveSnapshot(ctx, m)
	case *SnapshotWritten:
		s.onSnapshotWritten(ctx, m)
	case *SnapshotNotWritten:
		s.onSnapshotNotWritten(ctx, m)
	case *ReceiveSnapshot:
		s.onReceiveSnapshot(ctx, m)
	case *SnapshotSettled:
		s.onSnapshotSettled(m)
	case *SendSnapshot:
		s.onSendSnapshot(ctx, m, sender)
	case *LeadershipEnded:
		s.stopSending(ctx)
	case *DropSnapshots:
		s.onDropSnapshots(m)
	case *FindSnapshot:
		ctx.Send(sender, s.find(m.Below))
	case *actor.Terminated:
		s.onTerminated(m)
	}
}

// find looks for the newest snapshot that is whole. One that is damaged is named and
// passed over: what the log says decides whether an older one will do.
func (s *snapshotter) find(below core.Index) *SnapshotFound {
	s.newest = 0
	infos, err := s.store.List(s.opts.Group)
	if err != nil {
		return &SnapshotFound{Err: err}
	}
	found := &SnapshotFound{}
	for _, info := range infos {
		resets := info.Meta.GetConfiguration().GetResets()
		switch {
		case below != 0 && info.Meta.GetIndex() >= uint64(below):
			continue
		case found.Meta != nil:
			if len(resets) > len(found.Older) {
				found.Older = resets
			}
			continue
		}
		err := info.Damage
		if err == nil {
			err = s.verify(info)
		}
		if err != nil {
			s.logger().Error("a snapshot cannot be used", "index", info.Meta.GetIndex(), "error", err)
			continue
		}
		s.newest, found.Meta = core.Index(info.Meta.Index), info.Meta
	}
	return found
}

func (s *snapshotter) verify(info snapshots.Info) error {
	r, err := s.store.Open(s.opts.Group, info.Meta.Index)
	if err != nil {
		return err
	}
	return errors.Join(r.Verify(), r.Close())
}

func (s *snapshotter) onSaveSnapshot(ctx actor.Context, m *SaveSnapshot) {
	if s.writer != nil {
		if m.Capture.claim() {
			m.Capture.release()
		}
		ctx.Send(s.raft, &SnapshotFailed{Reason: "another one is being written"})
		return
	}
	s.writer = s.spawn(ctx, snapshotWriterProps(s.rt, ctx.Self(), s.store, m, s.logger()), "writer")
}

// spawn makes a child under a name that no earlier one had: what is said to one that
// has ended must not reach its successor.
func (s *snapshotter) spawn(ctx actor.Context, props *actor.Props, name string) *actor.PID {
	s.spawned++
	name = fmt.Sprintf("%s-%d-%d", name, s.number, s.spawned)
	pid, err := ctx.SpawnNamed(props, name)
	if err != nil {
		panic(fmt.Sprintf("%s: %v", name, err)) // the name is this actor's own
	}
	return pid
}

// endWriter: the writer waits to be ended, for the news of its end would overtake what
// it has to say.
func (s *snapshotter) endWriter(ctx actor.Context) {
	ctx.Stop(s.writer)
	s.writer = nil
}

func (s *snapshotter) onSnapshotWritten(ctx actor.Context, m *SnapshotWritten) {
	s.endWriter(ctx)
	s.stand(m.Meta)
	s.logger().Info("snapshot taken", "index", m.Meta.Index, "term", m.Meta.Term)
	ctx.Send(s.raft, &SnapshotSaved{Meta: m.Meta})
}

func (s *snapshotter) onSnapshotNotWritten(ctx actor.Context, m *SnapshotNotWritten) {
	s.endWriter(ctx)
	ctx.Send(s.raft, &SnapshotFailed{Reason: m.Reason})
}

// stand notes the newest snapshot that this member stands on.
func (s *snapshotter) stand(meta *messages.SnapshotMeta) {
	s.newest = max(s.newest, core.Index(meta.Index))
}

// onDropSnapshots removes older files. One that is being sent can still be read.
func (s *snapshotter) onDropSnapshots(m *DropSnapshots) {
	if err := s.store.Remove(s.opts.Group, uint64(m.Below)); err != nil {
		s.logger().Warn("older snapshots not removed", "below", m.Below, "error", err)
	}
}

// onTerminated forgets a sender, which has said how it ended.
func (s *snapshotter) onTerminated(m *actor.Terminated) {
	for _, peer := range sortedKeys(s.senders) {
		if s.senders[peer].Equal(m.Who) {
			delete(s.senders, peer)
		}
	}
}

// onSendSnapshot begins a transfer of the newest snapshot.
func (s *snapshotter) onSendSnapshot(ctx actor.Context, m *SendSnapshot, sender *actor.PID) {
	if before, ok := s.senders[m.Peer]; ok {
		delete(s.senders, m.Peer)
		ctx.Stop(before)
	}
	fail := func(reason string) {
		ctx.Send(sender, &SnapshotNotDelivered{Session: m.Session, Reason: reason})
	}
	if s.newest == 0 {
		fail("there is no snapshot")
		return
	}
	if s.opts.Witness && !m.Bare {
		fail("a witness has no state to send")
		return
	}
	file, err := s.store.Open(s.opts.Group, uint64(s.newest))
	if err != nil {
		s.logger().Error("cannot send a snapshot", "index", s.newest, "error", err)
		fail(err.Error())
		return
	}
	pid := s.spawn(ctx, s.senderProps(m, file, sender), "to-"+string(m.Peer))
	ctx.Watch(pid)
	if s.senders == nil {
		s.senders = map[core.NodeID]*actor.PID{}
	}
	s.senders[m.Peer] = pid
}

func (s *snapshotter) stopSending(ctx actor.Context) {
	for _, peer := range sortedKeys(s.senders) {
		ctx.Stop(s.senders[peer])
	}
	clear(s.senders)
}

// onReceiveSnapshot begins to receive, or goes on: a sender that heard nothing asks
// again, and another leader may send the same bytes.
func (s *snapshotter) onReceiveSnapshot(ctx actor.Context, m *ReceiveSnapshot) {
	if in := s.incoming; in != nil {
		switch {
		case same(in.offer, m.Offer):
			in.offer, in.from, in.answer = m.Offer, m.From, true
			return
		case in.installed:
			return // one at a time: the Raft is taking it over
		}
	}
	s.abandon()
	if bare(m.Offer) {
		s.receiveBare(ctx, m)
		return
	}
	info := infoOf(m.Offer)
	if s.has(info) {
		s.incoming = &incoming{offer: m.Offer, from: m.From}
		s.finished(ctx)
		return
	}
	file, err := s.store.Receive(info)
	if err != nil {
		s.decline(ctx, m.From, m.Offer, err)
		return
	}
	s.logger().Info("receiving a snapshot", "from", m.Offer.Leader, "index", info.Meta.Index, "size", info.Size, "have", file.Have())
	s.incoming = &incoming{offer: m.Offer, from: m.From, file: file, answer: true}
	s.finishWhole(ctx)
}

func infoOf(o *messages.OfferSnapshot) snapshots.Info {
	return snapshots.Info{Meta: o.Meta, Size: int64(o.Size), Checksum: o.Checksum}
}

func same(a, b *messages.OfferSnapshot) bool {
	return a.Size == b.Size && a.Checksum == b.Checksum && proto.Equal(a.Meta, b.Meta)
}

// has says whether the snapshot is here already, whole: an earlier transfer of it was
// not taken over.
func (s *snapshotter) has(want snapshots.Info) bool {
	r, err := s.store.Open(s.opts.Group, want.Meta.Index)
	if err != nil {
		return false
	}
	defer r.Close()
	info := r.Info()
	return info.Size == want.Size && info.Checksum == want.Checksum && proto.Equal(info.Meta, want.Meta) && r.Verify() == nil
}

// abandon gives up what is being received. Its bytes stay, for a sender that comes
// back to it.
func (s *snapshotter) abandon() {
	if s.incoming != nil && s.incoming.file != nil {
		s.incoming.file.Close()
	}
	s.incoming = nil
}

func (s *snapshotter) decline(ctx actor.Context, to *actor.PID, o *messages.OfferSnapshot, err error) {
	s.logger().Warn("cannot receive a snapshot", "from", o.Leader, "index", o.Meta.Index, "error", err)
	ctx.Send(to, &messages.SnapshotDeclined{
		Group: s.opts.Group, From: string(s.opts.Node), Index: o.Meta.Index, Reason: err.Error(),
	})
}

// onSnapshotChunk takes the bytes that come next. Others were sent before a break, or
// twice; the answer says where to go on.
func (s *snapshotter) onSnapshotChunk(ctx actor.Context, m *messages.SnapshotChunk, sender *actor.PID) {
	in := s.incoming
	if in == nil || m.Index != in.offer.Meta.Index || m.Checksum != in.offer.Checksum {
		return
	}
	in.from, in.answer = sender, true
	if in.file == nil || int64(m.Offset) != in.file.Have() {
		return
	}
	if err := in.file.Append(int64(m.Offset), m.Data); err != nil {
		s.giveUp(ctx, err)
		return
	}
	s.finishWhole(ctx)
}

// finishWhole makes a snapshot durable when all of it is there.
func (s *snapshotter) finishWhole(ctx actor.Context) {
	in := s.incoming
	if in.file.Have() < int64(in.offer.Size) {
		return
	}
	if err := in.file.Finish(); err != nil {
		s.giveUp(ctx, err)
		return
	}
	s.finished(ctx)
}

func (s *snapshotter) giveUp(ctx actor.Context, err error) {
	s.decline(ctx, s.incoming.from, s.incoming.offer, err)
	s.incoming.file.Discard()
	s.incoming = nil
}

// finished hands a durable snapshot to the Raft.
func (s *snapshotter) finished(ctx actor.Context) {
	in := s.incoming
	in.file, in.answer, in.installed = nil, true, true
	ctx.Send(s.raft, &InstallSnapshot{Term: core.Term(in.offer.Term), Meta: in.offer.Meta, From: in.from})
}

func (s *snapshotter) onSnapshotSettled(m *SnapshotSettled) {
	// What was decided may have come to an earlier Snapshotter of the member.
	if in := s.incoming; in != nil && in.installed && in.offer.Meta.Index == m.Meta.Index {
		s.incoming = nil
	}
	if m.Adopted {
		s.stand(m.Meta)
	}
}

// endTurn acknowledges what has come, once for all of the turn.
func (s *snapshotter) endTurn(ctx actor.Context) {
	in := s.incoming
	if in == nil || !in.answer {
		return
	}
	in.answer = false
	offset := in.offer.Size
	if in.file != nil {
		offset = uint64(in.file.Have())
	}
	ctx.Send(in.from, &messages.SnapshotReceived{
		Group: s.opts.Group, Index: in.offer.Meta.Index, Checksum: in.offer.Checksum, Offset: offset,
	})
}

func (s *snapshotter) stopping(actor.Context) { s.abandon() }

// crashed: the group goes on without snapshots being taken or received; what is under
// way has failed.
func (s *snapshotter) crashed(ctx actor.Context, reason any, stack []byte) {
	s.logger().Error("snapshotter crashed", "panic", reason, "stack", string(stack))
	s.abandon()
	s.stopSending(ctx)
	ctx.Send(s.raft, &SnapshotFailed{Reason: fmt.Sprintf("snapshotter crashed: %v", reason)})
}
