package actors

import (
	"fmt"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/messages"
)

// states are the own machine's checkpoints, and the one to report next.
type states struct {
	own      core.Checkpoints
	next     core.Checkpoint
	reported bool // next has been: anything later takes its place
}

func (s *states) add(c core.Checkpoint) {
	s.own.Add(c)
	if s.next.Index == 0 || s.reported || c.Rank() >= s.next.Rank() {
		s.next, s.reported = c, false
	}
}

// report is what a heartbeat is answered with. It is said again until there is
// something new: answers get lost.
func (s *states) report() *messages.Checkpoint {
	s.reported = true
	if s.next.Index == 0 {
		return nil
	}
	return describeCheckpoint(s.next)
}

func describeCheckpoint(c core.Checkpoint) *messages.Checkpoint {
	return &messages.Checkpoint{Index: uint64(c.Index), Replies: c.Replies, State: c.State}
}

func checkpointOf(m *messages.Checkpoint) core.Checkpoint {
	return core.Checkpoint{Index: core.Index(m.GetIndex()), Replies: m.GetReplies(), State: m.GetState()}
}

func (r *raft) noteCheckpoints(ctx actor.Context, points []core.Checkpoint) {
	for _, c := range points {
		r.states.add(c)
		if l, ok := r.role.(*leader); ok && l.agreement.Reached(c) {
			l.judgeStates(ctx)
		}
	}
}

// compareState compares a peer's machine with the own one.
func (l *leader) compareState(ctx actor.Context, peer core.NodeID, m *messages.Checkpoint) {
	if m.GetIndex() != 0 && l.agreement.Reported(peer, checkpointOf(m)) {
		l.judgeStates(ctx)
	}
}

// judgeStates stops who is in a state that a majority is not in. Replicas that have
// applied the same entries and differ have a machine that is not deterministic, or
// memory that has failed; what they answer cannot be trusted. Who has been told so is
// told again when it reports once more: it has not heard.
func (l *leader) judgeStates(ctx actor.Context) {
	config := l.config()
	switch v := l.agreement.Judge(config.StateQuorum(), l.opts.Node); {
	case v.SelfWrong:
		l.fail(ctx, fmt.Sprintf("state diverged: after entry %d a majority is in another state than the leader here", v.At))
	case v.Split:
		l.eachPeer(func(id core.NodeID, _ *actor.PID) { l.stopDiverged(ctx, id, v.At, true) })
		l.fail(ctx, splitReason(v.At))
	default:
		for _, id := range v.Wrong {
			_, at := l.agreement.Compared(id)
			l.stopDiverged(ctx, id, at, false)
			l.agreement.Forget(id)
		}
	}
}

// stopDiverged tells a peer to stop, and says so once.
func (l *leader) stopDiverged(ctx actor.Context, peer core.NodeID, at core.Index, split bool) {
	c, ok := l.states.own.At(at)
	pid := l.peers.get(peer)
	if !ok || pid == nil {
		return // it reports another one soon
	}
	if l.toldDiverged[peer] != at {
		l.toldDiverged[peer] = at
		l.logger.Error("state diverged, stopping the member", "peer", peer, "index", at, "split", split, "term", l.term)
	}
	l.answer(ctx, pid, &messages.StateDiverged{
		Group: l.opts.Group, Term: uint64(l.term), From: string(l.opts.Node), Checkpoint: describeCheckpoint(c), Split: split,
		Resets: l.config().Resets,
	})
}

func splitReason(at core.Index) string {
	return fmt.Sprintf("state diverged: after entry %d no state is a majority's, every member stops", at)
}

// onStateDiverged: the own checkpoint says whether the leader means this member. One that
// has none there, be it since it started again, has nothing that could be wrong; what it
// comes to will be compared.
func (f *follower) onStateDiverged(ctx actor.Context, m *messages.StateDiverged) {
	theirs := checkpointOf(m.Checkpoint)
	mine, ok := f.states.own.At(theirs.Index)
	if ok && m.Split {
		f.fail(ctx, splitReason(theirs.Index))
		return
	}
	if !ok || !mine.Differs(theirs) {
		f.logger.Warn("not diverged, as the leader says", "leader", m.From, "index", theirs.Index, "own", mine, "leaders", theirs)
		return
	}
	f.fail(ctx, fmt.Sprintf("state diverged: after entry %d the state machine here is in another state than a majority's", theirs.Index))
}
