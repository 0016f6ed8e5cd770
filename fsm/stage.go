package fsm

import (
	"errors"
	"fmt"
	"sync"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/ctxext"
)

// stage is where the actors of one machine run: on whoever calls run, one message at
// a time, in the order in which work came up. What they send each other is thereby as
// deterministic as they are, and a command ends when nothing is left to do.
//
// Others may post to the actors from any goroutine; the lock is for them. They wait
// for the host, who is woken.
type stage struct {
	host  Host
	main  *stageMailbox
	pid   *actor.PID
	reply *replyProcess
	ctx   actorContext

	mu      sync.Mutex
	ready   []*stageMailbox // that have something to hear, each once
	running bool
	woken   bool
	dead    bool // an actor has panicked: nothing is heard any more
}

// MachineName is the name of a machine's actor beneath its host.
const MachineName = "machine"

func newStage(h Host, props *actor.Props) (*stage, error) {
	s := &stage{host: h, running: true} // nobody is woken before there is an actor
	pid, err := h.SpawnNamed(s.inline(props), MachineName)
	if err != nil {
		return nil, err
	}
	s.pid = pid
	s.reply = &replyProcess{stage: s}
	replyPID, ok := h.ActorSystem().ProcessRegistry.Add(s.reply, pid.Id+"/reply")
	if !ok {
		return nil, fmt.Errorf("%w: %s", actor.ErrNameExists, replyPID.Id)
	}
	s.reply.pid = replyPID
	s.run()
	return s, nil
}

// inline describes an actor that runs on this stage, as does all that it spawns.
func (s *stage) inline(props *actor.Props) *actor.Props {
	return props.Clone(
		actor.WithMailbox(func() actor.Mailbox { return &stageMailbox{stage: s} }),
		actor.WithSpawnMiddleware(func(next actor.SpawnFunc) actor.SpawnFunc {
			return func(system *actor.ActorSystem, id string, props *actor.Props, parent actor.SpawnerContext) (*actor.PID, error) {
				return next(system, id, s.inline(props), parent)
			}
		}),
	)
}

var (
	errMachineFailed = errors.New("fsm: the machine's actor has failed before")
	errUnanswered    = errors.New("and nothing is left that could answer it: the actor must call ctx.Respond")
)

// ask gives the machine's actor a message and runs until nothing is left to do.
func (s *stage) ask(message any, e Entry) (any, error) {
	if s.dead {
		return nil, errMachineFailed
	}
	s.ctx.entry = e
	s.main.PostUserMessage(&actor.MessageEnvelope{Message: message, Sender: s.reply.expect()})
	s.run()
	s.ctx.entry = Entry{}
	answer, ok := s.reply.take()
	if !ok {
		return nil, fmt.Errorf("fsm: %T was not answered, %w", message, errUnanswered)
	}
	return answer, nil
}

func (s *stage) tell(message any) {
	if !s.dead {
		s.main.PostUserMessage(message)
		s.run()
	}
}

// stop ends the actors.
func (s *stage) stop() {
	if !s.dead {
		s.host.ActorSystem().Root.Stop(s.pid)
		s.run()
	}
	s.host.ActorSystem().ProcessRegistry.Remove(s.reply.pid)
}

// run has every actor hear what there is for it. A panic in one of them is the
// machine's end and goes on to the caller.
func (s *stage) run() {
	finished := false
	defer func() {
		if !finished {
			s.die()
		}
	}()
	for m := s.next(); m != nil; m = s.next() {
		m.deliver()
	}
	finished = true
}

// next returns the mailbox whose turn it is. Without one, posts wake the host from
// here on.
func (s *stage) next() *stageMailbox {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.ready) == 0 || s.dead {
		s.running, s.woken = false, false
		return nil
	}
	s.running = true
	m := s.ready[0]
	s.ready = s.ready[:copy(s.ready, s.ready[1:])]
	return m
}

// die takes the actors out of the system: what state they are in nobody knows, and
// they could not even be stopped.
func (s *stage) die() {
	s.mu.Lock()
	s.dead, s.running, s.ready = true, false, nil
	s.mu.Unlock()
	if s.pid == nil {
		return
	}
	system := s.host.ActorSystem()
	system.ProcessRegistry.Remove(s.pid)
	if parent := s.main.parent(); parent != nil { // who waits for its children to end
		if p, ok := system.ProcessRegistry.GetLocal(parent.Id); ok {
			p.SendSystemMessage(parent, &actor.Terminated{Who: s.pid})
		}
	}
}

