package actors

import (
	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/messages"
)

// handOver gives the Applier what is committed, and not more of it at a time than
// the limit: a machine slower than its log costs bounded memory. What is no longer
// in memory the Applier reads from disk.
func (r *raft) handOver(ctx actor.Context) {
	commit := r.appliable()
	for r.handed < commit && r.backlog.bytes < r.opts.Limits.ApplyBacklogBytes {
		first := r.handed + 1
		m := &ApplyCommitted{Commit: commit}
		if memory := r.tail.inMemoryFrom(); first < memory {
			if r.applied < r.handed {
				return // one piece from disk at a time, after all before it
			}
			m.Commit = min(commit, memory-1)
		} else {
			m.Blocks = r.takeBlocks(first, commit)
			m.Commit = min(commit, core.Index(m.Blocks[len(m.Blocks)-1].LastIndex()))
		}
		ctx.Send(r.applier, m)
		r.handed = m.Commit
	}
	r.tail.release(r.opts.Limits.TailBytes, r.handed, r.commit)
}

// appliable is how far entries may be applied. A machine with a disk of its own must
// not be ahead of this one, or nobody could tell it from one whose log was lost.
func (r *raft) appliable() core.Index {
	if r.opts.durableMachine() {
		return min(r.commit, r.tail.durable)
	}
	return r.commit
}

// noteMachine has the disk remember what the machine has said to hold on its own. It is
// asked for before the log is cut, and so is there before.
func (r *raft) noteMachine(ctx actor.Context, kept core.Index) {
	if kept > r.machine {
		r.machine = kept
		r.persistHardState(ctx, nil)
	}
}

// takeBlocks copies the list of committed blocks from first on, up to the limit.
// Who waits for their entries is from now on answered by the Applier, and forgotten here:
// the tail keeps its blocks for long.
func (r *raft) takeBlocks(first, commit core.Index) []CommittedBlock {
	var out []CommittedBlock
	blocks := r.tail.between(first, commit)
	for i := range blocks {
		b := &blocks[i]
		if len(out) > 0 && r.backlog.bytes >= r.opts.Limits.ApplyBacklogBytes {
			break
		}
		out = append(out, *b)
		last := core.Index(b.LastIndex())
		if last <= commit {
			b.Waiters = nil
		}
		r.backlog.add(min(commit, last), b.Len())
	}
	return out
}

func (r *raft) onEntriesApplied(ctx actor.Context, m *EntriesApplied) {
	r.applied = m.Index
	r.asked -= m.Queries
	r.leased -= m.Leased
	if l, leads := r.role.(*leader); leads && m.Round != 0 {
		l.reads.answered = m.Round
	}
	r.backlog.upTo(m.Index)
	r.noteCheckpoints(ctx, m.Checkpoints)
	r.snapshots.bytes += m.Bytes
	r.noteMachine(ctx, m.Machine)
}

// onDescribeGroup answers in every role, failed included.
func (r *raft) onDescribeGroup(ctx actor.Context, sender *actor.PID) {
	if sender != nil {
		ctx.Send(sender, r.describe())
	}
}

func (r *raft) describe() *messages.GroupStatus {
	s := &messages.GroupStatus{
		Group: r.opts.Group, Member: string(r.opts.Node), Role: r.roleName(),
		Term: uint64(r.term), Leader: string(r.leader),
		FirstIndex: uint64(r.tail.shape.First()), LastIndex: uint64(r.tail.last().Index),
		DurableIndex: uint64(r.tail.durable), CommitIndex: uint64(r.commit), AppliedIndex: uint64(r.applied),
		SnapshotIndex: uint64(r.snapshots.newest.Index), SnapshotTerm: uint64(r.snapshots.newest.Term),
		Failure: r.failure, Recovering: r.describeRecovery(), DiskFull: r.diskFull, Asleep: r.sleep.asleep,
	}
	if len(r.configs) > 0 {
		s.Configuration, s.ConfigurationIndex = describeConfiguration(r.config()), uint64(r.configIndex())
		s.Change = r.describeChange()
	}
	switch role := r.role.(type) {
	case *leader:
		s.Peers = role.describePeers()
	case *starting:
		s.Awaits = role.awaited()
	}
	return s
}

func (l *leader) describePeers() []*messages.PeerStatus {
	var out []*messages.PeerStatus
	l.eachPeer(func(id core.NodeID, _ *actor.PID) {
		p := l.progress[id]
		compared, diverged := l.agreement.Compared(id)
		out = append(out, &messages.PeerStatus{
			Id: string(id), MatchIndex: uint64(l.tally.Match(id)),
			State: p.GetState(), NextIndex: p.GetNextIndex(), Inflight: p.GetInflight(),
			Active:        l.sleep.asleep || l.now-l.contact.get(id) < l.opts.ElectionTimeout,
			ComparedIndex: uint64(compared), DivergedIndex: uint64(max(diverged, l.toldDiverged[id])),
			SnapshotSent: p.GetSnapshotSent(), SnapshotSize: p.GetSnapshotSize(),
			Recovering: l.recoveries[id] != nil, DiskFull: l.room.isFull(id),
		})
	})
	return out
}
