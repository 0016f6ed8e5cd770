package link

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/messages"
)

// Everything a link carries arrives, in the order in which its sender sent it, from
// senders that do not wait for each other.
func TestLinkCarriesInOrder(t *testing.T) {
	checkLeaks(t)
	a, b := startNode(t, "a"), startNode(t, "b")
	p := a.connect(t, b)
	const senders, each = 4, 2000
	var all sync.WaitGroup
	for s := range uint64(senders) {
		all.Go(func() {
			for i := range uint64(each) {
				m := &messages.AppendEntries{Group: s, PrevIndex: i}
				if i%50 == 0 {
					m.Block = bytes.Repeat([]byte{byte(i)}, 64<<10)
				}
				for !p.Send(raft1, actor.NewPID("", fmt.Sprint("s", s)), m) {
					t.Error("the link is not up")
					return
				}
			}
		})
	}
	next := make([]uint64, senders)
	for range senders * each {
		l := b.next(t)
		m := l.message.(*messages.AppendEntries)
		if m.PrevIndex != next[m.Group] || l.target != "raft-1" || l.sender != fmt.Sprint("s", m.Group) {
			t.Fatalf("sender %d: message %d to %s from %s, expected %d", m.Group, m.PrevIndex, l.target, l.sender, next[m.Group])
		}
		if m.PrevIndex%50 == 0 && !bytes.Equal(m.Block, bytes.Repeat([]byte{byte(m.PrevIndex)}, 64<<10)) {
			t.Fatalf("sender %d: block %d is not what was sent", m.Group, m.PrevIndex)
		}
		next[m.Group]++
	}
	all.Wait()
	s := a.Status()
	if len(s) != 1 || !s[0].Up || s[0].Sent != senders*each+1 || s[0].Dropped != 0 || s[0].Links != 1 {
		t.Errorf("status %+v", s)
	}
}

func TestLinkDoesNotCarryTheRest(t *testing.T) {
	a, b := startNode(t, "a"), startNode(t, "b")
	p := a.connect(t, b)
	if p.Send(raft1, nil, &messages.SnapshotChunk{}) || p.Send(raft1, nil, &messages.ForwardRequests{}) || p.Send(raft1, nil, "text") {
		t.Error("took what it does not carry")
	}
}

// A peer whose socket is full costs nobody time. What does not fit is dropped, and the
// peer is given up in the end.
func TestLinkNeverWaits(t *testing.T) {
	t.Parallel()
	stuck := newStuck(t, func(net.Conn) {})
	a := startNode(t, "a", func(o *Options) { o.Silence, o.QueueBytes = 4*time.Second, 4<<20 })
	p := a.Peer(stuck.address())
	until(t, "the link comes up", func() bool { return p.Send(raft1, nil, heartbeat(0)) })
	block := make([]byte, 1<<20)
	var longest time.Duration
	for p.lost.Load() < 100 {
		from := time.Now()
		if !p.Send(raft1, nil, &messages.AppendEntries{Group: 1, Block: block}) {
			break // given up: as good
		}
		longest = max(longest, time.Since(from))
	}
	if longest > 1500*time.Millisecond {
		t.Errorf("a sender waited %v", longest)
	}
	if p.lost.Load() == 0 {
		t.Error("nothing was dropped, expected a bound on what waits")
	}
	until(t, "the peer is given up", func() bool { return !p.status().Up })
	if n := a.logged.count("direct link ended"); n != 1 {
		t.Errorf("%d lines say that the link ended, expected 1", n)
	}
	if n := a.logged.count("message dropped"); n < 1 || n > 2 {
		t.Errorf("%d lines say that messages were dropped, expected one, or two of bad luck", n)
	}
}

// stuck accepts links and then does as it is told.
type stuck struct{ l net.Listener }

func newStuck(t testing.TB, do func(net.Conn)) *stuck {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var conns []net.Conn
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
			serving.Go(func() {
				var magic [len(Magic)]byte
				if _, err := io.ReadFull(conn, magic[:]); err != nil {
					return
				}
				if _, err := readOne(conn); err != nil {
					return
				}
				_, _ = conn.Write(appendHeader([]byte(Magic), header{kind: kindWelcome}))
				do(conn)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		serving.Wait()
	})
	return &stuck{l}
}

func (s *stuck) address() string { return s.l.Addr().String() }

