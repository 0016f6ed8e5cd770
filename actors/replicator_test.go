package actors

import (
	"fmt"
	"slices"
	"testing"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/messages"
)

// sender is one real Replicator between a probe of its Raft and one of its peer.
type sender struct {
	*world
	raft, peer *probe
	files      *probe // stands in for the Snapshotter
	pid        *actor.PID
	end        uint64 // of what was given to it
}

const replicatorTerm = 5

// newSender makes a Replicator of term 5 that probes after entry next-1 of term 1
// of a log of that length.
func newSender(t *testing.T, next, last uint64, window core.Window) *sender {
	w := newWorld(t)
	s := &sender{world: w, raft: w.probe("raft"), peer: w.at("n2:1", "group-1"), end: last}
	m := &raft{rt: w.rt, opts: MemberOptions{
		Group: 1, Node: "n1", ElectionTimeout: electionTimeout, HeartbeatInterval: heartbeat, ReadTimeout: readTimeout, Limits: DefaultLimits(),
	}, logger: &memberLog{runtime: w.rt.Logger}, term: replicatorTerm, peers: memberMap[*actor.PID]{{"n2", s.peer.pid}}}
	m.opts.Limits.Window = window
	s.files = w.probe("files")
	m.tail.shape = core.NewLogShape(core.Position{}, []core.TermRun{{Term: 1, First: 1, Last: core.Index(last)}})
	s.pid = w.spawn((&leader{raft: m}).replicatorProps(s.raft.pid, "n2", core.Index(next), 1, true), "replicator")
	return s
}

// give adds blocks of one entry each to the leader's log, in one turn.
func (s *sender) give(n int) {
	s.t.Helper()
	for range n {
		s.end++
		prev := uint64(replicatorTerm)
		if s.end == 10 {
			prev = 1
		}
		s.system.Root.Send(s.pid, &ReplicateBlock{Block: block(1, replicatorTerm, s.end, prev, fmt.Sprint("e", s.end)), Commit: 1})
	}
	s.settle()
}

// sent takes the appends that left, as first..last, or prev for an empty one.
func (s *sender) sent() (out []string) {
	s.t.Helper()
	for _, a := range take[*messages.AppendEntries](s.peer) {
		if last := lastOf(s.t, a); len(a.Block) == 0 {
			out = append(out, fmt.Sprintf("empty after %d@%d", a.PrevIndex, a.PrevTerm))
		} else {
			out = append(out, fmt.Sprintf("%d..%d", a.PrevIndex+1, last))
		}
	}
	return out
}

func (s *sender) expectSent(want ...string) {
	s.t.Helper()
	if got := s.sent(); !slices.Equal(got, want) {
		s.t.Fatalf("sent %q, expected %q", got, want)
	}
}

func (s *sender) accepted(session, match uint64) {
	s.t.Helper()
	s.tell(s.pid, &messages.AppendAccepted{Group: 1, Term: replicatorTerm, From: "n2", Session: session, MatchIndex: match})
}

func (s *sender) rejected(session, prev, hint, hintTerm uint64) {
	s.t.Helper()
	s.tell(s.pid, &messages.AppendRejected{
		Group: 1, Term: replicatorTerm, From: "n2", Session: session, PrevIndex: prev, HintIndex: hint, HintTerm: hintTerm,
	})
}

func (s *sender) checks(n int) {
	s.t.Helper()
	for range n {
		s.tell(s.pid, &messages.CheckProgress{})
	}
}

func (s *sender) advanced() (out []uint64) {
	for _, a := range take[*messages.PeerAdvanced](s.raft) {
		out = append(out, a.MatchIndex)
	}
	return out
}

// replicating is a Replicator whose peer holds 1..10.
func replicating(t *testing.T, window core.Window) *sender {
	t.Helper()
	s := newSender(t, 10, 9, window)
	s.give(1)
	s.expectSent("10..10")
	s.accepted(1, 10)
	if got := s.advanced(); !slices.Equal(got, []uint64{10}) {
		t.Fatalf("told %v", got)
	}
	return s
}

var wide = core.Window{Messages: 64, Bytes: 4 << 20}

