package actors

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/fsm"
)

// moves has an Applier take a snapshot of what it has, and another restore it.
func (a *applying) moves(to *applying) {
	a.t.Helper()
	snapshotter := a.probe("raft/" + snapshotterName)
	c := members("n1", "n2", "n3")
	a.tell(a.pid, &CaptureSnapshot{Incarnation: 1, Configurations: []configuration{{1, c}}})
	s := takeOne[*SaveSnapshot](a.t, snapshotter)
	w, err := to.snapshots.Create(s.Meta)
	for _, part := range s.Capture.sections {
		var section io.Writer
		if err == nil {
			section, err = w.Section(part.name)
		}
		if err == nil {
			_, err = part.view.WriteTo(section)
		}
	}
	if err == nil {
		_, err = w.Commit()
	}
	if err != nil {
		a.t.Fatal(err)
	}
	to.tell(to.pid, &RestoreSnapshot{Meta: s.Meta})
}

func (a *applying) checkpoints() (all []core.Checkpoint) {
	for _, r := range take[*EntriesApplied](a.raft) {
		all = append(all, r.Checkpoints...)
	}
	return all
}

// A member that came from a snapshot goes on with the chain of replies of who took it,
// so that it is compared like everybody else.
func TestChainOfRepliesGoesOnAfterASnapshot(t *testing.T) {
	commands := make([]string, 60)
	for i := range commands {
		commands[i] = fmt.Sprint(i)
	}
	from, to, late := newApplying(t, nil), newApplying(t, nil), newApplying(t, nil)
	from.apply(60, from.committed(block(1, 1, 1, 0, commands...)))
	from.moves(to)
	to.moves(late) // a snapshot of who has it from a snapshot
	for _, a := range []*applying{from, to, late} {
		a.apply(70, a.committed(block(1, 1, 61, 1, commands[:10]...)))
	}
	want := from.checkpoints()
	if len(want) != 1 || want[0].Index != 64 || want[0].Replies == 0 {
		t.Fatalf("checkpoints %+v, expected one at 64", want)
	}
	for _, a := range []*applying{to, late} {
		if got := a.checkpoints(); len(got) != 1 || got[0] != want[0] {
			t.Fatalf("checkpoints %+v after a snapshot, expected %+v", got, want)
		}
	}
}

// Who does not know the chain says so in its snapshots, as do files from before there
// was any word of it.
func TestUnknownChainStaysUnknown(t *testing.T) {
	from, to := newApplying(t, nil), newApplying(t, nil)
	write(t, from.snapshots, snapshotMeta(10, 1), "10@1 x")
	from.tell(from.pid, &RestoreSnapshot{Meta: snapshotMeta(10, 1)})
	from.moves(to)
	to.apply(74, to.committed(block(1, 1, 11, 1, make([]string, 64)...)))
	if got := to.checkpoints(); len(got) > 0 {
		t.Fatalf("checkpoints %+v of a chain that lacks its beginning", got)
	}
}

// keptHash is a machine with a hash of its state that is wrong by some.
type keptHash struct {
	recorder
	wrong uint64
}

func (h *keptHash) StateHash() uint64 { return uint64(len(h.applied)) + h.wrong }

// A state that is another one than the snapshot was taken of is not gone on with.
func TestRestoredStateIsCompared(t *testing.T) {
	for _, c := range []struct {
		machine fsm.StateMachine
		fails   bool
	}{{&keptHash{}, false}, {&keptHash{wrong: 1}, true}, {&recorder{}, false}} {
		from, to := newApplying(t, &keptHash{}), newApplying(t, c.machine)
		from.apply(3, from.committed(block(1, 1, 1, 0, "a", "b", "c")))
		from.moves(to)
		failed := take[*ApplierFailed](to.raft)
		if (len(failed) == 1) != c.fails {
			t.Fatalf("%T: failures %v, expected one: %v", c.machine, failed, c.fails)
		}
		if c.fails && !strings.Contains(failed[0].Reason, `cannot restore the snapshot at 3: section "compared": the state restored is 0x4, expected 0x3`) {
			t.Fatal(failed[0].Reason)
		}
	}
}

// What is said for comparison is refused when it is not whole.
func TestComparedSectionIsChecked(t *testing.T) {
	h := newHashes(&recorder{})
	for _, damaged := range []string{"", "\x01", strings.Repeat("\x02", comparedBytes), "\x01" + strings.Repeat("\x00", comparedBytes)} {
		if err := h.load(strings.NewReader(damaged)); err == nil || !strings.Contains(err.Error(), "expected 18 bytes of version 1") {
			t.Fatalf("%q: %v", damaged, err)
		}
	}
}
