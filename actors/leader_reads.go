package actors

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/messages"
)

// readQueue holds queries on their way through ReadIndex (thesis §6.4): waiting for
// a round, or in the round under way. There is one round at a time; what comes
// meanwhile shares the next. Those in leased need no round while the lease holds.
//
// A round may wait until the queries of the one before are answered, as a block may for
// the one before (see core.Gather): their askers' next are then in it. It costs a query no
// more than a round, or than the machine takes for those before. One that another member
// asks for does not wait.
type readQueue struct {
	rounds  *core.Reads
	waiting []PendingQuery
	inRound []PendingQuery
	round   core.Round // of inRound and asking
	index   core.Index // what was committed when it began
	begun   time.Duration
	counted bool // in Links.Rounds
	leased  []PendingQuery
	members []readAsker // members that want the index of the next round
	asking  []readAsker // and of the one under way
	lease   lease

	gather core.Gather // of rounds whose queries were given to the Applier
	// The last whose queries the Applier has answered. One of an earlier leadership has a
	// round begin too soon to gather, and no more.
	answered core.Round
}

// waitingRoom is for how many queries room is made before they come.
const waitingRoom = 1024

// readAsker is another member with queries of its own.
type readAsker struct {
	to      *actor.PID
	request uint64
}

// onQuery takes a query. Its index is settled when its round begins, except for one
// that must see the commands sent before it: those have just been given, or will be
// given, the indexes up to the end of the queue.
func (l *leader) onQuery(ctx actor.Context, m *messages.Query, sender *actor.PID) {
	r := &l.reads
	switch {
	case m.Consistency == messages.Consistency_STALE:
		l.onMemberQuery(ctx, m, sender)
	case !forMember(m.Consistency) && !l.meant(m.LeaderTerm):
		l.refuse(ctx, sender, m.Request, messages.Reason_NOT_LEADER)
	case m.Consistency == messages.Consistency_THROUGH_LOG:
		l.enqueue(ctx, proposal{Waiter: Waiter{sender, m.Request}, kind: messages.EntryKind_QUERY, data: m.Query})
	case len(r.waiting)+len(r.inRound)+len(r.leased)+l.asked >= l.opts.Limits.PendingReads:
		l.refuse(ctx, sender, m.Request, messages.Reason_BUSY)
	case m.Consistency == messages.Consistency_AT_LEAST:
		l.giveQueries(ctx, []PendingQuery{l.pendingQuery(m, sender)})
	default:
		q := l.pendingQuery(m, sender)
		if m.AfterWrites {
			q.Index = l.tail.last().Index + core.Index(len(l.queue.items))
		}
		if m.Consistency == messages.Consistency_LEASE {
			r.leased = append(r.leased, q)
		} else {
			r.waiting = append(r.waiting, q)
		}
	}
}

// onConfirmReadIndex: a member asks for the index of its own reads. Of one member
// only the latest question counts.
func (l *leader) onConfirmReadIndex(m *messages.ConfirmReadIndex, sender *actor.PID) {
	if sender == nil {
		return
	}
	for i := range l.reads.members {
		if a := &l.reads.members[i]; a.to.Equal(sender) {
			a.request = max(a.request, m.Request)
			return
		}
	}
	l.reads.members = append(l.reads.members, readAsker{sender, m.Request})
}

// turnReads answers the round that is confirmed and begins the next. Until an entry
// of its own term is committed a leader does not know what is, and begins none.
func (l *leader) turnReads(ctx actor.Context) {
	r := &l.reads
	l.answerRound(ctx)
	l.giveLeased(ctx)
	gathered := r.gather.MayClose(core.Index(r.answered), int64(l.now))
	gathered = gathered || len(r.members) > 0 // their queries wait for machines elsewhere
	if r.underWay() || !gathered || len(r.waiting)+len(r.members) == 0 || !l.tally.Settled() {
		return
	}
	for i := range r.waiting {
		r.waiting[i].Index = max(r.waiting[i].Index, l.commit)
	}
	r.inRound, r.waiting = r.waiting, make([]PendingQuery, 0, min(len(r.waiting), waitingRoom)) // as many come again, as a rule
	r.asking, r.members = r.members, nil
	r.round = l.beginRound()
	r.index = l.commit
	r.begun = l.now
	l.sendBeats(ctx, l.countRound())
	l.answerRound(ctx) // a leader that is its own quorum has confirmed itself
}

func (r *readQueue) underWay() bool { return len(r.inRound)+len(r.asking) > 0 }

