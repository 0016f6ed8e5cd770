package sim

import (
	"strconv"
	"strings"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors"
	"github.com/protoraft/protoraft/actors/mailbox"
)

// stepMailbox delivers one system message, or one batch of a drawn size, each time
// the world picks it.
type stepMailbox struct {
	n    *node
	life int

	pid    *actor.PID
	number uint64 // in order of birth within the node's life
	group  uint64 // 0 for the node's own actors
	log    bool   // the LogWriter: its turns take the time of a sync
	kind   actorKind
	stores bool   // the Node, the LogWriter or the LogReader
	term   uint64 // of a Replicator

	sends     sending       // what was seen of a Replicator
	checkedAt time.Duration // when it was last asked how it does
	toldFull  bool          // the peer's disk is, by what it was told last
	poisoned  bool          // its next turn ends in a panic
	stopped   bool
	away      bool // held up within a turn

	user, system []any
	spare        []any // room for user, of an earlier batch
	suspended    bool
	held         bool // by a script: what comes waits
	scheduled    bool
	invoker      actor.MessageInvoker
	dispatcher   actor.Dispatcher
	batch        mailbox.Batch
}

// dispatcher queues what it is given; the world picks.
type dispatcher struct{ n *node }

func (d dispatcher) Schedule(f func()) { d.n.w.ready = append(d.n.w.ready, task{d.n, d.n.life, f}) }
func (d dispatcher) Throughput() int   { return 1 }

// task is something that can be done now, unless its process has ended.
type task struct {
	n    *node
	life int
	f    func()
}

// queueMax bounds what may wait in one mailbox: everything an actor is sent is
// bounded by credit or by a timer.
const queueMax = 4096

func (m *stepMailbox) RegisterHandlers(i actor.MessageInvoker, d actor.Dispatcher) {
	m.invoker, m.dispatcher = i, d
	m.pid = i.(interface{ Self() *actor.PID }).Self()
	m.group, m.log = groupOf(m.pid.Id), strings.HasSuffix(m.pid.Id, "/log-writer")
	if m.kind = kindOf(m.pid.Id); m.kind == replicatorActor {
		m.term = replicatorTerm(m.pid.Id)
	}
	m.stores = m.log || m.pid.Id == actors.NodeName || strings.HasSuffix(m.pid.Id, "/log-reader")
	m.number = uint64(len(m.n.mailboxes))
	m.n.mailboxes = append(m.n.mailboxes, m)
}

// memberName is what a group's member is spawned as.
func memberName(group uint64) string { return "raft-" + strconv.FormatUint(group, 10) }

// groupOf reads the group from the id of a member or one of its children.
func groupOf(id string) uint64 {
	rest, ok := strings.CutPrefix(id, "raft-")
	if !ok {
		return 0
	}
	rest, _, _ = strings.Cut(rest, "/")
	group, err := strconv.ParseUint(rest, 10, 64)
	if err != nil {
		panic("sim: no group in the id " + id)
	}
	return group
}

func (m *stepMailbox) Start()                {}
func (m *stepMailbox) UserMessageCount() int { return len(m.user) }

func (m *stepMailbox) PostUserMessage(message any) {
	if !m.n.acts(m.life) {
		return
	}
	_, inner, _ := actor.UnwrapEnvelope(message)
	m.n.w.checks.posted(m, inner)
	if w := m.n.w; w.withheld != nil {
		*w.withheld = append(*w.withheld, func() { m.put(message) })
		return
	}
	m.put(message)
}

func (m *stepMailbox) put(message any) {
	m.user = append(m.user, message)
	if len(m.user) > queueMax {
		m.n.w.violate("bounded queues", "%d messages wait at %s on %s", len(m.user), m.pid.Id, m.n.id)
	}
	m.schedule()
}

func (m *stepMailbox) PostSystemMessage(message any) {
	if !m.n.acts(m.life) {
		return
	}
	m.system = append(m.system, message)
	m.schedule()
}

func (m *stepMailbox) hasWork() bool {
	return len(m.system) > 0 || !m.suspended && !m.held && (len(m.user) > 0 || m.poisoned)
}

