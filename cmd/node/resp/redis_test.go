package resp

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// startRedis runs the real thing, the oracle of this test, or skips it.
func startRedis(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("no redis-server on PATH")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	c := exec.Command(path, "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", t.TempDir())
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "eady to accept connections") {
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		}
	}
	t.Fatal("redis-server ended before it was ready")
	return ""
}

// readReply reads one reply of RESP2 or 3 as it stands on the wire.
func readReply(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil || len(line) < 3 {
		return line, err
	}
	n, _ := strconv.Atoi(strings.TrimSpace(line[1:]))
	switch line[0] {
	case '$', '=':
		if n < 0 {
			return line, nil
		}
		b := make([]byte, n+2)
		_, err = io.ReadFull(r, b)
		return line + string(b), err
	case '%':
		n *= 2
	case '*', '~':
	default:
		return line, nil
	}
	for range max(n, 0) {
		item, err := readReply(r)
		if err != nil {
			return line, err
		}
		line += item
	}
	return line, nil
}

type oracle struct {
	raw
	in *bufio.Reader
}

func (o oracle) do(args ...string) string {
	o.t.Helper()
	o.send(cmd(args...))
	reply, err := readReply(o.in)
	if err != nil {
		o.t.Fatalf("%q: %v", args, err)
	}
	return reply
}

func connect(t *testing.T, addr string) oracle {
	c := dial(t, addr)
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	return oracle{c, bufio.NewReader(c)}
}

