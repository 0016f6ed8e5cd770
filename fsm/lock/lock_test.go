package lock

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/protoraft/protoraft/fsm"
	"github.com/protoraft/protoraft/fsm/fsmtest"
	"github.com/protoraft/protoraft/fsm/kv"
)

const ms = time.Millisecond

// timed is a machine with a log.
type timed struct {
	*Machine
	t     testing.TB
	index uint64
	now   int64
}

func newTimed(t testing.TB) *timed { return &timed{New(), t, 100, 1_000_000} }

func (m *timed) apply(data []byte) []byte {
	m.t.Helper()
	m.index++
	reply, err := m.Apply(fsm.Entry{Index: m.index, Time: time.UnixMilli(m.now), Data: data})
	if err != nil {
		m.t.Fatal(err)
	}
	return reply
}

// do shows a reply as text.
func (m *timed) do(data []byte) string {
	m.t.Helper()
	return m.show(m.apply(data))
}

func (m *timed) show(reply []byte) string {
	r, err := kv.ParseReply(reply)
	switch {
	case err != nil:
		m.t.Fatal(err)
	case r.Err() != nil:
		return r.Err().Error()
	case r.Kind == kv.Nil:
		return "nil"
	case r.Kind == kv.Int:
		return strconv.FormatInt(r.Int, 10)
	}
	s, err := ParseStatus(reply)
	if err != nil {
		m.t.Fatal(err)
	}
	return fmt.Sprintf("%q %d %v %d", s.Owner, s.Token, s.Left, s.Waiting)
}

func TestLocks(t *testing.T) {
	at := func(left int64) []byte { return Inspect("l", time.UnixMilli(left)) }
	long := strings.Repeat("x", MaxNameBytes+1)
	for _, test := range []struct {
		name  string
		steps []any // a command and its reply, or by how much time passes
	}{
		{"acquire and release", []any{at(0), "nil", Acquire("l", "a", 50*ms, 0), "102", at(0), `"a" 102 50ms 0`, Acquire("l", "b", 50*ms, 0), "nil", Release("l", 101), "0", Release("l", 102), "1", Release("l", 102), "0", at(0), "nil", Acquire("l", "b", 50*ms, 0), "109"}},
		{"it ends", []any{Acquire("l", "a", 50*ms, 0), "101", 49, Acquire("l", "b", 50*ms, 0), "nil", 1, Acquire("l", "b", 50*ms, 0), "103", Renew("l", 101, ms), "0", Release("l", 101), "0", Renew("l", 103, ms), "1", 1, Renew("l", 103, ms), "0"}},
		{"asked again", []any{Acquire("l", "a", 50*ms, 0), "101", 20, Acquire("l", "a", 10*ms, 0), "101", at(0), `"a" 101 30ms 0`, Acquire("l", "a", 50*ms, 0), "101", at(0), `"a" 101 50ms 0`}},
		{"renew", []any{Acquire("l", "a", 50*ms, 0), "101", 49, Renew("l", 101, 50*ms), "1", 49, Renew("l", 101, 5*ms), "1", 5, Renew("l", 101, 50*ms), "0", at(0), "nil"}},
		{"first come, first served", []any{Acquire("l", "a", 50*ms, 0), "101", Acquire("l", "b", 50*ms, 100*ms), "nil", Acquire("l", "c", 50*ms, 100*ms), "nil", at(0), `"a" 101 50ms 2`, Release("l", 101), "1", at(0), `"" 0 0s 2`,
			Acquire("l", "c", 50*ms, 100*ms), "nil", Acquire("l", "d", 50*ms, 0), "nil", Acquire("l", "b", 50*ms, 0), "109", Leave("l", "x"), "0", Leave("l", "c"), "1", at(0), `"b" 109 50ms 0`}},
		{"a place nobody keeps on", []any{Acquire("l", "a", 50*ms, 0), "101", Acquire("l", "b", 50*ms, 60*ms), "nil", Acquire("l", "c", 50*ms, 70*ms), "nil", 59, Acquire("l", "c", 50*ms, 70*ms), "nil", 1, Acquire("l", "c", 50*ms, 70*ms), "105", at(0), `"c" 105 50ms 0`}},
		{"refused", []any{Acquire("", "a", ms, 0), "ERR a lock's name has 0 bytes, expected 1 to 512", Acquire(long, "a", ms, 0), "ERR a lock's name has 513 bytes, expected 1 to 512",
			Acquire("l", "", ms, 0), "ERR an owner's name has 0 bytes, expected 1 to 256", Acquire("l", "a", 0, 0), "ERR a TTL of 0 ms, expected 1 to 86400000", Acquire("l", "a", MaxTTL+1, 0), "ERR a TTL of 86400001 ms, expected 1 to 86400000",
			Acquire("l", "a", ms, -ms), "ERR a wait of -1 ms, expected 0 to 86400000", Renew("l", 1, -ms), "ERR a TTL of -1 ms, expected 1 to 86400000", Renew("l", 0, ms), "0", Release("l", 0), "0",
			[]byte{tagOp, 9, tagName, 1, 'l'}, "ERR unknown operation 9: a newer version wrote it", []byte{tagOp}, "ERR malformed command: field with tag 0x8: no varint", []byte{0x78, 1}, "ERR malformed command: unknown tag 0x78", []byte{tagName, 9}, "ERR malformed command: field with tag 0x12: 9 bytes announced, 0 left", []byte{}, "ERR malformed command: no operation", at(0), "nil"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newTimed(t)
			for i := 0; i < len(test.steps); i++ {
				if pass, ok := test.steps[i].(int); ok {
					m.now += int64(pass)
					continue
				}
				if got := m.do(test.steps[i].([]byte)); got != test.steps[i+1] {
					t.Fatalf("step %d: %s, want %s", i, got, test.steps[i+1])
				}
				i++
			}
		})
	}
}

