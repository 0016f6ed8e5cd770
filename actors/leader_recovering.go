package actors

import (
	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/messages"
)

// recovering takes what a peer says that has lost memory. It is sent the log like any
// other, and counts for nothing until it holds an entry of this term which was appended
// after the loss was heard of, and committed without it.
func (l *leader) recovering(ctx actor.Context, peer core.NodeID, nonce uint64, match core.Index) {
	rec := l.recoveries[peer]
	if rec == nil || rec.Nonce != nonce {
		l.logger.Warn("peer has lost memory, or joins with nothing stored: it does not count until it has caught up", "peer", peer, "term", l.term)
		rec = &core.Recovery{Nonce: nonce, Barrier: l.tail.last().Index + 1}
		l.recoveries[peer] = rec
		l.tally.Forget(peer)
		l.replicateAnew(ctx, peer)
		l.queue.add(proposal{kind: messages.EntryKind_NOOP})
		match = 0 // of before
	}
	rec.Match = max(rec.Match, match)
	if rec.Done(l.tally.Commit()) {
		l.answer(ctx, l.peers.get(peer), &messages.MemoryRestored{
			Group: l.opts.Group, Term: uint64(l.term), From: string(l.opts.Node),
			Nonce: nonce, Barrier: uint64(rec.Barrier), Known: l.knownLives(), Resets: l.config().Resets,
		})
	}
}

// recovered: the peer says nothing of lost memory. Whether that is news or an answer
// from before the loss that came late, what it holds it will say when it is probed.
func (l *leader) recovered(ctx actor.Context, peer core.NodeID) {
	if l.recoveries[peer] != nil {
		delete(l.recoveries, peer)
		l.replicateAnew(ctx, peer)
	}
}

// heldBy is what a peer holds, also of one that does not count.
func (l *leader) heldBy(peer core.NodeID) core.Index {
	if rec := l.recoveries[peer]; rec != nil {
		return rec.Match
	}
	return l.tally.Match(peer)
}

// replicateAnew replaces a peer's Replicator by one that knows nothing of the peer.
func (l *leader) replicateAnew(ctx actor.Context, peer core.NodeID) {
	for i, r := range l.replicators {
		if r.peer == peer {
			l.replicators[i] = l.replicate(ctx, peer)
			ctx.Stop(r.pid)
		}
	}
}
