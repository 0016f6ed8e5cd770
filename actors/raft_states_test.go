package actors

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/fsm"
	"github.com/protoraft/protoraft/messages"
)

// leadFar is a leader of term 2, of a group of so many, whose machine has passed entry
// 64. Its machine has answered "did x" to entries 3 to 64.
func leadFar(t *testing.T, size int) (*member, *messages.Checkpoint) {
	t.Helper()
	m := newMember(t, size)
	return m, m.goFar()
}

func (m *member) goFar() *messages.Checkpoint {
	t := m.t
	t.Helper()
	m.begin().elect()
	for range 62 {
		m.propose("x")
	}
	m.sync()
	for _, id := range m.ids[1:] {
		m.accept(id)
	}
	if s := m.status(); s.AppliedIndex != 64 {
		t.Fatalf("applied %d, expected 64", s.AppliedIndex)
	}
	m.forget()
	h := newHashes(m.machine)
	for i := uint64(3); i <= 64; i++ {
		h.replied(i, []byte("did x"))
	}
	return describeCheckpoint(h.points[0])
}

// A leader's snapshot is not sent while somebody differs and it may be the leader.
func TestNoSnapshotWhileStatesAreInDoubt(t *testing.T) {
	m := newMember(t, 3)
	m.keeping(0, 0)
	c := m.goFar()
	m.askSnapshot()
	m.sync()
	expect := func(doubt bool, why string) {
		t.Helper()
		asker := m.at("status", "replicator")
		m.send(asker, m.pid, &FetchEntries{Term: 2, First: 2, MaxBytes: 1 << 20, Session: 3})
		if e := takeOne[*EntriesCompacted](t, asker); e.InDoubt != doubt {
			t.Fatalf("%+v: %s", e, why)
		}
	}
	expect(false, "nobody has reported")
	m.report("n3", other(c))
	expect(true, "n3 differs, n2 has not been heard")
	m.report("n2", c)
	expect(false, "n3 is the one that is wrong")
}

func other(c *messages.Checkpoint) *messages.Checkpoint {
	return &messages.Checkpoint{Index: c.Index, Replies: c.Replies + 1}
}

func (m *member) report(id core.NodeID, c *messages.Checkpoint) {
	m.t.Helper()
	m.send(m.peer(id), m.pid, &messages.HeartbeatAcked{Group: 1, Term: 2, From: string(id), Checkpoint: c})
}

func (m *member) expectFailure(why string) {
	m.t.Helper()
	if s := m.status(); s.Role != "failed" || !strings.Contains(s.Failure, why) {
		m.t.Fatalf("%s: %q, expected failed with %q", s.Role, s.Failure, why)
	}
}

// The minority that differs is told to stop, as often as it shows itself; the leader
// goes on, and says who it was.
func TestDivergedMinorityIsToldToStop(t *testing.T) {
	m, c := leadFar(t, 3)
	m.report("n3", other(c))
	expectNone[*messages.StateDiverged](t, m.peer("n3"), "n2 has not been heard: nobody knows who is wrong")
	m.report("n2", c)
	d := takeOne[*messages.StateDiverged](t, m.peer("n3"))
	if d.Term != 2 || d.Split || !proto.Equal(d.Checkpoint, c) {
		t.Fatalf("told %v, expected the checkpoint %v", d, c)
	}
	expectNone[*messages.StateDiverged](t, m.peer("n2"), "it is equal")
	m.report("n2", c)
	expectNone[*messages.StateDiverged](t, m.peer("n3"), "it has not reported again")
	m.report("n3", other(c))
	takeOne[*messages.StateDiverged](t, m.peer("n3")) // the first may be lost
	s := m.status()
	if s.Role != "leader" || s.Peers[0].ComparedIndex != 64 || s.Peers[0].DivergedIndex != 0 || s.Peers[1].DivergedIndex != 64 {
		t.Fatalf("status %v", s)
	}
}

// A leader that a majority differs from stops, and wakes a successor.
func TestDivergedLeaderStops(t *testing.T) {
	m, c := leadFar(t, 3)
	m.report("n2", other(c))
	m.expectRole("leader", 2)
	m.report("n3", other(c))
	m.expectFailure("after entry 64 a majority is in another state than the leader here")
	takeOne[*messages.TimeoutNow](t, m.peer("n2"))
	expectNone[*messages.StateDiverged](t, m.peer("n2"), "it is the leader who is wrong")
}

