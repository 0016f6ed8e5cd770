package actors

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/protoraft/protoraft/fsm"
	"github.com/protoraft/protoraft/messages"
)

// tally is a machine's actor: it counts, and writes down what it hears.
type tally struct {
	sum   int64
	heard []string
}

func (y *tally) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *wrapperspb.Int64Value:
		switch m.Value {
		case 13:
			panic("thirteen")
		case 14:
			return // no answer
		}
		y.sum += m.Value
		ctx.Respond(wrapperspb.Int64(y.sum))
	case *wrapperspb.BoolValue:
		ctx.Respond(wrapperspb.Int64(y.sum))
	case *actor.Started, *actor.Stopped:
	default:
		y.heard = append(y.heard, strings.TrimPrefix(fmt.Sprintf("%T %v", m, m), "*fsm."))
	}
}

func newTally() (*tally, *fsm.ActorMachine) {
	y := &tally{}
	return y, fsm.FromProps(actor.PropsFromProducer(func() actor.Actor { return y }),
		fsm.Commands(&wrapperspb.Int64Value{}), fsm.Queries(&wrapperspb.BoolValue{}))
}

func number(t *testing.T, n int64) messages.EntryView {
	t.Helper()
	return messages.EntryView{Data: envelope(t, wrapperspb.Int64(n))}
}

