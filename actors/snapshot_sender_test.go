package actors

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/messages"
)

// sendingTo is a real Snapshotter with a snapshot, asked to send it to n2.
type sendingTo struct {
	*world
	raft, replicator *probe
	peer, peerFiles  *probe
	pid              *actor.PID
	file             file
	transfer         Transfer
}

func newSendingTo(t *testing.T, transfer Transfer) *sendingTo {
	w := newWorld(t)
	s := &sendingTo{
		world: w, raft: w.probe("raft"), replicator: w.probe("replicator"),
		peer: w.at("n2:1", "group-1"), peerFiles: w.at("n2:1", "group-1/"+snapshotterName), transfer: transfer,
	}
	store := snapshotStore(t, memDisk())
	s.file = write(t, store, snapshotMeta(9, 2), "9@2 z")
	r := &raft{rt: w.rt, logger: &memberLog{runtime: w.rt.Logger}, opts: MemberOptions{
		Group: 1, Node: "n1", ElectionTimeout: electionTimeout, HeartbeatInterval: heartbeat,
		Limits: DefaultLimits(), Snapshots: store,
	}}
	r.opts.Limits.Transfer = transfer
	s.pid = w.spawn(r.snapshotterProps(s.raft.pid), snapshotterName)
	s.send(s.raft, s.pid, &FindSnapshot{})
	if found := takeOne[*SnapshotFound](t, s.raft); found.Meta.GetIndex() != 9 {
		t.Fatalf("%+v", found)
	}
	s.begin(1)
	return s
}

func (s *sendingTo) begin(session uint64) {
	s.t.Helper()
	s.send(s.replicator, s.pid, &SendSnapshot{Term: 3, Peer: "n2", To: s.peer.pid, Session: session})
}

// offered is the offer that left last, and who sent it.
func (s *sendingTo) offered() *actor.PID {
	s.t.Helper()
	offers := takeLetters[*messages.OfferSnapshot](s.peer)
	if len(offers) != 1 {
		s.t.Fatalf("%d offers, expected 1", len(offers))
	}
	if o := offers[0].message.(*messages.OfferSnapshot); o.Term != 3 || o.Leader != "n1" || o.Size != uint64(s.file.info.Size) || o.Checksum != s.file.info.Checksum {
		s.t.Fatalf("%v", o)
	}
	return offers[0].from
}

func (s *sendingTo) received(sender *actor.PID, offset int) {
	s.t.Helper()
	s.tell(sender, &messages.SnapshotReceived{Group: 1, Index: 9, Checksum: s.file.info.Checksum, Offset: uint64(offset)})
}

// expectChunks compares what left, as first..last.
func (s *sendingTo) expectChunks(want ...string) {
	s.t.Helper()
	var got []string
	for _, c := range take[*messages.SnapshotChunk](s.peerFiles) {
		end := int(c.Offset) + len(c.Data)
		if !slices.Equal(c.Data, s.file.bytes[c.Offset:end]) {
			s.t.Fatalf("other bytes at %d", c.Offset)
		}
		got = append(got, fmt.Sprintf("%d..%d", c.Offset, end))
	}
	if !slices.Equal(got, want) {
		s.t.Fatalf("chunks %q, expected %q", got, want)
	}
}

// Nothing leaves before the receiver has said where to begin; then a window of chunks.
func TestSenderKeepsToItsWindow(t *testing.T) {
	s := newSendingTo(t, Transfer{ChunkBytes: 40, Chunks: 2})
	to := s.offered()
	s.expectChunks()
	s.received(to, 0)
	s.expectChunks("0..40", "40..80")
	s.received(to, 40)
	s.expectChunks("80..120")
	s.received(to, 40)
	s.tell(to, &messages.SnapshotReceived{Group: 1, Index: 8, Offset: 80})
	s.expectChunks()
	end := len(s.file.bytes)
	s.received(to, end)
	s.expectChunks()
	s.tell(to, &messages.SnapshotInstalled{Group: 1, Term: 3, From: "n3", Index: 9})
	expectNone[*SnapshotDelivered](t, s.replicator, "it is another that has it")
	s.tell(to, &messages.SnapshotInstalled{Group: 1, Term: 3, From: "n2", Index: 9})
	if d := takeOne[*SnapshotDelivered](t, s.replicator); d.Index != 9 || d.Session != 1 {
		t.Fatalf("%+v", d)
	}
	expectNone[*SnapshotNotDelivered](t, s.replicator, "it was delivered")
	if n := s.clock.pending(); n != 0 {
		t.Fatalf("%d timers are left", n)
	}
}