// Where no state is a majority's, nobody can be trusted: all stop.
func TestSplitStateStopsEverybody(t *testing.T) {
	m, c := leadFar(t, 2)
	m.report("n2", other(c))
	if d := takeOne[*messages.StateDiverged](t, m.peer("n2")); !d.Split {
		t.Fatalf("told %v", d)
	}
	m.expectFailure("no state is a majority's")
}

// An answer of an earlier term is of no leadership of this one.
func TestCheckpointOfAnEarlierTermIsStale(t *testing.T) {
	m, c := leadFar(t, 2)
	m.send(m.peer("n2"), m.pid, &messages.HeartbeatAcked{Group: 1, Term: 1, From: "n2", Checkpoint: other(c)})
	m.expectRole("leader", 2)
}

// A follower reports where its machine is with every heartbeat it answers, and stops
// when it differs from what the leader knows to be a majority's.
func TestFollowerReportsAndHeedsTheVerdict(t *testing.T) {
	m := newMember(t, 3).begin()
	var all []string
	for i := range 70 {
		all = append(all, fmt.Sprint("x", i))
	}
	m.append(2, 1, 1, 71, block(1, 2, 2, 1, all...))
	m.sync()
	beat := func() *messages.Checkpoint {
		m.send(m.peer("n2"), m.pid, &messages.Heartbeat{Group: 1, Term: 2, Leader: "n2", Commit: 71})
		return takeOne[*messages.HeartbeatAcked](t, m.peer("n2")).Checkpoint
	}
	c := beat()
	if c.GetIndex() != 64 || c.GetReplies() == 0 || c.GetState() != 0 {
		t.Fatalf("reported %v, expected the replies up to 64", c)
	}
	if again := beat(); !proto.Equal(again, c) {
		t.Fatalf("reported %v, expected %v again: the first may be lost", again, c)
	}
	tell := func(d *messages.StateDiverged) {
		d.Group, d.From = 1, "n2"
		m.send(m.peer("n2"), m.pid, d)
	}
	tell(&messages.StateDiverged{Term: 2, Checkpoint: c})
	tell(&messages.StateDiverged{Term: 2, Checkpoint: &messages.Checkpoint{Index: 128, Replies: 1}})
	tell(&messages.StateDiverged{Term: 1, Checkpoint: other(c)})
	m.expectRole("follower", 2)
	tell(&messages.StateDiverged{Term: 2, Checkpoint: other(c)})
	m.expectFailure("state diverged: after entry 64")
}

// Where no state is a majority's, a member stops whatever its own is. An order that is
// late is none for a member that has started again and has not been there yet.
func TestSplitStopsAFollowerThatHasBeenThere(t *testing.T) {
	m := newMember(t, 3).begin()
	split := func() {
		m.send(m.peer("n2"), m.pid, &messages.StateDiverged{
			Group: 1, Term: 2, From: "n2", Split: true, Checkpoint: &messages.Checkpoint{Index: 64, Replies: 5},
		})
	}
	all := make([]string, 70)
	m.append(2, 1, 1, 0, block(1, 2, 2, 1, all...))
	m.sync()
	split()
	m.expectRole("follower", 2)
	m.heartbeatOf("n2", 2, 71)
	split()
	m.expectFailure("no state is a majority's")

	m.restart().sync()
	m.heartbeatOf("n2", 2, 1)
	split()
	m.expectRole("follower", 2)
}

