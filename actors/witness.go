package actors

import (
	"errors"
	"fmt"
	"slices"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/messages"
)

// What is different about a witness, which votes, holds the log's end and has no state:
// see docs/design/0018-witnesses.md.

// checkWitness refuses a configuration in which this member is not what it was started
// as. One with state must not take itself for a witness, nor the other way round: it
// would be elected with nothing to answer from.
func (r *raft) checkWitness(c *core.Configuration) error {
	if _, known := c.Find(r.opts.Node); !known || c.Witness(r.opts.Node) == r.opts.Witness {
		return nil
	}
	if r.opts.Witness {
		return errors.New("this member was started as a witness, and is none in its group: start it with its state machine")
	}
	return errors.New("this member is a witness of its group, and was started with a state machine: start it as a witness")
}

// spareFor is what a heartbeat tells a witness: how far it may cut its log. Any other
// member goes by its own state.
func (l *leader) spareFor(id core.NodeID) core.Index {
	if c := l.config(); c.Witness(id) {
		return c.Spare(l.commit, l.tally.Match)
	}
	return 0
}

// beyondWitness says whether a voter with state, old or new, still lacks entries that
// this leader's witness, or that of an earlier one, may have been sent no more.
func (l *leader) beyondWitness(id core.NodeID) bool {
	c := l.config()
	return c.Witnessed() && !c.Witness(id) && l.tally.Match(id) < max(l.snapshots.newest.Index, l.tally.TermStart()-1)
}

// leavesNothing says whether all that was committed by the voters of today alone is with
// the witness that is to be, or with a majority without it. An entry that is with neither,
// and in a snapshot, the witness is sent no more; it would decide with one that stays and
// has it, and that one's end would be the entry's: who else had it may go. What is committed
// meanwhile is with a majority of those to come as well.
func (l *leader) leavesNothing(joint *core.Configuration) bool {
	voters, witness := core.Quorum{Voters: joint.Voters()}, core.NodeID("")
	others := core.Reached(voters, func(id core.NodeID) core.Index {
		if joint.Witness(id) {
			witness = id
			return 0
		}
		return l.tally.Match(id)
	})
	if witness == "" {
		return true
	}
	l.countAhead(joint.Quorum())
	return max(others, l.tally.Match(witness)) >= l.change.before
}

// countAhead has commits counted by the quorum of a configuration to come as well, or, if
// it is nobody's, no more.
func (l *leader) countAhead(q core.Quorum) {
	ahead := len(q.Voters) > 0
	if ahead == l.change.ahead {
		return
	}
	l.change.ahead, l.change.before = ahead, l.commit
	if commit, moved := l.tally.CountAhead(q); moved {
		l.commitTo(commit)
		l.uncommitted.upTo(commit)
	}
}

// mayTakeOver says whether the office may go to id. A witness leaves it to any voter with
// state that has all of its log: there may be none that is to lead, and while it leads
// nobody is served. Nor does it wait for a commit: others may lack what only a leader with
// state can send.
func (l *leader) mayTakeOver(id core.NodeID) bool {
	c := l.config()
	if l.opts.Witness {
		return c.MayStand(id) && l.tally.Match(id) >= l.tail.last().Index
	}
	return c.MayLead(id)
}

// serves says whether one that must have caught up needs no looking after: an old voter
// that lacks nothing. Whether it answers just now is another matter.
func (l *leader) serves(id core.NodeID) bool {
	return id == l.opts.Node || !slices.Contains(l.config().NewVoters(), id) && !l.beyondWitness(id)
}

// turnAway: a witness leads to bring another on, not to serve. It says whether the
// message was an operation.
func (l *leader) turnAway(ctx actor.Context, message any, sender *actor.PID) bool {
	switch m := message.(type) {
	case *messages.Propose, *messages.Query, *messages.ChangeMembers, *messages.AbortChange, *messages.ListMembers:
		l.onClient(ctx, m, sender)
	case *ReturnedOperation:
		l.onClient(ctx, m.Message, m.Asker)
	default:
		return false
	}
	return true
}

