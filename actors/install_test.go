package actors

import (
	"fmt"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/messages"
)

// behind is a member of three that follows n2 in term 2, keeps snapshots, and has these
// blocks after the configuration; and a snapshot that n2 has.
func behind(t *testing.T, index, term uint64, blocks ...messages.Block) (*member, file) {
	t.Helper()
	m := newMember(t, 3).stored(2, "", blocks...)
	m.keeping(0, 0)
	m.start()
	m.heartbeatOf("n2", 2, 0)
	m.forget()
	return m, elsewhere(t, snapshotMeta(index, term), "2@1 a", fmt.Sprintf("%d@%d z", index, term))
}

func (m *member) expectNotInstalled(why string) {
	m.t.Helper()
	expectNone[*messages.SnapshotInstalled](m.t, m.snapshotSender(), why)
}

// deliver sends a whole snapshot, in one chunk.
func (m *member) deliver(f file, term uint64) {
	m.t.Helper()
	m.offer(f, term)
	m.expectOffset(0)
	m.chunk(f, 0, len(f.bytes))
}

// A snapshot beyond the log takes its place: the state, the configuration, and a log
// that begins behind it, which is on disk before anybody is told.
func TestInstallOfASnapshot(t *testing.T) {
	m, _ := behind(t, 9, 2)
	meta := snapshotMeta(9, 2, "n1", "n2", "n3", "n4")
	meta.ConfigurationIndex = 7
	f := elsewhere(t, meta, "2@1 a", "9@2 z")
	m.deliver(f, 2)
	m.expectOffset(len(f.bytes))
	m.expectNotInstalled("the log is not reset on disk")
	if c := m.compactions(); len(c) != 1 || c[0].To.Index != 9 || c[0].TruncateFrom != 1 {
		t.Fatalf("%+v, expected the log to begin after 9", c)
	}
	m.expectSnapshot(10, 9, 9, 9, 9)
	m.expectApplied("2@1 a", "9@2 z")
	m.sync()
	if i := takeOne[*messages.SnapshotInstalled](t, m.snapshotSender()); i.Index != 9 || i.Term != 2 {
		t.Fatal(i)
	}
	if c := m.status().Configuration; len(c.Members) != 4 {
		t.Fatalf("configuration %v, expected the snapshot's", c)
	}
	// What was compacted is no conflict; the log goes on where the snapshot ends.
	m.append(2, 5, 1, 0, block(1, 2, 6, 1, "x", "x", "x", "x", "j"))
	m.sync()
	m.expectAck(10)
	m.append(2, 3, 1, 10)
	m.expectAck(3)
	m.heartbeatOf("n2", 2, 10)
	m.expectApplied("2@1 a", "9@2 z", "10@2 j")
	// And the same after a restart.
	m.restart()
	m.expectSnapshot(10, 9, 9, 9, 10)
	if c := m.status().Configuration; len(c.Members) != 4 {
		t.Fatalf("configuration %v after a restart, expected the snapshot's", c)
	}
}

// A member that is sent one snapshot after the other, and takes none itself, keeps the last:
// those before it go when its state is restored and its log on disk begins behind it.
func TestInstallRemovesOlderSnapshots(t *testing.T) {
	m, f := behind(t, 9, 2)
	m.deliver(f, 2)
	m.expectOffset(len(f.bytes))
	m.sync()
	later := elsewhere(t, snapshotMeta(20, 2), "2@1 a", "9@2 z", "20@2 y")
	m.deliver(later, 2)
	files := func() (indexes []uint64) {
		infos, err := m.opts.Snapshots.List(1)
		if err != nil {
			t.Fatal(err)
		}
		for _, info := range infos {
			indexes = append(indexes, info.Meta.Index)
		}
		return indexes
	}
	if have := files(); len(have) != 2 {
		t.Fatalf("snapshots %d, expected the older one to stay until the log is reset on disk", have)
	}
	m.sync()
	if have := files(); len(have) != 1 || have[0] != 20 {
		t.Fatalf("snapshots %d, expected 20 only", have)
	}
	m.expectApplied("2@1 a", "9@2 z", "20@2 y")
}

