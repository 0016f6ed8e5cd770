package cluster

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/cluster/link"
	"github.com/protoraft/protoraft/messages"
)

func directly(o *remoteOptions) { o.Silence = 5 * time.Second }

// linkUp sends until a message went by the link.
func (h *host) linkUp(t testing.TB, to *host) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for round := uint64(1 << 32); ; round++ {
		h.tell(to, round)
		to.expectRound(t, round)
		if s := h.remote.direct.Status(); len(s) > 0 && s[0].Sent > 0 {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("no link: %+v", h.remote.direct.Status())
		}
	}
}

func (h *host) sentDirectly(t testing.TB) uint64 {
	t.Helper()
	var n uint64
	for _, s := range h.remote.direct.Status() {
		n += s.Sent
	}
	return n
}

// What a link carries goes by it, the rest by the remote on the same port, and answers
// find their way back.
func TestDirectLinkBesideTheRemote(t *testing.T) {
	checkLeaks(t)
	members := freeMembers(t, "n1", "n2")
	a, b := startHost(t, "n1", members, directly), startHost(t, "n2", members, directly)
	a.linkUp(t, b)

	before := a.sentDirectly(t)
	asker := a.spawn(t, "asker", raftTraffic|answers)
	block := bytes.Repeat([]byte("x"), 100_000)
	a.system.Root.RequestWithCustomSender(actor.NewPID(members["n2"], "raft-1"), &messages.AppendEntries{Group: 1, Block: block}, asker)
	if m, ok := b.next(t).(*messages.AppendEntries); !ok || !bytes.Equal(m.Block, block) {
		t.Fatalf("got %v", m)
	}
	a.system.Root.Send(actor.NewPID(members["n2"], "raft-1"), &messages.SnapshotReceived{Group: 1, Offset: 7})
	if m, ok := b.next(t).(*messages.SnapshotReceived); !ok || m.Offset != 7 {
		t.Fatalf("got %v, expected what links do not carry, by the remote", m)
	}
	if n := a.sentDirectly(t) - before; n != 1 {
		t.Errorf("%d messages went by the link, expected 1", n)
	}
	b.linkUp(t, a)
	b.system.Root.Send(actor.NewPID(members["n1"], "asker"), &messages.Results{Items: []messages.ResultItem{{Request: 3, Data: []byte("d")}}})
	if m, ok := a.next(t).(*messages.Results); !ok || len(m.Items) != 1 || string(m.Items[0].Data) != "d" {
		t.Fatalf("got %v, expected the answer", m)
	}
	for _, h := range []*host{a, b} {
		if s := h.remote.guard.stats(); s != (GuardStats{}) {
			t.Errorf("refused on the way: %+v", s)
		}
	}
}

// The sender that arrives is at the peer's address, whatever was said before: an actor
// can answer.
func TestDirectLinkNamesTheSender(t *testing.T) {
	members := freeMembers(t, "n1", "n2")
	a, b := startHost(t, "n1", members, directly), startHost(t, "n2", members, directly)
	a.linkUp(t, b)
	asker := a.spawn(t, "asker", raftTraffic)
	echo, err := b.system.Root.SpawnNamed(actor.PropsFromFunc(func(ctx actor.Context) {
		if m, ok := ctx.Message().(*messages.Heartbeat); ok {
			ctx.Respond(&messages.HeartbeatAcked{Round: m.Round})
		}
	}), "echo")
	if err != nil {
		t.Fatal(err)
	}
	b.remote.guard.allowTarget("echo", raftTraffic)
	a.system.Root.RequestWithCustomSender(echo, &messages.Heartbeat{Round: 5}, asker)
	if m, ok := a.next(t).(*messages.HeartbeatAcked); !ok || m.Round != 5 {
		t.Fatalf("got %v, expected the echo", m)
	}
}

