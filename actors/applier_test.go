package actors

import (
	"time"

	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/fsm"
	"github.com/protoraft/protoraft/logstore/snapshots"
	"github.com/protoraft/protoraft/messages"
)

// applying is one real Applier between probes of its Raft, the LogReader and a client.
type applying struct {
	*world
	raft, reader, client *probe
	machine              *recorder
	pid                  *actor.PID
	snapshots            *snapshots.Store
}

func newApplying(t *testing.T, machine fsm.StateMachine) *applying {
	w := newWorld(t)
	a := &applying{world: w, raft: w.probe("raft"), reader: w.probe("reader"), client: w.probe("client"), snapshots: snapshotStore(t, memDisk())}
	if machine == nil {
		a.machine = &recorder{}
		machine = a.machine
	}
	r := &raft{rt: w.rt, links: &Links{LogReader: a.reader.pid}, logger: &memberLog{runtime: w.rt.Logger}, opts: MemberOptions{Group: 1, Machine: machine, Snapshots: a.snapshots, Limits: DefaultLimits()}}
	a.pid = w.spawn(r.applierProps(a.raft.pid), "applier")
	return a
}

// committed is a block whose entries the client waits for, by their index.
func (a *applying) committed(b messages.Block) CommittedBlock {
	c := CommittedBlock{Block: b}
	for i := range uint64(b.Count) {
		c.Waiters = append(c.Waiters, Waiter{a.client.pid, b.FirstIndex + i})
	}
	return c
}

func (a *applying) apply(commit uint64, blocks ...CommittedBlock) {
	a.t.Helper()
	a.tell(a.pid, &ApplyCommitted{Commit: core.Index(commit), Blocks: blocks})
}

func (a *applying) expectApplied(want ...string) {
	a.t.Helper()
	if !slices.Equal(a.machine.applied, want) {
		a.t.Fatalf("applied %q, expected %q", a.machine.applied, want)
	}
}

func (a *applying) query(request, index uint64, q string) {
	a.t.Helper()
	a.tell(a.pid, &AnswerQueries{Queries: []PendingQuery{{Waiter: Waiter{a.client.pid, request}, Query: []byte(q), Index: core.Index(index), Deadline: time.Hour}}})
}

func TestApplierAppliesInOrderAndOnce(t *testing.T) {
	a := newApplying(t, nil)
	b := a.committed(block(1, 1, 1, 0, "a", "b", "c"))
	a.apply(2, b)
	a.expectApplied("1@1 a", "2@1 b")
	expectResults(t, a.client, "1 APPLIED", "2 APPLIED")
	a.apply(3, b) // the rest of the same block
	a.apply(3, b)
	a.apply(5, a.committed(block(1, 2, 4, 1, "d", "e")))
	a.expectApplied("1@1 a", "2@1 b", "3@1 c", "4@2 d", "5@2 e")
	got := results(a.client)
	if len(got) != 3 || got[0].Request != 3 || got[0].Index != 3 || string(got[0].Data) != "did c" {
		t.Fatalf("answers %v", got)
	}
	reports := take[*EntriesApplied](a.raft)
	if last := reports[len(reports)-1]; last.Index != 5 {
		t.Fatalf("reported %d", last.Index)
	}
}

// What is not in memory is read from disk in pieces, before what is.
func TestApplierReadsMissingEntriesInPieces(t *testing.T) {
	a := newApplying(t, nil)
	a.apply(6, a.committed(block(1, 1, 5, 1, "e", "f")))
	r := takeOne[*ReadEntries](t, a.reader)
	if r.First != 1 || r.Last != 4 || r.MaxBytes <= 0 || !r.ReplyTo.Equal(a.pid) {
		t.Fatalf("%+v", r)
	}
	a.apply(7, a.committed(block(1, 1, 7, 1, "g")))
	a.expectApplied()
	a.tell(a.pid, &EntriesRead{First: 1, Session: r.Session + 1, Blocks: []messages.Block{block(1, 9, 1, 0, "x")}})
	a.expectApplied() // a read that was never asked for
	a.tell(a.pid, &EntriesRead{First: 1, Session: r.Session, Blocks: []messages.Block{block(1, 1, 1, 0, "a", "b")}})
	a.expectApplied("1@1 a", "2@1 b")
	r = takeOne[*ReadEntries](t, a.reader)
	if r.First != 3 || r.Last != 4 {
		t.Fatalf("%+v", r)
	}
	a.tell(a.pid, &EntriesRead{First: 3, Session: r.Session, Blocks: []messages.Block{block(1, 1, 2, 1, "b", "c", "d")}})
	a.expectApplied("1@1 a", "2@1 b", "3@1 c", "4@1 d", "5@1 e", "6@1 f", "7@1 g")
	expectResults(t, a.client, "5 APPLIED", "6 APPLIED", "7 APPLIED")
	expectNone[*ReadEntries](t, a.reader, "everything is there")
}