// snapshotTo is how far a snapshot taken now reaches: with a witness no further than all
// voters with state are, for it is the place where the log is cut, and nothing else.
func (r *raft) snapshotTo() core.Index {
	if r.opts.Witness {
		return min(r.spare, r.applied, r.tail.durable)
	}
	return r.applied
}

// bareSnapshot says where a witness's log may begin from now on, and by which
// configuration. The time is one that the log has reached: whoever leads goes on from it.
func (r *raft) bareSnapshot(upTo core.Index) *SaveSnapshot {
	term, ok := r.tail.shape.TermAt(upTo)
	if !ok {
		panic("a witness takes a snapshot of what its log does not have") // it is above the last one
	}
	c := activeAt(r.configs, upTo)
	return &SaveSnapshot{Capture: &capture{}, Meta: &messages.SnapshotMeta{
		Group: r.opts.Group, Incarnation: r.incarnation, Index: uint64(upTo), Term: uint64(term),
		Configuration: describeConfiguration(&c.Configuration), ConfigurationIndex: uint64(c.index), Time: r.tail.lastTime,
	}}
}

// bare says whether an offer is all of what it offers: meant for a witness.
func bare(o *messages.OfferSnapshot) bool { return o.Size == 0 }

func (r *raft) misfit() string {
	if r.opts.Witness {
		return "this member is a witness, and takes no state"
	}
	return "a snapshot without state, and this member is no witness"
}

// receiveBare makes the file that the offer says all of.
func (s *snapshotter) receiveBare(ctx actor.Context, m *ReceiveSnapshot) {
	file, err := s.store.Create(m.Offer.Meta)
	if err == nil {
		defer file.Abort()
		_, err = file.Commit()
	}
	if err != nil {
		s.decline(ctx, m.From, m.Offer, err)
		return
	}
	s.logger().Info("received where the log begins", "from", m.Offer.Leader, "index", m.Offer.Meta.Index)
	s.incoming = &incoming{offer: m.Offer, from: m.From}
	s.finished(ctx)
}

// Passer
//
//	owns   how far a witness has passed what is committed
//	hears  what an Applier hears from its Raft
//	says   EntriesApplied to its Raft
//
// It stands in the place of a witness's Applier, and applies nothing.
type passer struct {
	raft         *actor.PID
	logger       *memberLog
	passed, told core.Index
	bytes        int
	refused      int // queries, since the last report
	replies      replies
}

func (r *raft) witnessProps(raftPID *actor.PID) *actor.Props {
	p := &passer{raft: raftPID, logger: r.logger}
	return r.rt.props(0, func() behavior { return p })
}

func (p *passer) started(actor.Context) {}

func (p *passer) receive(ctx actor.Context, message any, _ *actor.PID) {
	switch m := message.(type) {
	case *ApplyCommitted:
		for i := range m.Blocks {
			p.bytes += m.Blocks[i].Len()
		}
		p.passed = max(p.passed, m.Commit)
	case *RestoreSnapshot:
		p.passed = max(p.passed, core.Index(m.Meta.Index))
	case *AnswerQueries:
		for _, q := range m.Queries {
			p.replies.add(q.Waiter, messages.ResultItem{Outcome: messages.Outcome_NOT_APPLIED, Reason: messages.Reason_NOT_LEADER})
		}
		p.refused += len(m.Queries)
	case *CaptureSnapshot:
		ctx.Send(p.raft, &SnapshotFailed{Reason: "a witness has no state"})
	}
}

func (p *passer) endTurn(ctx actor.Context) {
	p.replies.send(ctx)
	if p.passed != p.told || p.refused > 0 {
		ctx.Send(p.raft, &EntriesApplied{Index: p.passed, Queries: p.refused, Bytes: p.bytes})
		p.told, p.bytes, p.refused = p.passed, 0, 0
	}
}

func (p *passer) stopping(actor.Context) {}

func (p *passer) crashed(ctx actor.Context, reason any, stack []byte) {
	p.logger.Error("panic", "panic", reason, "stack", string(stack))
	ctx.Send(p.raft, &ApplierFailed{Reason: fmt.Sprintf("panic: %v", reason)})
}