func TestReplicatorProbesBeforeItStreams(t *testing.T) {
	s := newSender(t, 10, 9, wide)
	s.give(3)
	s.expectSent("10..10")
	s.give(1)
	s.expectSent()
	s.accepted(1, 10)
	s.expectSent("11..11", "12..12", "13..13")
	s.give(1)
	s.expectSent("14..14") // without waiting
	s.accepted(1, 12)
	s.accepted(1, 14)
	if got := s.advanced(); !slices.Equal(got, []uint64{10, 12, 14}) {
		t.Fatalf("told %v", got)
	}
}

// Each append follows the one before it: what it follows is worked out for each.
func TestEveryAppendHasItsOwnPlace(t *testing.T) {
	s := replicating(t, wide)
	s.give(3)
	for i, a := range take[*messages.AppendEntries](s.peer) {
		if a.PrevIndex != uint64(10+i) || a.PrevTerm != replicatorTerm || a.Term != replicatorTerm || a.Leader != "n1" || a.Commit != 1 {
			t.Fatalf("append %d: %v", i, a)
		}
	}
}

func TestWindowHoldsBackWhatIsTooMuch(t *testing.T) {
	s := replicating(t, core.Window{Messages: 2, Bytes: 1 << 20})
	s.give(4)
	s.expectSent("11..11", "12..12")
	s.accepted(1, 11)
	s.expectSent("13..13")
	s.accepted(1, 13)
	s.expectSent("14..14")
	one := block(1, replicatorTerm, 11, replicatorTerm, "e11")
	size := one.Len()
	s = replicating(t, core.Window{Messages: 100, Bytes: size + 1})
	s.give(2)
	s.expectSent("11..11", "12..12") // the second is what fills it
	s.give(1)
	s.expectSent()
}

// Blocks that come while too much is queued already are not kept, but fetched when
// their turn comes: a slow peer costs no memory.
func TestSlowPeerCostsNoMemory(t *testing.T) {
	s := replicating(t, core.Window{Messages: 1, Bytes: 10})
	s.give(4)
	s.expectSent("11..11")
	s.accepted(1, 11)
	s.expectSent()
	f := takeOne[*FetchEntries](t, s.raft)
	if f.First != 12 || f.Term != replicatorTerm || f.HintTerm != 0 {
		t.Fatalf("%+v", f)
	}
	s.tell(s.pid, &EntriesRead{First: 12, PrevTerm: replicatorTerm, Session: f.Session, Blocks: []messages.Block{
		block(1, replicatorTerm, 11, replicatorTerm, "e11", "e12"), // begins before what was asked for
	}})
	s.expectSent("12..12")
	s.give(1)
	s.accepted(1, 12)
	if f := takeOne[*FetchEntries](t, s.raft); f.First != 13 {
		t.Fatalf("%+v", f)
	}
}

// A refusal sends it back to probing, where the leader thinks that the logs agree;
// answers to what was sent before are of an earlier session.
func TestRefusalIsProbedFromTheHint(t *testing.T) {
	s := newSender(t, 10, 9, wide)
	s.give(2)
	s.expectSent("10..10")
	s.rejected(1, 9, 6, 1)
	f := takeOne[*FetchEntries](t, s.raft)
	if f.First != 7 || f.HintTerm != 1 {
		t.Fatalf("%+v", f)
	}
	s.expectSent()
	s.tell(s.pid, &EntriesRead{First: 5, PrevTerm: 1, Session: f.Session, Blocks: []messages.Block{block(1, 1, 5, 1, "a", "b", "c", "d", "e")}})
	s.expectSent("5..9")
	s.accepted(1, 10) // late, of the first session
	if got := s.advanced(); len(got) > 0 {
		t.Fatalf("an answer of an earlier session raised the match to %v", got)
	}
	s.rejected(1, 9, 2, 1)
	if len(take[*FetchEntries](s.raft)) > 0 {
		t.Fatal("a refusal of an earlier session counts")
	}
	s.accepted(2, 9)
	if got := s.advanced(); !slices.Equal(got, []uint64{9}) {
		t.Fatalf("told %v", got)
	}
	if f := takeOne[*FetchEntries](t, s.raft); f.First != 10 {
		t.Fatalf("%+v", f)
	}
}

