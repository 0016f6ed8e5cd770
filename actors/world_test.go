package actors

import (
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/hashicorp/go-hclog"

	"github.com/protoraft/protoraft/actors/mailbox"
	"github.com/protoraft/protoraft/messages"
)

// world is an actor system that runs in the test's own turn: nothing happens until
// settle, no time passes until advance.
type world struct {
	t         *testing.T
	system    *actor.ActorSystem
	rt        *Runtime
	clock     *handClock
	scheduled []func()
	remote    map[string]*probe // by address/id, of other nodes
}

const (
	selfAddress = "n1:1"
	readTimeout = 5 * electionTimeout
)

func newWorld(t *testing.T) *world {
	quiet := actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) })
	w := &world{t: t, clock: &handClock{}, remote: map[string]*probe{}}
	w.system = actor.NewActorSystemWithConfig(actor.Configure(quiet))
	w.system.ProcessRegistry.Address = selfAddress
	w.system.ProcessRegistry.RegisterAddressResolver(func(pid *actor.PID) (actor.Process, bool) {
		return w.at(pid.Address, pid.Id), true
	})
	seed := uint64(0)
	w.rt = &Runtime{
		Clock:      w.clock,
		Rand:       func() *rand.Rand { seed++; return rand.New(rand.NewPCG(seed, 1)) },
		Mailbox:    func(int) actor.MailboxProducer { return mailbox.Batching(1<<16, 0) },
		Dispatcher: w, Logger: hclog.NewNullLogger(),
	}
	t.Cleanup(w.system.Shutdown)
	return w
}

// Schedule and Throughput make the world its actors' dispatcher.
func (w *world) Schedule(fn func()) { w.scheduled = append(w.scheduled, fn) }
func (w *world) Throughput() int    { return 1 }

// settle runs actors until nobody has anything to do.
func (w *world) settle() {
	w.t.Helper()
	for n := 0; len(w.scheduled) > 0; n++ {
		if n > 10_000 {
			w.t.Fatal("actors keep each other busy for ever")
		}
		fn := w.scheduled[0]
		w.scheduled = w.scheduled[1:]
		fn()
	}
}

// advance lets time pass, with every timer that falls due on the way.
func (w *world) advance(d time.Duration) {
	w.t.Helper()
	end := w.clock.now + d
	for {
		next := w.clock.nextDue(end)
		if next == nil {
			break
		}
		w.clock.now = max(w.clock.now, next.at)
		next.done = true
		next.f()
		w.settle()
	}
	w.clock.now = end
}

// tell posts messages from nobody, send from a probe; then everybody acts.
func (w *world) tell(to *actor.PID, ms ...any) {
	w.t.Helper()
	for _, m := range ms {
		w.system.Root.Send(to, m)
	}
	w.settle()
}

func (w *world) send(from *probe, to *actor.PID, ms ...any) {
	w.t.Helper()
	w.post(from, to, ms...)
	w.settle()
}

// post sends without letting anybody act, so that more can join the same turn.
func (w *world) post(from *probe, to *actor.PID, ms ...any) {
	for _, m := range ms {
		w.system.Root.RequestWithCustomSender(to, m, from.pid)
	}
}

func (w *world) spawn(props *actor.Props, name string) *actor.PID {
	w.t.Helper()
	pid, err := w.system.Root.SpawnNamed(props, name)
	if err != nil {
		w.t.Fatalf("spawn %s: %v", name, err)
	}
	w.settle()
	return pid
}

// probe stands in for an actor: it writes down what it is sent.
type probe struct {
	name  string
	pid   *actor.PID
	inbox []letter
	stops int
	// answers, where set, is given every message as it arrives, in the sender's turn.
	answers func(l letter)
}

type letter struct {
	from    *actor.PID
	message any
}

func (w *world) probe(name string) *probe {
	p := &probe{name: name}
	pid, ok := w.system.ProcessRegistry.Add(p, name)
	if !ok {
		w.t.Fatalf("probe %s: the name is taken", name)
	}
	p.pid = pid
	return p
}

// at is the probe for an actor of another node.
func (w *world) at(address, id string) *probe {
	key := address + "/" + id
	if w.remote[key] == nil {
		w.remote[key] = &probe{name: key, pid: actor.NewPID(address, id)}
	}
	return w.remote[key]
}

