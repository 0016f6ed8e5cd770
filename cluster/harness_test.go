package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/remote"
	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/messages"
)

// patience is how long a test waits for what should come at once.
const patience = 20 * time.Second

// host is one process of a test: a system, its remote, and an actor "raft-1"
// whose messages come out of got.
type host struct {
	system *actor.ActorSystem
	remote *remoteEndpoint
	got    chan any
}

var remotes atomic.Int32

// onlyRemote skips a test that needs a second remote in this process where the
// race detector watches: remote.Start replaces gRPC's process-wide logger without
// synchronisation, while the first remote's connections log.
func onlyRemote(t testing.TB) {
	t.Helper()
	if remotes.Add(1) > 1 && raceDetector && os.Getenv("PROTORAFT_RACE_REMOTES") == "" {
		t.Skip("remote.Start races with gRPC's logging where a process has two remotes")
	}
}

// addressesGiven: no two of one run's tests get the same.
var addressesGiven sync.Map

func freeAddress(t testing.TB) string {
	t.Helper()
	for range 1000 {
		// Below the ports the kernel gives away: one that is closed for a while, as its
		// node is down, must not be somebody's connection when it comes back.
		address := fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12000))
		if _, given := addressesGiven.LoadOrStore(address, true); given {
			continue
		}
		if l, err := net.Listen("tcp", address); err == nil {
			defer l.Close()
			return address
		}
	}
	t.Fatal("no free port")
	return ""
}

func freeMembers(t testing.TB, ids ...string) map[string]string {
	members := map[string]string{}
	for _, id := range ids {
		members[id] = freeAddress(t)
	}
	return members
}

func testLogger(t testing.TB) hclog.Logger {
	if testing.Verbose() {
		return hclog.New(&hclog.LoggerOptions{Name: t.Name(), Level: hclog.Debug})
	}
	return hclog.NewNullLogger()
}

func startHost(t testing.TB, id string, members map[string]string, change ...func(*remoteOptions)) *host {
	t.Helper()
	onlyRemote(t)
	o := remoteOptions{Listen: "127.0.0.1:0", ClusterID: "c1", NodeID: id, Members: members, Logger: testLogger(t).Named(id)}
	if a, ok := members[id]; ok {
		o.Listen = a
	}
	for _, f := range change {
		f(&o)
	}
	h := &host{system: NewSystem(o.Logger), got: make(chan any, 1024)}
	e, err := startRemote(h.system, o)
	if err != nil {
		t.Fatal(err)
	}
	h.remote = e
	t.Cleanup(func() {
		if err := e.Stop(false); err != nil {
			t.Error(err)
		}
	})
	h.spawn(t, "raft-1", raftTraffic)
	return h
}

func (h *host) spawn(t testing.TB, name string, c class) *actor.PID {
	t.Helper()
	pid, err := h.system.Root.SpawnNamed(actor.PropsFromFunc(func(ctx actor.Context) {
		switch m := ctx.Message().(type) {
		case *actor.Started:
		case *actor.Stopping, *actor.Stopped, proto.Message, *messages.Results:
			h.got <- m
		}
	}), name)
	if err != nil {
		t.Fatal(err)
	}
	h.remote.guard.allowTarget(name, c)
	h.remote.guard.allowPrefix(name+"/", c)
	return pid
}

// tell sends a heartbeat of that round to raft-1 at the other host.
func (h *host) tell(to *host, round uint64) {
	h.system.Root.Send(actor.NewPID(to.remote.address, "raft-1"), &messages.Heartbeat{Group: 1, Round: round})
}

func (h *host) next(t testing.TB) any {
	t.Helper()
	select {
	case m := <-h.got:
		return m
	case <-time.After(patience):
		t.Fatal("no message came")
		return nil
	}
}

// expectRound fails unless the next message is the heartbeat of that round: that
// nothing else came before it is the point.
func (h *host) expectRound(t testing.TB, round uint64) {
	t.Helper()
	m := h.next(t)
	if hb, ok := m.(*messages.Heartbeat); !ok || hb.Round != round {
		t.Fatalf("got %T %v, expected the heartbeat of round %d", m, m, round)
	}
}