// A block on disk may hold more than was asked for, which is not committed, or not
// part of the log any more.
func TestApplierTakesFromDiskOnlyWhatItAskedFor(t *testing.T) {
	a := newApplying(t, nil)
	a.apply(2)
	a.apply(3, a.committed(block(1, 2, 3, 1, "new")))
	r := takeOne[*ReadEntries](t, a.reader)
	a.tell(a.pid, &EntriesRead{First: 1, Session: r.Session, Blocks: []messages.Block{block(1, 1, 1, 0, "a", "b", "stale")}})
	a.expectApplied("1@1 a", "2@1 b", "3@2 new")
	expectResults(t, a.client, "3 APPLIED")
}

func TestApplierStopsWhenTheLogCannotBeRead(t *testing.T) {
	a := newApplying(t, nil)
	a.apply(5, a.committed(block(1, 1, 5, 1, "e")))
	r := takeOne[*ReadEntries](t, a.reader)
	a.tell(a.pid, &EntriesRead{First: 1, Session: r.Session, Err: errors.New("unreadable")})
	takeOne[*ApplierFailed](t, a.raft)
	expectResults(t, a.client, "5 UNKNOWN STOPPED")
	a.expectApplied()
}

// A machine that panics or fails stops its group: everybody who waits is answered
// once, nothing is skipped and nothing later is applied.
func TestBrokenMachineStopsApplying(t *testing.T) {
	for how, set := range map[string]func(*recorder){
		"panic": func(r *recorder) { r.panicAt = 3 },
		"error": func(r *recorder) { r.failAt = 3 },
	} {
		t.Run(how, func(t *testing.T) {
			a := newApplying(t, nil)
			set(a.machine)
			a.query(20, 9, "later")
			a.system.Root.Send(a.pid, &ApplyCommitted{Commit: 2, Blocks: []CommittedBlock{a.committed(block(1, 1, 1, 0, "a", "b"))}})
			a.system.Root.Send(a.pid, &ApplyCommitted{Commit: 5, Blocks: []CommittedBlock{
				a.committed(block(1, 1, 3, 1, "c", "d")), a.committed(block(1, 1, 5, 1, "e")),
			}})
			a.settle()
			expectResults(t, a.client, "1 APPLIED", "2 APPLIED", "3 UNKNOWN STOPPED", "4 UNKNOWN STOPPED", "5 UNKNOWN STOPPED", "20 NOT_APPLIED STOPPED")
			if f := takeOne[*ApplierFailed](t, a.raft); f.Reason == "" {
				t.Fatal("no reason")
			}
			set(a.machine)
			a.apply(6, a.committed(block(1, 1, 6, 1, "f")))
			a.query(21, 1, "now")
			a.expectApplied("1@1 a", "2@1 b")
			expectResults(t, a.client, "6 UNKNOWN STOPPED", "21 NOT_APPLIED STOPPED")
			a.system.Root.Stop(a.pid)
			a.settle()
			expectResults(t, a.client)
		})
	}
}