// A node without links and one with them understand each other by the remote.
func TestDirectLinkToWhoHasNone(t *testing.T) {
	checkLeaks(t)
	members := freeMembers(t, "n1", "n2")
	a, b := startHost(t, "n1", members, directly), startHost(t, "n2", members)
	a.talk(t, b, 1)
	b.talk(t, a, 2)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(patience); ; {
		if s := a.remote.direct.Status(); len(s) == 1 && strings.Contains(s[0].Why, link.ErrNotSpoken.Error()) {
			break
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("status %+v, expected that the peer speaks no link", a.remote.direct.Status())
		}
	}
	a.talk(t, b, 3)
	if a.sentDirectly(t) != 0 {
		t.Error("something went by a link")
	}
}

// Clients come and go: no link is tried to any of them.
func TestNoDirectLinkToClients(t *testing.T) {
	members := freeMembers(t, "n1")
	a := startHost(t, "n1", members, directly)
	gateway := a.spawn(t, "gateway", requests|answers)
	client := startHost(t, "tool", members)
	asker := client.spawn(t, "asker", answers)
	client.system.Root.RequestWithCustomSender(gateway, &messages.ForwardRequests{}, asker)
	a.next(t)
	for range 2 {
		a.system.Root.Send(asker, &messages.Results{Items: []messages.ResultItem{{Request: 5}}})
		if m, ok := client.next(t).(*messages.Results); !ok || m.Items[0].Request != 5 {
			t.Fatalf("client got %v, expected the answer", m)
		}
	}
	if s := a.remote.direct.Status(); len(s) != 0 {
		t.Errorf("links to %+v, expected none", s)
	}
}

// linkCaller speaks the link's bytes by hand.
type linkCaller struct {
	net.Conn
	t testing.TB
}

func callLink(t testing.TB, victim *host) *linkCaller {
	t.Helper()
	conn, err := net.Dial("tcp", victim.remote.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &linkCaller{conn, t}
}

func linkFrame(kind byte, target, sender string, body []byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(target)+len(sender)+len(body)))
	b = append(b, kind, 0)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(target)))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(sender)))
	b = append(b, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(body)))
	return append(append(append(b, target...), sender...), body...)
}

func linkHello(h link.Hello) []byte {
	b := binary.LittleEndian.AppendUint16(nil, uint16(h.Version))
	b = binary.LittleEndian.AppendUint16(b, uint16(h.Minimum))
	b = binary.LittleEndian.AppendUint32(b, 1000)
	for _, s := range []string{h.Cluster, h.Node, h.Address, h.ToNode, h.ToAddress} {
		b = append(binary.LittleEndian.AppendUint16(b, uint16(len(s))), s...)
	}
	return append([]byte(link.Magic), linkFrame(1, "", "", b)...)
}

// end reads until the victim hangs up, and returns the text of its refusal.
func (c *linkCaller) end() string {
	all, err := io.ReadAll(c)
	if err != nil && !strings.Contains(err.Error(), "reset") {
		c.t.Errorf("%v, expected the victim to hang up", err)
	}
	return string(all)
}

type linkAttack struct {
	name    string
	as      func(h *link.Hello)
	send    []byte // after the hello
	why     string // in the refusal; empty: it is dropped and the link goes on
	counted func(GuardStats) uint64
}

func linkMessage(kind byte, target string, m proto.Message) []byte {
	b, err := proto.Marshal(m)
	if err != nil {
		panic(err) // of the test itself
	}
	return linkFrame(kind, target, "raft-1/x", b)
}

const (
	kindOfHeartbeat = 19
	kindOfResults   = 30
)

