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
		best, ok := l.tally.Best(l.suits)
		if !ok {
			return "", "there is no other voter that may lead, answers and has room on its disk"
		}
		return best, ""
	}
	if to == l.opts.Node {
		return "", string(to) + " leads already"
	}
	if !slices.Contains(l.config().Voters(), to) {
		return "", string(to) + " is not a voter of this group"
	}
	if !l.config().MayLead(to) {
		return "", string(to) + " is not to lead, by its role or priority"
	}
	if l.recoveries[to] != nil {
		return "", string(to) + " has lost memory and recovers it"
	}
	if l.room.isFull(to) {
		return "", "the disk of " + string(to) + " is full"
	}
	return to, ""
}

// standAside hands over to whoever may lead, when this member is not to, or is looked for
// where it is not.
func (l *leader) standAside(ctx actor.Context) {
	own, ok := l.config().Member(l.opts.Node)
	reluctant := ok && (own.Priority < 0 || l.hasMoved(ctx)) && l.tally.Settled()
	if (reluctant || l.opts.Witness) && l.transfer == nil {
		if _, reason := l.transferTarget(""); reason == "" {
			l.onTransferLeadership(ctx, &messages.TransferLeadership{}, nil)
		}
	}
}

// suits ranks who might take over: one that answers and has room on its disk, and best
// one that keeps up, of the highest priority.
func (l *leader) suits(id core.NodeID) int {
	m, _ := l.config().Member(id)
	if id == l.opts.Node || !l.mayTakeOver(id) || l.recoveries[id] != nil || l.room.isFull(id) || l.now-l.contact.get(id) >= l.opts.ElectionTimeout {
		return -1
	}
	if l.progress[id].GetState() == core.Probe.String() {
		return 0
	}
	return max(1+m.Priority, 0)
}

// turnTransfer tells the target to stand as soon as its log is as long as this one,
// and all of it committed, so that who waits for an entry is still answered here. What
// is read by lease must have been answered: voters of the target break their promise.
func (l *leader) turnTransfer(ctx actor.Context) {
	t := l.transfer
	if t != nil && !t.told && l.room.isFull(t.target) {
		l.transfer = nil
		l.keepLeadership(ctx, t.replyTo, "the disk of "+string(t.target)+" is full")
		return
	}
	if last := l.tail.last().Index; t == nil || t.told || l.tally.Match(t.target) < last || l.commit < last && !l.opts.Witness || l.raft.leased > 0 {
		return
	}
	if l.raft.change != l.durableChange {
		return // say would hold the order up until the hand-over may have been given up, and the log be longer
	}
	t.told = true
	l.reads.lease.given = true
	l.ask(ctx, l.peers.get(t.target), l.timeoutNow())
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

// endTransfer answers who asked for a hand-over when the leadership ends. Who follows
// is not known yet, if the target was told to stand.
func (l *leader) endTransfer(ctx actor.Context) {
	switch t := l.transfer; {
	case t == nil:
	case t.told:
		l.handing = t
	default:
		l.keepLeadership(ctx, t.replyTo, "stepped down before "+string(t.target)+" had caught up")
	}
}

// handedTo answers who asked for a hand-over, once it is known who leads, or that
// nobody is.
func (r *raft) handedTo(ctx actor.Context, id core.NodeID) {
	t := r.handing
	r.handing = nil
	if t != nil && t.replyTo != nil {
		ctx.Send(t.replyTo, &messages.LeadershipTransferred{Group: r.opts.Group, Term: uint64(r.term), Leader: string(id)})
	}
}

// wakeBest has the best peer stand at once, when this leader can lead no more. Not
// while its lease is being read by: then the others wait until it has ended.
func (l *leader) wakeBest(ctx actor.Context) {
	best, ok := l.tally.Best(func(id core.NodeID) int {
		if id == l.opts.Node || !l.config().MayLead(id) || l.recoveries[id] != nil {
			return -1
		}
		if l.room.isFull(id) {
			return 0 // it can still be read from
		}
		return 1
	})
	if ok && l.raft.leased == 0 {
		ctx.Send(l.peers.get(best), l.timeoutNow())
	}
}

func (l *leader) timeoutNow() *messages.TimeoutNow {
	return &messages.TimeoutNow{Group: l.opts.Group, Term: uint64(l.term), From: string(l.opts.Node), Resets: l.config().Resets}
}
