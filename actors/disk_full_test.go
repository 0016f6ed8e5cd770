package actors

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/vfs"
	"github.com/protoraft/protoraft/messages"
)

func (w *writing) vote(group, term uint64) *PersistHardState {
	return &PersistHardState{Group: group, Incarnation: 1, Change: term, State: logstore.HardState{Term: term, Vote: "n1"}}
}

// heardByNode takes what the Node was told.
func (w *writing) heardByNode() (out []string) {
	for _, m := range w.watched {
		switch m.(type) {
		case *LogFull:
			out = append(out, "full")
		case *LogHasRoom:
			out = append(out, "room")
		case *messages.StorageFailed:
			out = append(out, "failed")
		}
	}
	w.watched = nil
	return out
}

func (w *writing) expectNode(want ...string) {
	w.t.Helper()
	if got := w.heardByNode(); !slices.Equal(got, want) {
		w.t.Fatalf("the Node heard %q, expected %q", got, want)
	}
}

// On a full disk nothing is acknowledged that is not written; terms and votes are
// written and acknowledged. When there is room everything else is, in its order.
func TestFullDiskIsWaitedOut(t *testing.T) {
	w := newWriting(t)
	w.store.Fill(true)
	w.send(w.members[0], w.pid, w.persist(0, 1, 1), w.vote(1, 3))
	w.send(w.members[1], w.pid, w.persist(1, 2, 1))
	w.send(w.members[0], w.pid, w.persist(0, 1, 2))
	expectNone[*messages.EntriesPersisted](t, w.members[0], "the disk is full")
	expectNone[*messages.EntriesPersisted](t, w.members[1], "the disk is full")
	if h := takeOne[*messages.HardStatePersisted](t, w.members[0]); h.Change != 3 {
		t.Fatalf("%v, expected change 3", h)
	}
	if s, err := w.store.Load(1); err != nil || s.HardState.Term != 3 || s.LastIndex != 0 {
		t.Fatalf("stored %+v, %v, expected term 3 and no entries", s, err)
	}
	w.expectNode("full")
	w.advance(3 * retryFullAfter)
	w.expectNode()
	expectNone[*messages.EntriesPersisted](t, w.members[0], "the disk is still full")

	w.store.Fill(false)
	w.advance(retryFullAfter)
	if e := take[*messages.EntriesPersisted](w.members[0]); len(e) != 2 || e[0].LastIndex != 1 || e[1].LastIndex != 2 {
		t.Fatalf("reported %v, expected 1 and 2", e)
	}
	takeOne[*messages.EntriesPersisted](t, w.members[1])
	w.expectNode("room")
	if s, err := w.store.Load(1); err != nil || s.LastIndex != 2 {
		t.Fatalf("stored %+v, %v", s, err)
	}
	w.send(w.members[0], w.pid, w.persist(0, 1, 3))
	takeOne[*messages.EntriesPersisted](t, w.members[0])
}

// What is kept is written in the order it came.
func TestFullDiskKeepsTheOrder(t *testing.T) {
	w := newWriting(t)
	w.store.Fill(true)
	w.send(w.members[0], w.pid, w.persist(0, 1, 1), w.persist(0, 1, 2))
	again := w.persist(0, 1, 1)
	again.TruncateFrom, again.Generation = 1, 5
	w.send(w.members[0], w.pid, again)
	w.store.Fill(false)
	w.advance(retryFullAfter)
	if e := take[*messages.EntriesPersisted](w.members[0]); len(e) != 3 || e[2].Generation != 5 {
		t.Fatalf("reported %v, expected three, the rewrite last", e)
	}
	if s, err := w.store.Load(1); err != nil || s.LastIndex != 1 {
		t.Fatalf("stored %+v, %v, expected the rewrite to be the end", s, err)
	}
}

// Where not even a vote can be written it is not acknowledged, and of those of a member
// only the last is kept.
func TestVoteWithoutRoomIsNotAcknowledged(t *testing.T) {
	w := newWriting(t)
	w.store.full = true
	for term := uint64(1); term <= 30; term++ {
		w.send(w.members[0], w.pid, w.vote(1, term))
	}
	expectNone[*messages.HardStatePersisted](t, w.members[0], "there is no room")
	w.store.full, w.store.writes = false, nil
	w.advance(retryFullAfter)
	if h := takeOne[*messages.HardStatePersisted](t, w.members[0]); h.Change != 30 {
		t.Fatalf("%v, expected change 30", h)
	}
	if len(w.store.writes) != 1 || len(w.store.writes[0]) != 1 {
		t.Fatalf("written %v, expected one update", w.store.writes)
	}
}

