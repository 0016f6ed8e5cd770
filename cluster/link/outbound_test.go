package link

import (
	"net"
	"testing"
	"time"

	"github.com/protoraft/protoraft/messages"
)

// TestBurst: who sends to a link that nobody uses writes itself; what follows at once is
// left to the writer, all of it together.
func TestBurst(t *testing.T) {
	ours, theirs := tcpPair(t)
	ls, err := New(Options{Silence: time.Minute, Introduce: func(string) Hello { return Hello{} }, Admit: func(Caller) (Visitor, error) { return nil, nil }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ls.Close)
	c := newOutbound(ls.Peer("elsewhere"), ours, ours) // no writer runs
	if c.raw == nil {
		t.Skip("on this system only the writer writes")
	}
	r := newFrameReader(theirs, MessageBytesMax)
	send := func(round uint64) {
		t.Helper()
		if !c.send(kindOf(heartbeat(round)), "raft-1", "", heartbeat(round), nil) {
			t.Fatal("the link is closed")
		}
	}
	expect := func(rounds ...uint64) {
		t.Helper()
		for _, want := range rounds {
			f, err := r.next()
			if err != nil {
				t.Fatal(err)
			}
			m, err := decode(&f)
			if got := m.(*messages.Heartbeat).Round; err != nil || got != want {
				t.Fatalf("round %d came (%v), expected %d", got, err, want)
			}
		}
	}

	c.wrote = ls.now() - int64(time.Hour)
	send(1)
	expect(1)
	if c.writing || len(c.wake) != 0 {
		t.Fatalf("writing %t, writer woken %d times after a message to an idle link", c.writing, len(c.wake))
	}
	c.wrote = ls.now() + int64(time.Hour) // a moment that does not pass
	send(2)
	send(3)
	if !c.writing || len(c.wake) != 1 || c.filling.messages != 2 {
		t.Fatalf("writing %t, writer woken %d times, %d messages queued, expected both queued and the writer woken once",
			c.writing, len(c.wake), c.filling.messages)
	}
	if !c.writeAll() || c.writing {
		t.Fatal("the writer has not written all")
	}
	expect(2, 3)
	if since := ls.now() - c.wrote; since < 0 || since > int64(time.Hour)/2 {
		t.Errorf("the burst goes on from %v ago, expected from when the writer was done", time.Duration(since))
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
