package resp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/protoraft/protoraft/cluster"
	"github.com/redis/go-redis/v9"
)

func readFull(r io.Reader, b []byte) (int, error) { return io.ReadFull(r, b) }

func cmd(args ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	return b.String()
}

func TestGoRedis(t *testing.T) {
	for _, proto := range []int{2, 3} {
		t.Run("RESP"+strconv.Itoa(proto), func(t *testing.T) {
			_, addr := serve(t, newFake(), Options{})
			c := goRedis(t, addr, proto)
			ctx := context.Background()
			check := func(got, want any, err error) {
				t.Helper()
				if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
					t.Fatalf("got %v, %v; want %v", got, err, want)
				}
			}
			got, err := c.Set(ctx, "k", "v", 0).Result()
			check(got, "OK", err)
			got, err = c.Get(ctx, "k").Result()
			check(got, "v", err)
			if _, err = c.Get(ctx, "absent").Result(); !errors.Is(err, redis.Nil) {
				t.Fatalf("GET absent: %v", err)
			}
			set, err := c.SetNX(ctx, "k", "w", 0).Result()
			check(set, false, err)
			n, err := c.IncrBy(ctx, "n", 41).Result()
			check(n, 41, err)
			f, err := c.IncrByFloat(ctx, "f", 10.5).Result()
			check(f, 10.5, err)
			values, err := c.MGet(ctx, "k", "absent", "n").Result()
			check(values, []any{"v", nil, "41"}, err)
			keys, cursor, err := c.Scan(ctx, 0, "*", 100).Result()
			slices.Sort(keys)
			check(keys, []string{"f", "k", "n"}, err)
			check(cursor, 0, nil)
			settings, err := c.ConfigGet(ctx, "appendonly").Result()
			check(settings, map[string]string{"appendonly": "yes"}, err)
			text, err := c.Info(ctx).Result()
			if err != nil || !strings.Contains(text, "redis_version:") || !strings.Contains(text, "loading:0") || !strings.Contains(text, "raft_leader:n2") {
				t.Fatalf("INFO: %v\n%s", err, text)
			}
			name, err := c.ClientGetName(ctx).Result()
			check(name, "test", err)
			specs, err := c.Command(ctx).Result()
			if err != nil || specs["get"] == nil || specs["get"].FirstKeyPos != 1 || !specs["get"].ReadOnly {
				t.Fatalf("COMMAND: %v, %+v", err, specs["get"])
			}
			if err := c.Do(ctx, "client", "maint_notifications", "on").Err(); err == nil || err.Error() != "ERR unknown subcommand 'maint_notifications'. Try CLIENT HELP." {
				t.Fatalf("CLIENT MAINT_NOTIFICATIONS: %v", err)
			}
		})
	}
}

// TestPipelineOrder runs random pipelines and compares every reply with those of
// commands sent one by one.
func TestPipelineOrder(t *testing.T) {
	_, addr := serve(t, newFake(), Options{InflightMax: 37})
	_, plain := serve(t, newFake(), Options{})
	piped, single := goRedis(t, addr, 3), goRedis(t, plain, 3)
	ctx := context.Background()
	r := rand.New(rand.NewPCG(5, 6))
	for round := range 60 {
		p := piped.Pipeline()
		var commands [][]any
		for range 1 + r.IntN(200) {
			k := "k" + strconv.Itoa(r.IntN(4))
			command := [][]any{
				{"set", k, r.IntN(100)}, {"get", k}, {"incr", k}, {"append", k, "1"}, {"mget", "k0", "k1"}, {"dbsize"}, {"del", k, "k3"},
				{"strlen", k}, {"getset", k, r.IntN(100)}, {"mset", "k1", r.IntN(100), "k2", 5}, {"exists", k}, {"echo", k}, {"nonsense", k}, {"get"},
			}[r.IntN(14)]
			commands = append(commands, command)
			p.Do(ctx, command...)
		}
		replies, _ := p.Exec(ctx)
		if len(replies) != len(commands) {
			t.Fatalf("round %d: %d replies to %d commands", round, len(replies), len(commands))
		}
		for i, command := range commands {
			want, wantErr := single.Do(ctx, command...).Result()
			got, gotErr := replies[i].(*redis.Cmd).Result()
			if fmt.Sprint(got, gotErr) != fmt.Sprint(want, wantErr) {
				t.Fatalf("round %d, command %d %v: %v, %v; want %v, %v", round, i, command, got, gotErr, want, wantErr)
			}
		}
	}
}