// The snapshot's configuration is what a truncation of a later one goes back to.
func TestTruncationGoesBackToTheSnapshotsConfiguration(t *testing.T) {
	m, f := behind(t, 9, 2)
	m.deliver(f, 2)
	m.sync()
	five := members("n1", "n2", "n3", "n4", "n5")
	data, err := proto.Marshal(describeConfiguration(&five))
	if err != nil {
		t.Fatal(err)
	}
	m.append(2, 9, 2, 9, blockOf(1, 2, 10, 2, messages.EntryView{Kind: messages.EntryKind_CONFIGURATION, Data: data}))
	if c := m.status().Configuration; len(c.Members) != 5 {
		t.Fatalf("%v: active when appended", c)
	}
	m.append(3, 9, 2, 9, block(1, 3, 10, 2, "other"))
	if c := m.status().Configuration; len(c.Members) != 3 {
		t.Fatalf("%v: expected the snapshot's", c)
	}
}

// Chunks come twice, late, out of order, and of other snapshots: only what comes next
// counts, and the answer says what that is.
func TestChunksInDisorder(t *testing.T) {
	m, f := behind(t, 9, 2)
	other := elsewhere(t, snapshotMeta(8, 2), "2@1 a")
	m.chunk(f, 0, 50)
	expectNone[*messages.SnapshotReceived](t, m.snapshotSender(), "nothing was offered")
	m.offer(f, 2)
	m.expectOffset(0)
	m.chunk(f, 50, 100)
	m.expectOffset(0)
	m.chunk(f, 0, 50)
	m.expectOffset(50)
	m.chunk(f, 0, 50)
	m.expectOffset(50)
	m.chunk(other, 50, 100)
	expectNone[*messages.SnapshotReceived](t, m.snapshotSender(), "a chunk of another snapshot")
	m.offer(f, 2)
	m.expectOffset(50)
	m.chunk(f, 50, 100)
	m.expectOffset(100)
	m.chunk(f, 100, len(f.bytes))
	m.sync()
	takeOne[*messages.SnapshotInstalled](t, m.snapshotSender())
	m.chunk(f, 100, len(f.bytes))
	m.expectSnapshot(10, 9, 9, 9, 9)
	m.expectApplied("2@1 a", "9@2 z")
}

// Bytes that are not what was offered are never installed.
func TestDamagedChunkIsNotInstalled(t *testing.T) {
	m, f := behind(t, 9, 2)
	m.offer(f, 2)
	m.expectOffset(0)
	f.bytes = slices.Clone(f.bytes)
	f.bytes[len(f.bytes)/2] ^= 1
	m.chunk(f, 0, len(f.bytes))
	takeOne[*messages.SnapshotDeclined](t, m.snapshotSender())
	m.expectSnapshot(1, 0, 0, 0, 1)
	m.offer(f, 2)
	m.expectOffset(0)
}

// What is committed here already is not received at all.
func TestSnapshotBelowCommitIsIgnored(t *testing.T) {
	m, _ := behind(t, 9, 2, block(1, 2, 2, 1, "a", "b", "c"))
	m.heartbeatOf("n2", 2, 4)
	f := elsewhere(t, snapshotMeta(4, 2), "other")
	m.offer(f, 2)
	if i := takeOne[*messages.SnapshotInstalled](t, m.snapshotSender()); i.Index != 4 {
		t.Fatal(i)
	}
	expectNone[*messages.SnapshotReceived](t, m.snapshotSender(), "the snapshot is of no use")
	m.expectApplied("2@2 a", "3@2 b", "4@2 c")
}

// One that commit has passed while it was on its way changes nothing.
func TestSnapshotThatCommitHasPassed(t *testing.T) {
	m, f := behind(t, 3, 2)
	m.offer(f, 2)
	m.expectOffset(0)
	m.append(2, 1, 1, 4, block(1, 2, 2, 1, "a", "b", "c"))
	m.sync()
	m.chunk(f, 0, len(f.bytes))
	takeOne[*messages.SnapshotInstalled](t, m.snapshotSender())
	m.expectSnapshot(1, 0, 4, 4, 4)
	m.expectApplied("2@2 a", "3@2 b", "4@2 c")
}

// A log that holds the snapshot's last entry has all of it: that is committed, and what
// follows stays.
func TestInstallKeepsWhatFollows(t *testing.T) {
	m, f := behind(t, 3, 2, block(1, 2, 2, 1, "a", "b", "c", "d"))
	m.deliver(f, 2)
	takeOne[*messages.SnapshotInstalled](t, m.snapshotSender())
	if len(m.writer.pending) > 0 {
		t.Fatalf("written: %+v", m.writer.pending[0].message)
	}
	m.expectSnapshot(1, 0, 3, 3, 5)
	m.expectApplied("2@2 a", "3@2 b")
}

