package actors

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/messages"
)

// memberChange is a leader's part in changes of the members. What is done next can be
// read from the active configuration; here is who wants to hear of it, and what only
// a leader knows of those that are to come.
type memberChange struct {
	busy    bool // the configuration is not known to be settled
	queued  bool // the next one waits for its block
	leaving bool // this leader has no voice in the active one

	asker    Waiter // of the change under way, nobody after a change of leader
	appended bool   // something of it is in the log
	aborter  Waiter
	failed   string // why it is being rolled back

	catchUp map[core.NodeID]*core.CatchUp
	ahead   bool       // commits are counted as once joint, too,
	before  core.Index // but for those up to here; see leavesNothing
	parting []parting
}

// parting is a former member that is still sent the log, so that it learns of its
// removal.
type parting struct {
	replicatorOf
	index    core.Index // of the configuration without it
	deadline time.Duration
}

// partingTimeouts is how many election timeouts a former member has to learn of its
// removal. Later it is told when it asks for votes.
const partingTimeouts = 3

func (l *leader) onMembers(ctx actor.Context, message any, sender *actor.PID) {
	w := Waiter{sender, requestOf(message)}
	switch m := message.(type) {
	case *messages.ChangeMembers:
		l.onChangeMembers(ctx, m, w)
	case *messages.AbortChange:
		l.onAbortChange(ctx, m, w)
	case *messages.ListMembers:
		l.onListMembers(ctx, m, w)
	}
}

func (l *leader) onChangeMembers(ctx actor.Context, m *messages.ChangeMembers, w Waiter) {
	switch {
	case !l.meant(m.LeaderTerm):
		l.refuse(ctx, w.To, w.Request, messages.Reason_NOT_LEADER)
		return
	case !l.tally.Settled(), l.unsettled():
		// It is not settled yet what a change would be a change of.
		l.refuse(ctx, w.To, w.Request, messages.Reason_BUSY)
		return
	case l.room.none:
		l.refuse(ctx, w.To, w.Request, messages.Reason_DISK_FULL)
		return
	case l.change.queued:
		l.keepMembers(ctx, w, "another change is under way, one at a time")
		return
	}
	next, err := l.config().Begin(l.configIndex(), core.Change{
		Expected: core.Index(m.ExpectedIndex), Add: membersOf(m.Add),
		Remove: idsOf(m.Remove), Promote: idsOf(m.Promote), Demote: idsOf(m.Demote), Move: membersOf(m.Move),
	})
	if err == nil {
		err = l.canCarry(&next)
	}
	if err == nil {
		err = l.queueConfiguration(&next)
	}
	if err != nil {
		l.keepMembers(ctx, w, err.Error())
		return
	}
	l.logger.Info("changing the members", "role", "leader", "term", l.term, "index", l.configIndex(),
		"add", len(m.Add), "remove", len(m.Remove), "promote", len(m.Promote), "demote", len(m.Demote), "move", len(m.Move))
	l.change.asker, l.change.appended, l.change.failed = w, false, ""
}

// unsettled says whether the last step of a change is not committed, or is, and the end
// of the turn has yet to do what follows from that: to answer who asked, and to leave
// where this leader has no voice any more.
func (l *leader) unsettled() bool {
	return !l.config().Changing() && (l.commit < l.configIndex() || l.change.appended || l.change.leaving)
}

func (l *leader) onAbortChange(ctx actor.Context, m *messages.AbortChange, w Waiter) {
	switch {
	case !l.meant(m.LeaderTerm):
		l.refuse(ctx, w.To, w.Request, messages.Reason_NOT_LEADER)
	case len(l.config().Next) == 0 || l.change.queued || l.change.failed != "":
		l.keepMembers(ctx, w, "there is no change that could be undone: none is under way, or its new voters have caught up")
	default:
		l.change.failed, l.change.aborter = "undone on request", w
	}
}

func (l *leader) onListMembers(ctx actor.Context, m *messages.ListMembers, w Waiter) {
	if !l.meant(m.LeaderTerm) {
		l.refuse(ctx, w.To, w.Request, messages.Reason_NOT_LEADER)
		return
	}
	data, err := proto.Marshal(l.describe())
	if err != nil {
		panic(err) // it is made of valid strings
	}
	l.answerMembers(ctx, w, messages.ResultItem{Outcome: messages.Outcome_APPLIED, Index: uint64(l.configIndex()), Data: data})
}

