package actors

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/messages"
)

// joined is a member of three that follows n2 in term 2, with nothing but the
// configuration in its log, and the term on disk.
func joined(t *testing.T, blocks ...messages.Block) *member {
	t.Helper()
	m := newMember(t, 3).stored(2, "", blocks...)
	m.start()
	m.heartbeatOf("n2", 2, 0)
	m.forget()
	return m
}

func (m *member) expectAck(match uint64) {
	m.t.Helper()
	if a := takeOne[*messages.AppendAccepted](m.t, m.peer("n2")); a.MatchIndex != match {
		m.t.Fatalf("acknowledged %d, expected %d", a.MatchIndex, match)
	}
}

func (m *member) expectNoAck(why string) {
	m.t.Helper()
	expectNone[*messages.AppendAccepted](m.t, m.peer("n2"), why)
}

func (m *member) expectLog(last, durable, commit uint64) {
	m.t.Helper()
	if s := m.status(); s.LastIndex != last || s.DurableIndex != durable || s.CommitIndex != commit {
		m.t.Fatalf("last %d, durable %d, commit %d, expected %d, %d, %d (%s)", s.LastIndex, s.DurableIndex, s.CommitIndex, last, durable, commit, s.Failure)
	}
}

func TestFollowerAcknowledgesOnlyWhatIsDurable(t *testing.T) {
	m := joined(t)
	m.append(2, 1, 1, 1, block(1, 2, 2, 1, "a", "b"))
	m.expectNoAck("the entries are not on disk")
	m.append(2, 3, 2, 1, block(1, 2, 4, 2, "c"))
	m.writer.flush(1)
	m.settle()
	m.expectAck(3)
	m.expectLog(4, 3, 1)
	m.sync()
	m.expectAck(4)
}

// The answer and the commit index are bounded by the append, for beyond it the log
// may hold entries that the leader lacks.
func TestFollowerVouchesOnlyForTheAppend(t *testing.T) {
	m := joined(t, block(1, 1, 2, 1, "stray", "stray"))
	m.append(2, 1, 1, 3)
	m.expectAck(1)
	m.expectLog(3, 3, 1)
	if m.expectApplied(); len(m.machine.applied) > 0 {
		t.Fatal("stray entries applied")
	}
}

func TestHeartbeatCommitsNoFurtherThanTheLog(t *testing.T) {
	m := joined(t, block(1, 2, 2, 1, "a"))
	m.heartbeatOf("n2", 2, 9)
	m.expectLog(2, 2, 2)
	m.heartbeatOf("n2", 2, 1)
	m.expectLog(2, 2, 2)
}

// A delayed append is shorter than what came after it: only a conflict truncates.
func TestDelayedAppendTruncatesNothing(t *testing.T) {
	m := joined(t, block(1, 2, 2, 1, "a", "b", "c"))
	m.append(2, 1, 1, 0, block(1, 2, 2, 1, "a"))
	m.expectAck(2)
	m.expectLog(4, 4, 0)
	if len(m.writer.pending) > 0 {
		t.Fatalf("something was written: %v", m.writer.pending[0].message)
	}
	m.append(2, 2, 2, 0, block(1, 2, 3, 2, "b", "c", "d")) // overlaps, and adds one
	m.sync()
	m.expectAck(5)
	m.expectLog(5, 5, 0)
}

// A leader of an earlier term changes nothing, and is told so.
func TestAppendOfAnEarlierTermIsRefused(t *testing.T) {
	m := joined(t, block(1, 2, 2, 1, "a", "b"))
	m.append(1, 1, 1, 9, block(1, 1, 2, 1, "x"))
	if r := takeOne[*messages.AppendRejected](t, m.peer("n2")); r.Term != 2 || r.Session != 1 {
		t.Fatalf("%v", r)
	}
	m.expectLog(3, 3, 0)
}

// Entry 2 of term 2 is being written when 2 of term 3 replaces it: that the first is
// durable says nothing of the second.
func TestDurableBeforeTruncationIsNotDurableAfter(t *testing.T) {
	m := joined(t)
	m.append(2, 1, 1, 0, block(1, 2, 2, 1, "old"))
	if len(m.writer.pending) != 1 {
		t.Fatalf("%d writes, expected 1", len(m.writer.pending))
	}
	m.append(3, 1, 1, 0, block(1, 3, 2, 1, "new"))
	m.writer.flush(1) // 2@2 is durable
	m.settle()
	m.writer.flush(1) // and the new term
	m.settle()
	m.expectNoAck("only the entry that was replaced is on disk")
	m.expectLog(2, 1, 0)
	m.sync()
	if a := takeOne[*messages.AppendAccepted](t, m.peer("n2")); a.MatchIndex != 2 || a.Term != 3 {
		t.Fatalf("%v", a)
	}
	blocks, err := m.store.Read(1, 2, 2, 1<<20)
	if err != nil || len(blocks) != 1 || blocks[0].Term != 3 {
		t.Fatalf("stored %v, %v", blocks, err)
	}
}