// A peer that takes everything and shows no sign of life is given up within the time
// that it may be silent, and messages go another way.
func TestSilentPeerIsGivenUp(t *testing.T) {
	t.Parallel()
	frozen := newStuck(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	const silence = 4 * time.Second
	a := startNode(t, "a", func(o *Options) { o.Silence = silence })
	p := a.Peer(frozen.address())
	until(t, "the link comes up", func() bool { return p.Send(raft1, nil, heartbeat(0)) })
	from := time.Now()
	until(t, "the peer is given up", func() bool { return p.up.Load() == nil })
	if took := time.Since(from); took > silence {
		t.Errorf("given up after %v, expected within %v", took, silence)
	}
	until(t, "that is told", func() bool { return strings.Contains(p.status().Why, errSilent.Error()) })
	if p.Send(raft1, nil, heartbeat(1)) {
		t.Error("took a message for a peer that is given up")
	}
}

// One that answers is not given up, however long it is watched.
func TestLivelyPeerIsKept(t *testing.T) {
	t.Parallel()
	a := startNode(t, "a", func(o *Options) { o.Silence = 2 * time.Second })
	b := startNode(t, "b")
	p := a.connect(t, b)
	c := p.up.Load()
	looks := func() uint64 {
		a.Links.mu.Lock()
		defer a.Links.mu.Unlock()
		return a.stamp
	}
	first := looks()
	until(t, "twelve looks", func() bool { return looks() > first+12 || p.up.Load() != c })
	if p.up.Load() != c {
		t.Errorf("the link ended: %+v", p.status())
	}
}

// A write that had to wait, in time, leaves no deadline behind for those that do not.
func TestSlowWriteIsOver(t *testing.T) {
	t.Parallel()
	const silence = 2 * time.Second
	a := startNode(t, "a", func(o *Options) { o.Silence = silence })
	b := startNode(t, "b")
	p := a.connect(t, b)
	c := p.up.Load()
	until(t, "the writer has the turn", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.writing {
			return false
		}
		c.writing = true
		c.filling.control(kindPing, stampBytes(1<<40))
		c.wake <- struct{}{}
		return true
	})
	until(t, "the deadline it had has passed", func() bool { return time.Since(c.opened) > silence+silence/4 })
	for i := range uint64(10) {
		if !p.Send(raft1, nil, heartbeat(i)) {
			t.Fatalf("the link ended: %v", p.status())
		}
		b.next(t)
	}
	if p.up.Load() != c {
		t.Errorf("it is another link: %+v", p.status())
	}
}

// Large messages on a slow path are signs of life, too: the ping waits behind them.
func TestSlowReaderIsNotSilent(t *testing.T) {
	t.Parallel()
	const silence = 2 * time.Second
	var took sync.WaitGroup
	took.Add(1)
	slow := newStuck(t, func(conn net.Conn) {
		defer took.Done()
		b := make([]byte, 32<<10)
		tick := time.NewTicker(5 * time.Millisecond) // about 6 MB/s
		defer tick.Stop()
		for got := 0; got < 12<<20; {
			<-tick.C
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			if got += n; got/seenBytes != (got-n)/seenBytes {
				_, _ = conn.Write(append(appendHeader(nil, header{kind: kindPong, size: 8, body: 8}), stampBytes(0)...))
			}
		}
	})
	a := startNode(t, "a", func(o *Options) { o.Silence = silence })
	p := a.Peer(slow.address())
	until(t, "the link comes up", func() bool { return p.Send(raft1, nil, heartbeat(0)) })
	c := p.up.Load()
	for range 12 {
		p.Send(raft1, nil, &messages.AppendEntries{Block: make([]byte, 1<<20)})
	}
	done := make(chan struct{})
	go func() { took.Wait(); close(done) }()
	select {
	case <-done:
	case <-c.done:
		t.Errorf("given up while it read: %v", c.why)
	case <-time.After(patience):
		t.Error("it was not read out")
	}
}

// What is at the address speaks no link: one line, and the remote has it all.
func TestPeerWithoutLinks(t *testing.T) {
	checkLeaks(t)
	for name, answer := range map[string]string{"hangs up": "", "speaks HTTP/2": "\x00\x00\x12\x04\x00\x00\x00\x00\x00", "speaks another version": "\xd7PR\x02"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var serving sync.WaitGroup
		serving.Go(func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = io.WriteString(conn, answer)
				conn.Close()
			}
		})
		a := startNode(t, "a")
		p := a.Peer(l.Addr().String())
		until(t, name+": that is noticed", func() bool {
			if p.Send(raft1, nil, heartbeat(0)) {
				t.Fatal("took a message that cannot arrive")
			}
			return strings.Contains(p.status().Why, ErrNotSpoken.Error())
		})
		until(t, name+": that is said", func() bool { return a.logged.count("going by the remote") > 0 })
		if n := a.logged.count("going by the remote"); n != 1 {
			t.Errorf("%s: %d lines say so, expected 1", name, n)
		}
		if p.tryAt.Load()-a.now() < int64(refusedPauseMin/2) {
			t.Errorf("%s: asked again at once", name)
		}
		l.Close()
		serving.Wait()
		a.close()
	}
}

