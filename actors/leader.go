package actors

import (
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/messages"
)

// leader gives entries their place, sends them to its own disk and to its peers at
// the same time, and commits what a quorum has made durable: its disk is one vote
// among equals.
//
// Its parts: leader_early.go keeps the order of what comes in, leader_propose.go takes
// commands, leader_reads.go queries, leader_transfer.go hands over,
// leader_members.go changes the members, leader_room.go minds full disks. Replicators,
// one a peer, are its children.
type leader struct {
	*raft
	tally       *core.Tally
	contact     memberMap[time.Duration] // when each peer last answered
	replicators []replicatorOf
	progress    map[core.NodeID]*messages.ProgressReported
	recoveries  map[core.NodeID]*core.Recovery // of peers that have lost memory
	spawned     int                            // Replicators of this term, for their names

	early       *earlyOperations // nil once the Gateway has caught up
	queue       proposals
	uncommitted backlog
	pace        core.Pace
	gather      core.Gather
	reads       readQueue
	transfer    *transfer
	agreement   *core.Agreement // of the members' machines
	// toldDiverged are the peers that were told that theirs differs, and where.
	toldDiverged map[core.NodeID]core.Index
	change       memberChange
	room         room
	rest         resting
}

type replicatorOf struct {
	peer core.NodeID
	pid  *actor.PID
	to   *actor.PID // the peer's Raft
}

func (r *raft) becomeLeader(ctx actor.Context) {
	was := r.role
	was.exit(ctx)
	r.election.cancel()
	quorum, start := r.config().Quorum(), r.tail.last().Index+1
	l := &leader{
		raft:      r,
		tally:     core.NewTally(quorum, start, r.commit),
		early:     &earlyOperations{},
		progress:  make(map[core.NodeID]*messages.ProgressReported),
		agreement: core.NewAgreement(&r.states.own), toldDiverged: make(map[core.NodeID]core.Index),
		pace:       core.Pace{Bearable: int64(r.opts.Limits.QueueDelay), Patient: r.opts.Limits.PatientProposals},
		recoveries: make(map[core.NodeID]*core.Recovery),
		reads:      readQueue{rounds: core.NewReads(quorum, r.opts.Node)},
	}
	r.role = l
	r.setLeader(ctx, r.opts.Node)
	r.logger.Info("role changed", "role", "leader", "was", was.name(), "term", r.term, "index", r.tail.last().Index)
	ctx.Send(r.applier, &LeadershipBegun{Term: r.term})
	l.uncommitted = l.uncommittedFrom(r.commit)
	l.mindRoom(ctx)
	r.eachPeer(func(id core.NodeID, _ *actor.PID) {
		l.contact.set(id, r.now)
		l.replicators = append(l.replicators, l.replicate(ctx, id))
	})
	l.tally.Advance(r.opts.Node, r.tail.durable)
	l.findChange()
	l.queue.add(proposal{kind: messages.EntryKind_NOOP})
	r.reaskReads()
	l.reads.waiting, r.ownReads.waiting = r.ownReads.waiting, nil
	l.cut(ctx, true)
	l.beat(ctx)
	l.armHeartbeat(ctx)
	r.sleep.stirredAt = r.now
}

func (l *leader) name() string { return "leader" }

func (l *leader) receive(ctx actor.Context, message any, sender *actor.PID) {
	if l.opts.Witness && l.turnAway(ctx, message, sender) {
		return
	}
	switch m := message.(type) {
	case *messages.Propose, *messages.Query:
		l.onDirect(ctx, m, sender)
	case *ReturnedOperation:
		l.take(ctx, m.Message, m.Asker)
	case *GatewayCaughtUp:
		l.onGatewayCaughtUp(ctx, m)
	case *messages.PeerAdvanced:
		l.onPeerAdvanced(ctx, m)
	case *messages.ProgressReported:
		l.progress[core.NodeID(m.Peer)] = m
	case *messages.HeartbeatAcked:
		l.onHeartbeatAcked(ctx, m)
	case *messages.HeartbeatTimeout:
		l.onHeartbeatTimeout(ctx, m)
	case *FetchEntries:
		l.onFetchEntries(ctx, m, sender)
	case *messages.ConfirmReadIndex:
		l.onConfirmReadIndex(m, sender)
	case *messages.TransferLeadership:
		l.onTransferLeadership(ctx, m, sender)
	case *messages.ChangeMembers, *messages.AbortChange, *messages.ListMembers:
		l.onMembers(ctx, m, sender)
	default:
		l.ignore(message, leaderIgnores)
	}
}

