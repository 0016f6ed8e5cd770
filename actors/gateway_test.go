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

// door is one real Gateway between probes of a member, a client and other nodes.
type door struct {
	*world
	member, client *probe
	pid            *actor.PID
}

const patience = time.Second

func newDoor(t *testing.T, opts GatewayOptions) *door {
	w := newWorld(t)
	d := &door{world: w, member: w.probe("member"), client: w.probe("client")}
	if opts.RequestTimeout == 0 {
		opts.RequestTimeout = patience
	}
	if opts.Waiting == 0 {
		opts.Waiting, opts.WaitingBytes = 100, 16<<20
	}
	d.pid = w.spawn(GatewayProps(w.rt, opts), GatewayName)
	if len(opts.Servers) == 0 {
		d.tell(d.pid, &LeaderChanged{Group: 1}, &MemberStarted{Group: 1, PID: d.member.pid})
	}
	return d
}

func (d *door) leader(term uint64, id core.NodeID) {
	d.t.Helper()
	c := &LeaderChanged{Group: 1, Term: core.Term(term), Leader: id}
	if id != "" {
		c.Address = string(id) + ":1"
	}
	d.tell(d.pid, c)
}

func (d *door) propose(requests ...uint64) {
	d.t.Helper()
	for _, r := range requests {
		d.post(d.client, d.pid, &messages.Propose{Group: 1, Request: r, Command: fmt.Append(nil, r), Session: 3, Sequence: r})
	}
	d.settle()
}

func (d *door) query(request uint64) {
	d.t.Helper()
	d.send(d.client, d.pid, &messages.Query{Group: 1, Request: request, Query: fmt.Append(nil, request)})
}

// forwarded takes what was forwarded to a node: the ids to answer by what the
// client asked.
func (d *door) forwarded(id core.NodeID) (ids map[string]uint64, order []string) {
	ids = map[string]uint64{}
	for _, m := range take[*messages.ForwardRequests](d.at(string(id)+":1", GatewayName)) {
		for _, r := range m.Requests {
			what, at := string(r.GetPropose().GetCommand()), r.GetPropose().GetRequest()
			if q := r.GetQuery(); q != nil {
				what, at = "q"+string(q.Query), q.Request
			}
			ids[what] = at
			order = append(order, what)
		}
	}
	return ids, order
}

func (d *door) expectForwarded(id core.NodeID, want ...string) map[string]uint64 {
	d.t.Helper()
	ids, order := d.forwarded(id)
	if !slices.Equal(order, want) {
		d.t.Fatalf("forwarded to %s: %q, expected %q", id, order, want)
	}
	return ids
}

func (d *door) answer(id uint64, outcome messages.Outcome, reason messages.Reason) {
	d.t.Helper()
	d.tell(d.pid, &messages.Results{Items: []messages.ResultItem{{Request: id, Outcome: outcome, Reason: reason}}})
}

func TestGatewayParksUntilThereIsALeader(t *testing.T) {
	d := newDoor(t, GatewayOptions{})
	d.propose(1, 2)
	d.query(3)
	d.expectForwarded("n2")
	d.leader(2, "n2")
	ids := d.expectForwarded("n2", "1", "2", "q3")
	d.propose(4)
	ids["4"] = d.expectForwarded("n2", "4")["4"]
	d.answer(ids["2"], messages.Outcome_APPLIED, 0)
	d.answer(ids["1"], messages.Outcome_NOT_APPLIED, messages.Reason_BUSY)
	d.answer(ids["1"], messages.Outcome_APPLIED, 0) // answered before
	d.answer(ids["q3"], messages.Outcome_APPLIED, 0)
	d.answer(99999, messages.Outcome_APPLIED, 0)
	expectResults(t, d.client, "1 NOT_APPLIED BUSY", "2 APPLIED", "3 APPLIED")
}