var linkAttacks = []linkAttack{
	// Who calls.
	{name: "no identity", as: func(h *link.Hello) { h.Node, h.Address = "", "" }, why: "no identity", counted: byIdentity},
	{name: "newer protocol", as: func(h *link.Hello) { h.Version, h.Minimum = 9, 8 }, why: "newer protocol", counted: byProtocol},
	{name: "older protocol", as: func(h *link.Hello) { h.Version = 0 }, why: "older protocol", counted: byProtocol},
	{name: "wrong cluster", as: func(h *link.Hello) { h.Cluster = "c2" }, why: "wrong cluster", counted: byIdentity},
	{name: "address reused by another node", as: func(h *link.Hello) { h.ToNode = "n9" }, why: "wrong node", counted: byIdentity},
	{name: "alias of the address", as: func(h *link.Hello) { h.ToAddress = "localhost:1" }, why: "wrong address", counted: byIdentity},
	{name: "member at another address", as: func(h *link.Hello) { h.Address = "127.0.0.1:9" }, why: "wrong address", counted: byIdentity},
	{name: "unknown member at a member's address", as: func(h *link.Hello) { h.Node = "n9" }, why: "unknown member", counted: byIdentity},
	{name: "the victim itself", as: func(h *link.Hello) { h.Node, h.Address = h.ToNode, h.ToAddress }, why: "which is this node", counted: byIdentity},
	{name: "a client", as: func(h *link.Hello) { h.Node, h.Address = "tool-7", "127.0.0.1:9" }, why: "only members have direct links", counted: byIdentity},
	{name: "client beyond loopback", as: func(h *link.Hello) { h.Node, h.Address = "tool-7", "10.0.0.9:1" }, why: "must be on loopback", counted: byIdentity},

	// What it sends.
	{name: "unknown kind", send: linkFrame(200, "raft-1", "", nil), why: "which is no message", counted: byPayload},
	{name: "second hello", send: linkFrame(1, "", "", nil), why: "which is no message", counted: byPayload},
	{name: "undecodable payload", send: linkFrame(kindOfHeartbeat, "raft-1", "", []byte{0xff, 0xff}), why: "does not decode", counted: byPayload},
	{name: "deep nesting", send: linkFrame(kindOfHeartbeat, "raft-1", "", nested(200_000)), why: "does not decode", counted: byPayload},
	{name: "oversized frame", send: append(binary.LittleEndian.AppendUint32(nil, link.MessageBytesMax+1), make([]byte, 12)...), why: "at most", counted: byPayload},
	{name: "length of 2^32-1", send: bytes.Repeat([]byte{0xff}, 16), why: "bad frame", counted: byPayload},
	{name: "target too long", send: linkMessage(kindOfHeartbeat, strings.Repeat("x", idBytesMax+1), heartbeat()), why: "ids of", counted: byPayload},
	{name: "answers to a raft member", send: linkMessage(kindOfResults, "raft-1", &messages.ResultsFrame{}), why: "may not be sent to", counted: byTarget},
	{name: "raft traffic to the gateway", send: linkMessage(kindOfHeartbeat, "gateway", heartbeat()), why: "may not be sent to", counted: byTarget},
	{name: "guardian", send: linkMessage(kindOfHeartbeat, "guardian$1", heartbeat()), counted: byUnrouted},
	{name: "event stream", send: linkMessage(kindOfHeartbeat, "eventstream", heartbeat()), counted: byUnrouted},
	{name: "activator", send: linkMessage(kindOfHeartbeat, "activator", heartbeat()), counted: byUnrouted},
	{name: "endpoint supervisor", send: linkMessage(kindOfHeartbeat, "EndpointSupervisor", heartbeat()), counted: byUnrouted},
	{name: "prefix without its slash", send: linkMessage(kindOfHeartbeat, "raft-11", heartbeat()), counted: byUnrouted},
	{name: "empty target", send: linkMessage(kindOfHeartbeat, "", heartbeat()), counted: byUnrouted},
}