func TestInspectAsksTheLog(t *testing.T) {
	m := newTimed(t)
	m.apply(Acquire("l", "a", 50*ms, 0))
	m.apply(Acquire("l", "b", 50*ms, 40*ms))
	for after, want := range map[int64]string{-100: `"a" 101 50ms 1`, 39: `"a" 101 11ms 1`, 40: "needs log", 50: "needs log"} {
		reply, err := m.Query(Inspect("l", time.UnixMilli(m.now+after)))
		if err != nil {
			t.Fatal(err)
		}
		got := "needs log"
		if !kv.NeedsLog(reply) {
			got = m.show(reply)
		}
		if got != want {
			t.Errorf("by a clock %d ms ahead: %s, want %s", after, got, want)
		}
	}
	if _, err := m.Query(Release("l", 101)); !errors.Is(err, ErrNotQuery) {
		t.Errorf("a command as a query: %v", err)
	}
}

func TestBounds(t *testing.T) {
	m := newTimed(t)
	m.apply(Acquire("l", "a", time.Hour, 0))
	for i := range MaxQueue {
		m.apply(Acquire("l", fmt.Sprint("w", i), ms, time.Hour))
	}
	if got := m.do(Acquire("l", "more", ms, time.Hour)); got != "ERR the queue is full: 64 wait for this lock" {
		t.Error(got)
	}
	if got := m.do(Acquire("l", "w3", ms, time.Hour)); got != "nil" {
		t.Errorf("who waits already: %s", got)
	}
	for i := range MaxLocks - 1 {
		m.apply(Acquire(fmt.Sprint("n", i), "a", 10*time.Minute, 0))
	}
	if got := m.do(Acquire("m", "a", ms, 0)); got != "ERR too many locks: 65536 are held or waited for" {
		t.Error(got)
	}
	m.now += time.Hour.Milliseconds()
	if got := m.do(Acquire("m", "a", ms, 0)); got != strconv.FormatUint(m.index, 10) {
		t.Errorf("when all have ended: %s", got)
	}
	for range MaxLocks / reapMax {
		m.apply(Leave("m", "x"))
	}
	if m.locks.Len() != 1 || m.ends.Len() != 1 || m.waiting != 0 {
		t.Errorf("%d locks, %d ends and %d places are left, want one lock", m.locks.Len(), m.ends.Len(), m.waiting)
	}
}

// TestAgainstModel: random owners against a list of who holds what, and the promises
// themselves: one holder at a time, tokens that only grow, no overtaking in a queue.
func TestAgainstModel(t *testing.T) {
	type holder struct {
		owner string
		token uint64
		until int64
	}
	for seed := range uint64(10) {
		rng := rand.New(rand.NewPCG(seed, 9))
		m, held, last := newTimed(t), map[string]holder{}, map[string]uint64{}
		for step := range 3000 {
			m.now += rng.Int64N(10)
			name, owner := "l"+strconv.Itoa(rng.IntN(3)), "o"+strconv.Itoa(rng.IntN(4))
			ttl := 1 + rng.Int64N(60)
			h := held[name]
			if h.until <= m.now {
				h = holder{}
			}
			switch rng.IntN(5) {
			case 0, 1:
				m.apply(Leave("x", "x")) // the log's time is now
				queue := m.current(name).queue
				token, err := ParseToken(m.apply(Acquire(name, owner, time.Duration(ttl)*ms, time.Duration(rng.Int64N(30))*ms)))
				first := len(queue) == 0 || queue[0].owner == owner
				switch {
				case err != nil:
					t.Fatal(err)
				case h.owner == owner:
					if token != h.token {
						t.Fatalf("seed %d, step %d: %s holds %s by %d and is given %d", seed, step, owner, name, h.token, token)
					}
					h.until = max(h.until, m.now+ttl)
				case h.owner != "" || !first:
					if token != 0 {
						t.Fatalf("seed %d, step %d: %s is given %s, which %q holds and %v wait for", seed, step, owner, name, h.owner, queue)
					}
				case token != m.index || token <= last[name]:
					t.Fatalf("seed %d, step %d: token %d at entry %d after %d", seed, step, token, m.index, last[name])
				default:
					h = holder{owner, token, m.now + ttl}
					last[name] = token
				}
			case 2:
				token := h.token + rng.Uint64N(2)
				done, err := ParseDone(m.apply(Renew(name, token, time.Duration(ttl)*ms)))
				if err != nil || done != (token != 0 && token == h.token) {
					t.Fatalf("seed %d, step %d: renewed %v, %v", seed, step, done, err)
				}
				if done {
					h.until = m.now + ttl
				}
			case 3:
				done, err := ParseDone(m.apply(Release(name, h.token)))
				if err != nil || done != (h.token != 0) {
					t.Fatalf("seed %d, step %d: released %v, %v", seed, step, done, err)
				}
				h = holder{}
			default:
				s, err := ParseStatus(m.apply(Inspect(name, time.Time{})))
				if err != nil || s.Token != h.token || h.token != 0 && (s.Owner != h.owner || s.Left.Milliseconds() != h.until-m.now) {
					t.Fatalf("seed %d, step %d: %+v, %v; want %+v", seed, step, s, err, h)
				}
			}
			held[name] = h
			if step%300 == 0 {
				m.restart()
			}
		}
	}
}