// TestReadBeforeWriteInOnePipeline: the read must not see the write behind it.
func TestReadBeforeWriteInOnePipeline(t *testing.T) {
	_, addr := serve(t, newFake(), Options{})
	c := dial(t, addr)
	c.send(cmd("SET", "k", "old") + cmd("GET", "k") + cmd("SET", "k", "new") + cmd("GET", "k") + cmd("DBSIZE") + cmd("FLUSHALL") + cmd("DBSIZE"))
	c.expect("+OK\r\n$3\r\nold\r\n+OK\r\n$3\r\nnew\r\n:1\r\n+OK\r\n:0\r\n")
}

// TestPipelineIsSubmittedWhole: nothing is waited for before all is under way.
func TestPipelineIsSubmittedWhole(t *testing.T) {
	f := newFake()
	f.hold = make(chan struct{})
	_, addr := serve(t, f, Options{})
	c := dial(t, addr)
	c.send(strings.Repeat(cmd("INCR", "n"), 64))
	<-f.waiting
	if n := f.proposed(); n != 64 {
		t.Errorf("%d commands under way at the first wait, want 64", n)
	}
	close(f.hold)
	for i := range 64 {
		c.expect(":" + strconv.Itoa(i+1) + "\r\n")
	}
}

func TestInflightIsBounded(t *testing.T) {
	f := newFake()
	_, addr := serve(t, f, Options{InflightMax: 10})
	c := dial(t, addr)
	go c.send(strings.Repeat(cmd("INCR", "n")+cmd("GET", "m"), 3000) + cmd("QUIT"))
	if _, err := io.Copy(io.Discard, c); err != nil {
		t.Fatal(err)
	}
	if f.most > 10 || f.proposed() != 3000 {
		t.Fatalf("%d under way at a time, %d commands; want at most 10 and 3000", f.most, f.proposed())
	}
}

func TestLargeRepliesAreAdmittedByWeight(t *testing.T) {
	f := newFake()
	_, addr := serve(t, f, Options{})
	c := dial(t, addr)
	value := strings.Repeat("v", 512<<10)
	c.send(cmd("SET", "k", value))
	c.expect("+OK\r\n")
	go c.send(strings.Repeat(cmd("GET", "k"), 300))
	for range 300 {
		c.expect("$524288\r\n" + value + "\r\n")
	}
	if f.most > replyWeightStart {
		t.Fatalf("%d values of 512 KiB under way at a time, want at most %d", f.most, replyWeightStart)
	}
}