func (p *probe) SendUserMessage(_ *actor.PID, envelope any) {
	_, message, sender := actor.UnwrapEnvelope(envelope)
	l := letter{sender, message}
	p.inbox = append(p.inbox, l)
	if p.answers != nil {
		p.answers(l)
	}
}

func (p *probe) SendSystemMessage(*actor.PID, any) {}
func (p *probe) Stop(*actor.PID)                   { p.stops++ }

// take removes and returns the messages of type M a probe has received.
func take[M any](p *probe) []M {
	var out []M
	p.inbox = slices.DeleteFunc(p.inbox, func(l letter) bool {
		m, ok := l.message.(M)
		if ok {
			out = append(out, m)
		}
		return ok
	})
	return out
}

// takeOne expects exactly one message of type M.
func takeOne[M any](t *testing.T, p *probe) M {
	t.Helper()
	ms := take[M](p)
	if len(ms) != 1 {
		t.Fatalf("%s received %d messages %T, expected 1: %v", p.name, len(ms), *new(M), ms)
	}
	return ms[0]
}

// takeLetters is take with who sent them.
func takeLetters[M any](p *probe) []letter {
	var out []letter
	p.inbox = slices.DeleteFunc(p.inbox, func(l letter) bool {
		_, ok := l.message.(M)
		if ok {
			out = append(out, l)
		}
		return ok
	})
	return out
}

func expectNone[M any](t *testing.T, p *probe, why string) {
	t.Helper()
	if ms := take[M](p); len(ms) > 0 {
		t.Fatalf("%s received %T %v: %s", p.name, ms[0], ms[0], why)
	}
}

// results are the answers a probe has received, in order.
func results(p *probe) (out []messages.ResultItem) {
	for _, r := range take[*messages.Results](p) {
		out = append(out, r.Items...)
	}
	return out
}

// expectResults compares answers, written as "request outcome reason", in any order
// of requests but each exactly once.
func expectResults(t *testing.T, p *probe, want ...string) {
	t.Helper()
	var got []string
	for _, i := range results(p) {
		s := fmt.Sprintf("%d %v", i.Request, i.Outcome)
		if i.Reason != messages.Reason_NONE {
			s += fmt.Sprintf(" %v", i.Reason)
		}
		got = append(got, s)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("answers %q, expected %q", got, want)
	}
}

// handClock is moved by hand.
type handClock struct {
	now    time.Duration
	wall   int64
	asleep time.Duration // which Now leaves out
	timers []*handTimer
}

type handTimer struct {
	at      time.Duration
	f       func()
	done    bool
	stopped bool
}

func (c *handClock) Now() time.Duration     { return c.now }
func (c *handClock) Elapsed() time.Duration { return c.now + c.asleep }
func (c *handClock) Wall() int64            { return c.wall + int64(c.now) }
func (c *handClock) After(d time.Duration, f func()) func() {
	t := &handTimer{at: c.now + d, f: f}
	c.timers = append(c.timers, t)
	return func() { t.stopped = true }
}

func (c *handClock) nextDue(end time.Duration) (next *handTimer) {
	for _, t := range c.timers {
		if !t.done && !t.stopped && t.at <= end && (next == nil || t.at < next.at) {
			next = t
		}
	}
	return next
}

// pending is the number of timers that may still fire.
func (c *handClock) pending() (n int) {
	for _, t := range c.timers {
		if !t.done && !t.stopped {
			n++
		}
	}
	return n
}

// fireStopped lets every timer fire that was stopped: as if its message had been on
// its way already.
func (w *world) fireStopped() {
	w.t.Helper()
	for _, t := range w.clock.timers {
		if t.stopped && !t.done {
			t.done = true
			t.f()
		}
	}
	w.settle()
}

// block makes a block of commands of one term.
func block(group, term, first, prevTerm uint64, commands ...string) messages.Block {
	entries := make([]messages.EntryView, len(commands))
	for i, c := range commands {
		entries[i] = messages.EntryView{Data: []byte(c)}
	}
	return blockOf(group, term, first, prevTerm, entries...)
}

func blockOf(group, term, first, prevTerm uint64, entries ...messages.EntryView) messages.Block {
	w := messages.NewBlockWriter(messages.BlockHeader{
		Group: group, Incarnation: 1, Term: term, FirstIndex: first, PrevTerm: prevTerm,
	}, 64)
	for _, e := range entries {
		w.Add(e)
	}
	return w.Finish()
}
