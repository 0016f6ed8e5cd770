package actors

import (
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/messages"
)

// noteOf is what the member keeps beside its log.
func (m *member) noteOf() *messages.MemberNote {
	m.t.Helper()
	state, err := m.store.Load(1)
	n := &messages.MemberNote{}
	if err == nil {
		err = proto.Unmarshal(state.Note, n)
	}
	if err != nil {
		m.t.Fatal(err)
	}
	return n
}

// lose has a peer say that the member has lost memory.
func (m *member) lose(number uint64) *member {
	m.t.Helper()
	m.send(m.peer("n2"), m.pid, &messages.LostMemoryShown{
		Group: 1, From: "n2", Life: m.noteOf().Life, Number: number, Reason: "for a test",
	})
	m.sync()
	return m
}

// A new group begins when every member has met every other one, and says nothing
// before its life is on disk.
func TestNewGroupBeginsWhenAllHaveMet(t *testing.T) {
	m := newMember(t, 3).arrive()
	expectNone[*messages.Greet](t, m.peer("n2"), "its life is not on disk")
	m.sync()
	greet := takeOne[*messages.Greet](t, m.peer("n2"))
	if !greet.Founding || greet.Life.GetNumber() != 1 || greet.Life.GetNonce() == 0 {
		t.Fatalf("%v", greet)
	}
	answer := &messages.Greeted{Group: 1, From: "n2", Life: greet.Life, Own: &messages.Life{Number: 1, Nonce: 5}}
	m.send(m.peer("n2"), m.pid, answer)
	m.advance(20 * electionTimeout)
	m.expectRole("starting", 0)
	if s := m.status(); !slices.Equal(s.Awaits, []string{"n3 at n3:1"}) {
		t.Fatalf("awaits %v", s.Awaits)
	}
	m.greeted()
	m.sync()
	m.expectRole("follower", 1)
	if s := m.status(); len(s.Awaits) != 0 {
		t.Fatalf("awaits %v", s.Awaits)
	}
	if n := m.noteOf(); !n.Begun || len(n.Known) != 2 {
		t.Fatalf("%v, expected one that has begun and knows two", n)
	}
}

// Who loses memory a second time, and is told so by one that has not heard of the first,
// takes a life above the one of then all the same: else others held it for lost again.
func TestLifeOfARecoveryIsAboveEarlierOnes(t *testing.T) {
	m := newMember(t, 3)
	m.clock.wall = 1_700_000_000_000_000_000
	m.stored(1, "").arrive()
	m.sync()
	m.lose(7)
	first := m.noteOf().Life.Number
	again := newMember(t, 3)
	again.clock.wall = m.clock.wall + int64(time.Second)
	again.stored(1, "").arrive()
	again.sync()
	again.lose(7)
	if second := again.noteOf().Life.Number; first <= 7 || second <= first {
		t.Fatalf("lives %d and %d, expected the second above the first and both above 7", first, second)
	}
	if again.lose(1<<62).noteOf().Life.Number != 1<<62+1 {
		t.Fatalf("%v, expected the life after the one that is known", again.noteOf().Life)
	}
}

// A sole voter asks its learners what it may have lost, and does not wait for them: they
// may be gone, or be found elsewhere only once it leads again.
func TestSoleVoterDoesNotWaitForLearners(t *testing.T) {
	m := newMember(t, 2)
	m.opts.Bootstrap.Members[1].Role = core.RoleLearner
	m.stored(1, "").arrive()
	m.sync()
	m.expectRole("starting", 1)
	m.advance(electionTimeout)
	m.sync()
	m.expectRole("leader", 2)

	m = newMember(t, 2)
	m.opts.Bootstrap.Members[1].Role = core.RoleLearner
	m.stored(1, "").arrive()
	m.sync()
	m.lose(4) // the learner knows better
	m.advance(20 * electionTimeout)
	m.expectRole("follower", 1)

	m = newMember(t, 2).stored(1, "").arrive()
	m.sync()
	m.advance(20 * electionTimeout)
	m.expectRole("starting", 1)
}

// Answers to another life, of a start before this one, count for nothing.
func TestAnswersToAnotherLifeAreStale(t *testing.T) {
	m := newMember(t, 3).stored(1, "").arrive()
	m.sync()
	other := &messages.Life{Number: 77, Nonce: 1}
	m.send(m.peer("n2"), m.pid, &messages.Greeted{Group: 1, From: "n2", Life: other})
	m.send(m.peer("n2"), m.pid, &messages.LostMemoryShown{Group: 1, From: "n2", Life: other, Number: 80})
	m.expectRole("starting", 1)
	if s := m.status(); s.Recovering != "" {
		t.Fatalf("recovering: %s", s.Recovering)
	}
}

