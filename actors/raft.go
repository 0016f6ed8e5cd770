package actors

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/messages"
)

// Raft
//
//	owns   one member's term, vote, role, log tail, commit index, configuration
//	hears  its peers, its LogWriter, its Applier, its Replicators, clients
//	says   what its role says: follower.go, precandidate.go, candidate.go, leader.go
//
// The actor becomes its role; it keeps one PID and one owner of what must not be
// forgotten. Nothing touches term, vote, log or commit but through this mailbox.
type raft struct {
	rt     *Runtime
	opts   MemberOptions
	links  *Links
	logger *memberLog
	rand   *rand.Rand
	door   *admission
	now    time.Duration // of this turn

	term        core.Term
	vote        core.NodeID // in term
	machine     core.Index  // what a machine with a disk of its own has said to hold there
	incarnation uint64
	// change counts the changes of term and vote, durableChange those on disk.
	// Until they are equal nothing that rests on them is said: see say.
	change, durableChange uint64
	held                  []heldMessage

	memory   memberMemory
	tail     tail
	configs  []configuration // stored ones in order; the last is active
	spare    core.Index      // a witness may cut its log up to here
	removed  core.Index      // of the committed configuration that is said to have removed this member, 0 for none
	commit   core.Index
	handed   core.Index // given to the Applier
	applied  core.Index
	backlog  backlog
	asked    int // queries given to the Applier and not answered
	leased   int // of asked, by lease
	ownReads memberReads
	handing  *transfer     // away, with nobody known yet to lead
	diskAt   time.Duration // when the own disk last got work while idle, or reported
	diskFull bool          // it keeps what it gets until there is room, but for terms and votes
	inTurn   bool
	skipped  int32 // election timeouts left to members of higher priority

	states     states        // of the machine, for comparison
	leader     core.NodeID   // of term, empty while not known
	leaderTerm core.Term     // the term in which it was heard of
	leaderAt   string        // its address, as announced
	heardAt    time.Duration // when a leader was last heard, whatever the term is by now
	// cautiousUntil: a member that starts again may have answered a heartbeat just
	// before, and so have promised a lease.
	cautiousUntil time.Duration

	snapshots snapshotting
	sleep     sleeping

	role     role
	election timer
	// heartbeat is not the leader's own: a wake-up of one leadership may come in another,
	// and must not bear the generation of that one's.
	heartbeat timer
	applier   *actor.PID
	peers     memberMap[*actor.PID] // Raft actors of the other members
	campaign  uint64                // pre-votes asked for, echoed in the answers
	failure   string
	stranger  core.NodeID // of another history, heard of last
	elsewhere string      // where the configuration has this member, empty where it is right
}

// role is what the member currently is. It is made on entry and dropped on exit,
// with everything that belongs to it alone.
type role interface {
	name() string
	receive(ctx actor.Context, message any, sender *actor.PID)
	endTurn(ctx actor.Context)
	// exit is called once, before another role takes over.
	exit(ctx actor.Context)
}

// heldMessage waits for the hard state of its term to be durable.
type heldMessage struct {
	term    core.Term
	to      *actor.PID
	message any
	ask     bool
}

type configuration struct {
	index core.Index
	core.Configuration
}

// raftYields: giving way once before taking what waits lets clients that the last
// turn woke propose in this one.
const raftYields = 1

// MemberProps describes a group's member on this node, and gives its door: both are for
// one member. Spawn it under the same name on every node: members find each other by it.
func MemberProps(rt *Runtime, links *Links, opts MemberOptions) (*actor.Props, *Door) {
	d := newAdmission(opts.Limits.QueuedProposals, opts.Limits.QueuedBytes)
	return rt.propsBehind(d, raftYields, func() behavior {
		return &raft{
			rt: rt, links: links, opts: opts, rand: rt.Rand(), door: d,
			logger: &memberLog{runtime: rt.Logger, node: string(opts.Node), group: opts.Group},
		}
	}), &Door{d}
}

