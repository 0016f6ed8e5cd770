package actors

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/fsm/session"
	"github.com/protoraft/protoraft/messages"
)

// keeper is a machine that keeps its state by itself.
type keeper struct {
	recorder
	index uint64
	err   error
}

func (k *keeper) AppliedIndex() (uint64, error) { return k.index, k.err }

// fetches answers an Applier's next read of its log from 1 on with this block.
func (a *applying) fetches(first, last core.Index, b messages.Block) {
	a.t.Helper()
	r := takeOne[*ReadEntries](a.t, a.reader)
	if r.First != first || r.Last != last {
		a.t.Fatalf("asked for %d to %d, expected %d to %d", r.First, r.Last, first, last)
	}
	a.tell(a.pid, &EntriesRead{First: first, Session: r.Session, Blocks: []messages.Block{b}})
}

func (a *applying) expectReported(want core.Index) {
	a.t.Helper()
	reports := take[*EntriesApplied](a.raft)
	if last := reports[len(reports)-1]; last.Index != want {
		a.t.Fatalf("reported %d, expected %d", last.Index, want)
	}
}

// A machine that has its state is given what it lacks, and the Raft hears of nothing
// that it has not handed over.
func TestDurableMachineGoesOnWhereItIs(t *testing.T) {
	k := &keeper{index: 3}
	a := newApplying(t, k)
	a.tell(a.pid, &LogFound{Last: 5})
	if r := takeOne[*EntriesApplied](t, a.raft); r.Machine != 3 || r.Index != 0 {
		t.Fatalf("%+v, expected that the machine has 3", r)
	}
	five := block(1, 1, 1, 0, "a", "b", "c", "d", "e")
	a.apply(2)
	a.fetches(1, 2, five)
	a.expectReported(2)
	a.query(1, 2, "state")
	if got := results(a.client); len(got) != 1 || got[0].Index != 3 {
		t.Fatalf("%+v, expected an answer that reflects 3", got)
	}
	a.apply(5)
	a.fetches(3, 5, five)
	if want := []string{"4@1 d", "5@1 e"}; !slices.Equal(k.applied, want) {
		t.Fatalf("applied %q, expected %q", k.applied, want)
	}
	a.expectReported(5)
}

// Sessions know what the machine applied in an earlier life: it is not applied again,
// and the answer says that it was, though the reply is lost.
func TestDurableMachinesSessionsSurviveARestart(t *testing.T) {
	k := &keeper{index: 4}
	a := newApplying(t, k)
	a.tell(a.pid, &LogFound{Last: 9})
	a.apply(9, CommittedBlock{Block: blockOf(1, 1, 1, 0,
		opens(), inSession(1, 1, "a"), named("n", 1, "b"), inSession(1, 2, "c"), inSession(1, 3, "d"))},
		a.committed(blockOf(1, 1, 6, 1, inSession(1, 1, "a"), named("n", 1, "b"), inSession(1, 3, "d"), named("n", 2, "e"))))
	if want := []string{"5@1 d", "9@1 e"}; !slices.Equal(k.applied, want) {
		t.Fatalf("applied %q, expected %q", k.applied, want)
	}
	want := []string{"6 APPLIED REPLY_LOST at 2: ", "7 APPLIED REPLY_LOST at 3: ", "8 APPLIED NONE at 5: did d", "9 APPLIED NONE at 9: did e"}
	for i, item := range results(a.client) {
		if got := fmt.Sprintf("%d %v %v at %d: %s", item.Request, item.Outcome, item.Reason, item.Index, item.Data); got != want[i] {
			t.Errorf("answered %s, expected %s", got, want[i])
		}
	}
}

// Of a snapshot that the machine is ahead of, only what is not its own is taken.
func TestDurableMachineAheadOfItsSnapshot(t *testing.T) {
	k := &keeper{index: 6, recorder: recorder{applied: []string{"its own"}}}
	a := newApplying(t, k)
	write(t, a.snapshots, snapshotMeta(4, 1), "4@1 of the snapshot")
	a.tell(a.pid, &LogFound{Last: 7})
	a.tell(a.pid, &RestoreSnapshot{Meta: snapshotMeta(4, 1)})
	a.apply(7, a.committed(block(1, 1, 5, 1, "e", "f", "g")))
	if want := []string{"its own", "7@1 g"}; !slices.Equal(k.applied, want) {
		t.Fatalf("applied %q, expected %q", k.applied, want)
	}
	a.expectReported(7)
}