// Each start that took part is a life of its own; one that did not is taken up again,
// so that a number is worth something.
func TestLivesAreCountedByTakingPart(t *testing.T) {
	m := newMember(t, 3).begin()
	first := m.noteOf().Life
	m.system.Root.Stop(m.pid)
	m.settle()
	m.arrive()
	m.sync()
	second := m.noteOf().Life
	if second.GetNumber() != first.GetNumber()+1 || second.GetNonce() == first.GetNonce() {
		t.Fatalf("life %v after %v", second, first)
	}
	m.system.Root.Stop(m.pid)
	m.settle()
	m.arrive()
	m.sync()
	if third := m.noteOf().Life; !proto.Equal(third, second) {
		t.Fatalf("life %v after %v, which never took part", third, second)
	}
}

// One that has lost memory neither votes nor stands, not even by order, and marks what
// it says; so it does after a restart.
func TestRecoveringMemberNeitherVotesNorCounts(t *testing.T) {
	m := newMember(t, 3).begin().lose(4)
	for restarts := range 2 {
		n := m.noteOf()
		if !n.Recovering || n.Life.GetNumber() <= 4 {
			t.Fatalf("%v, expected one that recovers in a life after 4", n)
		}
		if s := m.status(); !strings.Contains(s.Recovering, "for a test") {
			t.Fatalf("status says %q", s.Recovering)
		}
		m.askVote("n2", 2, 9, 9)
		m.sync()
		expectNone[*messages.VoteGranted](t, m.peer("n2"), "it does not know whom it has voted for")
		take[*messages.VoteRejected](m.peer("n2"))
		m.append(2, 1, 1, 1)
		m.heartbeatOf("n2", 2, 1)
		m.sync()
		if a := takeOne[*messages.HeartbeatAcked](t, m.peer("n2")); a.Recovering != n.Life.GetNonce() {
			t.Fatalf("%v is not marked with %v", a, n.Life)
		}
		m.send(m.peer("n2"), m.pid, &messages.TimeoutNow{Group: 1, Term: 2, From: "n2"})
		m.expectRole("follower", 2)
		m.advance(10 * electionTimeout)
		m.expectRole("follower", 2)
		if restarts == 0 {
			m.system.Root.Stop(m.pid)
			m.settle()
			m.arrive()
			m.sync()
		}
	}
}

// It takes part again only at the word of its leader, to this life, and when it holds
// the barrier durably; its vote in that term is spent.
func TestMemoryRestored(t *testing.T) {
	m := newMember(t, 3).begin().lose(4)
	nonce := m.noteOf().Life.GetNonce()
	restored := func(term, nonce, barrier uint64) {
		m.send(m.peer("n2"), m.pid, &messages.MemoryRestored{Group: 1, Term: term, From: "n2", Nonce: nonce, Barrier: barrier})
		m.sync()
	}
	m.append(2, 1, 1, 1, block(1, 2, 2, 1, "a"))
	restored(2, nonce, 2) // on its way to the disk while the word comes
	m.sync()
	for _, bad := range [][3]uint64{{1, nonce, 2}, {2, nonce + 1, 2}, {2, nonce, 3}, {2, nonce, 1}} {
		restored(bad[0], bad[1], bad[2])
		if !m.noteOf().Recovering {
			t.Fatalf("restored by %v", bad)
		}
	}
	restored(2, nonce, 2)
	state, err := m.store.Load(1)
	if n := m.noteOf(); err != nil || n.Recovering || state.HardState != (logstore.HardState{Term: 2, Vote: "n2"}) {
		t.Fatalf("%v, %+v (%v)", n, state.HardState, err)
	}
	if s := m.status(); s.Recovering != "" {
		t.Fatalf("status says %q", s.Recovering)
	}
}

