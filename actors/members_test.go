package actors

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/messages"
)

const changeRequest = 77

func (m *member) change(c *messages.ChangeMembers) {
	m.t.Helper()
	c.Group, c.Request = 1, changeRequest
	m.send(m.client, m.pid, c)
}

func newMembers(ids ...string) (out []*messages.Member) {
	for _, id := range ids {
		out = append(out, &messages.Member{Id: id, Address: id + ":1"})
	}
	return out
}

// expectConfig compares the active configuration, written as "members next outgoing
// removed" with learners marked by "?".
func (m *member) expectConfig(index uint64, want string) {
	m.t.Helper()
	s := m.status()
	say := func(members []*messages.Member) string {
		var ids []string
		for _, one := range members {
			id := one.Id
			if one.Role == messages.Role_LEARNER {
				id += "?"
			}
			ids = append(ids, id)
		}
		return strings.Join(ids, ",")
	}
	c := s.GetConfiguration()
	got := fmt.Sprintf("%s / %s / %s / %s", say(c.GetMembers()), say(c.GetNext()), strings.Join(c.GetOutgoing(), ","), strings.Join(c.GetRemoved(), ","))
	if s.ConfigurationIndex != index || got != want {
		m.t.Fatalf("configuration %q of %d, expected %q of %d", got, s.ConfigurationIndex, want, index)
	}
}

// A new voter receives the log first and has no voice; then both majorities decide;
// then the new one alone. Whoever asked hears of the end only.
func TestMembersAreReplacedStepByStep(t *testing.T) {
	m := lead(t)
	m.change(&messages.ChangeMembers{Add: newMembers("n4", "n5"), Remove: []string{"n2"}, ExpectedIndex: 1})
	m.expectConfig(3, "n1,n2,n3 / n1,n3,n4,n5 /  / ")
	m.accept("n4") // its empty answers say where it stands; the step before is not committed
	m.sync()
	m.accept("n3")
	m.expectConfig(3, "n1,n2,n3 / n1,n3,n4,n5 /  / ")
	if s := m.status(); s.CommitIndex != 3 || s.Change.GetPhase() != "catching up" || len(s.Change.Newcomers) != 2 {
		t.Fatalf("%v", s)
	}
	m.accept("n5")
	m.expectConfig(4, "n1,n3,n4,n5 /  / n1,n2,n3 / ")
	m.sync()
	m.accept("n4")
	m.expectLog(4, 4, 3) // n1, n4 and n5 of the new, of the old n1 alone
	m.accept("n3")
	m.expectLog(5, 4, 4)
	m.expectConfig(5, "n1,n3,n4,n5 /  /  / n2")
	m.sync()
	expectResults(t, m.client)
	m.accept("n4")
	m.expectLog(5, 5, 5)
	expectResults(t, m.client, "77 APPLIED")
	m.accept("n2") // it is told
	m.advance(heartbeat)
	m.advance(heartbeat)
	last := take[*messages.Heartbeat](m.peer("n2"))
	if len(last) == 0 || last[len(last)-1].Commit != 5 {
		t.Fatalf("n2 heard %v, expected of commit 5", last)
	}
	m.forget()
	m.advance(heartbeat)
	expectNone[*messages.Heartbeat](t, m.peer("n2"), "it knows")
}

// While two sets decide, reads and the belief in oneself need both, too.
func TestJointReadsAndCheckQuorumNeedBothMajorities(t *testing.T) {
	m := joint(t)
	m.query(1, "q")
	m.ack("n2")
	expectNone[*messages.Results](t, m.client, "a majority of the old only")
	m.ack("n4")
	if r := results(m.client); len(r) != 1 || r[0].Outcome != messages.Outcome_APPLIED {
		t.Fatalf("%v", r)
	}
	for range 8 { // the old ones alone answer
		m.advance(heartbeat)
		m.ack("n2", "n3")
	}
	m.expectRole("follower", 2)
	expectResults(t, m.client, "77 UNKNOWN LEADERSHIP_LOST")
}

