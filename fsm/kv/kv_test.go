package kv

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/protoraft/protoraft/fsm"
)

func b(s string) []byte { return []byte(s) }

// run executes a command or query and shows its reply as redis-cli would.
func run(t testing.TB, m *Machine, data []byte) string {
	t.Helper()
	var raw []byte
	var err error
	if isQuery(data) {
		raw, err = m.Query(data)
	} else {
		raw, err = m.Apply(fsm.Entry{Data: data})
	}
	if err != nil {
		t.Fatalf("%x: %v", data, err)
	}
	reply, err := ParseReply(raw)
	if err != nil {
		t.Fatalf("%x: %v", data, err)
	}
	if again := reply.Encode(); !bytes.Equal(again, raw) {
		t.Fatalf("reply %x encodes again as %x", raw, again)
	}
	return show(reply)
}

func isQuery(data []byte) bool {
	var c command
	return c.decode(data) == nil && c.op.isQuery()
}

func show(r Reply) string {
	switch r.Kind {
	case Nil:
		return "nil"
	case Int:
		return "(" + strconv.FormatInt(r.Int, 10) + ")"
	case Bulk:
		return strconv.Quote(string(r.Bytes))
	case Status, Error:
		return string(r.Bytes)
	default:
		items := make([]string, len(r.Items))
		for i, it := range r.Items {
			items[i] = show(it)
		}
		return "[" + strings.Join(items, " ") + "]"
	}
}

