package resp

import (
	"errors"
	"net"
	"strings"
	"testing"
)

// feed gives the reader data in pieces of n bytes and returns what it takes out.
func feed(t testing.TB, data string, n int) (commands []string, err error) {
	t.Helper()
	r := reader{argBytesMax: 100, requestBytesMax: 200}
	for {
		req, err := r.next()
		switch {
		case err == nil && req.refused != "":
			commands = append(commands, "refused: "+req.refused)
		case err == nil:
			var words []string
			for _, a := range req.args {
				words = append(words, string(a))
			}
			commands = append(commands, strings.Join(words, "|"))
		case !errors.Is(err, errMore):
			return commands, err
		case data == "":
			return commands, nil
		default:
			taken := copy(r.room(), data[:min(n, len(data))])
			r.filled(taken)
			data = data[taken:]
			if len(r.buf) > 2*inlineBytesMax {
				t.Fatalf("the buffer has grown to %d bytes", len(r.buf))
			}
		}
	}
}

func TestReaderInPieces(t *testing.T) {
	long := strings.Repeat("x", 101)
	half := strings.Repeat("y", 70)
	data := cmd("SET", "k", "") + "PING  a\r\n" + cmd("SET", "k", long) + cmd("GET", "k") + "\r\n*0\r\n" +
		cmd("MSET", half, half, half) + cmd(long) + cmd("ECHO", "\r\n$3\r\n") + "echo 'it\\'s' \"\\x00\\t\"\n" + cmd("DEL", "a", "b")
	want := []string{"SET|k|", "PING|a", "refused: argument too large: 101 bytes, at most 100", "GET|k", "",
		"refused: command too large: more than 200 bytes", "refused: argument too large: 101 bytes, at most 100", "ECHO|\r\n$3\r\n", "echo|it's|\x00\t", "DEL|a|b"}
	for n := 1; n <= len(data); n++ {
		got, err := feed(t, data, n)
		if err != nil || strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Fatalf("in pieces of %d: %q, %v; want %q", n, got, err, want)
		}
	}
}

func TestReaderKeepsItsBufferSmall(t *testing.T) {
	data := strings.Repeat(cmd("SET", "key", "value"), 50_000) // 1.6 MB, cut anywhere
	got, err := feed(t, data, 1<<20)
	if err != nil || len(got) != 50_000 {
		t.Fatalf("%d commands, %v", len(got), err)
	}
}

// FuzzReader: the pieces the bytes arrive in make no difference, and nothing
// panics or grows.
func FuzzReader(f *testing.F) {
	for _, seed := range []string{
		cmd("SET", "k", "v"), cmd("GET", "k") + "PING\r\n", "*2\r\n$3\r\nGET\r\n$101\r\n" + strings.Repeat("x", 101) + "\r\n*1\r\n$4\r\nPING\r\n",
		"*-1\r\n*0\r\n*1\r\n$-1\r\n", "set \"a b\" 'c'\n", "*1000000\r\n", "$5\r\n", "*1\r\n$0\r\n\r\n", "\x16\x03\x01", "*3\r\n$3\r\nSET\r\n$99999999999\r\n",
	} {
		f.Add(seed, 3)
	}
	f.Fuzz(func(t *testing.T, data string, n int) {
		whole, wholeErr := feed(t, data, len(data)+1)
		n = max(1, n&0xff)
		pieces, piecesErr := feed(t, data, n)
		if strings.Join(whole, "\n") != strings.Join(pieces, "\n") || (wholeErr == nil) != (piecesErr == nil) {
			t.Fatalf("whole: %q, %v; in pieces of %d: %q, %v", whole, wholeErr, n, pieces, piecesErr)
		}
	})
}

// FuzzServer sends bytes to a server and demands that it answers and goes on.
func FuzzServer(f *testing.F) {
	for _, c := range append(sortedCommands(), sortedCommands()[0]) {
		f.Add(cmd(c.name) + cmd(c.name, "a") + cmd(c.name, "a", "1") + cmd(c.name, "1", "2", "3"))
	}
	f.Add("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n")
	_, addr := serve(f, newFake(), Options{})
	f.Fuzz(func(t *testing.T, data string) {
		c := dial(t, addr)
		_, _ = c.Write([]byte(data)) // it may be closed on us half way
		_ = c.Conn.(*net.TCPConn).CloseWrite()
		for b := make([]byte, 4096); ; {
			if _, err := c.Read(b); err != nil {
				break
			}
		}
		_ = c.Close()
		after := dial(t, addr)
		after.send(cmd("ECHO", "alive"))
		after.expect("$5\r\nalive\r\n")
		_ = after.Close()
	})
}
