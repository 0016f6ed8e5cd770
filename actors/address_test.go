package actors

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/messages"
)

func movedTo(id, address string) *messages.ChangeMembers {
	return &messages.ChangeMembers{Move: []*messages.Member{{Id: id, Address: address}}}
}

// addressOf is where the active configuration has a member.
func (m *member) addressOf(id string) string {
	m.t.Helper()
	for _, one := range m.status().GetConfiguration().GetMembers() {
		if one.Id == id {
			return one.Address
		}
	}
	m.t.Fatalf("%s is no member", id)
	return ""
}

// From when it is appended a member is spoken to at its new address, and only there; the
// entry is committed without it. What it had it still has.
func TestMemberMoves(t *testing.T) {
	m := lead(t)
	m.change(movedTo("n2", "n2:9"))
	m.expectConfig(3, "n1,n2,n3 /  /  / ")
	m.propose("x")
	m.sync()
	m.advance(heartbeat)
	before, after := m.peer("n2"), m.at("n2:9", m.pid.Id)
	expectNone[*messages.AppendEntries](t, before, "it is not looked for there any more")
	expectNone[*messages.Heartbeat](t, before, "it is not looked for there any more")
	if len(take[*messages.Heartbeat](after)) == 0 {
		t.Fatal("no heartbeat to the new address")
	}
	expectResults(t, m.client)
	m.accept("n3")
	m.expectLog(4, 4, 4)
	expectResults(t, m.client, "77 APPLIED", "1 APPLIED")
	first := takeLetters[*messages.AppendEntries](after)
	if len(first) == 0 || first[0].message.(*messages.AppendEntries).PrevIndex != 2 {
		t.Fatalf("%v is sent to the new address, expected what follows on entry 2", first)
	}
	m.send(after, first[0].from, accepted(t, first[0], "n2"))
	m.send(before, first[0].from, accepted(t, first[0], "n2")) // from when it was there, late
	if s := m.status(); s.ConfigurationIndex != 3 || m.addressOf("n2") != "n2:9" {
		t.Fatalf("%v", s)
	}
}

// Those that move may never come where they are to be: the others must be enough.
func TestMoveNeedsAQuorumOfTheOthers(t *testing.T) {
	m := lead(t)
	both := movedTo("n2", "n2:9")
	both.Move = append(both.Move, &messages.Member{Id: "n3", Address: "n3:9"})
	refused := func(c *messages.ChangeMembers, want string) {
		t.Helper()
		m.change(proto.CloneOf(c))
		r := results(m.client)
		if len(r) != 1 || r[0].Reason != messages.Reason_MEMBERS_KEPT || !strings.Contains(string(r[0].Data), want) {
			t.Fatalf("%v, expected %q", r, want)
		}
		m.expectConfig(1, "n1,n2,n3 /  /  / ")
	}
	refused(both, "too few voters would be left: n2, n3 do not count until they run at their new address")
	for range 4 {
		m.advance(heartbeat)
		m.ack("n3")
	}
	m.accept("n3")
	for m.clock.now < 3*electionTimeout {
		m.advance(heartbeat)
		m.ack("n3")
	}
	refused(movedTo("n3", "n3:9"), "n2 do not answer or have lost memory, wait until they are back; n3 do not count")
	m.change(movedTo("n2", "n2:9")) // it is away anyway
	m.expectConfig(3, "n1,n2,n3 /  /  / ")
}

// A leader that is moved goes on until that is certain and another can lead, then has that
// one stand.
func TestLeaderThatIsMovedHandsOver(t *testing.T) {
	m := lead(t)
	m.change(movedTo("n1", "n1:9"))
	m.accept("n2") // it has the entry, and the leader's own disk not yet
	for range 3 {
		m.advance(heartbeat)
		m.ack("n2", "n3")
	}
	m.expectRole("leader", 2)
	expectNone[*messages.TimeoutNow](t, m.peer("n2"), "it is not committed")
	m.sync()
	expectResults(t, m.client, "77 APPLIED")
	m.advance(heartbeat)
	m.ack("n2", "n3")
	takeOne[*messages.TimeoutNow](t, m.peer("n2"))
}

// One that the others cannot do without leads on.
func TestLeaderOfTwoThatIsMovedLeadsOn(t *testing.T) {
	m := newMember(t, 2).begin().elect()
	m.accept("n2")
	m.change(movedTo("n1", "n1:9"))
	m.sync()
	m.accept("n2")
	expectResults(t, m.client, "77 APPLIED")
	for range 20 {
		m.advance(heartbeat)
		m.ack("n2")
		m.accept("n2")
	}
	m.expectRole("leader", 2)
	expectNone[*messages.TimeoutNow](t, m.peer("n2"), "alone it could not lead")
}

