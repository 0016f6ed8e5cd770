package cluster

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/remote"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/messages"
)

// attack is one thing a stranger who speaks the protocol can do to a node.
type attack struct {
	name string
	// as is the identity it calls with; the default is n3, a member.
	as func(victim *host, pass map[string]string) map[string]string
	do func(t *testing.T, in *intruder, victim *host)
	// why is part of the status that ends its stream; empty when it is dropped
	// without one.
	why     string
	counted func(GuardStats) uint64
}

func asClient(victim *host, _ map[string]string) map[string]string {
	return passFor(victim, "tool-7", "127.0.0.1:9")
}

func changing(key, value string) func(*host, map[string]string) map[string]string {
	return func(_ *host, pass map[string]string) map[string]string {
		pass[key] = value
		return pass
	}
}

func helloOnly(_ *testing.T, in *intruder, _ *host) { in.hello() }

func heartbeat() *messages.Heartbeat { return &messages.Heartbeat{Group: 1, Round: 666} }

// sending is an attack of one batch to raft-1, spoiled by change.
func sending(change func(b *remote.MessageBatch, victim *host)) func(*testing.T, *intruder, *host) {
	return func(t *testing.T, in *intruder, v *host) {
		b := letter(t, heartbeat(), actor.NewPID(v.remote.address, "raft-1"), nil)
		change(b, v)
		in.hello().batch(b)
	}
}

func to(id string) func(b *remote.MessageBatch, victim *host) {
	return func(b *remote.MessageBatch, _ *host) { b.Targets[0].Id = id }
}

func envelope(change func(e *remote.MessageEnvelope)) func(*testing.T, *intruder, *host) {
	return sending(func(b *remote.MessageBatch, _ *host) { change(b.Envelopes[0]) })
}

func typed(name string) func(b *remote.MessageBatch, victim *host) {
	return func(b *remote.MessageBatch, _ *host) { b.TypeNames[0], b.Envelopes[0].MessageData = name, nil }
}

var (
	byUnary    = func(s GuardStats) uint64 { return s.Unary }
	byIdentity = func(s GuardStats) uint64 { return s.Identity }
	byProtocol = func(s GuardStats) uint64 { return s.Protocol }
	byHello    = func(s GuardStats) uint64 { return s.Hello }
	byType     = func(s GuardStats) uint64 { return s.Type }
	byTarget   = func(s GuardStats) uint64 { return s.Target }
	bySender   = func(s GuardStats) uint64 { return s.Sender }
	byEnvelope = func(s GuardStats) uint64 { return s.Envelope }
	bySize     = func(s GuardStats) uint64 { return s.Size }
	byPayload  = func(s GuardStats) uint64 { return s.Payload }
	byUnrouted = func(s GuardStats) uint64 { return s.Unrouted }
)