// Each attack leaves the process alive, the victim's actors untouched, the attack
// counted and named, and a decent peer connected before unharmed.
func TestDirectLinkWithstands(t *testing.T) {
	checkLeaks(t)
	members := freeMembers(t, "n1", "n2", "n3")
	victim, decent := startHost(t, "n1", members, directly), startHost(t, "n2", members, directly)
	victim.spawn(t, "gateway", requests|answers)
	decent.linkUp(t, victim)
	round := uint64(1)
	for _, a := range linkAttacks {
		t.Run(a.name, func(t *testing.T) {
			before := victim.remote.guard.stats()
			hello := link.Hello{
				Version: protocolVersion, Minimum: protocolMinimum, Cluster: "c1", Node: "n3", Address: members["n3"],
				ToNode: "n1", ToAddress: members["n1"],
			}
			if a.as != nil {
				a.as(&hello)
			}
			in := callLink(t, victim)
			_, _ = in.Write(linkHello(hello))
			_, _ = in.Write(a.send)
			if a.why == "" {
				// It goes on: what comes after is heard.
				round++
				_, _ = in.Write(linkMessage(kindOfHeartbeat, "raft-1", &messages.Heartbeat{Group: 1, Round: round}))
				victim.expectRound(t, round)
				in.Close()
			} else if got := in.end(); !strings.Contains(got, a.why) {
				t.Errorf("refused with %q, expected it to say %q", got, a.why)
			}
			after := victim.remote.guard.stats()
			if a.counted(after) != a.counted(before)+1 {
				t.Errorf("counters went from %+v to %+v", before, after)
			}
			round++
			decent.tell(victim, round)
			victim.expectRound(t, round)
		})
	}
	if n := victim.remote.guard.stats().Panics; n != 0 {
		t.Errorf("%d panics were recovered, expected the checks to come first", n)
	}
	if s := decent.remote.direct.Status(); s[0].Links != 1 {
		t.Errorf("the decent peer's link was opened %d times, expected once", s[0].Links)
	}
}

// Who was sent to before its member was there is not forgotten for it: a group may be made
// here after the others have begun to speak to it.
func TestDirectLinkToAMemberThatComesLater(t *testing.T) {
	members := freeMembers(t, "n1", "n2")
	a, b := startHost(t, "n1", members, directly), startHost(t, "n2", members, directly)
	a.linkUp(t, b)
	later := actor.NewPID(members["n2"], "raft-7")
	a.system.Root.Send(later, &messages.Heartbeat{Group: 7, Round: 1})
	a.tell(b, 2)
	b.expectRound(t, 2)
	if n := b.remote.guard.stats().Unrouted; n != 1 {
		t.Fatalf("%d messages unrouted, expected the one to the member that is not there", n)
	}
	member := actor.PropsFromFunc(func(ctx actor.Context) {
		if m, ok := ctx.Message().(*messages.Heartbeat); ok {
			b.got <- m
		}
	}, actor.WithOnInit(func(ctx actor.Context) { b.remote.guard.allowMember(ctx.Self().Id) }))
	if _, err := b.system.Root.SpawnNamed(member, "raft-7"); err != nil {
		t.Fatal(err)
	}
	a.system.Root.Send(later, &messages.Heartbeat{Group: 7, Round: 3})
	b.expectRound(t, 3)
}

// A member that is listed elsewhere from now on is heard where it was until it is heard
// there, by its link as by the remote: a leader that moves leads on meanwhile. Then what is
// left has an old copy of its disk, and its streams end that are open.
func TestWhoIsHeardElsewhereIsHeardNoMore(t *testing.T) {
	for name, change := range map[string][]func(*remoteOptions){"link": {directly}, "remote": nil} {
		t.Run(name, func(t *testing.T) {
			members := freeMembers(t, "n1", "n2")
			a, b := startHost(t, "n1", members, change...), startHost(t, "n2", members, change...)
			if change != nil {
				b.linkUp(t, a)
			} else {
				b.talk(t, a, 1)
			}
			const elsewhere = "127.0.0.1:1"
			a.remote.guard.admit("n2", elsewhere)
			b.talk(t, a, 6)
			if s := b.remote.direct; change != nil && s.Status()[0].Links != 1 {
				t.Errorf("the link was opened %d times, expected once", s.Status()[0].Links)
			}
			if n := a.remote.guard.stats().Identity; n != 0 {
				t.Fatalf("%d refused while it is not heard elsewhere", n)
			}
			a.remote.guard.heardAt("n2", elsewhere)
			b.tell(a, 7)
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for deadline := time.After(patience); a.remote.guard.stats().Identity == 0; {
				select {
				case <-tick.C:
				case <-deadline:
					t.Fatal("it is heard on")
				}
			}
			for len(a.got) > 0 {
				if hb, ok := a.next(t).(*messages.Heartbeat); ok && hb.Round == 7 {
					t.Errorf("%v came through", hb)
				}
			}
		})
	}
}