// What was durable above a truncation is so no more.
func TestTruncationLowersWhatIsDurable(t *testing.T) {
	m := joined(t, block(1, 1, 2, 1, "a", "b", "c", "d", "e", "f", "g", "h", "i"))
	m.append(2, 5, 1, 0, block(1, 2, 6, 1, "x", "y"))
	m.expectNoAck("the new entries are not on disk")
	m.expectLog(7, 5, 0)
	m.append(2, 5, 1, 0) // a probe below is durable, but waits its turn
	m.sync()
	for _, a := range take[*messages.AppendAccepted](m.peer("n2")) {
		if a.MatchIndex > 7 {
			t.Fatalf("acknowledged %d", a.MatchIndex)
		}
	}
	m.expectLog(7, 7, 0)
}

// A committed entry never changes. Whoever asks for it has lost data: this member
// stops rather than follow.
func TestCommittedEntryIsNeverTruncated(t *testing.T) {
	m := joined(t)
	m.append(2, 1, 1, 0, block(1, 2, 2, 1, "a"))
	m.heartbeatOf("n2", 2, 2)
	m.sync()
	m.forget()
	m.append(3, 1, 1, 2, block(1, 3, 2, 1, "other"))
	m.sync()
	m.expectNoAck("a committed entry was replaced")
	m.expectRole("failed", 3)
	m.expectApplied("2@2 a")
	if blocks, err := m.store.Read(1, 2, 2, 1<<20); err != nil || blocks[0].Term != 2 {
		t.Fatalf("stored %v, %v", blocks, err)
	}
}

// A refusal tells where the logs may agree, a term at a time.
func TestRefusalCarriesAHint(t *testing.T) {
	m := joined(t, block(1, 1, 2, 1, "a", "b"))
	m.append(2, 9, 2, 0, block(1, 2, 10, 2, "x"))
	r := takeOne[*messages.AppendRejected](t, m.peer("n2"))
	if r.PrevIndex != 9 || r.HintIndex != 3 || r.HintTerm != 1 || r.LastIndex != 3 || r.Term != 2 || r.Session != 1 {
		t.Fatalf("%v", r)
	}
}

// A block that is not what its append says is neither stored nor answered; the
// leader sends it again.
func TestDamagedBlocksAreNotStored(t *testing.T) {
	good := block(1, 2, 2, 1, "a")
	flipped := append([]byte(nil), good.Bytes()...)
	flipped[len(flipped)-1] ^= 1
	other := block(7, 2, 2, 1, "a")
	late := block(1, 3, 2, 1, "a")
	gap := block(1, 2, 3, 1, "a")
	for name, raw := range map[string][]byte{
		"a bit flipped": flipped, "cut short": good.Bytes()[:good.Len()-1], "another group": other.Bytes(),
		"a term above the append's": late.Bytes(), "a gap": gap.Bytes(),
	} {
		t.Run(name, func(t *testing.T) {
			m := joined(t)
			m.send(m.peer("n2"), m.pid, &messages.AppendEntries{Group: 1, Term: 2, Leader: "n2", PrevIndex: 1, PrevTerm: 1, Commit: 2, Block: raw})
			m.sync()
			m.expectLog(1, 1, 0)
			if len(m.peer("n2").inbox) > 0 {
				t.Fatalf("answered %v", m.peer("n2").inbox[0].message)
			}
			m.append(2, 1, 1, 2, good)
			m.sync()
			m.expectAck(2)
		})
	}
}

// A configuration is active when appended and no more when its entry is truncated.
func TestTruncatedConfigurationIsActiveNoMore(t *testing.T) {
	m := joined(t)
	four := members("n1", "n2", "n3", "n4")
	data, err := proto.Marshal(describeConfiguration(&four))
	if err != nil {
		t.Fatal(err)
	}
	size := func(want int) {
		t.Helper()
		if got := len(m.status().Configuration.Members); got != want {
			t.Fatalf("%d members, expected %d", got, want)
		}
	}
	m.append(2, 1, 1, 0, blockOf(1, 2, 2, 1, messages.EntryView{Kind: messages.EntryKind_CONFIGURATION, Data: data}))
	size(4)
	m.sync()
	m.restart()
	size(4)
	m.append(3, 1, 1, 0, block(1, 3, 2, 1, "x"))
	size(3)
	m.sync()
	m.restart()
	size(3)
}

