package kv

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/protoraft/protoraft/fsm"
)

// timed is a machine with a log: each entry has an index and a time.
type timed struct {
	*Machine
	t     testing.TB
	index uint64
	now   int64 // ms
}

func newTimed(t testing.TB) *timed { return &timed{Machine: New(), t: t, index: 10, now: 1_000_000} }

func (m *timed) do(data []byte) string {
	m.t.Helper()
	m.index++
	raw, err := m.Apply(fsm.Entry{Index: m.index, Time: time.UnixMilli(m.now), Data: data})
	if err != nil {
		m.t.Fatal(err)
	}
	return m.show(raw)
}

// ask queries, by a clock that shows so much more than the log's time.
func (m *timed) ask(data []byte, ahead int64) string {
	m.t.Helper()
	raw, err := m.Query(AskedAt(data, time.UnixMilli(m.now+ahead)))
	if err != nil {
		m.t.Fatal(err)
	}
	if NeedsLog(raw) {
		return "needs log"
	}
	return m.show(raw)
}

func (m *timed) show(raw []byte) string {
	m.t.Helper()
	r, err := ParseReply(raw)
	if err != nil {
		m.t.Fatalf("%x: %v", raw, err)
	}
	return show(r)
}

// A step of a table: a command, or an int64 that advances the log's time.
func (m *timed) steps(all ...any) {
	m.t.Helper()
	for i := 0; i < len(all); i++ {
		switch s := all[i].(type) {
		case int:
			m.now += int64(s)
		case []byte:
			i++
			if got := m.do(s); got != all[i] {
				m.t.Fatalf("step %d: %s, want %s", i, got, all[i])
			}
		}
	}
}