// canCarry refuses a configuration whose voters could not commit it: too few of them
// answer, or too many have lost memory. Those could not recover in it either, for that
// takes a quorum of others. Those that move may not be where they are to be yet, or never
// come there; the leader itself is heard wherever it is.
func (l *leader) canCarry(c *core.Configuration) error {
	var missing, moving []string
	moves := func(id core.NodeID) bool { return id != l.opts.Node && l.config().Moves(id, c) }
	carries := func(id core.NodeID) bool {
		return id == l.opts.Node || !moves(id) &&
			l.recoveries[id] == nil && l.tally.Match(id) > 0 && l.now-l.contact.get(id) < l.opts.ElectionTimeout
	}
	if c.Quorum().Agrees(carries) {
		return nil
	}
	for _, m := range c.Everyone() {
		switch {
		case !c.Quorum().Contains(m.ID) || carries(m.ID):
		case moves(m.ID):
			moving = append(moving, string(m.ID))
		default:
			missing = append(missing, string(m.ID))
		}
	}
	var reasons []string
	if len(missing) > 0 {
		reasons = append(reasons, strings.Join(missing, ", ")+" do not answer or have lost memory, wait until they are back")
	}
	if len(moving) > 0 {
		reasons = append(reasons, strings.Join(moving, ", ")+" do not count until they run at their new address, move fewer at a time, or who leads")
	}
	return fmt.Errorf("too few voters would be left: %s", strings.Join(reasons, "; "))
}

func (l *leader) keepMembers(ctx actor.Context, w Waiter, reason string) {
	l.answerMembers(ctx, w, messages.ResultItem{
		Outcome: messages.Outcome_NOT_APPLIED, Reason: messages.Reason_MEMBERS_KEPT, Data: []byte(reason), Leader: string(l.opts.Node),
	})
}

func (l *leader) answerMembers(ctx actor.Context, w Waiter, item messages.ResultItem) {
	var out replies
	out.add(w, item)
	out.send(ctx)
}

// queueConfiguration has a configuration appended behind the commands that came
// before it.
func (l *leader) queueConfiguration(c *core.Configuration) error {
	data, err := encodeConfiguration(c)
	if err != nil {
		return fmt.Errorf("the configuration cannot be encoded: %w", err)
	}
	if most := l.opts.Limits.BlockBytes + l.opts.Limits.CommandBytes; messages.EntryBytes(len(data)) > most && len(data) > minConfigurationBytes {
		return fmt.Errorf("a configuration of %d bytes, expected at most %d: too many members, or too many that were removed", len(data), most)
	}
	l.queue.add(proposal{kind: messages.EntryKind_CONFIGURATION, data: data})
	l.change.queued, l.change.busy = true, true
	return nil
}

// minConfigurationBytes are allowed whatever the limits are.
const minConfigurationBytes = 64 << 10

// findChange looks at what an earlier leader has left.
func (l *leader) findChange() {
	c := l.config()
	l.change.leaving = !c.Quorum().Contains(l.opts.Node)
	l.change.busy = l.change.leaving || c.Changing() || l.commit < l.configIndex()
	l.followNewVoters()
}

// followNewVoters begins to watch those that have to catch up.
func (l *leader) followNewVoters() {
	l.change.catchUp = nil
	for _, id := range l.config().CatchingUp() {
		if l.change.catchUp == nil {
			l.change.catchUp = make(map[core.NodeID]*core.CatchUp)
		}
		l.change.catchUp[id] = core.NewCatchUp(l.tail.last().Index, int64(l.now))
	}
}