// talk sends a heartbeat until it comes through, and returns how long that took.
// A message to a peer that is gone is lost, as the remote promises no more.
func (h *host) talk(t testing.TB, to *host, round uint64) time.Duration {
	t.Helper()
	start := time.Now()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		h.tell(to, round)
		select {
		case m := <-to.got:
			if hb, ok := m.(*messages.Heartbeat); ok && hb.Round == round {
				return time.Since(start)
			}
		case <-tick.C:
		}
		if time.Since(start) > patience {
			t.Fatalf("round %d did not come through within %v", round, patience)
		}
	}
}

// checkLeaks fails the test when goroutines are left at its end, after all other
// cleanups.
func checkLeaks(t testing.TB) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		goleak.VerifyNone(t, before,
			// Counts dead letters for a second, then ends.
			goleak.IgnoreAnyFunction("github.com/asynkron/protoactor-go/actor.NewDeadLetter.NewThrottle.func4.1"))
	})
}

// intruder is a raw client of a remote port.
type intruder struct {
	t      testing.TB
	conn   *grpc.ClientConn
	api    remote.RemotingClient
	stream remote.Remoting_ReceiveClient
	says   map[string]string // identity, by metadata key
}

func newIntruder(t testing.TB, target string, says map[string]string) *intruder {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:"+target, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	in := &intruder{t: t, conn: conn, api: remote.NewRemotingClient(conn), says: says}
	md := metadata.MD{}
	for k, v := range says {
		md.Set(k, v)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	if in.stream, err = in.api.Receive(metadata.NewOutgoingContext(ctx, md)); err != nil {
		t.Fatal(err)
	}
	return in
}

// passFor is the identity with which member or client node at address calls to.
func passFor(to *host, node, address string) map[string]string {
	return map[string]string{
		keyVersion: strconv.Itoa(protocolVersion), keyMinimum: strconv.Itoa(protocolMinimum), keyCluster: "c1", keyNode: node, keyAddress: address,
		keyToNode: to.remote.guard.node, keyToAddress: to.remote.address,
	}
}

func (in *intruder) hello() *intruder {
	in.send(helloMessage(in.says[keyAddress]))
	return in
}

// send ignores errors: the refusal is read from the stream.
func (in *intruder) send(m *remote.RemoteMessage) { _ = in.stream.Send(m) }

func (in *intruder) batch(b *remote.MessageBatch) {
	in.send(&remote.RemoteMessage{MessageType: &remote.RemoteMessage_MessageBatch{MessageBatch: b}})
}

// end closes the sending side and returns how the victim ended the stream.
func (in *intruder) end() error {
	_ = in.stream.CloseSend()
	for {
		if _, err := in.stream.Recv(); err != nil {
			return err
		}
	}
}

// letter is a batch of one message.
func letter(t testing.TB, m proto.Message, target, sender *actor.PID) *remote.MessageBatch {
	t.Helper()
	raw, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	e := &remote.MessageEnvelope{MessageData: raw}
	b := &remote.MessageBatch{
		TypeNames: []string{string(proto.MessageName(m))},
		Targets:   []*actor.PID{target},
		Envelopes: []*remote.MessageEnvelope{e},
	}
	if sender != nil {
		b.Senders, e.Sender = []*actor.PID{sender}, 1
	}
	return b
}

func helloMessage(address string) *remote.RemoteMessage {
	return &remote.RemoteMessage{MessageType: &remote.RemoteMessage_ConnectRequest{ConnectRequest: &remote.ConnectRequest{
		ConnectionType: &remote.ConnectRequest_ServerConnection{ServerConnection: &remote.ServerConnection{
			SystemId: "evil", Address: address,
		}},
	}}}
}

// endings gives the address of each link of h that ends from now on.
func endings(h *host) <-chan string {
	ended := make(chan string, 64)
	h.system.EventStream.Subscribe(func(e any) {
		if m, ok := e.(*remote.EndpointTerminatedEvent); ok {
			select {
			case ended <- m.Address:
			default:
			}
		}
	})
	return ended
}
