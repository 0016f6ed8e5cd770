package actors

import (
	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/messages"
)

// readQueue holds queries on their way through ReadIndex (thesis §6.4): waiting for
// a round, or in the round under way. There is one round at a time; what comes
// meanwhile shares the next.
type readQueue struct {
	rounds  *core.Reads
	waiting []PendingQuery
	inRound []PendingQuery
	round   core.Round // of inRound
}

// onQuery takes a query. Its index is settled when its round begins, except for one
// that must see the commands sent before it: those have just been given, or will be
// given, the indexes up to the end of the queue.
func (l *leader) onQuery(ctx actor.Context, m *messages.Query, sender *actor.PID) {
	w := Waiter{sender, m.Request}
	switch {
	case m.Consistency == messages.Consistency_STALE:
		l.answerStale(ctx, m, sender)
	case !l.meant(m.LeaderTerm):
		l.refuse(ctx, sender, m.Request, messages.Reason_NOT_LEADER)
	case m.Consistency == messages.Consistency_THROUGH_LOG:
		l.enqueue(ctx, proposal{Waiter: w, kind: messages.EntryKind_QUERY, data: m.Query})
	case len(l.reads.waiting)+len(l.reads.inRound)+l.asked >= l.opts.Limits.PendingReads:
		l.refuse(ctx, sender, m.Request, messages.Reason_BUSY)
	default:
		q := PendingQuery{Waiter: w, Query: m.Query}
		if m.AfterWrites {
			q.Index = l.tail.last().Index + core.Index(len(l.queue.items))
		}
		l.reads.waiting = append(l.reads.waiting, q)
	}
}

// turnReads answers the round that is confirmed and begins the next. Until an entry
// of its own term is committed a leader does not know what is, and begins none.
func (l *leader) turnReads(ctx actor.Context) {
	r := &l.reads
	l.answerRound(ctx)
	if len(r.inRound) > 0 || len(r.waiting) == 0 || !l.tally.Settled() {
		return
	}
	for i := range r.waiting {
		r.waiting[i].Index = max(r.waiting[i].Index, l.commit)
	}
	r.inRound, r.waiting = r.waiting, nil
	r.round = r.rounds.Begin()
	l.beat(ctx)
	l.answerRound(ctx) // a leader that is its own quorum has confirmed itself
}

func (l *leader) answerRound(ctx actor.Context) {
	r := &l.reads
	if len(r.inRound) > 0 && r.rounds.Confirmed() >= r.round {
		l.giveQueries(ctx, r.inRound)
		r.inRound = nil
	}
}

// handBackReads gives queries that were not answered to the Gateway. They follow
// the commands handed back before them, as they did here.
func (l *leader) handBackReads(ctx actor.Context) {
	for _, queries := range [][]PendingQuery{l.reads.inRound, l.reads.waiting} {
		for _, q := range queries {
			l.handBack(ctx, &messages.Query{
				Group: l.opts.Group, Request: q.Request, Query: q.Query, AfterWrites: true,
			}, q.Waiter)
		}
	}
	l.reads.inRound, l.reads.waiting = nil, nil
}
