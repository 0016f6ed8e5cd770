package actors

import (
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/hashicorp/go-hclog"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/messages"
)

// Gateway
//
//	owns   the operations that wait for a leader or are with one on another node,
//	       and who leads which group
//	hears  Propose, Query and operations on members from local members and clients, one
//	       by one or as Operations, ForwardRequests from other Gateways, Results from
//	       leaders, LeaderChanged, LeaderFound, FindLeader from other Gateways and from
//	       local clients
//	says   ForwardRequests, FindLeader and LeaderFound to other Gateways, Results to
//	       whoever asked, ReturnedOperation and GatewayCaughtUp to members here
//
// An operation is sent again only when it was surely not applied. One that was with
// a leader which is no more is answered as unknown: nobody can tell.
type gateway struct {
	opts   GatewayOptions
	rt     *Runtime
	logger hclog.Logger

	routes  map[uint64]*route
	waiting map[uint64]*operation
	bytes   int // of waiting
	nextID  uint64
	sweep   timer

	outgoing  map[string]*messages.ForwardRequests // by address, of this turn
	addresses []string                             // in order of first use
	replies   replies
}

// GatewayOptions set a Gateway's bounds.
type GatewayOptions struct {
	// RequestTimeout is how long an operation waits here for its answer.
	RequestTimeout time.Duration
	// Waiting and WaitingBytes are the most operations that wait here, and their size.
	Waiting, WaitingBytes int
	// Servers are the addresses of nodes to ask who leads, for a process without
	// members of its own.
	Servers []string
	// Found is called, from the Gateway's turn, when such a process is told of a member
	// and where it is. It must not block.
	Found func(member core.NodeID, address string)
}

// GatewayName is the Gateway's id on every node.
const GatewayName = NodeName + "/gateway"

type route struct {
	outside bool       // it is no member of its group, or not yet
	member  *actor.PID // of this node, nil for none
	term    core.Term
	leader  core.NodeID   // empty while not known
	address string        // of its node
	parked  []uint64      // operations in order of arrival
	members []core.Member // by the configuration of member

	heard    time.Duration // when the leader was found or answered last
	doubted  core.Term     // the term whose leader refused or did not answer
	askAgain time.Duration // when to ask the servers again who leads
	look     time.Duration // when to ask the leader again who belongs to the group
}

type operation struct {
	group    uint64
	message  any // *messages.Propose, *messages.Query, one of gateway_members.go or a client's *messages.FindLeader, as asked
	asker    Waiter
	deadline time.Duration
	sentTo   string // address, empty while parked
	sentTerm core.Term
	refused  messages.Reason // by the leader it was with last
}

// sweepInterval is how precisely deadlines are kept, and how soon a refused
// operation is tried again.
const sweepInterval = 50 * time.Millisecond

// GatewayProps describes a process's Gateway.
func GatewayProps(rt *Runtime, opts GatewayOptions) *actor.Props {
	return rt.propsBehind(newAdmission(opts.Waiting, opts.WaitingBytes), 1, func() behavior {
		return &gateway{
			opts: opts, rt: rt, logger: rt.Logger.Named("gateway"),
			// Answers to this node's last life may still be on their way: they must not
			// find an operation of this one under their number.
			nextID: rt.Rand().Uint64() >> 1,
			routes: map[uint64]*route{}, waiting: map[uint64]*operation{},
			outgoing: map[string]*messages.ForwardRequests{},
		}
	})
}

func (g *gateway) started(actor.Context) {}

func (g *gateway) receive(ctx actor.Context, message any, sender *actor.PID) {
	switch m := message.(type) {
	case *messages.Propose:
		g.onOperation(ctx, m.Group, m, Waiter{sender, m.Request})
	case *messages.Query:
		g.onOperation(ctx, m.Group, m, Waiter{sender, m.Request})
	case *Operations:
		for _, op := range m.Items {
			g.receive(ctx, op, sender)
		}
	case *messages.ChangeMembers:
		g.onOperation(ctx, m.Group, m, Waiter{sender, m.Request})
	case *messages.AbortChange:
		g.onOperation(ctx, m.Group, m, Waiter{sender, m.Request})
	case *messages.ListMembers:
		g.onOperation(ctx, m.Group, m, Waiter{sender, m.Request})
	case *messages.ForwardRequests:
		g.onForwardRequests(ctx, m, sender)
	case *messages.Results:
		g.onResults(ctx, m)
	case *LeaderChanged:
		g.onLeaderChanged(ctx, m, sender)
	case *ConfigurationChanged:
		g.onConfigurationChanged(ctx, m)
	case *messages.FindLeader:
		g.onFindLeader(ctx, m, sender)
	case *messages.LeaderFound:
		g.onLeaderFound(ctx, m, sender)
	case *MemberStarted:
		g.route(m.Group).member = m.PID
	case *MemberStopped:
		if r := g.route(m.Group); r.member.Equal(m.PID) {
			r.member = nil
		}
	case *GroupDeleted:
		g.onGroupDeleted(m)
	case *SweepDeadlines:
		g.onSweepDeadlines(ctx, m)
	}
}