// A leader counts nothing of a peer that recovers, and lets it take part when an entry
// of after the loss is committed by others.
func TestLeaderRestoresAPeer(t *testing.T) {
	m := lead(t)
	const nonce = 99
	beat := func() {
		m.send(m.peer("n2"), m.pid, &messages.HeartbeatAcked{Group: 1, Term: 2, From: "n2", Recovering: nonce})
		m.sync()
	}
	beat() // entry 3 is the barrier
	if s := m.status(); s.LastIndex != 3 || s.Peers[0].MatchIndex != 0 || !s.Peers[0].Recovering {
		t.Fatalf("%v", s)
	}
	m.tell(m.pid, &messages.PeerAdvanced{Term: 2, Peer: "n2", MatchIndex: 3, Recovering: nonce})
	if s := m.status(); s.CommitIndex != 2 {
		t.Fatalf("commit %d: counted with one that has lost memory", s.CommitIndex)
	}
	expectNone[*messages.MemoryRestored](t, m.peer("n2"), "nothing is committed without it")
	m.accept("n3")
	beat()
	if r := takeOne[*messages.MemoryRestored](t, m.peer("n2")); r.Barrier != 3 || r.Nonce != nonce {
		t.Fatalf("%v", r)
	}
}

// A log damaged in the middle is not cut by the member itself: it keeps what is whole
// and writes over the rest only what a leader sends.
func TestDamagedLogIsRepairedByTheLeader(t *testing.T) {
	m := newMember(t, 3).stored(2, "n3", block(1, 2, 2, 1, "a"), block(1, 2, 3, 2, "b"))
	m.store.Rot(1, 3)
	m.arrive()
	m.sync()
	if s := m.status(); s.Role != "follower" || s.LastIndex != 2 || !strings.Contains(s.Recovering, "index 3") {
		t.Fatalf("%v", s)
	}
	if _, err := m.store.Load(1); err == nil {
		t.Fatal("what is damaged was dropped before a leader sent anything")
	}
	m.append(2, 2, 2, 3, block(1, 2, 3, 2, "b"))
	m.sync()
	state, err := m.store.Load(1)
	if err != nil || state.LastIndex != 3 || !m.noteOf().Recovering {
		t.Fatalf("last %d (%v), %v; expected 3, whole, still recovering", state.LastIndex, err, m.noteOf())
	}
	alone := newMember(t, 1).stored(2, "", block(1, 2, 2, 1, "a"))
	alone.store.Rot(1, 2)
	alone.start()
	if s := alone.status(); s.Role != "failed" || !strings.Contains(s.Failure, "index 2") {
		t.Fatalf("%v, expected one that failed: nobody could repair it", s)
	}
}

// A member that starts with nothing and no list of members may have been one before. It
// recovers like one, and shows itself to the leader, who may know it.
func TestJoinerRecovers(t *testing.T) {
	m := newMember(t, 3)
	m.opts.Bootstrap = nil
	m.clock.wall = 1_700_000_000_000_000_000
	m.begin()
	first := m.noteOf()
	if !first.Recovering || !first.Begun || first.Life.Number <= uint64(m.clock.wall) {
		t.Fatalf("%v, expected one that recovers, in a life above all that it may have had", first)
	}
	m.heartbeatOf("n2", 2, 0)
	m.sync()
	if a := takeOne[*messages.HeartbeatAcked](t, m.peer("n2")); a.Recovering != first.Life.GetNonce() {
		t.Fatalf("%v is not marked with %v", a, first.Life)
	}
	if g := takeOne[*messages.Greet](t, m.peer("n2")); !proto.Equal(g.Life, first.Life) || !g.Recovering {
		t.Fatalf("%v, expected life %v, recovering", g, first.Life)
	}
	known := first.Life.Number + 7
	m.lose(known)
	if n := m.noteOf(); n.Life.GetNumber() <= known || !strings.Contains(n.Cause, "for a test") {
		t.Fatalf("%v, expected a life after the one that is known", n)
	}
	m.restart()
	m.sync()
	if s := m.status(); s.Role != "follower" || !strings.Contains(s.Recovering, "for a test") {
		t.Fatalf("%v, expected one that recovers still", s)
	}
}

