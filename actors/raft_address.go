package actors

import (
	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors/core"
)

// Where members are. Their addresses stand in the configuration, and count like all of it
// from when it is appended until it is truncated. A member does not go by what is said
// there of itself: it is where its process was started, which may be ahead of the log.

// peerAt addresses another member of self's group. An address that this node has by now
// was that one's before: what is sent there must not come back as if a peer had said it.
func peerAt(address string, self *actor.PID) *actor.PID {
	id := self.Id
	if address == self.Address {
		id += "/moved-away"
	}
	return actor.NewPID(address, id)
}

// isMeant says whether what rests on who hears it is for this member: an address may have
// been another's, or still be it, where the sender's groups differ in who is there.
func (r *raft) isMeant(to string) bool { return to == "" || to == string(r.opts.Node) }

// sayWhereListed warns a node that the others look for in another place, and says when
// they do no more.
func (r *raft) sayWhereListed(ctx actor.Context) {
	here, at := ctx.Self().Address, r.listedAt(ctx)
	switch {
	case at == r.elsewhere:
		return
	case at == "":
		r.logger.Info("the group looks for this member at its address again", "address", here, "index", r.configIndex())
	default:
		r.logger.Warn("the group looks for this member at another address: start the node there, or have the member moved here",
			"address", here, "listed", at, "index", r.configIndex())
	}
	r.elsewhere = at
}

// listedAt is where the configuration has this member when that is somewhere else, empty
// where it is here, or no member.
func (r *raft) listedAt(ctx actor.Context) string {
	if m, ok := r.config().Find(r.opts.Node); ok && m.Address != ctx.Self().Address {
		return m.Address
	}
	return ""
}

// hasMoved says whether this leader is to hand over because its clients and readers look
// for it elsewhere: it has been moved, for good, and the others can do without it.
func (l *leader) hasMoved(ctx actor.Context) bool {
	return l.commit >= l.configIndex() && l.listedAt(ctx) != "" && l.config().Quorum().Agrees(func(id core.NodeID) bool {
		return id != l.opts.Node && l.recoveries[id] == nil && l.now-l.contact.get(id) < l.opts.ElectionTimeout
	})
}

// followMove has a peer's Replicator begin anew where the peer is now. What was sent to the
// old address and is answered yet is of no use to the new one, but does no harm either: it
// is the same member that has it.
func (l *leader) followMove(ctx actor.Context, r replicatorOf) replicatorOf {
	if l.peers.get(r.peer) == r.to {
		return r
	}
	ctx.Stop(r.pid)
	moved := l.replicate(ctx, r.peer)
	l.checkProgress(ctx, r.peer, moved.pid)
	return moved
}