// A query that panics stops the group too, and whoever waits beside it is answered
// once.
func TestPanickingQueryAnswersEverybodyOnce(t *testing.T) {
	queries := func(a *applying, index core.Index) *AnswerQueries {
		m := &AnswerQueries{}
		for i, q := range []string{"good", "bad", "never reached"} {
			m.Queries = append(m.Queries, PendingQuery{Waiter: Waiter{a.client.pid, uint64(10 + i)}, Query: []byte(q), Index: index, Deadline: time.Hour})
		}
		return m
	}
	breaks := func(q string) {
		if q == "bad" {
			panic("cannot answer")
		}
	}
	want := []string{"10 APPLIED", "11 NOT_APPLIED STOPPED", "12 NOT_APPLIED STOPPED"}
	t.Run("at once", func(t *testing.T) {
		a := newApplying(t, nil)
		a.machine.queried = breaks
		a.tell(a.pid, queries(a, 0))
		expectResults(t, a.client, want...)
		takeOne[*ApplierFailed](t, a.raft)
	})
	t.Run("after an entry", func(t *testing.T) {
		a := newApplying(t, nil)
		a.machine.queried = breaks
		a.tell(a.pid, queries(a, 1))
		a.apply(1, a.committed(block(1, 1, 1, 0, "a")))
		expectResults(t, a.client, append(want, "1 APPLIED")...)
	})
	t.Run("through the log", func(t *testing.T) {
		a := newApplying(t, nil)
		a.machine.queried = breaks
		a.apply(3, a.committed(blockOf(1, 1, 1, 0, messages.EntryView{Data: []byte("a")},
			messages.EntryView{Kind: messages.EntryKind_QUERY, Data: []byte("bad")}, messages.EntryView{Data: []byte("c")})))
		expectResults(t, a.client, "1 APPLIED", "2 NOT_APPLIED STOPPED", "3 UNKNOWN STOPPED")
		a.expectApplied("1@1 a")
	})
}

func TestQueriesWaitForTheirIndex(t *testing.T) {
	a := newApplying(t, nil)
	a.query(1, 0, "now")
	a.query(2, 2, "at two")
	a.query(3, 1, "at one")
	expectResults(t, a.client, "1 APPLIED")
	a.tell(a.pid, &ApplyCommitted{Commit: 1, Blocks: []CommittedBlock{{Block: block(1, 1, 1, 0, "a")}}})
	expectResults(t, a.client, "3 APPLIED")
	a.tell(a.pid, &ApplyCommitted{Commit: 2, Blocks: []CommittedBlock{{Block: block(1, 1, 2, 1, "b")}}})
	got := results(a.client)
	if len(got) != 1 || string(got[0].Data) != "at two after 2" || got[0].Index != 2 {
		t.Fatalf("answers %v", got)
	}
}

// The machine leads from the first entry of the leader's own term on: before it, its
// state may lack what earlier leaders committed.
func TestMachineLeadsFromTheFirstOwnEntry(t *testing.T) {
	a := newApplying(t, nil)
	noop := messages.EntryView{Kind: messages.EntryKind_NOOP}
	a.tell(a.pid, &LeadershipBegun{Term: 3})
	a.apply(2, CommittedBlock{Block: blockOf(1, 2, 1, 0, noop, messages.EntryView{Data: []byte("a")})})
	if len(a.machine.log) > 0 {
		t.Fatalf("news %q", a.machine.log)
	}
	a.apply(3, CommittedBlock{Block: blockOf(1, 3, 3, 2, noop)})
	a.tell(a.pid, &LeadershipEnded{Term: 2})
	a.tell(a.pid, &LeadershipEnded{Term: 3})
	a.tell(a.pid, &LeadershipBegun{Term: 5}, &LeadershipEnded{Term: 5}) // ended before it began to serve
	if want := []string{"start 3", "stop 3"}; !slices.Equal(a.machine.log, want) {
		t.Fatalf("news %q, expected %q", a.machine.log, want)
	}
}

func TestEntryOfAnUnknownKindStopsApplying(t *testing.T) {
	a := newApplying(t, nil)
	a.apply(3, CommittedBlock{Block: blockOf(1, 1, 1, 0, messages.EntryView{Data: []byte("a")},
		messages.EntryView{Kind: 99}, messages.EntryView{Data: []byte("c")})})
	a.expectApplied("1@1 a")
	takeOne[*ApplierFailed](t, a.raft)
}

func TestStoppedApplierAnswersWhoWaits(t *testing.T) {
	a := newApplying(t, nil)
	a.apply(5, a.committed(block(1, 1, 5, 1, "e"))) // waits for the disk
	a.query(20, 9, "later")
	a.system.Root.Stop(a.pid)
	a.settle()
	expectResults(t, a.client, "5 UNKNOWN STOPPED", "20 NOT_APPLIED STOPPED")
}