// TestHandshakes are the first words of client libraries, in bytes.
func TestHandshakes(t *testing.T) {
	hello := func(proto, id string) string {
		pairs := "$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:" + proto + "\r\n$2\r\nid\r\n:" + id +
			"\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n"
		if proto == "3" {
			return "%7\r\n" + pairs
		}
		return "*14\r\n" + pairs
	}
	for _, test := range []struct{ name, send, want string }{
		{"HELLO 3", cmd("HELLO", "3") + cmd("GET", "x"), hello("3", "1") + "_\r\n"},
		{"HELLO 2", cmd("HELLO", "2") + cmd("GET", "x"), hello("2", "1") + "$-1\r\n"},
		{"HELLO", cmd("HELLO"), hello("2", "1")},
		{"HELLO with all", cmd("HELLO", "3", "AUTH", "default", "x", "SETNAME", "me") + cmd("CLIENT", "GETNAME"), hello("3", "1") + "$2\r\nme\r\n"},
		{"HELLO 4", cmd("HELLO", "4"), "-NOPROTO unsupported protocol version\r\n"},
		{"HELLO x", cmd("HELLO", "x"), "-ERR Protocol version is not an integer or out of range\r\n"},
		{"HELLO option", cmd("HELLO", "3", "NOW") + cmd("GET", "x"), "-ERR Syntax error in HELLO option 'NOW'\r\n$-1\r\n"},
		{"pipelined HELLO", cmd("GET", "x") + cmd("HELLO", "3") + cmd("GET", "x") + cmd("RESET") + cmd("GET", "x"), "$-1\r\n" + hello("3", "1") + "_\r\n+RESET\r\n$-1\r\n"},
		{"redis-py, Lettuce", cmd("CLIENT", "SETINFO", "LIB-NAME", "redis-py") + cmd("CLIENT", "SETINFO", "LIB-VER", "8.0") + cmd("SELECT", "0") + cmd("PING"), "+OK\r\n+OK\r\n+OK\r\n+PONG\r\n"},
		{"SELECT", cmd("SELECT", "1") + cmd("SELECT", "x"), "-ERR DB index is out of range\r\n-ERR value is not an integer or out of range\r\n"},
		{"redis-benchmark", cmd("CONFIG", "GET", "save") + cmd("CONFIG", "GET", "appendonly"), "*2\r\n$4\r\nsave\r\n$0\r\n\r\n*2\r\n$10\r\nappendonly\r\n$3\r\nyes\r\n"},
		{"inline", "PING\r\n\r\n  \r\nset k \"a\\x41\\n\"\nGET 'k'\r\n", "+PONG\r\n+OK\r\n$3\r\naA\n\r\n"},
		{"empty commands", "*0\r\n*-1\r\n" + cmd("PING"), "+PONG\r\n"},
		{"QUIT", cmd("SET", "k", "1") + cmd("QUIT") + cmd("SET", "k", "2"), "+OK\r\n+OK\r\n"},
		{"unknown", cmd("FOO", "a b", "c\r\nd"), "-ERR unknown command 'FOO', with args beginning with: 'a b' 'c  d' \r\n"},
		{"wrong arity", cmd("get") + cmd("CLIENT", "ID", "1"), "-ERR wrong number of arguments for 'get' command\r\n-ERR wrong number of arguments for 'client|id' command\r\n"},
		{"expiry", cmd("SET", "k", "v", "EX", "100") + cmd("TTL", "k") + cmd("GET", "k"), "+OK\r\n:100\r\n$1\r\nv\r\n"},
		{"versions", cmd("CAS.GET", "k") + cmd("CAS.SETVER", "k", "0", "a") + cmd("CAS.SETVER", "k", "0", "b") + cmd("CAS.SETVAL", "k", "a", "c") + cmd("CAS.GET", "k") + cmd("CAS.SETVER", "k", "-1", "b"),
			"*2\r\n:0\r\n$-1\r\n:2\r\n$-1\r\n:4\r\n*2\r\n:4\r\n$1\r\nc\r\n-ERR version is not an integer or out of range\r\n"},
		{"locks", cmd("LOCK.TRY", "l", "a", "60000") + cmd("LOCK.TRY", "l", "b", "1") + cmd("LOCK.ACQUIRE", "l", "b", "60000", "60000") + cmd("LOCK.RENEW", "l", "1", "0") + cmd("LOCK.RENEW", "l", "9", "5") + cmd("LOCK.RENEW", "l", "1", "60000") +
			cmd("LOCK.RELEASE", "l", "1") + cmd("LOCK.ACQUIRE", "l", "b", "60000", "0") + cmd("LOCK.INSPECT", "l2") + cmd("LOCK.RELEASE", "l", "8") + cmd("LOCK.INSPECT", "l") + cmd("LOCK.LEAVE", "l", "b"),
			":1\r\n$-1\r\n$-1\r\n-ERR a TTL of 0 ms, expected 1 to 86400000\r\n:0\r\n:1\r\n:1\r\n:8\r\n$-1\r\n:1\r\n$-1\r\n:0\r\n"},
		{"lock arguments", cmd("LOCK.TRY", "l", "a") + cmd("LOCK.TRY", "l", "a", "x") + cmd("LOCK.RELEASE", "l", "-1") + cmd("LOCK.TRY", "l", "a", "9223372036854775807") + cmd("LOCK.TRY", "", "a", "5") + cmd("MULTI") + cmd("LOCK.TRY", "l", "a", "5") + cmd("EXEC"),
			"-ERR wrong number of arguments for 'lock.try' command\r\n-ERR value is not an integer or out of range\r\n-ERR token is not an integer or out of range\r\n-ERR a time of 9223372036854775807 ms, expected at most 86400000\r\n" +
				"-ERR a lock's name has 0 bytes, expected 1 to 512\r\n+OK\r\n-ERR Command not allowed inside a transaction\r\n-EXECABORT Transaction discarded because of previous errors.\r\n"},
		{"ids", cmd("SEQ.NEXT", "n") + cmd("SEQ.NEXT", "n", "10") + cmd("SEQ.NEXT", "n") + cmd("SEQ.NEXT", "n", "0") + cmd("SEQ.NEXT", "n", "x") + cmd("SEQ.NEXT", "n", "1", "1"),
			":1\r\n:2\r\n:12\r\n-ERR value is out of range, must be positive\r\n-ERR value is not an integer or out of range\r\n-ERR syntax error\r\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, addr := serve(t, newFake(), Options{})
			c := dial(t, addr)
			c.send(test.send)
			c.expect(test.want)
			if test.name == "QUIT" {
				c.expectEnd()
			}
		})
	}
}

