// Package mailbox gives protoraft's actors their mailbox and dispatcher, on
// Proto.Actor's exported seams.
//
// The batching mailbox hands an actor everything that is waiting in one Receive,
// so that one turn does one write, one append, one apply for all of it. The pooled
// dispatcher keeps goroutines whose stacks have grown: waking an actor on a fresh
// goroutine costs several times as much, nearly all of it in growing the stack.
package mailbox

import (
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"
)

// Batch is what Receive gets: the messages of one turn in order of arrival, each
// as it was posted, that is possibly in a *actor.MessageEnvelope. Messages is
// valid until Receive returns.
type Batch struct {
	Messages []any
}

// Batching returns the producer of a mailbox that delivers waiting user messages
// as one *Batch of at most max. Before it takes them it yields the processor
// `yields` times, so that senders woken by the last turn can join this one.
//
// System messages come first, one at a time. Messages that Proto.Actor handles
// itself (PoisonPill and its like) are delivered alone and in order. There is no
// bound on what waits: senders are bounded by credit, never by a full mailbox.
func Batching(max, yields int) actor.MailboxProducer {
	return func() actor.Mailbox { return &batching{max: int32(max), yields: int32(yields)} }
}

const (
	idle int32 = iota
	running
)

// keepCap is the largest buffer kept after a burst.
const keepCap = 1 << 14

type batching struct {
	max, yields int32 // small, and side by side: a node has as many mailboxes as actors

	hasSystem atomic.Bool
	suspended atomic.Bool
	status    atomic.Int32
	waiting   atomic.Int64 // user messages posted and not delivered

	mu     sync.Mutex
	user   []any // posted, not yet taken
	system []any

	invoker    actor.MessageInvoker
	dispatcher actor.Dispatcher

	// The runner's own: what it has taken and how far it got.
	taken []any
	next  int
	batch Batch
}

func (m *batching) RegisterHandlers(i actor.MessageInvoker, d actor.Dispatcher) {
	m.invoker, m.dispatcher = i, d
}

func (m *batching) Start() {}

func (m *batching) UserMessageCount() int { return int(m.waiting.Load()) }

func (m *batching) PostUserMessage(message any) {
	m.waiting.Add(1)
	m.mu.Lock()
	m.user = append(m.user, message)
	m.mu.Unlock()
	m.schedule()
}

func (m *batching) PostSystemMessage(message any) {
	m.mu.Lock()
	m.system = append(m.system, message)
	m.hasSystem.Store(true)
	m.mu.Unlock()
	m.schedule()
}

func (m *batching) schedule() {
	if m.status.Load() == idle && m.status.CompareAndSwap(idle, running) {
		m.dispatcher.Schedule(m.process)
	}
}

// process runs until nothing is left. A message posted after the last look and
// before the status turns idle is seen by the check that follows.
func (m *batching) process() {
	for {
		m.run()
		m.status.Store(idle)
		more := m.hasSystem.Load() || !m.suspended.Load() && m.waiting.Load() > 0
		if !more || !m.status.CompareAndSwap(idle, running) {
			return
		}
	}
}

func (m *batching) run() {
	var current any
	defer func() {
		if r := recover(); r != nil {
			m.invoker.EscalateFailure(r, current)
		}
	}()
	for {
		if s := m.takeSystem(); s != nil {
			current = s
			m.deliverSystem(s)
			continue
		}
		if m.suspended.Load() || !m.fill() {
			return
		}
		current = m.deliverUser()
	}
}

func (m *batching) takeSystem() any {
	if !m.hasSystem.Load() {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.system[0]
	m.system[0] = nil
	m.system = m.system[1:]
	if len(m.system) == 0 {
		m.system = nil
		m.hasSystem.Store(false)
	}
	return s
}

func (m *batching) deliverSystem(s any) {
	switch s.(type) {
	case *actor.SuspendMailbox:
		m.suspended.Store(true)
	case *actor.ResumeMailbox:
		m.suspended.Store(false)
	default:
		m.invoker.InvokeSystemMessage(s)
	}
}

// fill makes sure that something is taken, and says whether there is.
func (m *batching) fill() bool {
	if m.next < len(m.taken) {
		return true
	}
	for range m.yields {
		runtime.Gosched()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.user) == 0 {
		return false
	}
	spare := m.taken[:0]
	if cap(spare) > keepCap {
		spare = nil
	}
	m.taken, m.user = m.user, spare
	m.next = 0
	return true
}

// deliverUser delivers the next batch, or one message that must stand alone. What
// is delivered counts as consumed before Receive sees it: after a panic it is gone,
// as it is with Proto.Actor's own mailbox.
func (m *batching) deliverUser() any {
	first := m.taken[m.next]
	if standsAlone(first) {
		m.taken[m.next] = nil
		m.next++
		m.waiting.Add(-1)
		m.invoker.InvokeUserMessage(first)
		return first
	}
	end := m.next + 1
	for end < len(m.taken) && end-m.next < int(m.max) && !standsAlone(m.taken[end]) {
		end++
	}
	turn := m.taken[m.next:end]
	m.next = end
	m.waiting.Add(-int64(len(turn)))
	m.batch.Messages = turn
	defer clear(turn)
	m.invoker.InvokeUserMessage(&m.batch)
	return &m.batch
}

func standsAlone(message any) bool {
	_, auto := actor.UnwrapEnvelopeMessage(message).(actor.AutoReceiveMessage)
	return auto
}