func (g *gateway) route(group uint64) *route {
	r := g.routes[group]
	if r == nil {
		r = &route{}
		g.routes[group] = r
	}
	return r
}

// onOperation passes an operation to the leader, or keeps it until there is one.
func (g *gateway) onOperation(ctx actor.Context, group uint64, message any, asker Waiter) {
	r, known := g.routes[group]
	if !known && len(g.opts.Servers) == 0 {
		g.refuse(asker, messages.Reason_NO_GROUP, "")
		return
	}
	if !known {
		r = g.route(group)
	}
	if g.atHand(ctx, r, message, asker) {
		return
	}
	size := sizeOf(message)
	if len(g.waiting) >= g.opts.Waiting || g.bytes+size > g.opts.WaitingBytes {
		g.refuse(asker, messages.Reason_BUSY, r.leader)
		return
	}
	g.nextID++
	op := &operation{group: group, message: message, asker: asker, deadline: g.rt.Clock.Now() + g.opts.RequestTimeout}
	g.waiting[g.nextID] = op
	g.bytes += size
	r.parked = append(r.parked, g.nextID)
	if len(r.parked) == 1 { // else it waits its turn behind what was refused
		g.unpark(ctx, r)
	}
	g.findLeader(ctx, group, r)
	g.armSweep(ctx)
}

// forget ends an operation's stay.
func (g *gateway) forget(id uint64) {
	if op := g.waiting[id]; op != nil {
		g.bytes -= sizeOf(op.message)
		delete(g.waiting, id)
	}
}

// sizeOf is what an operation weighs in memory, about.
func sizeOf(message any) int {
	const overhead = 256
	switch m := message.(type) {
	case *messages.Propose:
		return overhead + len(m.GetCommand())
	case *messages.Query:
		return overhead + len(m.GetQuery())
	case *messages.ChangeMembers:
		return overhead + sizeOfChange(m)
	}
	return overhead
}

// atHand gives an operation to the member of this node when that one leads. It
// answers the asker by itself. Who leads can be told here whoever it is.
func (g *gateway) atHand(ctx actor.Context, r *route, message any, asker Waiter) bool {
	if m, ok := message.(*messages.FindLeader); ok && r.leader != "" && r.address != "" {
		ctx.Send(asker.To, r.found(m.Group))
		return true
	}
	if r.leader == "" || r.member == nil || r.address != ctx.Self().Address {
		return false
	}
	ctx.Send(r.member, &ReturnedOperation{Message: message, Asker: asker.To})
	return true
}

// unpark sends what waits for the group's leader, in order, if there is one.
func (g *gateway) unpark(ctx actor.Context, r *route) {
	if r.leader == "" || r.address == "" || len(r.parked) == 0 {
		return
	}
	// Refusals come in any order. What was asked first goes first: a query may have
	// to see the commands before it.
	slices.Sort(r.parked)
	for _, id := range r.parked {
		op := g.waiting[id]
		if op == nil {
			continue
		}
		if g.atHand(ctx, r, op.message, op.asker) {
			g.forget(id)
			continue
		}
		op.sentTo, op.sentTerm = r.address, r.term
		g.put(r, id, op.message)
	}
	r.parked = r.parked[:0]
}

// onResults passes answers on, except refusals that another try may mend.
func (g *gateway) onResults(ctx actor.Context, m *messages.Results) {
	now := g.rt.Clock.Now()
	for _, item := range m.Items {
		op := g.waiting[item.Request]
		if op == nil {
			continue // answered before, as timed out or unknown
		}
		if item.Outcome == messages.Outcome_NOT_APPLIED && mendable(item.Reason) {
			g.park(op, item)
			continue
		}
		g.forget(item.Request)
		g.replies.add(op.asker, item)
		if r := g.route(op.group); op.sentTo == r.address {
			r.heard = now
		}
	}
}

