package kv

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"sync"
	"testing"

	"github.com/protoraft/protoraft/fsm"
)

func snapshot(t testing.TB, m *Machine) []byte {
	t.Helper()
	v, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Release()
	var out bytes.Buffer
	if n, err := v.WriteTo(&out); err != nil || n != int64(out.Len()) {
		t.Fatalf("WriteTo: %d of %d, %v", n, out.Len(), err)
	}
	return out.Bytes()
}

func TestEqualStatesWriteEqualBytes(t *testing.T) {
	for _, hash := range []func([]byte) uint64{hashKey, func(key []byte) uint64 { return uint64(key[0]) % 3 }} {
		forth, back := New(), New()
		forth.keys.hash, back.keys.hash = hash, hash
		for i := range 300 {
			run(t, forth, Set(b(strconv.Itoa(i)), b("v"+strconv.Itoa(i)), 0))
			run(t, back, Append(b(strconv.Itoa(299-i)), b("v"+strconv.Itoa(299-i))))
			run(t, back, Set(b("gone"), b("x"), 0))
		}
		run(t, back, Del(b("gone")))
		s := snapshot(t, forth)
		if !bytes.Equal(s, snapshot(t, back)) {
			t.Fatal("equal states, different bytes")
		}
		restored := New()
		restored.keys.hash = hash
		run(t, restored, Set(b("before"), nil, 0))
		if err := restored.Restore(bytes.NewReader(s)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(s, snapshot(t, restored)) || restored.keys.len() != 300 {
			t.Fatalf("restored %d keys, and they write other bytes", restored.keys.len())
		}
		run(t, restored, Set(b("after"), b("x"), 0))
		if got := run(t, restored, MGet(b("7"), b("after"), b("before"))); got != `["v7" "x" nil]` {
			t.Fatal(got)
		}
	}
}

func TestSnapshotBytes(t *testing.T) {
	m := New()
	run(t, m, Set(b("a"), b("1"), 0))
	// Written down once: a change here needs a new version.
	want := "70726b7601000000" + "01" + "0161" + "0131"
	if got := snapshot(t, m); len(got) != len(want)/2+4 || !bytes.HasPrefix(got, unhex(want)) {
		t.Fatalf("%x, want %s and a checksum", got, want)
	}
}

func unhex(s string) []byte {
	out := make([]byte, len(s)/2)
	for i := range out {
		n, _ := strconv.ParseUint(s[2*i:2*i+2], 16, 8)
		out[i] = byte(n)
	}
	return out
}

func TestRestoreRefusesDamage(t *testing.T) {
	m := New()
	for i := range 20 {
		run(t, m, Set(b("key"+strconv.Itoa(i)), b("value"), 0))
	}
	good := snapshot(t, m)
	target := New()
	run(t, target, Set(b("mine"), b("kept"), 0))
	refuse := func(what string, data []byte) {
		t.Helper()
		if err := target.Restore(bytes.NewReader(data)); !errors.Is(err, ErrSnapshot) {
			t.Fatalf("%s: %v, want ErrSnapshot", what, err)
		}
		if got := run(t, target, Get(b("mine"))); got != `"kept"` {
			t.Fatalf("%s changed the state: %s", what, got)
		}
	}
	for i := range good {
		refuse("cut at "+strconv.Itoa(i), good[:i])
		flipped := bytes.Clone(good)
		flipped[i] ^= 0x10
		refuse("bit flipped in byte "+strconv.Itoa(i), flipped)
	}
	refuse("a byte more", append(bytes.Clone(good), 0))
}

type brokenWriter struct{ left int }

func (w *brokenWriter) Write(p []byte) (int, error) {
	if len(p) > w.left {
		return w.left, io.ErrShortWrite
	}
	w.left -= len(p)
	return len(p), nil
}

func TestWriteErrorIsReported(t *testing.T) {
	m := New()
	run(t, m, Set(b("k"), make([]byte, 100_000), 0))
	v, _ := m.Snapshot()
	for _, room := range []int{0, 50_000, 100_017} {
		if _, err := v.WriteTo(&brokenWriter{left: room}); !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("room for %d bytes: %v, want the writer's error", room, err)
		}
	}
}

// TestViewsAreOfTheirMoment writes views while applying goes on; the race
// detector watches.
func TestViewsAreOfTheirMoment(t *testing.T) {
	m := New()
	key := func(i int) []byte { return b("k" + strconv.Itoa(i%500)) }
	var writing sync.WaitGroup
	for i := range 5000 {
		switch i % 5 {
		case 0:
			run(t, m, Append(key(i), b("tail")))
		case 1:
			run(t, m, Del(key(i*7)))
		case 2:
			run(t, m, SetRange(key(i), 2, b("xy")))
		default:
			run(t, m, Set(key(i), b(strconv.Itoa(i)), 0))
		}
		if i%1000 != 999 {
			continue
		}
		want := snapshot(t, m)
		v, err := m.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		writing.Add(1)
		go func() {
			defer writing.Done()
			for range 20 {
				var out bytes.Buffer
				if _, err := v.WriteTo(&out); err != nil || !bytes.Equal(out.Bytes(), want) {
					t.Errorf("the view changed (%v)", err)
				}
			}
			v.Release()
		}()
	}
	writing.Wait()
}

func benchmarkApply(bench *testing.B, keys int, command func(i int) []byte) {
	m := New()
	for i := range keys {
		if _, err := m.Apply(fsm.Entry{Data: Set(b("key:"+strconv.Itoa(i)), b("0"), 0)}); err != nil {
			bench.Fatal(err)
		}
	}
	data := make([][]byte, 1<<14)
	for i := range data {
		data[i] = command(i * 7919 % keys)
	}
	bench.ReportAllocs()
	bench.ResetTimer()
	for i := range bench.N {
		if _, err := m.Apply(fsm.Entry{Data: data[i%len(data)]}); err != nil {
			bench.Fatal(err)
		}
	}
}

func BenchmarkApply(bench *testing.B) {
	key := func(i int) []byte { return b("key:" + strconv.Itoa(i)) }
	for _, keys := range []int{1000, 1_000_000} {
		for _, c := range []struct {
			name    string
			command func(i int) []byte
		}{
			{"set", func(i int) []byte { return Set(key(i), b("sixteen bytes ok"), 0) }},
			{"get", func(i int) []byte { return Get(key(i)) }},
			{"incr", func(i int) []byte { return IncrBy(key(i), 1) }},
			{"incrbyfloat", func(i int) []byte { return IncrByFloat(key(i), b("0.5")) }},
		} {
			bench.Run(c.name+"/"+strconv.Itoa(keys), func(bench *testing.B) { benchmarkApply(bench, keys, c.command) })
		}
	}
}
