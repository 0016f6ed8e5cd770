package actors

import (
	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/messages"
)

// put adds an operation to this turn's message for the leader's node, under its id
// here. It is meant for the leader of that term only: else one that is refused now
// could be overtaken by one that follows when the node has won another.
func (g *gateway) put(r *route, id uint64, message any) {
	out := g.outgoing[r.address]
	if out == nil {
		out = &messages.ForwardRequests{}
		g.outgoing[r.address] = out
		g.addresses = append(g.addresses, r.address)
	}
	f := &messages.ForwardedRequest{}
	switch m := message.(type) {
	case *messages.Propose:
		f.Request = &messages.ForwardedRequest_Propose{Propose: &messages.Propose{
			Group: m.Group, Request: id, Command: m.Command, Session: m.Session, Sequence: m.Sequence,
			Acknowledged: m.Acknowledged, Kind: m.Kind, LeaderTerm: uint64(r.term),
		}}
	case *messages.Query:
		f.Request = &messages.ForwardedRequest_Query{Query: &messages.Query{
			Group: m.Group, Request: id, Query: m.Query, Consistency: m.Consistency, AfterWrites: m.AfterWrites,
			MinIndex: m.MinIndex, MaxAge: m.MaxAge,
			LeaderTerm: uint64(r.term),
		}}
	default:
		forwardMembers(f, message, id, uint64(r.term))
	}
	out.Requests = append(out.Requests, f)
}

func (g *gateway) endTurn(ctx actor.Context) {
	g.replies.send(ctx)
	for _, address := range g.addresses {
		to := actor.NewPID(address, GatewayName)
		for _, m := range splitForward(g.outgoing[address]) {
			ctx.Request(to, m)
		}
		delete(g.outgoing, address)
	}
	g.addresses = g.addresses[:0]
}

func splitForward(m *messages.ForwardRequests) []*messages.ForwardRequests {
	var out []*messages.ForwardRequests
	from, bytes := 0, 0
	for i, f := range m.Requests {
		n := len(f.GetPropose().GetCommand()) + len(f.GetQuery().GetQuery()) + sizeOfChange(f.GetChangeMembers()) + 64
		if i > from && bytes+n > maxWireBytes {
			out = append(out, &messages.ForwardRequests{Requests: m.Requests[from:i]})
			from, bytes = i, 0
		}
		bytes += n
	}
	return append(out, &messages.ForwardRequests{Requests: m.Requests[from:]})
}

// onForwardRequests gives another node's operations to the members here. A member
// that does not lead refuses them: nothing is forwarded twice.
func (g *gateway) onForwardRequests(ctx actor.Context, m *messages.ForwardRequests, sender *actor.PID) {
	if sender == nil {
		return
	}
	var together operationsFor
	for _, f := range m.Requests {
		var group, request uint64
		var message any
		switch r := f.Request.(type) {
		case *messages.ForwardedRequest_Propose:
			group, request, message = r.Propose.GetGroup(), r.Propose.GetRequest(), r.Propose
		case *messages.ForwardedRequest_Query:
			group, request, message = r.Query.GetGroup(), r.Query.GetRequest(), r.Query
		default:
			if group, request, message = forwardedMembers(f); message == nil {
				continue
			}
		}
		if r := g.routes[group]; r != nil && r.member != nil {
			together.add(ctx, r.member, message, sender)
		} else {
			g.refuse(Waiter{sender, request}, messages.Reason_NO_GROUP, "")
		}
	}
	together.send(ctx, sender)
}
