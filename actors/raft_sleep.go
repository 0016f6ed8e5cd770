package actors

import (
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/messages"
)

// A group in which nothing has happened for a while sleeps (docs/design/0022). Its leader
// asks with its heartbeats; a follower that has everything, and nothing to do, sleeps at
// once and says so; when all of them do, the leader sleeps too. Then no timer runs and
// nothing is sent for the group. What stands for the leader's heartbeats meanwhile is that
// its node's Pulse is heard, and names the group now and then. Whatever there is to do for
// somebody wakes a member: a leader beats at once, a follower asks its leader to.
//
// A sleeping leader has no lease: it is given up when it falls asleep, and begins with the
// first round after it has woken. What a follower has promised by answering a heartbeat it
// keeps, asleep or not, for it still knows when it heard one last.

// sleeping is a member's part, in every role.
type sleeping struct {
	asleep bool
	// stirredAt is when there was last something to do for somebody.
	stirredAt time.Duration
	// asksAgain is when a leader may be asked again to show itself.
	asksAgain time.Duration
}

// resting is a leader's attempt to have its group sleep.
type resting struct {
	attempts uint64 // numbers them, unique in a term
	attempt  uint64 // under way, 0 for none
	agreed   map[core.NodeID]bool
}

func (r *resting) giveUp() { r.attempt, r.agreed = 0, nil }

// FellAsleep: Raft → Pulse, local. This member sleeps in Term. It relies on node On, whose
// leader it follows, or, where On is empty, leads those at Peers.
type FellAsleep struct {
	PID   *actor.PID
	Term  core.Term
	On    string
	Peers []string
}

// WokeUp: Raft → Pulse, local. This member sleeps no more.
type WokeUp struct {
	PID *actor.PID
}

// Roused: Pulse → Raft, local. What the member relied on in its sleep is not so any more.
// Stale when Term is not the receiver's, or it does not sleep.
type Roused struct {
	Term   core.Term
	Reason string
}

// LeaderAsleep: Pulse → Raft, local. The leader of Term, at the address At, keeps the group
// asleep, this member as well. Stale when the member sleeps, or is of a later term.
type LeaderAsleep struct {
	Term core.Term
	At   string
}

// stir takes notice of a message that is something to do, and wakes who sleeps.
func (r *raft) stir(ctx actor.Context, message any) {
	if !r.stirs(message) {
		return
	}
	r.sleep.stirredAt = r.now
	if l, leads := r.role.(*leader); leads {
		l.rest.giveUp()
	}
	if !r.sleep.asleep {
		return
	}
	r.logger.Debug("waking", "role", r.role.name(), "term", r.term, "for", message)
	r.wake(ctx)
	if f, follows := r.role.(*follower); follows {
		f.heardAt = f.now // as good as: its leader's node was, all the time
		if !fromLeader(message) {
			f.stirLeader(ctx)
		}
	}
}

func (f *follower) stirLeader(ctx actor.Context) {
	f.askToShow(ctx, f.peers.get(f.leader), f.term)
}

// askToShow asks the leader of a term to show itself.
func (r *raft) askToShow(ctx actor.Context, leader *actor.PID, term core.Term) {
	r.sleep.asksAgain = r.now + r.opts.ElectionTimeout
	r.ask(ctx, leader, &messages.Stir{Group: r.opts.Group, Term: uint64(term), From: string(r.opts.Node)})
}

// stirs says whether a message is something to do, or else how a sleeping group may look.
func (r *raft) stirs(message any) bool {
	switch m := message.(type) {
	case *messages.Heartbeat:
		return m.Sleep == 0
	case *messages.Query:
		return m.Consistency != messages.Consistency_STALE
	case *ReturnedOperation:
		return r.stirs(m.Message)
	case *Operations:
		return slices.ContainsFunc(m.Items, r.stirs)
	case *messages.Stir:
		return core.Term(m.Term) == r.term
	case *messages.AppendEntries, *messages.OfferSnapshot, *messages.TimeoutNow, *messages.StateDiverged, *messages.MemoryRestored,
		*messages.RequestPreVote, *messages.RequestVote, *messages.ConfirmReadIndex, *messages.Greet, *messages.LostMemoryShown,
		*messages.MemberRemoved, *messages.Propose, *messages.ChangeMembers, *messages.AbortChange, *messages.ListMembers,
		*messages.TransferLeadership, *messages.StandForElection, *messages.ResetPeers, *LogFull, *LeaseRanOut:
		return true
	}
	return false
}