// reconfigure follows the append of a configuration: from now on it counts.
func (l *leader) reconfigure(ctx actor.Context) {
	c := l.config()
	quorum := c.Quorum()
	l.change.queued, l.change.appended, l.change.ahead = false, true, false
	l.change.leaving = !quorum.Contains(l.opts.Node)
	l.followNewVoters()
	l.reads.rounds.SetQuorum(quorum)
	if commit, moved := l.tally.SetQuorum(quorum); moved {
		l.commitTo(commit)
		l.uncommitted.upTo(commit)
	}
	kept := l.replicators[:0]
	for _, r := range l.replicators {
		if _, stays := c.Find(r.peer); stays {
			kept = append(kept, l.followMove(ctx, r))
			continue
		}
		l.change.parting = append(l.change.parting, parting{
			replicatorOf: r, index: l.configIndex(), deadline: l.now + partingTimeouts*l.opts.ElectionTimeout,
		})
		l.checkProgress(ctx, r.peer, r.pid)
	}
	l.replicators = kept
	l.eachPeer(func(id core.NodeID, _ *actor.PID) {
		if l.replicates(id) {
			return
		}
		l.forgetPeer(ctx, id)
		l.contact.set(id, l.now)
		r := l.replicate(ctx, id)
		l.replicators = append(l.replicators, r)
		l.checkProgress(ctx, id, r.pid) // it begins by asking where the peer stands
	})
	l.mindRoom(ctx)
}

// forgetPeer drops what is known of one that comes into the configuration: it may have
// been in an earlier one, which was rolled back, and have lost all it had since.
func (l *leader) forgetPeer(ctx actor.Context, id core.NodeID) {
	l.tally.Forget(id)
	delete(l.progress, id)
	delete(l.recoveries, id)
	l.change.parting = slices.DeleteFunc(l.change.parting, func(p parting) bool {
		if p.peer == id {
			ctx.Stop(p.pid)
		}
		return p.peer == id
	})
}

func (l *leader) replicates(id core.NodeID) bool {
	for _, r := range l.replicators {
		if r.peer == id {
			return true
		}
	}
	return false
}

// turnMembers takes the next step of a change, once what it rests on is committed.
func (l *leader) turnMembers(ctx actor.Context) {
	if !l.change.busy {
		return
	}
	l.part(ctx)
	if l.change.queued {
		return
	}
	c := l.config()
	committed := l.tally.Settled() && l.commit >= l.configIndex()
	caughtUp := l.checkCatchUp()
	step := c.NextStep(l.opts.Node, committed, caughtUp, l.change.failed != "")
	if step != core.StepJoint {
		l.countAhead(core.Quorum{})
	}
	switch step {
	case core.StepJoint:
		if joint := c.Joint(); l.mayJoin(&joint) {
			l.step(ctx, "new voters have caught up, joining them", joint)
		}
	case core.StepFinal:
		l.step(ctx, "completing the change of members", c.Final())
	case core.StepRollBack:
		l.step(ctx, "rolling the change of members back", c.RollBack())
	case core.StepLeave:
		l.settleChange(ctx)
		l.logger.Info("no voter any more, stepping down", "role", "leader", "term", l.term, "index", l.configIndex())
		l.wakeBest(ctx)
		l.becomeFollower(ctx, l.term, "")
	case core.StepNone:
		l.settleChange(ctx)
		l.change.busy = len(l.change.parting) > 0
	}
}

// mayJoin says whether the group may become joint, from where there is no way back: enough
// must answer for it, and nothing that was committed be left to those who go.
func (l *leader) mayJoin(joint *core.Configuration) bool {
	if l.canCarry(joint) != nil {
		l.countAhead(core.Quorum{})
		return false
	}
	return l.leavesNothing(joint)
}

func (l *leader) step(ctx actor.Context, what string, next core.Configuration) {
	l.logger.Info(what, "role", "leader", "term", l.term, "index", l.configIndex(), "reason", l.change.failed)
	if err := l.queueConfiguration(&next); err != nil {
		panic(err) // no step is larger than the first
	}
}

// checkCatchUp says whether all new voters have caught up and still answer. One that
// does not advance for too long ends the change.
func (l *leader) checkCatchUp() bool {
	all, last := true, l.tail.last().Index
	for _, id := range l.config().CatchingUp() {
		one := l.change.catchUp[id]
		if l.serves(id) {
			continue
		}
		if l.now-l.contact.get(id) >= l.opts.ElectionTimeout {
			one.Lost()
		}
		one.Received(l.progress[id].GetSnapshotSent(), int64(l.now))
		one.Seen(l.heldBy(id), last, int64(l.now), int64(l.opts.ElectionTimeout))
		if all = all && one.Done() && l.recoveries[id] == nil && !l.beyondWitness(id); !one.Done() && l.change.failed == "" && one.Stalled(int64(l.now), int64(l.opts.catchUpTimeout())) {
			l.change.failed = fmt.Sprintf("%s has not advanced for %v, it has %d entries of %d", id, l.opts.catchUpTimeout(), l.heldBy(id), last)
		}
	}
	return all
}