func (r *raft) started(ctx actor.Context) {
	r.now = r.rt.Clock.Now()
	r.heardAt = r.now - r.opts.ElectionTimeout // nobody was
	r.ownReads.request = r.rand.Uint64() >> 1
	r.role = &starting{raft: r, self: ctx.Self()}
	// The Gateway must know the group before anything is forwarded there.
	ctx.Request(r.links.Gateway, &LeaderChanged{Group: r.opts.Group})
	ctx.Request(r.links.Node, &MemberStarted{Group: r.opts.Group, PID: ctx.Self()})
	r.applier = ctx.Spawn(r.applierProps(ctx.Self()))
	r.startSnapshots(ctx)
}

// receive handles what means the same in every role, makes the one term check, and
// leaves the rest to the role.
func (r *raft) receive(ctx actor.Context, message any, sender *actor.PID) {
	r.beginTurn()
	if r.ofOtherHistory(ctx, message, sender) {
		return
	}
	r.stir(ctx, message)
	switch m := message.(type) {
	case *messages.HardStatePersisted:
		r.onHardStatePersisted(ctx, m)
	case *messages.EntriesPersisted:
		r.onEntriesPersisted(ctx, m)
	case *messages.LogCompacted:
		r.onLogCompacted(ctx, m)
	case *EntriesApplied:
		r.onEntriesApplied(ctx, m)
	case *LeaseRanOut:
		r.onLeaseRanOut(ctx, m)
	case *messages.ReadIndexConfirmed:
		r.onReadIndexConfirmed(ctx, m)
	case *messages.TakeSnapshot:
		r.onTakeSnapshot(ctx, sender)
	case *messages.SnapshotTimeout:
		r.onSnapshotTimeout(ctx, m)
	case *SnapshotSaved:
		r.onSnapshotSaved(ctx, m)
	case *SnapshotFailed:
		r.onSnapshotFailed(ctx, m)
	case *InstallSnapshot:
		r.onInstallSnapshot(ctx, m)
	case *ApplierFailed:
		r.fail(ctx, m.Reason)
	case *messages.StorageFailed:
		r.onStorageFailed(ctx, m)
	case *LogFull:
		r.onLogFull(ctx)
	case *LogHasRoom:
		r.onLogHasRoom(ctx)
	case *messages.DescribeGroup:
		r.onDescribeGroup(ctx, sender)
	case *messages.StandForElection:
		r.onStandForElection(ctx, sender)
	case *messages.ResetPeers:
		r.onResetPeers(ctx, m, sender)
	case *messages.Greet:
		r.onGreet(ctx, m, sender)
	case *messages.Greeted:
		r.onGreeted(ctx, m)
	case *messages.LostMemoryShown:
		r.onLostMemoryShown(ctx, m)
	case *messages.GreetTimeout:
		r.onGreetTimeout(ctx, m)
	case *messages.RequestPreVote:
		r.onRequestPreVote(ctx, m, sender)
	case *messages.RequestVote:
		r.onRequestVote(ctx, m, sender)
	case *messages.MemberRemoved:
		r.onMemberRemoved(ctx, m)
	case *messages.Stir: // see stir
	case *ShareLeadership:
		r.onShareLeadership(ctx, m)
	case *Roused:
		r.onRoused(ctx, m)
	case *LeaderAsleep:
		r.onLeaderAsleep(ctx, m)
	case *Operations:
		r.onOperations(ctx, m, sender)
	case *actor.Terminated:
		r.onTerminated(ctx, m)
	default:
		if r.inTerm(ctx, message, sender) {
			r.role.receive(ctx, message, sender)
		}
	}
}

// beginTurn looks at the clock, once a turn.
func (r *raft) beginTurn() {
	if !r.inTurn {
		r.inTurn = true
		r.now = r.rt.Clock.Now()
	}
}

func (r *raft) endTurn(ctx actor.Context) {
	r.beginTurn()
	r.role.endTurn(ctx)
	r.handOver(ctx)
	r.turnSnapshots(ctx)
	r.restSnapshotter(ctx)
	r.inTurn = false
}