// After a restart committed entries are read from disk, and applied once.
func TestFollowerAppliesFromDiskAfterRestart(t *testing.T) {
	m := joined(t, block(1, 1, 2, 1, "a", "b"), block(1, 2, 4, 1, "c"))
	m.append(2, 4, 2, 3, block(1, 2, 5, 2, "d"))
	m.expectApplied("2@1 a", "3@1 b")
	m.heartbeatOf("n2", 2, 5)
	m.expectApplied("2@1 a", "3@1 b", "4@2 c", "5@2 d")
}

// While one member's disk is slow, what was committed elsewhere replaces the end of
// its log. A read of the disk still finds the entries that were replaced; they must
// not be applied.
func TestReplacedEntriesStillOnDiskAreNotApplied(t *testing.T) {
	m := joined(t, block(1, 1, 2, 1, "a", "b", "stale"))
	m.reader.auto = false
	m.append(2, 3, 1, 3, block(1, 2, 4, 1, "new"))
	m.heartbeatOf("n2", 2, 4)
	m.reader.flush(len(m.reader.pending)) // before the truncation is on disk
	m.settle()
	m.sync()
	m.reader.flush(len(m.reader.pending))
	m.settle()
	m.expectApplied("2@1 a", "3@1 b", "4@2 new")
}

func TestTwoLeadersInOneTermStopTheMember(t *testing.T) {
	m := joined(t)
	m.heartbeatOf("n3", 2, 0)
	m.expectRole("failed", 2)
	takeOne[*MemberFailed](t, m.node)
}

func TestFollowerWithFailedStorageSaysNothingMore(t *testing.T) {
	m := joined(t)
	m.append(2, 1, 1, 0, block(1, 2, 2, 1, "a"))
	m.heartbeatOf("n2", 3, 0) // its answer waits for the new term to be on disk
	m.tell(m.pid, &messages.StorageFailed{Reason: "the disk is gone"})
	m.sync() // a completion that was on its way
	m.append(2, 1, 1, 0)
	m.heartbeatOf("n2", 2, 1)
	m.askVote("n3", 7, 9, 9)
	m.send(m.peer("n3"), m.pid, &messages.RequestPreVote{Group: 1, Term: 9, Candidate: "n3", LastIndex: 9, LastTerm: 9})
	m.advance(10 * electionTimeout)
	for _, id := range m.ids[1:] {
		if n := len(m.peer(id).inbox); n > 0 {
			t.Fatalf("%s received %T after the storage failed", id, m.peer(id).inbox[0].message)
		}
	}
	m.propose("x")
	expectResults(t, m.client, "1 NOT_APPLIED STOPPED")
	m.tell(m.pid, &messages.TransferLeadership{Group: 1}) // from nobody
	if s := m.status(); s.Role != "failed" || s.Failure != "storage failed: the disk is gone" {
		t.Fatalf("%v", s)
	}
}

// A member that does not lead passes clients' operations to the Gateway, which
// knows who does, in order; one that came from another node goes back.
func TestFollowerPassesClientsOn(t *testing.T) {
	m := joined(t)
	m.propose("a", "b")
	m.query(3, "q")
	var got []uint64
	for _, l := range m.gateway.inbox {
		switch op := l.message.(type) {
		case *messages.Propose:
			got = append(got, op.Request)
		case *messages.Query:
			got = append(got, op.Request)
		default:
			continue
		}
		if !l.from.Equal(m.client.pid) {
			t.Fatalf("passed on as from %v", l.from)
		}
	}
	if len(got) != 3 || got[0] != 1 || got[1] != 2 || got[2] != 3 {
		t.Fatalf("passed on %v", got)
	}
	m.forget()
	other := m.at("n2:1", GatewayName)
	m.send(other, m.pid, &messages.Propose{Group: 1, Request: 9, Command: []byte("x")}, &messages.Query{Group: 1, Request: 10})
	if len(m.gateway.inbox) > 0 {
		t.Fatal("an operation was forwarded twice")
	}
	expectResults(t, other, "9 NOT_APPLIED NOT_LEADER", "10 NOT_APPLIED NOT_LEADER")
	m.send(m.client, m.pid, &messages.Query{Group: 1, Request: 11, Query: []byte("q"), Consistency: messages.Consistency_STALE})
	expectResults(t, m.client, "11 APPLIED")
	m.send(m.client, m.pid, &messages.TransferLeadership{Group: 1})
	takeOne[*messages.LeadershipKept](t, m.client)
}