// joint is a leader n1 of n1, n2, n3 on the way to n1, n4, n5, with that entry not
// committed.
func joint(t *testing.T) *member {
	t.Helper()
	m := lead(t)
	m.change(&messages.ChangeMembers{Add: newMembers("n4", "n5"), Remove: []string{"n2", "n3"}})
	m.sync()
	for _, id := range []core.NodeID{"n2", "n4", "n5"} {
		m.accept(id)
	}
	m.expectConfig(4, "n1,n4,n5 /  / n1,n2,n3 / ")
	m.sync()
	m.forget()
	return m
}

// A candidate needs both majorities, also after a restart in the middle.
func TestJointElectionNeedsBothMajorities(t *testing.T) {
	m := joint(t).restart()
	m.ids = []core.NodeID{"n1", "n2", "n3", "n4", "n5"}
	m.expectConfig(4, "n1,n4,n5 /  / n1,n2,n3 / ")
	m.advance(2 * electionTimeout)
	m.grantPreVotes()
	m.sync()
	m.expectRole("candidate", 3)
	for _, id := range []string{"n2", "n3"} {
		m.send(m.peer(core.NodeID(id)), m.pid, &messages.VoteGranted{Group: 1, Term: 3, From: id})
	}
	m.expectRole("candidate", 3)
	m.send(m.peer("n5"), m.pid, &messages.VoteGranted{Group: 1, Term: 3, From: "n5"})
	m.expectRole("leader", 3)
	m.sync()
	m.accept("n2")
	m.accept("n5")
	m.sync()
	m.expectConfig(6, "n1,n4,n5 /  /  / n2,n3") // the successor completes what it found
}

// A leader that removes itself leads until that is committed; then it wakes the one
// that holds the most.
func TestLeaderRemovesItself(t *testing.T) {
	m := lead(t)
	m.change(&messages.ChangeMembers{Remove: []string{"n1"}})
	m.expectConfig(3, "n2,n3 /  / n1,n2,n3 / ")
	m.sync()
	m.accept("n2")
	m.expectLog(3, 3, 2)
	m.accept("n3")
	m.expectConfig(4, "n2,n3 /  /  / n1")
	m.propose("late") // the log must not grow under the successor
	m.sync()
	m.accept("n3")
	m.expectRole("leader", 2)
	expectNone[*messages.TimeoutNow](t, m.peer("n3"), "one of two is no majority, and the leader is neither")
	m.accept("n2")
	m.expectRole("removed", 2)
	expectResults(t, m.client, "77 APPLIED")
	takeOne[*messages.Propose](t, m.gateway)
	if n := len(take[*messages.TimeoutNow](m.peer("n2"))) + len(take[*messages.TimeoutNow](m.peer("n3"))); n != 1 {
		t.Fatalf("%d orders to stand, expected 1", n)
	}
	m.advance(10 * electionTimeout)
	m.expectRole("removed", 2)
}

// A new voter that does not advance has the change rolled back, and may be asked for
// again.
func TestChangeIsRolledBack(t *testing.T) {
	m := lead(t)
	m.change(&messages.ChangeMembers{Add: newMembers("n4")})
	m.sync()
	m.accept("n2")
	for range 2 + int(defaultCatchUp*electionTimeout/heartbeat) {
		m.advance(heartbeat)
		m.ack("n2", "n3", "n4") // it is there, and gets nowhere
		m.accept("n2")
		m.sync()
	}
	m.accept("n2")
	r := results(m.client)
	if len(r) != 1 || r[0].Reason != messages.Reason_MEMBERS_KEPT || !strings.Contains(string(r[0].Data), "n4 has not advanced for 3s") {
		t.Fatalf("%v", r)
	}
	m.expectConfig(4, "n1,n2,n3 /  /  / ")
	m.change(&messages.ChangeMembers{Add: newMembers("n4")})
	m.expectConfig(5, "n1,n2,n3 / n1,n2,n3,n4 /  / ")
}