// When the member here leads, it gets the operation as the client sent it and
// answers by itself.
func TestGatewayGivesToTheMemberAtHand(t *testing.T) {
	d := newDoor(t, GatewayOptions{})
	d.propose(1)
	d.leader(2, "n1")
	d.propose(2)
	got := take[*ReturnedOperation](d.member)
	if len(got) != 2 || got[0].Message.(*messages.Propose).Request != 1 || !got[1].Asker.Equal(d.client.pid) {
		t.Fatalf("the member received %v", got)
	}
	d.advance(10 * patience)
	expectResults(t, d.client) // no longer the Gateway's to answer
	if n := d.clock.pending(); n != 0 {
		t.Fatalf("%d timers while nothing waits", n)
	}
}

// One that the node asked does not lead is tried again: it was surely not applied.
func TestGatewayTriesAgainWhatWasNotApplied(t *testing.T) {
	d := newDoor(t, GatewayOptions{})
	d.leader(2, "n2")
	d.propose(1)
	id := d.expectForwarded("n2", "1")["1"]
	d.answer(id, messages.Outcome_NOT_APPLIED, messages.Reason_NOT_LEADER)
	expectResults(t, d.client)
	d.expectForwarded("n2")
	d.advance(sweepInterval)
	id = d.expectForwarded("n2", "1")["1"]
	d.answer(id, messages.Outcome_NOT_APPLIED, messages.Reason_LEADERSHIP_LOST)
	d.leader(3, "n3")
	id = d.expectForwarded("n3", "1")["1"]
	d.answer(id, messages.Outcome_APPLIED, 0)
	d.expectForwarded("n2")
	expectResults(t, d.client, "1 APPLIED")
}

// What was with a leader that is no more: a command may have been applied, nobody
// can tell; a query has changed nothing and is asked again.
func TestGatewayGuessesNothingWhenTheLeaderChanges(t *testing.T) {
	d := newDoor(t, GatewayOptions{})
	d.leader(2, "n2")
	d.propose(1)
	d.query(2)
	ids := d.expectForwarded("n2", "1", "q2")
	d.leader(1, "n9") // an older term
	d.leader(2, "")
	d.expectForwarded("n9")
	expectResults(t, d.client)
	d.propose(3)
	d.leader(4, "n3")
	expectResults(t, d.client, "1 UNKNOWN LEADERSHIP_LOST")
	_, order := d.forwarded("n3")
	slices.Sort(order)
	if !slices.Equal(order, []string{"3", "q2"}) {
		t.Fatalf("forwarded %q", order)
	}
	d.answer(ids["1"], messages.Outcome_APPLIED, 0) // too late
	expectResults(t, d.client)
}

func TestGatewayDeadlines(t *testing.T) {
	d := newDoor(t, GatewayOptions{})
	d.propose(1) // parked to the end
	d.advance(patience / 2)
	expectResults(t, d.client)
	d.leader(2, "n2")
	d.forwarded("n2")
	d.propose(2) // with a leader that never answers
	d.query(3)
	d.leader(2, "")
	d.propose(4) // parked
	d.advance(2 * patience)
	expectResults(t, d.client, "1 UNKNOWN TIMED_OUT", "2 UNKNOWN TIMED_OUT", "3 NOT_APPLIED TIMED_OUT", "4 NOT_APPLIED NO_LEADER")
	if n := d.clock.pending(); n != 0 {
		t.Fatalf("%d timers while nothing waits", n)
	}
	d.leader(3, "n3")
	d.expectForwarded("n3")
}

func TestGatewayBoundsWhatWaits(t *testing.T) {
	d := newDoor(t, GatewayOptions{Waiting: 2, WaitingBytes: 1 << 20})
	d.propose(1, 2, 3)
	expectResults(t, d.client, "3 NOT_APPLIED BUSY")
	d.leader(2, "n2")
	ids, _ := d.forwarded("n2")
	d.propose(4)
	expectResults(t, d.client, "4 NOT_APPLIED BUSY")
	d.answer(ids["1"], messages.Outcome_APPLIED, 0)
	d.propose(5)
	d.expectForwarded("n2", "5")
	expectResults(t, d.client, "1 APPLIED")
}

