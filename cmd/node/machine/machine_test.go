package machine

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/protoraft/protoraft/fsm"
	"github.com/protoraft/protoraft/fsm/fsmtest"
	"github.com/protoraft/protoraft/fsm/kv"
	"github.com/protoraft/protoraft/fsm/lock"
)

func apply(t *testing.T, m fsm.StateMachine, index uint64, data []byte) kv.Reply {
	t.Helper()
	raw, err := m.Apply(fsm.Entry{Index: index, Time: time.UnixMilli(5), Data: data})
	if err != nil {
		t.Fatal(err)
	}
	r, err := kv.ParseReply(raw)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func image(t *testing.T, m fsm.StateMachine) []byte {
	t.Helper()
	v, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Release()
	var b bytes.Buffer
	if n, err := v.WriteTo(&b); err != nil || n != int64(b.Len()) {
		t.Fatalf("%d of %d bytes, %v", n, b.Len(), err)
	}
	return b.Bytes()
}

// TestKeysAloneAreCompatible: what a machine of keys has written is read, and written
// again as it was, until there are locks.
func TestKeysAloneAreCompatible(t *testing.T) {
	keys, m := kv.New(), New()
	for i := range uint64(50) {
		apply(t, keys, i+1, kv.Set(strconv.AppendUint(nil, i%20, 10), []byte("v"), 0))
	}
	old := image(t, keys)
	if err := m.Restore(bytes.NewReader(old)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(image(t, m), old) {
		t.Fatal("a snapshot without locks is not that of the keys")
	}
	if r := apply(t, keys, 60, Lock(lock.Acquire("l", "a", time.Minute, 0))); r.Err() == nil {
		t.Errorf("a machine of keys has executed a command for locks: %+v", r)
	}
	if r := apply(t, m, 60, Lock(lock.Acquire("l", "a", time.Minute, 0))); r.Int != 60 {
		t.Errorf("the lock's token is %+v, want 60", r)
	}
	both := image(t, m)
	if want := "prnd\x01\x00\x00\x00" + "\x17" + "prlk\x01\x00\x00\x00"; !bytes.HasPrefix(both, []byte(want)) {
		t.Fatalf("%q, want it to begin with %q", both, want)
	}
	if !bytes.HasSuffix(both, old) {
		t.Fatal("the keys' snapshot is not at the end")
	}
	restored := New()
	if err := restored.Restore(bytes.NewReader(both)); err != nil || !bytes.Equal(image(t, restored), both) {
		t.Fatalf("restored: %v", err)
	}
	for i := range both {
		if err := restored.Restore(bytes.NewReader(both[:i])); err == nil {
			t.Fatalf("cut to %d bytes it was restored", i)
		}
	}
	both[4]++
	if err := restored.Restore(bytes.NewReader(both)); !errors.Is(err, ErrSnapshot) {
		t.Fatalf("of another version: %v", err)
	}
}

// TestContract tries the machine alone and replicated under faults.
func TestContract(t *testing.T) {
	number := func(rng *rand.Rand) string { return strconv.Itoa(rng.IntN(5)) }
	fsmtest.Run(t, fsmtest.Kit{
		Seeds: 30, Worlds: 4,
		New: func() fsm.StateMachine { return New() },
		Command: func(rng *rand.Rand) []byte {
			key := []byte(number(rng))
			switch rng.IntN(6) {
			case 0:
				return Lock(lock.Acquire(number(rng), number(rng), time.Duration(rng.Int64N(2000))*time.Millisecond, time.Second))
			case 1:
				return Lock(lock.Release(number(rng), rng.Uint64N(200)))
			case 2:
				return []byte("\x00nonsense")[:rng.IntN(9)]
			case 3:
				return kv.Exec(nil, kv.IncrBy(key, 1), kv.SetWith(key, key, kv.SetNX, kv.For(time.Second)))
			}
			return kv.IncrBy(key, 1)
		},
		Query: func(rng *rand.Rand) []byte {
			if rng.IntN(2) == 0 {
				return Lock(lock.Inspect(number(rng), time.Time{}))
			}
			return kv.Get([]byte(number(rng)))
		},
	})
}