// What was asked for in an earlier session is not what is needed now.
func TestEntriesReadForAnEarlierSessionAreIgnored(t *testing.T) {
	s := newSender(t, 10, 9, wide)
	s.give(1)
	s.rejected(1, 9, 6, 1)
	f := takeOne[*FetchEntries](t, s.raft)
	s.checks(6)
	s.sent()
	s.tell(s.pid, &EntriesRead{First: 7, PrevTerm: 1, Session: f.Session, Blocks: []messages.Block{block(1, 1, 7, 1, "x")}})
	s.expectSent()
}

// To a peer that has fallen silent goes one empty append at a time.
func TestSilentPeerIsProbedWithNothing(t *testing.T) {
	s := replicating(t, core.Window{Messages: 2, Bytes: 1 << 20})
	s.give(4)
	s.expectSent("11..11", "12..12") // all lost, and the window is full
	s.checks(2)
	s.expectSent()
	s.checks(1)
	f := takeOne[*FetchEntries](t, s.raft)
	if f.First != 11 {
		t.Fatalf("%+v", f)
	}
	s.tell(s.pid, &EntriesRead{First: 11, PrevTerm: replicatorTerm, Session: f.Session, Blocks: []messages.Block{
		block(1, replicatorTerm, 11, replicatorTerm, "e11"),
	}})
	s.expectSent("empty after 10@5")
	s.checks(2)
	s.expectSent()
	s.accepted(f.Session, 10) // it is back
	s.expectSent("11..11")
}

// A peer that does not answer its first probe may hold the whole log: it is asked
// about the same place again, not sent everything from the start.
func TestLostProbeIsRepeatedAtItsPlace(t *testing.T) {
	s := newSender(t, 10, 9, wide)
	s.give(1)
	s.expectSent("10..10")
	s.checks(3)
	if f := takeOne[*FetchEntries](t, s.raft); f.First != 10 {
		t.Fatalf("%+v", f)
	}
}

// A peer that answers late is not gone: who gives up sooner than it can answer begins
// again for ever.
func TestLateAnswersMakeTheReplicatorPatient(t *testing.T) {
	s := newSender(t, 10, 9, wide)
	s.give(1)
	s.expectSent("10..10")
	s.checks(3) // given up
	f := takeOne[*FetchEntries](t, s.raft)
	s.accepted(f.Session-1, 10) // the answer was only late
	s.tell(s.pid, &EntriesRead{First: 10, PrevTerm: replicatorTerm, Session: f.Session})
	s.expectSent("empty after 9@5")
	s.checks(5)
	expectNone[*FetchEntries](t, s.raft, "it was given up as soon as the first time")
	s.checks(1)
	takeOne[*FetchEntries](t, s.raft)
}

// A check tells the Raft how things stand; an idle Replicator sends nothing.
func TestIdleReplicatorIsQuiet(t *testing.T) {
	s := replicating(t, wide)
	s.checks(20)
	s.expectSent()
	reports := take[*messages.ProgressReported](s.raft)
	last := reports[len(reports)-1]
	if len(reports) != 20 || last.State != "replicate" || last.NextIndex != 11 || last.Inflight != 0 || last.Peer != "n2" || last.Term != replicatorTerm {
		t.Fatalf("%d reports, %v", len(reports), last)
	}
}

// A read of the log that fails is not asked again in the same breath.
func TestFailedReadIsNotRepeatedAtOnce(t *testing.T) {
	s := newSender(t, 10, 9, wide)
	s.give(1)
	s.rejected(1, 9, 6, 1)
	asked := 0
	s.raft.answers = func(l letter) {
		if f, ok := l.message.(*FetchEntries); ok && asked < 100 {
			asked++
			s.system.Root.Send(l.from, &EntriesRead{First: f.First, Session: f.Session, Err: fmt.Errorf("unreadable")})
		}
	}
	s.raft.answers(letter{s.pid, takeOne[*FetchEntries](t, s.raft)})
	s.settle()
	if n := len(take[*FetchEntries](s.raft)); n > 1 {
		t.Fatalf("asked again %d times", n)
	}
	s.checks(6)
	if n := len(take[*FetchEntries](s.raft)); n == 0 || n > 6 {
		t.Fatalf("asked %d times within six checks", n)
	}
}