func TestGarbageGetsOneErrorAndTheEnd(t *testing.T) {
	for _, test := range []struct{ name, send, want string }{
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\n\n\n", "-ERR Protocol error: expected '*' or a command name, got byte 0x16\r\n"},
		{"gRPC", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00", "-ERR unknown command 'PRI', with args beginning with: '*' 'HTTP/2.0' \r\n-ERR unknown command 'SM', with args beginning with: \r\n-ERR Protocol error: expected '*' or a command name, got byte 0x00\r\n"},
		{"HTTP", "GET / HTTP/1.1\r\nHost: x\r\nAccept: y\r\n\r\n", "-ERR wrong number of arguments for 'get' command\r\n-ERR this port speaks RESP, not HTTP\r\n"},
		{"no newline", strings.Repeat("x", 70_000), "-ERR Protocol error: too big inline request\r\n"},
		{"count", "*x\r\n", "-ERR Protocol error: invalid multibulk length\r\n"},
		{"huge count", "*1000000\r\n", "-ERR Protocol error: invalid multibulk length\r\n"},
		{"endless count", "*" + strings.Repeat("1", 100), "-ERR Protocol error: too big mbulk count string\r\n"},
		{"no dollar", "*1\r\n!3\r\nfoo\r\n", "-ERR Protocol error: expected '$', got '!'\r\n"},
		{"negative length", "*1\r\n$-1\r\n", "-ERR Protocol error: invalid bulk length\r\n"},
		{"overflow", "*1\r\n$99999999999999999999\r\n", "-ERR Protocol error: invalid bulk length\r\n"},
		{"terabyte", "*2\r\n$3\r\nGET\r\n$1099511627776\r\nxxxx", "-ERR Protocol error: invalid bulk length\r\n"},
		{"no line end", "*1\r\n$4\r\nPINGxx\r\n", "-ERR Protocol error: invalid bulk length\r\n"},
		{"quotes", "SET k \"v\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n"},
		{"after a command", cmd("PING") + "*1\r\n?", "+PONG\r\n-ERR Protocol error: expected '$', got '?'\r\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, addr := serve(t, newFake(), Options{})
			c := dial(t, addr)
			c.send(test.send)
			c.expect(test.want)
			c.expectEnd()
		})
	}
}