var attacks = []attack{
	{name: "ListProcesses", why: "", counted: byUnary, do: func(t *testing.T, in *intruder, _ *host) {
		_, err := in.api.ListProcesses(context.Background(), &remote.ListProcessesRequest{})
		if err == nil || !strings.Contains(err.Error(), "ListProcesses is not served") {
			t.Errorf("ListProcesses: %v, expected a refusal", err)
		}
		in.hello()
	}},
	{name: "GetProcessDiagnostics", why: "", counted: byUnary, do: func(t *testing.T, in *intruder, _ *host) {
		_, err := in.api.GetProcessDiagnostics(context.Background(), &remote.GetProcessDiagnosticsRequest{})
		if err == nil || !strings.Contains(err.Error(), "GetProcessDiagnostics is not served") {
			t.Errorf("GetProcessDiagnostics: %v, expected a refusal", err)
		}
		in.hello()
	}},

	// Who calls.
	{name: "no identity", why: "no identity", counted: byIdentity, do: helloOnly,
		as: func(*host, map[string]string) map[string]string { return nil }},
	{name: "garbled version", why: "no identity", counted: byIdentity, do: helloOnly, as: changing(keyVersion, "one")},
	{name: "newer protocol", why: "newer protocol", counted: byProtocol, do: helloOnly,
		as: func(_ *host, pass map[string]string) map[string]string {
			pass[keyVersion], pass[keyMinimum] = "9", "8"
			return pass
		}},
	{name: "older protocol", why: "older protocol", counted: byProtocol, do: helloOnly, as: changing(keyVersion, "0")},
	{name: "wrong cluster", why: "wrong cluster", counted: byIdentity, do: helloOnly, as: changing(keyCluster, "c2")},
	{name: "address reused by another node", why: "wrong node", counted: byIdentity, do: helloOnly, as: changing(keyToNode, "n9")},
	{name: "alias of the address", why: "wrong address", counted: byIdentity, do: helloOnly, as: changing(keyToAddress, "localhost:1")},
	{name: "member at another address", why: "wrong address", counted: byIdentity, do: helloOnly, as: changing(keyAddress, "127.0.0.1:9")},
	{name: "unknown member at a member's address", why: "unknown member", counted: byIdentity, do: helloOnly, as: changing(keyNode, "n9")},
	{name: "the victim itself", why: "which is this node", counted: byIdentity, do: helloOnly,
		as: func(v *host, _ map[string]string) map[string]string { return passFor(v, "n1", v.remote.address) }},
	{name: "client beyond loopback", why: "must be on loopback", counted: byIdentity, do: helloOnly,
		as: func(v *host, _ map[string]string) map[string]string { return passFor(v, "tool", "10.0.0.9:1") }},

	// How it begins.
	{name: "no hello", why: "expected a hello", counted: byHello, do: func(t *testing.T, in *intruder, v *host) {
		in.batch(letter(t, heartbeat(), actor.NewPID(v.remote.address, "raft-1"), nil))
	}},
	{name: "hello of another address", why: "the hello says", counted: byHello, do: func(_ *testing.T, in *intruder, _ *host) {
		in.says = map[string]string{keyAddress: "127.0.0.1:1"}
		in.hello()
	}},
	{name: "empty first message", why: "expected a hello", counted: byHello, do: func(_ *testing.T, in *intruder, _ *host) {
		in.send(&remote.RemoteMessage{})
	}},
	{name: "two hellos", why: "after the hello", counted: byHello, do: func(_ *testing.T, in *intruder, _ *host) {
		in.hello().hello()
	}},
	{name: "empty message after the hello", why: "after the hello", counted: byHello, do: func(_ *testing.T, in *intruder, _ *host) {
		in.hello().send(&remote.RemoteMessage{})
	}},

	// Types.
	{name: "unknown type", why: `message type "no.such.Type"`, counted: byType, do: sending(typed("no.such.Type"))},
	{name: "unlisted type", why: "message type", counted: byType, do: sending(typed("protoraft.PeerAdvanced"))},
	{name: "Stop", why: "message type", counted: byType, do: sending(typed("actor.Stop"))},
	{name: "PoisonPill", why: "message type", counted: byType, do: sending(typed("actor.PoisonPill"))},
	{name: "Watch where it is not allowed", why: "message type", counted: byType, do: sending(typed("actor.Watch"))},
	{name: "spawn by the activator", why: "message type", counted: byType, do: sending(func(b *remote.MessageBatch, v *host) {
		typed("remote.ActorPidRequest")(b, v)
		to("activator")(b, v)
	})},
	{name: "raft traffic from a client", why: "not accepted from client", counted: byType, as: asClient, do: sending(func(*remote.MessageBatch, *host) {})},
	{name: "answers from a client", why: "not accepted from client", counted: byType, as: asClient, do: sending(typed("protoraft.ResultsFrame"))},

	// Targets.
	{name: "guardian", counted: byUnrouted, do: sending(to("guardian$1"))},
	{name: "event stream", counted: byUnrouted, do: sending(to("eventstream"))},
	{name: "activator", counted: byUnrouted, do: sending(to("activator"))},
	{name: "endpoint supervisor", counted: byUnrouted, do: sending(to("EndpointSupervisor"))},
	{name: "prefix without its slash", counted: byUnrouted, do: sending(to("raft-11"))},
	{name: "empty target", counted: byUnrouted, do: sending(to(""))},
	{name: "requests to a raft member", why: "may not be sent to", counted: byTarget, do: sending(typed("protoraft.ForwardRequests"))},
	{name: "requests of a client to a raft member", why: "may not be sent to", counted: byTarget, as: asClient, do: sending(typed("protoraft.ForwardRequests"))},
	{name: "client to a guardian", why: "may not be sent to", counted: byTarget, as: asClient, do: sending(func(b *remote.MessageBatch, v *host) {
		typed("protoraft.ForwardRequests")(b, v)
		to("guardian$1")(b, v)
	})},
	{name: "raft traffic to the gateway", why: "may not be sent to", counted: byTarget, do: sending(to("gateway"))},
	{name: "relay to a third party", why: "takes only its own", counted: byTarget, do: sending(func(b *remote.MessageBatch, _ *host) {
		b.Targets[0].Address = "127.0.0.1:1"
	})},
	{name: "local address", why: "takes only its own", counted: byTarget, do: sending(func(b *remote.MessageBatch, _ *host) {
		b.Targets[0].Address = "nonhost"
	})},

	// Senders.
	{name: "spoofed sender", why: "the stream speaks for", counted: bySender, do: sending(func(b *remote.MessageBatch, _ *host) {
		b.Senders, b.Envelopes[0].Sender = []*actor.PID{actor.NewPID("10.0.0.9:1", "someone")}, 1
	})},
	{name: "victim as sender", why: "the stream speaks for", counted: bySender, do: sending(func(b *remote.MessageBatch, v *host) {
		b.Senders, b.Envelopes[0].Sender = []*actor.PID{actor.NewPID(v.remote.address, "raft-1")}, 1
	})},

	// Envelopes.
	{name: "TypeId above range", why: "message type 9 of 1", counted: byEnvelope, do: envelope(func(e *remote.MessageEnvelope) { e.TypeId = 9 })},
	{name: "TypeId negative", why: "message type -1", counted: byEnvelope, do: envelope(func(e *remote.MessageEnvelope) { e.TypeId = -1 })},
	{name: "Target above range", why: "target 1 of 1", counted: byEnvelope, do: envelope(func(e *remote.MessageEnvelope) { e.Target = 1 })},
	{name: "Target negative", why: "target -2147483648", counted: byEnvelope, do: envelope(func(e *remote.MessageEnvelope) { e.Target = -1 << 31 })},
	{name: "Sender above range", why: "sender 1 of 0", counted: byEnvelope, do: envelope(func(e *remote.MessageEnvelope) { e.Sender = 1 })},
	{name: "Sender negative", why: "sender -1", counted: byEnvelope, do: envelope(func(e *remote.MessageEnvelope) { e.Sender = -1 })},
	{name: "SerializerId 99", why: "serializer 99", counted: byEnvelope, do: envelope(func(e *remote.MessageEnvelope) { e.SerializerId = 99 })},
	{name: "JSON serializer", why: "serializer 1", counted: byEnvelope, do: envelope(func(e *remote.MessageEnvelope) { e.SerializerId = 1 })},
	{name: "request id", why: "request ids", counted: byEnvelope, do: envelope(func(e *remote.MessageEnvelope) { e.TargetRequestId = 7 })},
	{name: "batch of too many", why: "batch of 5000", counted: byEnvelope, do: sending(func(b *remote.MessageBatch, _ *host) {
		for len(b.Envelopes) < 5000 {
			b.Envelopes = append(b.Envelopes, b.Envelopes[0])
		}
	})},
	{name: "many headers", why: "1000 headers", counted: byEnvelope, do: envelope(func(e *remote.MessageEnvelope) {
		e.MessageHeader = &remote.MessageHeader{HeaderData: map[string]string{}}
		for i := range 1000 {
			e.MessageHeader.HeaderData[strings.Repeat("x", i)] = ""
		}
	})},

	// Payloads.
	{name: "undecodable payload", why: "does not decode", counted: byPayload, do: envelope(func(e *remote.MessageEnvelope) { e.MessageData = []byte{0xff, 0xff} })},
	{name: "deep nesting", why: "does not decode", counted: byPayload, do: envelope(func(e *remote.MessageEnvelope) { e.MessageData = nested(200_000) })},
	{name: "oversized frame", why: "larger than max", counted: bySize, do: envelope(func(e *remote.MessageEnvelope) { e.MessageData = make([]byte, frameBytesMax) })},
}

