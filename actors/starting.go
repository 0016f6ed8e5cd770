package actors

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/messages"
)

// standstill marks the two states in which a member takes no part in Raft: before
// it knows what it has stored, and after it has failed.
type standstill interface{ standstill() }

// starting is a member that waits for what it has stored. Peers are not answered:
// they ask again.
type starting struct {
	*raft
	self     *actor.PID
	snapshot *messages.SnapshotMeta // the newest that is whole, nil for none
	older    []uint64               // the history of the snapshots before it
	took     bool                   // the life that is noted took part
	damage   *logstore.CorruptError // of the log, nil for none
	lost     string                 // what was lost with a snapshot, empty for nothing
	later    configuration          // a later one than its own, as peers know it
	passed   bool                   // enough peers know of nothing that is missing
	sayAt    time.Duration          // when it is next said who is awaited
}

func (s *starting) name() string          { return "starting" }
func (s *starting) standstill()           {}
func (s *starting) endTurn(actor.Context) {}

// exit: from now on the member goes by its own log, and so does the guard. What peers told
// of a later configuration may have been undone since; one that was committed it hears of
// from those that have moved by it.
func (s *starting) exit(ctx actor.Context) {
	if s.later.index > s.configIndex() {
		ctx.Send(s.links.Node, s.changedTo(s.configIndex(), s.config()))
	}
}

func (s *starting) receive(ctx actor.Context, message any, sender *actor.PID) {
	switch m := message.(type) {
	case *MemberAdmitted:
		s.onMemberAdmitted(ctx)
	case *MemberRefused:
		s.fail(ctx, m.Reason)
	case *SnapshotFound:
		s.onSnapshotFound(ctx, m)
	case *GroupLoaded:
		s.onGroupLoaded(ctx, m)
	case *messages.Heartbeat: // a leader, of whom this member may never have heard
		s.greetSender(ctx, sender)
	case *messages.Propose, *messages.Query, *messages.ChangeMembers, *messages.AbortChange, *messages.ListMembers:
		s.onClient(ctx, m, sender)
	case *ReturnedOperation:
		s.onClient(ctx, m.Message, m.Asker)
	case *messages.TransferLeadership:
		s.keepLeadership(ctx, sender, "starting")
	}
}

// onGroupLoaded takes over what is stored. Before the member takes part it shows its
// peers what it has: one that has lost memory finds out by their answers.
func (s *starting) onGroupLoaded(ctx actor.Context, m *GroupLoaded) {
	if m.Err == nil && s.leadsBack(&m.State) {
		s.logger.Warn("passing over a snapshot: it is of a history of the group that was given up here", "snapshot", positionOf(s.snapshot))
		ctx.Request(s.snapshotter(ctx), &FindSnapshot{Below: core.Index(s.snapshot.Index)})
		return
	}
	err := m.Err
	if err == nil {
		s.took, err = s.loadMemory(m.State.Note)
	}
	reset := false
	if err == nil {
		s.damage = m.Damage
		reset, err = s.takeOver(ctx, &m.State)
	}
	switch {
	case err != nil:
		s.fail(ctx, fmt.Sprintf("cannot load: %v", err))
	case !reset: // else when that is on disk: see onLogReset
		s.loaded(ctx)
	}
}

// loaded decides what there is to find out before the member takes part.
func (s *starting) loaded(ctx actor.Context) {
	empty := s.tail.last().Index == 0
	if !empty {
		s.logger.Info("member loaded", "term", s.term, "first", s.tail.shape.First(), "last", s.tail.last().Index)
	}
	switch {
	case s.lost != "" && s.alone():
		s.fail(ctx, fmt.Sprintf("cannot load: %s; this member knows of no other one to fetch it from: where there are others, start it as one that joins them", s.lost))
	case s.lost != "":
		s.forget(ctx, s.memory.life.Number, s.lost)
	case s.damage != nil && s.alone():
		s.fail(ctx, fmt.Sprintf("cannot load: %v; there is no other member to repair it from", s.damage))
	case s.damage != nil:
		s.forget(ctx, s.memory.life.Number, s.damage.Error())
	case s.memory.recovering:
		s.memory.begun = true
		s.logger.Warn("still recovering lost memory", "cause", s.memory.cause, "last", s.tail.last().Index)
		s.writeMemory(ctx)
		s.becomeFollower(ctx, s.term, "")
		s.greetPeers(ctx)
	case empty && s.took && s.alone():
		s.fail(ctx, "cannot load: the log is empty, and was not; there is no other member to fetch it from")
	case empty && s.took:
		s.forget(ctx, s.memory.life.Number, "the log is empty, and was not")
	case len(s.config().Members) == 0:
		s.join(ctx)
	case s.alone():
		s.mayBegin(ctx, false)
	default:
		s.memory.founding = empty
		s.writeMemory(ctx)
		s.greetPeers(ctx)
	}
}

