package actors

import (
	"fmt"

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
	snapshot *messages.SnapshotMeta // the newest that is whole, nil for none
}

func (s *starting) name() string          { return "starting" }
func (s *starting) standstill()           {}
func (s *starting) endTurn(actor.Context) {}
func (s *starting) exit(actor.Context)    {}

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
	case *messages.Propose, *messages.Query, *messages.ChangeMembers, *messages.AbortChange, *messages.ListMembers:
		s.onClient(ctx, m, sender)
	case *ReturnedOperation:
		s.onClient(ctx, m.Message, m.Asker)
	case *messages.TransferLeadership:
		s.keepLeadership(ctx, sender, "starting")
	}
}

func (s *starting) onGroupLoaded(ctx actor.Context, m *GroupLoaded) {
	if m.Err != nil {
		s.fail(ctx, fmt.Sprintf("cannot load: %v", m.Err))
		return
	}
	st := &m.State
	if len(st.Runs) == 0 && st.FirstIndex <= 1 && s.snapshot == nil {
		if len(s.opts.Bootstrap.Members) == 0 {
			s.await(ctx, st)
			return
		}
		s.bootstrap(ctx, st)
		return
	}
	s.tail = newTail(st)
	s.incarnation = max(st.Incarnation, s.snapshot.GetIncarnation())
	s.showLog(ctx, st, false)
	reset, err := s.restore(ctx)
	if err != nil {
		s.fail(ctx, fmt.Sprintf("cannot load: %v", err))
		return
	}
	s.term, s.vote = max(core.Term(st.HardState.Term), s.tail.last().Term), core.NodeID(st.HardState.Vote)
	if uint64(s.term) != st.HardState.Term {
		s.vote = "" // the log is of a later term than the vote
	}
	if s.opts.ClockDrift > 0 {
		s.cautiousUntil = s.now + s.opts.ElectionTimeout
	}
	if reset {
		return // begin when that is on disk: see onLogReset
	}
	for _, c := range st.Configurations {
		if len(s.configs) > 0 && core.Index(c.Index) <= s.configs[0].index {
			continue // the snapshot's, or one before it
		}
		if err := s.activate(ctx, core.Index(c.Index), c.Data); err != nil {
			s.fail(ctx, fmt.Sprintf("cannot load: %v", err))
			return
		}
	}
	if len(s.configs) == 0 {
		s.fail(ctx, "cannot load: the log holds no configuration")
		return
	}
	s.logger.Info("member loaded", "term", s.term, "first", s.tail.shape.First(), "last", s.tail.last().Index)
	s.begin(ctx)
}

// showLog lets a machine that keeps its own state find out whether the log fits it,
// before a snapshot takes its place.
func (s *starting) showLog(ctx actor.Context, st *logstore.GroupState, isNew bool) {
	s.machine = core.Index(st.HardState.Machine)
	if !s.opts.durableMachine() {
		return
	}
	last := max(s.tail.last().Index, core.Index(s.snapshot.GetIndex()))
	ctx.Send(s.applier, &LogFound{Last: last, Noted: s.machine, New: isNew})
}

// onMemberAdmitted looks for a snapshot first: where there is one, what is stored of
// the log is read in its light.
func (s *starting) onMemberAdmitted(ctx actor.Context) {
	if s.snapshots.pid != nil {
		ctx.Request(s.snapshots.pid, &FindSnapshot{})
		return
	}
	ctx.Request(s.links.LogReader, &LoadGroup{Group: s.opts.Group})
}

func (s *starting) onSnapshotFound(ctx actor.Context, m *SnapshotFound) {
	if m.Err != nil {
		s.fail(ctx, fmt.Sprintf("cannot look for snapshots: %v", m.Err))
		return
	}
	s.snapshot = m.Meta
	ctx.Request(s.links.LogReader, &LoadGroup{Group: s.opts.Group})
}

// restore takes over the newest snapshot: what it covers is committed. Where a crash
// came between it and the log, the log begins anew after it.
func (s *starting) restore(ctx actor.Context) (reset bool, err error) {
	if s.snapshot == nil {
		if s.tail.shape.Before().Index > 0 {
			return false, fmt.Errorf("the log begins at %d, and there is no snapshot of what was before", s.tail.shape.First())
		}
		return false, nil
	}
	if reset, err = core.DecideStart(&s.tail.shape, positionOf(s.snapshot)); err != nil {
		return false, err
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

// onLogReset: the log that begins after the snapshot is on disk.
func (s *starting) onLogReset(ctx actor.Context, to core.Index) {
	if s.snapshot != nil && uint64(to) == s.snapshot.Index {
		s.begin(ctx)
	}
}

// await is how a member begins whose group exists already: with an empty log and no
// configuration, so it never stands. A leader that it is added by sends it both.
func (s *starting) await(ctx actor.Context, stored *logstore.GroupState) {
	s.incarnation = max(stored.Incarnation, 1)
	s.tail = newTail(&logstore.GroupState{FirstIndex: 1})
	s.term, s.vote = core.Term(stored.HardState.Term), core.NodeID(stored.HardState.Vote)
	s.configurationChanged(ctx)
	s.showLog(ctx, stored, true)
	s.logger.Info("waiting to be added to the group", "term", s.term)
	s.begin(ctx)
}

// begin takes part from here on. A member that is its whole quorum need not wait to
// hear a leader.
func (s *starting) begin(ctx actor.Context) {
	s.becomeFollower(ctx, s.term, "")
	if s.config().Quorum().Agrees(func(id core.NodeID) bool { return id == s.opts.Node }) {
		s.becomePreCandidate(ctx)
	}
}

// bootstrapTerm is the term of the entry that every member of a new group begins
// with; elections start above it.
const bootstrapTerm = 1

// bootstrap begins a group with its configuration as entry 1. Every member writes
// the same entry by itself, so their logs agree before they first meet; nothing is
// said until it is durable. A start that was cut off before that begins again.
func (s *starting) bootstrap(ctx actor.Context, stored *logstore.GroupState) {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(describeConfiguration(&s.opts.Bootstrap))
	if err != nil {
		s.fail(ctx, fmt.Sprintf("cannot bootstrap: %v", err))
		return
	}
	s.incarnation = max(stored.Incarnation, 1)
	s.tail = newTail(&logstore.GroupState{FirstIndex: 1})
	s.showLog(ctx, stored, true)
	w := messages.NewBlockWriter(messages.BlockHeader{
		Group: s.opts.Group, Incarnation: s.incarnation, Term: bootstrapTerm, FirstIndex: 1,
	}, messages.EntryBytes(len(data)))
	w.Add(messages.EntryView{Kind: messages.EntryKind_CONFIGURATION, Data: data})
	b := w.Finish()
	s.setHardState(ctx, max(bootstrapTerm, core.Term(stored.HardState.Term)), core.NodeID(stored.HardState.Vote))
	if err := s.appendBlock(ctx, CommittedBlock{Block: b}); err != nil {
		s.fail(ctx, fmt.Sprintf("cannot bootstrap: %v", err))
		return
	}
	s.persist(ctx, b, 0)
	s.logger.Info("new group", "members", len(s.config().Members))
}

// onDurable: the first entry, and the hard state before it, are on disk.
func (s *starting) onDurable(ctx actor.Context) {
	s.begin(ctx)
}