// TestAsRedis sends the same commands here and to a Redis and compares replies
// byte by byte.
func TestAsRedis(t *testing.T) {
	_, addr := serve(t, newFake(), Options{})
	ours, theirs := connect(t, addr), connect(t, startRedis(t))
	compare := func(args ...string) {
		t.Helper()
		if got, want := ours.do(args...), theirs.do(args...); got != want {
			t.Errorf("%q: %q, Redis says %q", args, got, want)
		}
	}
	edges := [][]string{
		{"PING"}, {"PING", "x"}, {"PING", "x", "y"}, {"ECHO"}, {"ECHO", "x"}, {"SELECT", "0"}, {"SELECT", "x"}, {"SELECT", "99"}, {"SELECT", "-1"},
		{"foo"}, {"foo", "bar", "b\r\nz"}, {"FOO", strings.Repeat("x", 200), "y"}, {strings.Repeat("n", 200), "y"}, {""}, {"a\x00b", "c\x00d"},
		{"CLIENT"}, {"CLIENT", "GETNAME"}, {"CLIENT", "SETNAME", "me"}, {"CLIENT", "SETNAME", "a b"}, {"CLIENT", "GETNAME"}, {"CLIENT", "FOO"}, {"client", "maint_notifications", "on"}, {"CLIENT", "ID", "x"},
		{"CONFIG"}, {"CONFIG", "GET"}, {"CONFIG", "GET", "save"}, {"CONFIG", "FOO"}, {"COMMAND", "COUNT", "x"}, {"COMMAND", "FOO"}, {"COMMAND", "INFO", "nonsense"}, {"COMMAND", "DOCS", "nonsense"},
		{"AUTH"}, {"AUTH", "x"}, {"AUTH", "default", "x"}, {"AUTH", "other", "x"}, {"AUTH", "a", "b", "c"}, {"HELLO", "1"}, {"HELLO", "x"}, {"HELLO", "3", "FOO"}, {"HELLO", "3", "AUTH", "x"}, {"HELLO", "3", "AUTH", "other", "x"}, {"HELLO", "3", "SETNAME", "a b"},
		{"SET"}, {"SET", "k"}, {"SET", "k", "v", "FOO"}, {"SET", "k", "v", "NX", "XX"}, {"SET", "k", "v", "XX"}, {"SET", "k", "v", "nx", "get"}, {"GET", "k"}, {"SET", "k", "w", "NX", "GET"}, {"SET", "k", "w", "KEEPTTL"}, {"SET", "k", "", "GET"},
		{"MSET", "a"}, {"MSET", "a", "1", "b"}, {"MSET", "a", "1", "b", "2", "a", "3"}, {"MGET"}, {"MGET", "a", "none", "b"}, {"EXISTS", "a", "a", "none"}, {"DEL", "a", "a"}, {"TYPE", "b"}, {"TYPE", "none"},
		{"SET", "n", "10"}, {"INCR", "n"}, {"INCRBY", "n", "x"}, {"INCRBY", "n", " 1"}, {"INCRBY", "n", "+1"}, {"INCRBY", "n", "9223372036854775807"}, {"DECRBY", "n", "-9223372036854775808"}, {"DECRBY", "n", "9223372036854775807"}, {"INCRBY", "n", "9223372036854775808"},
		{"SET", "s", "01"}, {"INCR", "s"}, {"SET", "s", ""}, {"INCR", "s"}, {"SET", "s", "-0"}, {"DECR", "s"}, {"INCRBYFLOAT", "s", "x"}, {"INCRBYFLOAT", "s", "1"}, {"INCRBYFLOAT", "s", "inf"}, {"INCRBYFLOAT", "s", "nan"}, {"INCRBYFLOAT", "s", "1e4933"}, {"INCRBYFLOAT", "s", "1e-5000"},
		{"SETRANGE", "r", "-1", "x"}, {"SETRANGE", "r", "x", "x"}, {"SETRANGE", "r", "5", ""}, {"EXISTS", "r"}, {"SETRANGE", "r", "5", "abc"}, {"GETRANGE", "r", "0", "-1"}, {"GETRANGE", "r", "x", "1"}, {"GETRANGE", "r", "-3", "-10"}, {"GETRANGE", "r", "-100", "2"},
		{"SCAN"}, {"SCAN", "x"}, {"SCAN", "0", "COUNT"}, {"SCAN", "0", "COUNT", "0"}, {"SCAN", "0", "COUNT", "x"}, {"SCAN", "0", "FOO", "1"}, {"SCAN", "0", "MATCH", "none*"}, {"SCAN", "0", "TYPE", "list"}, {"KEYS"}, {"KEYS", "none*"}, {"KEYS", "[n"},
		{"DBSIZE"}, {"DBSIZE", "x"}, {"FLUSHALL", "FOO"}, {"FLUSHALL", "ASYNC", "SYNC"}, {"FLUSHALL", "ASYNC"}, {"DBSIZE"}, {"INFO", "none"}, {"RESET"}, {"CLIENT", "GETNAME"}, {"CLIENT", "SETINFO", "foo", "x"},
	}
	edges = append(edges, expireEdges()...)
	for _, version := range []string{"2", "3"} {
		ours.do("HELLO", version)
		theirs.do("HELLO", version)
		for _, args := range edges {
			if version == "3" && args[0] == "RESET" {
				continue // back to 2
			}
			if args[0] == "CLIENT" && len(args) > 1 && args[1] == "SETINFO" {
				continue // Redis 7.2
			}
			compare(args...)
		}
		for _, name := range commands {
			if name.local == nil && name.run == nil && !name.once && !strings.Contains(name.name, ".") {
				compare(name.name)
				compare(append([]string{name.name}, strings.Fields("a b c d e f g h i")...)...)
			}
		}
		compare("FLUSHALL")
		compareTransactions(compare)
		compare("FLUSHALL")
	}
	compareRandom(compare)
}