// inTerm is the one place that compares a message's term with the member's. An
// older one is stale, and a leader of an older term is told so; a newer one makes
// this member a follower of that term (paper §5.1).
func (r *raft) inTerm(ctx actor.Context, message any, sender *actor.PID) bool {
	if _, stopped := r.role.(standstill); stopped {
		return true // the role says what little there is to say
	}
	switch m := message.(type) {
	case *messages.AppendEntries:
		if core.Term(m.Term) < r.term {
			r.answer(ctx, sender, &messages.AppendRejected{
				Group: m.Group, Term: uint64(r.term), From: string(r.opts.Node),
				Session: m.Session, PrevIndex: m.PrevIndex,
			})
			return false
		}
		r.follow(ctx, core.Term(m.Term), core.NodeID(m.Leader))
	case *messages.Heartbeat:
		if !r.isMeant(m.To) {
			return false
		}
		if core.Term(m.Term) < r.term {
			r.answer(ctx, sender, &messages.HeartbeatAcked{
				Group: m.Group, Term: uint64(r.term), From: string(r.opts.Node), Recovering: r.recovers(), Prompt: m.Prompt,
			})
			return false
		}
		r.follow(ctx, core.Term(m.Term), core.NodeID(m.Leader))
	case *messages.OfferSnapshot:
		if core.Term(m.Term) < r.term {
			r.answer(ctx, sender, &messages.SnapshotDeclined{
				Group: m.Group, Term: uint64(r.term), From: string(r.opts.Node), Index: m.GetMeta().GetIndex(),
				Reason: "a later term has begun",
			})
			return false
		}
		r.follow(ctx, core.Term(m.Term), core.NodeID(m.Leader))
	case *messages.HeartbeatAcked:
		return r.answerInTerm(ctx, m.Term)
	case *messages.VoteGranted:
		return r.answerInTerm(ctx, m.Term)
	case *messages.VoteRejected:
		return r.answerInTerm(ctx, m.Term)
	case *messages.PreVoteRejected:
		// The term is the voter's own: often below the one asked for, never stale.
		r.stepDownFor(ctx, core.Term(m.Term))
	case *messages.HigherTermSeen:
		r.stepDownFor(ctx, core.Term(m.Term))
		return false
	case *messages.PeerAdvanced:
		return core.Term(m.Term) == r.term
	case *messages.ProgressReported:
		return core.Term(m.Term) == r.term
	case *FetchEntries:
		return m.Term == r.term
	case *messages.TimeoutNow:
		return core.Term(m.Term) == r.term
	case *messages.ConfirmReadIndex:
		return core.Term(m.Term) == r.term
	case *messages.StateDiverged:
		return core.Term(m.Term) == r.term
	case *messages.MemoryRestored:
		return core.Term(m.Term) == r.term
	}
	return true
}

func (r *raft) answerInTerm(ctx actor.Context, term uint64) bool {
	r.stepDownFor(ctx, core.Term(term))
	return core.Term(term) == r.term
}

func (r *raft) stepDownFor(ctx actor.Context, term core.Term) {
	if term > r.term {
		r.becomeFollower(ctx, term, "")
	}
}

// follow takes notice of a leader of this term or a later one.
func (r *raft) follow(ctx actor.Context, term core.Term, id core.NodeID) {
	if term == r.term && r.leader != "" && id != r.leader {
		panic(fmt.Sprintf("two leaders in term %d: %s and %s", term, r.leader, id))
	}
	if _, follows := r.role.(*follower); !follows || term > r.term {
		r.becomeFollower(ctx, term, id)
	}
	r.heardAt = r.now
	r.setLeader(ctx, id)
}

// hearsLeader says whether a leader must be protected from a candidate. One that was
// heard and is of an earlier term by now leads on until it hears of the later one, and
// may hold a lease that rests on this member's answer: a term that somebody names in
// passing ends no promise. Only time does, or the leader itself, see HeedVote.
func (r *raft) hearsLeader() bool {
	if _, leads := r.role.(*leader); leads || r.now < r.cautiousUntil {
		return true
	}
	return r.now-r.heardAt < r.opts.ElectionTimeout
}

func (r *raft) voter() core.Voter {
	return core.Voter{Term: r.term, Vote: r.vote, Last: r.tail.last(), HearsLeader: r.hearsLeader(), Recovering: r.memory.recovering}
}

