package actors

import (
	"fmt"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/messages"
)

// failed is a member that has stopped: its machine, its log or the code has broken
// a rule it cannot go on without. It says nothing to its peers any more, tells
// clients so, and waits to be described or stopped. Other groups go on.
type failed struct{ *raft }

func (f *failed) name() string          { return "failed" }
func (f *failed) standstill()           {}
func (f *failed) endTurn(actor.Context) {}
func (f *failed) exit(actor.Context)    {}

func (f *failed) receive(ctx actor.Context, message any, sender *actor.PID) {
	switch m := message.(type) {
	case *ReturnedOperation:
		f.receive(ctx, m.Message, m.Asker)
	case *messages.Propose:
		f.refuse(ctx, sender, m.Request, messages.Reason_STOPPED)
	case *messages.Query:
		f.refuse(ctx, sender, m.Request, messages.Reason_STOPPED)
	case *messages.ChangeMembers, *messages.AbortChange, *messages.ListMembers:
		f.refuse(ctx, sender, requestOf(m), messages.Reason_STOPPED)
	case *messages.TransferLeadership:
		f.keepLeadership(ctx, sender, "member failed: "+f.failure)
	}
}

// fail stops the member for good. A leader wakes its best peer, so that the group
// need not wait for an election timeout.
func (r *raft) fail(ctx actor.Context, reason string) {
	if r.failure != "" {
		return
	}
	r.failure = reason
	r.logger.Error("member stopped", "role", r.role.name(), "term", r.term, "reason", reason)
	if l, ok := r.role.(*leader); ok {
		l.wakeBest(ctx)
	}
	r.release(ctx, r.tail.takeWaiters(r.handed), messages.Outcome_UNKNOWN, messages.Reason_STOPPED)
	r.refuseReads(ctx, messages.Reason_STOPPED)
	was := r.role
	r.role = &failed{r}
	was.exit(ctx)
	r.handedTo(ctx, "")
	r.election.cancel()
	r.endSnapshots(ctx, "the member has stopped: "+reason)
	r.memory.greet.cancel()
	r.held = nil
	ctx.Send(r.applier, &MemberHalted{Reason: reason})
	ctx.Send(r.links.Node, &MemberFailed{Group: r.opts.Group, Reason: reason})
}

// onStorageFailed: nothing this member says could be durable any more.
func (r *raft) onStorageFailed(ctx actor.Context, m *messages.StorageFailed) {
	r.fail(ctx, "storage failed: "+m.Reason)
}

// crashed: a panic is a broken rule. Only this group stops.
func (r *raft) crashed(ctx actor.Context, reason any, stack []byte) {
	r.logger.Error("panic", "panic", reason, "stack", string(stack))
	r.fail(ctx, fmt.Sprintf("panic: %v", reason))
}
