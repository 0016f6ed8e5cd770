package actors

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/vfs"
	"github.com/protoraft/protoraft/messages"
)

// alone is a member that is its whole group and leads it, with entries 1 and 2.
func alone(t *testing.T, prepare func(m *member)) *member {
	t.Helper()
	m := newMember(t, 1)
	prepare(m)
	m.begin().expectRole("leader", 2)
	m.tell(m.pid, &GatewayCaughtUp{Term: 2})
	return m
}

func (m *member) commits(commands ...string) {
	m.t.Helper()
	for _, c := range commands {
		m.propose(c)
		m.sync()
	}
}

func (m *member) askSnapshot() *probe {
	m.t.Helper()
	asker := m.at("status", "snapshots")
	m.send(asker, m.pid, &messages.TakeSnapshot{Group: 1})
	return asker
}

// While a snapshot is being written the log stays whole; when it is durable, the log
// is cut behind it, but for the tail that is kept.
func TestLogIsCutBehindADurableSnapshotOnly(t *testing.T) {
	wrote := 0
	m := alone(t, func(m *member) {
		m.keeping(0, 2)
		m.machine.onWrite = func() {
			wrote++
			if c := m.compactions(); len(c) > 0 {
				t.Errorf("%+v while the snapshot is being written", c[0])
			}
		}
	})
	m.commits("a", "b", "c", "d")
	asker := m.askSnapshot()
	if taken := takeOne[*messages.SnapshotTaken](t, asker); taken.Index != 6 || taken.Term != 2 || wrote != 1 {
		t.Fatalf("%v after %d views, expected 6 of term 2 after 1", taken, wrote)
	}
	if c := m.compactions(); len(c) != 1 || c[0].To.Index != 4 || c[0].To.Term != 2 || c[0].TruncateFrom != 0 {
		t.Fatalf("compactions %+v, expected up to 4", c)
	}
	m.sync()
	m.expectSnapshot(5, 6, 6, 6, 6)
	if _, err := m.store.Read(1, 4, 6, 1<<20); err == nil {
		t.Fatal("entry 4 can still be read")
	}
	if v := m.machine.views; len(v) != 1 || v[0].released != 1 {
		t.Fatalf("views %+v, expected one, released once", v)
	}
	if taken := takeOne[*messages.SnapshotTaken](t, m.askSnapshot()); taken.Index != 6 || wrote != 1 {
		t.Fatalf("%v after %d views: there is nothing new", taken, wrote)
	}
}

// A command is answered by the Applier, and its member hears only then that it is applied.
// Who asks for a snapshot in between gets one that has the command.
func TestSnapshotHasWhatWasAnsweredBefore(t *testing.T) {
	m := alone(t, func(m *member) { m.keeping(0, 0) })
	m.commits("a")
	if taken := takeOne[*messages.SnapshotTaken](t, m.askSnapshot()); taken.Index != 3 {
		t.Fatalf("%v, expected 3", taken)
	}
	var asker *probe
	m.machine.onApply = func() { asker = m.askSnapshot() } // which takes the member a turn
	m.commits("b")
	if taken := takeOne[*messages.SnapshotTaken](t, asker); taken.Index != 4 {
		t.Fatalf("%v, expected the command that was just applied in it, up to 4", taken)
	}
	if n := len(m.machine.views); n != 2 {
		t.Fatalf("%d snapshots taken, expected 2", n)
	}
}

// What a member has that stopped while its snapshot was written may be why it stopped:
// the log and the older snapshots stay.
func TestStoppedMemberCutsNoLog(t *testing.T) {
	m := alone(t, func(m *member) { m.keeping(0, 0) })
	m.commits("a")
	m.askSnapshot()
	m.sync()
	m.commits("b", "c")
	meta := snapshotMeta(5, 2, "n1")
	write(t, m.opts.Snapshots, meta, "3@2 a", "4@2 b", "5@2 wrong")
	m.tell(m.pid, &ApplierFailed{Reason: "state diverged"})
	m.expectRole("failed", 2)
	m.tell(m.pid, &SnapshotSaved{Meta: meta})
	if c := m.compactions(); len(c) != 0 {
		t.Fatalf("%+v, expected the log to stay", c[0])
	}
	if infos, err := m.opts.Snapshots.List(1); err != nil || len(infos) != 2 {
		t.Fatalf("%d snapshots, %v: expected the older one to stay", len(infos), err)
	}
}

// By itself a member takes one after so many entries; the first may come earlier.
func TestSnapshotsByPolicy(t *testing.T) {
	m := alone(t, func(m *member) { m.keeping(4, 0) })
	for range 20 {
		m.commits("x")
	}
	if n := len(m.machine.views); n < 5 || n > 6 {
		t.Fatalf("%d snapshots of 20 commands, expected one after each 4", n)
	}
	infos, err := m.opts.Snapshots.List(1)
	if err != nil || len(infos) != 1 {
		t.Fatalf("%d files, %v: expected the newest only", len(infos), err)
	}
}

