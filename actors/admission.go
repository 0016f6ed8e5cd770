package actors

import (
	"math"
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors/mailbox"
	"github.com/protoraft/protoraft/messages"
)

// admission is the door before the mailbox of an actor that takes clients' operations. It
// answers BUSY to those that would wait there for too long: at once, on the goroutine of
// who brings them. Everything else passes, and nothing overtakes anything. A mailbox
// without it is a queue that nobody looks after: operations refused only when the actor
// comes to them have waited for it, and so have Raft's own messages behind them.
//
// What is in the mailbox is bounded by number and bytes, and further by what the actor
// says at the end of its turn that it can take.
type admission struct {
	most, mostBytes int64

	operations, bytes, writes atomic.Int64 // in the mailbox
	room, roomBytes           atomic.Int64 // for writes there
}

func newAdmission(most, mostBytes int) *admission {
	d := &admission{most: int64(most), mostBytes: int64(mostBytes)}
	d.reset()
	return d
}

func (d *admission) reset() {
	d.operations.Store(0)
	d.bytes.Store(0)
	d.writes.Store(0)
	d.open(unlimited, unlimited)
}

// unlimited is the room of a member that does not lead: it passes on what comes.
const unlimited = math.MaxInt

// open is called by the actor at the end of its turn: so many writes it can take, of so
// many bytes in all.
func (d *admission) open(writes, bytes int) {
	change(&d.room, writes)
	change(&d.roomBytes, bytes)
}

// change leaves alone what others read all the while, and need not read anew.
func change(v *atomic.Int64, to int) {
	if v.Load() != int64(to) {
		v.Store(int64(to))
	}
}

// noRoom says whether no write can wait.
func (d *admission) noRoom() bool {
	return d.writes.Load() >= d.room.Load() || d.bytes.Load() >= d.roomBytes.Load()
}

// admit says what of a message may pass, nil for nothing, and counts it in. What comes
// together passes as a whole, or without its writes.
func (d *admission) admit(message any) (pass any, refused []any) {
	load := loadOf(message)
	if load.operations == 0 {
		return message, nil
	}
	if d.full() {
		return nil, []any{message}
	}
	if load.writes > 0 && d.noRoom() {
		if message, refused = split(message); message == nil {
			return nil, refused
		}
		load = loadOf(message)
	}
	d.count(load, 1)
	return message, refused
}

// full says whether no operation can wait any more, not even one that is no write.
func (d *admission) full() bool {
	return d.operations.Load() >= d.most || d.bytes.Load() >= d.mostBytes
}

// left counts out what the actor is given.
func (d *admission) left(message any) {
	if load := loadOf(message); load.operations > 0 {
		d.count(load, -1)
	}
}

func (d *admission) count(l load, sign int64) {
	d.operations.Add(sign * l.operations)
	d.bytes.Add(sign * l.bytes)
	if l.writes > 0 {
		d.writes.Add(sign * l.writes)
	}
}

// load is what a message brings of clients' operations. A write is one that needs an entry
// of the log. Changes of the members are none of them: they are rare, and may be what
// helps.
type load struct{ operations, bytes, writes int64 }

func loadOf(message any) load {
	switch m := message.(type) {
	case *messages.Propose:
		return load{1, int64(sizeOf(m)), 1}
	case *messages.Query:
		if m.GetConsistency() == messages.Consistency_THROUGH_LOG {
			return load{1, int64(sizeOf(m)), 1}
		}
		return load{1, int64(sizeOf(m)), 0}
	case *ReturnedOperation:
		return loadOf(m.Message)
	case *Operations:
		var sum load
		for _, item := range m.Items {
			sum.add(loadOf(item))
		}
		return sum
	case *messages.ForwardRequests:
		var sum load
		for _, f := range m.Requests {
			sum.add(loadOf(operationIn(f)))
		}
		return sum
	}
	return load{}
}

func (l *load) add(one load) {
	l.operations += one.operations
	l.bytes += one.bytes
	l.writes += one.writes
}

