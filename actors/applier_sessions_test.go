package actors

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/fsm"
	"github.com/protoraft/protoraft/fsm/session"
	"github.com/protoraft/protoraft/messages"
)

func opens() messages.EntryView { return messages.EntryView{Kind: messages.EntryKind_SESSION} }

func inSession(id, sequence uint64, command string) messages.EntryView {
	return messages.EntryView{Session: id, Sequence: sequence, Data: []byte(command)}
}

func named(name string, sequence uint64, command string) messages.EntryView {
	return messages.EntryView{
		Kind: messages.EntryKind_NAMED_COMMAND, Sequence: sequence, Data: messages.NamedCommand(name, []byte(command)),
	}
}

// A repeat is answered as the first time and never reaches the machine, whether it
// comes in the same block or later; what its session does not know is refused.
func TestApplierAppliesOnceInASession(t *testing.T) {
	a := newApplying(t, nil)
	a.apply(6, a.committed(blockOf(1, 1, 1, 0,
		opens(), inSession(1, 1, "a"), inSession(1, 2, "b"), inSession(1, 1, "a"), inSession(9, 1, "x"), named("n", 2, "y"))))
	a.expectApplied("2@1 a", "3@1 b")
	got := results(a.client)
	a.apply(9, a.committed(blockOf(1, 1, 7, 1, named("n", 1, "c"), inSession(1, 2, "b"), named("n", 1, "c"))))
	a.expectApplied("2@1 a", "3@1 b", "7@1 c")
	got = append(got, results(a.client)...)
	want := []string{
		"1 APPLIED at 1: ", "2 APPLIED at 2: did a", "3 APPLIED at 3: did b", "4 APPLIED at 2: did a",
		"5 UNKNOWN SESSION_EXPIRED", "6 UNKNOWN SESSION_EXPIRED",
		"7 APPLIED at 7: did c", "8 APPLIED at 3: did b", "9 APPLIED at 7: did c",
	}
	for i, item := range got {
		s := fmt.Sprintf("%d %v", item.Request, item.Outcome)
		if item.Outcome == messages.Outcome_APPLIED {
			s += fmt.Sprintf(" at %d: %s", item.Index, item.Data)
		} else {
			s += fmt.Sprintf(" %v", item.Reason)
		}
		if i >= len(want) || s != want[i] {
			t.Fatalf("answers %v, expected %q", got, want)
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d answers, expected %d", len(got), len(want))
	}
}

// A machine that takes entries together is given no repeats among them, and the index
// applied moves over what it is not given.
func TestBatchesHaveNoRepeats(t *testing.T) {
	m := &batchRecorder{}
	a := newApplying(t, m)
	a.apply(6, a.committed(blockOf(1, 1, 1, 0,
		opens(), inSession(1, 1, "a"), inSession(1, 2, "b"), inSession(1, 2, "b"), messages.EntryView{Data: []byte("c")}, inSession(1, 3, "d"))))
	if got := strings.Join(m.batches, " | "); got != "a b | c d" {
		t.Fatalf("batches %q", got)
	}
	if m.sessions != [2]uint64{1, 3} {
		t.Fatalf("the machine was told session and sequence %v", m.sessions)
	}
	reports := take[*EntriesApplied](a.raft)
	if last := reports[len(reports)-1]; last.Index != 6 {
		t.Fatalf("reported %d", last.Index)
	}
}

type batchRecorder struct {
	recorder
	batches  []string
	sessions [2]uint64 // of the last entry
}

func (r *batchRecorder) ApplyBatch(entries []fsm.Entry, replies [][]byte) error {
	var words []string
	for i, e := range entries {
		words = append(words, string(e.Data))
		replies[i] = []byte("ok")
		r.sessions = [2]uint64{e.Session, e.Sequence}
	}
	r.batches = append(r.batches, strings.Join(words, " "))
	return nil
}

// What no leader writes is passed over by every member alike, not stumbled over.
func TestMalformedSessionCommandIsPassedOver(t *testing.T) {
	a := newApplying(t, nil)
	a.apply(3, a.committed(blockOf(1, 1, 1, 0,
		messages.EntryView{Kind: messages.EntryKind_NAMED_COMMAND, Sequence: 1, Data: []byte{200}},
		messages.EntryView{Session: 1, Data: []byte("no sequence")}, messages.EntryView{Data: []byte("a")})))
	a.expectApplied("3@1 a")
	expectResults(t, a.client, "1 NOT_APPLIED REFUSED", "2 NOT_APPLIED REFUSED", "3 APPLIED")
}

// A name more than there may be is refused as not applied: nothing gives way to it.
func TestTooManyNamesAreBusy(t *testing.T) {
	w := newWorld(t)
	a := &applying{world: w, raft: w.probe("raft"), reader: w.probe("reader"), client: w.probe("client"), machine: &recorder{}}
	limits := session.DefaultLimits()
	limits.Named = 1
	r := &raft{rt: w.rt, links: &Links{LogReader: a.reader.pid}, logger: &memberLog{runtime: w.rt.Logger}, opts: MemberOptions{
		Group: 1, Machine: a.machine, Limits: DefaultLimits(), Sessions: session.New(limits),
	}}
	a.pid = w.spawn(r.applierProps(a.raft.pid), "applier")
	a.apply(2, a.committed(blockOf(1, 1, 1, 0, named("a", 1, "a"), named("b", 1, "b"))))
	a.expectApplied("1@1 a")
	expectResults(t, a.client, "1 APPLIED", "2 NOT_APPLIED BUSY")
}

// TestLeaderRefusesWhatIsNoCommand: nobody gets another kind of entry into the log, or
// one that appliers make nothing of.
func TestLeaderRefusesWhatIsNoCommand(t *testing.T) {
	for _, m := range []*messages.Propose{
		{Kind: messages.EntryKind_CONFIGURATION}, {Kind: messages.EntryKind_NOOP}, {Kind: messages.EntryKind_QUERY}, {Kind: 77},
		{Session: 3}, {Kind: messages.EntryKind_SESSION, Command: []byte("x")},
		{Kind: messages.EntryKind_NAMED_COMMAND, Command: []byte{3, 'a'}, Sequence: 1},
		{Kind: messages.EntryKind_NAMED_COMMAND, Command: messages.NamedCommand("a", nil)},
		{Kind: messages.EntryKind_NAMED_COMMAND, Command: messages.NamedCommand("a", nil), Sequence: 1, Session: 4},
	} {
		if proposable(m) {
			t.Errorf("%v is taken", m)
		}
	}
	for _, m := range []*messages.Propose{
		{}, {Session: 3, Sequence: 1}, {Kind: messages.EntryKind_SESSION},
		{Kind: messages.EntryKind_NAMED_COMMAND, Command: messages.NamedCommand("a", nil), Sequence: 1},
	} {
		if !proposable(m) {
			t.Errorf("%v is refused", m)
		}
	}
}

// BenchmarkApplier is the Applier's share of a command's way, with a machine that does
// nothing: blocks of 256 commands with a waiter each.
func BenchmarkApplier(b *testing.B) {
	for _, c := range []struct {
		name  string
		entry func(i uint64) messages.EntryView
	}{
		{"without session", func(uint64) messages.EntryView { return messages.EntryView{Data: bytes.Repeat([]byte("x"), 64)} }},
		{"in a session", func(i uint64) messages.EntryView {
			return messages.EntryView{Data: bytes.Repeat([]byte("x"), 64), Session: 1, Sequence: i, Acknowledged: max(i, 257) - 256}
		}},
		{"with a name", func(i uint64) messages.EntryView {
			return messages.EntryView{Kind: messages.EntryKind_NAMED_COMMAND, Sequence: i, Data: messages.NamedCommand("a client's name", bytes.Repeat([]byte("x"), 64))}
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			const size = 256
			a := &applier{machine: idle{}, group: 1, sessions: session.New(session.DefaultLimits())}
			a.sessions.Open(1, 0)
			var entries []messages.EntryView
			for i := range uint64(size) {
				entries = append(entries, c.entry(i+1))
			}
			waiters := make([]Waiter, size)
			for i := range waiters {
				waiters[i] = Waiter{actor.NewPID(selfAddress, "client"), uint64(i)}
			}
			to := waiters[0].To
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; n += size {
				b.StopTimer()
				w := messages.NewBlockWriter(messages.BlockHeader{Group: 1, Incarnation: 1, Term: 1, FirstIndex: uint64(n) + 2}, 0)
				for i, e := range entries {
					if e.Sequence != 0 {
						e.Sequence = uint64(n) + uint64(i) + 1
						e.Acknowledged = max(e.Sequence, 257) - 256
					}
					w.Add(e)
				}
				block := w.Finish()
				a.applied = core.Index(n + 1)
				a.replies = replies{}
				for i := range waiters {
					waiters[i].To = to
				}
				b.StartTimer()
				a.applyBlock(nil, &block, waiters, core.Index(block.LastIndex()))
			}
		})
	}
}

type idle struct{}

func (idle) Apply(fsm.Entry) ([]byte, error) { return nil, nil }
func (idle) Snapshot() (fsm.View, error)     { return nil, nil }
func (idle) Restore(io.Reader) error         { return nil }