// After a full disk a failure is a failure: nothing is tried again, nothing acknowledged.
func TestFailureAfterAFullDiskIsForGood(t *testing.T) {
	w := newWriting(t)
	w.store.Fill(true)
	w.send(w.members[0], w.pid, w.persist(0, 1, 1))
	w.store.Fill(false)
	w.store.FailNext(errors.New("sync failed"), true)
	writes := len(w.store.writes)
	w.advance(retryFullAfter)
	takeOne[*messages.StorageFailed](t, w.members[0])
	w.expectNode("full", "failed")
	w.store.Store = w.store.Restart()
	w.advance(10 * retryFullAfter)
	w.send(w.members[0], w.pid, w.persist(0, 1, 1))
	takeOne[*messages.StorageFailed](t, w.members[0])
	expectNone[*messages.EntriesPersisted](t, w.members[0], "the writer has failed for good")
	if n := len(w.store.writes) - writes; n != 1 {
		t.Fatalf("%d writes, expected the one that failed", n)
	}
}

// A member begins when what an earlier one of its group left is written; on a full disk
// that may take long. Others need not wait for it.
func TestAdmissionWaitsForWhatIsKept(t *testing.T) {
	w := newWriting(t)
	w.store.Fill(true)
	w.send(w.members[0], w.pid, w.persist(0, 1, 1))
	w.tell(w.pid, &AdmitMember{Group: 1, PID: w.members[1].pid}, &AdmitMember{Group: 2, PID: w.members[2].pid})
	expectNone[*MemberAdmitted](t, w.members[1], "an entry of its group waits")
	takeOne[*MemberAdmitted](t, w.members[2])
	w.store.Fill(false)
	w.advance(retryFullAfter)
	takeOne[*MemberAdmitted](t, w.members[1])
}

// An update that cannot be stops its group only, also when it had to wait.
func TestRefusedUpdateAfterAFullDisk(t *testing.T) {
	w := newWriting(t)
	w.store.Fill(true)
	w.send(w.members[0], w.pid, w.persist(0, 1, 1))
	w.send(w.members[1], w.pid, w.persist(1, 2, 1), w.persist(1, 2, 5)) // a gap
	w.store.Fill(false)
	w.advance(retryFullAfter)
	takeOne[*messages.EntriesPersisted](t, w.members[0])
	takeOne[*messages.StorageFailed](t, w.members[1])
	w.expectNode("full", "room")
}

// ackFull answers heartbeats as peers whose disks are full, or are not.
func (m *member) ackFull(full bool, ids ...core.NodeID) {
	m.t.Helper()
	for _, id := range ids {
		for _, h := range take[*messages.Heartbeat](m.peer(id)) {
			m.send(m.peer(id), m.pid, &messages.HeartbeatAcked{Group: 1, Term: h.Term, From: string(id), Round: h.Round, DiskFull: full})
		}
	}
}

// A leader without room refuses at the door and answers what is queued, does not step
// down for its silent disk, reads on, and hands over to nobody while nobody has room.
func TestLeaderWithAFullDisk(t *testing.T) {
	m := lead(t)
	m.propose("x", "y") // x has an index, y may be queued behind it
	m.propose("z")
	m.tell(m.pid, &LogFull{Reason: "full"})
	expectResults(t, m.client, "3 NOT_APPLIED DISK_FULL")
	m.propose("w")
	expectResults(t, m.client, "4 NOT_APPLIED DISK_FULL")
	for range 20 {
		m.advance(heartbeat)
		m.ackFull(true, "n2", "n3")
	}
	m.expectRole("leader", 2)
	if s := m.status(); !s.DiskFull || !s.Peers[0].DiskFull || s.CommitIndex != 2 {
		t.Fatalf("%v", s)
	}
	expectNone[*messages.TimeoutNow](t, m.peer("n2"), "nobody has room")
	m.query(9, "q")
	m.ackFull(true, "n2", "n3")
	expectResults(t, m.client, "9 APPLIED")

	m.tell(m.pid, &LogHasRoom{})
	m.sync()
	m.propose("v")
	expectResults(t, m.client, "5 NOT_APPLIED DISK_FULL") // the peers are still full
	m.advance(heartbeat)
	m.ackFull(false, "n2", "n3")
	m.advance(heartbeat)
	m.accept("n2")
	m.sync()
	expectResults(t, m.client, "1 APPLIED", "2 APPLIED")
	m.propose("u")
	m.sync()
	m.accept("n2")
	expectResults(t, m.client, "6 APPLIED")
}

