package actors

import (
	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/messages"
)

// earlyOperations came from this process directly, while what was asked before them
// may still be on its way back from the Gateway. Commands of one sender are applied in
// the order they were sent, also across a change of leader: so they wait for it.
type earlyOperations struct {
	items []ReturnedOperation
}

// onDirect takes an operation that has not been at the Gateway of this process.
func (l *leader) onDirect(ctx actor.Context, message any, sender *actor.PID) {
	here := sender == nil || sender.Address == ctx.Self().Address
	if l.early == nil || !here {
		l.take(ctx, message, sender)
		return
	}
	if len(l.early.items) >= l.opts.Limits.QueuedProposals {
		l.refuse(ctx, sender, requestOf(message), messages.Reason_BUSY)
		return
	}
	l.early.items = append(l.early.items, ReturnedOperation{message, sender})
}

func (l *leader) take(ctx actor.Context, message any, sender *actor.PID) {
	switch m := message.(type) {
	case *messages.Propose:
		l.onPropose(ctx, m, sender)
	case *messages.Query:
		l.onQuery(ctx, m, sender)
	default:
		l.onMembers(ctx, m, sender)
	}
}

func (l *leader) onGatewayCaughtUp(ctx actor.Context, m *GatewayCaughtUp) {
	if m.Term == l.term {
		l.admitEarly(ctx)
	}
}

// admitEarly takes what has waited; from now on nothing waits.
func (l *leader) admitEarly(ctx actor.Context) {
	if l.early == nil {
		return
	}
	items := l.early.items
	l.early = nil
	for _, op := range items {
		l.take(ctx, op.Message, op.Asker)
	}
}

// handBackEarly gives to the Gateway what a short leadership never took.
func (l *leader) handBackEarly(ctx actor.Context) {
	if l.early == nil {
		return
	}
	for _, op := range l.early.items {
		l.handBack(ctx, op.Message, Waiter{op.Asker, requestOf(op.Message)})
	}
	l.early = nil
}

// meant says whether an operation was sent to the leader of this term, or to any.
func (l *leader) meant(term uint64) bool {
	return term == 0 || core.Term(term) == l.term
}

func requestOf(message any) uint64 {
	switch m := message.(type) {
	case *messages.Propose:
		return m.GetRequest()
	case *messages.Query:
		return m.GetRequest()
	case *messages.ChangeMembers:
		return m.GetRequest()
	case *messages.AbortChange:
		return m.GetRequest()
	case *messages.ListMembers:
		return m.GetRequest()
	}
	return 0
}