// A view holds what the machine has, so none is taken while sessions are behind it.
func TestNoSnapshotWhileSessionsAreBehindTheMachine(t *testing.T) {
	k := &keeper{index: 3}
	a := newApplying(t, k)
	snapshotter := a.probe("raft/" + snapshotterName)
	a.tell(a.pid, &LogFound{Last: 3})
	a.apply(2, a.committed(block(1, 1, 1, 0, "a", "b")))
	a.tell(a.pid, &CaptureSnapshot{})
	if f := takeOne[*SnapshotFailed](t, a.raft); !strings.Contains(f.Reason, "at 3, and its sessions are at 2") {
		t.Fatal(f.Reason)
	}
	a.apply(3, a.committed(block(1, 1, 3, 1, "c")))
	a.tell(a.pid, &CaptureSnapshot{})
	if s := takeOne[*SaveSnapshot](t, snapshotter); s.Meta.Index != 3 {
		t.Fatal(s.Meta)
	}
}

// Before a snapshot the machine is asked again what it holds, and held to it.
func TestDurableMachineIsHeldToWhatItHasSaid(t *testing.T) {
	for want, now := range map[string]keeper{
		"": {index: 3},
		"state machine of group 1 went backwards: it says it has applied 1, and said 2 before, expected at least 2": {index: 1},
		"state machine of group 1 says it has applied 5, and was given entries up to 4 only":                        {index: 5},
		"state machine of group 1 does not know its applied index: no such file":                                    {err: errors.New("no such file")},
	} {
		k := &keeper{index: 2}
		a := newApplying(t, k)
		a.tell(a.pid, &LogFound{Last: 2})
		a.apply(4, a.committed(block(1, 1, 1, 0, "a", "b", "c", "d")))
		take[*EntriesApplied](a.raft)
		k.index, k.err = now.index, now.err
		a.tell(a.pid, &CaptureSnapshot{})
		if want == "" {
			if r := takeOne[*EntriesApplied](t, a.raft); r.Machine != 3 {
				t.Errorf("%+v, expected that the machine has 3", r)
			}
			continue
		}
		if f := takeOne[*ApplierFailed](t, a.raft); f.Reason != want {
			t.Errorf("%q, expected %q", f.Reason, want)
		}
	}
}

// The replies of a machine that did not see all of the log are not compared.
func TestDurableMachinesRepliesAreNotCompared(t *testing.T) {
	a := newApplying(t, &keeper{index: 3})
	a.apply(64, a.committed(block(1, 1, 1, 0, make([]string, 64)...)))
	for _, r := range take[*EntriesApplied](a.raft) {
		if len(r.Checkpoints) > 0 {
			t.Fatalf("checkpoints %v of a chain that lacks its beginning", r.Checkpoints)
		}
	}
}

// A machine that is not this log's is refused by name.
func TestDurableMachineThatDoesNotFitIsRefused(t *testing.T) {
	for want, c := range map[string]struct {
		keeper
		found *LogFound
	}{
		"state machine of group 1 went backwards: it says it has applied 3, and said 4 in an earlier life, expected at least 4: its storage was lost, or is an older copy": {keeper{index: 3}, &LogFound{Last: 9, Noted: 4}},
		"state machine of group 1 says it has applied 3, and the log is empty: the log was lost, or the machine is another group's":                                        {keeper{index: 3}, &LogFound{New: true}},
		"state machine of group 1 says it has applied 3, and the log ends at 2, expected at least 3: the log went backwards, or the machine is another group's":            {keeper{index: 3}, &LogFound{Last: 2}},
		"state machine of group 1 does not know its applied index: no such file":                                                                                           {keeper{err: errors.New("no such file")}, nil},
	} {
		a := newApplying(t, &c.keeper)
		write(t, a.snapshots, snapshotMeta(9, 1), "9@1 of the snapshot")
		if c.found != nil {
			a.tell(a.pid, c.found)
		}
		a.tell(a.pid, &RestoreSnapshot{Meta: snapshotMeta(9, 1)})
		if f := takeOne[*ApplierFailed](t, a.raft); f.Reason != want {
			t.Errorf("%q, expected %q", f.Reason, want)
		}
		if len(c.keeper.applied) > 0 {
			t.Errorf("%s: and a snapshot was restored over it", want)
		}
	}
	for _, fits := range []LogFound{{Last: 3}, {Last: 9, Noted: 3}} {
		a := newApplying(t, &keeper{index: 3})
		a.tell(a.pid, &fits)
		expectNone[*ApplierFailed](t, a.raft, fmt.Sprintf("%+v fits", fits))
	}
	a := newApplying(t, &keeper{})
	a.tell(a.pid, &LogFound{New: true})
	expectNone[*ApplierFailed](t, a.raft, "a new machine of a new group")
}

