package kv

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/protoraft/protoraft/fsm"
)

func TestTransactions(t *testing.T) {
	k, v := b("k"), b("v")
	m := newTimed(t)
	m.steps(
		Exec(nil), "[]",
		Exec(nil, Set(k, b("1"), 0), IncrBy(k, 4), Get(k), IncrBy(k, math.MaxInt64), Get(b("x"))), `[OK (5) "5" ERR increment or decrement would overflow nil]`,
		Exec(nil, Set(k, v, 0), Exec(nil, Set(k, b("w"), 0)), []byte{tagOp, 60}, []byte{1}, Get(k)),
		`[OK ERR MULTI calls can not be nested ERR unknown operation 60: a newer version wrote it ERR malformed command: field with tag 0x1: no varint "v"]`,
		Versions(k, b("x")), "[(13) (0)]",
		Exec([]Watched{{k, 13}, {b("x"), 0}}, Set(k, b("2"), 0)), "[OK]",
		Exec([]Watched{{k, 13}, {b("x"), 0}}, Set(k, b("3"), 0)), "nil",
		Exec([]Watched{{k, 15}, {b("x"), 1}}, Set(k, b("3"), 0)), "nil",
		Exec([]Watched{{k, 15}}), "[]",
		Get(k), `"2"`,
		// A deadline is a change, and so is its end.
		Expire(k, ForMillis(50), 0), "(1)",
		Exec([]Watched{{k, 15}}), "nil",
		Exec([]Watched{{k, 20}}), "[]",
		50,
		Exec([]Watched{{k, 20}}, Set(k, v, 0)), "nil",
		Exec([]Watched{{k, 0}}, Set(k, v, 0), TTL(k, TTLMillis)), "[OK (-1)]",
		(&command{op: opExec, value: []byte{9, 1}}).encode(), "ERR malformed command: a watched key is cut short",
		(&command{op: opExec, value: []byte{1, 'k'}}).encode(), "ERR malformed command: a watched key has no version",
	)
}

func TestTransactionIsBounded(t *testing.T) {
	m := newTimed(t)
	big := bytes.Repeat(b("v"), MaxValueBytes)
	m.do(Set(b("big"), big, 0))
	m.do(Set(b("out"), big, 0))
	commands := [][]byte{Get(b("big")), MGet(b("big"), b("big"), b("big")), Get(b("big")), GetDel(b("out")), Get(b("big")), IncrByFloat(b("f"), b("1")), SetWith(b("big"), nil, SetGet, Keep)}
	for len(commands) < MaxExecCommands {
		commands = append(commands, IncrBy(b("big"), 1))
	}
	m.index++
	raw, err := m.Apply(fsm.Entry{Index: m.index, Time: time.UnixMilli(m.now), Data: Exec(nil, commands...)})
	if err != nil || len(raw) > MaxReplyBytes {
		t.Fatalf("a reply of %d bytes, %v; want at most %d", len(raw), err, MaxReplyBytes)
	}
	reply, err := ParseReply(raw)
	if err != nil {
		t.Fatal(err)
	}
	const full = "ERR reply is too large: those of a transaction have at most 1572864 bytes of values"
	for i, want := range []string{"", full, "", full, full, `"1"`, full, "ERR value is not an integer or out of range"} {
		if got := show(reply.Items[i]); got != want && !(want == "" && len(got) == len(big)+2) {
			t.Errorf("command %d: %.100s, want %q", i, got, want)
		}
	}
	// The most that fits: values up to the limit, and the longest short replies.
	m.do(Set(b("short"), bytes.Repeat(b("v"), execShortBytes-2), 0))
	for i := range commands {
		commands[i] = Get(b("short"))
		if i < 3 {
			commands[i] = GetRange(b("big"), 0, MaxValueBytes-8)
		}
	}
	m.index++
	if raw, err = m.Apply(fsm.Entry{Index: m.index, Time: time.UnixMilli(m.now), Data: Exec(nil, commands...)}); err != nil || len(raw) > MaxReplyBytes || len(raw) < MaxReplyBytes-100_000 {
		t.Fatalf("a reply of %d bytes, %v; want hardly less than %d", len(raw), err, MaxReplyBytes)
	}
	// What was refused has not been executed.
	if got := m.do(StrLen(b("out"))); got != fmt.Sprintf("(%d)", len(big)) {
		t.Errorf("the value that did not fit a reply: %s bytes are left", got)
	}
	if got := m.do(Exec(nil, append(commands, Get(b("x")))...)); got != "ERR a transaction of 4097 commands, at most 4096" {
		t.Errorf("one command too many: %.100s", got)
	}
}

