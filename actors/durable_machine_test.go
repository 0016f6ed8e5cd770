package actors

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/messages"
)

// keeper is a machine that keeps its state by itself.
type keeper struct {
	recorder
	index uint64
	err   error
}

func (k *keeper) AppliedIndex() (uint64, error) { return k.index, k.err }

// A machine that has its state is given what it lacks, and the Raft hears of nothing
// that it has not handed over.
func TestDurableMachineGoesOnWhereItIs(t *testing.T) {
	k := &keeper{index: 3}
	a := newApplying(t, k)
	a.tell(a.pid, &LogFound{First: 1})
	a.apply(2) // from disk: nothing of it is needed
	expectNone[*ReadEntries](t, a.reader, "the machine has it")
	if r := takeOne[*EntriesApplied](t, a.raft); r.Index != 2 {
		t.Fatalf("reported %d, expected 2: no more was handed over", r.Index)
	}
	a.apply(5)
	if r := takeOne[*ReadEntries](t, a.reader); r.First != 4 || r.Last != 5 {
		t.Fatalf("asked for %d to %d, expected 4 to 5", r.First, r.Last)
	} else {
		a.tell(a.pid, &EntriesRead{First: 4, Session: r.Session, Blocks: []messages.Block{block(1, 1, 1, 0, "a", "b", "c", "d", "e")}})
	}
	if want := []string{"4@1 d", "5@1 e"}; !slices.Equal(k.applied, want) {
		t.Fatalf("applied %q, expected %q", k.applied, want)
	}
	reports := take[*EntriesApplied](a.raft)
	if last := reports[len(reports)-1]; last.Index != 5 {
		t.Fatalf("reported %d, expected 5", last.Index)
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

// What the log cannot bring up to date is refused by name.
func TestDurableMachineThatDoesNotFitIsRefused(t *testing.T) {
	for want, c := range map[string]struct {
		keeper
		found *LogFound
	}{
		"state machine went backwards: it has applied 3, the log begins at 5":                                           {keeper{index: 3}, &LogFound{First: 5}},
		"state machine has applied 3 entries and the log is empty: the log was lost, or the machine is another group's": {keeper{index: 3}, &LogFound{First: 1, New: true}},
		"state machine does not know its applied index: no such file":                                                   {keeper{err: errors.New("no such file")}, nil},
	} {
		a := newApplying(t, &c.keeper)
		if c.found != nil {
			a.tell(a.pid, c.found)
		}
		if f := takeOne[*ApplierFailed](t, a.raft); f.Reason != want {
			t.Errorf("%q, expected %q", f.Reason, want)
		}
	}
	for _, fits := range []LogFound{{First: 4}, {First: 1}} {
		a := newApplying(t, &keeper{index: 3})
		a.tell(a.pid, &fits)
		expectNone[*ApplierFailed](t, a.raft, fmt.Sprintf("%+v fits", fits))
	}
	a := newApplying(t, &keeper{})
	a.tell(a.pid, &LogFound{First: 1, New: true})
	expectNone[*ApplierFailed](t, a.raft, "a new machine of a new group")
}

// Through the life of a member: what was applied before the restart is not applied
// again, though the log is all there.
func TestDurableMachineThroughARestart(t *testing.T) {
	k := &keeper{}
	m := newMember(t, 1)
	m.opts.Machine = k
	m.begin()
	m.expectRole("leader", 2)
	m.tell(m.pid, &GatewayCaughtUp{Term: 2})
	m.propose("a", "b")
	m.sync()
	k.index = m.status().AppliedIndex
	k.applied = nil
	m.system.Root.Stop(m.pid)
	m.settle()
	m.store = m.store.Restart()
	m.start()
	m.sync()
	m.tell(m.pid, &GatewayCaughtUp{Term: core.Term(m.status().Term)})
	m.propose("c")
	m.sync()
	if len(k.applied) != 1 || m.status().AppliedIndex != m.status().CommitIndex {
		t.Fatalf("applied %q at %v, expected c alone", k.applied, m.status())
	}
}