func TestExpiry(t *testing.T) {
	k, v := b("k"), b("v")
	const syntax, badSet = "ERR syntax error", "ERR invalid expire time in 'set' command"
	in := func(ms int64) Lifetime { return ForMillis(ms) }
	ttl := TTL(k, TTLMillis)
	for _, test := range []struct {
		name  string
		steps []any
	}{
		{"set for", []any{SetWith(k, v, 0, in(100)), "OK", ttl, "(100)", 99, Get(k), `"v"`, ttl, "(1)", 1, Get(k), "nil", ttl, "(-2)", DBSize(), "(0)"}},
		{"set until", []any{SetWith(k, v, 0, UntilMillis(1_000_050)), "OK", TTL(k, TTLUnixMill), "(1000050)", TTL(k, TTLUnix), "(1000)", 50, Exists(k), "(0)"}},
		{"set until the past removes", []any{Set(k, v, 0), "OK", SetWith(k, v, SetGet, UntilMillis(5)), `"v"`, Get(k), "nil", SetWith(k, v, 0, UntilMillis(5)), "OK", DBSize(), "(0)"}},
		{"set forgets it", []any{SetWith(k, v, 0, in(100)), "OK", Set(k, v, 0), "OK", ttl, "(-1)", 1000, Get(k), `"v"`}},
		{"keepttl", []any{SetWith(k, v, 0, Keep), "OK", ttl, "(-1)", SetWith(k, v, 0, in(100)), "OK", SetWith(k, b("w"), 0, Keep), "OK", ttl, "(100)", 100, Get(k), "nil"}},
		{"conditions", []any{SetWith(k, v, SetXX, in(100)), "nil", SetWith(k, v, SetNX, in(100)), "OK", SetWith(k, b("w"), SetNX, in(500)), "nil", ttl, "(100)", SetWith(k, b("w"), SetNX|SetGet, in(500)), `"v"`,
			100, SetWith(k, b("w"), SetXX, in(5)), "nil", SetWith(k, b("w"), SetNX|SetXX, in(5)), syntax}},
		{"bad lifetimes", []any{SetWith(k, v, 0, in(0)), badSet, SetWith(k, v, 0, in(-1)), badSet, SetWith(k, v, 0, in(math.MaxInt64)), badSet, SetWith(k, v, 0, UntilMillis(0)), badSet,
			GetEx(k, in(0)), "ERR invalid expire time in 'getex' command", Expire(k, in(math.MaxInt64), 0), "ERR invalid expire time in 'expire' command", Exists(k), "(0)",
			SetWith(k, v, 0, Lifetime{lifeFor | lifeUntil, 5}), badSet, Expire(k, Keep, 0), "ERR invalid expire time in 'expire' command", SetWith(k, v, 128, in(5)), syntax}},
		{"what changes a value keeps it", []any{SetWith(k, b("1"), 0, in(100)), "OK", IncrBy(k, 1), "(2)", Append(k, b("0")), "(2)", SetRange(k, 0, b("3")), "(2)", IncrByFloat(k, b("1")), `"31"`, Next(k, 2), "(32)", ttl, "(100)",
			SetIfValue(k, b("33"), b("34")), "(18)", ttl, "(100)", MSet(k, v), "OK", ttl, "(-1)"}},
		{"an expired key is a new one", []any{SetWith(k, b("7"), 0, in(10)), "OK", 10, IncrBy(k, 1), "(1)", ttl, "(-1)", SetWith(k, v, 0, in(10)), "OK", 10, Append(k, b("x")), "(1)", SetWith(k, v, 0, in(10)), "OK", 10, Del(k), "(0)",
			SetWith(k, v, 0, in(10)), "OK", 10, SetIfAbsent(k, v), "(1)"}},
		{"expire", []any{Expire(k, in(10), 0), "(0)", Set(k, v, 0), "OK", Expire(k, in(10), 0), "(1)", ttl, "(10)", Expire(k, in(20), ExpireNX), "(0)", Expire(k, in(20), ExpireXX), "(1)",
			Expire(k, in(20), ExpireGT), "(0)", Expire(k, in(21), ExpireGT), "(1)", Expire(k, in(21), ExpireLT), "(0)", Expire(k, in(5), ExpireLT), "(1)", ttl, "(5)", Expire(k, in(-5), 0), "(1)", Exists(k), "(0)"}},
		{"expire without a deadline", []any{Set(k, v, 0), "OK", Expire(k, in(10), ExpireGT), "(0)", Expire(k, in(10), ExpireXX), "(0)", Expire(k, in(10), ExpireLT), "(1)", Persist(k), "(1)", Persist(k), "(0)", Expire(k, in(10), ExpireNX), "(1)",
			Expire(k, in(10), ExpireNX|ExpireXX), syntax, Expire(k, in(10), ExpireGT|ExpireLT), syntax, Expire(k, UntilMillis(0), 0), "(1)", Exists(k), "(0)"}},
		{"getex", []any{GetEx(k, in(5)), "nil", Set(k, v, 0), "OK", GetEx(k, in(5)), `"v"`, ttl, "(5)", GetEx(k, Keep), `"v"`, ttl, "(5)", GetEx(k, Forever), `"v"`, ttl, "(-1)", GetEx(k, UntilMillis(1)), `"v"`, Exists(k), "(0)"}},
		{"seconds are rounded", []any{SetWith(k, v, 0, in(1500)), "OK", TTL(k, TTLSeconds), "(2)", 1, TTL(k, TTLSeconds), "(1)", TTL(b("x"), TTLSeconds), "(-2)", TTL(k, 9), syntax}},
		{"flushall", []any{SetWith(k, v, 0, in(5)), "OK", FlushAll(), "OK", Set(k, v, 0), "OK", 5, Get(k), `"v"`}},
	} {
		t.Run(test.name, func(t *testing.T) { newTimed(t).steps(test.steps...) })
	}
}

// TestQueriesAndClocks: whoever asks with a clock that is ahead gets no other answer
// than everybody, and is sent to the log where that would be old.
func TestQueriesAndClocks(t *testing.T) {
	m := newTimed(t)
	k, other := b("k"), b("other")
	m.steps(SetWith(k, b("v"), 0, ForMillis(100)), "OK", Set(other, b("x"), 0), "OK")
	for _, ahead := range []int64{-5, 0, 99} {
		if got := m.ask(Get(k), ahead); got != `"v"` {
			t.Errorf("%d ms ahead: %s", ahead, got)
		}
	}
	if got := m.ask(TTL(k, TTLMillis), 60); got != "(40)" {
		t.Errorf("TTL by a clock 60 ms ahead: %s", got)
	}
	for _, q := range [][]byte{Get(k), StrLen(k), Type(k), Exists(other, k), MGet(other, k), GetRange(k, 0, 1), TTL(k, TTLMillis), Keys(b("*")), Scan(0, ScanOptions{}), DBSize(), Versions(k), GetVersioned(k)} {
		if got := m.ask(q, 100); got != "needs log" {
			t.Errorf("%x: %s, want the log asked", q, got)
		}
	}
	if got := m.ask(Get(other), 100); got != `"x"` {
		t.Errorf("a key without a deadline: %s", got)
	}
	// The leader's clock is behind the asker's: by the log the key is still there.
	if got := m.do(Get(k)); got != `"v"` {
		t.Errorf("through the log: %s", got)
	}
	m.now += 100
	m.do(Get(k))
	m.now -= 100 // a clock that is behind sees it gone, too
	if got := m.ask(Get(k), 0); got != "nil" {
		t.Errorf("after the log's time has passed it: %s", got)
	}
	if got := m.ask(DBSize(), 1000); got != "(1)" {
		t.Errorf("nothing is left to expire: %s", got)
	}
}