// nested is groups within groups, never closed.
func nested(depth int) []byte {
	return bytes.Repeat(protowire.AppendTag(nil, 1000, protowire.StartGroupType), depth)
}

// Each attack leaves the process alive, the victim's actors untouched, the attack
// counted and named, and a decent peer connected before unharmed.
func TestGuardWithstands(t *testing.T) {
	checkLeaks(t)
	members := freeMembers(t, "n1", "n2", "n3")
	victim, decent := startHost(t, "n1", members), startHost(t, "n2", members)
	victim.spawn(t, "gateway", requests|answers)
	round := uint64(1)
	decent.tell(victim, round)
	victim.expectRound(t, round)

	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			before := victim.remote.guard.stats()
			pass := passFor(victim, "n3", members["n3"])
			if a.as != nil {
				pass = a.as(victim, pass)
			}
			in := newIntruder(t, victim.remote.address, pass)
			a.do(t, in, victim)
			err := in.end()
			if a.why == "" && !errors.Is(err, io.EOF) {
				t.Errorf("stream ended with %v, expected it to be served to its end", err)
			}
			if a.why != "" && !strings.Contains(status.Convert(err).Message(), a.why) {
				t.Errorf("stream ended with %v, expected a status that says %q", err, a.why)
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
	late := startHost(t, "n3", members)
	late.tell(victim, round+1)
	victim.expectRound(t, round+1)
	if n := victim.remote.guard.stats().Panics; n != 0 {
		t.Errorf("%d panics were recovered, expected the checks to come first", n)
	}
}

// What is listed gets through, in both roles.
func TestGuardLetsThrough(t *testing.T) {
	checkLeaks(t)
	members := freeMembers(t, "n1", "n2")
	a := startHost(t, "n1", members)
	gateway := a.spawn(t, "gateway", requests|answers)
	b := startHost(t, "n2", members)
	client := startHost(t, "tool", members)
	asker := client.spawn(t, "asker", answers)

	client.system.Root.RequestWithCustomSender(gateway, &messages.ForwardRequests{
		Requests: []*messages.ForwardedRequest{{Request: &messages.ForwardedRequest_Query{Query: &messages.Query{Request: 5}}}},
	}, asker)
	if m, ok := a.next(t).(*messages.ForwardRequests); !ok || m.Requests[0].GetQuery().GetRequest() != 5 {
		t.Fatalf("gateway got %v, expected the client's request", m)
	}
	a.system.Root.Send(asker, &messages.Results{Items: []messages.ResultItem{{Request: 5, Data: []byte("x")}}})
	if m, ok := client.next(t).(*messages.Results); !ok || m.Items[0].Request != 5 {
		t.Fatalf("client got %v, expected the answer", m)
	}

	b.system.Root.Send(gateway, &messages.ForwardRequests{})
	if _, ok := a.next(t).(*messages.ForwardRequests); !ok {
		t.Fatal("a peer's request did not reach the gateway")
	}
	if s := a.remote.guard.stats(); s != (GuardStats{}) {
		t.Errorf("refused something on the way: %+v", s)
	}
}

// Targets come while streams are open.
func TestGuardFollowsRegistrations(t *testing.T) {
	members := freeMembers(t, "n1", "n2")
	a, b := startHost(t, "n1", members), startHost(t, "n2", members)
	later := actor.NewPID(a.remote.address, "raft-2")
	b.system.Root.Send(later, &messages.Heartbeat{Round: 1})
	b.tell(a, 2)
	a.expectRound(t, 2) // round 1 was before it in the stream
	if n := a.remote.guard.stats().Unrouted; n != 1 {
		t.Errorf("%d messages unrouted, expected the one to the actor not yet listed", n)
	}
	a.spawn(t, "raft-2", raftTraffic)
	b.system.Root.Send(later, &messages.Heartbeat{Round: 3})
	a.expectRound(t, 3)
}

// Bytes that are no HTTP/2, and frames cut short at every byte, harm nobody.
func TestGuardGarbage(t *testing.T) {
	checkLeaks(t)
	members := freeMembers(t, "n1", "n2", "n3")
	victim, decent := startHost(t, "n1", members), startHost(t, "n2", members)
	for _, garbage := range []string{"\x00\x01\x02\xff", "GET / HTTP/1.0\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff"} {
		c, err := net.Dial("tcp", victim.remote.address)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, garbage); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	in := newIntruder(t, victim.remote.address, passFor(victim, "n3", members["n3"]))
	in.hello()
	if err := in.end(); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	hello := frameOf(t, helloMessage(members["n3"]))
	for n := range hello {
		if err := in.raw(t, hello[:n]); errors.Is(err, io.EOF) {
			t.Fatalf("hello cut to %d of %d bytes was accepted", n, len(hello))
		}
	}
	batch := frameOf(t, &remote.RemoteMessage{MessageType: &remote.RemoteMessage_MessageBatch{
		MessageBatch: letter(t, heartbeat(), actor.NewPID(victim.remote.address, "raft-1"), nil),
	}})
	for n := range batch {
		// Some prefixes decode, to a batch without its message.
		_ = in.raw(t, hello, batch[:n])
	}
	decent.tell(victim, 1)
	victim.expectRound(t, 1)
}

// raw opens a stream of its own, sends frames as they are and returns how the
// stream ended.
func (in *intruder) raw(t *testing.T, frames ...[]byte) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	md := metadata.New(in.says)
	desc := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	s, err := in.conn.NewStream(metadata.NewOutgoingContext(ctx, md), desc, "/remote.Remoting/Receive", grpc.ForceCodec(asIs{}))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range frames {
		if err := s.SendMsg(f); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
	}
	_ = s.CloseSend()
	for {
		var answer []byte
		if err := s.RecvMsg(&answer); err != nil {
			return err
		}
	}
}