func (l *leader) answerRound(ctx actor.Context) {
	r := &l.reads
	if !r.underWay() || r.rounds.Confirmed() < r.round {
		return
	}
	if len(r.inRound) > 0 {
		r.gather.Began(core.Index(r.round), int64(r.begun))
		r.gather.Persisted(core.Index(r.round), int64(l.now))
		l.giveRound(ctx, r.round, r.inRound)
	}
	for _, a := range r.asking {
		l.answer(ctx, a.to, &messages.ReadIndexConfirmed{
			Group: l.opts.Group, Term: uint64(l.term), Request: a.request, Index: uint64(r.index),
		})
	}
	r.inRound, r.asking = nil, nil
	l.discountRound()
}

// countRound notes that a round is under way, and says whether it is the only one of the
// node: then its heartbeats go by themselves. The way by the Pulse is longer, and worth it
// for those that share a message.
func (l *leader) countRound() (alone bool) {
	if l.links.Rounds == nil {
		return false
	}
	l.reads.counted = true
	return l.links.Rounds.Add(1) == 1
}

func (l *leader) discountRound() {
	if l.reads.counted {
		l.reads.counted = false
		l.links.Rounds.Add(-1)
	}
}

// giveLeased answers queries by the lease, where it holds, and else has them wait for
// a round. The Applier looks again when it has read the state.
func (l *leader) giveLeased(ctx actor.Context) {
	r := &l.reads
	if len(r.leased) == 0 {
		return
	}
	until := l.leaseUntil()
	if !l.tally.Settled() || l.rt.Clock.Elapsed() >= until {
		r.waiting = append(r.waiting, r.leased...)
	} else {
		for i := range r.leased {
			q := &r.leased[i]
			q.Index, q.LeaseUntil = max(q.Index, l.commit), until
		}
		l.raft.leased += len(r.leased)
		l.giveQueries(ctx, r.leased)
	}
	r.leased = nil
}

// lease is what the answers to heartbeats are worth by the clock (thesis §6.4.1): who
// has answered one votes for nobody else until an election timeout has passed. It
// counts from when the heartbeat was sent, not from its answer.
type lease struct {
	sent []sentRound // rounds that are not confirmed, in order
	from time.Duration
	held bool // a round was confirmed
	// given: somebody was told to stand. Voters need not wait then, now or later in
	// this term.
	given bool
}

type sentRound struct {
	round core.Round
	at    time.Duration
}

// beginRound opens a round of heartbeats, for those that read and for the lease.
func (l *leader) beginRound() core.Round {
	round := l.reads.rounds.Begin()
	if l.opts.ClockDrift > 0 {
		l.confirmLease() // also where nobody asks for it: else the rounds pile up
		l.reads.lease.sent = append(l.reads.lease.sent, sentRound{round, l.rt.Clock.Elapsed()})
	}
	return round
}

// confirmLease counts the lease from the latest round that is confirmed.
func (l *leader) confirmLease() {
	r := &l.reads
	confirmed := r.rounds.Confirmed()
	for len(r.lease.sent) > 0 && r.lease.sent[0].round <= confirmed {
		r.lease.from, r.lease.held = r.lease.sent[0].at, true
		r.lease.sent = r.lease.sent[1:]
	}
}

// leaseUntil is when the lease ends, by this member's clock. Where clocks differ in
// rate by up to d each way, an election timeout of the fastest voter is as long as
// (1-d)/(1+d) of one of this member, if it is the slowest.
func (l *leader) leaseUntil() time.Duration {
	l.confirmLease()
	r := &l.reads
	if d := l.opts.ClockDrift; r.lease.held && !r.lease.given && l.transfer == nil && d > 0 {
		return r.lease.from + time.Duration(float64(l.opts.ElectionTimeout)*(1-d)/(1+d))
	}
	return 0
}

// handBackReads gives queries that were not answered to the Gateway. They follow
// the commands handed back before them, as they did here. Members that have asked
// will ask again.
func (l *leader) handBackReads(ctx actor.Context) {
	for _, queries := range [][]PendingQuery{l.reads.inRound, l.reads.waiting, l.reads.leased} {
		for _, q := range queries {
			l.handBack(ctx, &messages.Query{
				Group: l.opts.Group, Request: q.Request, Query: q.Query, AfterWrites: true,
			}, q.Waiter)
		}
	}
	l.discountRound()
	l.reads = readQueue{rounds: l.reads.rounds}
}
