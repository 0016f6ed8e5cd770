package actors

import (
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/messages"
)

// follower stores what a leader sends and answers when it is durable. A learner is
// a follower that never stands for election.
type follower struct {
	*raft
	acks []ack
}

// ack is an append that was accepted and waits for its entries to be durable.
type ack struct {
	to      *actor.PID
	session uint64
	match   core.Index
}

// becomeFollower enters a term, or gives up candidacy or leadership in this one.
func (r *raft) becomeFollower(ctx actor.Context, term core.Term, leaderID core.NodeID) {
	was := r.role
	was.exit(ctx)
	r.role = &follower{raft: r}
	if term > r.term {
		r.setHardState(ctx, term, "")
	}
	r.setLeader(ctx, leaderID)
	r.armElection(ctx)
	if _, follows := was.(*follower); !follows {
		r.logger.Info("role changed", "role", "follower", "was", was.name(), "term", r.term, "index", r.tail.last().Index)
	}
}

func (f *follower) name() string           { return "follower" }
func (f *follower) exit(ctx actor.Context) { f.endSleep(ctx) }

func (f *follower) receive(ctx actor.Context, message any, sender *actor.PID) {
	switch m := message.(type) {
	case *messages.AppendEntries:
		f.onAppendEntries(ctx, m, sender)
	case *messages.Heartbeat:
		f.onHeartbeat(ctx, m, sender)
	case *messages.OfferSnapshot:
		f.onOfferSnapshot(ctx, m, sender)
	case *messages.MemoryRestored:
		f.onMemoryRestored(ctx, m)
	case *messages.TimeoutNow:
		f.onTimeoutNow(ctx)
	case *messages.StateDiverged:
		f.onStateDiverged(ctx, m)
	case *messages.ElectionTimeout:
		f.onElectionTimeout(ctx, m)
	case *messages.Propose, *messages.Query, *messages.ChangeMembers, *messages.AbortChange, *messages.ListMembers:
		f.onClient(ctx, m, sender)
	case *ReturnedOperation:
		f.onClient(ctx, m.Message, m.Asker)
	case *messages.TransferLeadership:
		f.refuseTransfer(ctx, sender)
	default:
		f.ignore(message, followerIgnores)
	}
}

// followerIgnores: answers to what an earlier role asked, and its timers.
var followerIgnores = ignored(
	&messages.PreVoteGranted{}, &messages.PreVoteRejected{},
	&messages.VoteGranted{}, &messages.VoteRejected{},
	&messages.HeartbeatAcked{}, &messages.HeartbeatTimeout{}, &messages.ConfirmReadIndex{},
	&messages.PeerAdvanced{}, &messages.ProgressReported{}, &FetchEntries{}, &GatewayCaughtUp{}, &GroupLoaded{}, &SnapshotFound{}, &MemberAdmitted{}, &MemberRefused{},
)

// onAppendEntries stores what is new of an append; the answer leaves when it is
// durable (paper figure 2, AppendEntries).
func (f *follower) onAppendEntries(ctx actor.Context, m *messages.AppendEntries, sender *actor.PID) {
	prev := core.Position{Index: core.Index(m.PrevIndex), Term: core.Term(m.PrevTerm)}
	a := core.Append{Prev: prev, Last: prev.Index}
	var block messages.Block
	if len(m.Block) > 0 {
		var err error
		if block, err = f.openBlock(m); err != nil {
			f.logger.Error("append refused", "leader", m.Leader, "error", err)
			return
		}
		a.Term, a.Last = core.Term(block.Term), core.Index(block.LastIndex())
	}
	match := core.MatchAppend(&f.tail.shape, f.commit, a)
	if !match.Accepted {
		f.answer(ctx, sender, &messages.AppendRejected{
			Group: m.Group, Term: uint64(f.term), From: string(f.opts.Node), Session: m.Session, PrevIndex: m.PrevIndex,
			HintIndex: uint64(match.Hint.Index), HintTerm: uint64(match.Hint.Term), LastIndex: uint64(f.tail.last().Index),
		})
		return
	}
	if err := f.store(ctx, block, match); err != nil {
		f.fail(ctx, err.Error())
		return
	}
	f.commitTo(core.FollowerCommit(f.commit, core.Index(m.Commit), match.MatchIndex))
	f.owe(ack{sender, m.Session, match.MatchIndex})
}