// TestHundredMegabytes: one error, the connection goes on, nothing is kept.
func TestHundredMegabytes(t *testing.T) {
	f := newFake()
	_, addr := serve(t, f, Options{})
	c := dial(t, addr)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	const size = 100 << 20
	c.send(fmt.Sprintf("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n", size))
	chunk := make([]byte, 64<<10)
	for range size / len(chunk) {
		if _, err := c.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	c.send("\r\n" + cmd("PING"))
	c.expect("-ERR argument too large: 104857600 bytes, at most 524288\r\n+PONG\r\n")
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 2<<20 {
		t.Errorf("%d bytes were allocated for it", grown)
	}
	if f.proposed() != 0 {
		t.Error("something was proposed")
	}
}

func TestLimits(t *testing.T) {
	_, addr := serve(t, newFake(), Options{})
	c := dial(t, addr)
	value, key := strings.Repeat("v", 512<<10), strings.Repeat("k", 64<<10)
	c.send(cmd("SET", key, value) + cmd("STRLEN", key))
	c.expect("+OK\r\n:524288\r\n")
	c.send(cmd("SET", "k", value+"v"))
	c.expect("-ERR argument too large: 524289 bytes, at most 524288\r\n")
	c.send(cmd("SET", key+"k", "v") + cmd("DEL", "a", key+"k"))
	c.expect(strings.Repeat("-ERR key is too large: 65537 bytes, at most 65536\r\n", 2))
	c.send(cmd("MSET", "a", value, "b", value, "c", "1") + cmd("EXISTS", "a", "b", "c"))
	c.expect("-ERR command too large: more than 1048576 bytes\r\n:0\r\n")
	c.send(cmd("APPEND", key, "x") + cmd("SETRANGE", "k", "524288", "x"))
	c.expect(strings.Repeat("-ERR string exceeds maximum allowed size (524288 bytes)\r\n", 2))
}

func TestFailures(t *testing.T) {
	for _, test := range []struct {
		err         error
		write, read string
	}{
		{&cluster.Error{Outcome: cluster.NotApplied, Reason: cluster.ErrNoLeader}, "CLUSTERDOWN ", "CLUSTERDOWN "},
		{&cluster.Error{Outcome: cluster.NotApplied, Reason: cluster.ErrDiskFull}, "DISKFULL not applied", "DISKFULL not applied"},
		{&cluster.Error{Outcome: cluster.NotApplied, Reason: cluster.ErrStorageFailed}, "CLUSTERDOWN ", "CLUSTERDOWN "},
		{&cluster.Error{Outcome: cluster.NotApplied, Reason: cluster.ErrBusy}, "TRYAGAIN ", "TRYAGAIN "},
		{&cluster.Error{Outcome: cluster.NotApplied, Reason: cluster.ErrTimeout}, "TRYAGAIN ", "TRYAGAIN "},
		{&cluster.Error{Outcome: cluster.NotApplied, Reason: cluster.ErrTooLarge}, "ERR command too large", "ERR command too large"},
		{&cluster.Error{Outcome: cluster.Unknown, Reason: cluster.ErrTimeout}, "UNCERTAIN ", "TRYAGAIN "},
		{&cluster.Error{Outcome: cluster.Unknown, Reason: cluster.ErrLeadershipLost}, "UNCERTAIN ", "TRYAGAIN "},
		{&cluster.Error{Outcome: cluster.Unknown, Reason: cluster.ErrTooLarge}, "UNCERTAIN ", "ERR "},
		{&cluster.Error{Outcome: cluster.Unknown, Reason: cluster.ErrStopped}, "UNCERTAIN ", "CLUSTERDOWN "},
		{&cluster.Error{Outcome: cluster.NotApplied, Reason: cluster.ErrRefused, Detail: "why"}, "ERR query refused by the state machine: why", "ERR query"},
		{errors.New("strange"), "UNCERTAIN ", "ERR strange"},
	} {
		f := newFake()
		f.fail = func([]byte) error { return test.err }
		_, addr := serve(t, f, Options{})
		c := goRedis(t, addr, 3)
		ctx := context.Background()
		if err := c.Set(ctx, "k", "v", 0).Err(); err == nil || !strings.HasPrefix(err.Error(), test.write) {
			t.Errorf("write, %v: %v, want %s…", test.err, err, test.write)
		}
		if err := c.Get(ctx, "k").Err(); err == nil || !strings.HasPrefix(err.Error(), test.read) {
			t.Errorf("read, %v: %v, want %s…", test.err, err, test.read)
		}
		if stats := c.PoolStats(); stats.Misses != 1 {
			t.Errorf("%v: %d connections were made, want the first kept open", test.err, stats.Misses)
		}
	}
}

func TestShutdownAnswersWhatIsInFlight(t *testing.T) {
	f := newFake()
	f.hold = make(chan struct{})
	s, addr := serve(t, f, Options{IdleTimeout: time.Minute}) // which must not undo the closing
	busy, idle := dial(t, addr), dial(t, addr)
	idle.send("PING\r\n")
	idle.expect("+PONG\r\n")
	busy.send(cmd("SET", "k", "v") + cmd("GET", "k"))
	<-f.waiting
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(context.Background()) }()
	idle.expectEnd()
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("a connection was accepted after Shutdown began")
	}
	select {
	case err := <-done:
		t.Fatalf("Shutdown returned (%v) with a command in flight", err)
	default:
	}
	close(f.hold)
	busy.expect("+OK\r\n$1\r\nv\r\n")
	busy.expectEnd()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestShutdownGivesUpWithItsContext(t *testing.T) {
	f := newFake()
	f.hold = make(chan struct{})
	s, addr := serve(t, f, Options{})
	c := dial(t, addr)
	c.send(cmd("SET", "k", "v"))
	<-f.waiting
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("Shutdown: %v, want %v", err, context.Canceled)
	}
	c.expectEnd()
	close(f.hold) // the second Shutdown, of the cleanup, must find everything gone
}

func TestClientsMax(t *testing.T) {
	_, addr := serve(t, newFake(), Options{ClientsMax: 1})
	first := dial(t, addr)
	first.send("PING\r\n")
	first.expect("+PONG\r\n")
	second := dial(t, addr)
	second.expect("-ERR max number of clients reached\r\n")
	second.expectEnd()
}

func TestIdleTimeout(t *testing.T) {
	_, addr := serve(t, newFake(), Options{IdleTimeout: 20 * time.Millisecond})
	c := dial(t, addr)
	c.send("PING\r\n")
	c.expect("+PONG\r\n")
	c.expectEnd()
}
