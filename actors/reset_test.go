package actors

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/messages"
)

func (m *member) resetPeers(accept bool) {
	m.t.Helper()
	m.send(m.client, m.pid, &messages.ResetPeers{Group: 1, AcceptLoss: accept})
}

func (m *member) expectKept(why string) {
	m.t.Helper()
	if k := takeOne[*messages.PeersKept](m.t, m.client); !strings.Contains(k.Reason, why) {
		m.t.Fatalf("%q, expected something of %q", k.Reason, why)
	}
}

// survivor is a member of three that holds entries up to 3, of which 2 is known to be
// committed, and has heard nobody for long.
func survivor(t *testing.T) *member {
	t.Helper()
	m := newMember(t, 3).begin()
	m.append(2, 1, 1, 2, block(1, 2, 2, 1, "a"))
	m.append(2, 2, 2, 2, block(1, 2, 3, 2, "b"))
	m.sync()
	m.advance(2 * electionTimeout)
	m.forget()
	return m
}

// A survivor goes on from its own log, alone and durably: what is committed stays, what
// it held besides is committed now.
func TestSurvivorGoesOnAlone(t *testing.T) {
	m := survivor(t)
	m.resetPeers(true)
	expectNone[*messages.PeersReset](t, m.client, "nothing is durable")
	m.writer.flush(2) // term, entry
	m.settle()
	expectNone[*messages.PeersReset](t, m.client, "the vote that it leads by is not durable")
	m.sync()
	r := takeOne[*messages.PeersReset](t, m.client)
	if r.Index != 4 || r.CommitIndex != 2 || r.LastIndex != 3 || !slices.Equal(r.Removed, []string{"n2", "n3"}) {
		t.Fatalf("%v", r)
	}
	if r.Term < 2+resetTerms {
		t.Fatalf("term %d, expected one far above 2", r.Term)
	}
	m.expectRole("leader", r.Term)
	m.expectConfig(4, "n1 /  /  / n2,n3")
	m.expectApplied("2@2 a", "3@2 b")

	m.restart().sync()
	m.expectRole("leader", r.Term+1)
	m.expectConfig(4, "n1 /  /  / n2,n3")
	m.expectApplied("2@2 a", "3@2 b")
}

// A survivor that was started again, and waits for others who will never say that it has
// lost nothing, goes on all the same.
func TestSurvivorThatWaitsGoesOnAlone(t *testing.T) {
	m := survivor(t).stop().arrive() // nobody greets it
	m.sync()
	m.expectRole("starting", 2)
	m.advance(2 * electionTimeout)
	m.resetPeers(false)
	m.expectKept("acceptance of loss was not given")
	m.expectRole("starting", 2)
	m.resetPeers(true)
	m.sync()
	r := takeOne[*messages.PeersReset](t, m.client)
	m.expectRole("leader", r.Term)
	m.expectConfig(4, "n1 /  /  / n2,n3")
	if n := m.noteOf(); !n.Begun || n.Recovering {
		t.Fatalf("noted: %v", n)
	}
}

// A snapshot that came from the lost majority and was never taken over does not lead a
// member back that has gone on alone, whatever its log still shows of that.
func TestSnapshotOfTheOldHistoryIsPassedOver(t *testing.T) {
	for name, compacts := range map[string]bool{"log whole": false, "log behind a snapshot": true} {
		t.Run(name, func(t *testing.T) {
			m, f := behind(t, 9, 2)
			m.offer(f, 2)
			m.expectOffset(0)
			m.clock.now += electionTimeout
			m.askVote("n3", 3, 9, 2) // of this term on, nothing is taken over that n2 has offered
			m.sync()
			m.chunk(f, 0, len(f.bytes))
			m.sync()
			m.expectSnapshot(1, 0, 0, 0, 1)
			m.clock.now += 2 * electionTimeout
			m.resetPeers(true)
			m.sync()
			r := takeOne[*messages.PeersReset](t, m.client)
			m.tell(m.pid, &GatewayCaughtUp{Term: core.Term(r.Term)})
			m.commits("a")
			if compacts {
				m.askSnapshot()
				m.sync()
				m.expectSnapshot(5, 4, 4, 4, 4)
			}
			m.restart().sync()
			m.expectConfig(2, "n1 /  /  / n2,n3")
			m.expectRole("leader", r.Term+1)
			m.expectApplied(fmt.Sprintf("4@%d a", r.Term))
			if s := m.status(); s.LastIndex != 5 || compacts && s.SnapshotIndex != 4 {
				t.Fatalf("%v", s)
			}
		})
	}
}

// One that waits and cannot go on alone goes on waiting: it has not been told yet that it
// has lost nothing.
func TestResetThatIsRefusedBeginsNothing(t *testing.T) {
	m := newMember(t, 3)
	m.opts.Bootstrap = new(members("n2", "n3"))
	m.stored(1, "").arrive()
	m.sync()
	m.advance(2 * electionTimeout)
	m.resetPeers(true)
	m.expectKept("no member of the group")
	m.expectRole("starting", 1)
}

// Where the process ends before the entry is durable, the member is what it was.
func TestResetThatWasCutOffIsNone(t *testing.T) {
	m := survivor(t)
	m.resetPeers(true)
	m.writer.flush(1) // the term
	m.restart().sync()
	m.expectConfig(1, "n1,n2,n3 /  /  / ")
	if s := m.status(); s.Role == "leader" || s.LastIndex != 3 {
		t.Fatalf("%v", s)
	}
}

