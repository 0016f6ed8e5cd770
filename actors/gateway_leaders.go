package actors

import (
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/messages"
)

// findInterval is how often servers are asked who leads; doubtAfter is how long an
// operation may be with a leader before that leader is doubted; lookInterval is how often
// a leader in whose word a process works is asked where the members are.
const (
	findInterval = 200 * time.Millisecond
	doubtAfter   = time.Second
	lookInterval = 500 * time.Millisecond
)

// findLeader asks every server who leads a group that has no member here. A
// process with a member hears it from that one.
func (g *gateway) findLeader(ctx actor.Context, group uint64, r *route) {
	if now := g.rt.Clock.Now(); r.leader == "" && !r.hears() && now >= r.askAgain {
		r.askAgain = now + findInterval
		for _, address := range g.opts.Servers {
			ctx.Request(actor.NewPID(address, GatewayName), &messages.FindLeader{Group: group})
		}
	}
}

// lookAround has a process that no member keeps informed ask the leader where the members
// are: they may all move, one after the other, while the same one leads.
func (g *gateway) lookAround(ctx actor.Context, group uint64, r *route) {
	now := g.rt.Clock.Now()
	if r.hears() || len(g.opts.Servers) == 0 || r.leader == "" || r.address == "" || r.address == ctx.Self().Address || now < r.look {
		return
	}
	r.look = now + lookInterval
	ctx.Request(actor.NewPID(r.address, GatewayName), &messages.FindLeader{Group: group})
}

// onFindLeader answers another process with what this one knows. A client here
// waits, like any operation, until there is a leader.
func (g *gateway) onFindLeader(ctx actor.Context, m *messages.FindLeader, sender *actor.PID) {
	switch {
	case sender == nil:
	case sender.Address == ctx.Self().Address:
		g.onOperation(ctx, m.Group, m, Waiter{To: sender})
	case g.routes[m.Group] != nil:
		ctx.Request(sender, g.routes[m.Group].found(m.Group))
	}
}

// onConfigurationChanged: a member that does not belong to its group, any more or yet,
// hears of no leader. Its clients are served like those of a process without one.
func (g *gateway) onConfigurationChanged(ctx actor.Context, m *ConfigurationChanged) {
	r, here := g.route(m.Group), ctx.Self().Address
	r.members = m.Everyone
	r.outside = !slices.ContainsFunc(m.Everyone, func(one core.Member) bool { return one.Address == here })
	if r.outside {
		g.discover(describeMembers(r.members), here)
	}
}

// hears says whether a member here is told who leads.
func (r *route) hears() bool { return r.member != nil && !r.outside }

// found says who leads where it is also known where: a member that waits to be added,
// or was removed, may know only the name.
func (r *route) found(group uint64) *messages.LeaderFound {
	if r.address == "" {
		return &messages.LeaderFound{Group: group, Term: uint64(r.term), Members: describeMembers(r.members)}
	}
	return &messages.LeaderFound{Group: group, Term: uint64(r.term), Leader: string(r.leader), Address: r.address, Members: describeMembers(r.members)}
}

// onLeaderFound takes a server's word. One that knows no leader of this term does
// not unsay what another has said, and of a doubted leader only its own word
// counts: its followers miss it later than this process does.
func (g *gateway) onLeaderFound(ctx actor.Context, m *messages.LeaderFound, sender *actor.PID) {
	term := core.Term(m.Term)
	r := g.route(m.Group)
	if !r.hears() {
		g.discover(m.Members, ctx.Self().Address)
	}
	switch {
	case r.hears(), m.Leader == "" && term <= r.term:
		return
	case r.member != nil && m.Address == ctx.Self().Address:
		return // of itself a member knows better, and would send back what it was given
	case sender != nil && sender.Address == m.Address:
		r.heard = g.rt.Clock.Now()
	case term == r.doubted:
		return
	}
	g.onLeaderChanged(ctx, &LeaderChanged{Group: m.Group, Term: term, Leader: core.NodeID(m.Leader), Address: m.Address}, nil)
}

// serversMax bounds the addresses that are asked who leads.
const serversMax = 64

// discover has a group's members asked from now on too: one day none of those may be
// left that the process was told of when it began. A member may have moved to where
// another was, which is asked already.
func (g *gateway) discover(members []*messages.Member, here string) {
	for _, m := range members {
		known := slices.Contains(g.opts.Servers, m.GetAddress())
		if m.GetAddress() == here || !known && len(g.opts.Servers) >= serversMax {
			continue
		}
		if !known {
			g.opts.Servers = append(slices.Clip(g.opts.Servers), m.GetAddress())
		}
		if g.opts.Found != nil {
			g.opts.Found(core.NodeID(m.GetId()), m.GetAddress())
		}
	}
}

// onLeaderChanged settles what was with an earlier leader and sends what waited. A
// member here that leads is told when that is done.
func (g *gateway) onLeaderChanged(ctx actor.Context, m *LeaderChanged, member *actor.PID) {
	r := g.route(m.Group)
	if m.Term < r.term {
		return
	}
	if m.Leader != r.leader {
		r.heard = g.rt.Clock.Now()
	}
	r.term, r.leader, r.address = m.Term, m.Leader, m.Address
	if m.Leader == "" {
		return
	}
	leadsHere := member != nil && m.Address == ctx.Self().Address
	if leadsHere && r.member == nil {
		r.member = member // the Node's word is on its way
	}
	g.settle(m.Group, r)
	g.unpark(ctx, r)
	if leadsHere {
		ctx.Send(member, &GatewayCaughtUp{Term: m.Term})
	}
}

// settle ends the commands that were sent to a leader of an earlier term: whether
// it committed them nobody here will learn. Queries are asked again.
func (g *gateway) settle(group uint64, r *route) {
	for _, id := range g.ids() {
		op := g.waiting[id]
		if op.group != group || op.sentTo == "" || op.sentTerm >= r.term {
			continue
		}
		if changesNothing(op.message) {
			op.sentTo = ""
			r.parked = append(r.parked, id)
			continue
		}
		g.forget(id)
		g.replies.add(op.asker, messages.ResultItem{
			Outcome: messages.Outcome_UNKNOWN, Reason: messages.Reason_LEADERSHIP_LOST, Leader: string(r.leader),
		})
	}
}

// doubt: a leader that answers nothing may be gone, which a process without a member
// is not told. Its operations stay with it until another term is heard of.
func (g *gateway) doubt(op *operation, now time.Duration) {
	r, asked := g.routes[op.group], op.deadline-g.opts.RequestTimeout
	if !r.hears() && op.sentTo != "" && now >= max(asked, r.heard)+min(doubtAfter, g.opts.RequestTimeout) {
		r.leader, r.doubted = "", r.term
	}
}
