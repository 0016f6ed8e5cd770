package actors

import (
	"testing"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/memory"
	"github.com/protoraft/protoraft/messages"
)

// A candidate that stands again while the vote of its last term is being written has
// not voted yet when that write is done.
func TestReportOfAnEarlierVoteCountsNoLaterOne(t *testing.T) {
	m := newMember(t, 1).start()
	m.writer.flush(2) // the first entry and the hard state before it
	m.settle()
	m.expectRole("candidate", 2)
	m.advance(2 * electionTimeout)
	m.expectRole("candidate", 3)
	m.writer.flush(1)
	m.settle()
	m.expectRole("candidate", 3)
	m.sync()
	m.expectRole("leader", 3)
}

// A vote never stands on disk beside a term it was not given in, not even until the
// next write: the candidate that had it would have it again, whatever its log.
func TestTermIsWrittenWithItsOwnVote(t *testing.T) {
	m := newMember(t, 3).begin()
	m.askVote("n2", 2, 1, 1)
	m.sync()
	takeOne[*messages.VoteGranted](t, m.peer("n2"))
	m.askVote("n3", 3, 0, 0) // a later term, and a log that is stale
	m.askVote("n3", 4, 1, 1)
	for len(m.writer.pending) > 0 {
		m.writer.flush(1)
		m.settle()
		s, err := m.store.Load(1)
		if err != nil {
			t.Fatal(err)
		}
		if h := s.HardState; h.Term == 3 && h.Vote != "" || h.Term == 4 && h.Vote == "n2" {
			t.Fatalf("stored %+v: that vote was given in term 2", h)
		}
	}
	takeOne[*messages.VoteGranted](t, m.peer("n3"))
}

// Appends of an earlier term are answered no more, and hold back no later answer.
func TestAppendsOfAnEarlierTermHoldNothingBack(t *testing.T) {
	m := newMember(t, 3).begin()
	m.append(2, 1, 1, 0, block(1, 2, 2, 1, "a", "b", "c"))
	m.append(3, 1, 1, 0, block(1, 3, 2, 1, "d")) // in place of all three
	m.sync()
	if a := takeOne[*messages.AppendAccepted](t, m.peer("n2")); a.Term != 3 || a.MatchIndex != 2 {
		t.Fatalf("accepted %v, expected up to 2 in term 3", a)
	}
}

// A new leader's machine may be behind what earlier leaders have committed: a read
// waits until it is not.
func TestReadWaitsForWhatAnEarlierLeaderCommitted(t *testing.T) {
	m := newMember(t, 1).stored(1, "", block(1, 1, 2, 1, "a")).start()
	m.reader.auto = false // the Applier has to wait for the disk
	m.sync()
	m.expectRole("leader", 2)
	m.tell(m.pid, &GatewayCaughtUp{Term: 2})
	m.query(1, "q")
	expectNone[*messages.Results](t, m.client, "the machine has applied nothing")
	for len(m.reader.pending) > 0 {
		m.reader.flush(1)
		m.settle()
	}
	if r := results(m.client); len(r) != 1 || string(r[0].Data) != "q after 1" {
		t.Fatalf("answered %v, expected the state after the one command", r)
	}
}

// What is committed at once is handed to a slow machine no faster than by and by:
// who waits for the rest is still the leader's to answer.
func TestCommitAtOnceIsHandedOverInPortions(t *testing.T) {
	m := newMember(t, 3)
	one := block(1, 2, 3, 2, "x")
	m.opts.Limits.ApplyBacklogBytes = 2 * one.Len()
	m.begin().elect()
	m.accept("n2")
	applier := m.applierOf()
	m.tellSystem(applier, &actor.SuspendMailbox{})
	for range 5 {
		m.propose("x")
		m.sync()
	}
	m.accept("n2")
	if s := m.status(); s.CommitIndex != 7 || s.AppliedIndex != 2 {
		t.Fatalf("commit %d, applied %d, expected 7 and 2", s.CommitIndex, s.AppliedIndex)
	}
	m.heartbeatOf("n2", 3, 0)
	expectResults(t, m.client, "3 UNKNOWN LEADERSHIP_LOST", "4 UNKNOWN LEADERSHIP_LOST", "5 UNKNOWN LEADERSHIP_LOST")
	m.tellSystem(applier, &actor.ResumeMailbox{})
	expectResults(t, m.client, "1 APPLIED", "2 APPLIED")
}

// A stored block may end with entries that a truncation is about to remove: whoever
// asked for those before them is not given them.
func TestLogReaderCutsAtTheLastEntryAskedFor(t *testing.T) {
	w := newWorld(t)
	store := memory.New()
	if err := store.Write([]logstore.Update{{Group: 1, Incarnation: 1, Blocks: []messages.Block{block(1, 1, 1, 0, "a", "b", "c")}}}); err != nil {
		t.Fatal(err)
	}
	asker := w.probe("asker")
	w.tell(w.spawn(LogReaderProps(w.rt, store), "reader"), &ReadEntries{Group: 1, First: 1, Last: 2, MaxBytes: 1 << 20, ReplyTo: asker.pid})
	if r := takeOne[*EntriesRead](t, asker); r.Err != nil || len(r.Blocks) != 1 || r.Blocks[0].LastIndex() != 2 {
		t.Fatalf("%+v, expected one block that ends at 2", r)
	}
}

// What may have been applied is not sent again, whatever the reason it is not known.
func TestUnknownOutcomeIsNeverTriedAgain(t *testing.T) {
	for _, reason := range []messages.Reason{messages.Reason_LEADERSHIP_LOST, messages.Reason_STOPPED, messages.Reason_STORAGE_FAILED} {
		d := newDoor(t, GatewayOptions{})
		d.leader(2, "n2")
		d.propose(1)
		d.answer(d.expectForwarded("n2", "1")["1"], messages.Outcome_UNKNOWN, reason)
		expectResults(t, d.client, "1 UNKNOWN "+reason.String())
		d.advance(sweepInterval)
		d.expectForwarded("n2")
		d.leader(3, "n3")
		d.expectForwarded("n3")
	}
}