// A move that is truncated has not been: the peer is where it was.
func TestTruncatedMoveIsUndone(t *testing.T) {
	m := newMember(t, 3).begin()
	next := members("n1", "n2", "n3")
	next.Members[2].Address = "n3:9"
	data, err := encodeConfiguration(&next)
	if err != nil {
		t.Fatal(err)
	}
	m.append(2, 1, 1, 1, blockOf(1, 2, 2, 1, messages.EntryView{Kind: messages.EntryKind_CONFIGURATION, Data: data}))
	m.sync()
	if at := m.addressOf("n3"); at != "n3:9" {
		t.Fatalf("n3 is at %s", at)
	}
	m.append(3, 1, 1, 1, block(1, 3, 2, 1, "other"))
	m.sync()
	if at := m.addressOf("n3"); at != "n3:1" {
		t.Fatalf("n3 is at %s", at)
	}
	m.forget()
	m.advance(3 * electionTimeout)
	expectNone[*messages.RequestPreVote](t, m.at("n3:9", m.pid.Id), "it is not there")
	if len(take[*messages.RequestPreVote](m.peer("n3"))) == 0 {
		t.Fatal("n3 is not asked where it is")
	}
}

// An address that this node has by now may stand in its log as that of another: what it
// sends there must not come back to it as that one's.
func TestPeerAtTheOwnAddress(t *testing.T) {
	m := newMember(t, 3).begin()
	next := members("n1", "n2", "n3")
	next.Members[2].Address = selfAddress
	data, err := encodeConfiguration(&next)
	if err != nil {
		t.Fatal(err)
	}
	m.append(2, 1, 1, 1, blockOf(1, 2, 2, 1, messages.EntryView{Kind: messages.EntryKind_CONFIGURATION, Data: data}))
	m.sync()
	m.ids = []core.NodeID{"n1", "n2"}
	m.elect()
	m.accept("n2")
	for range 20 {
		m.advance(heartbeat)
		m.ack("n2")
	}
	m.expectRole("leader", 3)
	m.expectLog(3, 3, 3)
}

// A heartbeat's commit index rests on what the one it names holds. Another that is at the
// address, as by the configuration of another group, must not go by it.
func TestHeartbeatIsForWhomItNames(t *testing.T) {
	m := lead(t)
	m.advance(heartbeat)
	for _, id := range []core.NodeID{"n2", "n3"} {
		for _, h := range take[*messages.Heartbeat](m.peer(id)) {
			if h.To != string(id) {
				t.Errorf("a heartbeat for %s is named %q", id, h.To)
			}
		}
	}
	m = newMember(t, 3).begin()
	m.append(2, 1, 1, 1, block(1, 2, 2, 1, "x"))
	m.sync()
	m.forget()
	beat := &messages.Heartbeat{Group: 1, Term: 2, Leader: "n2", Commit: 2, To: "n3"}
	m.send(m.peer("n2"), m.pid, proto.CloneOf(beat))
	expectNone[*messages.HeartbeatAcked](t, m.peer("n2"), "it is for n3")
	if s := m.status(); s.CommitIndex != 1 {
		t.Fatalf("commit %d by a heartbeat for n3, expected 1", s.CommitIndex)
	}
	beat.To = "n1"
	m.send(m.peer("n2"), m.pid, beat)
	takeOne[*messages.HeartbeatAcked](t, m.peer("n2"))
	if s := m.status(); s.CommitIndex != 2 {
		t.Fatalf("commit %d, expected 2", s.CommitIndex)
	}
}

// Clients are sent where the leader is by the newest configuration, and nowhere while that
// is this node and another leads.
func TestMovedLeaderIsAnnounced(t *testing.T) {
	m := newMember(t, 3).begin()
	m.append(2, 1, 1, 1)
	m.forget()
	announced := func(address string) string {
		next := members("n1", "n2", "n3")
		next.Members[1].Address = address
		data, err := encodeConfiguration(&next)
		if err != nil {
			t.Fatal(err)
		}
		last := m.status().LastIndex
		term := uint64(2)
		if last == 1 {
			term = 1
		}
		m.append(2, last, term, 1, blockOf(1, 2, last+1, term, messages.EntryView{Kind: messages.EntryKind_CONFIGURATION, Data: data}))
		m.sync()
		l := take[*LeaderChanged](m.gateway)
		if len(l) == 0 || l[len(l)-1].Leader != "n2" {
			t.Fatalf("announced %v", l)
		}
		return l[len(l)-1].Address
	}
	if at := announced("n2:9"); at != "n2:9" {
		t.Errorf("announced at %s", at)
	}
	if at := announced(selfAddress); at != "" {
		t.Errorf("announced at %s, where this node is", at)
	}
}
