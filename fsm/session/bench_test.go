package session

import "testing"

// BenchmarkAdmit is what a command costs in a session whose client has 256 under way, 64
// of them in a batch.
func BenchmarkAdmit(b *testing.B) {
	t := New(DefaultLimits())
	t.Open(1, 0)
	reply := []byte("reply")
	n := uint64(1)
	for b.Loop() {
		for range 64 {
			n++
			acknowledged := n - min(n, 256)
			if v := t.Admit(Command{Session: 1, Sequence: n, Acknowledged: acknowledged, Index: n, Time: int64(n)}); v.Decision != Apply {
				b.Fatal(v.Decision)
			}
		}
		for range 64 {
			t.Applied(reply)
		}
	}
}

// A table in steady use makes no answers anew, but while a View shares them.
func TestAnswersAreUsedAgain(t *testing.T) {
	table := New(DefaultLimits())
	table.Open(1, 0)
	n := uint64(100)
	round := func() {
		for range 64 {
			n++
			table.Admit(Command{Session: 1, Sequence: n, Acknowledged: n - 100, Index: n, Time: int64(n)})
			table.Applied(nil)
		}
	}
	allocations := func() float64 { return testing.AllocsPerRun(10, round) }
	allocations()
	alone := allocations()
	v := table.View()
	shared := allocations()
	v.Release()
	// The list of them grows now and then.
	if after := allocations(); alone > 8 || after > 8 || shared < 64 {
		t.Fatalf("%v allocations in 64 commands, %v beside a view, %v once it is released; expected next to none, one each, next to none", alone, shared, after)
	}
}
