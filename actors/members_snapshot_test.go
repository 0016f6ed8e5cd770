package actors

import (
	"fmt"
	"testing"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/messages"
)

// withConfiguration is a snapshot of a group whose members were changing.
func withConfiguration(t *testing.T, index, term uint64, c core.Configuration) file {
	t.Helper()
	meta := snapshotMeta(index, term)
	meta.Configuration, meta.ConfigurationIndex = describeConfiguration(&c), index-1
	return elsewhere(t, meta, "2@1 a")
}

// A member that waits to be added hears of its group by a snapshot first: it takes over
// who belongs to it, those to come included, and knows where each of them is.
func TestWaitingMemberGetsASnapshot(t *testing.T) {
	m := newMember(t, 3)
	m.opts.Bootstrap = nil
	m.keeping(0, 0)
	m.begin()
	c := members("n2", "n3")
	c.Next, c.Removed = members("n1", "n2", "n3").Members, []core.NodeID{"n9"}
	m.deliver(withConfiguration(t, 9, 3, c), 3)
	m.expectNotInstalled("the log does not begin behind it on disk")
	expect := func() {
		t.Helper()
		m.expectRole("learner", 3)
		m.expectConfig(8, "n2,n3 / n1,n2,n3 /  / n9")
		m.expectSnapshot(10, 9, 9, 9, 9)
		told := take[*ConfigurationChanged](m.node)
		if n := len(told); n == 0 || told[n-1].Index != 8 || len(told[n-1].Everyone) != 3 || len(told[n-1].Removed) != 1 {
			t.Fatalf("the node is told of %+v", told)
		}
	}
	expect()
	if l := take[*LeaderChanged](m.gateway); len(l) == 0 || l[len(l)-1].Address != "n2:1" {
		t.Fatalf("the leader's address is not announced: %v", l)
	}
	// Killed before the log was reset: the snapshot alone is on disk.
	m.restart().sync()
	expect()
	m.restart().sync()
	expect()
	m.advance(20 * electionTimeout)
	m.expectRole("learner", 3)
}

// A joint configuration that a snapshot brings counts by both its halves, at once and
// after a restart.
func TestJointConfigurationInASnapshot(t *testing.T) {
	m, _ := behind(t, 9, 2)
	c := members("n1", "n4", "n5")
	c.Outgoing, c.Leaving, c.Removed = []core.NodeID{"n1", "n2", "n3"}, members("n2", "n3").Members, []core.NodeID{"n9"}
	m.deliver(withConfiguration(t, 9, 2, c), 2)
	m.sync()
	m.expectConfig(8, "n1,n4,n5 /  / n1,n2,n3 / n9")
	m.restart().sync()
	m.expectConfig(8, "n1,n4,n5 /  / n1,n2,n3 / n9")
	m.advance(3 * electionTimeout)
	asked := take[*messages.RequestPreVote](m.peer("n2"))
	if len(asked) == 0 {
		t.Fatal("a voter of the old half is not asked")
	}
	pre := asked[len(asked)-1]
	for _, id := range []core.NodeID{"n4", "n2"} { // n3 and n5 are asked too, and silent
		m.send(m.peer(id), m.pid, &messages.PreVoteGranted{Group: 1, Term: pre.Term, From: string(id), Campaign: pre.Campaign})
	}
	m.sync()
	m.expectRole("candidate", 3)
	m.send(m.peer("n4"), m.pid, &messages.VoteGranted{Group: 1, Term: 3, From: "n4"})
	m.sync()
	m.expectRole("candidate", 3) // of the old ones it has its own vote alone
	m.send(m.peer("n3"), m.pid, &messages.VoteGranted{Group: 1, Term: 3, From: "n3"})
	m.sync()
	m.expectRole("leader", 3)
}

// A snapshot taken while members change has all of the configuration, which the log
// that is cut behind it has no more.
func TestSnapshotOfAChangeUnderWay(t *testing.T) {
	m := newMember(t, 3)
	m.keeping(0, 0)
	m.begin().elect()
	m.accept("n2")
	m.forget()
	m.change(&messages.ChangeMembers{Add: newMembers("n4"), Remove: []string{"n3"}})
	m.sync()
	m.accept("n2")
	m.expectLog(3, 3, 3)
	m.send(m.client, m.pid, &messages.TakeSnapshot{Group: 1})
	m.sync()
	if s := takeOne[*messages.SnapshotTaken](t, m.client); s.Index != 3 {
		t.Fatalf("%v", s)
	}
	m.expectSnapshot(4, 3, 3, 3, 3)
	m.expectConfig(3, "n1,n2,n3 / n1,n2,n4 /  / ")
	m.restart().sync()
	m.expectSnapshot(4, 3, 3, 3, 3)
	m.expectConfig(3, "n1,n2,n3 / n1,n2,n4 /  / ")
}

// A member that a snapshot tells of its removal stands no more.
func TestSnapshotAfterTheRemoval(t *testing.T) {
	m, _ := behind(t, 9, 2)
	c := members("n2", "n3")
	c.Removed = []core.NodeID{"n1"}
	m.deliver(withConfiguration(t, 9, 2, c), 2)
	m.sync()
	m.advance(20 * electionTimeout)
	m.expectRole("removed", 2)
	m.restart().sync()
	m.advance(20 * electionTimeout)
	m.expectRole("removed", 2)
}

// A new voter that is sent a snapshot advances while its bytes do, also when that takes
// longer than the patience with one that does not.
func TestNewcomerAdvancesWithItsSnapshot(t *testing.T) {
	m := lead(t)
	m.change(&messages.ChangeMembers{Add: newMembers("n4")})
	m.sync()
	m.accept("n2")
	patience := 2 + int(defaultCatchUp*electionTimeout/heartbeat)
	receive := func(rounds int, bytes func(i int) int) {
		for i := range rounds {
			m.advance(heartbeat)
			m.ack("n2", "n3", "n4")
			m.tell(m.pid, &messages.ProgressReported{Term: 2, Peer: "n4", State: "snapshot", SnapshotSent: uint64(bytes(i)), SnapshotSize: 1 << 20})
		}
	}
	receive(3*patience, func(i int) int { return 10 * (i + 1) })
	m.expectConfig(3, "n1,n2,n3 / n1,n2,n3,n4 /  / ")
	receive(patience, func(i int) int { return i % 100 }) // from the beginning, again and again
	m.sync()
	m.accept("n2")
	m.expectConfig(4, "n1,n2,n3 /  /  / ")
	if r := results(m.client); len(r) != 1 || r[0].Reason != messages.Reason_MEMBERS_KEPT {
		t.Fatal(fmt.Sprint(r))
	}
}