func envelope(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := fsm.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sumOf(t *testing.T, item messages.ResultItem) int64 {
	t.Helper()
	m, err := fsm.Decode(item.Data)
	if err != nil {
		t.Fatal(err)
	}
	return m.(*wrapperspb.Int64Value).Value
}

// An actor is applied to like any machine: in order, once, its answers the replies.
func TestActorIsAppliedLikeAnyMachine(t *testing.T) {
	_, machine := newTally()
	a := newApplying(t, machine)
	b := a.committed(blockOf(1, 1, 1, 0, number(t, 1), number(t, 2), messages.EntryView{Data: []byte("nonsense")}, number(t, 4)))
	a.apply(2, b)
	a.apply(4, b)
	a.query(9, 4, string(envelope(t, wrapperspb.Bool(true))))
	a.query(10, 4, "nonsense")
	var got []string
	for _, r := range results(a.client) {
		switch r.Request {
		case 3, 10:
			got = append(got, fmt.Sprint(r.Request, " ", r.Outcome))
		default:
			got = append(got, fmt.Sprint(r.Request, " ", r.Outcome, " ", sumOf(t, r)))
		}
	}
	if want := []string{"1 APPLIED 1", "2 APPLIED 3", "3 APPLIED", "4 APPLIED 7", "9 APPLIED 7", "10 NOT_APPLIED"}; !slices.Equal(got, want) {
		t.Fatalf("answered %q, expected %q", got, want)
	}
}

// An actor that breaks the rules stops its group, named, and can still be ended.
func TestBrokenActorStopsItsGroup(t *testing.T) {
	for why, n := range map[string]int64{"thirteen": 13, "*wrapperspb.Int64Value was not answered": 14} {
		_, machine := newTally()
		a := newApplying(t, machine)
		a.apply(3, a.committed(blockOf(1, 1, 1, 0, number(t, 1), number(t, n), number(t, 2))))
		if f := takeOne[*ApplierFailed](t, a.raft); !strings.Contains(f.Reason, why) {
			t.Fatalf("failed with %q, expected %q", f.Reason, why)
		}
		results(a.client)
		a.system.Root.Stop(a.pid)
		a.settle()
		for _, id := range []string{"applier", "applier/" + fsm.MachineName} {
			if _, alive := a.system.ProcessRegistry.GetLocal(id); alive {
				t.Fatalf("%s is still there after its end", id)
			}
		}
	}
}

// What is sent to the machine's actor by others is heard in a turn of the Applier.
func TestActorHearsOthersInTheAppliersTurn(t *testing.T) {
	y, machine := newTally()
	a := newApplying(t, machine)
	a.system.Root.Send(actor.NewPID(selfAddress, "applier/"+fsm.MachineName), "hello")
	if len(y.heard) != 0 {
		t.Fatalf("heard %q outside a turn", y.heard)
	}
	a.settle()
	if !slices.Equal(y.heard, []string{"string hello"}) {
		t.Fatalf("heard %q", y.heard)
	}
}

// Everything that a machine is told has started is stopped before the next thing
// starts, and at the end, in order.
func TestNewsOfAMembersLife(t *testing.T) {
	y, machine := newTally()
	a := newApplying(t, machine)
	noop := messages.EntryView{Kind: messages.EntryKind_NOOP}
	a.tell(a.pid, &LeaderFollowed{Term: 2, Leader: "n2"}, &LeaderFollowed{Term: 3, Leader: "n2"}, &LeadershipBegun{Term: 4})
	a.apply(1, CommittedBlock{Block: blockOf(1, 4, 1, 0, noop)})
	a.system.Root.Stop(a.pid)
	a.settle()
	want := []string{
		"FollowingStarted &{n2 2}", "FollowingStopped &{n2 2}", "FollowingStarted &{n2 3}", "FollowingStopped &{n2 3}",
		"LeaderStarted &{4}", "LeaderStopped &{4}", "*actor.Stopping &{}",
	}
	if !slices.Equal(y.heard, want) {
		t.Fatalf("heard %q, expected %q", y.heard, want)
	}
}

// witnessed is a machine that writes down how it ended.
type witnessed struct {
	recorder
	refuses bool
}

func (w *witnessed) Failed(reason string)          { w.log = append(w.log, "failed: "+reason) }
func (w *witnessed) Shutdown()                     { w.log = append(w.log, "shutdown") }
func (w *witnessed) Start(fsm.Host) error          { return w.startError() }
func (w *witnessed) Wake()                         {}
func (w *witnessed) Stop()                         { w.log = append(w.log, "end") }
func (w *witnessed) StartFollowing(string, uint64) {}
func (w *witnessed) StopFollowing(leader string, _ uint64) {
	w.log = append(w.log, "unfollow "+leader)
}

func (w *witnessed) startError() error {
	if w.refuses {
		return errors.New("no place to live")
	}
	return nil
}

// A machine is told once that its group has stopped, whoever noticed first.
func TestMachineIsToldOfTheEnd(t *testing.T) {
	t.Run("by its own panic", func(t *testing.T) {
		w := &witnessed{}
		w.panicAt = 1
		a := newApplying(t, w)
		a.tell(a.pid, &LeaderFollowed{Term: 2, Leader: "n2"})
		a.apply(1, a.committed(block(1, 1, 1, 0, "a")))
		a.tell(a.pid, &MemberHalted{Reason: "again"})
		a.system.Root.Stop(a.pid)
		a.settle()
		if len(w.log) != 4 || w.log[0] != "unfollow n2" || !strings.Contains(w.log[1], "the machine broke") || w.log[2] != "shutdown" || w.log[3] != "end" {
			t.Fatalf("told %q", w.log)
		}
	})
	t.Run("by its member", func(t *testing.T) {
		w := &witnessed{}
		a := newApplying(t, w)
		a.apply(1, a.committed(block(1, 1, 1, 0, "a")))
		a.query(20, 9, "later")
		a.tell(a.pid, &MemberHalted{Reason: "storage failed"})
		a.apply(2, a.committed(block(1, 1, 2, 1, "b")))
		expectResults(t, a.client, "1 APPLIED", "2 UNKNOWN STOPPED", "20 NOT_APPLIED STOPPED")
		if !slices.Equal(w.log, []string{"failed: storage failed"}) || len(w.applied) != 1 {
			t.Fatalf("told %q, applied %q", w.log, w.applied)
		}
	})
	t.Run("at the start", func(t *testing.T) {
		a := newApplying(t, &witnessed{refuses: true})
		if f := takeOne[*ApplierFailed](t, a.raft); !strings.Contains(f.Reason, "no place to live") {
			t.Fatalf("failed with %q", f.Reason)
		}
	})
}

// A member that fails tells its machine.
func TestFailedMemberTellsItsMachine(t *testing.T) {
	w := &witnessed{}
	m := newMember(t, 1)
	m.opts.Machine = w
	m.begin()
	m.tell(m.pid, &messages.StorageFailed{Reason: "no space"})
	if !slices.Contains(w.log, "failed: storage failed: no space") {
		t.Fatalf("told %q", w.log)
	}
}