// owe notes an answer to give. A Replicator takes one answer to a match, and none to a
// session before its last: while the disk takes nothing it begins many.
func (f *follower) owe(a ack) {
	if n := len(f.acks); n > 0 {
		last := &f.acks[n-1]
		switch same := last.to.Equal(a.to); {
		case same && last.session > a.session, same && last.session == a.session && last.match == a.match:
			return
		case !same || last.session < a.session:
			f.acks = f.acks[:0]
		}
	}
	f.acks = append(f.acks, a)
}

func (f *follower) openBlock(m *messages.AppendEntries) (messages.Block, error) {
	b, err := messages.OpenBlock(m.Block)
	switch {
	case err != nil:
		return b, err
	case b.Group != f.opts.Group || b.Incarnation != f.incarnation:
		return b, fmt.Errorf("block of group %d incarnation %d, expected %d and %d", b.Group, b.Incarnation, f.opts.Group, f.incarnation)
	case b.FirstIndex != m.PrevIndex+1 || b.PrevTerm != m.PrevTerm || b.Term > m.Term:
		return b, fmt.Errorf("block at %d of term %d does not follow %d@%d in an append of term %d", b.FirstIndex, b.Term, m.PrevIndex, m.PrevTerm, m.Term)
	}
	return b, nil
}

func (f *follower) store(ctx actor.Context, block messages.Block, match core.Match) error {
	if match.TruncateFrom != 0 {
		if err := f.truncateFrom(ctx, match.TruncateFrom); err != nil {
			return err
		}
	}
	if match.AppendFrom == 0 {
		return nil
	}
	block, err := block.Suffix(uint64(match.AppendFrom))
	if err != nil {
		return err
	}
	if err := f.appendBlock(ctx, CommittedBlock{Block: block}); err != nil {
		return err
	}
	f.persist(ctx, block, match.TruncateFrom)
	return nil
}

// onHeartbeat: the leader vouches for a commit index that this member holds.
func (f *follower) onHeartbeat(ctx actor.Context, m *messages.Heartbeat, sender *actor.PID) {
	if !f.memory.recovering { // else the leader may still believe what it once held
		f.commitTo(core.FollowerCommit(f.commit, core.Index(m.Commit), f.tail.last().Index))
	}
	f.spare = max(f.spare, min(core.Index(m.Spare), f.commit))
	f.greetStranger(ctx, core.NodeID(m.Leader), sender)
	ack := &messages.HeartbeatAcked{
		Group: m.Group, Term: uint64(f.term), From: string(f.opts.Node), Round: m.Round,
		Checkpoint: f.states.report(), Recovering: f.recovers(), DiskFull: f.diskFull, Prompt: m.Prompt,
	}
	if m.Sleep != 0 && f.fallAsleep(ctx, m, sender) {
		ack.Asleep = m.Sleep
	}
	f.answer(ctx, sender, ack)
}

// endTurn answers the appends whose entries are durable, for each session only
// with the furthest: it vouches for those before it.
func (f *follower) endTurn(ctx actor.Context) {
	n := 0
	for n < len(f.acks) && f.acks[n].match <= f.tail.durable {
		n++
	}
	for i, a := range f.acks[:n] {
		if i+1 < n && f.acks[i+1].session == a.session && f.acks[i+1].match >= a.match && f.acks[i+1].to.Equal(a.to) {
			continue
		}
		f.answer(ctx, a.to, &messages.AppendAccepted{
			Group: f.opts.Group, Term: uint64(f.term), From: string(f.opts.Node),
			Session: a.session, MatchIndex: uint64(a.match), Recovering: f.recovers(),
		})
	}
	f.acks = f.acks[:copy(f.acks, f.acks[n:])]
	f.turnMemberReads(ctx)
}

// onTimeoutNow: the leader hands over. No pre-vote: it is the leader's own wish. A witness
// hands over to one that is not to lead where there is no other.
func (f *follower) onTimeoutNow(ctx actor.Context) {
	if f.mayLead() || f.config().Witness(f.leader) && f.mayStand() && !f.opts.Witness {
		f.logger.Info("standing for election by order of the leader", "term", f.term)
		f.becomeCandidate(ctx, true)
	}
}