// A read that was to see commands which are then refused waits for none of them.
func TestReadBehindRefusedCommandsIsAnswered(t *testing.T) {
	m := lead(t)
	m.propose("x") // at the own disk
	m.post(m.client, m.pid, &messages.Propose{Group: 1, Request: 7, Command: []byte("y")})
	m.send(m.client, m.pid, &messages.Query{Group: 1, Request: 8, Query: []byte("q"), AfterWrites: true})
	m.tell(m.pid, &LogFull{Reason: "full"})
	expectResults(t, m.client, "7 NOT_APPLIED DISK_FULL")
	m.accept("n2")
	m.accept("n3")
	m.ack("n2", "n3")
	expectResults(t, m.client, "1 APPLIED", "8 APPLIED")
}

// A leader with room, but without a quorum that has, refuses too; one full peer of three
// is none of its clients' business.
func TestLeaderWithFullPeers(t *testing.T) {
	m := lead(t)
	m.advance(heartbeat)
	m.ackFull(true, "n2")
	m.ackFull(false, "n3")
	m.propose("x")
	m.sync()
	m.accept("n3")
	expectResults(t, m.client, "1 APPLIED")
	m.advance(heartbeat)
	m.ackFull(true, "n2", "n3")
	m.propose("y")
	expectResults(t, m.client, "2 NOT_APPLIED DISK_FULL")
	m.expectRole("leader", 2)
	m.advance(heartbeat)
	m.ackFull(false, "n2")
	m.propose("z")
	m.sync()
	m.accept("n2")
	expectResults(t, m.client, "3 APPLIED")
}

// A leader with a full disk hands over once it has heard that a quorum without it has
// room, and only to one of those.
func TestLeaderLeavesItsFullDisk(t *testing.T) {
	m := lead(t)
	m.tell(m.pid, &LogFull{Reason: "full"})
	m.advance(heartbeat)
	m.ackFull(false, "n3")
	m.advance(heartbeat)
	for _, id := range m.ids[1:] {
		expectNone[*messages.TimeoutNow](t, m.peer(id), "n2 has said nothing of its disk")
	}
	m.ackFull(false, "n2", "n3")
	m.advance(heartbeat)
	n2, n3 := take[*messages.TimeoutNow](m.peer("n2")), take[*messages.TimeoutNow](m.peer("n3"))
	if len(n2)+len(n3) != 1 {
		t.Fatalf("told to stand: n2 %v, n3 %v, expected one of them", n2, n3)
	}
}

// A follower says that its disk is full, and acknowledges what is on it and nothing else,
// however often it is asked.
func TestFollowerWithAFullDisk(t *testing.T) {
	m := newMember(t, 3).begin()
	m.heartbeatOf("n2", 2, 0)
	m.sync()
	m.forget()
	m.tell(m.pid, &LogFull{Reason: "full"})
	for session := uint64(1); session < 50; session++ {
		b := block(1, 2, 2, 1, "a")
		m.send(m.peer("n2"), m.pid, &messages.AppendEntries{
			Group: 1, Term: 2, Leader: "n2", Session: session, PrevIndex: 1, PrevTerm: 1, Block: b.Bytes(),
		})
	}
	expectNone[*messages.AppendAccepted](t, m.peer("n2"), "nothing is durable")
	m.send(m.peer("n2"), m.pid, &messages.AppendEntries{Group: 1, Term: 2, Leader: "n2", Session: 50, PrevIndex: 1, PrevTerm: 1})
	if a := takeOne[*messages.AppendAccepted](t, m.peer("n2")); a.MatchIndex != 1 || a.Session != 50 {
		t.Fatalf("%v, expected up to 1 in session 50", a)
	}
	m.heartbeatOf("n2", 2, 0)
	if h := takeOne[*messages.HeartbeatAcked](t, m.peer("n2")); !h.DiskFull {
		t.Fatalf("%v, expected it to say that the disk is full", h)
	}
	m.tell(m.pid, &LogHasRoom{})
	m.heartbeatOf("n2", 2, 0)
	if h := takeOne[*messages.HeartbeatAcked](t, m.peer("n2")); h.DiskFull {
		t.Fatalf("%v, expected it to say that there is room", h)
	}
}

