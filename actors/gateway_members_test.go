package actors

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/messages"
)

// Operations on members are forwarded as they were asked, under a number of the
// Gateway's, to the leader of one term; the answer finds its asker.
func TestOperationsOnMembersAreForwarded(t *testing.T) {
	d := newDoor(t, GatewayOptions{})
	d.leader(2, "n2")
	change := &messages.ChangeMembers{
		Group: 1, Request: 7, ExpectedIndex: 3, Add: newMembers("n4"), Remove: []string{"n1"}, Promote: []string{"n5"}, Demote: []string{"n6"},
		Move: newMembers("n7"),
	}
	d.send(d.client, d.pid, change)
	d.send(d.client, d.pid, &messages.AbortChange{Group: 1, Request: 8})
	d.send(d.client, d.pid, &messages.ListMembers{Group: 1, Request: 9})
	remote := d.at("n2:1", GatewayName)
	var requests []uint64
	for _, f := range take[*messages.ForwardRequests](remote) {
		for _, r := range f.Requests {
			group, request, message := forwardedMembers(r)
			if got, ok := message.(*messages.ChangeMembers); ok {
				want := proto.Clone(change).(*messages.ChangeMembers)
				want.Request, want.LeaderTerm = request, 2
				if !proto.Equal(got, want) {
					t.Errorf("forwarded %v, expected %v", got, want)
				}
			}
			if group != 1 {
				t.Errorf("group %d of %v", group, r)
			}
			requests = append(requests, request)
		}
	}
	if len(requests) != 3 {
		t.Fatalf("forwarded %v, expected three", requests)
	}
	d.send(remote, d.pid, &messages.Results{Items: []messages.ResultItem{
		{Request: requests[1], Outcome: messages.Outcome_NOT_APPLIED, Reason: messages.Reason_MEMBERS_KEPT},
	}})
	expectResults(t, d.client, "8 NOT_APPLIED MEMBERS_KEPT")
	d.leader(3, "n3") // the change may be going on; the list may be asked for again
	expectResults(t, d.client, "7 UNKNOWN LEADERSHIP_LOST")
	if f := takeOne[*messages.ForwardRequests](t, d.at("n3:1", GatewayName)); len(f.Requests) != 1 || f.Requests[0].GetListMembers() == nil {
		t.Fatalf("forwarded %v, expected the list of members", f)
	}
}

// Another node's operations on members go to the member here.
func TestForwardedOperationsOnMembersReachTheMember(t *testing.T) {
	d := newDoor(t, GatewayOptions{})
	f := &messages.ForwardedRequest{}
	forwardMembers(f, &messages.ChangeMembers{Group: 1, Remove: []string{"n1"}}, 5, 2)
	d.send(d.at("n2:1", GatewayName), d.pid, &messages.ForwardRequests{Requests: []*messages.ForwardedRequest{f, {}}})
	if c := takeOne[*messages.ChangeMembers](t, d.member); c.Request != 5 || c.LeaderTerm != 2 || !slices.Equal(c.Remove, []string{"n1"}) {
		t.Fatalf("%v", c)
	}
}

// A process without members comes to know those that it was not told of: it asks them
// too, and may send to them. A leader without an address is none.
func TestNewMembersAreDiscovered(t *testing.T) {
	var found []string
	d := newDoor(t, GatewayOptions{Servers: []string{"n2:1"}, Found: func(id core.NodeID, address string) {
		found = append(found, string(id)+" "+address)
	}})
	d.propose(1)
	takeOne[*messages.FindLeader](t, d.at("n2:1", GatewayName))
	d.send(d.at("n2:1", GatewayName), d.pid, &messages.LeaderFound{Group: 1, Term: 2, Members: newMembers("n2", "n4")})
	if !slices.Equal(found, []string{"n2 n2:1", "n4 n4:1"}) {
		t.Fatalf("found %v, expected both", found)
	}
	d.advance(findInterval + sweepInterval)
	takeOne[*messages.FindLeader](t, d.at("n4:1", GatewayName))

	home := newDoor(t, GatewayOptions{})
	home.tell(home.pid, &ConfigurationChanged{Group: 1, Index: 3, Everyone: members("n1", "n4").Members},
		&LeaderChanged{Group: 1, Term: 3, Leader: "n9"})
	asker := home.at("c:1", GatewayName)
	home.send(asker, home.pid, &messages.FindLeader{Group: 1})
	if f := takeOne[*messages.LeaderFound](t, asker); f.Leader != "" || f.Term != 3 || len(f.Members) != 2 {
		t.Fatalf("%v, expected two members and no leader: where it is is not known", f)
	}
}

// While it works, a process without a member asks the leader where the members are: all of
// them may move while that one leads.
func TestMembersThatMoveAreFollowed(t *testing.T) {
	found := map[core.NodeID]string{}
	d := newDoor(t, GatewayOptions{Servers: []string{"n2:1"}, Found: func(id core.NodeID, address string) { found[id] = address }})
	leader := d.at("n2:1", GatewayName)
	said := func(places ...*messages.Member) {
		takeOne[*messages.FindLeader](t, leader)
		d.send(leader, d.pid, &messages.LeaderFound{Group: 1, Term: 2, Leader: "n2", Address: "n2:1", Members: places})
	}
	d.propose(1)
	said(newMembers("n2", "n3")...)
	d.advance(sweepInterval)
	take[*messages.FindLeader](leader)
	d.advance(lookInterval + sweepInterval)
	said(&messages.Member{Id: "n2", Address: "n2:1"}, &messages.Member{Id: "n3", Address: "n3:9"}, &messages.Member{Id: "n4", Address: selfAddress})
	if found["n3"] != "n3:9" || found["n4"] != "" {
		t.Fatalf("found %v, expected n3 at its new address, and nobody here", found)
	}
}

// A member that belongs to its group no more hears of no leader: its Gateway asks those
// that do belong. Let back in by a truncation, it hears again.
func TestGatewayOfAFormerMemberAsksTheOthers(t *testing.T) {
	d := newDoor(t, GatewayOptions{})
	d.tell(d.pid, &ConfigurationChanged{Group: 1, Index: 4, Everyone: members("n2", "n3").Members})
	d.propose(1)
	takeOne[*messages.FindLeader](t, d.at("n3:1", GatewayName))
	d.send(d.at("n2:1", GatewayName), d.pid, &messages.LeaderFound{Group: 1, Term: 1, Leader: "n1", Address: selfAddress})
	expectNone[*ReturnedOperation](t, d.member, "it has led, and does no more: it would send it back for ever")
	d.send(d.at("n2:1", GatewayName), d.pid, &messages.LeaderFound{Group: 1, Term: 2, Leader: "n3", Address: "n3:1"})
	d.answer(d.expectForwarded("n3", "1")["1"], messages.Outcome_APPLIED, messages.Reason_NONE)
	expectResults(t, d.client, "1 APPLIED")

	d.tell(d.pid, &ConfigurationChanged{Group: 1, Index: 3, Everyone: members("n1", "n2", "n3").Members})
	d.send(d.at("n2:1", GatewayName), d.pid, &messages.LeaderFound{Group: 1, Term: 9, Leader: "n2", Address: "n2:1"})
	d.propose(2)
	d.expectForwarded("n2")
	d.expectForwarded("n3", "2")
}