func (m *timed) image() []byte {
	v, err := m.Snapshot()
	if err != nil {
		m.t.Fatal(err)
	}
	defer v.Release()
	var b bytes.Buffer
	if _, err := v.WriteTo(&b); err != nil {
		m.t.Fatal(err)
	}
	return b.Bytes()
}

func (m *timed) restart() {
	m.t.Helper()
	image := m.image()
	m.Machine = New()
	if err := m.Restore(bytes.NewReader(image)); err != nil {
		m.t.Fatal(err)
	}
}

func TestSnapshotBytes(t *testing.T) {
	m := &timed{New(), t, 1, 5}
	m.apply(Acquire("l", "a", 10*ms, 0))
	m.apply(Acquire("l", "b", 10*ms, 300*ms))
	// Written down once: a change here needs a new version.
	want := "prlk\x01\x00\x00\x00" + "\x05\x01" + "\x01l\x01a\x02\x0f\x01" + "\x01b\xb1\x02"
	got := m.image()
	if len(got) != len(want)+4 || string(got[:len(want)]) != want {
		t.Fatalf("%q, want %q and a checksum", got, want)
	}
	target := newTimed(t)
	target.apply(Acquire("mine", "a", time.Hour, 0))
	before := target.image()
	for i := range got {
		flipped := bytes.Clone(got)
		flipped[i] ^= 0x10
		for _, bad := range [][]byte{got[:i], flipped, append(bytes.Clone(got), 0)} {
			if err := target.Restore(bytes.NewReader(bad)); !errors.Is(err, ErrSnapshot) || !bytes.Equal(target.image(), before) {
				t.Fatalf("damage at byte %d: %v", i, err)
			}
		}
	}
}

func drawCommand(rng *rand.Rand) []byte {
	name, owner := "l"+strconv.Itoa(rng.IntN(4)), "o"+strconv.Itoa(rng.IntN(4))
	d := func() time.Duration { return time.Duration(rng.Int64N(4000)) * ms }
	switch rng.IntN(8) {
	case 0, 1:
		return Acquire(name, owner, d(), 0)
	case 2, 3:
		return Acquire(name, owner, d(), d())
	case 4:
		return Renew(name, 3+rng.Uint64N(250), d())
	case 5:
		return Release(name, 3+rng.Uint64N(250))
	case 6:
		return Leave(name, owner)
	}
	if rng.IntN(2) == 0 {
		return []byte("nonsense")[:rng.IntN(9)]
	}
	return Inspect(name, time.UnixMilli(rng.Int64N(1_700_000_100_000)))
}

// TestContract tries the machine alone and replicated under faults.
func TestContract(t *testing.T) {
	fsmtest.Run(t, fsmtest.Kit{
		New:     func() fsm.StateMachine { return New() },
		Command: drawCommand,
		Query: func(rng *rand.Rand) []byte {
			return Inspect("l"+strconv.Itoa(rng.IntN(4)), time.UnixMilli(1_700_000_000_000+rng.Int64N(200_000)))
		},
	})
}

func FuzzApply(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 20 {
		f.Add(drawCommand(rng), drawCommand(rng))
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		m := newTimed(t)
		for _, data := range [][]byte{Acquire("l", "o", ms, 0), first, second} {
			if _, err := kv.ParseReply(m.apply(data)); err != nil {
				t.Fatal(err)
			}
			m.now++
		}
		image := m.image()
		m.restart()
		if !bytes.Equal(image, m.image()) {
			t.Fatal("what it has made is not what is restored")
		}
	})
}

func FuzzRestore(f *testing.F) {
	m := newTimed(f)
	f.Add(m.image())
	m.apply(Acquire("l", "a", time.Hour, 0))
	m.apply(Acquire("l", "b", time.Hour, time.Hour))
	f.Add(m.image())
	f.Fuzz(func(t *testing.T, image []byte) {
		m := newTimed(t)
		if m.Restore(bytes.NewReader(image)) == nil && !bytes.Equal(m.image(), image) {
			t.Fatalf("%x was restored and is written as %x", image, m.image())
		}
	})
}