func TestGatewayBoundsTheBytesThatWait(t *testing.T) {
	d := newDoor(t, GatewayOptions{Waiting: 100, WaitingBytes: 3000})
	large := func(request uint64) {
		d.send(d.client, d.pid, &messages.Propose{Group: 1, Request: request, Command: make([]byte, 1000)})
	}
	large(1)
	large(2)
	large(3)
	expectResults(t, d.client, "3 NOT_APPLIED BUSY")
	d.advance(2 * patience)
	expectResults(t, d.client, "1 NOT_APPLIED NO_LEADER", "2 NOT_APPLIED NO_LEADER")
	large(4)
	large(5)
	expectResults(t, d.client) // there is room again
}

// What a leader has refused is tried at the next sweep, not at every new operation.
func TestRefusedOperationsWaitForTheSweep(t *testing.T) {
	d := newDoor(t, GatewayOptions{})
	d.leader(2, "n2")
	d.propose(1)
	d.answer(d.expectForwarded("n2", "1")["1"], messages.Outcome_NOT_APPLIED, messages.Reason_NOT_LEADER)
	d.propose(2)
	d.propose(3)
	d.expectForwarded("n2")
	d.advance(sweepInterval)
	d.expectForwarded("n2", "1", "2", "3")
}

// Operations that nobody could take in time leave nothing behind.
func TestExpiredOperationsLeaveNothingParked(t *testing.T) {
	var g *gateway
	d := newDoor(t, GatewayOptions{})
	props := d.rt.props(0, func() behavior {
		g = &gateway{opts: GatewayOptions{RequestTimeout: patience, Waiting: 10, WaitingBytes: 1 << 20}, rt: d.rt, logger: d.rt.Logger,
			routes: map[uint64]*route{}, waiting: map[uint64]*operation{}, outgoing: map[string]*messages.ForwardRequests{}}
		return g
	})
	d.pid = d.spawn(props, "bare gateway")
	d.leader(1, "")
	for i := range uint64(50) {
		d.propose(i)
		d.advance(patience + 2*sweepInterval)
	}
	if n := len(g.routes[1].parked); n > 10 {
		t.Fatalf("%d places are kept for operations that were answered", n)
	}
	if len(results(d.client)) != 50 {
		t.Fatal("not every operation was answered")
	}
}

// An answer to an operation of an earlier process at this address is not given to
// whoever asked something else since.
func TestAnswersToAnEarlierProcessMatchNothing(t *testing.T) {
	d := newDoor(t, GatewayOptions{})
	d.leader(2, "n2")
	d.propose(1)
	before := d.expectForwarded("n2", "1")["1"]
	d.tell(d.pid, &actor.PoisonPill{})
	expectResults(t, d.client, "1 UNKNOWN STOPPED")
	d.pid = d.spawn(GatewayProps(d.rt, GatewayOptions{RequestTimeout: patience, Waiting: 10, WaitingBytes: 1 << 20}), GatewayName)
	d.leader(2, "n2")
	d.propose(2)
	d.answer(before, messages.Outcome_APPLIED, 0)
	expectResults(t, d.client)
	d.answer(d.expectForwarded("n2", "2")["2"], messages.Outcome_APPLIED, 0)
	expectResults(t, d.client, "2 APPLIED")
}

// Operations of another node go to the member here and no further.
func TestGatewayForwardsNothingTwice(t *testing.T) {
	d := newDoor(t, GatewayOptions{})
	d.leader(2, "n3")
	other := d.at("n2:1", GatewayName)
	d.send(other, d.pid, &messages.ForwardRequests{Requests: []*messages.ForwardedRequest{
		{Request: &messages.ForwardedRequest_Propose{Propose: &messages.Propose{Group: 1, Request: 7, Command: []byte("a")}}},
		{Request: &messages.ForwardedRequest_Query{Query: &messages.Query{Group: 1, Request: 8}}},
		{Request: &messages.ForwardedRequest_Propose{Propose: &messages.Propose{Group: 5, Request: 9}}},
		{Request: &messages.ForwardedRequest_Propose{}}, {}, nil,
	}[:5]})
	d.expectForwarded("n3")
	got := takeLetters[*Operations](d.member)
	if len(got) != 1 || !got[0].from.Equal(other.pid) {
		t.Fatalf("the member received %v", got)
	}
	items := got[0].message.(*Operations).Items
	if len(items) != 2 || items[0].(*messages.Propose).Request != 7 || items[1].(*messages.Query).Request != 8 {
		t.Fatalf("the member received %v", items)
	}
	if got := results(other); len(got) < 1 || got[0].Request != 9 || got[0].Reason != messages.Reason_NO_GROUP {
		t.Fatalf("answers %v", got)
	}
	d.tell(d.pid, &messages.ForwardRequests{}) // from nobody
}