// batches is a machine that takes entries together.
type batches struct {
	recorder
	sizes []int
}

func (b *batches) ApplyBatch(entries []fsm.Entry, replies [][]byte) error {
	b.sizes = append(b.sizes, len(entries))
	for i := range entries {
		replies[i] = fmt.Appendf(nil, "%d", entries[i].Index)
	}
	return nil
}

func TestBatchApplierGetsConsecutiveCommandsTogether(t *testing.T) {
	b := &batches{}
	a := newApplying(t, b)
	cmd, query := messages.EntryView{Data: []byte("c")}, messages.EntryView{Kind: messages.EntryKind_QUERY, Data: []byte("q")}
	a.apply(5, a.committed(blockOf(1, 1, 1, 0, cmd, cmd, query, cmd, cmd)))
	if !slices.Equal(b.sizes, []int{2, 2}) {
		t.Fatalf("batches of %v", b.sizes)
	}
	for _, r := range results(a.client) {
		if r.Request != 3 && string(r.Data) != fmt.Sprint(r.Request) {
			t.Fatalf("request %d was answered %q", r.Request, r.Data)
		}
	}
}

// applierOf finds the member's Applier.
func (m *member) applierOf() *actor.PID {
	m.t.Helper()
	for _, bucket := range m.system.ProcessRegistry.LocalPIDs.LocalPIDs {
		for id := range bucket.Items() {
			if strings.HasPrefix(id, m.pid.Id+"/$") {
				return actor.NewPID(selfAddress, id)
			}
		}
	}
	m.t.Fatal("no Applier")
	return nil
}

func (m *member) tellSystem(to *actor.PID, message any) {
	m.t.Helper()
	process, _ := m.system.ProcessRegistry.Get(to)
	process.SendSystemMessage(to, message)
	m.settle()
}

// The Raft hands over no more than the limit of what is not applied, and shuts its
// door meanwhile.
func TestBacklogIsBounded(t *testing.T) {
	m := newMember(t, 3)
	one := block(1, 2, 3, 2, "x")
	m.opts.Limits.ApplyBacklogBytes = 2 * one.Len()
	m.begin().elect()
	m.accept("n2")
	applier := m.applierOf()
	m.tellSystem(applier, &actor.SuspendMailbox{})
	for range 6 {
		m.propose("x")
		m.sync()
		m.accept("n2")
	}
	expectResults(t, m.client, "3 NOT_APPLIED BUSY", "4 NOT_APPLIED BUSY", "5 NOT_APPLIED BUSY", "6 NOT_APPLIED BUSY")
	if s := m.status(); s.CommitIndex != 4 || s.AppliedIndex != 2 {
		t.Fatalf("commit %d, applied %d", s.CommitIndex, s.AppliedIndex)
	}
	m.tellSystem(applier, &actor.ResumeMailbox{})
	expectResults(t, m.client, "1 APPLIED", "2 APPLIED")
	m.propose("x")
	m.sync()
	m.accept("n2")
	expectResults(t, m.client, "7 APPLIED")
}

// However much is committed at once, it is handed over in portions.
func TestBlocksAreHandedOverUpToTheLimit(t *testing.T) {
	one := block(1, 1, 1, 0, "x")
	r := &raft{commit: 10}
	r.opts.Limits = &Limits{ApplyBacklogBytes: 3 * one.Len()}
	for i := range uint64(10) {
		r.tail.append(CommittedBlock{Block: block(1, 1, i+1, min(i, 1), "x")})
	}
	if got := r.takeBlocks(1, r.commit); len(got) != 3 || r.backlog.bytes != 3*one.Len() {
		t.Fatalf("%d blocks, %d bytes", len(got), r.backlog.bytes)
	}
	if got := r.takeBlocks(4, r.commit); len(got) != 1 {
		t.Fatalf("%d blocks beyond the limit, expected the one that must go", len(got))
	}
	r.backlog.upTo(4)
	if r.backlog.bytes != 0 {
		t.Fatalf("%d bytes are left of nothing", r.backlog.bytes)
	}
}
