package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/ctxext"
	"google.golang.org/protobuf/proto"
)

// FromProps makes a state machine of an actor. The actor receives the group's
// commands, decoded, as ordinary messages and answers each with ctx.Respond:
//
//	func (o *orders) Receive(ctx actor.Context) {
//		switch m := ctx.Message().(type) {
//		case *pb.Place:
//			ctx.Respond(o.place(m, fsm.EntryOf(ctx).Time))
//		case *pb.Show: // a query
//			ctx.Respond(o.show(m))
//		case *fsm.SaveSnapshot:
//			ctx.Respond(o.view())
//		case *fsm.LoadSnapshot:
//			ctx.Respond(o.load(m.Reader))
//		}
//	}
//
//	node.StartGroup(1, fsm.FromProps(actor.PropsFromProducer(newOrders),
//		fsm.Commands(&pb.Place{}), fsm.Queries(&pb.Show{})))
//
// A client proposes what Encode makes of a command and reads the reply with Decode.
// The actor keeps the rules of a StateMachine, and besides these:
//
//   - An answer is a proto.Message, nil (an empty reply) or an error, which refuses
//     the command or query for that reason: an ordinary reply, the same on every
//     replica. A panic stops the group.
//   - The actor runs within the Applier's turn, one message at a time, and so do the
//     actors it spawns. A command is over when none of them has anything left to do.
//     Until then any of them may answer it, by ctx.Respond to a forwarded command or
//     by ctx.Send to the sender kept. One that is not answered by then never would
//     be: the group stops, and says so. No timeout decides anything.
//   - Commands and queries of types that were not named are refused before they reach
//     the actor.
//   - Messages from elsewhere are heard between commands, whenever they come. They
//     must not touch the replicated state: no other replica hears them then.
//   - No ReceiveTimeout, no Future, no ReenterAfter, no supervision that restarts.
//
// A fresh actor is made of props each time a member starts, so the machine may be
// given to one member after the other, but only to one at a time. Middleware and
// decorators of props are kept; mailbox and dispatcher are not.
func FromProps(props *actor.Props, options ...ActorOption) *ActorMachine {
	m := &ActorMachine{props: props, commands: catalogue{}, queries: catalogue{}}
	for _, o := range options {
		o(m)
	}
	return m
}

// ActorOption is an option of FromProps.
type ActorOption func(*ActorMachine)

// Commands names the types of the commands an actor takes.
func Commands(examples ...proto.Message) ActorOption {
	return func(m *ActorMachine) { m.commands.add(examples) }
}

// Queries names the types of the queries an actor answers. They must not change its
// state.
func Queries(examples ...proto.Message) ActorOption {
	return func(m *ActorMachine) { m.queries.add(examples) }
}

// SaveSnapshot asks an actor for its state. It answers with a View, which is written
// elsewhere while commands go on, or with a proto.Message that holds the state, which
// is encoded at once, or with an error.
type SaveSnapshot struct{}

// LoadSnapshot asks an actor to replace its state by what a view has written, or by
// the bytes of the message it answered SaveSnapshot with. It answers with nil or an
// error; the latter stops the group. Reader ends with Receive.
type LoadSnapshot struct{ Reader io.Reader }

// LeaderStarted, and those below, tell an actor what the observers of a StateMachine
// are told, in order with its commands. They are not answered.
type LeaderStarted struct{ Term uint64 }

// LeaderStopped: see LeaderObserver.
type LeaderStopped struct{ Term uint64 }

// FollowingStarted: see FollowObserver.
type FollowingStarted struct {
	Leader string
	Term   uint64
}

// FollowingStopped: see FollowObserver.
type FollowingStopped struct {
	Leader string
	Term   uint64
}

// ConfigurationCommitted: see ConfigurationObserver.
type ConfigurationCommitted struct {
	Index   uint64
	Members []string
}

// MemberFailed: see FailureObserver.
type MemberFailed struct{ Reason string }

// EntryOf returns the entry that the message at hand is the command of: its index,
// log time and chance. ctx is the context of the machine's actor itself, not of one
// it has spawned. Outside a command it is an Entry of index 0. Data is not for the
// actor: it has the message.
func EntryOf(ctx actor.Context) Entry {
	if c, ok := ctx.Get(contextID).(*actorContext); ok {
		return c.entry
	}
	return Entry{}
}

var contextID = ctxext.NextContextExtensionID()

// actorContext hangs on the context of a machine's actor.
type actorContext struct{ entry Entry }

func (*actorContext) ExtensionID() ctxext.ContextExtensionID { return contextID }

// ActorMachine is a StateMachine that is an actor. See FromProps.
type ActorMachine struct {
	props             *actor.Props
	commands, queries catalogue
	stage             *stage // nil until Start
}

