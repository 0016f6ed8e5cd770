package actors

import (
	"fmt"
	"testing"

	"github.com/protoraft/protoraft/messages"
)

// Commands of one sender keep their order when its own node wins: what waited at the
// Gateway comes back first, and what comes directly waits for it.
func TestEarlyOperationsWaitForTheGateway(t *testing.T) {
	m := newMember(t, 3).begin()
	m.advance(2 * electionTimeout)
	m.propose("1")
	m.propose("2")
	parked := takeLetters[*messages.Propose](m.gateway)
	if len(parked) != 2 {
		t.Fatalf("%d went to the Gateway, expected 2", len(parked))
	}
	m.grantPreVotes()
	m.sync()
	for _, id := range m.ids[1:] {
		m.send(m.peer(id), m.pid, &messages.VoteGranted{Group: 1, Term: 2, From: string(id)})
	}
	m.expectRole("leader", 2)
	m.sync()
	m.propose("3")
	for _, l := range parked {
		m.tell(m.pid, &ReturnedOperation{Message: l.message, Asker: l.from})
	}
	m.tell(m.pid, &GatewayCaughtUp{Term: 1}, &GatewayCaughtUp{Term: 2})
	m.propose("4")
	m.sync()
	m.accept("n2")
	m.sync()
	m.accept("n2")
	m.settle()
	if got := fmt.Sprint(m.machine.applied); got != "[3@2 1 4@2 2 5@2 3 6@2 4]" {
		t.Errorf("applied %s, expected 1 2 3 4 in order", got)
	}
}

// A leadership too short for that gives back what it never took, in order.
func TestEarlyOperationsAreHandedBack(t *testing.T) {
	m := newMember(t, 3).begin()
	m.advance(2 * electionTimeout)
	m.grantPreVotes()
	m.sync()
	for _, id := range m.ids[1:] {
		m.send(m.peer(id), m.pid, &messages.VoteGranted{Group: 1, Term: 2, From: string(id)})
	}
	m.expectRole("leader", 2)
	m.propose("1")
	m.propose("2")
	m.append(3, 1, 1, 0)
	m.expectRole("follower", 3)
	back := take[*messages.Propose](m.gateway)
	if len(back) != 2 || string(back[0].Command) != "1" || string(back[1].Command) != "2" {
		t.Errorf("given back %v, expected 1 and 2", back)
	}
}

// An operation meant for the leader of another term is refused: else one that was
// refused in that term could be overtaken by its successor in this.
func TestOperationForAnotherTermIsRefused(t *testing.T) {
	m := lead(t)
	for i, term := range []uint64{1, 3} {
		m.send(m.client, m.pid, &messages.Propose{Group: 1, Request: uint64(10 + i), Command: []byte("x"), LeaderTerm: term})
		m.send(m.client, m.pid, &messages.Query{Group: 1, Request: uint64(20 + i), LeaderTerm: term})
	}
	expectResults(t, m.client, "10 NOT_APPLIED NOT_LEADER", "20 NOT_APPLIED NOT_LEADER", "11 NOT_APPLIED NOT_LEADER", "21 NOT_APPLIED NOT_LEADER")
}

// One that leads again in a later term is announced again: what is forwarded to it
// names the term.
func TestSameLeaderOfALaterTermIsAnnounced(t *testing.T) {
	m := newMember(t, 3).begin()
	m.heartbeatOf("n2", 2, 0)
	m.heartbeatOf("n2", 2, 0)
	m.heartbeatOf("n2", 5, 0)
	var terms []uint64
	for _, c := range take[*LeaderChanged](m.gateway) {
		if c.Leader == "n2" {
			terms = append(terms, uint64(c.Term))
		}
	}
	if fmt.Sprint(terms) != "[2 5]" {
		t.Errorf("announced in terms %v, expected 2 and 5", terms)
	}
}