// One that has another entry there is replaced, with all that follows.
func TestInstallReplacesAConflictingLog(t *testing.T) {
	m, f := behind(t, 3, 2, block(1, 1, 2, 1, "a", "x", "y", "z"))
	m.deliver(f, 2)
	m.sync()
	takeOne[*messages.SnapshotInstalled](t, m.snapshotSender())
	m.expectSnapshot(4, 3, 3, 3, 3)
	if s, err := m.store.Load(1); err != nil || s.FirstIndex != 4 || s.LastIndex != 3 || s.PrevTerm != 2 {
		t.Fatalf("stored %+v, %v", s, err)
	}
}

// What was being written when the log was replaced says nothing of the new one.
func TestReportFromBeforeAnInstall(t *testing.T) {
	m, f := behind(t, 9, 2)
	m.append(2, 1, 1, 0, block(1, 2, 2, 1, "a", "b"))
	m.deliver(f, 2)
	m.writer.flush(1)
	m.settle()
	m.expectNoAck("that log is no more")
	m.sync()
	m.append(2, 9, 2, 9, block(1, 2, 10, 2, "j"))
	m.expectNoAck("it is not on disk")
	m.sync()
	m.expectAck(10)
}

// A leader of an earlier term is told so, and its snapshot is not installed, however
// much of it came before. The next leader goes on with the same bytes.
func TestLeaderChangeDuringATransfer(t *testing.T) {
	m, f := behind(t, 9, 2)
	m.offer(f, 2)
	m.expectOffset(0)
	m.chunk(f, 0, 60)
	m.expectOffset(60)
	m.heartbeatOf("n3", 3, 0)
	m.sync()
	m.offer(f, 2)
	if d := takeOne[*messages.SnapshotDeclined](t, m.snapshotSender()); d.Term != 3 {
		t.Fatal(d)
	}
	m.chunk(f, 60, len(f.bytes)) // on its way when the term changed
	m.expectOffset(len(f.bytes))
	m.sync()
	m.expectNotInstalled("n2 leads no more")
	m.expectSnapshot(1, 0, 0, 0, 1)
	third := m.at("n3:1", m.pid.Id+"/snapshotter/to-n1")
	m.send(third, m.pid, &messages.OfferSnapshot{
		Group: 1, Term: 3, Leader: "n3", Meta: f.info.Meta, Size: uint64(f.info.Size), Checksum: f.info.Checksum,
	})
	if r := takeOne[*messages.SnapshotReceived](t, third); r.Offset != uint64(f.info.Size) {
		t.Fatalf("%v: all of it is here", r)
	}
	m.sync()
	takeOne[*messages.SnapshotInstalled](t, third)
	m.expectSnapshot(10, 9, 9, 9, 9)
}

// An offer makes a candidate a follower, as an append does.
func TestOfferToACandidate(t *testing.T) {
	m, f := behind(t, 9, 2)
	m.advance(3 * electionTimeout)
	if role := m.status().Role; role != "pre-candidate" {
		t.Fatal(role)
	}
	m.deliver(f, 2)
	m.sync()
	takeOne[*messages.SnapshotInstalled](t, m.snapshotSender())
	m.expectRole("follower", 2)
}

// A receiver that was killed goes on behind the last frame that it has whole.
func TestReceiverGoesOnAfterARestart(t *testing.T) {
	m, f := behind(t, 9, 2)
	m.offer(f, 2)
	m.chunk(f, 0, len(f.bytes)-10)
	m.restart()
	m.forget()
	m.offer(f, 2)
	r := takeOne[*messages.SnapshotReceived](t, m.snapshotSender())
	if r.Offset < uint64(len(f.bytes))/2 || r.Offset >= uint64(len(f.bytes)) {
		t.Fatalf("goes on at %d of %d", r.Offset, len(f.bytes))
	}
	m.chunk(f, int(r.Offset), len(f.bytes))
	m.sync()
	takeOne[*messages.SnapshotInstalled](t, m.snapshotSender())
	m.expectSnapshot(10, 9, 9, 9, 9)
}

// An answer that got lost is given again.
func TestInstalledIsToldAgain(t *testing.T) {
	m, f := behind(t, 9, 2)
	m.deliver(f, 2)
	m.offer(f, 2) // while the log is being reset
	m.expectNotInstalled("the log is not reset on disk")
	m.sync()
	m.forget()
	m.offer(f, 2)
	takeOne[*messages.SnapshotInstalled](t, m.snapshotSender())
}