// What was sent before a graceful stop is read by the peer.
func TestDirectLinkIsFlushed(t *testing.T) {
	members := freeMembers(t, "n1", "n2")
	a, b := startHost(t, "n1", members, directly), startHost(t, "n2", members, directly)
	a.linkUp(t, b)
	const n = 300
	for round := range uint64(n) {
		a.system.Root.Send(actor.NewPID(members["n2"], "raft-1"), &messages.AppendEntries{PrevIndex: round, Block: make([]byte, 5000)})
	}
	if err := a.remote.Stop(true); err != nil {
		t.Fatal(err)
	}
	for round := range uint64(n) {
		if m, ok := b.next(t).(*messages.AppendEntries); !ok || m.PrevIndex != round {
			t.Fatalf("got %v, expected append %d", m, round)
		}
	}
}

// Whoever connects and says nothing does not hold up a node that stops.
func TestStopWithASilentCaller(t *testing.T) {
	checkLeaks(t)
	a := startHost(t, "n1", freeMembers(t, "n1"), directly)
	callLink(t, a)
	callLink(t, a) // accepted after the first, which by now is being waited for
	if err := a.remote.Stop(true); err != nil {
		t.Error(err)
	}
}

// Nodes that differ in whether they have links are one cluster.
func TestNodesWithAndWithoutDirectLinks(t *testing.T) {
	c := newTrio(t)
	c.change = func(i int, o *Options) { o.NoDirectLinks = i == 1 }
	for i := range c.nodes {
		c.start(i, 1)
	}
	for i, n := range c.nodes {
		if sum := add(t, n, 1, 1); sum != int64(i+1) {
			t.Errorf("sum %d after %d", sum, i+1)
		}
	}
	// Followers have nothing to say to each other: let one of the two lead.
	if err := c.nodes[1].TransferLeadership(t.Context(), 1, "n1"); err != nil && !errors.Is(err, ErrLeadershipKept) {
		t.Fatal(err)
	}
	if all := c.nodes[1].Links(); all != nil {
		t.Errorf("a node without links tells of %+v", all)
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(patience); ; {
		var up, sent bool
		for _, l := range append(c.nodes[0].Links(), c.nodes[2].Links()...) {
			if l.Node == "n2" && l.Up {
				t.Fatalf("a link to who has none: %+v", l)
			}
			up, sent = up || l.Up, sent || l.Sent > 0
		}
		if up && sent {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("no link between those that have them: %+v, %+v", c.nodes[0].Links(), c.nodes[2].Links())
		}
	}
}

// BenchmarkRoundTrip is a message to another process's actor and its answer, one at a
// time, both processes being in this one.
func BenchmarkRoundTrip(b *testing.B) {
	for _, c := range []struct {
		name   string
		change func(*remoteOptions)
	}{{"remote", func(*remoteOptions) {}}, {"link", directly}} {
		b.Run(c.name, func(b *testing.B) {
			members := freeMembers(b, "n1", "n2")
			here, there := startHost(b, "n1", members, c.change), startHost(b, "n2", members, c.change)
			echo, err := there.system.Root.SpawnNamed(actor.PropsFromFunc(func(ctx actor.Context) {
				if m, ok := ctx.Message().(*messages.Heartbeat); ok {
					ctx.Respond(&messages.HeartbeatAcked{Round: m.Round})
				}
			}), "echo")
			if err != nil {
				b.Fatal(err)
			}
			there.remote.guard.allowTarget("echo", raftTraffic)
			if here.remote.direct != nil {
				here.linkUp(b, there)
				there.linkUp(b, here)
			}
			asker := actor.NewPID(members["n1"], "raft-1")
			for b.Loop() {
				here.system.Root.RequestWithCustomSender(echo, &messages.Heartbeat{Group: 1, Round: 7}, asker)
				here.next(b)
			}
		})
	}
}
