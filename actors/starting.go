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
	passed bool // enough peers know of nothing that is missing
}

func (s *starting) name() string          { return "starting" }
func (s *starting) standstill()           {}
func (s *starting) endTurn(actor.Context) {}
func (s *starting) exit(actor.Context)    {}

func (s *starting) receive(ctx actor.Context, message any, sender *actor.PID) {
	switch m := message.(type) {
	case *MemberAdmitted:
		ctx.Request(s.links.LogReader, &LoadGroup{Group: s.opts.Group})
	case *MemberRefused:
		s.fail(ctx, m.Reason)
	case *GroupLoaded:
		s.onGroupLoaded(ctx, m)
	case *messages.Heartbeat:
		if s.memory.loaded { // a leader, of whom this member may never have heard
			s.sendGreet(ctx, sender)
		}
	case *messages.Propose, *messages.Query:
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
	took, err := false, m.Err
	if err == nil {
		took, err = s.loadMemory(m.State.Note)
	}
	if err == nil {
		err = s.takeOver(ctx, &m.State)
	}
	if err != nil {
		s.fail(ctx, fmt.Sprintf("cannot load: %v", err))
		return
	}
	switch empty := s.tail.last().Index == 0; {
	case m.Damage != nil && s.alone():
		s.fail(ctx, fmt.Sprintf("cannot load: %v; there is no other member to repair it from", m.Damage))
	case m.Damage != nil:
		s.memory.resetFrom = core.Index(m.Damage.Index)
		s.forget(ctx, s.memory.life.Number, m.Damage.Error())
	case s.memory.recovering:
		s.memory.begun = true
		s.logger.Warn("still recovering lost memory", "cause", s.memory.cause, "last", s.tail.last().Index)
		s.writeMemory(ctx)
		s.becomeFollower(ctx, s.term, "")
		s.greetPeers(ctx)
	case empty && took:
		s.forget(ctx, s.memory.life.Number, "the log is empty, and was not")
	case s.alone():
		s.mayBegin(ctx, false)
	default:
		s.memory.founding = empty
		s.writeMemory(ctx)
		s.greetPeers(ctx)
	}
}

// takeOver makes what is stored the member's own.
func (s *starting) takeOver(ctx actor.Context, st *logstore.GroupState) error {
	s.incarnation = max(st.Incarnation, 1)
	s.tail = newTail(st)
	s.term, s.vote = max(core.Term(st.HardState.Term), s.tail.last().Term), core.NodeID(st.HardState.Vote)
	if uint64(s.term) != st.HardState.Term {
		s.vote = "" // the log is of a later term than the vote
	}
	for _, c := range st.Configurations {
		if err := s.activate(ctx, core.Index(c.Index), c.Data); err != nil {
			return err
		}
	}
	switch {
	case len(s.configs) > 0:
	case s.tail.last().Index > 0:
		return fmt.Errorf("the log holds no configuration")
	default: // whom to ask; not an entry of the log, which may begin otherwise by now
		s.configs = append(s.configs, configuration{0, s.opts.Bootstrap})
		s.connect(ctx)
	}
	if s.opts.ClockDrift > 0 {
		s.cautiousUntil = s.now + s.opts.ElectionTimeout
	}
	s.logger.Info("member loaded", "term", s.term, "first", s.tail.shape.First(), "last", s.tail.last().Index)
	return nil
}

// alone: nobody could tell this member what it has lost.
func (s *starting) alone() bool {
	for _, m := range s.config().Members {
		if m.ID != s.opts.Node {
			return false
		}
	}
	return true
}

// mayBegin begins when enough peers know of nothing that is missing. A leader's word
// is enough for a member that has its log: the members it knows of may all be gone.
func (s *starting) mayBegin(ctx actor.Context, leader bool) {
	empty := s.tail.last().Index == 0
	whole := core.MayBegin(s.config(), s.opts.Node, empty, s.memory.answers)
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

// begin takes part from here on. A member that is its whole group need not wait to
// hear a leader.
func (s *starting) begin(ctx actor.Context) {
	s.becomeFollower(ctx, s.term, "")
	if s.mayStand() && len(s.config().Members) == 1 {
		s.becomePreCandidate(ctx)
	}
}

// bootstrapTerm is the term of the entry that every member of a new group begins
// with; elections start above it.
const bootstrapTerm = 1

// bootstrap begins a group with its configuration as entry 1. Every member writes
// the same entry by itself, so their logs agree before they first meet; nothing is
// said until it is durable. A start that was cut off before that begins again.
func (s *starting) bootstrap(ctx actor.Context) {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(describeConfiguration(&s.opts.Bootstrap))
	if err != nil {
		s.fail(ctx, fmt.Sprintf("cannot bootstrap: %v", err))
		return
	}
	w := messages.NewBlockWriter(messages.BlockHeader{
		Group: s.opts.Group, Incarnation: s.incarnation, Term: bootstrapTerm, FirstIndex: 1,
	}, messages.EntryBytes(len(data)))
	w.Add(messages.EntryView{Kind: messages.EntryKind_CONFIGURATION, Data: data})
	b := w.Finish()
	s.setHardState(ctx, max(bootstrapTerm, s.term), s.vote)
	if err := s.appendBlock(ctx, CommittedBlock{Block: b}); err != nil {
		s.fail(ctx, fmt.Sprintf("cannot bootstrap: %v", err))
		return
	}
	s.persist(ctx, b, 0)
	s.logger.Info("new group", "members", len(s.config().Members))
}

// onDurable: the first entry, and the hard state before it, are on disk, or were. Only
// now is it noted that the member takes part: one that did and has no log lost it.
func (s *starting) onDurable(ctx actor.Context) {
	if !s.alone() {
		s.memory.begun, s.memory.founding = true, false
		s.writeMemory(ctx)
	}
	s.begin(ctx)
}