func TestCommands(t *testing.T) {
	big := bytes.Repeat(b("v"), MaxValueBytes)
	const notInteger = "ERR value is not an integer or out of range"
	for _, test := range []struct {
		name  string
		steps []any // command, reply, command, reply, …
	}{
		{"set and get", []any{Get(b("k")), "nil", Set(b("k"), b("v"), 0), "OK", Get(b("k")), `"v"`, Set(b(""), nil, 0), "OK", Get(b("")), `""`}},
		{"set nx xx", []any{Set(b("k"), b("1"), SetXX), "nil", Set(b("k"), b("1"), SetNX), "OK", Set(b("k"), b("2"), SetNX), "nil",
			Set(b("k"), b("3"), SetXX), "OK", Get(b("k")), `"3"`, Set(b("k"), b("4"), SetNX|SetXX), "ERR syntax error", Set(b("k"), nil, 64), "ERR syntax error"}},
		{"set get", []any{Set(b("k"), b("1"), SetGet), "nil", Set(b("k"), b("2"), SetGet), `"1"`, Set(b("k"), b("3"), SetGet|SetNX), `"2"`,
			Get(b("k")), `"2"`, Set(b("x"), b("3"), SetGet|SetXX), "nil", Get(b("x")), "nil", Set(b("k"), b("4"), SetGet|SetXX), `"2"`, Get(b("k")), `"4"`}},
		{"setnx getdel", []any{SetIfAbsent(b("k"), b("1")), "(1)", SetIfAbsent(b("k"), b("2")), "(0)", GetDel(b("k")), `"1"`, GetDel(b("k")), "nil"}},
		{"many", []any{MSet(b("a"), b("1"), b("b"), b("2"), b("a"), b("3")), "OK", MGet(b("a"), b("x"), b("b")), `["3" nil "2"]`, MGet(), "[]",
			Exists(b("a"), b("a"), b("x")), "(2)", DBSize(), "(2)", Del(b("a"), b("a"), b("x")), "(1)", DBSize(), "(1)", FlushAll(), "OK", DBSize(), "(0)",
			MSet(b("a")), "ERR wrong number of arguments for 'mset' command"}},
		{"append", []any{Append(b("k"), b("ab")), "(2)", Append(b("k"), b("cd")), "(4)", StrLen(b("k")), "(4)", Append(b("k"), nil), "(4)", Get(b("k")), `"abcd"`,
			Append(b("n"), nil), "(0)", Exists(b("n")), "(1)"}},
		{"type", []any{Type(b("k")), "none", Set(b("k"), nil, 0), "OK", Type(b("k")), "string"}},
		{"incr", []any{IncrBy(b("k"), 1), "(1)", IncrBy(b("k"), -5), "(-4)", Get(b("k")), `"-4"`, Set(b("k"), b("01"), 0), "OK", IncrBy(b("k"), 1), notInteger,
			Set(b("k"), b("9223372036854775806"), 0), "OK", IncrBy(b("k"), 1), "(9223372036854775807)", IncrBy(b("k"), 1), "ERR increment or decrement would overflow",
			Set(b("k"), b("-9223372036854775808"), 0), "OK", IncrBy(b("k"), -1), "ERR increment or decrement would overflow", IncrBy(b("k"), 0), "(-9223372036854775808)"}},
		{"getrange", []any{Set(b("k"), b("Hello World"), 0), "OK", GetRange(b("k"), 0, 4), `"Hello"`, GetRange(b("k"), -5, -1), `"World"`, GetRange(b("k"), 0, -1), `"Hello World"`,
			GetRange(b("k"), 5, 3), `""`, GetRange(b("k"), -1, -5), `""`, GetRange(b("k"), 3, 1000), `"lo World"`, GetRange(b("k"), -1000, 0), `"H"`, GetRange(b("x"), 0, -1), `""`,
			GetRange(b("k"), 11, 20), `""`, GetRange(b("k"), -9223372036854775808, 9223372036854775807), `"Hello World"`}},
		{"setrange", []any{SetRange(b("k"), 0, nil), "(0)", Exists(b("k")), "(0)", SetRange(b("k"), 3, b("ab")), "(5)", Get(b("k")), `"\x00\x00\x00ab"`, SetRange(b("k"), 0, b("x")), "(5)",
			Get(b("k")), `"x\x00\x00ab"`, SetRange(b("k"), -1, b("x")), "ERR offset is out of range", SetRange(b("k"), MaxValueBytes, b("x")), "ERR string exceeds maximum allowed size (524288 bytes)",
			SetRange(b("k"), 9223372036854775807, b("x")), "ERR string exceeds maximum allowed size (524288 bytes)", SetRange(b("k"), MaxValueBytes-1, b("x")), "(524288)"}},
		{"limits", []any{Set(b("k"), big, 0), "OK", Append(b("k"), b("x")), "ERR string exceeds maximum allowed size (524288 bytes)", Set(b("k"), append(big, 'x'), 0), "ERR value is too large: 524289 bytes, at most 524288",
			Set(make([]byte, MaxKeyBytes+1), nil, 0), "ERR key is too large: 65537 bytes, at most 65536", Set(make([]byte, MaxKeyBytes), nil, 0), "OK",
			MSet(b("a"), append(big, 'x')), "ERR value is too large: 524289 bytes, at most 524288", Exists(b("a")), "(0)", Keys(make([]byte, MaxPatternBytes+1)), "ERR value is too large: 4097 bytes, at most 4096",
			MGet(b("k"), b("k"), b("k"), b("k"), b("k")), "ERR reply is too large: more than 2097152 bytes; ask for fewer keys"}},
		{"keys", []any{MSet(b("one"), nil, b("two"), nil), "OK", Keys(b("t*")), `["two"]`, Keys(b("x")), "[]"}},
		{"scan", []any{Set(b("k"), nil, 0), "OK", Scan(0, ScanOptions{}), `["0" ["k"]]`, Scan(0, ScanOptions{Type: b("STRING")}), `["0" ["k"]]`, Scan(0, ScanOptions{Type: b("list")}), `["0" []]`,
			Scan(0, ScanOptions{Match: b("x*")}), `["0" []]`, Scan(0, ScanOptions{Match: []byte{}}), `["0" []]`, Scan(1<<63, ScanOptions{}), `["0" []]`, Scan(0, ScanOptions{Count: -1}), "ERR syntax error"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := New()
			for i := 0; i < len(test.steps); i += 2 {
				if got := run(t, m, test.steps[i].([]byte)); got != test.steps[i+1] {
					t.Fatalf("step %d: %s, want %s", i/2, got, test.steps[i+1])
				}
			}
		})
	}
}