// TestReapingIsBounded: however many keys expire at once, an entry removes a few, and
// all are out of sight.
func TestReapingIsBounded(t *testing.T) {
	m := newTimed(t)
	const keys = 1000
	for i := range keys {
		m.do(SetWith(fmt.Append(nil, i), b("v"), 0, ForMillis(50)))
	}
	m.do(Set(b("stays"), b("v"), 0))
	m.now += 50
	m.do(Get(b("x")))
	if m.keys.count != keys+1-reapMax || m.keys.len() != 1 || m.ask(Keys(b("*")), 0) != `["stays"]` {
		t.Fatalf("%d keys in the tree, %d to see; want %d and 1", m.keys.count, m.keys.len(), keys+1-reapMax)
	}
	restored := New()
	if err := restored.Restore(bytes.NewReader(snapshot(t, m.Machine))); err != nil || restored.keys.len() != 1 {
		t.Fatalf("restored: %v, %d keys to see", err, restored.keys.len())
	}
	for range keys / reapMax {
		m.do(Get(b("x")))
	}
	if m.keys.count != 1 || m.keys.deadlines.Len() != 0 {
		t.Fatalf("%d keys and %d deadlines are left, want 1 and none", m.keys.count, m.keys.deadlines.Len())
	}
}

// reference is what the machine does, on maps.
type reference struct {
	values    map[string]string
	deadlines map[string]int64
	changed   map[string]uint64
}

func (r *reference) expire(now int64) {
	for k, d := range r.deadlines {
		if d <= now {
			r.remove(k)
		}
	}
}

func (r *reference) remove(k string) {
	delete(r.values, k)
	delete(r.deadlines, k)
	delete(r.changed, k)
}

func (r *reference) ttl(k string, now int64) string {
	_, exists := r.values[k]
	d, has := r.deadlines[k]
	switch {
	case !exists:
		return "(-2)"
	case !has:
		return "(-1)"
	}
	return fmt.Sprintf("(%d)", d-now)
}

// TestExpiryAgainstModel compares with maps, snapshots among the commands, with
// hashes as they are and many keys of one.
func TestExpiryAgainstModel(t *testing.T) {
	for name, hash := range map[string]func([]byte) uint64{
		"hashed": hashKey, "colliding": func(key []byte) uint64 { return uint64(key[len(key)-1]) % 2 },
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(10) {
				m := newTimed(t)
				m.keys.hash = hash
				compareExpiry(t, m, rand.New(rand.NewPCG(seed, 1)))
			}
		})
	}
}

