package actors

import (
	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/messages"
)

// room is what a leader knows of disks that are full. With a full one of its own, or
// with too few voters left whose disks have room, it takes nothing that needs an entry:
// what it cannot make durable soon it does not promise. Reads by ReadIndex or lease
// need no disk and go on.
type room struct {
	peers memberMap[bool] // what each said last in this term: it has room
	none  bool            // nothing is taken
}

// isFull says whether the peer said so last.
func (r *room) isFull(id core.NodeID) bool {
	has, heard := r.peers.find(id)
	return heard && !has
}

// onLogFull: the LogWriter keeps what it was given, and will write it by itself.
func (r *raft) onLogFull(ctx actor.Context) {
	r.diskFull = true
	r.snapshotForRoom()
	if l, ok := r.role.(*leader); ok {
		l.mindRoom(ctx)
	}
}

// onLogHasRoom: what was given to the LogWriter is written, and about to be reported.
func (r *raft) onLogHasRoom(ctx actor.Context) {
	r.diskFull, r.diskAt = false, r.now
	if l, ok := r.role.(*leader); ok {
		l.mindRoom(ctx)
	}
}

func (l *leader) onPeerRoom(ctx actor.Context, id core.NodeID, full bool) {
	if has, heard := l.room.peers.find(id); heard && has == !full {
		return
	}
	was := l.room.isFull(id)
	l.room.peers.set(id, !full)
	l.eachReplicator(func(peer core.NodeID, pid *actor.PID) {
		if peer == id && was != full {
			l.checkProgress(ctx, peer, pid)
		}
	})
	l.mindRoom(ctx)
}

func (l *leader) checkProgress(ctx actor.Context, peer core.NodeID, replicator *actor.PID) {
	ctx.Send(replicator, &messages.CheckProgress{DiskFull: l.room.isFull(peer)})
}

// mindRoom decides anew whether commands are taken. Those that have no index yet are
// answered, so that whoever sent them may try again later; those that have one are
// decided when there is room.
func (l *leader) mindRoom(ctx actor.Context) {
	none := l.diskFull || !l.config().Quorum().Agrees(func(id core.NodeID) bool { return !l.room.isFull(id) })
	if none == l.room.none {
		return
	}
	l.room.none = none
	if !none {
		l.logger.Info("room again, taking commands", "role", "leader", "term", l.term)
		return
	}
	l.logger.Warn("full disks, taking no commands", "role", "leader", "term", l.term, "own", l.diskFull)
	kept := proposals{}
	for _, p := range l.queue.items {
		if p.To == nil { // of the term itself, or a step of a change of members
			kept.add(p)
		} else {
			l.refuse(ctx, p.To, p.Request, messages.Reason_DISK_FULL)
		}
	}
	l.queue = kept
	l.reads.notBeyond(l.tail.last().Index + core.Index(len(kept.items)))
}

// notBeyond: queries that were to see commands which have been refused wait for no
// index that nobody will reach.
func (r *readQueue) notBeyond(end core.Index) {
	for _, queries := range [][]PendingQuery{r.waiting, r.inRound, r.leased} {
		for i := range queries {
			queries[i].Index = min(queries[i].Index, end)
		}
	}
}

// leaveFullDisk hands over to a voter that has room, where a quorum with room can go on
// without this member. Where there is none a change would help nobody.
func (l *leader) leaveFullDisk(ctx actor.Context) {
	if !l.diskFull || l.transfer != nil || !l.tally.Settled() {
		return
	}
	fit := func(id core.NodeID) bool {
		return id != l.opts.Node && l.room.peers.get(id) && l.recoveries[id] == nil && l.now-l.contact.get(id) < l.opts.ElectionTimeout
	}
	if !l.config().Quorum().Agrees(fit) {
		return
	}
	to, ok := l.tally.Best(func(id core.NodeID) int {
		if !fit(id) {
			return -1
		}
		return l.suits(id)
	})
	if ok {
		l.logger.Warn("own disk full, handing over to a member with room", "role", "leader", "to", to, "term", l.term)
		l.onTransferLeadership(ctx, &messages.TransferLeadership{To: string(to)}, nil)
	}
}