// mendable: the operation was not applied because of who was asked, not because of
// what it is.
func mendable(r messages.Reason) bool {
	switch r {
	case messages.Reason_NOT_LEADER, messages.Reason_LEADERSHIP_LOST, messages.Reason_NO_LEADER,
		messages.Reason_NO_GROUP, messages.Reason_STOPPED, messages.Reason_STORAGE_FAILED: // a leader that ends; another will come
		return true
	}
	return false
}

// park keeps an operation for the next sweep or leader. A refusal that comes twice
// parks it once.
func (g *gateway) park(op *operation, item messages.ResultItem) {
	if op.sentTo == "" {
		return
	}
	r := g.route(op.group)
	if !r.hears() && op.sentTerm >= r.term {
		r.leader, r.doubted = "", r.term // the servers know better by now
	}
	op.sentTo, op.refused = "", item.Reason
	r.parked = append(r.parked, item.Request)
}

func (g *gateway) refuse(asker Waiter, reason messages.Reason, leader core.NodeID) {
	g.replies.add(asker, messages.ResultItem{
		Outcome: messages.Outcome_NOT_APPLIED, Reason: reason, Leader: string(leader),
	})
}

func (g *gateway) armSweep(ctx actor.Context) {
	if g.sweep.stop == nil {
		g.sweep.set(ctx, g.rt.Clock, sweepInterval, func(generation uint64) any {
			return &SweepDeadlines{Generation: generation}
		})
	}
}

// onSweepDeadlines answers what has waited too long, and tries again what was
// refused. While nothing waits there is no timer.
func (g *gateway) onSweepDeadlines(ctx actor.Context, m *SweepDeadlines) {
	if m.Generation != g.sweep.generation {
		return
	}
	g.sweep.cancel()
	now := g.rt.Clock.Now()
	for _, id := range g.ids() {
		op := g.waiting[id]
		g.doubt(op, now)
		if now < op.deadline {
			continue
		}
		g.forget(id)
		g.replies.add(op.asker, expired(op))
	}
	for _, group := range sortedKeys(g.routes) {
		r := g.routes[group]
		r.parked = slices.DeleteFunc(r.parked, func(id uint64) bool { return g.waiting[id] == nil })
		g.unpark(ctx, r)
		g.findLeader(ctx, group, r)
		g.lookAround(ctx, group, r)
	}
	if len(g.waiting) > 0 {
		g.armSweep(ctx)
	}
}

// expired says what is known of an operation whose time is up.
func expired(op *operation) messages.ResultItem {
	if op.sentTo == "" {
		reason := op.refused
		if reason == messages.Reason_NONE {
			reason = messages.Reason_NO_LEADER
		}
		return messages.ResultItem{Outcome: messages.Outcome_NOT_APPLIED, Reason: reason}
	}
	if changesNothing(op.message) {
		return messages.ResultItem{Outcome: messages.Outcome_NOT_APPLIED, Reason: messages.Reason_TIMED_OUT}
	}
	return messages.ResultItem{Outcome: messages.Outcome_UNKNOWN, Reason: messages.Reason_TIMED_OUT}
}

// ids are the waiting operations in order of arrival.
func (g *gateway) ids() []uint64 { return sortedKeys(g.waiting) }

func (g *gateway) stopping(ctx actor.Context) {
	g.sweep.cancel()
	g.abandon(ctx)
}

// crashed starts with empty hands; clients get what is surely true.
func (g *gateway) crashed(ctx actor.Context, reason any, stack []byte) {
	g.logger.Error("gateway crashed, starting empty", "panic", reason, "stack", string(stack))
	g.abandon(ctx)
}

func (g *gateway) abandon(ctx actor.Context) {
	for _, id := range g.ids() {
		op := g.waiting[id]
		item := expired(op)
		item.Reason = messages.Reason_STOPPED
		g.replies.add(op.asker, item)
	}
	clear(g.waiting)
	g.bytes = 0
	for _, r := range g.routes {
		r.parked = nil
	}
	clear(g.outgoing)
	g.addresses = nil
	g.replies.send(ctx)
}