func TestChangeIsUndoneOnRequest(t *testing.T) {
	m := lead(t)
	m.send(m.client, m.pid, &messages.AbortChange{Group: 1, Request: 5})
	expectResults(t, m.client, "5 NOT_APPLIED MEMBERS_KEPT")
	m.change(&messages.ChangeMembers{Add: newMembers("n4")})
	m.send(m.client, m.pid, &messages.ChangeMembers{Group: 1, Request: 6, Remove: []string{"n2"}}) // one at a time
	m.send(m.client, m.pid, &messages.AbortChange{Group: 1, Request: 7})
	for range 2 {
		m.sync()
		m.accept("n2")
	}
	m.expectConfig(4, "n1,n2,n3 /  /  / ")
	expectResults(t, m.client, "6 NOT_APPLIED MEMBERS_KEPT", "7 APPLIED", "77 NOT_APPLIED MEMBERS_KEPT")
}

// Until an entry of its own term is committed a leader does not know what is.
func TestNoChangeBeforeTheOwnTermCommits(t *testing.T) {
	m := newMember(t, 3).begin().elect()
	m.change(&messages.ChangeMembers{Remove: []string{"n3"}})
	expectResults(t, m.client, "77 NOT_APPLIED BUSY")
	m.expectConfig(1, "n1,n2,n3 /  /  / ")
}