func compareExpiry(t *testing.T, m *timed, rng *rand.Rand) {
	ref := &reference{map[string]string{}, map[string]int64{}, map[string]uint64{}}
	m.do(Versions()) // versions are kept from here on
	var views []func()
	for step := range 2000 {
		if rng.IntN(3) == 0 {
			m.now += rng.Int64N(40)
		}
		// Another clock asks before the log's time has moved on.
		k := "key" + strconv.Itoa(rng.IntN(12))
		ref.expire(m.now)
		old, exists := ref.values[k]
		v := strconv.Itoa(rng.IntN(100))
		ms := rng.Int64N(80) + 1
		got, want := "", ""
		touch := func() { ref.changed[k] = m.index }
		switch rng.IntN(10) {
		case 0:
			got, want = m.do(SetWith(b(k), b(v), 0, ForMillis(ms))), "OK"
			ref.values[k], ref.deadlines[k] = v, m.now+ms
			touch()
		case 1:
			got, want = m.do(Set(b(k), b(v), 0)), "OK"
			ref.values[k] = v
			delete(ref.deadlines, k)
			touch()
		case 2:
			got, want = m.do(Expire(b(k), UntilMillis(m.now+ms-20), 0)), "(0)"
			if exists {
				want = "(1)"
				ref.deadlines[k] = m.now + ms - 20
				touch()
			}
			ref.expire(m.now)
		case 3:
			got, want = m.do(Persist(b(k))), "(0)"
			if ref.deadlines[k] != 0 {
				want = "(1)"
				delete(ref.deadlines, k)
				touch()
			}
		case 4:
			got, want = m.do(Del(b(k))), "(0)"
			if exists {
				want = "(1)"
			}
			ref.remove(k)
		case 5:
			got = m.do(Append(b(k), b("1")))
			ref.values[k] = old + "1"
			want = fmt.Sprintf("(%d)", len(old)+1)
			touch()
			if len(old) > 20 {
				m.do(Set(b(k), b(v), 0))
				ref.values[k] = v
				delete(ref.deadlines, k)
				touch()
			}
		case 6:
			got, want = m.do(TTL(b(k), TTLMillis)), ref.ttl(k, m.now)
		case 7:
			guess := ref.changed[k]
			if rng.IntN(2) == 0 {
				guess += rng.Uint64N(2)
			}
			got, want = m.do(SetIfVersion(b(k), guess, b(v))), "nil"
			if guess == ref.changed[k] {
				ref.values[k] = v
				touch()
				want = fmt.Sprintf("(%d)", m.index)
			}
		case 8:
			m.do(Get(b("none"))) // the log's time is now
			want = "nil"
			if exists {
				want = strconv.Quote(old)
			}
			ahead := rng.Int64N(30)
			got = m.ask(Get(b(k)), ahead)
			if d := ref.deadlines[k]; d != 0 && d <= m.now+ahead {
				want = "needs log"
			}
		default:
			got, want = m.do(DBSize()), fmt.Sprintf("(%d)", len(ref.values))
		}
		if got != want {
			t.Fatalf("step %d on %q: %s, want %s", step, k, got, want)
		}
		if got, want := m.version(b(k)), ref.changed[k]; got != want {
			t.Fatalf("step %d: version %d of %q, want %d", step, got, k, want)
		}
		if step%200 == 0 {
			views = append(views, m.checkSnapshot(ref))
		}
	}
	for _, check := range views {
		check()
	}
}

// checkSnapshot goes on with a machine restored from a snapshot, and returns a check
// that the view has stayed what it was.
func (m *timed) checkSnapshot(ref *reference) func() {
	m.t.Helper()
	v, err := m.Machine.Snapshot()
	if err != nil {
		m.t.Fatal(err)
	}
	var first bytes.Buffer
	if _, err := v.WriteTo(&first); err != nil {
		m.t.Fatal(err)
	}
	restored := New()
	restored.keys.hash = m.keys.hash
	if err := restored.Restore(bytes.NewReader(first.Bytes())); err != nil {
		m.t.Fatal(err)
	}
	if !bytes.Equal(snapshot(m.t, restored), first.Bytes()) {
		m.t.Fatal("a snapshot, and one of the machine restored from it, differ")
	}
	var listed []string
	restored.keys.ascend(0, func(_ uint64, it *item) bool {
		listed = append(listed, it.key)
		return true
	})
	for _, k := range listed {
		if _, ok := ref.values[k]; !ok {
			m.t.Fatalf("%q is in the snapshot, and to see", k)
		}
	}
	if len(listed) != len(ref.values) {
		m.t.Fatalf("%d keys restored, want %d", len(listed), len(ref.values))
	}
	old := m.Machine
	m.Machine = restored
	return func() {
		var again bytes.Buffer
		if _, err := v.WriteTo(&again); err != nil || !bytes.Equal(again.Bytes(), first.Bytes()) {
			m.t.Errorf("the view has changed (%v)", err)
		}
		v.Release()
		_ = old
	}
}

