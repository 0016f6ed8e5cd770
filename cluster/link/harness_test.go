package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/messages"
)

// patience is how long a test waits for what should come at once.
const patience = 20 * time.Second

// node is one end of links in a test: what came is in got, its port is address.
type node struct {
	*Links
	name     string
	address  string
	got      chan letter
	logged   *lines
	listener net.Listener
	serving  sync.WaitGroup
	stop     sync.Once

	mu     sync.Mutex
	faults []error // told to Malformed
	panics int
}

type letter struct {
	target, sender string
	message        any
}

// mail is a Visitor that keeps what comes.
type mail struct{ n *node }

func (m mail) Take(_ Kind, target, sender []byte, message any) error {
	if h, ok := message.(*messages.Heartbeat); ok && h.Leader == "panic" {
		panic("planted")
	}
	if h, ok := message.(*messages.Heartbeat); ok && h.Leader == "refuse" {
		return errors.New("planted refusal")
	}
	m.n.got <- letter{string(target), string(sender), message}
	return nil
}

func startNode(t testing.TB, name string, change ...func(*Options)) *node {
	t.Helper()
	n := &node{name: name, got: make(chan letter, 1<<14), logged: &lines{}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n.listen(t, l, change...)
	return n
}

func (n *node) listen(t testing.TB, l net.Listener, change ...func(*Options)) {
	n.listener, n.address = l, l.Addr().String()
	o := Options{
		Silence: 5 * time.Second, // a test that is about less says so
		Introduce: func(address string) Hello {
			return Hello{Version: 1, Minimum: 1, Cluster: "c1", Node: n.name, Address: n.address, ToNode: "to", ToAddress: address}
		},
		Admit: func(c Caller) (Visitor, error) {
			if c.Cluster != "c1" {
				return nil, fmt.Errorf("wrong cluster: %s", c.Cluster)
			}
			return mail{n}, nil
		},
		Malformed: func(_ Caller, err error) error {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.faults = append(n.faults, err)
			return err
		},
		Panicked: func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.panics++
		},
		Logger: hclog.New(&hclog.LoggerOptions{Output: n.logged, Level: hclog.Debug}),
	}
	for _, f := range change {
		f(&o)
	}
	ls, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	n.Links = ls
	n.serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			n.serving.Go(func() {
				if conn, isLink, err := ls.Peek(conn); err == nil && isLink {
					ls.Serve(conn)
				} else {
					conn.Close()
				}
			})
		}
	})
	t.Cleanup(n.close)
}

func (n *node) close() {
	n.stop.Do(func() {
		n.listener.Close()
		n.Links.Close()
		n.serving.Wait()
	})
}

// lines is a log that can be read while it is written.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

func heartbeat(round uint64) *messages.Heartbeat { return &messages.Heartbeat{Group: 1, Round: round} }

var (
	raft1 = actor.NewPID("", "raft-1")
	repl1 = actor.NewPID("", "raft-1/n2-3-1")
)

// connect sends until there is a link, and takes what of it arrived.
func (n *node) connect(t testing.TB, to *node) *Peer {
	t.Helper()
	p := n.Peer(to.address)
	until(t, "a link comes up", func() bool { return p.Send(raft1, nil, heartbeat(0)) })
	to.next(t)
	return p
}

func (n *node) next(t testing.TB) letter {
	t.Helper()
	select {
	case l := <-n.got:
		return l
	case <-time.After(patience):
		t.Fatalf("%s: nothing came\n%s", n.name, n.logged.text.String())
		return letter{}
	}
}

// until waits for what no event tells.
func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !is() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// raw is a caller that speaks by hand.
type raw struct {
	t testing.TB
	net.Conn
}

func call(t testing.TB, to *node) *raw {
	t.Helper()
	conn, err := net.Dial("tcp", to.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &raw{t, conn}
}

// say writes and does not care: the other end may have hung up.
func (r *raw) say(b []byte) *raw {
	_, _ = r.Write(b)
	return r
}

func helloFrame(t testing.TB, h Hello) []byte {
	t.Helper()
	b, err := h.encode()
	if err != nil {
		t.Fatal(err)
	}
	return append(appendHeader([]byte(Magic), header{kind: kindHello, size: len(b), body: len(b)}), b...)
}

func goodHello() Hello {
	return Hello{Version: 1, Minimum: 1, Interval: time.Second, Cluster: "c1", Node: "stranger", Address: "x:1"}
}

// greeted is a caller that was let in.
func greeted(t testing.TB, to *node) *raw {
	t.Helper()
	r := call(t, to).say(helloFrame(t, goodHello()))
	if f := r.hear(); f.kind != kindWelcome {
		t.Fatalf("answered with kind %d, expected a welcome", f.kind)
	}
	return r
}

// hear reads one frame behind the magic.
func (r *raw) hear() frame {
	r.t.Helper()
	var magic [len(Magic)]byte
	if _, err := r.Read(magic[:]); err != nil || string(magic[:]) != Magic {
		r.t.Fatalf("heard % x, %v, expected the magic", magic, err)
	}
	f, err := readOne(r)
	if err != nil {
		r.t.Fatal(err)
	}
	return f
}

// encoded is a message as it is on the wire.
func encoded(t testing.TB, target, sender string, message any) []byte {
	t.Helper()
	q := &queue{}
	body, attachment, err := wireForm(message)
	if err == nil {
		err = q.add(kindOf(message), target, sender, body, attachment)
	}
	if err != nil {
		t.Fatal(err)
	}
	q.close()
	var b []byte
	for _, p := range q.pieces {
		b = append(b, p...)
	}
	return b
}

func same(a, b any) bool {
	if x, ok := a.(*messages.Results); ok {
		y, ok := b.(*messages.Results)
		return ok && fmt.Sprint(x.Items) == fmt.Sprint(y.Items)
	}
	x, okX := a.(proto.Message)
	y, okY := b.(proto.Message)
	return okX && okY && proto.Equal(x, y)
}

func checkLeaks(t testing.TB) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
}

func dialPipe(conns chan<- net.Conn) func(context.Context, string) (net.Conn, error) {
	return func(context.Context, string) (net.Conn, error) {
		here, there := net.Pipe()
		conns <- there
		return here, nil
	}
}