// expireEdges have no answer that depends on how fast they are executed.
func expireEdges() (edges [][]string) {
	const far, farMillis, max = "33177117420", "33177117420000", "9223372036854775807"
	add := func(args ...string) { edges = append(edges, args) }
	for _, option := range []string{"EX", "px", "EXAT", "PXAT"} {
		for _, n := range []string{"0", "-1", "x", "1.5", "", max, "-9223372036854775808", "9223372036854775", "9223372036854776", "1000", far} {
			add("SET", "e", "v", option, n)
			add("SET", "e", "v")
			add("GETEX", "e", option, n)
			add("EXISTS", "e")
		}
		add("SET", "e", "v", option)
		add("GETEX", "e", option)
		add("SET", "e", "v", option, "1000", "KEEPTTL")
		add("SET", "e", "v", "NX", option, "1000", "XX")
		add("GETEX", "e", option, "1000", "PERSIST")
		add("SET", "e", "v", option, "1000", option, "1000")
	}
	for _, name := range []string{"EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT"} {
		for _, n := range []string{"0", "-1", "x", "", max, "-9223372036854775808", "9223372036854775", "9223372036854776", far} {
			add("SET", "e", "v")
			add(name, "e", n)
			add("EXISTS", "e")
			add(name, "none", n)
		}
		for _, options := range [][]string{{"NX"}, {"xx"}, {"GT"}, {"lt"}, {"NX", "XX"}, {"NX", "GT"}, {"GT", "LT"}, {"XX", "GT"}, {"XX", "LT"}, {"FOO"}, {"NX", "NX"}} {
			for _, before := range []string{"", far, "99999999999"} {
				add("SET", "e", "v")
				if before != "" {
					add("EXPIREAT", "e", before)
				}
				add(append([]string{name, "e", farMillis[:11+len(name)/9]}, options...)...)
				add("EXISTS", "e")
			}
		}
	}
	for _, name := range []string{"TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME", "PERSIST"} {
		add("SET", "e", "v")
		add(name, "e")
		add(name, "none")
		if name != "TTL" && name != "PTTL" {
			add("PEXPIREAT", "e", "33177117420499")
			add(name, "e")
			add("PEXPIREAT", "e", "33177117420500")
			add(name, "e")
		}
	}
	add("SET", "e", "v", "EX", "1000")
	add("TTL", "e")
	add("SET", "e", "w", "KEEPTTL", "GET")
	add("TTL", "e")
	add("APPEND", "e", "x")
	add("SETRANGE", "e", "0", "y")
	add("TTL", "e")
	add("SET", "e", "1")
	add("TTL", "e")
	add("SETEX", "e", "1000", "1")
	add("INCR", "e")
	add("INCRBYFLOAT", "e", "1.5")
	add("TTL", "e")
	add("GETEX", "e", "PERSIST")
	add("TTL", "e")
	for _, n := range []string{"0", "-1", "x", max} {
		add("SETEX", "e", n, "v")
		add("PSETEX", "e", n, "v")
	}
	add("PSETEX", "e", "1000000", "v")
	add("GETSET", "e", "w")
	add("TTL", "e")
	add("GETEX", "e", "FOO")
	add("GETEX", "e", "KEEPTTL")
	add("SET", "e", "v", "PERSIST")
	return edges
}

func compareTransactions(compare func(args ...string)) {
	for _, line := range []string{
		"EXEC", "DISCARD", "MULTI x", "UNWATCH", "WATCH",
		"MULTI", "EXEC", "MULTI", "DISCARD", "EXEC",
		"MULTI", "SET k 1", "INCR k", "GET k", "GET none", "MGET k none", "EXEC",
		"MULTI", "MULTI", "WATCH k", "SET k 5", "EXEC", "GET k",
		"MULTI", "FOO", "SET k 6", "EXEC", "GET k",
		"MULTI", "SET k", "EXEC", "MULTI", "SET k 7 FOO", "INCRBY k x", "SETRANGE k -1 x", "INCR k", "EXEC", "GET k",
		"MULTI", "PING", "ECHO hi", "SELECT 0", "SELECT 99", "INCR k", "CLIENT GETNAME", "EXEC",
		"MULTI", "PING", "EXEC", "MULTI", "UNWATCH", "INCR k", "EXEC",
		"WATCH k", "MULTI", "INCR k", "EXEC", "WATCH k", "SET k 1", "MULTI", "INCR k", "EXEC", "GET k", "MULTI", "INCR k", "EXEC",
		"WATCH k none", "MULTI", "INCR k", "EXEC", "WATCH none", "SET none x", "MULTI", "INCR k", "EXEC", "DEL none",
		"WATCH k", "INCR k", "UNWATCH", "MULTI", "GET k", "EXEC", "WATCH k", "INCR k", "MULTI", "DISCARD", "MULTI", "GET k", "EXEC",
		"WATCH k", "EXPIRE k 1000", "MULTI", "EXEC", "WATCH k", "PERSIST k", "MULTI", "EXEC", "WATCH k", "GETEX k", "MULTI", "EXEC",
		"WATCH k", "SET k 1 NX", "SETNX k 1", "EXPIRE k 10 XX", "DEL none", "MULTI", "EXEC", "WATCH k", "APPEND k 5", "MULTI", "EXEC",
		"WATCH k", "FLUSHALL", "MULTI", "EXEC", "MULTI", "SET k 5", "FLUSHALL", "DBSIZE", "SET k 6 EX 100", "TTL k", "EXEC", "GET k",
		"WATCH k", "INCR k", "WATCH k", "MULTI", "EXEC",
	} {
		compare(strings.Fields(line)...)
	}
}

