package actors

import (
	"slices"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/messages"
)

// onOperations takes several operations of one asker as if they had come one by one.
// Where this member would pass each on, all go on together: every message costs the
// Gateway more than what is in it.
func (r *raft) onOperations(ctx actor.Context, m *Operations, sender *actor.PID) {
	stays := func(op any) bool { return !r.passesOn(ctx, op, sender) }
	if !slices.ContainsFunc(m.Items, stays) {
		ctx.RequestWithCustomSender(r.links.Gateway, m, sender)
		return
	}
	for _, op := range m.Items {
		r.role.receive(ctx, op, sender)
	}
}

// passesOn says whether forward would give the operation to the Gateway.
func (r *raft) passesOn(ctx actor.Context, message any, sender *actor.PID) bool {
	switch r.role.(type) {
	case *leader, standstill:
		return false
	}
	q, asks := message.(*messages.Query)
	here := sender == nil || sender.Address == ctx.Self().Address
	return here && (!asks || !forMember(q.Consistency) || r.opts.Witness)
}

// operationsFor gathers what goes to one member of this node for one asker.
type operationsFor struct {
	member *actor.PID
	items  []any
}

// add takes an operation; one for another member sends those before it.
func (o *operationsFor) add(ctx actor.Context, member *actor.PID, message any, asker *actor.PID) {
	if o.member != member {
		o.send(ctx, asker)
		o.member = member
	}
	o.items = append(o.items, message)
}

func (o *operationsFor) send(ctx actor.Context, asker *actor.PID) {
	switch len(o.items) {
	case 0:
	case 1:
		ctx.RequestWithCustomSender(o.member, o.items[0], asker)
	default:
		ctx.RequestWithCustomSender(o.member, &Operations{Items: o.items}, asker)
	}
	o.items = nil
}