// A configuration stands alone in its block, behind the commands that came before it.
func TestConfigurationKeepsItsPlace(t *testing.T) {
	m := lead(t)
	m.propose("a") // with the disk; what follows waits
	for i, c := range []string{"b", "c"} {
		m.post(m.client, m.pid, &messages.Propose{Group: 1, Request: uint64(2 + i), Command: []byte(c)})
	}
	m.post(m.client, m.pid, &messages.ChangeMembers{Group: 1, Request: changeRequest, Remove: []string{"n3"}})
	m.post(m.client, m.pid, &messages.Propose{Group: 1, Request: 4, Command: []byte("d")})
	m.settle()
	m.sync()
	m.accept("n2")
	m.accept("n3")
	m.sync()
	blocks, err := m.store.Read(1, 3, m.status().LastIndex, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, b := range blocks {
		got = append(got, fmt.Sprintf("%d+%d", b.FirstIndex, b.Count))
	}
	if want := []string{"3+1", "4+2", "6+1", "7+1", "8+1"}; !slices.Equal(got, want) {
		t.Fatalf("blocks %v, expected %v", got, want)
	}
}

// A member of a group that exists already waits: it never stands, stores what it is
// sent, and goes by the configuration in it.
func TestMemberWithoutConfigurationWaits(t *testing.T) {
	m := newMember(t, 3)
	m.opts.Bootstrap = nil
	m.begin()
	m.advance(20 * electionTimeout)
	m.expectRole("follower", 0)
	m.askVote("n2", 3, 9, 2) // it may have been a voter, and have lost all it had
	m.sync()
	takeOne[*messages.VoteRejected](t, m.peer("n2"))
	next := members("n2", "n3")
	next.Next = members("n1", "n2", "n3").Members
	data, err := encodeConfiguration(&next)
	if err != nil {
		t.Fatal(err)
	}
	m.append(3, 0, 0, 0, blockOf(1, 3, 1, 0, messages.EntryView{Kind: messages.EntryKind_CONFIGURATION, Data: data}))
	m.sync()
	takeOne[*messages.AppendAccepted](t, m.peer("n2"))
	m.expectRole("learner", 3)
	changed := take[*ConfigurationChanged](m.node)
	if len(changed) != 1 || len(changed[0].Everyone) != 3 {
		t.Fatalf("told of %v", changed)
	}
	if l := take[*LeaderChanged](m.gateway); len(l) == 0 || l[len(l)-1].Address != "n2:1" {
		t.Fatalf("the leader's address is not announced: %v", l)
	}
	m.restart().sync()
	m.expectRole("learner", 3)
}

// A candidate that was removed is told, and only by who knows it to be committed.
func TestRemovedCandidateIsTold(t *testing.T) {
	m := newMember(t, 3)
	m.opts.Bootstrap.Members = m.opts.Bootstrap.Members[:2]
	m.opts.Bootstrap.Removed = []core.NodeID{"n3"}
	m.begin()
	ask := func() { m.askVote("n3", 2, 9, 9) }
	m.append(1, 1, 1, 0) // it is not known to be committed
	m.advance(electionTimeout)
	ask()
	m.sync()
	expectNone[*messages.MemberRemoved](t, m.peer("n3"), "not committed")
	m.append(2, 1, 1, 1)
	m.forget()
	ask()
	m.sync()
	if r := takeOne[*messages.MemberRemoved](t, m.peer("n3")); r.Member != "n3" || r.Index != 1 {
		t.Fatalf("%v", r)
	}
	expectNone[*messages.VoteGranted](t, m.peer("n3"), "it is no member")

	m.advance(3 * electionTimeout)
	m.expectRole("pre-candidate", 2)
	m.tell(m.pid, &messages.MemberRemoved{Group: 1, Member: "n1", Index: 9})
	m.advance(10 * electionTimeout)
	m.expectRole("removed", 2)
}

// Who holds a configuration without itself that others may not have stands all the
// same: they need its log. Its own vote does not count.
func TestFormerVoterStandsUntilItsRemovalIsCommitted(t *testing.T) {
	m := newMember(t, 3)
	without := members("n2", "n3")
	without.Removed = []core.NodeID{"n1"}
	data, err := proto.Marshal(describeConfiguration(&without))
	if err != nil {
		t.Fatal(err)
	}
	m.stored(1, "", blockOf(1, 1, 2, 1, messages.EntryView{Kind: messages.EntryKind_CONFIGURATION, Data: data})).start()
	m.advance(2 * electionTimeout)
	m.expectRole("pre-candidate", 1)
	m.grantPreVotes()
	m.sync()
	m.expectRole("candidate", 2)
	m.send(m.peer("n2"), m.pid, &messages.VoteGranted{Group: 1, Term: 2, From: "n2"})
	m.expectRole("candidate", 2) // one of two
	m.send(m.peer("n3"), m.pid, &messages.VoteGranted{Group: 1, Term: 2, From: "n3"})
	m.expectRole("leader", 2)
	m.sync()
	m.accept("n2")
	m.expectRole("leader", 2)
	m.accept("n3")
	m.expectRole("removed", 2)
}

// A transfer goes to somebody who stays.
func TestNoTransferToWhoLeaves(t *testing.T) {
	m := joint(t)
	m.transfer("n2")
	takeOne[*messages.LeadershipKept](t, m.client)
}

// What a member that does not lead is asked goes the way of commands.
func TestFollowerForwardsOperationsOnMembers(t *testing.T) {
	m := newMember(t, 3).begin()
	m.heartbeatOf("n2", 2, 0)
	m.change(&messages.ChangeMembers{Remove: []string{"n3"}})
	if c := takeOne[*messages.ChangeMembers](t, m.gateway); c.Request != changeRequest {
		t.Fatalf("%v", c)
	}
	m.send(m.peer("n3"), m.pid, &messages.ListMembers{Group: 1, Request: 8})
	expectResults(t, m.peer("n3"), "8 NOT_APPLIED NOT_LEADER")
	l := lead(t)
	l.send(l.client, l.pid, &messages.ListMembers{Group: 1, Request: 9})
	r := results(l.client)
	s := &messages.GroupStatus{}
	if len(r) != 1 || proto.Unmarshal(r[0].Data, s) != nil || s.Role != "leader" || len(s.Configuration.Members) != 3 {
		t.Fatalf("%v: %v", r, s)
	}
}
