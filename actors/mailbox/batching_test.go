package mailbox

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
)

// turnByHand is a dispatcher that runs what was scheduled when it is told to.
type turnByHand struct{ scheduled []func() }

func (d *turnByHand) Schedule(fn func()) { d.scheduled = append(d.scheduled, fn) }
func (d *turnByHand) Throughput() int    { return 1 }

func (d *turnByHand) run() {
	for len(d.scheduled) > 0 {
		fn := d.scheduled[0]
		d.scheduled = d.scheduled[1:]
		fn()
	}
}

// listener is a MessageInvoker that writes down what it is given: a batch as
// "user[1 2]", a message alone as "user 1".
type listener struct {
	heard     []string
	sizes     []int
	onUser    func(message any)
	onSystem  func(message any)
	onFailure func(reason, message any)
}

func (l *listener) InvokeUserMessage(message any) {
	if b, ok := message.(*Batch); ok {
		l.heard = append(l.heard, fmt.Sprint("user", b.Messages))
		l.sizes = append(l.sizes, len(b.Messages))
	} else {
		l.heard = append(l.heard, fmt.Sprintf("user %v", name(message)))
	}
	if l.onUser != nil {
		l.onUser(message)
	}
}

func (l *listener) InvokeSystemMessage(message any) {
	l.heard = append(l.heard, fmt.Sprintf("system %v", name(message)))
	if l.onSystem != nil {
		l.onSystem(message)
	}
}

func (l *listener) EscalateFailure(reason, message any) {
	l.heard = append(l.heard, fmt.Sprintf("failure %v", reason))
	if l.onFailure != nil {
		l.onFailure(reason, message)
	}
}

func name(message any) any {
	switch actor.UnwrapEnvelopeMessage(message).(type) {
	case *actor.PoisonPill:
		return "poison"
	case *actor.Stop:
		return "stop"
	case *actor.Watch:
		return "watch"
	}
	return message
}

func byHand(max int) (actor.Mailbox, *listener, *turnByHand) {
	l, d := &listener{}, &turnByHand{}
	m := Batching(max, 1)()
	m.RegisterHandlers(l, d)
	m.Start()
	return m, l, d
}

func expect(t *testing.T, l *listener, want ...string) {
	t.Helper()
	if !slices.Equal(l.heard, want) {
		t.Fatalf("heard %q, expected %q", l.heard, want)
	}
	l.heard = nil
}

func TestWhatWaitsIsOneBatchInOrder(t *testing.T) {
	m, l, d := byHand(10)
	for i := range 3 {
		m.PostUserMessage(i)
	}
	if len(d.scheduled) != 1 || m.UserMessageCount() != 3 {
		t.Fatalf("scheduled %d times, %d wait", len(d.scheduled), m.UserMessageCount())
	}
	d.run()
	expect(t, l, "user[0 1 2]")
	if m.UserMessageCount() != 0 {
		t.Fatalf("%d wait after delivery", m.UserMessageCount())
	}
	m.PostUserMessage(3)
	d.run()
	expect(t, l, "user[3]")
}

func TestBatchesHoldAtMostMax(t *testing.T) {
	m, l, d := byHand(4)
	for i := range 10 {
		m.PostUserMessage(i)
	}
	d.run()
	expect(t, l, "user[0 1 2 3]", "user[4 5 6 7]", "user[8 9]")
}

func TestSystemMessagesComeFirstOneByOne(t *testing.T) {
	m, l, d := byHand(2)
	m.PostUserMessage(1)
	m.PostUserMessage(2)
	m.PostUserMessage(3)
	m.PostSystemMessage(&actor.Watch{})
	m.PostSystemMessage(&actor.Stop{})
	l.onUser = func(any) {
		if l.onUser = nil; true {
			m.PostSystemMessage(&actor.Watch{}) // overtakes what was taken already
		}
	}
	d.run()
	expect(t, l, "system watch", "system stop", "user[1 2]", "system watch", "user[3]")
}

// A message posted by the receiver itself is delivered in a later batch.
func TestMessagesPostedInATurnComeInTheNext(t *testing.T) {
	m, l, d := byHand(10)
	l.onUser = func(any) {
		l.onUser = nil
		m.PostUserMessage(2)
	}
	m.PostUserMessage(1)
	d.run()
	expect(t, l, "user[1]", "user[2]")
}

// What Proto.Actor handles itself must be seen by it: alone, in order, in an
// envelope or not.
func TestPoisonPillStandsAloneAndInOrder(t *testing.T) {
	for wrap, pill := range map[string]any{
		"bare": &actor.PoisonPill{}, "in an envelope": &actor.MessageEnvelope{Message: &actor.PoisonPill{}},
	} {
		t.Run(wrap, func(t *testing.T) {
			m, l, d := byHand(10)
			for _, message := range []any{1, 2, pill, 3, pill} {
				m.PostUserMessage(message)
			}
			d.run()
			// name() unwraps an envelope only where it holds a pill.
			expect(t, l, "user[1 2]", "user poison", "user[3]", "user poison")
		})
	}
}

func TestSuspendedMailboxKeepsUserMessagesAndHearsSystemOnes(t *testing.T) {
	m, l, d := byHand(10)
	m.PostSystemMessage(&actor.SuspendMailbox{})
	m.PostUserMessage(1)
	m.PostSystemMessage(&actor.Watch{})
	d.run()
	expect(t, l, "system watch")
	m.PostUserMessage(2)
	d.run()
	expect(t, l)
	if m.UserMessageCount() != 2 {
		t.Fatalf("%d wait, expected 2", m.UserMessageCount())
	}
	m.PostSystemMessage(&actor.ResumeMailbox{})
	d.run()
	expect(t, l, "user[1 2]")
}