// The Applier is behind when a snapshot comes: what it has not applied is within it.
// Who waits is not told what the machine answered; a query is answered when its index
// is reached; what the disk still brings is of no use.
func TestRestoreWithWorkOutstanding(t *testing.T) {
	machine := &recorder{}
	a := newApplying(t, machine)
	f := write(t, a.snapshots, snapshotMeta(9, 2), "9@2 z")
	a.apply(4, a.committed(block(1, 1, 3, 1, "c", "d")))
	r := takeOne[*ReadEntries](t, a.reader)
	a.query(50, 8, "q")
	a.tell(a.pid, &RestoreSnapshot{Meta: f.info.Meta})
	got := results(a.client)
	if len(got) != 3 || got[0].Outcome != messages.Outcome_UNKNOWN || got[1].Outcome != messages.Outcome_UNKNOWN || string(got[2].Data) != "q after 1" {
		t.Fatalf("answers %v", got)
	}
	a.tell(a.pid, &EntriesRead{First: 1, Session: r.Session, Err: logstore.ErrCompacted}) // the log began anew
	expectNone[*ApplierFailed](t, a.raft, "what was compacted is not needed any more")
	a.apply(10, a.committed(block(1, 2, 10, 2, "j")))
	if !slices.Equal(machine.applied, []string{"9@2 z", "10@2 j"}) {
		t.Fatalf("applied %q", machine.applied)
	}
	a.tell(a.pid, &RestoreSnapshot{Meta: f.info.Meta}) // older than what is applied
	if len(machine.applied) != 2 {
		t.Fatalf("applied %q after an older snapshot", machine.applied)
	}
	last := core.Index(0)
	for _, e := range take[*EntriesApplied](a.raft) {
		if e.Index < last {
			t.Fatalf("reported %d after %d", e.Index, last)
		}
		last = e.Index
	}
	if last != 10 {
		t.Fatalf("reported %d at last, expected 10", last)
	}
}

// A snapshot has the configuration that is the last one at its index, not the first
// nor one that is not applied yet, whether this member has seen it in the log or in a
// snapshot.
func TestSnapshotHasTheConfigurationOfItsIndex(t *testing.T) {
	a := newApplying(t, &recorder{})
	files := a.probe(a.raft.pid.Id + "/" + snapshotterName)
	change := func(ids ...core.NodeID) messages.EntryView {
		c := members(ids...)
		data, err := proto.Marshal(describeConfiguration(&c))
		if err != nil {
			t.Fatal(err)
		}
		return messages.EntryView{Kind: messages.EntryKind_CONFIGURATION, Data: data}
	}
	expect := func(index, configured uint64, size int) {
		t.Helper()
		a.tell(a.pid, &CaptureSnapshot{Incarnation: 1})
		m := takeOne[*SaveSnapshot](t, files).Meta
		if m.Index != index || m.ConfigurationIndex != configured || len(m.Configuration.Members) != size {
			t.Fatalf("%v, expected index %d with the configuration of %d", m, index, configured)
		}
	}
	a.apply(1, CommittedBlock{Block: blockOf(1, 1, 1, 0, change("n1"))})
	a.apply(2, CommittedBlock{Block: block(1, 1, 2, 1, "a")})
	expect(2, 1, 1)
	a.apply(3, CommittedBlock{Block: blockOf(1, 1, 3, 1, change("n1", "n2"))})
	expect(3, 3, 2)
	f := write(t, a.snapshots, snapshotMeta(9, 2), "9@2 z")
	f.info.Meta.ConfigurationIndex = 7
	a.tell(a.pid, &RestoreSnapshot{Meta: f.info.Meta})
	a.apply(10, CommittedBlock{Block: block(1, 2, 10, 2, "b")})
	expect(10, 7, 3)
}

// A snapshot that cannot be restored stops the group: there is no other way on.
func TestSnapshotThatCannotBeRestored(t *testing.T) {
	a := newApplying(t, &recorder{})
	a.tell(a.pid, &RestoreSnapshot{Meta: snapshotMeta(9, 2)})
	takeOne[*ApplierFailed](t, a.raft)
}

// Log time goes on from the snapshot's, whatever the clock says.
func TestLogTimeGoesOnAfterARestore(t *testing.T) {
	m := newMember(t, 1)
	m.keeping(0, 0)
	m.stored(1, "")
	meta := snapshotMeta(4, 1, "n1")
	meta.Time = 1 << 60
	write(t, m.opts.Snapshots, meta, "4@1 d")
	m.start()
	m.sync()
	m.expectRole("leader", 2)
	blocks, err := m.store.Read(1, 5, 5, 1<<20)
	if err != nil || blocks[0].Time < 1<<60 {
		t.Fatalf("%v, %v: expected a time of the snapshot's or later", blocks, err)
	}
}