func TestSnapshotInterval(t *testing.T) {
	m := alone(t, func(m *member) {
		m.keeping(0, 0)
		m.opts.SnapshotInterval = electionTimeout
	})
	m.advance(electionTimeout)
	if n := len(m.machine.views); n != 1 {
		t.Fatalf("%d snapshots in the first interval, expected 1", n)
	}
	m.advance(5 * electionTimeout)
	if n := len(m.machine.views); n != 1 {
		t.Fatalf("%d snapshots, and nothing was applied since the first", n)
	}
	m.commits("x")
	m.advance(electionTimeout)
	if n := len(m.machine.views); n != 2 {
		t.Fatalf("%d snapshots, expected 2", n)
	}
}

func TestSnapshotRefused(t *testing.T) {
	m := newMember(t, 1).begin()
	if r := takeOne[*messages.SnapshotRefused](t, m.askSnapshot()); !strings.Contains(r.Reason, "keeps no snapshots") {
		t.Fatal(r)
	}
	m = newMember(t, 3)
	m.keeping(1, 0)
	m.begin()
	if r := takeOne[*messages.SnapshotRefused](t, m.askSnapshot()); !strings.Contains(r.Reason, "nothing is applied") {
		t.Fatal(r)
	}
}

// A snapshot that fails is told and tried again after a while. The group goes on, and
// the log stays whole.
func TestFailedSnapshotIsTriedAgain(t *testing.T) {
	full := func(op vfs.Op) vfs.Fault {
		if op.Kind == vfs.OpWrite {
			return vfs.Fault{Err: syscall.ENOSPC}
		}
		return vfs.Fault{}
	}
	for name, fail := range map[string]func(m *member, disk *vfs.Mem){
		"view":  func(m *member, _ *vfs.Mem) { m.machine.viewErr = errors.New("no view") },
		"panic": func(m *member, _ *vfs.Mem) { m.machine.onWrite = func() { panic("in the view") } },
		"disk":  func(_ *member, disk *vfs.Mem) { disk.Inject(full) },
	} {
		t.Run(name, func(t *testing.T) {
			var disk *vfs.Mem
			m := alone(t, func(m *member) { disk = m.keeping(6, 0) })
			fail(m, disk)
			m.commits("a", "b", "c", "d")
			m.commits("e", "f")
			takeOne[*messages.SnapshotRefused](t, m.askSnapshot())
			m.expectSnapshot(1, 0, 8, 8, 8)
			m.expectRole("leader", 2)
			for _, v := range m.machine.views {
				if v.released != 1 {
					t.Fatalf("a view was released %d times", v.released)
				}
			}
			m.machine.viewErr, m.machine.onWrite = nil, nil
			disk.Inject(nil)
			before := len(m.machine.views)
			m.advance(heartbeat)
			if len(m.machine.views) != before {
				t.Fatal("tried again at once")
			}
			m.advance(8 * snapshotRetry)
			m.sync()
			m.expectSnapshot(9, 8, 8, 8, 8)
		})
	}
}

// A member that stops before its view came to a writer releases it, and leaves no file.
func TestMemberStoppedWithAViewOnItsWay(t *testing.T) {
	m := alone(t, func(m *member) { m.keeping(0, 0) })
	m.commits("a")
	pid := actor.NewPID(selfAddress, m.pid.Id+"/"+snapshotterName)
	m.tellSystem(pid, &actor.SuspendMailbox{})
	asker := m.askSnapshot()
	if v := m.machine.views; len(v) != 1 || v[0].released != 0 {
		t.Fatalf("views %+v, expected one that waits", v)
	}
	m.system.Root.Stop(m.pid)
	m.settle()
	if v := m.machine.views[0]; v.released != 1 {
		t.Fatalf("released %d times, expected once", v.released)
	}
	takeOne[*messages.SnapshotRefused](t, asker)
	takeOne[*MemberStopped](t, m.node)
	if infos, err := m.opts.Snapshots.List(1); err != nil || len(infos) > 0 || m.clock.pending() > 0 {
		t.Fatalf("files %v, %v, timers %d: expected none", infos, err, m.clock.pending())
	}
}

// A restart begins with the newest snapshot, and replays only what follows it.
func TestRestartFromASnapshot(t *testing.T) {
	m := alone(t, func(m *member) { m.keeping(0, 0) })
	m.commits("a", "b")
	m.askSnapshot()
	m.sync()
	m.commits("c")
	m.restart()
	m.machine.onWrite = nil
	m.expectApplied("3@2 a", "4@2 b")
	m.sync()
	m.sync()
	m.expectApplied("3@2 a", "4@2 b", "5@2 c")
	m.expectSnapshot(5, 4, 6, 6, 6)
}