// Nobody goes on alone by accident.
func TestResetIsRefused(t *testing.T) {
	m := survivor(t)
	m.resetPeers(false)
	m.expectKept("acceptance of loss was not given. This member's log ends at entry 3 of term 2. Entries up to 2 are known to be committed and stay, those above, up to 3, will be applied")
	m.heartbeatOf("n2", 2, 2)
	m.resetPeers(true)
	m.expectKept("a leader was heard")

	m = lead(t)
	m.resetPeers(true)
	m.expectKept("it leads")

	m = survivor(t)
	m.tell(m.pid, &messages.MemberRemoved{Group: 1, Member: "n1", Index: 7})
	m.resetPeers(true)
	m.expectKept("it was removed")

	m = newMember(t, 3)
	m.opts.Bootstrap = new(members())
	m.begin().advance(2 * electionTimeout)
	m.resetPeers(true)
	m.expectKept("it knows of no members")
	m.expectRole("follower", 0)
	if s := m.status(); s.LastIndex != 0 {
		t.Fatalf("%v", s)
	}
}

// The others come back, and one of them leads them in a later term: the member that went
// on alone heeds nobody of theirs, known or not, and tells them that they are out.
func TestOldMajorityIsNotHeeded(t *testing.T) {
	m := survivor(t)
	m.resetPeers(true)
	m.sync()
	r := takeOne[*messages.PeersReset](t, m.client)
	m.forget()
	later := r.Term + 1<<40
	still := func(what string) {
		t.Helper()
		m.sync()
		m.expectRole("leader", r.Term)
		if s := m.status(); s.LastIndex != 5 {
			t.Fatalf("after %s: %v", what, s)
		}
	}
	m.append(later, 2, 2, 3, block(1, 2, 3, 2, "of the others"))
	still("an append")
	m.append(later, 5, later, 6)
	still("an append behind the log")
	m.heartbeatOf("n2", later, 0)
	still("a heartbeat")
	if told := takeOne[*messages.MemberRemoved](t, m.peer("n2")); told.Member != "n2" || told.Index != 4 || len(told.Resets) != 1 {
		t.Fatalf("%v", told)
	}
	m.askVote("n9", later, 9, later) // a member that came after this one was cut off
	still("a request for a vote")
	if told := takeOne[*messages.MemberRemoved](t, m.peer("n9")); told.Member != "n9" {
		t.Fatalf("%v", told)
	}
	m.send(m.peer("n2"), m.pid, &messages.RequestPreVote{Group: 1, Term: later, Candidate: "n2", LastIndex: 9, LastTerm: later, Campaign: 1})
	expectNone[*messages.PreVoteGranted](t, m.peer("n2"), "it is of another history")
	m.send(m.peer("n2"), m.pid, &messages.OfferSnapshot{Group: 1, Term: later, Leader: "n2", Meta: &messages.SnapshotMeta{Group: 1, Index: 9, Term: 2}})
	still("an offer of a snapshot")
	m.send(m.peer("n2"), m.pid, &messages.TimeoutNow{Group: 1, Term: r.Term, From: "n2"})
	still("an order to stand")
	// Nor does it take the word of a third history, and does not answer it either: two
	// would tell each other for ever.
	m.forget()
	m.send(m.peer("n3"), m.pid, &messages.MemberRemoved{Group: 1, Member: "n1", Index: 4, Resets: []uint64{3}})
	still("being told to be out")
	expectNone[*messages.MemberRemoved](t, m.peer("n3"), "it is no answer")
}

// Who is told by a later history that it is out stands no more; who joins one heeds only
// leaders that go on from it.
func TestHistoriesGoOnFromEachOther(t *testing.T) {
	m := survivor(t)
	m.send(m.peer("n2"), m.pid, &messages.MemberRemoved{Group: 1, Member: "n1", Index: 4, Resets: []uint64{3}})
	m.advance(4 * electionTimeout)
	m.expectRole("removed", 2)

	m = newMember(t, 3)
	m.opts.Bootstrap.Resets = []uint64{3}
	m.begin()
	m.heartbeatOf("n2", 5, 0)
	m.expectRole("follower", 1)
	m.send(m.peer("n2"), m.pid, &messages.Heartbeat{Group: 1, Term: 6, Leader: "n2", Resets: []uint64{4, 3}})
	m.expectRole("follower", 1)
	m.send(m.peer("n2"), m.pid, &messages.Heartbeat{Group: 1, Term: 7, Leader: "n2", Resets: []uint64{3, 4}})
	m.expectRole("follower", 7)
}

// The name of the history goes through all changes of members, and out with all that a
// leader says.
func TestHistoryIsKeptByChangesOfMembers(t *testing.T) {
	m := survivor(t)
	m.resetPeers(true)
	m.sync()
	r := takeOne[*messages.PeersReset](t, m.client)
	m.change(&messages.ChangeMembers{Add: newMembers("n4")})
	m.sync()
	m.accept("n4")
	m.sync()
	m.accept("n4")
	m.sync()
	m.accept("n4")
	m.expectConfig(8, "n1,n4 /  /  / n2,n3")
	name := m.status().GetConfiguration().GetResets()
	if len(name) != 1 || name[0] == 0 {
		t.Fatalf("history %v", name)
	}
	m.advance(heartbeat)
	for _, h := range take[*messages.Heartbeat](m.peer("n4")) {
		if h.Term == r.Term && !slices.Equal(h.Resets, name) {
			t.Fatalf("%v is not of history %v", h, name)
		}
	}
	m.change(&messages.ChangeMembers{Add: newMembers("n2")})
	m.sync()
	expectResults(t, m.client, "77 APPLIED", "77 NOT_APPLIED MEMBERS_KEPT")
}