// takeOver makes what is stored the member's own. reset says that the log begins anew
// after the newest snapshot, which is not on disk yet.
func (s *starting) takeOver(ctx actor.Context, st *logstore.GroupState) (reset bool, err error) {
	s.tail = newTail(st)
	if s.damage != nil {
		s.memory.resetFrom = core.Index(s.damage.Index)
	}
	if err := s.settleIncarnation(st); err != nil {
		return false, err
	}
	s.showLog(ctx, st)
	s.term, s.vote = max(core.Term(st.HardState.Term), s.tail.last().Term), core.NodeID(st.HardState.Vote)
	if reset, err = s.restore(ctx); err != nil {
		return false, err
	}
	s.term = max(s.term, s.tail.last().Term)
	if uint64(s.term) != st.HardState.Term {
		s.vote = "" // the log is of a later term than the vote
	}
	if s.opts.ClockDrift > 0 && s.tail.last().Index > 0 {
		s.cautiousUntil = s.now + s.opts.ElectionTimeout
	}
	if reset {
		return true, nil
	}
	return false, s.findConfigurations(ctx, st)
}

// findConfigurations activates what the log says of the members. Where it says nothing
// the member asks those it was started with; that is no entry of the log, which may
// begin otherwise by now. One that was started with nobody waits to be spoken to.
func (s *starting) findConfigurations(ctx actor.Context, st *logstore.GroupState) error {
	for _, c := range st.Configurations {
		if len(s.configs) > 0 && core.Index(c.Index) <= s.configs[0].index {
			continue // the snapshot's, or one before it
		}
		if err := s.activate(ctx, core.Index(c.Index), c.Data); err != nil {
			return err
		}
	}
	if s.lost != "" { // of a log that counts no more; still whom to ask
		for i := range s.configs {
			s.configs[i].index = 0
		}
		s.configs = s.configs[max(0, len(s.configs)-1):]
	}
	switch {
	case len(s.configs) > 0:
	case s.tail.last().Index > 0:
		return fmt.Errorf("the log holds no configuration")
	case len(s.opts.founders()) > 0:
		s.configs = append(s.configs, configuration{0, *s.opts.Bootstrap})
		s.connect(ctx)
	default:
		s.configurationChanged(ctx)
	}
	return nil
}

// alone: nobody could tell this member what it has lost.
func (s *starting) alone() bool {
	for _, m := range s.config().Everyone() {
		if m.ID != s.opts.Node {
			return false
		}
	}
	return len(s.config().Members) > 0
}

// join is how a member begins whose group exists already: with an empty log and no
// configuration. Whether it was a member before, and has lost all it had, it cannot
// tell. So it begins as one that has: without a vote, and not counted until it holds
// what a leader has committed without it. A newcomer has to catch up anyway.
func (s *starting) join(ctx actor.Context) {
	s.logger.Info("waiting to be added to the group", "term", s.term)
	s.memory.life = s.lifeOfRecovery(s.memory.life.Number)
	s.memory.recovering, s.memory.begun, s.memory.cause = true, true, "it joins with nothing stored"
	s.writeMemory(ctx)
	s.becomeFollower(ctx, s.term, "")
}