// keeping a machine of its own, a member of one that leads.
func leadingKeeper(t *testing.T, k *keeper) *member {
	t.Helper()
	m := newMember(t, 1)
	m.opts.Machine = k
	m.keeping(0, 0)
	m.begin()
	m.expectRole("leader", 2)
	m.tell(m.pid, &GatewayCaughtUp{Term: 2})
	return m
}

// again starts the member again with the same machine.
func (k *keeper) again(m *member) {
	m.t.Helper()
	m.system.Root.Stop(m.pid)
	m.settle()
	m.store = m.store.Restart()
	m.opts.Machine = k
	m.start()
	m.sync()
}

// Through the life of a member: what was applied before the restart is not applied
// again, though the log is all there.
func TestDurableMachineThroughARestart(t *testing.T) {
	k := &keeper{}
	m := leadingKeeper(t, k)
	m.propose("a", "b")
	m.sync()
	k.index = m.status().AppliedIndex
	k.applied = nil
	k.again(m)
	m.tell(m.pid, &GatewayCaughtUp{Term: core.Term(m.status().Term)})
	m.propose("c")
	m.sync()
	if len(k.applied) != 1 || m.status().AppliedIndex != m.status().CommitIndex {
		t.Fatalf("applied %q at %v, expected c alone", k.applied, m.status())
	}
}

// What a machine has said to hold is on the node's disk before the log is cut, and the
// next life refuses a machine that holds less; also one that a snapshot could heal.
func TestMachineThatWentBackwardsIsRefused(t *testing.T) {
	k := &keeper{}
	m := leadingKeeper(t, k)
	m.propose("a", "b")
	m.sync()
	k.index = m.status().AppliedIndex
	m.askSnapshot()
	m.sync()
	s, err := m.store.Load(1)
	if err != nil || s.HardState.Machine != k.index || s.HardState.Term != 2 || s.FirstIndex != k.index+1 {
		t.Fatalf("stored %+v, %v, expected a note of %d and a log that begins behind it", s, err, k.index)
	}
	k.index--
	k.again(m)
	if f := m.status().Failure; !strings.Contains(f, "went backwards: it says it has applied 3, and said 4 in an earlier life, expected at least 4") {
		t.Fatalf("failure %q", f)
	}
	k.index++
	k.again(m)
	if s := m.status(); s.Role != "leader" {
		t.Fatalf("%+v, expected a leader: the machine holds what it has said", s)
	}
}

// Nothing is given to a machine with a disk of its own that is not on the log's disk.
func TestDurableMachineIsNotAheadOfTheLog(t *testing.T) {
	for _, durable := range []bool{false, true} {
		k, r := &keeper{}, &recorder{}
		m := newMember(t, 3).stored(1, "")
		if m.opts.Machine = r; durable {
			m.opts.Machine = k
		}
		m.start().elect()
		m.sync()
		m.accept("n2")
		m.accept("n3")
		m.tell(m.pid, &GatewayCaughtUp{Term: core.Term(m.status().Term)})
		m.propose("a")
		m.accept("n2")
		m.accept("n3")
		if s := m.status(); s.CommitIndex != s.LastIndex || s.DurableIndex == s.LastIndex {
			t.Fatalf("%+v, expected a commit before the own disk", s)
		}
		if applied := len(k.applied) + len(r.applied); applied == 0 != durable {
			t.Fatalf("machine that is durable: %v, has applied %d entries before the own disk has any", durable, applied)
		}
		m.sync()
		if applied := len(k.applied) + len(r.applied); applied != 1 {
			t.Fatalf("applied %d, expected 1", applied)
		}
	}
}

// Sessions that depend on replies are not for a machine whose replies get lost.
func TestSessionsFitTheMachine(t *testing.T) {
	m := newMember(t, 1)
	m.opts.Machine = &keeper{}
	m.opts.Sessions = session.New(session.DefaultLimits())
	if err := m.opts.Validate(); err == nil || !strings.Contains(err.Error(), "option Sessions: lossy is false, expected true") {
		t.Fatal(err)
	}
}