// post queues a mailbox and wakes the host where nobody runs.
func (s *stage) post(m *stageMailbox, queue *[]any, message any) {
	s.mu.Lock()
	if s.dead {
		s.mu.Unlock()
		return
	}
	*queue = append(*queue, message)
	if !m.queued {
		m.queued = true
		s.ready = append(s.ready, m)
	}
	wake := !s.running && !s.woken
	s.woken = s.woken || wake
	s.mu.Unlock()
	if wake {
		s.host.Wake()
	}
}

// stageMailbox delivers one message each time the stage picks it.
type stageMailbox struct {
	stage        *stage
	invoker      actor.MessageInvoker
	user, system []any
	queued       bool
	suspended    bool
}

func (m *stageMailbox) RegisterHandlers(i actor.MessageInvoker, _ actor.Dispatcher) {
	m.invoker = i
	if m.stage.main == nil { // the machine's own comes first
		m.stage.main = m
		i.(interface{ Set(ctxext.ContextExtension) }).Set(&m.stage.ctx)
	}
}

func (m *stageMailbox) parent() *actor.PID {
	return m.invoker.(interface{ Parent() *actor.PID }).Parent()
}

func (m *stageMailbox) Start() {}

func (m *stageMailbox) UserMessageCount() int {
	m.stage.mu.Lock()
	defer m.stage.mu.Unlock()
	return len(m.user)
}

func (m *stageMailbox) PostUserMessage(message any)   { m.stage.post(m, &m.user, message) }
func (m *stageMailbox) PostSystemMessage(message any) { m.stage.post(m, &m.system, message) }

func (m *stageMailbox) deliver() {
	switch message, system := m.take(); {
	case message == nil:
	case !system:
		m.invoker.InvokeUserMessage(message)
	default:
		m.invoker.InvokeSystemMessage(message)
	}
}

// take returns the next message, system messages first, and queues the mailbox again
// where it has more.
func (m *stageMailbox) take() (message any, system bool) {
	s := m.stage
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case len(m.system) > 0:
		message, system = m.system[0], true
		m.system = m.system[:copy(m.system, m.system[1:])]
	case len(m.user) > 0 && !m.suspended:
		message = m.user[0]
		m.user = m.user[:copy(m.user, m.user[1:])]
	}
	switch message.(type) {
	case *actor.SuspendMailbox:
		m.suspended, message = true, nil
	case *actor.ResumeMailbox:
		m.suspended, message = false, nil
	}
	if m.queued = len(m.system) > 0 || len(m.user) > 0 && !m.suspended; m.queued {
		s.ready = append(s.ready, m)
	}
	return message, system
}

// replyProcess is the sender of every command. An answer to one that is over comes
// too late and is dropped, as is a second one.
type replyProcess struct {
	stage    *stage
	pid      *actor.PID
	request  uint32 // the one that waits
	waiting  bool
	answer   any
	answered bool
}

// expect returns the sender for the next command. It is told from the one before.
func (p *replyProcess) expect() *actor.PID {
	p.stage.mu.Lock()
	defer p.stage.mu.Unlock()
	p.request++
	p.waiting, p.answered, p.answer = true, false, nil
	return &actor.PID{Address: p.pid.Address, Id: p.pid.Id, RequestId: p.request}
}

func (p *replyProcess) take() (any, bool) {
	p.stage.mu.Lock()
	defer p.stage.mu.Unlock()
	answer := p.answer
	p.waiting, p.answer = false, nil
	return answer, p.answered
}

// SendUserMessage implements actor.Process.
func (p *replyProcess) SendUserMessage(pid *actor.PID, message any) {
	_, answer, _ := actor.UnwrapEnvelope(message)
	p.stage.mu.Lock()
	defer p.stage.mu.Unlock()
	if p.waiting && !p.answered && pid.RequestId == p.request {
		p.answer, p.answered = answer, true
	}
}

// SendSystemMessage implements actor.Process.
func (p *replyProcess) SendSystemMessage(*actor.PID, any) {}

// Stop implements actor.Process.
func (p *replyProcess) Stop(*actor.PID) {}