func TestVersions(t *testing.T) {
	k := b("k")
	m := newTimed(t)
	m.steps(
		Set(k, b("a"), 0), "OK",
		GetVersioned(k), `[(12) "a"]`, // the entry that began to keep them
		GetVersioned(b("x")), "[(0) nil]",
		SetIfVersion(k, 11, b("b")), "nil",
		SetIfVersion(k, 12, b("b")), "(15)",
		SetIfVersion(k, 12, b("c")), "nil",
		SetIfVersion(b("x"), 0, b("new")), "(17)",
		SetIfVersion(b("x"), 0, b("newer")), "nil",
		SetIfValue(k, b("x"), b("c")), "nil",
		SetIfValue(k, b("b"), b("c")), "(20)",
		SetIfValue(b("none"), nil, b("c")), "nil",
		GetVersioned(k), `[(20) "c"]`,
		Del(k), "(1)", Set(k, b("c"), 0), "OK",
		GetVersioned(k), `[(24) "c"]`,
		(&command{op: opSetIfValue, key: k}).encode(), "ERR syntax error",
	)
	if got := m.ask(GetVersioned(k), 0); got != `[(24) "c"]` {
		t.Error(got)
	}
}

func TestNext(t *testing.T) {
	k := b("ids")
	newTimed(t).steps(
		Next(k, 1), "(1)", Next(k, 10), "(2)", Next(k, 1), "(12)", Get(k), `"12"`,
		Next(k, 0), "ERR value is out of range, must be positive", Next(k, -1), "ERR value is out of range, must be positive",
		Next(k, math.MaxInt64-12), "(13)", Next(k, 1), "ERR increment or decrement would overflow", Get(k), `"9223372036854775807"`,
		Set(k, b("x"), 0), "OK", Next(k, 1), "ERR value is not an integer or out of range",
	)
}

// TestWatchIsOptimisticLocking: clients read, compute and write under WATCH as they
// come. What is left is what they would have made one after the other.
func TestWatchIsOptimisticLocking(t *testing.T) {
	m := newTimed(t)
	rng := rand.New(rand.NewPCG(3, 5))
	type client struct {
		version uint64
		sum     int64
		read    bool
	}
	clients, done := make([]client, 5), int64(0)
	m.do(Set(b("a"), b("0"), 0))
	m.do(Versions())
	for range 3000 {
		m.now += rng.Int64N(3)
		c := &clients[rng.IntN(len(clients))]
		if !c.read {
			raw, err := m.Query(GetVersioned(b("a")))
			if err != nil {
				t.Fatal(err)
			}
			reply, _ := ParseReply(raw)
			sum, ok := ParseInt(reply.Items[1].Bytes)
			if !ok {
				t.Fatalf("%s is no number", show(reply))
			}
			*c = client{uint64(reply.Items[0].Int), sum, true}
			continue
		}
		c.read = false
		next := fmt.Append(nil, c.sum+1)
		if got := m.do(Exec([]Watched{{b("a"), c.version}}, Set(b("a"), next, 0), Set(b("b"), next, 0))); got != "nil" {
			done++
		}
	}
	if want := fmt.Sprintf(`["%d" "%d"]`, done, done); done < 500 || m.do(MGet(b("a"), b("b"))) != want {
		t.Fatalf("%d transactions, and the sums are %s", done, m.do(MGet(b("a"), b("b"))))
	}
}

func FuzzExec(f *testing.F) {
	f.Add(b("k\x01"), Set(b("k"), b("v"), 0), Next(b("n"), 5))
	f.Add([]byte{1, 'k', 3}, Exec(nil, Get(b("k"))), SetWith(b("k"), b("v"), SetGet, ForMillis(10)))
	f.Add([]byte{}, Expire(b("k"), UntilMillis(99), ExpireGT), GetEx(b("k"), Forever))
	f.Fuzz(func(t *testing.T, watched, first, second []byte) {
		m := newTimed(t)
		m.do(SetWith(b("k"), b("12"), 0, ForMillis(100)))
		got := m.do((&command{op: opExec, value: watched, args: [][]byte{first, second}}).encode())
		if got != "nil" && !strings.HasPrefix(got, "[") && !strings.HasPrefix(got, "ERR ") {
			t.Fatal(got)
		}
		image := snapshot(t, m.Machine)
		restored := New()
		if err := restored.Restore(bytes.NewReader(image)); err != nil || !bytes.Equal(image, snapshot(t, restored)) {
			t.Fatalf("what it has made cannot be restored: %v", err)
		}
	})
}

func FuzzRestore(f *testing.F) {
	m := newTimed(f)
	f.Add(snapshot(f, m.Machine))
	m.do(SetWith(b("k"), b("12"), 0, ForMillis(100)))
	f.Add(snapshot(f, m.Machine))
	f.Fuzz(func(t *testing.T, image []byte) {
		if m := New(); m.Restore(bytes.NewReader(image)) == nil && !bytes.Equal(image, snapshot(t, m)) {
			t.Fatalf("%x was restored and is written as %x", image, snapshot(t, m))
		}
	})
}
