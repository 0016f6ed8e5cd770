package actors

import (
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/hashicorp/go-hclog"

	"github.com/protoraft/protoraft/actors/mailbox"
)

// Runtime is what every actor of a node stands on. All spawning passes through it,
// so that the same actors run on pooled goroutines in production and on one seeded
// thread in simulation.
type Runtime struct {
	Clock Clock
	// Rand returns a new, independent source of chance.
	Rand func() *rand.Rand
	// Mailbox makes mailboxes that deliver *mailbox.Batch; yields is how often to
	// give way before taking what waits.
	Mailbox    func(yields int) actor.MailboxProducer
	Dispatcher actor.Dispatcher
	Logger     hclog.Logger
}

// idleGoroutines is how many goroutines a node keeps for its actors.
const idleGoroutines = 256

// batchMax bounds one turn: a safety net only, credit bounds what waits.
const batchMax = 1 << 16

// yieldsMax is how often an actor gives way at most before it takes what waits.
const yieldsMax = 2

// NewRuntime is the production Runtime. Stop it after the last actor has stopped.
func NewRuntime(logger hclog.Logger) (rt *Runtime, stop func()) {
	pool := mailbox.NewPooled(idleGoroutines)
	var mailboxes [yieldsMax + 1]actor.MailboxProducer // every actor keeps its own's
	for yields := range mailboxes {
		mailboxes[yields] = mailbox.Batching(batchMax, yields)
	}
	return &Runtime{
		Clock: SystemClock(),
		Rand: func() *rand.Rand {
			return rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
		},
		Mailbox:    func(yields int) actor.MailboxProducer { return mailboxes[yields] },
		Dispatcher: pool,
		Logger:     logger,
	}, pool.Stop
}

// behavior is what an actor of this package does in a turn. Everything that was
// waiting is heard one by one, then endTurn acts on the sum of it.
type behavior interface {
	// started is called first of all.
	started(ctx actor.Context)
	// receive routes one message. sender is nil where none was given.
	receive(ctx actor.Context, message any, sender *actor.PID)
	// endTurn follows the last message of a turn.
	endTurn(ctx actor.Context)
	// stopping is called once, before the actor ends.
	stopping(ctx actor.Context)
	// crashed is called when one of the above has panicked. What the turn had not
	// yet heard is lost. Later messages still arrive: crashed decides what for.
	crashed(ctx actor.Context, reason any, stack []byte)
}

// props is the one way to describe an actor. A panic never reaches Proto.Actor's
// supervision, which would make a fresh actor that has forgotten its vote. They are for
// one actor: what it is made of is let go then, for it keeps its props.
func (rt *Runtime) props(yields int, produce func() behavior) *actor.Props {
	return rt.propsOn(rt.Mailbox(yields), produce)
}

// propsBehind is props for an actor that takes clients' operations. One such actor runs
// at a time.
func (rt *Runtime) propsBehind(d *admission, yields int, produce func() behavior) *actor.Props {
	return rt.propsOn(d.before(rt.Mailbox(yields)), produce)
}

func (rt *Runtime) propsOn(mailboxes actor.MailboxProducer, produce func() behavior) *actor.Props {
	return actor.PropsFromProducer(
		func() actor.Actor {
			t := &turns{behavior: produce()}
			produce = nil
			return t
		},
		actor.WithMailbox(mailboxes),
		actor.WithDispatcher(rt.Dispatcher),
		actor.WithSupervisor(stopFailed),
	)
}

var stopFailed = actor.NewOneForOneStrategy(0, 0, func(any) actor.Directive { return actor.StopDirective })

// turns is the shell between Proto.Actor and a behavior.
type turns struct {
	behavior behavior
}

func (t *turns) Receive(ctx actor.Context) {
	defer t.recover(ctx)
	switch m := ctx.Message().(type) {
	case *mailbox.Batch:
		for _, item := range m.Messages {
			_, message, sender := actor.UnwrapEnvelope(item)
			if _, nobody := message.(*actor.DeadLetterResponse); nobody {
				continue // to something said to nobody: whoever said it looks by itself whether it is heard
			}
			t.behavior.receive(ctx, message, sender)
		}
		t.behavior.endTurn(ctx)
	case *actor.Started:
		t.behavior.started(ctx)
	case *actor.Stopping:
		t.behavior.stopping(ctx)
	case *actor.Stopped:
		if b, ok := t.behavior.(interface{ stopped(actor.Context) }); ok {
			b.stopped(ctx) // after its children
		}
		t.behavior = ended{} // a PID that somebody keeps must not keep all that was its actor's
	case *actor.Restarting:
	default: // Terminated, or a message under somebody else's mailbox
		t.behavior.receive(ctx, m, ctx.Sender())
		t.behavior.endTurn(ctx)
	}
}

// ended is an actor that is no more.
type ended struct{}

func (ended) started(actor.Context)                  {}
func (ended) receive(actor.Context, any, *actor.PID) {}
func (ended) endTurn(actor.Context)                  {}
func (ended) stopping(actor.Context)                 {}
func (ended) crashed(actor.Context, any, []byte)     {}

func (t *turns) recover(ctx actor.Context) {
	if r := recover(); r != nil {
		t.behavior.crashed(ctx, r, debug.Stack())
	}
}

// timer is one outstanding wake-up. Its message carries the generation, so that
// one which was on its way when the timer was set anew is known as stale.
type timer struct {
	generation uint64
	stop       func()
}

// set starts the timer anew; message is given the new generation.
func (t *timer) set(ctx actor.Context, clock Clock, d time.Duration, message func(generation uint64) any) {
	t.cancel()
	t.generation++
	generation, self, root := t.generation, ctx.Self(), ctx.ActorSystem().Root
	t.stop = clock.After(d, func() { root.Send(self, message(generation)) })
}

// cancel stops the timer; a message already on its way becomes stale.
func (t *timer) cancel() {
	t.generation++
	if t.stop != nil {
		t.stop()
		t.stop = nil
	}
}
