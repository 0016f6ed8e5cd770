package actors

import (
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/messages"
)

// memberReads holds queries that this member answers itself, though it may not lead:
// waiting for a question to the leader, or for the answer to the one under way. There
// is one question at a time; what comes meanwhile shares the next.
type memberReads struct {
	waiting []PendingQuery
	asked   []PendingQuery
	request uint64        // numbers the questions, from where no other life of this member's does
	askedAt time.Duration // by the clock that goes on while the machine sleeps
	sentAt  time.Duration // last

	// What the leader has said last: at freshAt, by the same clock, or later, freshIndex
	// was all that was committed.
	freshAt    time.Duration
	freshIndex core.Index
	freshKnown bool
}

// onMemberQuery takes a query for this very member, in every role but the leader's.
func (r *raft) onMemberQuery(ctx actor.Context, m *messages.Query, sender *actor.PID) {
	q := r.pendingQuery(m, sender)
	reads := &r.ownReads
	switch {
	case len(reads.waiting)+len(reads.asked)+r.asked >= r.opts.Limits.PendingReads:
		r.refuse(ctx, sender, m.Request, messages.Reason_BUSY)
	case m.Consistency == messages.Consistency_STALE, m.Consistency == messages.Consistency_AT_LEAST:
		r.giveQueries(ctx, []PendingQuery{q})
	case m.Consistency == messages.Consistency_WITHIN && reads.freshKnown && r.rt.Clock.Elapsed()-reads.freshAt <= time.Duration(m.MaxAge):
		q.Index = max(q.Index, reads.freshIndex)
		r.giveQueries(ctx, []PendingQuery{q})
	default:
		reads.waiting = append(reads.waiting, q)
	}
}

// pendingQuery is a query as the Applier will get it. It does not wait for ever.
func (r *raft) pendingQuery(m *messages.Query, sender *actor.PID) PendingQuery {
	q := PendingQuery{Waiter: Waiter{sender, m.Request}, Query: m.Query, Deadline: r.now + r.opts.ReadTimeout}
	if m.Consistency == messages.Consistency_AT_LEAST {
		q.Index = core.Index(m.MinIndex)
	}
	return q
}

// forMember says whether a query is to be answered by the member asked, or by the
// leader.
func forMember(c messages.Consistency) bool {
	switch c {
	case messages.Consistency_STALE, messages.Consistency_MEMBER, messages.Consistency_AT_LEAST, messages.Consistency_WITHIN:
		return true
	}
	return false
}

// turnMemberReads asks the leader for all that wait. A question or its answer may be
// lost: half an election timeout later the same one is sent again. An answer to either
// will do, however late it comes.
func (r *raft) turnMemberReads(ctx actor.Context) {
	reads := &r.ownReads
	switch {
	case r.leader == "":
		return
	case len(reads.asked) > 0:
		if r.now-reads.sentAt < r.opts.ElectionTimeout/2 {
			return
		}
	case len(reads.waiting) > 0:
		reads.asked, reads.waiting = reads.waiting, nil
		reads.request++
		reads.askedAt = r.rt.Clock.Elapsed()
	default:
		return
	}
	reads.sentAt = r.now
	r.ask(ctx, r.peers.get(r.leader), &messages.ConfirmReadIndex{
		Group: r.opts.Group, Term: uint64(r.term), From: string(r.opts.Node), Request: reads.request,
	})
}

// reaskReads forgets the question under way: another leader is asked another one.
func (r *raft) reaskReads() {
	r.ownReads.waiting = append(r.ownReads.asked, r.ownReads.waiting...)
	r.ownReads.asked = nil
}

// onReadIndexConfirmed: what the leader had committed when it was asked, or after,
// is what the queries must see.
func (r *raft) onReadIndexConfirmed(ctx actor.Context, m *messages.ReadIndexConfirmed) {
	reads := &r.ownReads
	if core.Term(m.Term) != r.term || m.Request != reads.request || len(reads.asked) == 0 {
		return
	}
	for i := range reads.asked {
		reads.asked[i].Index = max(reads.asked[i].Index, core.Index(m.Index))
	}
	reads.freshAt, reads.freshIndex, reads.freshKnown = reads.askedAt, core.Index(m.Index), true
	r.giveQueries(ctx, reads.asked)
	reads.asked = nil
}

// onLeaseRanOut takes back queries whose lease ended before they were answered.
func (r *raft) onLeaseRanOut(ctx actor.Context, m *LeaseRanOut) {
	for _, q := range m.Queries {
		if l, ok := r.role.(*leader); ok {
			l.reads.waiting = append(l.reads.waiting, q)
			continue
		}
		r.forward(ctx, &messages.Query{
			Group: r.opts.Group, Request: q.Request, Query: q.Query, AfterWrites: true,
		}, q.Request, q.To)
	}
}

// refuseReads answers everything that waits for a leader.
func (r *raft) refuseReads(ctx actor.Context, reason messages.Reason) {
	r.reaskReads()
	var waiters []Waiter
	for _, q := range r.ownReads.waiting {
		waiters = append(waiters, q.Waiter)
	}
	r.ownReads.waiting = nil
	r.release(ctx, waiters, messages.Outcome_NOT_APPLIED, reason)
}

// expireQueries answers what has waited too long: for the leader's word, for a round where
// this member leads itself, or, which is for the Applier to look at, for its index.
func (r *raft) expireQueries(ctx actor.Context) {
	var out replies
	r.expireWaiting(&out, &r.ownReads.waiting)
	r.expireWaiting(&out, &r.ownReads.asked)
	if l, leads := r.role.(*leader); leads {
		r.expireWaiting(&out, &l.reads.waiting)
		r.expireWaiting(&out, &l.reads.inRound)
		if !l.reads.underWay() {
			l.discountRound()
		}
	}
	out.send(ctx)
	if r.asked > 0 {
		ctx.Send(r.applier, &ExpireQueries{Now: r.now})
	}
}

// expireWaiting leaves out those whose time is up. There are never more than
// Limits.PendingReads.
func (r *raft) expireWaiting(out *replies, queries *[]PendingQuery) {
	*queries = slices.DeleteFunc(*queries, func(q PendingQuery) bool {
		late := q.Deadline < r.now
		if late {
			out.add(q.Waiter, messages.ResultItem{
				Outcome: messages.Outcome_NOT_APPLIED, Reason: messages.Reason_TIMED_OUT, Index: uint64(r.applied),
			})
		}
		return late
	})
}