// onRequestPreVote answers in every role and changes nothing (thesis §9.6).
func (r *raft) onRequestPreVote(ctx actor.Context, m *messages.RequestPreVote, sender *actor.PID) {
	if s, ok := r.role.(*starting); ok { // it may know of members that this one does not
		s.greetSender(ctx, sender)
	}
	if _, stopped := r.role.(standstill); stopped || r.tellRemoved(ctx, core.NodeID(m.Candidate), sender) {
		return
	}
	c := core.Candidacy{
		Term: core.Term(m.Term), Candidate: core.NodeID(m.Candidate),
		Last: core.Position{Index: core.Index(m.LastIndex), Term: core.Term(m.LastTerm)},
	}
	if r.voter().GrantPreVote(c) {
		r.answer(ctx, sender, &messages.PreVoteGranted{
			Group: m.Group, Term: m.Term, From: string(r.opts.Node), Campaign: m.Campaign,
		})
		return
	}
	r.answer(ctx, sender, &messages.PreVoteRejected{
		Group: m.Group, Term: uint64(r.term), From: string(r.opts.Node), Campaign: m.Campaign,
	})
}

// onRequestVote answers in every role. The grant leaves only when the vote is
// durable (paper figure 2: respond after updating stable storage).
func (r *raft) onRequestVote(ctx actor.Context, m *messages.RequestVote, sender *actor.PID) {
	if _, stopped := r.role.(standstill); stopped || r.tellRemoved(ctx, core.NodeID(m.Candidate), sender) {
		return
	}
	c := core.Candidacy{
		Term: core.Term(m.Term), Candidate: core.NodeID(m.Candidate), Transfer: m.Transfer,
		Last: core.Position{Index: core.Index(m.LastIndex), Term: core.Term(m.LastTerm)},
	}
	if !r.voter().HeedVote(c) {
		r.logger.Debug("vote not heeded: a leader is heard", "candidate", m.Candidate, "term", m.Term)
		return
	}
	r.stepDownFor(ctx, c.Term)
	if !r.voter().GrantVote(c) {
		r.answer(ctx, sender, &messages.VoteRejected{
			Group: m.Group, Term: uint64(r.term), From: string(r.opts.Node),
		})
		return
	}
	if r.vote == "" {
		r.setHardState(ctx, r.term, c.Candidate)
	}
	r.logger.Debug("vote granted", "candidate", m.Candidate, "term", m.Term)
	r.armElection(ctx) // who grants a vote gives the candidate time to lead
	r.answer(ctx, sender, &messages.VoteGranted{
		Group: m.Group, Term: m.Term, From: string(r.opts.Node),
	})
}

// setHardState changes term or vote and has it made durable.
func (r *raft) setHardState(ctx actor.Context, term core.Term, vote core.NodeID) {
	r.term, r.vote = term, vote
	r.persistState(ctx, nil)
}

// persistState has term and vote made durable, with the note where it is not nil.
func (r *raft) persistState(ctx actor.Context, note []byte) {
	r.change++
	r.persistHardState(ctx, note)
}

func (r *raft) persistHardState(ctx actor.Context, note []byte) {
	ctx.Request(r.links.LogWriter, &PersistHardState{
		Group: r.opts.Group, Incarnation: r.incarnation, Change: r.change,
		State: logstore.HardState{Term: uint64(r.term), Vote: string(r.vote), Machine: uint64(r.machine)}, Note: note,
	})
}

// answer and ask say something to a peer that rests on this member's term and
// vote. It leaves when they are on disk, and not at all if the term has changed by
// then. ask makes this actor the sender.
func (r *raft) answer(ctx actor.Context, to *actor.PID, message any) { r.say(ctx, to, message, false) }
func (r *raft) ask(ctx actor.Context, to *actor.PID, message any)    { r.say(ctx, to, message, true) }

func (r *raft) say(ctx actor.Context, to *actor.PID, message any, ask bool) {
	switch {
	case to == nil: // nobody to tell
	case r.change != r.durableChange:
		r.held = append(r.held, heldMessage{r.term, to, message, ask})
	default:
		r.post(ctx, to, message, ask)
	}
}