// asIs is a codec that leaves bytes alone.
type asIs struct{}

func (asIs) Name() string                  { return "proto" }
func (asIs) Marshal(v any) ([]byte, error) { return v.([]byte), nil }
func (asIs) Unmarshal(raw []byte, v any) error {
	*v.(*[]byte) = bytes.Clone(raw)
	return nil
}

func frameOf(t *testing.T, m *remote.RemoteMessage) []byte {
	t.Helper()
	raw, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// A node that a configuration names is a member from then on, at its address; who had
// that address before is none any more. The node itself is never moved.
func TestAdmittedMembers(t *testing.T) {
	g := newGuard(guardOptions{ClusterID: "c1", NodeID: "n1", Address: "a:1", Members: map[string]string{"n1": "a:1", "n2": "b:1"}})
	g.admit("n3", "c:1")
	if !g.reachable("c:1") {
		t.Error("n3 cannot be reached")
	}
	for _, c := range []struct {
		node, address string
		want          callerRole
	}{{"n3", "c:1", peerRole}, {"n2", "b:1", peerRole}} {
		if got, err := g.assignRole(caller{node: c.node, address: c.address}); err != nil || got.role != c.want {
			t.Errorf("%s at %s: %v, %v", c.node, c.address, got, err)
		}
	}
	g.admit("n4", "b:1")
	if r := g.rules.Load(); r.members["n2"] != "" || r.ids["b:1"] != "n4" {
		t.Errorf("members %v, ids %v, expected n4 in the place of n2", r.members, r.ids)
	}
	g.admit("n1", "e:1")
	g.admit("n5", "a:1")
	if r := g.rules.Load(); r.members["n1"] != "a:1" || r.ids["a:1"] != "n1" || r.members["n5"] != "" {
		t.Errorf("members %v: the node itself was moved", r.members)
	}
}
