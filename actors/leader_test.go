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

// commandsOf reads the commands of an append.
func commandsOf(t *testing.T, raw []byte) (out []string) {
	t.Helper()
	b, err := messages.OpenBlock(raw)
	if err == nil {
		err = b.Entries(func(index uint64, e messages.EntryView) error {
			out = append(out, fmt.Sprintf("%d@%d %s", index, b.Term, e.Data))
			return nil
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// The leader's disk is one vote among equals: the peers get a block before it is on
// the leader's own disk, and commit it without.
func TestLeaderWithASlowDiskCommitsOnItsFollowers(t *testing.T) {
	m := lead(t)
	m.propose("x")
	if len(m.writer.pending) != 1 {
		t.Fatalf("%d writes at the own disk, expected 1", len(m.writer.pending))
	}
	for _, id := range m.ids[1:] {
		a := m.peer(id).inbox[0].message.(*messages.AppendEntries)
		if got := commandsOf(t, a.Block); !slices.Equal(got, []string{"3@2 x"}) || a.PrevIndex != 2 || a.PrevTerm != 2 {
			t.Fatalf("%s received %q after %d@%d", id, got, a.PrevIndex, a.PrevTerm)
		}
	}
	m.accept("n2")
	expectResults(t, m.client)
	m.expectLog(3, 2, 2)
	m.accept("n3")
	expectResults(t, m.client, "1 APPLIED")
	m.expectLog(3, 2, 3)
	m.sync()
	m.expectLog(3, 3, 3)
	m.expectApplied("3@2 x")
}

// The own disk counts only when it has reported, and then with one peer it commits.
func TestOwnDiskCountsOnlyWhenDurable(t *testing.T) {
	m := lead(t)
	m.propose("x")
	m.accept("n2")
	m.expectLog(3, 2, 2)
	m.sync()
	expectResults(t, m.client, "1 APPLIED")
}

// With more than one block at the disk, only what it has reported counts.
func TestLeaderCountsOnlyTheBlocksThatAreDurable(t *testing.T) {
	m := newMember(t, 3)
	m.opts.Limits.UnpersistedBlocks = 2
	m.begin().elect()
	m.accept("n2")
	m.propose("a")
	m.propose("b")
	if len(m.writer.pending) != 2 {
		t.Fatalf("%d blocks at the disk, expected 2", len(m.writer.pending))
	}
	m.accept("n2")
	m.expectLog(4, 2, 2)
	m.writer.flush(1)
	m.settle()
	m.expectLog(4, 3, 3)
	m.sync()
	m.expectLog(4, 4, 4)
}

// A heartbeat timer that is not the current one sends nothing.
func TestStaleHeartbeatTimerIsIgnored(t *testing.T) {
	m := lead(t)
	m.tell(m.pid, &messages.HeartbeatTimeout{Generation: 999})
	expectNone[*messages.Heartbeat](t, m.peer("n2"), "a stale timer fired")
	m.advance(heartbeat)
	takeOne[*messages.Heartbeat](t, m.peer("n2"))
}

// A wake-up of one leadership that comes in a later one is not that one's: else there
// would be two that each set the next.
func TestHeartbeatTimerOfAnEarlierLeadershipIsIgnored(t *testing.T) {
	m := lead(t)
	m.send(m.peer("n2"), m.pid, &messages.HeartbeatAcked{Group: 1, Term: 7, From: "n2"})
	m.expectRole("follower", 7)
	m.sync()
	m.elect()
	take[*messages.Heartbeat](m.peer("n2"))
	for generation := range uint64(3) { // as the first one set it when it began
		m.tell(m.pid, &messages.HeartbeatTimeout{Generation: generation})
	}
	expectNone[*messages.Heartbeat](t, m.peer("n2"), "a timer of an earlier leadership fired")
}

// A group of one commits, applies and answers nothing that is not on disk.
func TestGroupOfOneWaitsForItsDisk(t *testing.T) {
	m := newMember(t, 1).begin().elect()
	m.propose("x")
	expectResults(t, m.client)
	m.expectApplied()
	m.sync()
	expectResults(t, m.client, "1 APPLIED")
	m.expectApplied("3@2 x")
}

// An entry of an earlier term on a majority is not committed by counting; the first
// entry of the own term commits it too (figure 8).
func TestLeaderCommitsNoEarlierTermByCounting(t *testing.T) {
	m := newMember(t, 3).stored(2, "", block(1, 2, 2, 1, "old"))
	m.start()
	m.elect()
	for _, id := range m.ids[1:] { // both hold the old entry, neither the new one
		p := m.peer(id)
		l := takeLetters[*messages.AppendEntries](p)[0]
		a := l.message.(*messages.AppendEntries)
		m.send(p, l.from, &messages.AppendAccepted{Group: 1, Term: a.Term, From: string(id), Session: a.Session, MatchIndex: 2})
	}
	m.expectLog(3, 3, 0)
	m.query(1, "too early")
	expectResults(t, m.client)
	for _, id := range m.ids[1:] {
		for range 20 { // what was sent is not lost: the next checks send it again
			m.advance(heartbeat)
			m.ack("n2", "n3")
			m.accept(id)
		}
	}
	m.expectLog(3, 3, 3)
	m.expectApplied("2@2 old")
	if got := results(m.client); len(got) != 1 || string(got[0].Data) != "too early after 1" {
		t.Fatalf("answers %v", got)
	}
	if want := []string{"start 3"}; !slices.Equal(m.machine.log, want) {
		t.Fatalf("leadership news %q, expected %q", m.machine.log, want)
	}
}

// One block at a time is outstanding at the own disk; what comes meanwhile makes
// the next one larger.
func TestProposalsGatherWhileTheDiskIsBusy(t *testing.T) {
	m := lead(t)
	m.propose("a")
	m.propose("b")
	m.propose("c", "d")
	if len(m.writer.pending) != 1 {
		t.Fatalf("%d blocks at the disk", len(m.writer.pending))
	}
	m.writer.flush(1)
	m.settle()
	if len(m.writer.pending) != 1 {
		t.Fatalf("%d blocks at the disk", len(m.writer.pending))
	}
	p := m.writer.pending[0].message.(*PersistEntries)
	if got := commandsOf(t, p.Block.Bytes()); !slices.Equal(got, []string{"4@2 b", "5@2 c", "6@2 d"}) {
		t.Fatalf("second block %q", got)
	}
	m.sync()
	m.accept("n2")
	expectResults(t, m.client, "1 APPLIED", "2 APPLIED", "3 APPLIED", "4 APPLIED")
}

// Proposals of one turn make one block, until it has its size.
func TestBlocksAreClosedAtTheirSize(t *testing.T) {
	m := lead(t)
	big := string(make([]byte, 600<<10))
	m.propose(big, big, big)
	m.sync()
	m.accept("n2")
	expectResults(t, m.client, "1 APPLIED", "2 APPLIED", "3 APPLIED")
	blocks, err := m.store.Read(1, 3, 5, 8<<20)
	if err != nil || len(blocks) != 2 || blocks[0].Count != 2 {
		t.Fatalf("%d blocks, %v", len(blocks), err)
	}
}

// A peer is told of a commit index no further than it is known to hold.
func TestHeartbeatsTellOnlyOfWhatThePeerHolds(t *testing.T) {
	m := lead(t)
	m.propose("a")
	m.sync()
	m.accept("n2")
	m.advance(heartbeat)
	for id, want := range map[core.NodeID]uint64{"n2": 3, "n3": 2} {
		if h := takeOne[*messages.Heartbeat](t, m.peer(id)); h.Commit != want {
			t.Errorf("%s was told of commit %d, expected %d", id, h.Commit, want)
		}
	}
}

func TestHigherTermEndsTheLeadership(t *testing.T) {
	for how, tell := range map[string]func(m *member){
		"heartbeat answer": func(m *member) {
			m.send(m.peer("n2"), m.pid, &messages.HeartbeatAcked{Group: 1, Term: 7, From: "n2"})
		},
		"append refusal": func(m *member) {
			m.propose("x")
			l := takeLetters[*messages.AppendEntries](m.peer("n2"))[0]
			m.send(m.peer("n2"), l.from, &messages.AppendRejected{Group: 1, Term: 7, From: "n2", Session: 99})
		},
		"vote refusal":     func(m *member) { m.send(m.peer("n2"), m.pid, &messages.VoteRejected{Group: 1, Term: 7, From: "n2"}) },
		"pre-vote refusal": func(m *member) { m.send(m.peer("n2"), m.pid, &messages.PreVoteRejected{Group: 1, Term: 7, From: "n2"}) },
		"append":           func(m *member) { m.append(7, 2, 2, 0) },
	} {
		t.Run(how, func(t *testing.T) {
			m := lead(t)
			tell(m)
			m.expectRole("follower", 7)
			if want := []string{"start 2", "stop 2"}; !slices.Equal(m.machine.log, want) {
				t.Errorf("leadership news %q, expected %q", m.machine.log, want)
			}
		})
	}
}

// What is on its way when a leadership ends is answered once, with what is surely
// true: what has an index may yet be applied, what has none is asked again.
func TestStepDownAnswersEverythingOnce(t *testing.T) {
	m := lead(t)
	m.propose("a", "b") // in the log
	m.propose("c")      // waits for the disk
	m.query(4, "q")     // in a round
	m.query(5, "r")     // waits for the next
	m.forget()
	m.heartbeatOf("n2", 3, 0)
	expectResults(t, m.client, "1 UNKNOWN LEADERSHIP_LOST", "2 UNKNOWN LEADERSHIP_LOST")
	var back []string
	for _, l := range m.gateway.inbox {
		switch op := l.message.(type) {
		case *messages.Propose:
			back = append(back, fmt.Sprintf("propose %d %s", op.Request, op.Command))
		case *messages.Query:
			back = append(back, fmt.Sprintf("query %d %s", op.Request, op.Query))
		default:
			continue
		}
		if !l.from.Equal(m.client.pid) {
			t.Fatalf("handed back as from %v", l.from)
		}
	}
	if want := []string{"propose 3 c", "query 4 q", "query 5 r"}; !slices.Equal(back, want) {
		t.Fatalf("handed back %q, expected %q", back, want)
	}
	if first := m.gateway.inbox[0].message.(*LeaderChanged); first.Leader != "" {
		t.Fatal("operations are handed back to a Gateway that believes in this leader")
	}
	// The entries may still be committed by another leader: nobody hears it twice.
	m.sync()
	m.append(3, 4, 2, 4)
	m.expectApplied("3@2 a", "4@2 b")
	expectResults(t, m.client)
}

// An entry that was replaced does not answer with the result of what replaced it.
func TestReplyIsNotGivenToWhoeverHasTheIndexNow(t *testing.T) {
	m := lead(t)
	m.propose("mine")
	m.append(3, 2, 2, 3, block(1, 3, 3, 2, "theirs"))
	m.sync()
	m.expectApplied("3@3 theirs")
	expectResults(t, m.client, "1 UNKNOWN LEADERSHIP_LOST")
}

// Entries committed before the leadership ended are the Applier's to answer.
func TestCommittedEntriesAreAnsweredAfterStepDown(t *testing.T) {
	m := lead(t)
	m.propose("a")
	m.sync()
	for _, l := range takeLetters[*messages.AppendEntries](m.peer("n2")) {
		m.post(m.peer("n2"), l.from, accepted(t, l, "n2"))
	}
	m.settle()
	m.heartbeatOf("n2", 3, 0)
	expectResults(t, m.client, "1 APPLIED")
}

// A leader that hears no quorum steps down: it may have been replaced long since.
func TestLeaderWithoutAQuorumStepsDown(t *testing.T) {
	m := lead(t)
	for range 20 {
		m.advance(heartbeat)
		m.ack("n2")
	}
	m.expectRole("leader", 2)
	m.query(1, "q") // never confirmed
	m.advance(2*electionTimeout - 1)
	m.forget()
	m.advance(heartbeat)
	if s := m.status(); s.Role == "leader" || s.Term != 2 {
		t.Fatalf("%s in term %d", s.Role, s.Term)
	}
	expectNone[*messages.Results](t, m.client, "a query was answered without a quorum")
}

func TestDoorIsBounded(t *testing.T) {
	m := lead(t)
	m.propose(string(make([]byte, m.opts.Limits.CommandBytes+1)))
	expectResults(t, m.client, "1 NOT_APPLIED TOO_LARGE")
	for name, limit := range map[string]func(l *Limits){
		"proposals":   func(l *Limits) { l.QueuedProposals = 2 },
		"bytes":       func(l *Limits) { l.QueuedBytes = 2 * messages.EntryBytes(1) },
		"uncommitted": func(l *Limits) { l.UncommittedBytes = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMember(t, 3)
			limit(m.opts.Limits)
			m.begin().elect()
			m.accept("n2")
			m.propose("0") // at the disk
			m.propose("1")
			m.propose("2")
			m.propose("3")
			busy := 0
			for _, r := range results(m.client) {
				if r.Outcome != messages.Outcome_NOT_APPLIED || r.Reason != messages.Reason_BUSY {
					t.Fatalf("%v", r)
				}
				busy++
			}
			if want := map[string]int{"proposals": 1, "bytes": 1, "uncommitted": 3}[name]; busy != want {
				t.Fatalf("%d refused, expected %d", busy, want)
			}
			m.sync()
			m.accept("n2")
			m.propose("4")
			m.sync()
			m.accept("n2")
			if got := results(m.client); len(got) != 5-busy || got[len(got)-1].Outcome != messages.Outcome_APPLIED {
				t.Fatalf("after the work was done: %v", got)
			}
		})
	}
}

// A Replicator that has ended is started again from what the tally knows.
func TestReplicatorIsStartedAgain(t *testing.T) {
	m := lead(t)
	m.propose("a")
	old := takeLetters[*messages.AppendEntries](m.peer("n2"))
	if len(old) != 1 {
		t.Fatalf("%d appends", len(old))
	}
	m.tell(old[0].from, (*messages.AppendAccepted)(nil)) // it panics
	m.advance(heartbeat)
	again := takeLetters[*messages.AppendEntries](m.peer("n2"))
	if len(again) != 1 || again[0].from.Equal(old[0].from) {
		t.Fatalf("%d appends after the crash", len(again))
	}
	if a := again[0].message.(*messages.AppendEntries); a.PrevIndex != 2 || len(a.Block) == 0 {
		t.Fatalf("starts again after %d", a.PrevIndex)
	}
	m.send(m.peer("n2"), old[0].from, accepted(t, old[0], "n2")) // to the one that is gone
	m.expectLog(3, 2, 2)
	m.send(m.peer("n2"), again[0].from, accepted(t, again[0], "n2"))
	m.sync()
	m.expectLog(3, 3, 3)
}

// A leader whose storage fails wakes its best peer, answers everybody once and
// acknowledges nothing any more.
func TestLeaderWithFailedStorageHandsOver(t *testing.T) {
	m := lead(t)
	m.propose("a")
	m.propose("b")
	m.query(3, "q")
	appends := takeLetters[*messages.AppendEntries](m.peer("n2"))
	m.accept("n3")
	m.forget()
	m.tell(m.pid, &messages.StorageFailed{Reason: "gone"})
	expectResults(t, m.client, "1 UNKNOWN STOPPED", "2 NOT_APPLIED STOPPED", "3 NOT_APPLIED STOPPED")
	if o := takeOne[*messages.TimeoutNow](t, m.peer("n3")); o.Term != 2 {
		t.Fatalf("woken in term %d", o.Term)
	}
	expectNone[*messages.TimeoutNow](t, m.peer("n2"), "it holds less")
	takeOne[*MemberFailed](t, m.node)
	m.sync()
	for _, l := range appends {
		m.send(m.peer("n2"), l.from, accepted(t, l, "n2"))
	}
	m.advance(10 * electionTimeout)
	m.expectLog(3, 3, 2)
	expectResults(t, m.client)
	expectNone[*messages.Heartbeat](t, m.peer("n2"), "a failed member leads")
}

// A panic in the Raft actor stops its member; nothing is made anew that has
// forgotten its vote.
func TestPanicStopsTheMemberForGood(t *testing.T) {
	m := lead(t)
	m.propose("a")
	m.tell(m.pid, (*messages.HeartbeatAcked)(nil))
	m.expectRole("failed", 2)
	expectResults(t, m.client, "1 UNKNOWN STOPPED")
	m.askVote("n2", 2, 9, 9)
	m.askVote("n2", 3, 9, 9)
	m.sync()
	expectNone[*messages.VoteGranted](t, m.peer("n2"), "a member that has failed votes")
	if s, _ := m.store.Load(1); s.HardState.Term != 2 || s.HardState.Vote != "n1" {
		t.Fatalf("stored %+v", s.HardState)
	}
}

// Answers of Replicators of an earlier leadership are of an earlier term.
func TestNewsOfAnEarlierLeadershipIsIgnored(t *testing.T) {
	m := lead(t)
	m.propose("a")
	m.tell(m.pid, &messages.PeerAdvanced{Term: 1, Peer: "n2", MatchIndex: 3}, &messages.PeerAdvanced{Term: 1, Peer: "n3", MatchIndex: 3})
	m.expectLog(3, 2, 2)
	m.send(m.probe("replicator"), m.pid, &FetchEntries{Term: 1, First: 1, MaxBytes: 1})
	m.tell(m.pid, &messages.ProgressReported{Term: 1, Peer: "n2", State: "lost"})
	for _, p := range m.status().Peers {
		if p.State == "lost" {
			t.Fatal("an earlier leadership's report counts")
		}
	}
}

func TestLeaderDescribesItsPeers(t *testing.T) {
	m := lead(t)
	m.propose("a")
	m.accept("n2")
	m.sync()
	m.advance(heartbeat)
	s := m.status()
	if len(s.Peers) != 2 || s.Peers[0].Id != "n2" || s.Peers[0].MatchIndex != 3 || s.Peers[0].State != "replicate" ||
		s.Peers[1].MatchIndex != 2 || s.Peers[1].Inflight != 1 || !s.Peers[0].Active || s.Leader != "n1" {
		t.Fatalf("%v", s)
	}
	for range 8 { // n3 falls silent
		m.advance(heartbeat)
		m.ack("n2")
	}
	if s := m.status(); !s.Peers[0].Active || s.Peers[1].Active {
		t.Fatalf("%v", s.Peers)
	}
}

// Stopping answers who waits, and ends the children.
func TestStoppedMemberAnswersWhoWaits(t *testing.T) {
	m := lead(t)
	m.propose("a")
	m.propose("b")
	m.system.Root.Stop(m.pid)
	m.settle()
	got := results(m.client)
	if len(got) != 1 || got[0].Request != 1 || got[0].Outcome != messages.Outcome_UNKNOWN {
		t.Fatalf("answers %v", got)
	}
	if p := takeOne[*messages.Propose](t, m.gateway); p.Request != 2 {
		t.Fatalf("handed back %v", p)
	}
	takeOne[*MemberStopped](t, m.node)
	if n := m.clock.pending(); n != 0 {
		t.Fatalf("%d timers are left", n)
	}
	if _, alive := m.system.ProcessRegistry.GetLocal(m.pid.Id); alive {
		t.Fatal("still there")
	}
}

// A leader whose disk has stopped answering would hold on to its office and take no
// more writes: it wakes its best peer and steps down.
func TestLeaderWithAHungDiskStepsDown(t *testing.T) {
	m := lead(t)
	m.propose("a")
	for range int(electionTimeout/heartbeat) - 1 {
		m.advance(heartbeat)
		m.ack("n2", "n3")
		m.accept("n3")
	}
	m.expectRole("leader", 2)
	m.forget()
	m.advance(2 * heartbeat)
	m.expectRole("follower", 2)
	takeOne[*messages.TimeoutNow](t, m.peer("n3"))
}

// A machine slower than its log costs bounded memory also on a follower, which has no
// door to shut: what is durable and committed is read from disk when its turn comes.
func TestSlowMachineDoesNotKeepTheLogInMemory(t *testing.T) {
	m := newMember(t, 3)
	one := block(1, 2, 2, 1, "x")
	m.opts.Limits.ApplyBacklogBytes, m.opts.Limits.TailBytes = one.Len(), 2*one.Len()
	m.begin()
	m.tellSystem(m.applierOf(), &actor.SuspendMailbox{})
	const last = 40
	for i := uint64(2); i <= last; i++ {
		m.append(2, i-1, min(i-1, 2), i-1, block(1, 2, i, min(i-1, 2), "x"))
		m.sync()
	}
	m.heartbeatOf("n2", 2, last)
	if s := m.status(); s.CommitIndex != last || s.AppliedIndex != 0 {
		t.Fatalf("commit %d, applied %d", s.CommitIndex, s.AppliedIndex)
	}
	m.reader.auto = false
	m.tellSystem(m.applierOf(), &actor.ResumeMailbox{})
	if len(m.reader.pending) == 0 {
		t.Fatal("the disk was not asked: all of the log is in memory")
	}
	m.reader.auto = true
	m.reader.flush(len(m.reader.pending))
	m.settle()
	if s := m.status(); s.AppliedIndex != last {
		t.Fatalf("applied %d of %d", s.AppliedIndex, last)
	}
}

// What is released is durable, committed, and nobody's who still waits.
func TestTailReleasesOnlyWhatCanBeReadAgain(t *testing.T) {
	var tl tail
	for i := uint64(1); i <= 6; i++ {
		b := CommittedBlock{Block: block(1, 1, i, min(i-1, 1), "x")}
		if i == 4 {
			b.Waiters = []Waiter{{Request: 4}}
		}
		tl.append(b)
	}
	for _, c := range []struct{ durable, handed, commit, first core.Index }{
		{0, 6, 6, 1}, {2, 0, 1, 2}, {6, 0, 6, 4}, {6, 3, 6, 4}, {6, 4, 5, 6},
	} {
		tl.durable = c.durable
		tl.release(0, c.handed, c.commit)
		if got := tl.inMemoryFrom(); got != c.first {
			t.Errorf("%+v: memory begins at %d", c, got)
		}
	}
}

// A leader whose peers and machine are as quick as its disk keeps what comes until the
// block before is applied, and has it in one block with what its answers bring. One whose
// peers are far away waits for nothing but its disk.
func TestLeaderGathersWherePeersAreQuick(t *testing.T) {
	for name, rest := range map[string]time.Duration{"near": time.Millisecond, "far": 20 * time.Millisecond} {
		m := lead(t)
		for range 20 {
			m.propose("x")
			m.advance(2 * time.Millisecond)
			m.sync()
			m.advance(rest)
			m.accept("n2")
		}
		take[*messages.AppendEntries](m.peer("n2"))
		m.propose("first")
		m.advance(2 * time.Millisecond)
		m.propose("second")
		m.writer.flush(1)
		m.settle()
		if at := len(m.writer.pending); (at == 0) != (name == "near") {
			t.Fatalf("%s: %d blocks at the disk, with the one before not committed", name, at)
		}
		m.propose("third")
		m.accept("n2")
		if at := len(m.writer.pending); at != 1 {
			t.Fatalf("%s: %d blocks at the disk, with the one before applied", name, at)
		}
		m.sync()
		m.accept("n2")
		m.sync()
		m.accept("n2")
		if last := m.status().AppliedIndex; last != 2+20+3 {
			t.Fatalf("%s: applied %d, expected 25", name, last)
		}
	}
}