// leaderIgnores: votes that came late, timers of earlier roles, and what only a
// second leader of this term could send, which inTerm has caught.
var leaderIgnores = ignored(
	&messages.AppendEntries{}, &messages.Heartbeat{}, &messages.OfferSnapshot{}, &messages.TimeoutNow{}, &messages.MemoryRestored{}, &messages.StateDiverged{},
	&messages.PreVoteGranted{}, &messages.PreVoteRejected{},
	&messages.VoteGranted{}, &messages.VoteRejected{},
	&messages.ElectionTimeout{}, &GroupLoaded{}, &SnapshotFound{}, &MemberAdmitted{}, &MemberRefused{},
)

// endTurn acts on the sum of the turn: one block for all that was proposed, one
// round of heartbeats for all that was asked.
func (l *leader) endTurn(ctx actor.Context) {
	if l.turnMembers(ctx); l.raft.role != l {
		return // it has left the group
	}
	if l.transfer == nil && !l.change.leaving { // the log must not grow while a successor catches up with it
		l.cut(ctx, false)
	}
	l.turnReads(ctx)
	l.turnTransfer(ctx)
	l.turnRest(ctx)
	l.mindDoor()
}

// exit ends what depends on this leadership. What never entered the log goes back to
// the Gateway, to be asked again elsewhere; what did may yet be applied.
func (l *leader) exit(ctx actor.Context) {
	l.heartbeat.cancel()
	l.door.open(unlimited, unlimited)
	l.wakePeers(ctx)
	l.eachReplicator(func(_ core.NodeID, pid *actor.PID) { ctx.Stop(pid) })
	l.raft.leader = ""
	l.announceLeader(ctx, "")
	l.release(ctx, l.tail.takeWaiters(l.handed), messages.Outcome_UNKNOWN, messages.Reason_LEADERSHIP_LOST)
	l.handBackProposals(ctx)
	l.handBackReads(ctx)
	l.handBackEarly(ctx)
	l.endChange(ctx)
	ctx.Send(l.applier, &LeadershipEnded{Term: l.term})
	l.endTransfer(ctx)
	if l.snapshots.pid != nil {
		ctx.Send(l.snapshots.pid, &LeadershipEnded{Term: l.term})
	}
}

// replicate starts a Replicator for a peer, from what the tally knows of it.
func (l *leader) replicate(ctx actor.Context, peer core.NodeID) replicatorOf {
	last := l.tail.last()
	next := last.Index + 1
	if match := l.tally.Match(peer); match > 0 {
		next = match + 1
	}
	prevTerm, known := l.tail.shape.TermAt(next - 1)
	l.spawned++
	name := fmt.Sprintf("%s-%d-%d", peer, l.term, l.spawned)
	pid, err := ctx.SpawnNamed(l.replicatorProps(ctx.Self(), peer, next, prevTerm, known), name)
	if err != nil {
		panic(fmt.Sprintf("replicator %s: %v", name, err))
	}
	return replicatorOf{peer: peer, pid: pid, to: l.peers.get(peer)}
}

// onTerminated starts a Replicator again that has crashed.
func (l *leader) onTerminated(ctx actor.Context, m *actor.Terminated) {
	for i, r := range l.replicators {
		if r.pid.Equal(m.Who) {
			l.logger.Warn("replicator ended, starting it again", "peer", r.peer, "term", l.term)
			l.replicators[i] = l.replicate(ctx, r.peer)
			return
		}
	}
}

// onDurable counts the leader's own disk.
func (l *leader) onDurable(ctx actor.Context) {
	l.gather.Persisted(l.tail.durable, int64(l.now))
	l.advance(l.opts.Node, l.tail.durable)
}

func (l *leader) onPeerAdvanced(ctx actor.Context, m *messages.PeerAdvanced) {
	peer := core.NodeID(m.Peer)
	l.contact.set(peer, l.now)
	if m.Recovering != 0 {
		l.recovering(ctx, peer, m.Recovering, core.Index(m.MatchIndex))
		return
	}
	l.advance(peer, core.Index(m.MatchIndex))
}

func (l *leader) advance(id core.NodeID, match core.Index) {
	if commit, moved := l.tally.Advance(id, match); moved {
		l.commitTo(commit)
		l.uncommitted.upTo(commit)
	}
}

func (l *leader) armHeartbeat(ctx actor.Context) {
	l.heartbeat.set(ctx, l.rt.Clock, l.untilBeat(), func(generation uint64) any {
		return &messages.HeartbeatTimeout{Generation: generation}
	})
}