func TestGatewayKnowsNoOtherGroups(t *testing.T) {
	d := newDoor(t, GatewayOptions{})
	d.send(d.client, d.pid, &messages.Propose{Group: 9, Request: 1})
	expectResults(t, d.client, "1 NOT_APPLIED NO_GROUP")
}

// A process without members asks the servers who leads.
func TestGatewayWithoutMembersAsksWhoLeads(t *testing.T) {
	d := newDoor(t, GatewayOptions{Servers: []string{"n2:1", "n3:1"}})
	d.propose(1)
	for _, id := range []string{"n2:1", "n3:1"} {
		takeOne[*messages.FindLeader](t, d.at(id, GatewayName))
	}
	d.send(d.at("n2:1", GatewayName), d.pid, &messages.LeaderFound{Group: 1, Term: 4, Leader: "n3", Address: "n3:1"})
	d.send(d.at("n2:1", GatewayName), d.pid, &messages.LeaderFound{Group: 1, Term: 2, Leader: "n2", Address: "n2:1"})
	id := d.expectForwarded("n3", "1")["1"]
	d.answer(id, messages.Outcome_NOT_APPLIED, messages.Reason_NOT_LEADER)
	d.advance(findInterval + sweepInterval)
	if len(take[*messages.FindLeader](d.at("n2:1", GatewayName))) == 0 {
		t.Fatal("a leader that is none is believed in for ever")
	}
}

func TestGatewayTellsWhoLeads(t *testing.T) {
	d := newDoor(t, GatewayOptions{})
	d.leader(4, "n2")
	asker := d.at("n9:1", GatewayName)
	d.send(asker, d.pid, &messages.FindLeader{Group: 1})
	if f := takeOne[*messages.LeaderFound](t, asker); f.Leader != "n2" || f.Term != 4 || f.Address != "n2:1" {
		t.Fatalf("%v", f)
	}
	d.tell(d.pid, &messages.FindLeader{Group: 1}) // from nobody
}

// A Gateway that stops or crashes answers whoever waits with what is surely true.
func TestGatewayThatEndsAnswersWhoWaits(t *testing.T) {
	for how, end := range map[string]func(d *door){
		"stop":  func(d *door) { d.system.Root.Stop(d.pid) },
		"crash": func(d *door) { d.system.Root.Send(d.pid, (*LeaderChanged)(nil)) },
	} {
		t.Run(how, func(t *testing.T) {
			d := newDoor(t, GatewayOptions{})
			d.leader(2, "n2")
			d.propose(1)
			d.query(2)
			d.leader(2, "")
			d.propose(3)
			end(d)
			d.settle()
			expectResults(t, d.client, "1 UNKNOWN STOPPED", "2 NOT_APPLIED STOPPED", "3 NOT_APPLIED STOPPED")
			d.advance(10 * patience)
			expectResults(t, d.client)
		})
	}
}

// What a turn forwards to one node is one message, in order, until it is large.
func TestForwardedMessagesAreBounded(t *testing.T) {
	d := newDoor(t, GatewayOptions{})
	d.leader(2, "n2")
	for i := range uint64(5) {
		d.post(d.client, d.pid, &messages.Propose{Group: 1, Request: i, Command: make([]byte, 400<<10)})
	}
	d.settle()
	n := 0
	for _, m := range take[*messages.ForwardRequests](d.at("n2:1", GatewayName)) {
		size := 0
		for _, r := range m.Requests {
			size += len(r.GetPropose().GetCommand())
			n++
		}
		if size > 1<<20 {
			t.Fatalf("one message of %d bytes", size)
		}
	}
	if n != 5 {
		t.Fatalf("%d operations forwarded, expected 5", n)
	}
}