func (m *stepMailbox) schedule() {
	if m.scheduled || m.away || !m.hasWork() {
		return
	}
	m.scheduled = true
	if d := m.n.turnDelay(m); d > 0 {
		m.n.w.after(d, func() { m.n.whenAwake(m.life, func() { m.dispatcher.Schedule(m.turn) }) })
		return
	}
	m.dispatcher.Schedule(m.turn)
}

// turn is one step of one actor.
func (m *stepMailbox) turn() {
	defer m.finish()
	m.n.w.turning = m
	if len(m.system) > 0 {
		message := m.system[0]
		m.system = m.system[1:]
		m.note(message, 1)
		switch message.(type) {
		case *actor.SuspendMailbox:
			m.suspended = true
		case *actor.ResumeMailbox:
			m.suspended = false
		default:
			_, stop := message.(*actor.Stop)
			m.stopped = m.stopped || stop
			m.n.w.checks.turnBegins(m, nil)
			m.invoker.InvokeSystemMessage(message)
		}
		return
	}
	if m.suspended || m.held || len(m.user) == 0 && !m.poisoned {
		return
	}
	if len(m.user) > 0 && standsAlone(m.user[0]) {
		message := m.user[0]
		m.user = m.user[1:]
		m.note(message, 1)
		m.n.w.checks.turnBegins(m, []any{message})
		m.invoker.InvokeUserMessage(message)
		return
	}
	m.batch.Messages = m.take()
	m.n.w.checks.turnBegins(m, m.batch.Messages)
	if m.poisoned {
		m.n.w.checks.turn.poisoned = true
		m.batch.Messages = m.poison(m.batch.Messages)
	}
	if w := m.n.w; m.kind == replicatorActor && w.setup.heldUp > 0 && !w.healed && w.rng.Float64() < w.setup.heldUp {
		m.holdUp()
		return
	}
	if !m.n.w.checks.turn.poisoned && m.n.holdsNews(m, m.batch.Messages) {
		m.n.heldNews.release = m.withhold()
		return
	}
	m.invoker.InvokeUserMessage(&m.batch)
}

// wipe: as in production, a batch is worth nothing after its turn.
func (m *stepMailbox) wipe() {
	clear(m.batch.Messages)
	if m.spare == nil {
		m.spare = m.batch.Messages[:0]
	}
	m.batch.Messages = nil
}

// take draws how many of the waiting messages this turn hears.
func (m *stepMailbox) take() []any {
	if len(m.user) == 0 {
		return nil
	}
	n := 1
	for n < len(m.user) && !standsAlone(m.user[n]) {
		n++
	}
	if n > 1 && m.n.w.rng.Float64() < m.n.w.setup.partBatch {
		n = 1 + m.n.w.rng.IntN(n)
	}
	taken := m.user[:n:n]
	if m.user = m.user[n:]; len(m.user) == 0 {
		m.user, m.spare = m.spare, nil
	}
	m.note(taken[0], n)
	return taken
}

func (m *stepMailbox) note(message any, n int) {
	w := m.n.w
	_, inner, _ := actor.UnwrapEnvelope(message)
	w.trace.add(evTurn, uint64(m.n.number), m.number, w.types.of(inner), uint64(n))
	if w.trace.out != nil {
		w.trace.printf("%s %-28s %T %v (+%d)", m.n.id, m.pid.Id, inner, inner, n-1)
	}
}

// finish follows every turn. The actors recover their own panics; one that gets
// here has passed them all.
func (m *stepMailbox) finish() {
	if r := recover(); r != nil {
		m.n.w.violate("no panic", "%s on %s: %v", m.pid.Id, m.n.id, r)
	}
	m.n.w.checks.turnEnds(m)
	m.wipe()
	m.scheduled = false
	m.schedule()
	m.n.turnEnded()
}

func standsAlone(message any) bool {
	_, auto := actor.UnwrapEnvelopeMessage(message).(actor.AutoReceiveMessage)
	return auto
}