// mayBegin begins when enough peers know of nothing that is missing. A leader's word
// is enough for a member that has its log: the members it knows of may all be gone.
func (s *starting) mayBegin(ctx actor.Context, leader bool) {
	empty := s.tail.last().Index == 0
	whole := core.MayBegin(s.config(), s.opts.Node, empty, s.memory.answers.find) ||
		!empty && s.later.index > 0 && core.MayBegin(&s.later.Configuration, s.opts.Node, false, s.memory.answers.find)
	switch {
	case s.passed || !whole && (empty || !leader):
	case empty:
		s.passed = true
		s.bootstrap(ctx)
	default:
		s.passed = true
		s.onDurable(ctx)
	}
}

// onPeerMet: a peer knows of nothing that is missing.
func (s *starting) onPeerMet(ctx actor.Context, m *messages.Greeted) {
	c := coreConfiguration(m.Configuration)
	if index := core.Index(m.ConfigurationIndex); index > max(s.later.index, s.configIndex()) && core.Continues(c.Resets, s.config().Resets) {
		s.later = configuration{index, c}
		ctx.Send(s.links.Node, s.changedTo(index, &c))
		s.greetPeers(ctx)
	}
	s.mayBegin(ctx, m.Leads && core.Term(m.Term) >= s.term)
}

// greetSender greets who speaks to this member as to one that takes part: perhaps one
// that it does not know of.
func (s *starting) greetSender(ctx actor.Context, sender *actor.PID) {
	if s.memory.loaded && sender != nil && s.memory.greet.stop != nil {
		s.sendGreet(ctx, sender)
	}
}

// sayWhoIsAwaited says it again now and then, as long as this member waits.
func (s *starting) sayWhoIsAwaited() {
	awaited := s.awaited()
	if len(awaited) == 0 || s.now < s.sayAt {
		return
	}
	s.sayAt = s.now + awaitedInterval
	what := "waiting for a quorum of members, or their leader, to say that they know of nothing this one has lost"
	if s.memory.founding {
		what = "nothing is stored: a new group begins when all of its members have met, for only so one whose disk was lost can be told from a new one"
	}
	s.logger.Info(what, "awaited", strings.Join(awaited, ", "))
}

// awaited are those who have not answered yet, while only that keeps the member waiting.
func (s *starting) awaited() (awaited []string) {
	if s.passed || s.memory.greet.stop == nil {
		return nil
	}
	s.eachAcquaintance(func(id core.NodeID, pid *actor.PID) {
		if _, heard := s.memory.answers.find(id); !heard {
			awaited = append(awaited, string(id)+" at "+pid.Address)
		}
	})
	return awaited
}

// awaitedInterval is how often a member that cannot begin says whom it waits for.
const awaitedInterval = 5 * time.Second

// showLog lets a machine that keeps its own state find out whether the log fits it,
// before a snapshot takes its place. Where what was stored is known to be lost, it may be
// behind the machine: what that has was committed, and comes again.
func (s *starting) showLog(ctx actor.Context, st *logstore.GroupState) {
	s.machine = core.Index(st.HardState.Machine)
	if !s.opts.durableMachine() {
		return
	}
	found := &LogFound{Last: max(s.tail.last().Index, core.Index(s.snapshot.GetIndex())), Noted: s.machine}
	found.New = found.Last == 0
	if s.damage != nil || s.memory.recovering {
		found.Last, found.New = math.MaxUint64, false
	}
	ctx.Send(s.applier, found)
}

// onMemberAdmitted looks for a snapshot first: where there is one, what is stored of
// the log is read in its light.
func (s *starting) onMemberAdmitted(ctx actor.Context) {
	if files := s.snapshotter(ctx); files != nil {
		ctx.Request(files, &FindSnapshot{})
		return
	}
	ctx.Request(s.links.LogReader, &LoadGroup{Group: s.opts.Group})
}

func (s *starting) onSnapshotFound(ctx actor.Context, m *SnapshotFound) {
	if m.Err != nil {
		s.fail(ctx, fmt.Sprintf("cannot look for snapshots: %v", m.Err))
		return
	}
	s.snapshot, s.older = m.Meta, m.Older
	ctx.Request(s.links.LogReader, &LoadGroup{Group: s.opts.Group})
}