func (f *follower) onElectionTimeout(ctx actor.Context, m *messages.ElectionTimeout) {
	if m.Generation != f.election.generation {
		return
	}
	f.expireQueries(ctx)
	if f.leader != "" {
		// A leader was heard since the timer was set; look again when its time is up.
		if wait := f.heardAt + f.electionWait() - f.now; f.now-f.heardAt < f.opts.ElectionTimeout {
			f.setElection(ctx, wait)
			return
		}
	}
	f.refuseReads(ctx, messages.Reason_NO_LEADER)
	if !f.mayStand() {
		f.armElection(ctx)
		return
	}
	if int(f.skipped) < f.config().Precedence(f.opts.Node) {
		f.skipped++
		f.armElection(ctx)
		return
	}
	f.becomePreCandidate(ctx)
}

// mayLead: one that is not to lead stands only when nobody else has managed to.
func (r *raft) mayLead() bool {
	own, _ := r.config().Member(r.opts.Node)
	return r.mayStand() && own.Priority >= 0 && !r.opts.Witness
}

// onStandForElection has the member stand before its time. A leader that is heard is
// not to be disturbed: it may rest on this member's promise to elect nobody else.
func (r *raft) onStandForElection(ctx actor.Context, sender *actor.PID) {
	var reason string
	switch role := r.role.(type) {
	case standstill:
		reason = "the member is " + r.role.name()
	case *leader:
		reason = "it leads already"
	case *preCandidate, *candidate: // it does
	case *follower:
		switch {
		case r.memory.recovering:
			reason = "it has lost memory: " + r.memory.cause
		case !r.mayLead():
			reason = "it is no voter that may lead"
		case r.hearsLeader():
			reason = "a leader was heard within the election timeout, or may have been before a restart; transfer its leadership instead"
		default:
			role.becomePreCandidate(ctx)
		}
	}
	switch {
	case sender == nil:
	case reason != "":
		ctx.Send(sender, &messages.ElectionRefused{Group: r.opts.Group, Reason: reason})
	default:
		ctx.Send(sender, &messages.ElectionStarted{Group: r.opts.Group, Term: uint64(r.term) + 1})
	}
}

// electionWait is drawn anew each time, so that members do not stand together.
func (r *raft) electionWait() time.Duration {
	return r.opts.ElectionTimeout + time.Duration(r.rand.Int64N(int64(r.opts.ElectionTimeout)))
}

func (r *raft) armElection(ctx actor.Context) { r.setElection(ctx, r.electionWait()) }

func (r *raft) setElection(ctx actor.Context, wait time.Duration) {
	r.election.set(ctx, r.rt.Clock, max(wait, time.Millisecond), func(generation uint64) any {
		return &messages.ElectionTimeout{Generation: generation}
	})
}

// setLeader notes whom to follow and tells those who want to know.
func (r *raft) setLeader(ctx actor.Context, id core.NodeID) {
	if id == r.leader && (id == "" || r.term == r.leaderTerm) {
		return
	}
	r.leader, r.leaderTerm = id, r.term // one may lead again in a later term
	r.reaskReads()
	if id != "" {
		r.skipped = 0
		r.handedTo(ctx, id)
	}
	r.announceLeader(ctx, id)
	if id != r.opts.Node {
		ctx.Send(r.applier, &LeaderFollowed{Term: r.term, Leader: id})
		if id != "" {
			r.logger.Info("following", "role", r.role.name(), "leader", id, "term", r.term, "index", r.tail.last().Index)
		}
	}
}

func (r *raft) announceLeader(ctx actor.Context, id core.NodeID) {
	r.leaderAt = r.leaderAddress(ctx, id)
	changed := r.leaderChanged(id)
	ctx.Request(r.links.Gateway, changed) // before anything that is forwarded there
	ctx.Send(r.links.Node, changed)
}

func (r *raft) leaderChanged(id core.NodeID) *LeaderChanged {
	if r.config().Witness(id) || id == r.opts.Node && r.opts.Witness { // it may be removed by now
		return &LeaderChanged{Group: r.opts.Group, Term: r.term} // clients wait for its successor
	}
	return &LeaderChanged{Group: r.opts.Group, Term: r.term, Leader: id, Address: r.leaderAt}
}

func (r *raft) refuseTransfer(ctx actor.Context, sender *actor.PID) {
	r.keepLeadership(ctx, sender, "not the leader")
}