func compareRandom(compare func(args ...string)) {
	r := rand.New(rand.NewPCG(7, 8))
	word := func() string {
		return []string{"0", "1", "-1", "5", "12", "-7", "3.5", "-0.25", "1e3", "0.1", "abc", "", "9223372036854775807", "-9223372036854775808", "1e-7", "123456789.987654321", "hello world"}[r.IntN(17)]
	}
	key := func() string { return "k" + strconv.Itoa(r.IntN(5)) }
	number := func() string { return strconv.Itoa(r.IntN(24) - 12) }
	for range 6000 {
		switch r.IntN(23) {
		case 18:
			compare("SET", key(), word(), "PXAT", "33177117420000")
		case 19:
			compare([]string{"EXPIREAT", "PEXPIREAT"}[r.IntN(2)], key(), []string{"33177117420", "33177117420000"}[r.IntN(2)], []string{"NX", "XX", "GT", "LT"}[r.IntN(4)])
		case 20:
			compare([]string{"PERSIST", "EXPIRETIME", "TTL", "GETEX"}[r.IntN(4)], key())
		case 21:
			compare("WATCH", key())
			compare("MULTI")
			compare("INCR", key())
			compare("GET", key())
			compare("EXEC")
		case 0:
			compare("SET", key(), word())
		case 1:
			compare("SET", key(), word(), []string{"NX", "XX", "GET"}[r.IntN(3)])
		case 2:
			compare("SET", key(), word(), []string{"nx", "xx"}[r.IntN(2)], "get")
		case 3:
			compare("GET", key())
		case 4:
			compare("SETNX", key(), word())
		case 5:
			compare("GETSET", key(), word())
		case 6:
			compare("GETDEL", key())
		case 7:
			compare("MSET", key(), word(), key(), word())
		case 8:
			compare("MGET", key(), key(), key())
		case 9:
			compare("APPEND", key(), word())
		case 10:
			compare("STRLEN", key())
		case 11:
			compare("DEL", key(), key())
		case 12:
			compare([]string{"INCR", "DECR"}[r.IntN(2)], key())
		case 13:
			compare([]string{"INCRBY", "DECRBY"}[r.IntN(2)], key(), word())
		case 14, 15:
			compare("INCRBYFLOAT", key(), []string{word(), fmt.Sprint(r.NormFloat64()), fmt.Sprintf("%.3f", 1000*r.Float64())}[r.IntN(3)])
		case 16:
			compare("GETRANGE", key(), number(), number())
		case 17:
			compare("SETRANGE", key(), number(), word())
		default:
			compare("DBSIZE")
			compare("EXISTS", key(), key())
			compare("KEYS", []string{"*3", "k[^0-3]", "x*", `k\4`, "k[2-2]*"}[r.IntN(5)]) // at most one key: their order is free
		}
	}
}

// TestRedisTools runs redis-benchmark and redis-cli against a server.
func TestRedisTools(t *testing.T) {
	_, addr := serve(t, newFake(), Options{})
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	run := func(stdin, name string, args ...string) string {
		t.Helper()
		path, err := exec.LookPath(name)
		if err != nil {
			t.Skip("no " + name + " on PATH")
		}
		c := exec.Command(path, append([]string{"-h", host, "-p", port}, args...)...)
		c.Stdin = strings.NewReader(stdin)
		out, err := c.CombinedOutput()
		if err != nil || strings.Contains(string(out), "rror") || strings.Contains(string(out), "WARNING") {
			t.Fatalf("%s %q: %v\n%s", name, args, err, out)
		}
		return string(out)
	}
	for _, depth := range []string{"1", "64"} {
		run("", "redis-benchmark", "-t", "set,get,incr", "-P", depth, "-n", "20000", "-c", "20", "-r", "1000", "-q")
	}
	for _, proto := range []string{"-2", "-3"} {
		got := run("set k \"a b\"\nget k\nget none\nmget k none\nincr n\ndel n\n", "redis-cli", proto)
		if want := "OK\na b\n\na b\n\n1\n1\n"; got != want {
			t.Errorf("redis-cli %s: %q, want %q", proto, got, want)
		}
	}
	if got := run("", "redis-cli", "--scan", "--pattern", "k*"); !strings.Contains(got, "k\n") {
		t.Errorf("redis-cli --scan: %q", got)
	}
}
