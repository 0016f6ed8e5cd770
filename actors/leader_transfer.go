package actors

import (
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/messages"
)

// transfer is a hand-over of leadership under way (thesis §3.10): proposals queue,
// the target catches up, then it is told to stand.
type transfer struct {
	target   core.NodeID
	deadline time.Duration
	replyTo  *actor.PID
	told     bool
}

func (l *leader) onTransferLeadership(ctx actor.Context, m *messages.TransferLeadership, sender *actor.PID) {
	target, reason := l.transferTarget(core.NodeID(m.To))
	if reason == "" && l.transfer != nil {
		reason = "a transfer to " + string(l.transfer.target) + " is under way"
	}
	if reason != "" {
		l.keepLeadership(ctx, sender, reason)
		return
	}
	l.logger.Info("handing leadership over", "role", "leader", "to", target, "term", l.term, "index", l.tail.last().Index)
	l.transfer = &transfer{target: target, deadline: l.now + l.opts.ElectionTimeout, replyTo: sender}
}

func (l *leader) transferTarget(to core.NodeID) (target core.NodeID, reason string) {
	if to == "" {
		best, ok := l.tally.Best(l.opts.Node)
		if !ok {
			return "", "there is no other voter"
		}
		return best, ""
	}
	if to == l.opts.Node {
		return "", string(to) + " leads already"
	}
	if !slices.Contains(l.config().Voters(), to) {
		return "", string(to) + " is not a voter of this group"
	}
	return to, ""
}

// turnTransfer tells the target to stand as soon as its log is as long as this one,
// and all of it committed, so that who waits for an entry is still answered here.
func (l *leader) turnTransfer(ctx actor.Context) {
	t := l.transfer
	if last := l.tail.last().Index; t == nil || t.told || l.tally.Match(t.target) < last || l.commit < last {
		return
	}
	t.told = true
	l.ask(ctx, l.peers[t.target], &messages.TimeoutNow{Group: l.opts.Group, Term: uint64(l.term), From: string(l.opts.Node)})
}

// expireTransfer takes leadership up again when the target has not stood in time.
func (l *leader) expireTransfer(ctx actor.Context) {
	t := l.transfer
	if t == nil || l.now < t.deadline {
		return
	}
	l.transfer = nil
	l.logger.Warn("hand-over did not succeed, leading on", "role", "leader", "to", t.target, "term", l.term)
	l.keepLeadership(ctx, t.replyTo, string(t.target)+" did not take over within an election timeout")
}

// keepLeadership tells who asked for a transfer, if anybody listens, that there is
// none.
func (r *raft) keepLeadership(ctx actor.Context, to *actor.PID, reason string) {
	if to != nil {
		ctx.Send(to, &messages.LeadershipKept{Group: r.opts.Group, Reason: reason})
	}
}

// wakeBest has the best peer stand at once, when this leader can lead no more.
func (l *leader) wakeBest(ctx actor.Context) {
	if best, ok := l.tally.Best(l.opts.Node); ok {
		ctx.Send(l.peers[best], &messages.TimeoutNow{Group: l.opts.Group, Term: uint64(l.term), From: string(l.opts.Node)})
	}
}
