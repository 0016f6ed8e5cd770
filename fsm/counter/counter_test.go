package counter

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/protoraft/protoraft/fsm"
)

func apply(t *testing.T, m *Machine, command []byte) (int64, error) {
	t.Helper()
	reply, err := m.Apply(fsm.Entry{Data: command})
	if err != nil {
		t.Fatalf("Apply(%x): %v", command, err)
	}
	return Parse(reply)
}

func TestAdd(t *testing.T) {
	m := New(Hooks{})
	for _, step := range []struct{ delta, want int64 }{
		{1, 1}, {41, 42}, {-50, -8}, {0, -8}, {8, 0}, {math.MaxInt64, math.MaxInt64}, {math.MinInt64, -1},
	} {
		if got, err := apply(t, m, Add(step.delta)); err != nil || got != step.want {
			t.Fatalf("Add(%d) = %d, %v; want %d", step.delta, got, err, step.want)
		}
	}
	answer, err := m.Query(Read())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Parse(answer); err != nil || got != -1 {
		t.Fatalf("Read = %d, %v; want -1", got, err)
	}
}

func TestOverflowIsRefused(t *testing.T) {
	for _, sign := range []int64{1, -1} {
		m := New(Hooks{})
		start := sign * math.MaxInt64
		if _, err := apply(t, m, Add(start)); err != nil {
			t.Fatal(err)
		}
		got, err := apply(t, m, Add(sign*2))
		if !errors.Is(err, ErrOverflow) || got != start {
			t.Fatalf("%d + %d = %d, %v; want ErrOverflow and the value kept", start, sign*2, got, err)
		}
	}
}

func TestMalformedIsAnsweredAndChangesNothing(t *testing.T) {
	m := New(Hooks{})
	if _, err := apply(t, m, Add(7)); err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]byte{nil, {8}, {8, 0x80}, {9, 1}, append(Add(1), 0), bytes.Repeat([]byte{0xff}, 20)} {
		if _, err := apply(t, m, bad); err == nil {
			t.Errorf("command %x was accepted", bad)
		}
	}
	if m.value != 7 {
		t.Fatalf("value %d after malformed commands, want 7", m.value)
	}
	if _, err := m.Query([]byte{1}); err == nil {
		t.Error("a query of one byte was answered")
	}
}

func TestSnapshotIsOfItsMoment(t *testing.T) {
	m := New(Hooks{})
	_, _ = apply(t, m, Add(-5))
	v, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	_, _ = apply(t, m, Add(100))
	var b bytes.Buffer
	if _, err := v.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	v.Release()
	restored := New(Hooks{})
	if err := restored.Restore(bytes.NewReader(b.Bytes())); err != nil || restored.value != -5 {
		t.Fatalf("restored %d, %v; want -5", restored.value, err)
	}
	for _, bad := range [][]byte{nil, b.Bytes()[:7], append(b.Bytes(), 0)} {
		if err := restored.Restore(bytes.NewReader(bad)); err == nil || restored.value != -5 {
			t.Fatalf("Restore of %d bytes: %v, value %d; want an error and the value kept", len(bad), err, restored.value)
		}
	}
}

func TestHooks(t *testing.T) {
	var calls []int64
	m := New(Hooks{
		LeaderStart: func(term uint64) { calls = append(calls, int64(term)) },
		LeaderStop:  func(term uint64) { calls = append(calls, -int64(term)) },
	})
	m.LeaderStart(3)
	m.LeaderStop(3)
	if want := []int64{3, -3}; !slices.Equal(calls, want) {
		t.Fatalf("calls %v, want %v", calls, want)
	}
	none := New(Hooks{})
	none.LeaderStart(1)
	none.LeaderStop(1)
}