// restore takes over the newest snapshot: what it covers is committed. Where a crash
// came between it and the log, the log begins anew after it. Where the log begins
// beyond it, the member has lost what is between them.
func (s *starting) restore(ctx actor.Context) (reset bool, err error) {
	switch before := s.tail.shape.Before().Index; {
	case s.snapshot == nil && before == 0:
		return false, nil
	case s.snapshot == nil:
		s.loseLog(fmt.Sprintf("the log begins at %d, and there is no whole snapshot of what was before", s.tail.shape.First()))
		return false, nil
	}
	reset, err = core.DecideStart(&s.tail.shape, positionOf(s.snapshot))
	if err != nil {
		s.loseLog(err.Error())
		return false, nil
	}
	if err := s.adopt(ctx, s.snapshot); err != nil {
		return false, err
	}
	s.tail.lastTime = max(s.tail.lastTime, s.snapshot.Time)
	if reset {
		s.logger.Warn("the log ends before the newest snapshot or differs from it, and begins anew", "last", s.tail.last(), "snapshot", positionOf(s.snapshot))
		s.resetLog(ctx, s.snapshot)
	}
	return reset, nil
}

// loseLog: without what was before it the log is of no use to the machine. It stays on
// disk until the first that a leader sends is written in its place.
func (s *starting) loseLog(what string) {
	s.lost = what
	s.memory.resetFrom = s.tail.shape.First()
	s.tail = newTail(&logstore.GroupState{FirstIndex: 1})
}

// onLogReset: the log that begins after the snapshot is on disk.
func (s *starting) onLogReset(ctx actor.Context, to core.Index) {
	if s.snapshot != nil && uint64(to) == s.snapshot.Index {
		s.loaded(ctx)
	}
}

// begin takes part from here on. A member that is its whole quorum need not wait to
// hear a leader.
func (s *starting) begin(ctx actor.Context) {
	s.becomeFollower(ctx, s.term, "")
	if s.config().Quorum().Agrees(func(id core.NodeID) bool { return id == s.opts.Node }) {
		s.becomePreCandidate(ctx)
	}
}

// bootstrap begins a group with its configuration as entry 1. Every member writes
// the same entry by itself, so their logs agree before they first meet; nothing is
// said until it is durable. A start that was cut off before that begins again.
func (s *starting) bootstrap(ctx actor.Context) {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(describeConfiguration(s.opts.Bootstrap))
	if err != nil {
		s.fail(ctx, fmt.Sprintf("cannot bootstrap: %v", err))
		return
	}
	w := messages.NewBlockWriter(messages.BlockHeader{
		Group: s.opts.Group, Incarnation: s.incarnation, Term: uint64(s.bootstrapTerm()), FirstIndex: 1,
	}, messages.EntryBytes(len(data)))
	w.Add(messages.EntryView{Kind: messages.EntryKind_CONFIGURATION, Data: data})
	b := w.Finish()
	s.setHardState(ctx, max(s.bootstrapTerm(), s.term), s.vote)
	if err := s.appendBlock(ctx, CommittedBlock{Block: b}); err != nil {
		s.fail(ctx, fmt.Sprintf("cannot bootstrap: %v", err))
		return
	}
	s.persist(ctx, b, 0)
	s.logger.Info("new group", "members", len(s.config().Members))
}

// waitsForPeers says whether only peers keep the member from taking part with its log.
func (s *starting) waitsForPeers() bool {
	return !s.passed && s.memory.greet.stop != nil && s.tail.last().Index > 0
}

// beginUnmet takes part though nobody could say that nothing is missing.
func (s *starting) beginUnmet(ctx actor.Context) {
	s.passed = true
	s.memory.greet.cancel()
	s.onDurable(ctx)
}

// onDurable: the first entry, and the hard state before it, are on disk, or were. Only
// now is it noted that the member takes part: one that did and has no log lost it.
func (s *starting) onDurable(ctx actor.Context) {
	s.memory.begun, s.memory.founding = true, false
	s.writeMemory(ctx)
	s.begin(ctx)
}
