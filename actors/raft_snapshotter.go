package actors

import (
	"fmt"

	"github.com/asynkron/protoactor-go/actor"
)

// snapshotter is the member's Snapshotter, made where there is none. It is nil for a member
// that keeps no snapshots, and while the one before is ending: only when nothing of that
// uses the files any more may another do so. Whoever finds none asks again.
func (r *raft) snapshotter(ctx actor.Context) *actor.PID {
	s := &r.snapshots
	if s.pid != nil || s.ending || r.opts.Snapshots == nil {
		return s.pid
	}
	s.made++
	pid, err := ctx.SpawnNamed(r.snapshotterProps(ctx.Self()), snapshotterName)
	if err != nil {
		panic(fmt.Sprintf("snapshotter: %v", err)) // the name is this actor's own
	}
	s.pid = pid
	return pid
}

// restSnapshotter ends it in a member that sleeps, once it has done all it was told to: ten
// thousand members would have one each for nothing. What a peer still sends it is of no use
// to a member that has all of the log.
func (r *raft) restSnapshotter(ctx actor.Context) {
	s := &r.snapshots
	if s.pid != nil && r.sleep.asleep && !r.occupied() {
		ctx.Poison(s.pid)
		s.pid, s.ending = nil, true
	}
}

// onTerminated: a child has ended, and all of its own.
func (r *raft) onTerminated(ctx actor.Context, m *actor.Terminated) {
	ctx.Send(m.Who, goodbye{})
	if m.Who.Id == ctx.Self().Id+"/"+snapshotterName {
		r.snapshots.pid, r.snapshots.ending = nil, false
		return
	}
	if l, leads := r.role.(*leader); leads {
		l.onTerminated(ctx, m)
	}
}

// goodbye is said to a child that has ended, for nobody to hear. A PID that was spoken to
// holds on to all that was its actor's until it is spoken to in vain, and the parent's set
// of children to the PID that was last in it.
type goodbye struct{}

// IgnoreDeadLetterLogging: nothing was lost.
func (goodbye) IgnoreDeadLetterLogging() {}
