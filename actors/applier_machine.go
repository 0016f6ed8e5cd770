package actors

import (
	"fmt"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/fsm"
)

// MachineWoken: Applier → Applier, local, from whatever goroutine has posted something
// to the state machine's actors. They hear it within this turn.
type MachineWoken struct{}

// MemberHalted: Raft → Applier, local. The group has stopped here for this reason.
type MemberHalted struct {
	Reason string
}

// machineHost is the Applier as its machine sees it. Wake is for any goroutine, so it
// keeps no context.
type machineHost struct {
	actor.Context
	root *actor.RootContext
	self *actor.PID
}

func (h machineHost) Wake() { h.root.Send(h.self, &MachineWoken{}) }

// startMachine begins the machine's life. A panic here is its failure, as everywhere.
func (a *applier) startMachine(ctx actor.Context) {
	if m, ok := a.machine.(fsm.Hosted); ok {
		if err := m.Start(machineHost{ctx, ctx.ActorSystem().Root, ctx.Self()}); err != nil {
			a.fail(ctx, err.Error())
			return
		}
	}
	if m, ok := a.machine.(fsm.Durable); ok {
		index, err := m.AppliedIndex()
		if err != nil {
			a.fail(ctx, fmt.Sprintf("state machine of group %d does not know its applied index: %v", a.group, err))
			return
		}
		a.ahead = core.Index(index)
	}
}

func (a *applier) onMachineWoken() {
	if m, ok := a.machine.(fsm.Hosted); ok {
		m.Wake()
	}
}

// onMemberHalted: what was committed before is applied, and nothing after.
func (a *applier) onMemberHalted(ctx actor.Context, m *MemberHalted) {
	if !a.failed {
		a.stop(ctx)
	}
	a.tellFailure(m.Reason)
}

// tellFailure is the end of the machine's work, once. Every start that it was told of
// is stopped before.
func (a *applier) tellFailure(reason string) {
	if a.failureTold {
		return
	}
	a.failureTold = true
	a.endNews()
	if o, ok := a.machine.(fsm.FailureObserver); ok {
		o.Failed(reason)
	}
}

// endNews stops what the machine has been told has started.
func (a *applier) endNews() {
	if a.serving {
		a.leads, a.serving = false, false
		if o, ok := a.machine.(fsm.LeaderObserver); ok {
			o.LeaderStop(uint64(a.term))
		}
	}
	a.stopFollowing()
}

func (a *applier) stopFollowing() {
	was := a.followed
	a.followed = followed{}
	if o, ok := a.machine.(fsm.FollowObserver); ok && was.leader != "" {
		o.StopFollowing(string(was.leader), uint64(was.term))
	}
}

// stopMachine ends the machine's life.
func (a *applier) stopMachine() {
	a.endNews()
	if o, ok := a.machine.(fsm.ShutdownObserver); ok {
		o.Shutdown()
	}
	if m, ok := a.machine.(fsm.Hosted); ok {
		m.Stop()
	}
}
