package resp

import (
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/protoraft/protoraft/fsm/kv"
)

// TestMixedPipeline: in one pipeline every reply stands in its command's place, whoever
// makes it, and every command sees those before it and none behind.
func TestMixedPipeline(t *testing.T) {
	const queued, aborted = "+QUEUED\r\n", "-EXECABORT Transaction discarded because of previous errors.\r\n"
	commands := []struct{ send, want string }{
		{cmd("SET", "k", "1"), "+OK\r\n"},
		{cmd("GET", "k"), "$1\r\n1\r\n"},
		{cmd("GET"), "-ERR wrong number of arguments for 'get' command\r\n"},
		{cmd("INCR", "k"), ":2\r\n"},
		{cmd("NONSENSE"), "-ERR unknown command 'NONSENSE', with args beginning with: \r\n"},
		{cmd("WATCH", "k"), "+OK\r\n"},
		{cmd("MULTI"), "+OK\r\n"},
		{cmd("GET", "k"), queued},
		{cmd("INCR", "k"), queued},
		{cmd("ECHO", "e"), queued},
		{cmd("INCR", "text"), queued},
		{cmd("EXEC"), "*4\r\n$1\r\n2\r\n:3\r\n$1\r\ne\r\n:1\r\n"},
		{cmd("GET", "k"), "$1\r\n3\r\n"},
		{cmd("WATCH", "k"), "+OK\r\n"},
		{cmd("SET", "k", "7"), "+OK\r\n"},
		{cmd("MULTI"), "+OK\r\n"},
		{cmd("SET", "k", "8"), queued},
		{cmd("EXEC"), "*-1\r\n"},
		{cmd("RAFT.ONCE", "me", "1", "INCR", "k"), ":8\r\n"},
		{cmd("RAFT.ONCE", "me", "1", "INCR", "k"), ":8\r\n"},
		{cmd("GET", "k"), "$1\r\n8\r\n"},
		{cmd("MULTI"), "+OK\r\n"},
		{cmd("NONSENSE"), "-ERR unknown command 'NONSENSE', with args beginning with: \r\n"},
		{cmd("SET", "k", "9"), "+QUEUED\r\n"},
		{cmd("EXEC"), aborted},
		{cmd("SET", "text", "a"), "+OK\r\n"},
		{cmd("INCR", "text"), "-ERR value is not an integer or out of range\r\n"},
		{cmd("MGET", "k", "text"), "*2\r\n$1\r\n8\r\n$1\r\na\r\n"},
		{cmd("PING"), "+PONG\r\n"},
		{cmd("DEL", "k", "text"), ":2\r\n"},
		{cmd("DBSIZE"), ":0\r\n"},
	}
	for _, inflight := range []int{1, 3, 0} {
		_, addr := serve(t, newFake(), Options{InflightMax: inflight})
		var send, want strings.Builder
		for _, c := range commands {
			send.WriteString(c.send)
			want.WriteString(c.want)
		}
		c := dial(t, addr)
		c.send(send.String())
		c.expect(want.String())
	}
}

// countingListener counts what its connections write.
type countingListener struct {
	net.Listener
	writes atomic.Int64
}

type countingConn struct {
	net.Conn
	writes *atomic.Int64
}

func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return countingConn{c, &l.writes}, err
}

func (c countingConn) Write(b []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(b)
}

// TestPipelineIsAnsweredAtOnce: what came in one piece is answered in one.
func TestPipelineIsAnsweredAtOnce(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	counting := &countingListener{Listener: l}
	s, served := New(newFake(), newFake(), Options{}), make(chan error, 1)
	go func() { served <- s.Serve(counting) }()
	c := dial(t, l.Addr().String())
	c.send(strings.Repeat(cmd("SET", "k", "v")+cmd("GET", "k")+cmd("PING"), 20))
	c.expect(strings.Repeat("+OK\r\n$1\r\nv\r\n+PONG\r\n", 20))
	if n := counting.writes.Load(); n != 1 {
		t.Errorf("%d writes for one pipeline, expected 1", n)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// TestReadIsAskedAgainInItsPlace: a deadline that the log does not know to have passed
// has the read wait for an entry, and only that.
func TestReadIsAskedAgainInItsPlace(t *testing.T) {
	f := newFake()
	asked := 0
	f.answer = func(query []byte) []byte {
		if strings.Contains(string(query), "late") {
			asked++
			return kv.ReplyNeedsLog()
		}
		return nil
	}
	_, addr := serve(t, f, Options{})
	c := dial(t, addr)
	c.send(cmd("SET", "late", "1") + cmd("GET", "late") + cmd("SET", "k", "2") + cmd("GET", "k") + cmd("SET", "late", "3"))
	c.expect("+OK\r\n$1\r\n1\r\n+OK\r\n$1\r\n2\r\n+OK\r\n")
	if n := f.proposed(); asked != 1 || n != 4 {
		t.Errorf("%d entries, %d of them for reads; expected 4 and 1", n, asked)
	}
}