func TestIncrByFloat(t *testing.T) {
	const bad, infinite = "ERR value is not a valid float", "ERR increment would produce NaN or Infinity"
	for _, test := range []struct{ old, by, want string }{
		{"10.50", "0.1", `"10.6"`}, {"5.0e3", "2.0e2", `"5200"`}, {"3", "1.1", `"4.1"`}, {"0.1", "0.2", `"0.3"`}, {"1", "-1", `"0"`},
		{"-0.5", "0.5", `"0"`}, {"0", "-1e-30", `"0"`}, {"1", ".5", `"1.5"`}, {"1.", "+1", `"2"`}, {"0", "3.14159265358979323846", `"3.14159265358979324"`},
		{"0", "1e17", `"100000000000000000"`}, {"1e4931", "1e4932", ""}, {"1e4932", "1e4932", infinite}, {"0", "1e4933", bad}, {"0", "1e-5000", bad},
		{"0", "inf", infinite}, {"0", "-Infinity", infinite}, {"0", "nan", bad}, {"0", "", bad}, {"0", " 1", bad}, {"0", "1 ", bad}, {"0", "1e", bad},
		{"0", "e5", bad}, {"0", ".", bad}, {"0", "1.2.3", bad}, {"0", "1_000", bad}, {"0", "--1", bad}, {"abc", "1", bad}, {"0", "1e999999999999999999999", bad},
		{"0", "0e999999999999", `"0"`}, {"0", strings.Repeat("9", floatDigitsMax), bad},
	} {
		m := New()
		run(t, m, Set(b("k"), b(test.old), 0))
		got := run(t, m, IncrByFloat(b("k"), b(test.by)))
		if test.want == "" {
			if len(got) != 4935 {
				t.Errorf("%s + %s has %d characters, want 4935 with the quotes", test.old, test.by, len(got))
			}
		} else if got != test.want {
			t.Errorf("%s + %s = %s, want %s", test.old, test.by, got, test.want)
		}
	}
}

func TestParseInt(t *testing.T) {
	for s, want := range map[string]int64{"0": 0, "7": 7, "-1": -1, "9223372036854775807": 1<<63 - 1, "-9223372036854775808": -1 << 63} {
		if got, ok := ParseInt(b(s)); !ok || got != want {
			t.Errorf("%q: %d, %v", s, got, ok)
		}
	}
	for _, s := range []string{"", "-", "+1", " 1", "1 ", "01", "-0", "-01", "1.0", "9223372036854775808", "-9223372036854775809", "99999999999999999999", "a"} {
		if got, ok := ParseInt(b(s)); ok {
			t.Errorf("%q was read as %d", s, got)
		}
	}
}