// fromLeader: it need not be woken.
func fromLeader(message any) bool {
	switch message.(type) {
	case *messages.Heartbeat, *messages.AppendEntries, *messages.OfferSnapshot, *messages.TimeoutNow, *messages.StateDiverged, *messages.MemoryRestored:
		return true
	}
	return false
}

// wake ends the sleep and takes up again what a member does who is awake.
func (r *raft) wake(ctx actor.Context) {
	r.endSleep(ctx)
	switch role := r.role.(type) {
	case *leader:
		role.wakeUp(ctx)
	case *follower:
		r.armElection(ctx)
	}
}

// endSleep does no more than to say so.
func (r *raft) endSleep(ctx actor.Context) {
	if r.sleep.asleep {
		r.sleep.asleep = false
		ctx.Send(r.links.Pulse, &WokeUp{PID: ctx.Self()})
	}
}

// onRoused: nobody answers for the leader any more. Whoever follows it waits for it as if
// it had just fallen silent; when it was heard last stays what it is. It may have been held
// up only, and not know that anybody waits: it is asked to show itself.
func (r *raft) onRoused(ctx actor.Context, m *Roused) {
	if r.sleep.asleep && m.Term == r.term {
		r.logger.Debug("roused", "role", r.role.name(), "term", r.term, "reason", m.Reason)
		r.sleep.stirredAt = r.now
		r.wake(ctx)
		if f, follows := r.role.(*follower); follows {
			f.stirLeader(ctx)
		}
	}
}

// onLeaderAsleep has a leader show itself that does not know that this member is awake. One
// that has lost its disk may have no other way to hear of it: where it looks for the members
// there may be nobody any more.
func (r *raft) onLeaderAsleep(ctx actor.Context, m *LeaderAsleep) {
	switch r.role.(type) {
	case *starting, *follower:
		if !r.sleep.asleep && m.Term >= r.term && r.now >= r.sleep.asksAgain {
			r.askToShow(ctx, peerAt(m.At, ctx.Self()), m.Term)
		}
	}
}

func (r *raft) stand() core.Stand {
	return core.Stand{Last: r.tail.last().Index, Durable: r.tail.durable, Commit: r.commit, Applied: r.applied}
}

// occupied says whether the member is busy with anything that is its own, whatever its
// role: what is on its way to disk, reads, snapshots, its memory, a full disk.
func (r *raft) occupied() bool {
	s := &r.snapshots
	return r.links.Pulse == nil || r.opts.SleepAfter <= 0 || r.failure != "" ||
		r.change != r.durableChange || len(r.held) > 0 || r.asked > 0 || len(r.ownReads.waiting)+len(r.ownReads.asked) > 0 ||
		s.taking || len(s.asked) > 0 || s.installing != nil || r.restoring() ||
		r.memory.recovering || r.memory.greet.stop != nil || r.memory.resetFrom != 0 || r.diskFull || r.handing != nil
}

// fallAsleep follows the leader into its sleep where this follower may, and says whether
// it sleeps.
func (f *follower) fallAsleep(ctx actor.Context, m *messages.Heartbeat, sender *actor.PID) bool {
	switch {
	case sender == nil || f.occupied() || len(f.acks) > 0 || f.isRemoved(),
		f.peers.get(f.leader) == nil || !core.MayFollowAsleep(f.stand(), core.Index(m.Commit)):
		return false
	case !f.sleep.asleep:
		f.sleep.asleep = true
		f.election.cancel()
		f.forgetTail()
		ctx.Send(f.links.Pulse, &FellAsleep{PID: ctx.Self(), Term: f.term, On: sender.Address})
	}
	return true
}

