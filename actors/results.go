package actors

import (
	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/messages"
)

// replies gathers the answers of a turn, one message for each receiver.
type replies struct {
	to    []*actor.PID
	items [][]messages.ResultItem
	last  int
	// expected is how many answers there are about to be. The first receiver gets room
	// for so many: mostly there is no other.
	expected int
}

func (r *replies) add(w Waiter, item messages.ResultItem) {
	if w.To == nil {
		return
	}
	item.Request = w.Request
	items := &r.items[r.slot(w.To)]
	if *items == nil && len(r.to) == 1 {
		*items = make([]messages.ResultItem, 0, r.expected)
	}
	*items = append(*items, item)
}

// slot finds the receiver's place; mostly it is the last one used.
func (r *replies) slot(to *actor.PID) int {
	if r.last < len(r.to) && r.to[r.last] == to {
		return r.last
	}
	for i, pid := range r.to {
		if pid == to || pid.Equal(to) {
			r.last = i
			return i
		}
	}
	r.to = append(r.to, to)
	r.items = append(r.items, nil)
	r.last = len(r.to) - 1
	return r.last
}

// maxWireBytes keeps a message of many parts well below what a link takes.
const maxWireBytes = 1 << 20

func (r *replies) send(ctx actor.Context) { r.sendFrom(ctx, ctx.Self()) }

// sendFrom lets the answers go, those to another node in messages of bounded size.
func (r *replies) sendFrom(by interface{ Send(*actor.PID, any) }, self *actor.PID) {
	for i, pid := range r.to {
		items := r.items[i]
		if pid.Address != self.Address {
			for n := fitting(items); n < len(items); n = fitting(items) {
				by.Send(pid, &messages.Results{Items: items[:n:n]})
				items = items[n:]
			}
		}
		by.Send(pid, &messages.Results{Items: items})
	}
	clear(r.to)
	clear(r.items)
	r.to, r.items, r.last, r.expected = r.to[:0], r.items[:0], 0, 0
}

// fitting counts the items that one message takes, at least one.
func fitting(items []messages.ResultItem) int {
	bytes := 0
	for i := range items {
		if bytes += len(items[i].Data) + 64; bytes > maxWireBytes && i > 0 {
			return i
		}
	}
	return len(items)
}

// release tells waiters that their operation ends here.
func (r *raft) release(ctx actor.Context, waiters []Waiter, outcome messages.Outcome, reason messages.Reason) {
	var out replies
	for _, w := range waiters {
		out.add(w, messages.ResultItem{Outcome: outcome, Reason: reason, Leader: string(r.leader)})
	}
	out.send(ctx)
}

// refuse answers one operation that was not applied.
func (r *raft) refuse(ctx actor.Context, to *actor.PID, request uint64, reason messages.Reason) {
	r.release(ctx, []Waiter{{to, request}}, messages.Outcome_NOT_APPLIED, reason)
}

// forward passes an operation to the Gateway, which knows or finds the leader. One
// whose asker lives on another node was forwarded before: it goes back, so that
// two nodes which each believe in the other cannot play ball with it.
func (r *raft) forward(ctx actor.Context, message any, request uint64, sender *actor.PID) {
	if sender != nil && sender.Address != ctx.Self().Address {
		r.refuse(ctx, sender, request, messages.Reason_NOT_LEADER)
		return
	}
	ctx.RequestWithCustomSender(r.links.Gateway, message, sender)
}

// onClient handles operations in every role but the leader's.
func (r *raft) onClient(ctx actor.Context, message any, sender *actor.PID) {
	switch m := message.(type) {
	case *messages.Propose:
		r.forward(ctx, m, m.Request, sender)
	case *messages.Query:
		if forMember(m.Consistency) && !r.opts.Witness {
			r.onMemberQuery(ctx, m, sender)
			return
		}
		r.forward(ctx, m, m.Request, sender)
	default:
		r.forward(ctx, m, requestOf(m), sender)
	}
}

// giveQueries hands queries to the Applier and counts them until it has answered: a
// slow machine costs bounded memory.
func (r *raft) giveQueries(ctx actor.Context, queries []PendingQuery) { r.giveRound(ctx, 0, queries) }

func (r *raft) giveRound(ctx actor.Context, round core.Round, queries []PendingQuery) {
	r.asked += len(queries)
	ctx.Send(r.applier, &AnswerQueries{Queries: queries, Round: round})
}