// A suspension in the middle of what was taken stops right there.
func TestSuspensionTakesEffectBetweenBatches(t *testing.T) {
	m, l, d := byHand(1)
	l.onUser = func(any) {
		l.onUser = nil
		m.PostSystemMessage(&actor.SuspendMailbox{})
	}
	m.PostUserMessage(1)
	m.PostUserMessage(2)
	d.run()
	expect(t, l, "user[1]")
	m.PostSystemMessage(&actor.ResumeMailbox{})
	d.run()
	expect(t, l, "user[2]")
}

func TestPanicIsEscalatedAndLaterMessagesArrive(t *testing.T) {
	m, l, d := byHand(2)
	l.onUser = func(message any) {
		if b := message.(*Batch); b.Messages[0] == 1 {
			panic("broken")
		}
	}
	for i := range 5 {
		m.PostUserMessage(i + 1)
	}
	d.run()
	expect(t, l, "user[1 2]", "failure broken", "user[3 4]", "user[5]")
	if m.UserMessageCount() != 0 {
		t.Fatalf("%d wait", m.UserMessageCount())
	}
	l.onUser = nil
	m.PostUserMessage(6)
	d.run()
	expect(t, l, "user[6]")
}

func TestPanicInASystemMessageIsEscalatedWithIt(t *testing.T) {
	m, l, d := byHand(2)
	stop := &actor.Stop{}
	l.onSystem = func(any) { l.onSystem = nil; panic("no") }
	l.onFailure = func(_, message any) {
		if message != any(stop) {
			t.Errorf("escalated with %v, expected the message that failed", message)
		}
	}
	m.PostSystemMessage(stop)
	m.PostUserMessage(1)
	d.run()
	expect(t, l, "system stop", "failure no", "user[1]")
}

// A batch's slice is reused: nothing of a turn may be seen in the next.
func TestBatchIsClearedAfterItsTurn(t *testing.T) {
	m, l, d := byHand(10)
	var kept []any
	l.onUser = func(message any) { kept = message.(*Batch).Messages }
	m.PostUserMessage(1)
	d.run()
	if kept[0] != nil {
		t.Fatalf("the mailbox still holds %v", kept[0])
	}
}

// count is an invoker that is only ever entered by one goroutine at a time.
type count struct {
	t       *testing.T
	next    []int // by producer
	system  int
	inside  bool
	most    int
	got     int
	want    int
	reached chan struct{}
}

func (c *count) enter() {
	if c.inside {
		c.t.Error("two turns at once")
	}
	c.inside = true
}

func (c *count) leave() {
	c.inside = false
	if c.got++; c.got == c.want {
		close(c.reached)
	}
}

func (c *count) InvokeSystemMessage(any) { c.enter(); c.system++; c.leave() }

func (c *count) InvokeUserMessage(message any) {
	b := message.(*Batch)
	c.enter()
	if len(b.Messages) > c.most {
		c.t.Errorf("batch of %d, expected at most %d", len(b.Messages), c.most)
	}
	for _, m := range b.Messages {
		p := m.([2]int)
		if c.next[p[0]] != p[1] {
			c.t.Errorf("message %d of producer %d, expected %d", p[1], p[0], c.next[p[0]])
		}
		c.next[p[0]] = p[1] + 1
	}
	c.got += len(b.Messages) - 1
	c.leave()
}

func (c *count) EscalateFailure(reason, _ any) { c.t.Errorf("failure: %v", reason) }

// Many producers beside a turn that is always about to end: every message arrives
// once, in its producer's order, and none is left without a wake-up.
func TestNoLostWakeUp(t *testing.T) {
	const producers, each, system = 8, 3000, 200
	pool := NewPooled(4)
	defer pool.Stop()
	m := Batching(16, 1)()
	c := &count{t: t, next: make([]int, producers), most: 16, want: producers*each + system, reached: make(chan struct{})}
	m.RegisterHandlers(c, pool)
	var wg sync.WaitGroup
	for p := range producers {
		wg.Go(func() {
			for i := range each {
				m.PostUserMessage([2]int{p, i})
			}
		})
	}
	wg.Go(func() {
		for range system {
			m.PostSystemMessage(&actor.Watch{})
		}
	})
	wg.Wait()
	<-c.reached // a lost wake-up shows as the test's timeout
	if c.system != system || m.UserMessageCount() != 0 {
		t.Fatalf("%d system messages of %d, %d user messages left", c.system, system, m.UserMessageCount())
	}
}

// One message at a time, each posted when the last was heard: the narrowest window
// for a wake-up to be lost in.
func TestNoLostWakeUpBetweenTwo(t *testing.T) {
	pool := NewPooled(4)
	defer pool.Stop()
	heard := make(chan struct{}, 1)
	m := Batching(16, 0)()
	m.RegisterHandlers(&signal{heard}, pool)
	for range 20_000 {
		m.PostUserMessage(1)
		<-heard
	}
}

type signal struct{ heard chan struct{} }

func (s *signal) InvokeSystemMessage(any)  {}
func (s *signal) InvokeUserMessage(any)    { s.heard <- struct{}{} }
func (s *signal) EscalateFailure(any, any) {}
