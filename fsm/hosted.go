package fsm

import "github.com/asynkron/protoactor-go/actor"

// Hosted is a StateMachine that lives among actors. Its methods are called by the
// group's Applier, like all others.
type Hosted interface {
	// Start is called once for each start of a member, before anything else. An error
	// stops the group.
	Start(h Host) error
	// Wake follows a call of Host.Wake.
	Wake()
	// Stop is called last of all, when the member ends.
	Stop()
}

// Host is the actor that a machine lives under: the group's Applier.
type Host interface {
	// SpawnNamed makes a child of the host. It is for Start only.
	SpawnNamed(props *actor.Props, name string) (*actor.PID, error)
	ActorSystem() *actor.ActorSystem
	// Wake has the host call the machine's Wake soon, in a turn of its own. It may be
	// called from any goroutine and does not wait.
	Wake()
}
