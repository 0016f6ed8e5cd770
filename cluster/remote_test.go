package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/hashicorp/go-hclog"

	"github.com/protoraft/protoraft/messages"
)

func TestRemoteRefusesBadOptions(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range []struct {
		name   string
		o      remoteOptions
		is     error
		saying string
	}{
		{"port in use", remoteOptions{Listen: taken.Addr().String()}, ErrPortInUse, taken.Addr().String()},
		{"no port", remoteOptions{Listen: "127.0.0.1"}, nil, "expected host:port"},
		{"port above range", remoteOptions{Listen: "127.0.0.1:70000"}, nil, "expected 0 to 65535"},
		{"beyond loopback", remoteOptions{Listen: "0.0.0.0:0"}, ErrInsecure, "--insecure"},
		{"every interface", remoteOptions{Listen: ":0"}, ErrInsecure, "--insecure"},
		{"not this machine's", remoteOptions{Listen: "192.0.2.1:7001", Insecure: true}, nil, "cannot listen on 192.0.2.1:7001"},
		{"advertised unlike listed", remoteOptions{Listen: "127.0.0.1:0", Advertise: "localhost:1", Members: map[string]string{"n1": "127.0.0.1:1"}}, nil, "expected the same string"},
		{"two nodes at one address", remoteOptions{Listen: "127.0.0.1:0", Members: map[string]string{"n2": "127.0.0.1:1", "n3": "127.0.0.1:1"}}, nil, "one node each"},
		{"member without port", remoteOptions{Listen: "127.0.0.1:0", Members: map[string]string{"n2": "host"}}, nil, "expected host:port"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.o.ClusterID, c.o.NodeID = "c1", "n1"
			e, err := startRemote(NewSystem(nil), c.o)
			if err == nil {
				t.Fatal("it started", e.Stop(false))
			}
			if c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.saying) {
				t.Errorf("error %q, expected %v saying %q", err, c.is, c.saying)
			}
		})
	}
}

// A port that is taken between the check and the start is an error as well.
func TestRemotePortLostAtTheLastMoment(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	g := newGuard(guardOptions{ClusterID: "c1", NodeID: "n1", Address: "a:1"})
	e := &remoteEndpoint{address: "a:1", guard: g, system: NewSystem(nil), links: newLinks(g, time.Second, hclog.NewNullLogger())}
	config, err := e.config(taken.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := e.start(config); !errors.Is(err, ErrPortInUse) {
		t.Errorf("error %v, expected ErrPortInUse", err)
	}
}

func TestRemoteOncePerSystem(t *testing.T) {
	h := startHost(t, "n1", freeMembers(t, "n1"))
	_, err := startRemote(h.system, remoteOptions{Listen: "127.0.0.1:0", ClusterID: "c1", NodeID: "n1"})
	if !errors.Is(err, ErrRemoteRunning) {
		t.Errorf("error %v, expected ErrRemoteRunning", err)
	}
}

// All actors of a member share the way to it; of an address that is none nothing is kept.
func TestOneWayToEachMember(t *testing.T) {
	members := freeMembers(t, "n1", "n2")
	e := startHost(t, "n1", members).remote
	way := func(address, id string) actor.Process {
		process, _ := e.gate(actor.NewPID(address, id))
		return process
	}
	if one, two := way(members["n2"], "a"), way(members["n2"], "b"); one != two {
		t.Error("two actors of a member have a way each")
	}
	for _, stranger := range []string{"127.0.0.1:1", "127.0.0.1:2"} {
		if way(stranger, "a") == way(members["n2"], "a") {
			t.Errorf("%s is taken for a member", stranger)
		}
		if _, kept := e.gates.Load(stranger); kept {
			t.Errorf("the way to %s is kept", stranger)
		}
	}
}

// The listener may be elsewhere than the address in the PIDs, behind a forwarded
// port or in a container.
func TestRemoteAdvertisesAnotherAddress(t *testing.T) {
	checkLeaks(t)
	members := freeMembers(t, "n1", "n2")
	inside := freeAddress(t)
	forward(t, members["n1"], inside)
	a := startHost(t, "n1", members, func(o *remoteOptions) { o.Listen = inside })
	b := startHost(t, "n2", members)
	b.tell(a, 1)
	a.expectRound(t, 1)
	if got := a.system.Root.Spawn(actor.PropsFromFunc(func(actor.Context) {})).Address; got != members["n1"] {
		t.Errorf("PIDs say %s, expected the advertised %s", got, members["n1"])
	}
}

// forward carries connections from one address to another until the test ends.
func forward(t *testing.T, from, to string) {
	t.Helper()
	l, err := net.Listen("tcp", from)
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	t.Cleanup(func() { l.Close(); running.Wait() })
	running.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			pipe := func(dst, src net.Conn) {
				defer dst.Close()
				_, _ = io.Copy(dst, src)
			}
			running.Go(func() { pipe(out, in) })
			running.Go(func() { pipe(in, out) })
		}
	})
}