// With a term above its own a peer says only that the leader is no more.
func TestReplicatorReportsAHigherTerm(t *testing.T) {
	s := replicating(t, wide)
	s.tell(s.pid, &messages.AppendRejected{Group: 1, Term: 9, From: "n2", Session: 77})
	if h := takeOne[*messages.HigherTermSeen](t, s.raft); h.Term != 9 || h.Peer != "n2" {
		t.Fatalf("%v", h)
	}
	s.tell(s.pid, &messages.AppendAccepted{Group: 1, Term: 4, From: "n2", Session: 1, MatchIndex: 99},
		&messages.AppendRejected{Group: 1, Term: 4, From: "n2", Session: 1, PrevIndex: 99})
	if got := s.advanced(); len(got) > 0 {
		t.Fatalf("an answer of an earlier term raised the match to %v", got)
	}
}

// Who is at the peer's address and is another answers for itself.
func TestReplicatorTakesNoAnswerButItsPeers(t *testing.T) {
	s := replicating(t, wide)
	s.give(1)
	s.expectSent("11..11")
	s.tell(s.pid, &messages.AppendAccepted{Group: 1, Term: replicatorTerm, From: "n3", Session: 1, MatchIndex: 11})
	if got := s.advanced(); len(got) > 0 {
		t.Fatalf("an answer of n3 raised the match of n2 to %v", got)
	}
	s.tell(s.pid, &messages.AppendRejected{Group: 1, Term: replicatorTerm, From: "n3", Session: 1, PrevIndex: 10, HintIndex: 10, HintTerm: 1})
	expectNone[*FetchEntries](t, s.raft, "it is not n2 that refuses")
	s.accepted(1, 11)
	if got := s.advanced(); !slices.Equal(got, []uint64{11}) {
		t.Fatalf("told %v, expected 11", got)
	}
}

// A peer that lags gets what is in memory from the Raft, and what is not from disk.
func TestLaggingPeerIsFedFromMemoryAndDisk(t *testing.T) {
	m := newMember(t, 3)
	m.opts.Limits.TailBytes = 0
	m.begin().elect()
	m.accept("n2")
	for range 5 {
		m.propose("x")
		m.sync()
		m.accept("n2")
		m.forgetAppendsTo("n3")
	}
	m.forget()
	m.expectLog(7, 7, 7)
	m.propose("in memory")
	m.sync()
	m.reader.auto = false
	for range 20 { // n3 has lost everything; it is probed with nothing until it answers
		m.advance(heartbeat)
		m.ack("n2", "n3")
		m.accept("n2")
	}
	if len(m.reader.pending) == 0 {
		t.Fatal("the disk was not asked")
	}
	m.reader.auto = true
	m.reader.flush(len(m.reader.pending))
	m.settle()
	have := uint64(1) // n3 holds the configuration
	for range 20 {
		for _, l := range takeLetters[*messages.AppendEntries](m.peer("n3")) {
			a := l.message.(*messages.AppendEntries)
			if a.PrevIndex > have {
				m.send(m.peer("n3"), l.from, &messages.AppendRejected{
					Group: 1, Term: a.Term, From: "n3", Session: a.Session, PrevIndex: a.PrevIndex,
					HintIndex: have, HintTerm: min(have, 2), LastIndex: have,
				})
				continue
			}
			have = max(have, lastOf(t, a))
			m.send(m.peer("n3"), l.from, accepted(t, l, "n3"))
		}
		m.advance(heartbeat)
		m.ack("n2", "n3")
		m.sync()
	}
	if have != 8 {
		t.Fatalf("n3 received entries up to %d, expected 8", have)
	}
	for _, p := range m.status().Peers {
		if p.MatchIndex != 8 {
			t.Fatalf("%v", p)
		}
	}
}

func (m *member) forgetAppendsTo(id core.NodeID) { take[*messages.AppendEntries](m.peer(id)) }