func (r *raft) onHardStatePersisted(ctx actor.Context, m *messages.HardStatePersisted) {
	if m.Incarnation != r.incarnation || m.Change != r.change {
		return // a later change is on its way
	}
	r.durableChange = m.Change
	held := r.held
	r.held = nil
	for _, h := range held {
		if h.term == r.term || outlivesTerm(h.message) {
			r.say(ctx, h.to, h.message, h.ask)
		}
	}
	if c, ok := r.role.(*candidate); ok {
		c.onOwnVoteDurable(ctx)
	}
}

// persist gives a block at the log's end to the LogWriter.
func (r *raft) persist(ctx actor.Context, b messages.Block, truncateFrom core.Index) {
	if r.tail.unreported++; r.tail.unreported == 1 {
		r.diskAt = r.now
	}
	ctx.Request(r.links.LogWriter, &PersistEntries{
		Group: r.opts.Group, Incarnation: r.incarnation, Term: r.term,
		Generation: r.tail.generation, ResetFrom: r.memory.resetFrom, TruncateFrom: truncateFrom, Block: b,
	})
	r.memory.resetFrom = 0
}

func (r *raft) onEntriesPersisted(ctx actor.Context, m *messages.EntriesPersisted) {
	if m.Incarnation != r.incarnation || !r.tail.persisted(m.Generation, core.Index(m.LastIndex)) {
		return // a truncation came between; the rewrite has its own report
	}
	r.diskAt = r.now
	switch role := r.role.(type) {
	case *leader:
		role.onDurable(ctx)
	case *starting:
		role.onDurable(ctx)
	}
}

// appendBlock adds a block at the end of the log. A configuration is active from
// here on; it always stands alone in its block.
func (r *raft) appendBlock(ctx actor.Context, b CommittedBlock) error {
	r.tail.append(b)
	if b.Count != 1 {
		return nil
	}
	return b.Entries(func(index uint64, e messages.EntryView) error {
		if e.Kind != messages.EntryKind_CONFIGURATION {
			return nil
		}
		return r.activate(ctx, core.Index(index), e.Data)
	})
}

func (r *raft) activate(ctx actor.Context, index core.Index, data []byte) error {
	c, err := decodeConfiguration(data)
	if err != nil {
		return fmt.Errorf("configuration at %d: %w", index, err)
	}
	if err := r.checkWitness(&c); err != nil {
		return fmt.Errorf("configuration at %d: %w", index, err)
	}
	c.Members = sharedMembers(c.Members, r.config().Members)
	r.configs = append(r.configs, configuration{index, c})
	r.configurationChanged(ctx)
	return nil
}

// truncateFrom removes entries that conflict with the leader's. A configuration
// among them is active no more.
func (r *raft) truncateFrom(ctx actor.Context, i core.Index) error {
	r.logger.Info("log conflicts with the leader's, truncating", "term", r.term, "from", i, "last", r.tail.last().Index)
	waiters, err := r.tail.truncateFrom(i)
	if err != nil {
		return err
	}
	r.release(ctx, waiters, messages.Outcome_UNKNOWN, messages.Reason_LEADERSHIP_LOST)
	for n := len(r.configs); n > 0 && r.configs[n-1].index >= i; n = len(r.configs) {
		r.configs = r.configs[:n-1]
		r.configurationChanged(ctx)
	}
	return nil
}

// commitTo moves the commit index; endTurn hands what is new to the Applier.
func (r *raft) commitTo(commit core.Index) {
	if commit > r.commit {
		r.commit = commit
	}
}

// stopping ends the member with its children. Whoever still waits is told.
func (r *raft) stopping(ctx actor.Context) {
	r.release(ctx, r.tail.takeWaiters(r.handed), messages.Outcome_UNKNOWN, messages.Reason_STOPPED)
	r.refuseReads(ctx, messages.Reason_STOPPED)
	r.endSnapshots(ctx, "the member stops")
	r.role.exit(ctx)
	r.handedTo(ctx, "")
	r.election.cancel()
	r.memory.greet.cancel()
	r.role = &failed{r}
}

// stopped follows the end of the children: only now may another member of the group
// use its files.
func (r *raft) stopped(ctx actor.Context) {
	ctx.Send(r.links.Node, &MemberStopped{Group: r.opts.Group, PID: ctx.Self()})
}