// One that is damaged is passed over for an older one, where the log reaches back to
// that; else the member has lost memory, and says which. A log that is of no use without
// it stays on disk until a leader has sent what comes in its place.
func TestDamagedSnapshotIsPassedOver(t *testing.T) {
	for _, older := range []bool{true, false} {
		m := newMember(t, 3)
		disk := m.keeping(0, 0)
		m.stored(1, "", block(1, 1, 2, 1, "a", "b", "c"))
		if older {
			write(t, m.opts.Snapshots, snapshotMeta(2, 1), "2@1 a")
		}
		write(t, m.opts.Snapshots, snapshotMeta(3, 1), "2@1 a", "3@1 b")
		m.writer.write(compactTo(2, 1))
		rot(t, disk, "0000000000000003.snapshot")
		m.start()
		s := m.status()
		if older && (s.Role != "follower" || s.SnapshotIndex != 2) {
			t.Fatalf("%v, expected a follower from the snapshot at 2", s)
		}
		if older {
			continue
		}
		if s.Role != "follower" || s.LastIndex != 0 || !strings.Contains(s.Recovering, "begins at 3") || !m.noteOf().Recovering {
			t.Fatalf("%v, expected one that recovers, and names where its log begins", s)
		}
		m.deliver(elsewhere(t, snapshotMeta(4, 1), "2@1 a", "3@1 b", "4@1 c"), 1)
		if state, err := m.store.Load(1); err != nil || state.FirstIndex != 3 || state.LastIndex != 4 {
			t.Fatalf("log %+v (%v), expected the one from 3 to 4 to be there yet", state, err)
		}
		m.sync()
		m.expectSnapshot(5, 4, 4, 4, 4)
		m.expectApplied("2@1 a", "3@1 b", "4@1 c")
		if !m.noteOf().Recovering {
			t.Fatal("a snapshot alone is not enough to take part again")
		}
	}
}

// A member that knows of no other one has nobody to fetch a snapshot from.
func TestDamagedSnapshotOfAGroupOfOne(t *testing.T) {
	m := newMember(t, 1)
	disk := m.keeping(0, 0)
	m.stored(1, "", block(1, 1, 2, 1, "a", "b", "c"))
	write(t, m.opts.Snapshots, snapshotMeta(3, 1, "n1"), "2@1 a", "3@1 b")
	m.writer.write(compactTo(2, 1))
	rot(t, disk, "0000000000000003.snapshot")
	m.start()
	if s := m.status(); s.Role != "failed" || !strings.Contains(s.Failure, "begins at 3") {
		t.Fatalf("%v, expected a refusal that names where the log begins", s)
	}
}

// A log that begins beyond the newest snapshot has lost what is between.
func TestGapBetweenSnapshotAndLogIsALoss(t *testing.T) {
	m := newMember(t, 3)
	m.keeping(0, 0)
	m.stored(1, "", block(1, 1, 2, 1, "a", "b", "c"))
	write(t, m.opts.Snapshots, snapshotMeta(2, 1), "2@1 a")
	m.writer.write(compactTo(3, 1))
	m.start()
	if s := m.status(); s.Role != "follower" || !strings.Contains(s.Recovering, "begins at 4") || !strings.Contains(s.Recovering, "ends at 2") {
		t.Fatalf("%v", s)
	}
}

// A crash came between the snapshot and the log: the log begins anew, durably, before
// the member takes part.
func TestCrashBetweenSnapshotAndLog(t *testing.T) {
	for name, log := range map[string][]messages.Block{
		"shorter":  {block(1, 1, 2, 1, "a")},
		"conflict": {block(1, 1, 2, 1, "a", "x", "x", "x", "x")},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMember(t, 3)
			m.keeping(0, 0)
			m.stored(4, "", log...)
			write(t, m.opts.Snapshots, snapshotMeta(4, 3), "2@1 a", "3@3 b", "4@3 c")
			m.arrive()
			m.expectRole("starting", 4)
			expectNone[*messages.Greet](t, m.peer("n2"), "the log is not reset on disk")
			m.sync()
			m.greeted()
			m.sync()
			m.expectRole("follower", 4)
			m.expectSnapshot(5, 4, 4, 4, 4)
			m.expectApplied("2@1 a", "3@3 b", "4@3 c")
			m.restart().expectRole("follower", 4)
			m.expectSnapshot(5, 4, 4, 4, 4)
		})
	}
}

func rot(t *testing.T, disk *vfs.Mem, suffix string) {
	t.Helper()
	for name := range disk.FileSizes() {
		if strings.HasSuffix(name, suffix) {
			f, err := disk.Append(name)
			if err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 1)
			if _, err := f.ReadAt(b, 60); err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt([]byte{^b[0]}, 60); err != nil {
				t.Fatal(err)
			}
			f.Close()
			return
		}
	}
	t.Fatalf("no file ends in %s: %v", suffix, disk.FileSizes())
}

func compactTo(index, term uint64) logstore.Update {
	return logstore.Update{Group: 1, CompactTo: index, CompactTerm: term}
}