// A peer that stops and starts again on its port, three times, is found again
// without the stock remote's seconds of sleep; nothing is left behind.
func TestRemoteReconnects(t *testing.T) {
	checkLeaks(t)
	members := freeMembers(t, "n1", "n2")
	a := startHost(t, "n1", members)
	for i := range uint64(3) {
		b := startHost(t, "n2", members)
		took := a.talk(t, b, 10*i)
		back := b.talk(t, a, 10*i+1)
		t.Logf("start %d: first message after %v there, %v back", i, took, back)
		if i > 0 && took > time.Second {
			t.Errorf("reconnecting took %v, expected well below a second", took)
		}
		if err := b.remote.Stop(i%2 == 0); err != nil {
			t.Fatal(err)
		}
	}
}

// While a peer is away for longer than the connect timeout, attempts follow each
// other without a pause in which its return would go unnoticed.
func TestRemoteFindsPeerAfterTimeouts(t *testing.T) {
	checkLeaks(t)
	members := freeMembers(t, "n1", "n2")
	quick := func(o *remoteOptions) { o.ConnectTimeout = 50 * time.Millisecond }
	a := startHost(t, "n1", members, quick)
	ended := endings(a)
	for range 3 {
		a.system.Root.Send(actor.NewPID(members["n2"], "raft-1"), heartbeat())
		select {
		case <-ended:
		case <-time.After(patience):
			t.Fatal("the attempt to connect was not given up")
		}
	}
	b := startHost(t, "n2", members)
	took := a.talk(t, b, 7)
	t.Logf("peer found %v after it came", took)
	if took > time.Second {
		t.Errorf("finding the peer took %v, expected well below a second", took)
	}
}

// A block's worth of legal load queued at once never makes a frame above the
// receiver's limit: 64 blocks of 1 MiB, then 6 of the largest size, with small
// messages between.
func TestRemoteCarriesLargeMessages(t *testing.T) {
	members := freeMembers(t, "n1", "n2")
	a, b := startHost(t, "n1", members), startHost(t, "n2", members)
	target := actor.NewPID(members["n2"], "raft-1")
	var want []int
	send := func(n int) {
		want = append(want, n)
		a.system.Root.Send(target, &messages.AppendEntries{Block: make([]byte, n)})
	}
	for range 64 {
		send(1 << 20)
	}
	for range 6 {
		send(messages.MaxBlockBytes)
		send(10)
	}
	for i, n := range want {
		m, ok := b.next(t).(*messages.AppendEntries)
		if !ok || len(m.Block) != n {
			t.Fatalf("message %d has %d bytes, expected %d in the order sent", i, len(m.GetBlock()), n)
		}
	}
	// One beyond the limit is dropped here; the stream lives on.
	a.system.Root.Send(target, &messages.AppendEntries{Block: make([]byte, messageBytesMax)})
	a.tell(b, 5)
	b.expectRound(t, 5)
	if s := a.remote.guard.stats(); s.Unsent != 1 {
		t.Errorf("counters %+v, expected one message unsent", s)
	}
	if s := b.remote.guard.stats(); s != (GuardStats{}) {
		t.Errorf("the receiver refused something: %+v", s)
	}
}

// What a peer would refuse never leaves, and does not take the stream with it.
func TestRemoteKeepsBackWhatWouldBeRefused(t *testing.T) {
	members := freeMembers(t, "n1", "n2")
	a, b := startHost(t, "n1", members), startHost(t, "n2", members)
	target := actor.NewPID(members["n2"], "raft-1")
	stray := actor.NewPID("nonhost", "early") // spawned before the remote
	a.tell(b, 1)
	a.system.Root.RequestWithCustomSender(target, heartbeat(), stray)
	a.system.Root.Stop(target)
	a.system.Root.Send(target, &actor.DeadLetterResponse{})
	a.system.Root.Send(actor.NewPID(members["n2"], strings.Repeat("x", idBytesMax+1)), heartbeat())
	a.system.Root.RequestWithCustomSender(target, &messages.Heartbeat{Round: 2}, a.system.NewLocalPID("raft-1"))
	b.expectRound(t, 1)
	b.expectRound(t, 2)
	if s := a.remote.guard.stats(); s.Unsent != 4 {
		t.Errorf("counters %+v, expected 4 unsent", s)
	}
	if s := b.remote.guard.stats(); s != (GuardStats{}) {
		t.Errorf("the receiver refused something: %+v", s)
	}
}

// A PID with a foreign address, or an alias of our own, is a dead letter, not a
// connection.
func TestRemoteSendsToMembersOnly(t *testing.T) {
	members := freeMembers(t, "n1")
	a := startHost(t, "n1", members)
	trap, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer trap.Close()
	alias := "localhost" + strings.TrimPrefix(members["n1"], "127.0.0.1")
	for _, address := range []string{trap.Addr().String(), alias} {
		a.system.Root.Send(actor.NewPID(address, "raft-1"), heartbeat())
	}
	if n := len(a.remote.links.all()); n != 0 {
		t.Errorf("%d links were opened, expected none", n)
	}
	a.system.Root.Send(a.system.NewLocalPID("raft-1"), &messages.Heartbeat{Round: 9})
	a.expectRound(t, 9)
}