// operationIn is the command or query that another node's Gateway has passed on, or nil.
func operationIn(f *messages.ForwardedRequest) any {
	switch r := f.GetRequest().(type) {
	case *messages.ForwardedRequest_Propose:
		return r.Propose
	case *messages.ForwardedRequest_Query:
		return r.Query
	}
	return nil
}

// split takes the writes out of a message.
func split(message any) (pass any, writes []any) {
	together, ok := message.(*Operations)
	if !ok {
		return nil, []any{message}
	}
	var items []any
	for _, item := range together.Items {
		if loadOf(item).writes > 0 {
			writes = append(writes, item)
		} else {
			items = append(items, item)
		}
	}
	if len(items) == 0 {
		return nil, writes
	}
	return &Operations{Items: items}, writes
}

// eachOperation visits the operations of a message, with who asked.
func eachOperation(message any, asker *actor.PID, f func(Waiter)) {
	switch m := message.(type) {
	case *Operations:
		for _, item := range m.Items {
			eachOperation(item, asker, f)
		}
	case *ReturnedOperation:
		f(Waiter{m.Asker, requestOf(m.Message)})
	case *messages.ForwardRequests:
		for _, one := range m.Requests {
			if op := operationIn(one); op != nil {
				eachOperation(op, asker, f)
			} else if _, request, members := forwardedMembers(one); members != nil {
				f(Waiter{asker, request})
			}
		}
	default:
		f(Waiter{asker, requestOf(m)})
	}
}

// doorway is a mailbox with a door: it looks at what comes, and at what is delivered.
type doorway struct {
	actor.Mailbox
	door    *admission
	invoker actor.MessageInvoker
	self    *actor.PID
	root    *actor.RootContext
}

// before gives the mailboxes that produce makes the door. It begins anew with each: one
// actor has it at a time.
func (d *admission) before(produce actor.MailboxProducer) actor.MailboxProducer {
	return func() actor.Mailbox {
		d.reset()
		return &doorway{Mailbox: produce(), door: d}
	}
}

func (w *doorway) RegisterHandlers(invoker actor.MessageInvoker, dispatcher actor.Dispatcher) {
	its := invoker.(interface {
		Self() *actor.PID
		ActorSystem() *actor.ActorSystem
	})
	w.invoker, w.self, w.root = invoker, its.Self(), its.ActorSystem().Root
	w.Mailbox.RegisterHandlers(w, dispatcher)
}

// Self is whose mailbox it is.
func (w *doorway) Self() *actor.PID { return w.self }

func (w *doorway) PostUserMessage(posted any) {
	_, message, asker := actor.UnwrapEnvelope(posted)
	pass, refused := w.door.admit(message)
	switch {
	case len(refused) == 0:
		w.Mailbox.PostUserMessage(posted)
		return
	case pass != nil:
		w.Mailbox.PostUserMessage(&actor.MessageEnvelope{Message: pass, Sender: asker})
	}
	w.refuse(refused, asker)
}

func (w *doorway) refuse(refused []any, asker *actor.PID) {
	var out replies
	busy := messages.ResultItem{Outcome: messages.Outcome_NOT_APPLIED, Reason: messages.Reason_BUSY}
	for _, message := range refused {
		eachOperation(message, asker, func(to Waiter) { out.add(to, busy) })
	}
	out.sendFrom(w.root, w.self)
}

// InvokeUserMessage is called in the actor's turn, with what it is about to hear.
func (w *doorway) InvokeUserMessage(delivered any) {
	batch, ok := delivered.(*mailbox.Batch)
	if !ok {
		w.door.left(actor.UnwrapEnvelopeMessage(delivered))
	} else {
		for _, one := range batch.Messages {
			w.door.left(actor.UnwrapEnvelopeMessage(one))
		}
	}
	w.invoker.InvokeUserMessage(delivered)
}

func (w *doorway) InvokeSystemMessage(message any) { w.invoker.InvokeSystemMessage(message) }

func (w *doorway) EscalateFailure(reason, message any) { w.invoker.EscalateFailure(reason, message) }