// A peer that refuses says why.
func TestPeerRefuses(t *testing.T) {
	a := startNode(t, "a", func(o *Options) {
		o.Introduce = func(string) Hello { return Hello{Cluster: "c2", Node: "a"} }
	})
	b := startNode(t, "b")
	p := a.Peer(b.address)
	until(t, "the refusal is heard", func() bool {
		p.Send(raft1, nil, heartbeat(0))
		return strings.Contains(p.status().Why, "wrong cluster: c2")
	})
	if n := a.logged.count("wrong cluster"); n != 1 {
		t.Errorf("%d lines say so, expected 1", n)
	}
}

// A link ends with its peer's process, and comes back with it.
func TestLinkComesBack(t *testing.T) {
	checkLeaks(t)
	a, b := startNode(t, "a"), startNode(t, "b")
	p := a.connect(t, b)
	for i := range uint64(3) {
		b.close()
		until(t, "the end is noticed", func() bool { return !p.status().Up })
		again := &node{name: "b", got: make(chan letter, 1<<10), logged: &lines{}}
		l, err := net.Listen("tcp", b.address)
		if err != nil {
			t.Fatal(err)
		}
		again.listen(t, l)
		until(t, "the link comes back", func() bool { return p.Send(raft1, nil, heartbeat(i+1)) })
		if m := again.next(t).message.(*messages.Heartbeat); m.Round != i+1 {
			t.Errorf("round %d, expected %d", m.Round, i+1)
		}
		b = again
	}
	a.Drop(b.address)
	until(t, "a new link after Drop", func() bool { return p.Send(raft1, nil, heartbeat(9)) && p.opened.Load() == 5 })
}

// Flush returns when the peer has read everything, and not before.
func TestFlush(t *testing.T) {
	a, b := startNode(t, "a"), startNode(t, "b")
	p := a.connect(t, b)
	for range 200 {
		p.Send(raft1, nil, &messages.AppendEntries{Block: make([]byte, 10_000)})
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	a.Flush(ctx)
	if len(b.got) != 200 || ctx.Err() != nil {
		t.Errorf("%d of 200 messages were read when Flush returned, %v", len(b.got), ctx.Err())
	}
	stuck := newStuck(t, func(net.Conn) {})
	q := a.Peer(stuck.address())
	until(t, "the link comes up", func() bool { return q.Send(raft1, nil, heartbeat(0)) })
	ctx, cancel = context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	a.Flush(ctx) // ends with ctx: nobody answers
	if ctx.Err() == nil {
		t.Error("Flush returned before the peer had read")
	}
}

func TestClosedLinks(t *testing.T) {
	checkLeaks(t)
	a, b := startNode(t, "a"), startNode(t, "b")
	p := a.connect(t, b)
	a.close()
	if p.Send(raft1, nil, heartbeat(1)) {
		t.Error("took a message after Close")
	}
	here, there := net.Pipe()
	defer there.Close()
	a.Serve(here) // returns: nobody is served any more
}

func TestOptions(t *testing.T) {
	introduce := func(string) Hello { return Hello{} }
	admit := func(Caller) (Visitor, error) { return nil, nil }
	for _, o := range []Options{
		{Silence: 1}, {Silence: 1, Introduce: introduce}, {Introduce: introduce, Admit: admit},
		{Silence: 1, Introduce: introduce, Admit: admit, ServerTLS: selfSigned(t, "x").server},
	} {
		if ls, err := New(o); err == nil {
			ls.Close()
			t.Errorf("took %+v", o)
		}
	}
}

// A connection that is no socket of its own, as with TLS, is written by its writer.
func TestLinkOverAPipe(t *testing.T) {
	checkLeaks(t)
	b := startNode(t, "b")
	conns := make(chan net.Conn, 1)
	a := startNode(t, "a", func(o *Options) { o.Dial = dialPipe(conns) })
	p := a.Peer("pipe")
	p.Send(raft1, nil, heartbeat(0))
	there := <-conns
	var serving sync.WaitGroup
	serving.Go(func() {
		if conn, isLink, err := b.Peek(there); err == nil && isLink {
			b.Serve(conn)
		}
	})
	until(t, "the link comes up", func() bool { return p.Send(raft1, nil, heartbeat(1)) })
	b.next(t)
	for i := range uint64(100) {
		p.Send(raft1, repl1, &messages.AppendEntries{PrevIndex: i, Block: make([]byte, 1_000*i)})
	}
	for i := range uint64(100) {
		l := b.next(t)
		if m := l.message.(*messages.AppendEntries); m.PrevIndex != i || len(m.Block) != int(1_000*i) || l.sender != repl1.Id {
			t.Fatalf("message %d has %d bytes, expected %d with %d", m.PrevIndex, len(m.Block), i, 1_000*i)
		}
	}
	a.close()
	serving.Wait()
}