// A sender begins where the receiver is, and goes back to where a break was.
func TestSenderGoesBackToABreak(t *testing.T) {
	s := newSendingTo(t, Transfer{ChunkBytes: 40, Chunks: 2})
	to := s.offered()
	s.received(to, 10)
	s.expectChunks("10..50", "50..90")
	s.advance(electionTimeout) // both got lost
	s.expectChunks()
	s.offered()
	s.received(to, 10)
	s.expectChunks("10..50", "50..90")
}

// Silence ends a transfer, and so does a refusal.
func TestSenderGivesUp(t *testing.T) {
	s := newSendingTo(t, Transfer{ChunkBytes: 40, Chunks: 2})
	s.advance((silentMax + 1) * electionTimeout)
	if n := takeOne[*SnapshotNotDelivered](t, s.replicator); n.Session != 1 {
		t.Fatalf("%+v", n)
	}
	take[*messages.OfferSnapshot](s.peer)
	s.begin(2)
	s.tell(s.offered(), &messages.SnapshotDeclined{Group: 1, Term: 7, From: "n2", Index: 9, Reason: "later"})
	if n := takeOne[*SnapshotNotDelivered](t, s.replicator); n.Session != 2 || n.Term != 7 {
		t.Fatalf("%+v", n)
	}
}

// One transfer a peer: a new one ends that before it. The end of the leadership ends
// all.
func TestOneTransferAPeer(t *testing.T) {
	s := newSendingTo(t, Transfer{ChunkBytes: 40, Chunks: 1})
	first := s.offered()
	s.begin(2)
	second := s.offered()
	s.received(first, 0)
	s.expectChunks()
	s.received(second, 0)
	s.expectChunks("0..40")
	s.tell(s.pid, &LeadershipEnded{Term: 3})
	s.received(second, 40)
	s.expectChunks()
	if n := s.clock.pending(); n != 0 {
		t.Fatalf("%d timers are left", n)
	}
}

func TestSenderIsThrottled(t *testing.T) {
	s := newSendingTo(t, Transfer{ChunkBytes: 40, Chunks: 100, BytesPerSecond: 200})
	s.received(s.offered(), 0)
	s.expectChunks("0..40")
	s.advance(100 * time.Millisecond)
	s.expectChunks()
	s.advance(110 * time.Millisecond)
	s.expectChunks("40..80")
}

// What is being sent can be read to its end, though a newer one has taken its place.
func TestSentSnapshotOutlivesItsRemoval(t *testing.T) {
	s := newSendingTo(t, Transfer{ChunkBytes: 40, Chunks: 1})
	to := s.offered()
	s.tell(s.pid, &SaveSnapshot{Meta: snapshotMeta(12, 2), Capture: &capture{sections: []section{{machineSection, &recorderView{text: "x"}}}}})
	takeOne[*SnapshotSaved](t, s.raft)
	s.tell(s.pid, &DropSnapshots{Below: 12})
	s.received(to, 40)
	s.expectChunks("40..80")
}

// needing is a Replicator whose peer needs what is compacted.
func needing(t *testing.T) (*sender, *probe, uint64) {
	t.Helper()
	s := newSender(t, 10, 9, core.Window{Messages: 4, Bytes: 1 << 20})
	files := s.files
	s.give(1)
	s.expectSent("10..10")
	s.rejected(1, 9, 2, 1)
	f := takeOne[*FetchEntries](t, s.raft)
	s.tell(s.pid, &EntriesCompacted{Session: f.Session + 1, Snapshotter: s.files.pid}, &EntriesCompacted{Session: f.Session - 1, Snapshotter: s.files.pid})
	expectNone[*SendSnapshot](t, files, "of another session")
	s.tell(s.pid, &EntriesCompacted{Session: f.Session, Snapshotter: s.files.pid})
	m := takeOne[*SendSnapshot](t, files)
	if m.Term != replicatorTerm || m.Peer != "n2" || !m.To.Equal(s.peer.pid) {
		t.Fatalf("%+v", m)
	}
	return s, files, m.Session
}

