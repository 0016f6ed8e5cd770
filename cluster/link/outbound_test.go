package link

import (
	"bytes"
	"net"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/messages"
)

// writerless is an outbound connection of which no writer runs, and what its peer reads.
type writerless struct {
	*outbound
	t      *testing.T
	ls     *Links
	reader *frameReader
}

func newWriterless(t *testing.T) *writerless {
	t.Helper()
	ours, theirs := tcpPair(t)
	ls, err := New(Options{Silence: time.Minute, Introduce: func(string) Hello { return Hello{} }, Admit: func(Caller) (Visitor, error) { return nil, nil }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ls.Close)
	c := newOutbound(ls.Peer("elsewhere"), ours, ours)
	if c.raw == nil {
		t.Skip("on this system only the writer writes")
	}
	return &writerless{c, t, ls, newFrameReader(theirs, MessageBytesMax)}
}

// sendAlone sends when nobody has written for long, sendInBurst when somebody just has.
func (w *writerless) sendAlone(m proto.Message)   { w.sendAfter(time.Hour, m) }
func (w *writerless) sendInBurst(m proto.Message) { w.sendAfter(-time.Hour, m) }

func (w *writerless) sendAfter(idle time.Duration, m proto.Message) {
	w.t.Helper()
	body, attachment, err := wireForm(m)
	if err != nil {
		w.t.Fatal(err)
	}
	w.wrote = w.ls.now() - int64(idle)
	if !w.send(kindOf(m), "raft-1", "", body, attachment) {
		w.t.Fatalf("the link is closed: %v", w.why)
	}
}

func (w *writerless) receive() any {
	w.t.Helper()
	f, err := w.reader.next()
	if err != nil {
		w.t.Fatal(err)
	}
	m, err := decode(&f)
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

func (w *writerless) expectRounds(rounds ...uint64) {
	w.t.Helper()
	for _, want := range rounds {
		if got := w.receive().(*messages.Heartbeat).Round; got != want {
			w.t.Fatalf("round %d came, expected %d", got, want)
		}
	}
}

// TestBurst: who sends to a link that nobody uses writes itself; what follows at once is
// left to the writer, all of it together.
func TestBurst(t *testing.T) {
	c := newWriterless(t)
	c.sendAlone(heartbeat(1))
	c.expectRounds(1)
	if c.writing || len(c.wake) != 0 {
		t.Fatalf("writing %t, writer woken %d times after a message to an idle link", c.writing, len(c.wake))
	}
	c.sendInBurst(heartbeat(2))
	c.sendInBurst(heartbeat(3))
	if !c.writing || len(c.wake) != 1 || c.filling.messages != 2 {
		t.Fatalf("writing %t, writer woken %d times, %d messages queued, expected both queued and the writer woken once",
			c.writing, len(c.wake), c.filling.messages)
	}
	if !c.writeAll() || c.writing {
		t.Fatal("the writer has not written all")
	}
	c.expectRounds(2, 3)
	if since := c.ls.now() - c.wrote; since < 0 || since > int64(time.Hour)/2 {
		t.Errorf("the burst goes on from %v ago, expected from when the writer was done", time.Duration(since))
	}
}

// TestFullSocket: who sends does not wait for a socket that has no more room. The writer
// does, and writes on where the sender had to stop.
func TestFullSocket(t *testing.T) {
	c := newWriterless(t)
	const patience = 10 * time.Second // of one who does wait
	if err := c.conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	block := func(n int) *messages.AppendEntries {
		return &messages.AppendEntries{Group: 1, Session: uint64(n), Block: bytes.Repeat([]byte{byte(n)}, 1<<20)}
	}
	sent := 0
	for c.left == nil {
		if sent == 100 {
			t.Fatalf("the socket took %d MiB, expected it to be full", sent)
		}
		sent++
		c.sendAlone(block(sent))
	}
	c.sendAlone(heartbeat(7)) // waits behind
	if !c.writing || len(c.wake) != 1 || c.filling.messages != 1 {
		t.Fatalf("writing %t, writer woken %d times, %d messages queued, expected one behind what is left, and the writer woken",
			c.writing, len(c.wake), c.filling.messages)
	}
	wrote := make(chan bool, 1)
	go func() { wrote <- c.writeAll() }()
	for n := range sent {
		if m := c.receive().(*messages.AppendEntries); !proto.Equal(m, block(n+1)) {
			t.Fatalf("block %d did not come as it was sent", n+1)
		}
	}
	c.expectRounds(7)
	if !<-wrote || c.writing {
		t.Fatal("the writer has not written all")
	}
}

// tcpPair is a connection's two ends.
func tcpPair(t *testing.T) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.Dial("tcp", l.Addr().String()); err == nil {
		b, err = l.Accept()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}