// Two nodes that disagree tell why on both sides.
func TestRemoteNamesTheRefusal(t *testing.T) {
	members := freeMembers(t, "n1", "n2")
	var here, there lockedBuffer
	logTo := func(w *lockedBuffer) func(*remoteOptions) {
		return func(o *remoteOptions) {
			o.Logger = hclog.New(&hclog.LoggerOptions{Output: w, Level: hclog.Warn})
		}
	}
	a := startHost(t, "n1", members, logTo(&here))
	b := startHost(t, "n2", members, logTo(&there), func(o *remoteOptions) { o.ClusterID = "c2" })
	ended := endings(b)
	b.tell(a, 1)
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatal("the stream was not refused")
	}
	for name, text := range map[string]string{"refusing": here.String(), "refused": there.String()} {
		if !strings.Contains(text, `wrong cluster: \"n2\"`) {
			t.Errorf("the %s side logged %q, expected the wrong cluster", name, text)
		}
	}
	if n := a.remote.guard.stats().Identity; n != 1 {
		t.Errorf("%d refusals counted, expected 1", n)
	}
}

// Stop is quick with peers that are down, frozen or absent, and what was sent to
// the others before arrives.
func TestRemoteStopGraceful(t *testing.T) {
	checkLeaks(t)
	members := freeMembers(t, "n1", "n2", "n3", "n4")
	frozen, err := net.Listen("tcp", members["n3"]) // accepts, never answers
	if err != nil {
		t.Fatal(err)
	}
	defer frozen.Close()
	a, b := startHost(t, "n1", members), startHost(t, "n2", members)
	a.tell(b, 0)
	b.expectRound(t, 0)
	for _, id := range []string{"n3", "n4"} {
		a.system.Root.Send(actor.NewPID(members[id], "raft-1"), heartbeat())
	}
	for round := range uint64(500) {
		a.tell(b, round+1)
	}
	start := time.Now()
	if err := a.remote.Stop(true); err != nil {
		t.Error(err)
	}
	took := time.Since(start)
	t.Logf("stopped in %v", took)
	if took > stopTimeout {
		t.Errorf("stop took %v, expected at most %v", took, stopTimeout)
	}
	for round := range uint64(500) {
		b.expectRound(t, round+1)
	}
	a.tell(b, 1000) // a dead letter
	if n := len(a.remote.links.all()); n != 0 {
		t.Errorf("%d links after Stop, expected none", n)
	}
}

// An operator may cut one link; the next message makes a new one.
func TestRemoteDrop(t *testing.T) {
	members := freeMembers(t, "n1", "n2", "n3")
	a, b, c := startHost(t, "n1", members), startHost(t, "n2", members), startHost(t, "n3", members)
	a.talk(t, b, 1)
	a.talk(t, c, 1)
	ended := endings(a)
	a.remote.drop(members["n2"])
	if got := <-ended; got != members["n2"] {
		t.Errorf("link to %s ended, expected only the one to n2", got)
	}
	t.Logf("back after %v", a.talk(t, b, 2))
	a.talk(t, c, 3)
}

// Many actors sending while the remote stops must neither race nor hang.
func TestRemoteStopUnderLoad(t *testing.T) {
	checkLeaks(t)
	members := freeMembers(t, "n1", "n2")
	a, b := startHost(t, "n1", members), startHost(t, "n2", members)
	busy := make(chan struct{})
	seen := 0
	sink, err := b.system.Root.SpawnNamed(actor.PropsFromFunc(func(ctx actor.Context) {
		if _, ok := ctx.Message().(*messages.Heartbeat); ok {
			if seen++; seen == 1000 {
				close(busy)
			}
		}
	}), "sink")
	if err != nil {
		t.Fatal(err)
	}
	b.remote.guard.allowTarget("sink", raftTraffic)
	quit := make(chan struct{})
	var senders sync.WaitGroup
	for range 4 {
		senders.Go(func() {
			to := actor.NewPID(sink.Address, sink.Id)
			for {
				select {
				case <-quit:
					return
				default:
					a.system.Root.Send(to, heartbeat())
				}
			}
		})
	}
	<-busy
	if err := errors.Join(b.remote.Stop(false), a.remote.Stop(true)); err != nil {
		t.Error(err)
	}
	close(quit)
	senders.Wait()
}

// lockedBuffer is a log's output.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// BenchmarkRemote is one-way throughput of small and block-sized messages over
// loopback, guard on both sides.
func BenchmarkRemote(b *testing.B) {
	for _, size := range []int{64, 16 << 10, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			members := freeMembers(b, "n1", "n2")
			from, to := startHost(b, "n1", members), startHost(b, "n2", members)
			target := actor.NewPID(members["n2"], "raft-1")
			block := make([]byte, size)
			window := max(8, min(1024, (4<<20)/size))
			b.SetBytes(int64(size))
			for i := range b.N {
				if i >= window {
					to.next(b)
				}
				from.system.Root.Send(target, &messages.AppendEntries{Block: block})
			}
			for range min(b.N, window) {
				to.next(b)
			}
		})
	}
}