func TestMatch(t *testing.T) {
	for _, test := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true}, {"", "a", false}, {"*", "", true}, {"*", "abc", true}, {"**", "abc", true}, {"a*c", "abbc", true}, {"a*c", "abb", false},
		{"*a*b*", "xxaxxbxx", true}, {"*ab", "aab", true}, {"?", "", false}, {"?", "a", true}, {"h?llo", "hello", true}, {"h[ae]llo", "hallo", true},
		{"h[ae]llo", "hillo", false}, {"h[^e]llo", "hallo", true}, {"h[^e]llo", "hello", false}, {"h[a-c]llo", "hbllo", true}, {"h[c-a]llo", "hbllo", true},
		{"[]", "a", false}, {"[^]", "a", true}, {"[abc", "c", true}, {"[abc", "d", false}, {`\*`, "*", true}, {`\*`, "a", false}, {`a\`, `a\`, true},
		{`[\]]`, "]", true}, {`[\-x]`, "-", true}, {"[a-", "-", true}, {"[*]", "*", true}, {"[*]", "a", false}, {"a", "ab", false}, {"é", "é", true},
	} {
		if got := Match(b(test.pattern), test.s); got != test.want {
			t.Errorf("%q matches %q: %v, want %v", test.pattern, test.s, got, test.want)
		}
	}
	if Match(bytes.Repeat(b("*a"), 200), strings.Repeat("a", 100)+"b") { // exponential, if it went back further
		t.Error("a pattern that needs more letters matched")
	}
}

// TestAgainstModel compares with a map, with many keys of one hash.
func TestAgainstModel(t *testing.T) {
	for name, hash := range map[string]func([]byte) uint64{
		"hashed": hashKey, "colliding": func(key []byte) uint64 { return uint64(len(key)) % 2 },
	} {
		t.Run(name, func(t *testing.T) {
			m, model := New(), map[string]string{}
			m.keys.hash = hash
			r := rand.New(rand.NewPCG(1, 2))
			key := func() string { return strings.Repeat("k", 1+r.IntN(4)) + strconv.Itoa(r.IntN(8)) }
			for i := range 20_000 {
				k, v := key(), strconv.Itoa(r.IntN(50))
				old, exists := model[k]
				var got, want string
				switch r.IntN(6) {
				case 0, 1:
					got, want = run(t, m, Set(b(k), b(v), 0)), "OK"
					model[k] = v
				case 2:
					got, want = run(t, m, Del(b(k))), "(0)"
					if exists {
						want = "(1)"
					}
					delete(model, k)
				case 3:
					if len(old) > 15 {
						continue
					}
					model[k] = old + v
					got, want = run(t, m, Append(b(k), b(v))), fmt.Sprintf("(%d)", len(model[k]))
				case 4:
					got, want = run(t, m, SetRange(b(k), 1, b("7"))), ""
					changed := slices.Concat(b(old), make([]byte, max(0, 2-len(old))))
					changed[1] = '7'
					model[k] = string(changed)
					want = fmt.Sprintf("(%d)", len(changed))
				default:
					got, want = run(t, m, Get(b(k))), "nil"
					if exists {
						want = strconv.Quote(old)
					}
				}
				if got != want {
					t.Fatalf("op %d on %q: %s, want %s", i, k, got, want)
				}
				if i%2500 == 0 {
					compare(t, m, model)
				}
			}
			compare(t, m, model)
		})
	}
}

func compare(t *testing.T, m *Machine, model map[string]string) {
	t.Helper()
	if m.keys.len() != len(model) {
		t.Fatalf("%d keys, want %d", m.keys.len(), len(model))
	}
	seen := 0
	m.keys.ascend(0, func(_ uint64, it *item) bool {
		seen++
		if v, ok := model[it.key]; !ok || v != string(it.value) {
			t.Fatalf("%q is %q, want %q (%v)", it.key, it.value, v, ok)
		}
		return true
	})
	if seen != len(model) {
		t.Fatalf("%d keys seen, want %d", seen, len(model))
	}
}

// scanAll scans to the end and returns the keys in the order met.
func scanAll(t *testing.T, m *Machine, o ScanOptions, between func(call int)) (keys []string) {
	t.Helper()
	cursor := uint64(0)
	for call := 0; ; call++ {
		raw, err := m.Query(Scan(cursor, o))
		if err != nil {
			t.Fatal(err)
		}
		reply, err := ParseReply(raw)
		if err != nil || len(reply.Items) != 2 {
			t.Fatalf("%v, %v", reply, err)
		}
		for _, k := range reply.Items[1].Items {
			keys = append(keys, string(k.Bytes))
		}
		if cursor, err = strconv.ParseUint(string(reply.Items[0].Bytes), 10, 63); err != nil {
			t.Fatalf("cursor: %v", err)
		}
		if cursor == 0 {
			return keys
		}
		between(call)
	}
}

func TestScanMeetsWhatStays(t *testing.T) {
	m := New()
	r := rand.New(rand.NewPCG(3, 4))
	var want []string
	for i := range 500 {
		k := "stay" + strconv.Itoa(i)
		want = append(want, k)
		run(t, m, Set(b(k), nil, 0))
		run(t, m, Set(b("go"+strconv.Itoa(i)), nil, 0))
	}
	got := scanAll(t, m, ScanOptions{Match: b("stay*"), Count: 7}, func(call int) {
		for range 20 {
			run(t, m, Del(b("go"+strconv.Itoa(r.IntN(500)))))
			run(t, m, Set(b("come"+strconv.Itoa(call)+"."+strconv.Itoa(r.IntN(500))), nil, 0))
		}
	})
	sort.Strings(got)
	sort.Strings(want)
	if !slices.Equal(got, want) {
		t.Fatalf("met %d keys, want each of the %d that stayed once", len(got), len(want))
	}
}

func TestScanIsBounded(t *testing.T) {
	m := New()
	long := strings.Repeat("x", MaxKeyBytes-8)
	for i := range 64 {
		run(t, m, Set(b(fmt.Sprintf("%08d%s", i, long)), nil, 0))
	}
	calls := 1
	keys := scanAll(t, m, ScanOptions{Count: 1 << 40}, func(int) { calls++ })
	if len(keys) != 64 || calls < 4 {
		t.Fatalf("%d keys of 64 KiB in %d calls, want 64 in at least 4", len(keys), calls)
	}
	if got := run(t, m, Keys(b("*"))); got != "ERR reply is too large: more than 2097152 bytes; use SCAN" {
		t.Fatalf("KEYS of 4 MiB: %.80s", got)
	}
}

func TestMalformedIsRefusedByReply(t *testing.T) {
	m := New()
	run(t, m, Set(b("k"), b("v"), 0))
	before := snapshot(t, m)
	good := Set(b("k"), b("value"), SetNX)
	bad := [][]byte{nil, {0}, {tagOp, 60}, {tagOp, 200, 1}, {tagOp, 1, 0x78, 1}, {tagOp, 1, 0x7a, 1, 1}, bytes.Repeat([]byte{0xff}, 30), {tagOp, 1, tagKey, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}}
	for i := 1; i < len(good); i++ {
		var c command
		if c.decode(good[:i]) != nil {
			bad = append(bad, good[:i])
		}
	}
	for _, data := range bad {
		if got := run(t, m, data); !strings.HasPrefix(got, "ERR ") {
			t.Errorf("%x: %s, want an error reply", data, got)
		}
		if _, err := m.Query(data); err == nil {
			t.Errorf("%x was answered as a query", data)
		}
	}
	if _, err := m.Query(good); err == nil {
		t.Error("Query executed a command")
	}
	if !bytes.Equal(before, snapshot(t, m)) {
		t.Error("the state changed")
	}
	// A query proposed as a command is answered at its place in the log.
	if raw, err := m.Apply(fsm.Entry{Data: Get(b("k"))}); err != nil || !bytes.Equal(raw, bulkReply(b("v"))) {
		t.Errorf("Get through the log: %x, %v", raw, err)
	}
}

func FuzzApply(f *testing.F) {
	for _, seed := range [][]byte{Set(b("k"), b("v"), SetGet), MSet(b("a"), b("1")), IncrByFloat(b("k"), b("1.5")), SetRange(b("k"), 9, b("x")), Scan(7, ScanOptions{Match: b("[a-"), Count: 3}), GetRange(b("k"), -4, 9)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m := New()
		run(t, m, MSet(b("k"), b("12"), b("a"), b("x")))
		reply, err := m.Apply(fsm.Entry{Data: data})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseReply(reply); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzParseReply(f *testing.F) {
	f.Add(arrayReply(appendItem(appendItemBulk(nil, "0"), arrayReply(nil))))
	f.Add(replyNil)
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := ParseReply(data); err == nil {
			again, err := ParseReply(r.Encode())
			if err != nil || show(again) != show(r) {
				t.Fatalf("%s became %s, %v", show(r), show(again), err)
			}
		}
	})
}