func TestSnapshotBytesWithVersions(t *testing.T) {
	m := New()
	apply := func(index uint64, ms int64, data []byte) {
		if _, err := m.Apply(fsm.Entry{Index: index, Time: time.UnixMilli(ms), Data: data}); err != nil {
			t.Fatal(err)
		}
	}
	apply(3, 5, Set(b("a"), b("1"), 0))
	apply(4, 6, SetWith(b("b"), b("2"), 0, ForMillis(300)))
	apply(9, 7, Append(b("b"), b("3")))
	// Written down once: a change here needs a new version.
	entries := map[string]string{"a": "01610131" + "00" + "00", "b": "0162023233" + "b202" + "05"}
	order := []string{"a", "b"}
	slices.SortFunc(order, func(x, y string) int {
		if hashKey(b(x)) < hashKey(b(y)) {
			return -1
		}
		return 1
	})
	want := "70726b7602000000" + "07" + "04" + "02" + entries[order[0]] + entries[order[1]]
	if got := snapshot(t, m); len(got) != len(want)/2+4 || !bytes.HasPrefix(got, unhex(want)) {
		t.Fatalf("%x, want %s and a checksum", got, want)
	}
}

// TestOlderSnapshots: members that were restored from snapshots of an older program,
// taken at different places, and one that has applied all, agree on versions.
func TestOlderSnapshots(t *testing.T) {
	var log [][]byte
	for i := range 20 {
		log = append(log, Set(fmt.Append(nil, "k", i%7), fmt.Append(nil, i), 0))
	}
	var members []*timed
	for at := 0; at <= len(log); at += 5 {
		m := newTimed(t)
		for _, data := range log[:at] {
			m.do(data)
		}
		image := snapshot(t, m.Machine)
		if image[4] != snapshotPlain {
			t.Fatalf("version %d of a snapshot without versions, want %d", image[4], snapshotPlain)
		}
		if err := m.Restore(bytes.NewReader(image)); err != nil {
			t.Fatal(err)
		}
		for _, data := range log[at:] {
			m.do(data)
		}
		if got := m.ask(Versions(b("k1")), 0); got != "needs log" {
			t.Fatalf("versions before any are kept: %s", got)
		}
		m.steps(Versions(b("k1"), b("none")), "[(31) (0)]", Set(b("k2"), b("x"), 0), "OK", Versions(b("k1"), b("k2")), "[(31) (32)]",
			SetIfVersion(b("k2"), 31, b("y")), "nil", SetIfVersion(b("k1"), 31, b("y")), "(35)")
		members = append(members, m)
	}
	for _, m := range members[1:] {
		if !bytes.Equal(snapshot(t, m.Machine), snapshot(t, members[0].Machine)) {
			t.Fatal("the members' states differ")
		}
	}
}

func TestSnapshotWithVersionsRefusesDamage(t *testing.T) {
	m := newTimed(t)
	for i := range 20 {
		m.do(SetWith(fmt.Append(nil, "key", i), b("value"), 0, ForMillis(int64(100+i))))
	}
	good := snapshot(t, m.Machine)
	target := New()
	for i := range good {
		flipped := bytes.Clone(good)
		flipped[i] ^= 0x10
		for what, data := range map[string][]byte{"cut": good[:i], "flipped": flipped} {
			if err := target.Restore(bytes.NewReader(data)); err == nil || !strings.HasPrefix(err.Error(), ErrSnapshot.Error()) {
				t.Fatalf("%s at %d: %v, want ErrSnapshot", what, i, err)
			}
		}
	}
}

// TestKeysThatLinger: keys that have expired and are not removed yet are no keys to
// any command.
func TestKeysThatLinger(t *testing.T) {
	m := newTimed(t)
	const keys = 20 * reapMax
	key := func(i int) []byte { return fmt.Appendf(nil, "%05d", i) }
	for i := range keys {
		m.do(SetWith(key(i), b("7"), 0, ForMillis(50)))
	}
	m.now += 50
	last := keys // removed in the order of deadline and key: the last ones linger
	lingering := func() []byte { last--; return key(last) }
	k := lingering()
	m.steps(Del(lingering()), "(0)", GetDel(lingering()), "nil", SetIfAbsent(lingering(), b("v")), "(1)", IncrBy(k, 1), "(1)", Get(k), `"1"`, TTL(k, TTLMillis), "(-1)", DBSize(), "(2)", Expire(lingering(), ForMillis(5), 0), "(0)")
	for range keys / reapMax {
		m.do(Get(b("x")))
	}
	if m.keys.count != 2 || m.keys.deadlines.Len() != 0 || m.do(Get(k)) != `"1"` {
		t.Errorf("%d keys and %d deadlines are left, want 2 and none", m.keys.count, m.keys.deadlines.Len())
	}
}