var (
	_ Hosted                = (*ActorMachine)(nil)
	_ Querier               = (*ActorMachine)(nil)
	_ LeaderObserver        = (*ActorMachine)(nil)
	_ FollowObserver        = (*ActorMachine)(nil)
	_ ConfigurationObserver = (*ActorMachine)(nil)
	_ FailureObserver       = (*ActorMachine)(nil)
)

// Start implements Hosted: it spawns the actor, afresh, as a child of the host.
func (m *ActorMachine) Start(h Host) error {
	s, err := newStage(h, m.props)
	if err != nil {
		return fmt.Errorf("fsm: cannot spawn the machine's actor: %w", err)
	}
	m.stage = s
	return nil
}

// Wake implements Hosted: it lets the actor hear what came from elsewhere.
func (m *ActorMachine) Wake() {
	if m.stage != nil {
		m.stage.run()
	}
}

// Stop implements Hosted: the actor gets *actor.Stopping, and ends with what it has
// spawned.
func (m *ActorMachine) Stop() {
	if m.stage != nil {
		m.stage.stop()
	}
}

var errNotStarted = errors.New("fsm: the machine is an actor and nobody has started it: give it to a member")

// ask gives the actor a message and returns its answer.
func (m *ActorMachine) ask(message any, e Entry) (any, error) {
	if m.stage == nil {
		return nil, errNotStarted
	}
	return m.stage.ask(message, e)
}

// Apply implements StateMachine.
func (m *ActorMachine) Apply(e Entry) ([]byte, error) {
	command, why := m.commands.decode("command", e.Data)
	if why != "" {
		return refusal(why), nil
	}
	e.Data = nil
	answer, err := m.ask(command, e)
	if err != nil {
		return nil, err
	}
	if refused, ok := answer.(error); ok {
		return refusal(refused.Error()), nil
	}
	return encodeAnswer(command, answer)
}

func encodeAnswer(to any, answer any) ([]byte, error) {
	switch a := answer.(type) {
	case nil:
		return nil, nil
	case proto.Message:
		return Encode(a)
	}
	return nil, fmt.Errorf("fsm: the actor answered %T with %T, expected a proto.Message, nil or an error", to, answer)
}

// Query implements Querier.
func (m *ActorMachine) Query(query []byte) ([]byte, error) {
	message, why := m.queries.decode("query", query)
	if why != "" {
		return nil, &RefusedError{why}
	}
	answer, err := m.ask(message, Entry{})
	if err != nil {
		return nil, err
	}
	if refused, ok := answer.(error); ok {
		return nil, refused
	}
	return encodeAnswer(message, answer)
}

// Snapshot implements StateMachine.
func (m *ActorMachine) Snapshot() (View, error) {
	answer, err := m.ask(&SaveSnapshot{}, Entry{})
	if err != nil {
		return nil, err
	}
	switch a := answer.(type) {
	case View:
		return a, nil
	case error:
		return nil, a
	case proto.Message:
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(a)
		return encodedView(b), err
	}
	return nil, fmt.Errorf("fsm: the actor answered *fsm.SaveSnapshot with %T, expected an fsm.View, a proto.Message or an error", answer)
}

type encodedView []byte

func (v encodedView) WriteTo(w io.Writer) (int64, error) { return bytes.NewReader(v).WriteTo(w) }
func (encodedView) Release()                             {}

// Restore implements StateMachine.
func (m *ActorMachine) Restore(r io.Reader) error {
	answer, err := m.ask(&LoadSnapshot{Reader: r}, Entry{})
	if err != nil {
		return err
	}
	switch a := answer.(type) {
	case nil:
		return nil
	case error:
		return a
	}
	return fmt.Errorf("fsm: the actor answered *fsm.LoadSnapshot with %T, expected nil or an error", answer)
}

// tell gives the actor news that it does not answer.
func (m *ActorMachine) tell(message any) {
	if m.stage != nil {
		m.stage.tell(message)
	}
}

// LeaderStart implements LeaderObserver.
func (m *ActorMachine) LeaderStart(term uint64) { m.tell(&LeaderStarted{term}) }

// LeaderStop implements LeaderObserver.
func (m *ActorMachine) LeaderStop(term uint64) { m.tell(&LeaderStopped{term}) }

// StartFollowing implements FollowObserver.
func (m *ActorMachine) StartFollowing(leader string, term uint64) {
	m.tell(&FollowingStarted{leader, term})
}

// StopFollowing implements FollowObserver.
func (m *ActorMachine) StopFollowing(leader string, term uint64) {
	m.tell(&FollowingStopped{leader, term})
}

// ConfigurationCommitted implements ConfigurationObserver.
func (m *ActorMachine) ConfigurationCommitted(index uint64, members []string) {
	m.tell(&ConfigurationCommitted{index, members})
}

// Failed implements FailureObserver.
func (m *ActorMachine) Failed(reason string) { m.tell(&MemberFailed{reason}) }
