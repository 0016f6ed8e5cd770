package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// host stands in for an Applier.
type host struct {
	*actor.RootContext
	woken int
}

func (h *host) Wake() { h.woken++ }

func newHost(t *testing.T) *host {
	system := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }))
	t.Cleanup(system.Shutdown)
	return &host{RootContext: system.Root}
}

func start(t *testing.T, h *host, receive actor.ReceiveFunc, options ...ActorOption) *ActorMachine {
	t.Helper()
	m := FromProps(actor.PropsFromFunc(receive), append(options,
		Commands(&wrapperspb.StringValue{}, &wrapperspb.Int64Value{}), Queries(&wrapperspb.UInt64Value{}))...)
	if err := m.Start(h); err != nil {
		t.Fatal(err)
	}
	return m
}

func encoded(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func apply(t *testing.T, m *ActorMachine, index uint64, command proto.Message) (proto.Message, error) {
	t.Helper()
	reply, err := m.Apply(Entry{Group: 1, Index: index, Term: 2, Time: time.Unix(int64(index), 0).UTC(), Data: encoded(t, command)})
	if err != nil {
		t.Fatalf("entry %d: %v", index, err)
	}
	if reply == nil {
		return nil, nil
	}
	return Decode(reply)
}

// The actor hears its own decoded messages, with the entry beside them, and what it
// responds is the reply.
func TestActorAnswersItsCommands(t *testing.T) {
	m := start(t, newHost(t), func(ctx actor.Context) {
		switch c := ctx.Message().(type) {
		case *wrapperspb.StringValue:
			e := EntryOf(ctx)
			ctx.Respond(wrapperspb.String(fmt.Sprintf("%s at %d@%d, %d", c.Value, e.Index, e.Term, e.Time.Unix())))
		case *wrapperspb.Int64Value:
			if c.Value < 0 {
				ctx.Respond(errors.New("below zero"))
				return
			}
			ctx.Respond(nil)
		case *wrapperspb.UInt64Value:
			if e := EntryOf(ctx); e.Index != 0 {
				ctx.Respond(fmt.Errorf("a query with entry %d", e.Index))
			}
			ctx.Respond(wrapperspb.UInt64(c.Value + 1))
		}
	})
	if r, err := apply(t, m, 7, wrapperspb.String("x")); err != nil || r.(*wrapperspb.StringValue).Value != "x at 7@2, 7" {
		t.Fatalf("replied %v, %v", r, err)
	}
	if r, err := apply(t, m, 8, wrapperspb.Int64(1)); r != nil || err != nil {
		t.Fatalf("replied %v, %v, expected nothing", r, err)
	}
	var refused *RefusedError
	if _, err := apply(t, m, 9, wrapperspb.Int64(-1)); !errors.As(err, &refused) || refused.Reason != "below zero" {
		t.Fatalf("replied %v, expected the refusal", err)
	}
	answer, err := m.Query(encoded(t, wrapperspb.UInt64(4)))
	if err != nil {
		t.Fatal(err)
	}
	if a, err := Decode(answer); err != nil || a.(*wrapperspb.UInt64Value).Value != 5 {
		t.Fatalf("answered %v, %v", a, err)
	}
}

// What is not of a type that was named never reaches the actor.
func TestActorIsSparedWhatItDoesNotKnow(t *testing.T) {
	m := start(t, newHost(t), func(ctx actor.Context) {
		if _, ok := ctx.Message().(proto.Message); ok {
			t.Errorf("heard %T", ctx.Message())
		}
	})
	damaged := append(encoded(t, wrapperspb.String("x")), 0x12, 2, 0x0a, 9)
	for want, data := range map[string][]byte{
		`no command of type "google.protobuf.Empty"`:       encoded(t, &emptypb.Empty{}),
		`no command of type "google.protobuf.UInt64Value"`: encoded(t, wrapperspb.UInt64(1)), // a query's
		"no google.protobuf.Any":                           []byte("nonsense"),
		"that is no google.protobuf.Any":                   nil,
		"a damaged command of type google.protobuf.Str":    damaged,
	} {
		reply, err := m.Apply(Entry{Index: 1, Data: data})
		if err != nil {
			t.Fatal(err)
		}
		var refused *RefusedError
		if _, err := Decode(reply); !errors.As(err, &refused) || !strings.Contains(refused.Reason, want) {
			t.Errorf("%x: %v, expected a refusal with %q", data, err, want)
		}
	}
	if _, err := m.Query(encoded(t, wrapperspb.String("x"))); err == nil {
		t.Error("a command was answered as a query")
	}
}

// A command is over when no actor of the machine has anything left to do; until then
// helpers may answer it.
func TestHelpersAnswerWithinTheCommand(t *testing.T) {
	helper := actor.PropsFromFunc(func(ctx actor.Context) {
		if c, ok := ctx.Message().(*wrapperspb.StringValue); ok {
			ctx.Respond(wrapperspb.String("helped " + c.Value))
		}
	})
	var pid, asker *actor.PID
	m := start(t, newHost(t), func(ctx actor.Context) {
		switch c := ctx.Message().(type) {
		case *actor.Started:
			pid = ctx.Spawn(helper)
		case *wrapperspb.StringValue:
			switch {
			case c.Value == "forward":
				ctx.Forward(pid)
			case strings.HasPrefix(c.Value, "helped"):
				ctx.Send(asker, wrapperspb.String(c.Value+" and returned"))
			default:
				asker = ctx.Sender()
				ctx.Request(pid, c)
			}
		}
	})
	for i, c := range []struct{ command, want string }{
		{"forward", "helped forward"}, {"ask", "helped ask and returned"}, {"forward", "helped forward"},
	} {
		if r, err := apply(t, m, uint64(i+1), wrapperspb.String(c.command)); err != nil || r.(*wrapperspb.StringValue).Value != c.want {
			t.Fatalf("%s: %v, %v, expected %q", c.command, r, err, c.want)
		}
	}
}

// An answer counts for the command it was given to, the first one, and only in time.
func TestAnswersAreNotMixedUp(t *testing.T) {
	var senders []*actor.PID
	m := start(t, newHost(t), func(ctx actor.Context) {
		if c, ok := ctx.Message().(*wrapperspb.StringValue); ok {
			for _, s := range senders {
				ctx.Send(s, wrapperspb.String("late"))
			}
			senders = append(senders, ctx.Sender())
			ctx.Respond(c)
			ctx.Respond(wrapperspb.String("second"))
		}
	})
	for i, c := range []string{"a", "b", "c"} {
		if r, err := apply(t, m, uint64(i+1), wrapperspb.String(c)); err != nil || r.(*wrapperspb.StringValue).Value != c {
			t.Fatalf("%q was answered with %v, %v", c, r, err)
		}
	}
}

// What nobody answers stops the group by name, at once and on every replica.
func TestUnansweredCommandIsAnError(t *testing.T) {
	m := start(t, newHost(t), func(actor.Context) {})
	_, err := m.Apply(Entry{Index: 3, Data: encoded(t, wrapperspb.String("x"))})
	if err == nil || !strings.Contains(err.Error(), "*wrapperspb.StringValue was not answered") {
		t.Fatalf("%v", err)
	}
	other := start(t, newHost(t), func(ctx actor.Context) {
		if ctx.Sender() != nil {
			ctx.Respond(durationpb.New)
		}
	})
	if _, err := other.Apply(Entry{Index: 3, Data: encoded(t, wrapperspb.String("x"))}); err == nil || !strings.Contains(err.Error(), "expected a proto.Message") {
		t.Fatalf("%v", err)
	}
}

// A panic is the caller's; afterwards the actor is gone and its host can end.
func TestPanicOfAnActorIsTheMachines(t *testing.T) {
	h := newHost(t)
	m := start(t, h, func(ctx actor.Context) {
		if _, ok := ctx.Message().(*wrapperspb.StringValue); ok {
			panic("broken")
		}
	})
	pid := m.stage.pid
	func() {
		defer func() {
			if r := recover(); r != "broken" {
				t.Errorf("recovered %v", r)
			}
		}()
		_, _ = apply(t, m, 1, wrapperspb.String("x"))
	}()
	if _, err := m.Apply(Entry{Index: 2, Data: encoded(t, wrapperspb.Int64(1))}); !errors.Is(err, errMachineFailed) {
		t.Errorf("afterwards: %v", err)
	}
	if _, alive := h.ActorSystem().ProcessRegistry.GetLocal(pid.Id); alive {
		t.Error("the actor is still there")
	}
	m.Failed("broken")
	m.Stop()
}

// What comes from elsewhere waits for the host, who is woken once.
func TestMessagesFromElsewhereWakeTheHost(t *testing.T) {
	h := newHost(t)
	var heard []string
	m := start(t, h, func(ctx actor.Context) {
		switch c := ctx.Message().(type) {
		case string:
			heard = append(heard, c)
		case *wrapperspb.StringValue:
			ctx.Respond(c)
		}
	})
	h.woken = 0
	h.Send(m.stage.pid, "one")
	h.Send(m.stage.pid, "two")
	if h.woken != 1 || len(heard) != 0 {
		t.Fatalf("woken %d times, heard %q before the host's turn", h.woken, heard)
	}
	m.Wake()
	h.Send(m.stage.pid, "three")
	if _, err := apply(t, m, 1, wrapperspb.String("x")); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(heard, []string{"one", "two", "three"}) || h.woken != 2 {
		t.Fatalf("heard %q, woken %d times", heard, h.woken)
	}
}

// Posting from many goroutines while commands are applied races with nothing; run it
// with -race.
func TestPostsFromElsewhereRaceWithNothing(t *testing.T) {
	system := newHost(t).ActorSystem()
	wake := make(chan struct{}, 1)
	h := &waking{system.Root, wake}
	heard := 0
	m := FromProps(actor.PropsFromFunc(func(ctx actor.Context) {
		switch c := ctx.Message().(type) {
		case int:
			heard++
		case *wrapperspb.StringValue:
			ctx.Respond(c)
		}
	}), Commands(&wrapperspb.StringValue{}))
	if err := m.Start(h); err != nil {
		t.Fatal(err)
	}
	const posters, posts = 4, 500
	pid := m.stage.pid
	for range posters {
		go func() {
			for i := range posts {
				system.Root.Send(pid, i)
			}
		}()
	}
	data := encoded(t, wrapperspb.String("x"))
	for i := 0; heard < posters*posts; i++ {
		select {
		case <-wake:
			m.Wake()
		default:
			if _, err := m.Apply(Entry{Index: uint64(i), Data: data}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

type waking struct {
	*actor.RootContext
	wake chan struct{}
}

func (w *waking) Wake() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func TestNewsComeAsMessages(t *testing.T) {
	var heard []string
	m := start(t, newHost(t), func(ctx actor.Context) {
		switch n := ctx.Message().(type) {
		case *LeaderStarted, *LeaderStopped, *FollowingStarted, *FollowingStopped, *ConfigurationCommitted, *MemberFailed:
			heard = append(heard, strings.TrimPrefix(fmt.Sprintf("%T %v", n, n), "*fsm."))
		case *actor.Stopping:
			heard = append(heard, "Stopping")
		}
	})
	m.StartFollowing("n2", 3)
	m.StopFollowing("n2", 3)
	m.LeaderStart(4)
	m.ConfigurationCommitted(9, []string{"n1", "n2"})
	m.LeaderStop(4)
	m.Failed("why")
	m.Stop()
	want := []string{
		"FollowingStarted &{n2 3}", "FollowingStopped &{n2 3}", "LeaderStarted &{4}",
		"ConfigurationCommitted &{9 [n1 n2]}", "LeaderStopped &{4}", "MemberFailed &{why}", "Stopping",
	}
	if !slices.Equal(heard, want) {
		t.Fatalf("heard %q, expected %q", heard, want)
	}
}

func TestSnapshotOfAnActor(t *testing.T) {
	state := wrapperspb.String("one")
	m := start(t, newHost(t), func(ctx actor.Context) {
		switch c := ctx.Message().(type) {
		case *SaveSnapshot:
			ctx.Respond(state)
		case *LoadSnapshot:
			b, err := io.ReadAll(c.Reader)
			if err == nil {
				err = proto.Unmarshal(b, state)
			}
			if err != nil {
				ctx.Respond(err)
				return
			}
			ctx.Respond(nil)
		}
	})
	v, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	state.Value = "two" // the view does not share it
	var b bytes.Buffer
	if _, err := v.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	v.Release()
	if err := m.Restore(&b); err != nil || state.Value != "one" {
		t.Fatalf("restored %q, %v", state.Value, err)
	}
	if err := m.Restore(strings.NewReader("\x0f")); err == nil {
		t.Fatal("a damaged snapshot was taken")
	}
}

// A machine is made afresh by each start.
func TestStartMakesAFreshActor(t *testing.T) {
	made := 0
	m := FromProps(actor.PropsFromProducer(func() actor.Actor { made++; return actor.ReceiveFunc(func(actor.Context) {}) }))
	if _, err := m.Snapshot(); !errors.Is(err, errNotStarted) {
		t.Fatalf("before it was started: %v", err)
	}
	for range 2 {
		if err := m.Start(newHost(t)); err != nil {
			t.Fatal(err)
		}
		m.Stop()
	}
	if made != 2 {
		t.Fatalf("%d actors were made, expected 2", made)
	}
}

// The users' middleware sees the machine's messages and nothing else.
func TestMiddlewareOfPropsIsKept(t *testing.T) {
	var seen []string
	props := actor.PropsFromFunc(func(ctx actor.Context) {
		if c, ok := ctx.Message().(*wrapperspb.StringValue); ok {
			ctx.Respond(c)
		}
	}, actor.WithReceiverMiddleware(func(next actor.ReceiverFunc) actor.ReceiverFunc {
		return func(ctx actor.ReceiverContext, e *actor.MessageEnvelope) {
			seen = append(seen, fmt.Sprintf("%T", e.Message))
			next(ctx, e)
		}
	}))
	m := FromProps(props, Commands(&wrapperspb.StringValue{}))
	if err := m.Start(newHost(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := apply(t, m, 1, wrapperspb.String("x")); err != nil {
		t.Fatal(err)
	}
	if want := []string{"*actor.Started", "*wrapperspb.StringValue"}; !slices.Equal(seen, want) {
		t.Fatalf("seen %q, expected %q", seen, want)
	}
}

// What an entry draws must never change: replicas of different versions would differ.
func TestEntryRandIsTheEntrys(t *testing.T) {
	draw := func(group, index, term uint64) uint64 {
		return Entry{Group: group, Index: index, Term: term}.Rand().Uint64()
	}
	if got := draw(1, 2, 3); got != 909299704805952068 {
		t.Fatalf("group 1, index 2, term 3 draws %d, expected 909299704805952068", got)
	}
	if slices.Contains([]uint64{draw(2, 2, 3), draw(1, 3, 3), draw(1, 2, 4)}, draw(1, 2, 3)) {
		t.Fatal("two entries draw the same")
	}
}

func TestDecodeRefusesWhatIsNoMessage(t *testing.T) {
	for _, b := range [][]byte{nil, []byte("x"), {0x0a, 3, 'a'}, {0x1a, 1, 'a'}, append([]byte{0x0a, 4}, "/a.B"...)} {
		if m, err := Decode(b); err == nil {
			t.Errorf("%x is %v", b, m)
		}
	}
	if _, err := Encode(nil); err == nil {
		t.Error("nothing was encoded")
	}
}

func BenchmarkActorApply(b *testing.B) {
	system := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }))
	defer system.Shutdown()
	answer := &emptypb.Empty{}
	m := FromProps(actor.PropsFromFunc(func(ctx actor.Context) {
		if _, ok := ctx.Message().(*wrapperspb.StringValue); ok {
			ctx.Respond(answer)
		}
	}), Commands(&wrapperspb.StringValue{}))
	if err := m.Start(&host{RootContext: system.Root}); err != nil {
		b.Fatal(err)
	}
	data, err := Encode(wrapperspb.String("hello"))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := m.Apply(Entry{Index: uint64(i), Data: data}); err != nil {
			b.Fatal(err)
		}
	}
}