// forgetTail drops what is in memory of the log: it is on disk, and nobody lacks it. All of
// it is committed and applied.
func (r *raft) forgetTail() {
	if r.tail.release(0, r.handed, r.commit); len(r.tail.blocks) == 0 {
		r.tail.blocks = nil
	}
	r.forgetConfigurations(r.applied)
}

// seekRest looks, at each heartbeat, whether the group may sleep, and has it asked.
func (l *leader) seekRest() {
	if l.now-l.sleep.stirredAt < l.opts.SleepAfter || !l.mayRest() {
		l.rest.giveUp()
		return
	}
	if l.rest.attempt == 0 {
		l.rest.attempts++
		l.rest.attempt, l.rest.agreed = l.rest.attempts, map[core.NodeID]bool{}
	}
}

// mayRest says whether there is nothing to do for anybody.
func (l *leader) mayRest() bool {
	c := &l.change
	if l.occupied() || !l.config().MayLead(l.opts.Node) || l.early != nil || len(l.queue.items) > 0 || l.reads.busy() || l.transfer != nil ||
		c.queued || c.leaving || c.asker.To != nil || c.aborter.To != nil || len(c.parting) > 0 || len(l.recoveries) > 0 || l.room.none || !l.tally.Settled() {
		return false
	}
	present := true
	l.eachPeer(func(id core.NodeID, _ *actor.PID) {
		present = present && l.now-l.contact.get(id) < l.opts.ElectionTimeout && !l.room.isFull(id)
	})
	return present && core.MaySleep(l.config(), l.opts.Node, l.stand(), l.tally.Match)
}

func (r *readQueue) busy() bool {
	return len(r.waiting)+len(r.leased)+len(r.members) > 0 || r.underWay()
}

// onAsleep: a peer sleeps as it was asked to in this attempt.
func (l *leader) onAsleep(peer core.NodeID, attempt uint64) {
	if attempt != 0 && attempt == l.rest.attempt {
		l.rest.agreed[peer] = true
	}
}

// turnRest has the leader sleep when everybody else does.
func (l *leader) turnRest(ctx actor.Context) {
	if l.rest.attempt == 0 {
		return
	}
	all := true
	var addresses []string
	l.eachPeer(func(id core.NodeID, pid *actor.PID) {
		all = all && l.rest.agreed[id]
		addresses = append(addresses, pid.Address)
	})
	if !all || !l.mayRest() {
		return
	}
	l.logger.Debug("falling asleep", "role", "leader", "term", l.term, "index", l.commit)
	l.rest.giveUp()
	l.sleep.asleep = true
	l.heartbeat.cancel()
	l.forgetTail()
	l.eachReplicator(func(_ core.NodeID, pid *actor.PID) { ctx.Stop(pid) })
	l.replicators = nil
	l.reads.lease = lease{given: l.reads.lease.given}
	ctx.Send(l.links.Pulse, &FellAsleep{PID: ctx.Self(), Term: l.term, Peers: addresses})
}

// wakeUp takes up the office again: the peers are given an election timeout to answer, as
// at its beginning, and hear at once that they are led.
func (l *leader) wakeUp(ctx actor.Context) {
	l.eachPeer(func(id core.NodeID, _ *actor.PID) {
		l.contact.set(id, l.now)
		l.replicators = append(l.replicators, l.replicate(ctx, id))
	})
	l.beat(ctx)
	l.armHeartbeat(ctx)
}

// wakePeers is the last that a leader says whose office ends in its sleep: its peers wait
// for it no longer than for any other.
func (l *leader) wakePeers(ctx actor.Context) {
	if l.sleep.asleep {
		l.sendBeats(ctx, false)
		l.endSleep(ctx)
	}
}