// While a snapshot is sent no append leaves; afterwards the Replicator probes behind
// it, and counts nothing before the peer has answered that.
func TestReplicatorInStateSnapshot(t *testing.T) {
	s, _, session := needing(t)
	s.give(2)
	s.checks(3)
	s.expectSent()
	s.tell(s.pid, &SnapshotProgressed{Session: session, Offset: 5, Size: 9})
	s.checks(1)
	reports := take[*messages.ProgressReported](s.raft)
	if p := reports[len(reports)-1]; p.State != "snapshot" || p.SnapshotSent != 5 || p.SnapshotSize != 9 {
		t.Fatalf("%v", p)
	}
	s.tell(s.pid, &SnapshotDelivered{Session: session + 1, Index: 3})
	expectNone[*FetchEntries](t, s.raft, "news of another transfer")
	s.tell(s.pid, &SnapshotDelivered{Session: session, Index: 9})
	f := takeOne[*FetchEntries](t, s.raft)
	if f.First != 10 {
		t.Fatalf("%+v, expected what follows the snapshot", f)
	}
	expectNone[*messages.PeerAdvanced](t, s.raft, "the peer has not said so itself")
	s.tell(s.pid, &EntriesRead{First: 10, PrevTerm: 1, Session: f.Session, Blocks: []messages.Block{block(1, replicatorTerm, 10, 1, "e10")}})
	s.expectSent("10..10")
	s.accepted(f.Session, 10)
	if got := s.advanced(); !slices.Equal(got, []uint64{10}) {
		t.Fatalf("told %v", got)
	}
}

// A transfer that failed is tried again after a pause; one that is silent is not waited
// for for ever; a peer in a later term ends the leadership.
func TestReplicatorAfterAFailedTransfer(t *testing.T) {
	s, _, session := needing(t)
	s.tell(s.pid, &SnapshotNotDelivered{Session: session, Reason: "full"})
	s.checks(1)
	expectNone[*FetchEntries](t, s.raft, "it pauses")
	s.checks(3)
	takeOne[*FetchEntries](t, s.raft)

	s, _, _ = needing(t)
	s.checks(200)
	if len(take[*FetchEntries](s.raft)) == 0 {
		t.Fatal("it waits for ever")
	}

	s, _, session = needing(t)
	s.tell(s.pid, &SnapshotNotDelivered{Session: session, Term: 9})
	if h := takeOne[*messages.HigherTermSeen](t, s.raft); h.Term != 9 {
		t.Fatal(h)
	}
}

// A state that is in doubt is not sent; the Replicator asks again after a while.
func TestReplicatorSendsNoStateInDoubt(t *testing.T) {
	s := newSender(t, 10, 9, core.Window{Messages: 4, Bytes: 1 << 20})
	s.give(1)
	s.expectSent("10..10")
	s.rejected(1, 9, 2, 1)
	asked := func() uint64 {
		t.Helper()
		all := take[*FetchEntries](s.raft)
		if len(all) == 0 {
			t.Fatal("it does not ask again")
		}
		return all[len(all)-1].Session
	}
	for range 3 {
		s.tell(s.pid, &EntriesCompacted{Session: asked(), InDoubt: true, Snapshotter: s.files.pid})
		expectNone[*SendSnapshot](t, s.files, "a state in doubt")
		s.checks(1)
		expectNone[*FetchEntries](t, s.raft, "it pauses")
		s.checks(30)
	}
	s.tell(s.pid, &EntriesCompacted{Session: asked(), Snapshotter: s.files.pid})
	takeOne[*SendSnapshot](t, s.files)
}

// A leader tells of what is compacted, not of the nearest it has; the entry before its
// first is still there to probe with.
func TestLeaderTellsWhatIsCompacted(t *testing.T) {
	m := newMember(t, 3)
	m.keeping(0, 0)
	m.stored(3, "", block(1, 1, 2, 1, "a", "b"), block(1, 3, 4, 1, "c", "d"))
	write(t, m.opts.Snapshots, snapshotMeta(4, 3), "2@1 a", "3@1 b", "4@3 c")
	m.writer.write(compactTo(4, 3))
	m.start()
	m.elect()
	asker := m.at("status", "replicator")
	for _, c := range []struct {
		first, hint core.Index
		compacted   bool
	}{{5, 0, false}, {4, 0, true}, {3, 1, true}, {6, 3, false}, {6, 1, false}} {
		m.send(asker, m.pid, &FetchEntries{Term: 4, First: c.first, HintTerm: core.Term(c.hint), MaxBytes: 1 << 20, Session: 3})
		if c.compacted {
			if e := takeOne[*EntriesCompacted](t, asker); e.Session != 3 {
				t.Fatalf("%+v", e)
			}
			continue
		}
		if e := takeOne[*EntriesRead](t, asker); e.First < 5 || e.PrevTerm != 3 {
			t.Fatalf("first %d, hint %d: %+v", c.first, c.hint, e)
		}
	}
}