// A member whose own configuration is of others that are gone begins by a later one,
// which it hears of from whoever speaks to it.
func TestStartGoesByALaterConfiguration(t *testing.T) {
	m := newMember(t, 3).stored(1, "").arrive()
	m.sync()
	take[*messages.Greet](m.peer("n2"))
	m.send(m.peer("n4"), m.pid, &messages.RequestPreVote{Group: 1, Term: 9, Candidate: "n4", LastIndex: 9, LastTerm: 8})
	g := takeOne[*messages.Greet](t, m.peer("n4"))
	if g.ConfigurationIndex != 1 {
		t.Fatalf("%v, expected it to show configuration 1", g)
	}
	c := members("n1", "n4", "n5", "n6", "n7")
	m.send(m.peer("n4"), m.pid, &messages.Greeted{
		Group: 1, From: "n4", Life: g.Life, Own: &messages.Life{Number: 3, Nonce: 3},
		ConfigurationIndex: 5, Configuration: describeConfiguration(&c),
	})
	m.sync()
	m.expectRole("starting", 1) // n1 and n4 of five
	if told := take[*ConfigurationChanged](m.node); told[len(told)-1].Index != 5 {
		t.Fatalf("%v, expected the Node to be told of configuration 5", told)
	}
	answer := takeOne[*messages.Greet](t, m.peer("n5"))
	m.send(m.peer("n5"), m.pid, &messages.Greeted{Group: 1, From: "n5", Life: answer.Life, Own: &messages.Life{Number: 3, Nonce: 3}})
	m.sync()
	m.expectRole("follower", 1)
	if told := takeOne[*ConfigurationChanged](t, m.node); told.Index != 1 || len(told.Everyone) != 3 {
		t.Fatalf("%v, expected the Node to be told of its own again", told)
	}
}

// A peer is told of a configuration that is later than its own, and only then.
func TestGreetedShowsALaterConfiguration(t *testing.T) {
	m := newMember(t, 3).begin()
	for index, shown := range []bool{true, false} {
		m.send(m.peer("n2"), m.pid, &messages.Greet{
			Group: 1, From: "n2", Life: &messages.Life{Number: uint64(5 + index), Nonce: 1}, LastIndex: 1, ConfigurationIndex: uint64(index),
		})
		m.sync()
		if g := takeOne[*messages.Greeted](t, m.peer("n2")); (g.Configuration != nil) != shown || shown && g.ConfigurationIndex != 1 {
			t.Fatalf("%v to one at configuration %d", g, index)
		}
	}
}

// Who recovers is not handed the lead, and no change of members rests on it.
func TestNothingRestsOnARecoveringPeer(t *testing.T) {
	m := lead(t)
	m.send(m.peer("n2"), m.pid, &messages.HeartbeatAcked{Group: 1, Term: 2, From: "n2", Recovering: 99})
	m.sync()
	m.accept("n3")
	m.send(m.client, m.pid, &messages.TransferLeadership{Group: 1, To: "n2"})
	if k := takeOne[*messages.LeadershipKept](t, m.client); !strings.Contains(k.Reason, "lost memory") {
		t.Fatalf("%v", k)
	}
	m.change(&messages.ChangeMembers{Remove: []string{"n3"}})
	r := takeOne[*messages.Results](t, m.client)
	if i := r.Items[0]; i.Outcome != messages.Outcome_NOT_APPLIED || !strings.Contains(string(i.Data), "n2 do not answer or have lost memory") {
		t.Fatalf("%v", r)
	}
	m.change(&messages.ChangeMembers{Remove: []string{"n2"}})
	expectNone[*messages.Results](t, m.client, "it waits for its end")
	if s := m.status(); s.ConfigurationIndex != s.LastIndex {
		t.Fatalf("%v, expected the change under way: n1 and n3 carry it", s)
	}
}

// A leader that the configuration does not know may know a life of this member that
// its peers do not.
func TestLeaderUnknownIsGreeted(t *testing.T) {
	m := newMember(t, 3).begin()
	m.heartbeatOf("n2", 2, 1)
	m.sync()
	expectNone[*messages.Greet](t, m.peer("n2"), "it has answered")
	m.heartbeatOf("n9", 3, 1)
	m.sync()
	takeOne[*messages.Greet](t, m.peer("n9"))
}

// A member whose disk was full, and that has lost memory since, is sent the log as soon
// as it says that there is room.
func TestMemberThatRecoversSaysThatItHasRoom(t *testing.T) {
	m := lead(t)
	full := func(nonce uint64, full bool) bool {
		m.send(m.peer("n2"), m.pid, &messages.HeartbeatAcked{Group: 1, Term: 2, From: "n2", DiskFull: full, Recovering: nonce})
		return m.status().Peers[0].DiskFull
	}
	if !full(0, true) || !full(7, true) {
		t.Fatal("n2 has room, as the leader knows, expected a full disk")
	}
	if full(7, false) {
		t.Fatal("the disk of n2 is full, as the leader knows, expected room")
	}
}
