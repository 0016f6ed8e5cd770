package cluster

import (
	"context"
	"fmt"

	"github.com/protoraft/protoraft/messages"
)

// AcceptLoss says that whoever asks for a reset knows what may be lost by it.
type AcceptLoss bool

// PeersReset is what a reset has come to.
type PeersReset struct {
	Term  uint64
	Index uint64 // of the configuration of this node alone

	// CommitIndex is up to where entries were known to be committed: all of them are
	// kept. What others have committed above it may be lost. LastIndex is where this
	// node's log ended: what it holds between the two is committed by the reset, whether
	// or not it was before.
	CommitIndex, LastIndex uint64

	Removed []string // ids that were members and never may be again
}

// ResetPeers has this node's member of a group go on alone, from what it holds, when the
// majority is lost for ever. When it returns nil, a configuration of this node alone is
// durable and the member leads, or is about to: add new nodes to it, with ids of their own.
//
// May be lost: whatever the others have committed and this node does not hold, commands
// that clients were told are applied among them. Of several survivors choose the one
// whose log ends last, by term and then by index. The other members, dead or alive, are
// removed; this node and those added to it heed them no more, and tell them so when they
// speak. What they do among themselves nothing here can know: a majority of them that
// still runs, out of this node's reach, goes on with the old history and serves its
// clients. Make sure that none does, and wipe them before their machines are used again.
//
// It is refused while a leader is heard or may have been, on a node that leads, has been
// removed or knows no members, and without accept. An error of another kind, as when ctx
// ends, leaves open whether it has happened: see Status.
func (n *Node) ResetPeers(ctx context.Context, group uint64, accept AcceptLoss) (PeersReset, error) {
	pid := n.client.member(group)
	if pid == nil {
		return PeersReset{}, fmt.Errorf("group %d: %w", group, ErrNoGroup)
	}
	answer, err := ask[any](ctx, n.system, pid, &messages.ResetPeers{Group: group, AcceptLoss: bool(accept)})
	if err != nil {
		return PeersReset{}, fmt.Errorf("group %d: %w", group, err)
	}
	switch m := answer.(type) {
	case *messages.PeersReset:
		return PeersReset{Term: m.Term, Index: m.Index, CommitIndex: m.CommitIndex, LastIndex: m.LastIndex, Removed: m.Removed}, nil
	case *messages.PeersKept:
		return PeersReset{}, fmt.Errorf("group %d: %w: %s", group, ErrMembersKept, m.Reason)
	default:
		return PeersReset{}, fmt.Errorf("group %d: %s answered %T, expected PeersReset or PeersKept", group, pid.Id, answer)
	}
}