// A Replicator sends nothing to a peer whose disk is full, and goes on when it is not.
func TestReplicatorHoldsForAFullDisk(t *testing.T) {
	s := newSender(t, 10, 9, core.Window{Messages: 4, Bytes: 1 << 20})
	s.give(1)
	s.expectSent("10..10")
	s.tell(s.pid, &messages.CheckProgress{DiskFull: true})
	s.give(2)
	for range 100 {
		s.tell(s.pid, &messages.CheckProgress{DiskFull: true})
	}
	s.expectSent()
	s.tell(s.pid, &messages.CheckProgress{})
	s.send(s.peer, s.pid, &messages.AppendAccepted{Group: 1, Term: replicatorTerm, From: "n2", Session: 1, MatchIndex: 10})
	s.expectSent("11..11", "12..12")
}

// Who asks the Node hears of the full disk, and a member that starts meanwhile does, too;
// a group of one goes on when there is room.
func TestNodeTellsOfAFullDisk(t *testing.T) {
	h := newHouse(t)
	h.member(1, "one")
	h.advance(2 * electionTimeout)
	h.store.Fill(true)
	h.propose(1, 1)
	if h.describe().DiskFull == "" {
		t.Fatal("the Node says nothing of a full disk")
	}
	late, asker := h.member(2, "two"), h.at("status", "asker")
	for _, pid := range []*actor.PID{h.members[1], late} {
		h.send(asker, pid, &messages.DescribeGroup{})
		if s := takeOne[*messages.GroupStatus](t, asker); !s.DiskFull {
			t.Fatalf("%v, expected it to know of the full disk", s)
		}
	}
	h.propose(1, 2)
	h.store.Fill(false)
	h.advance(patience)
	if d := h.describe(); d.DiskFull != "" {
		t.Fatalf("the disk has room, the Node says %q", d.DiskFull)
	}
	h.propose(1, 3)
	h.propose(2, 4)
	expectResults(t, h.client, "1 APPLIED", "2 NOT_APPLIED DISK_FULL", "3 APPLIED", "4 APPLIED")
}

// A change of members needs entries: it is refused like a command, and taken with room.
func TestChangeOfMembersOnAFullDisk(t *testing.T) {
	m := lead(t)
	m.tell(m.pid, &LogFull{Reason: "full"})
	m.change(&messages.ChangeMembers{Add: newMembers("n4")})
	expectResults(t, m.client, "77 NOT_APPLIED DISK_FULL")
	m.expectConfig(1, "n1,n2,n3 /  /  / ")
	m.tell(m.pid, &LogHasRoom{})
	m.change(&messages.ChangeMembers{Add: newMembers("n4")})
	expectResults(t, m.client)
	m.expectConfig(3, "n1,n2,n3 / n1,n2,n3,n4 /  / ")
}

// Nobody is handed leadership whose disk is full: not one that is named, not the best of
// the rest, nor one that fills up before it is told to stand.
func TestTransferPassesFullDisks(t *testing.T) {
	m := lead(t)
	m.advance(heartbeat)
	m.ackFull(true, "n2")
	m.ackFull(false, "n3")
	m.transfer("n2")
	if k := takeOne[*messages.LeadershipKept](t, m.client); !strings.Contains(k.Reason, "disk of n2 is full") {
		t.Fatal(k)
	}
	m.propose("a")
	m.transfer("n3")
	expectNone[*messages.LeadershipKept](t, m.client, "n3 has room")
	m.advance(heartbeat)
	m.ackFull(true, "n3")
	if k := takeOne[*messages.LeadershipKept](t, m.client); !strings.Contains(k.Reason, "disk of n3 is full") {
		t.Fatal(k)
	}
	m.transfer("")
	if k := takeOne[*messages.LeadershipKept](t, m.client); !strings.Contains(k.Reason, "room on its disk") {
		t.Fatal(k)
	}
	for _, id := range m.ids[1:] {
		expectNone[*messages.TimeoutNow](t, m.peer(id), "its disk is full")
	}
	m.advance(heartbeat)
	m.ackFull(false, "n2")
	m.sync()
	m.accept("n2")
	m.transfer("")
	takeOne[*messages.TimeoutNow](t, m.peer("n2"))
}