// settleChange answers who waits for the end that has come.
func (l *leader) settleChange(ctx actor.Context) {
	data, err := encodeConfiguration(l.config())
	if err != nil {
		panic(err) // it was encoded before
	}
	done := messages.ResultItem{Outcome: messages.Outcome_APPLIED, Index: uint64(l.configIndex()), Data: data}
	if l.change.failed != "" {
		l.keepMembers(ctx, l.change.asker, "rolled back: "+l.change.failed)
		l.answerMembers(ctx, l.change.aborter, done)
	} else {
		l.answerMembers(ctx, l.change.asker, done)
	}
	l.change.asker, l.change.aborter, l.change.failed, l.change.appended = Waiter{}, Waiter{}, "", false
}

// part lets former members go that have learned of their removal, or had the time to.
// A last heartbeat tells that it is committed.
func (l *leader) part(ctx actor.Context) {
	kept := l.change.parting[:0]
	for _, p := range l.change.parting {
		informed := l.commit >= p.index && l.tally.Match(p.peer) >= p.index
		if !informed && l.now < p.deadline {
			kept = append(kept, p)
			continue
		}
		if informed {
			l.ask(ctx, p.to, &messages.Heartbeat{
				Group: l.opts.Group, Term: uint64(l.term), Leader: string(l.opts.Node), Commit: uint64(min(l.commit, l.tally.Match(p.peer))),
				To: string(p.peer), Resets: l.config().Resets,
			})
		}
		ctx.Stop(p.pid)
	}
	l.change.parting = kept
}

// eachReceiver visits the peers, and those that part.
func (l *leader) eachReceiver(f func(id core.NodeID, pid *actor.PID)) {
	l.eachPeer(f)
	for _, p := range l.change.parting {
		f(p.peer, p.to)
	}
}

// eachReplicator visits all of them.
func (l *leader) eachReplicator(f func(id core.NodeID, pid *actor.PID)) {
	for _, r := range l.replicators {
		f(r.peer, r.pid)
	}
	for _, p := range l.change.parting {
		f(p.peer, p.pid)
	}
}

// endChange: another leader goes on with the change, if anything of it is in the log.
func (l *leader) endChange(ctx actor.Context) {
	outcome, reason := messages.Outcome_UNKNOWN, messages.Reason_LEADERSHIP_LOST
	if l.failure != "" {
		reason = messages.Reason_STOPPED
	}
	if !l.change.appended {
		outcome = messages.Outcome_NOT_APPLIED
	}
	l.release(ctx, []Waiter{l.change.asker}, outcome, reason)
	l.release(ctx, []Waiter{l.change.aborter}, messages.Outcome_UNKNOWN, reason)
}

// describeChange says how far a change is; nil for none.
func (r *raft) describeChange() *messages.ChangeStatus {
	c := r.config()
	switch {
	case len(c.Outgoing) > 0:
		return &messages.ChangeStatus{Phase: "joint", Target: describeMembers(c.Members)}
	case len(c.Next) == 0:
		return nil
	}
	s := &messages.ChangeStatus{Phase: "catching up", Target: describeMembers(c.Next)}
	l, leads := r.role.(*leader)
	if !leads {
		return s
	}
	last := l.tail.last().Index
	for _, id := range c.NewVoters() {
		one, match := l.change.catchUp[id], l.heldBy(id)
		s.Newcomers = append(s.Newcomers, &messages.NewcomerStatus{
			Id: string(id), MatchIndex: uint64(match), Lag: uint64(last - min(match, last)), CaughtUp: one.Done(),
			PatienceMs: uint64(one.Patience(int64(l.now), int64(l.opts.catchUpTimeout())) / int64(time.Millisecond)),
		})
	}
	return s
}