// The chain is over every reply and its place, whatever blocks they came in; one that
// lacks its beginning says nothing.
func TestReplyChain(t *testing.T) {
	points := func(blocks ...messages.Block) []core.Checkpoint {
		a := newApplying(t, nil)
		for _, b := range blocks {
			a.apply(b.LastIndex(), a.committed(b))
		}
		var out []core.Checkpoint
		for _, r := range take[*EntriesApplied](a.raft) {
			out = append(out, r.Checkpoints...)
		}
		return out
	}
	commands := func(n int, at int, command string) []string {
		all := make([]string, n)
		for i := range all {
			all[i] = "x"
		}
		if at >= 0 {
			all[at] = command
		}
		return all
	}
	whole := points(block(1, 1, 1, 0, commands(130, -1, "")...))
	if len(whole) != 2 || whole[0].Index != 64 || whole[1].Index != 128 || whole[0].Replies == whole[1].Replies {
		t.Fatalf("checkpoints %v, expected two", whole)
	}
	parts := points(block(1, 1, 1, 0, commands(10, -1, "")...), block(1, 1, 11, 1, commands(120, -1, "")...))
	if fmt.Sprint(parts) != fmt.Sprint(whole) {
		t.Fatalf("cut otherwise: %v, expected %v", parts, whole)
	}
	if changed := points(block(1, 1, 1, 0, commands(130, 5, "y")...)); changed[0] == whole[0] || changed[1] == whole[1] {
		t.Fatalf("another reply, and the checkpoints %v as before", changed)
	}
	// What must never change: members of other versions compare with it.
	if want := uint64(0x13de772eff322583); whole[0].Replies != want {
		t.Fatalf("the chain is %#x, expected %#x", whole[0].Replies, want)
	}
	h := hashes{applied: 64}
	h.resume(100)
	h.replied(128, nil)
	if p := h.take(); len(p) != 0 {
		t.Fatalf("a chain with a gap says %v", p)
	}
}

// hashing is a machine that keeps a hash, of a kind.
type hashing struct {
	batches
	at []int // how many entries it had when it was asked
}

func (h *hashing) ApplyBatch(entries []fsm.Entry, replies [][]byte) error {
	h.applied = append(h.applied, make([]string, len(entries))...)
	return nil
}

func (h *hashing) StateHash() uint64 {
	h.at = append(h.at, len(h.applied))
	return uint64(len(h.applied))
}

// A machine that hashes its state is asked right after the entry, however batches are
// cut, and its replies are not looked at.
func TestHasherIsAskedAtTheIndex(t *testing.T) {
	h := &hashing{}
	a := newApplying(t, h)
	all := make([]string, 130)
	a.apply(130, a.committed(block(1, 1, 1, 0, all...)))
	if fmt.Sprint(h.at) != "[64 128]" {
		t.Fatalf("asked after %v entries", h.at)
	}
	var got []core.Checkpoint
	for _, r := range take[*EntriesApplied](a.raft) {
		got = append(got, r.Checkpoints...)
	}
	if want := []core.Checkpoint{{Index: 64, State: 64}, {Index: 128, State: 128}}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("checkpoints %v, expected %v", got, want)
	}
}

// So it is where commands belong to a session.
func TestHasherIsAskedAtTheIndexInSessions(t *testing.T) {
	h := &hashing{}
	a := newApplying(t, h)
	entries := []messages.EntryView{opens()}
	for i := range uint64(129) {
		entries = append(entries, inSession(1, i+1, "a"))
	}
	a.apply(130, CommittedBlock{Block: blockOf(1, 1, 1, 0, entries...)})
	if fmt.Sprint(h.at) != "[63 127]" {
		t.Fatalf("asked after %v commands", h.at)
	}
}

// bursting fails when it is asked for its state at an entry.
type bursting struct{ hashing }

func (b *bursting) StateHash() uint64 { panic("no memory left") }

// oneByOne hides that a machine takes batches.
type oneByOne struct{ *bursting }

func (oneByOne) ApplyBatch() {}

// Everybody who waits is answered once when the machine fails at telling its state: who
// waits for an entry that was answered before not again, and those behind it as unknown.
func TestMachineThatFailsAtItsStateLeavesNobodyWaiting(t *testing.T) {
	for name, machine := range map[string]fsm.StateMachine{"batches": &bursting{}, "one by one": oneByOne{&bursting{}}} {
		a := newApplying(t, machine)
		a.apply(130, a.committed(block(1, 1, 1, 0, make([]string, 130)...)))
		told := map[uint64]int{}
		for _, item := range results(a.client) {
			told[item.Request]++
			if applied := item.Outcome == messages.Outcome_APPLIED; applied != (item.Request < 64) {
				t.Errorf("%s: %d is answered %v", name, item.Request, item.Outcome)
			}
		}
		for request := range uint64(130) {
			if told[request+1] != 1 {
				t.Errorf("%s: %d is answered %d times", name, request+1, told[request+1])
			}
		}
	}
}