// A full disk makes a snapshot due, for the log can be cut behind it, but not again each
// time that it is full.
func TestFullDiskMakesASnapshotDue(t *testing.T) {
	m := alone(t, func(m *member) { m.keeping(0, 0) })
	flutter := func(want int) {
		t.Helper()
		m.commits("x")
		m.tell(m.pid, &LogFull{Reason: "full"})
		m.tell(m.pid, &LogHasRoom{})
		m.sync()
		if n := len(m.machine.views); n != want {
			t.Fatalf("%d snapshots, expected %d", n, want)
		}
	}
	flutter(1)
	m.expectSnapshot(4, 3, 3, 3, 3)
	for range 5 {
		flutter(1)
	}
	m.advance(snapshotRetryMax - heartbeat)
	flutter(1)
	m.advance(heartbeat)
	flutter(2)
}

// snapshotFiles says how many bytes there are of snapshots, whole or not.
func snapshotFiles(disk *vfs.Mem) (files, bytes int) {
	for _, size := range disk.FileSizes() {
		files++
		bytes += size
	}
	return files, bytes
}

// A snapshot for which there is no room leaves nothing on the disk that is full, nor
// does it stop anything; it is taken when there is room.
func TestSnapshotWithoutRoom(t *testing.T) {
	var disk *vfs.Mem
	m := alone(t, func(m *member) { disk = m.keeping(0, 0) })
	m.commits("a", "b")
	disk.Limit(disk.Used() + 60)
	r := takeOne[*messages.SnapshotRefused](t, m.askSnapshot())
	if !strings.Contains(r.Reason, "no space") || disk.Refused() == 0 {
		t.Fatalf("%v, expected it to say that there is no space", r)
	}
	if files, bytes := snapshotFiles(disk); files != 0 {
		t.Fatalf("%d files of %d bytes left on a full disk", files, bytes)
	}
	m.expectRole("leader", 2)
	m.commits("c")
	disk.NoLimit()
	m.advance(2 * snapshotRetry)
	m.sync()
	m.expectSnapshot(6, 5, 5, 5, 5)
	if files, _ := snapshotFiles(disk); files != 1 {
		t.Fatalf("%d files, expected the snapshot", files)
	}
}

// A snapshot that is received finds no room: the sender is told, what has come is
// removed, and the same snapshot is received from its beginning when there is room.
func TestReceivedSnapshotWithoutRoom(t *testing.T) {
	m := newMember(t, 3).stored(2, "")
	disk := m.keeping(0, 0)
	m.start()
	m.heartbeatOf("n2", 2, 0)
	m.forget()
	f := elsewhere(t, snapshotMeta(9, 2), "2@1 a", "9@2 z")
	for _, room := range []int{0, 1, 50, len(f.bytes) - 1} {
		disk.Limit(disk.Used() + room)
		m.offer(f, 2)
		m.expectOffset(0)
		m.chunk(f, 0, 40)
		take[*messages.SnapshotReceived](m.snapshotSender())
		m.chunk(f, 40, len(f.bytes))
		d := take[*messages.SnapshotDeclined](m.snapshotSender())
		if len(d) != 1 || !strings.Contains(d[0].Reason, "no space") {
			t.Fatalf("room for %d bytes: %v, expected it to say that there is no space", room, d)
		}
		if files, bytes := snapshotFiles(disk); files != 0 {
			t.Fatalf("room for %d bytes: %d files of %d bytes left on a full disk", room, files, bytes)
		}
		m.expectNotInstalled("there was no room for it")
		m.expectSnapshot(1, 0, 0, 0, 1)
		disk.NoLimit()
	}
	m.deliver(f, 2)
	m.sync()
	if i := takeOne[*messages.SnapshotInstalled](t, m.snapshotSender()); i.Index != 9 {
		t.Fatal(i)
	}
	m.expectApplied("2@1 a", "9@2 z")
}