// onHeartbeatTimeout shows the leader to its peers, and looks whether enough of
// them still answer: a leader that was cut off must not go on believing in itself
// (check-quorum, thesis §6.2).
func (l *leader) onHeartbeatTimeout(ctx actor.Context, m *messages.HeartbeatTimeout) {
	if m.Generation != l.heartbeat.generation {
		return
	}
	if !l.quorumAnswers() {
		l.logger.Warn("no quorum answers, stepping down", "role", "leader", "term", l.term)
		l.becomeFollower(ctx, l.term, "")
		return
	}
	if !l.diskFull && l.tail.unreported > 0 && l.now-l.diskAt >= l.opts.ElectionTimeout {
		// It would hold on to its office and take no more writes.
		l.logger.Warn("the disk does not answer, stepping down", "role", "leader", "term", l.term)
		l.wakeBest(ctx)
		l.becomeFollower(ctx, l.term, "")
		return
	}
	l.expireTransfer(ctx)
	l.expireQueries(ctx)
	l.standAside(ctx)
	l.mindRoom(ctx)
	l.leaveFullDisk(ctx)
	l.admitEarly(ctx) // a Gateway that has crashed forgets to say so
	l.armHeartbeat(ctx)
	l.seekRest()
	l.beat(ctx)
	l.eachReplicator(func(id core.NodeID, pid *actor.PID) { l.checkProgress(ctx, id, pid) })
}

func (l *leader) quorumAnswers() bool {
	return l.config().Quorum().Agrees(func(id core.NodeID) bool {
		return id == l.opts.Node || l.recoveries[id] == nil && l.now-l.contact.get(id) < l.opts.ElectionTimeout
	})
}

// beat shows the leader to every peer. Where there are leases, each beat is a round
// that extends them.
func (l *leader) beat(ctx actor.Context) {
	if l.opts.ClockDrift > 0 {
		l.beginRound()
	}
	l.sendBeats(ctx, false)
}

// sendBeats sends a heartbeat to every peer, with the latest round of reads. A peer is
// told of a commit index no further than it is known to hold.
func (l *leader) sendBeats(ctx actor.Context, prompt bool) {
	l.eachReceiver(func(id core.NodeID, pid *actor.PID) {
		l.ask(ctx, pid, &messages.Heartbeat{
			Group: l.opts.Group, Term: uint64(l.term), Leader: string(l.opts.Node),
			Commit: uint64(min(l.commit, l.tally.Match(id))), Round: uint64(l.reads.rounds.Begun()),
			Spare: uint64(l.spareFor(id)), To: string(id), Prompt: prompt, Resets: l.config().Resets, Sleep: l.rest.attempt,
		})
	})
}

func (l *leader) onHeartbeatAcked(ctx actor.Context, m *messages.HeartbeatAcked) {
	peer := core.NodeID(m.From)
	l.contact.set(peer, l.now)
	l.onPeerRoom(ctx, peer, m.DiskFull) // also of one that recovers: it is sent the log
	if m.Recovering != 0 {
		l.recovering(ctx, peer, m.Recovering, 0)
		return
	}
	l.recovered(ctx, peer)
	l.reads.rounds.Acked(peer, core.Round(m.Round))
	l.compareState(ctx, peer, m.Checkpoint)
	l.onAsleep(peer, m.Asleep)
}

// onFetchEntries serves a Replicator that does not stand at the log's end: from
// memory where that reaches, else by the LogReader.
func (l *leader) onFetchEntries(ctx actor.Context, m *FetchEntries, sender *actor.PID) {
	first := m.First
	if first < l.tail.shape.First() {
		// The peer's log ends below this one's beginning: no entry here can follow there.
		ctx.Send(sender, &EntriesCompacted{Session: m.Session, InDoubt: l.agreement.InDoubt(), Snapshotter: l.snapshotter(ctx)})
		return
	}
	if m.HintTerm != 0 {
		// The peer's log has HintTerm just before First. Where this one has a later
		// term there, go back over all of it at once (paper §5.3).
		first = l.tail.shape.HintBelow(first-1, m.HintTerm).Index + 1
	}
	prevTerm, _ := l.tail.shape.TermAt(first - 1)
	switch last := l.tail.last().Index; {
	case first > last:
		ctx.Send(sender, &EntriesRead{First: first, PrevTerm: prevTerm, Session: m.Session})
	case first >= l.tail.inMemoryFrom():
		blocks, err := l.tail.read(first, m.MaxBytes)
		ctx.Send(sender, &EntriesRead{First: first, PrevTerm: prevTerm, Blocks: blocks, Session: m.Session, Err: err})
	default:
		ctx.Send(l.links.LogReader, &ReadEntries{
			Group: l.opts.Group, First: first, Last: l.tail.inMemoryFrom() - 1,
			MaxBytes: m.MaxBytes, Session: m.Session, PrevTerm: prevTerm, ReplyTo: sender,
		})
	}
}
