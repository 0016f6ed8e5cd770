package storetest

import (
	"errors"
	"testing"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/memory"
	"github.com/protoraft/protoraft/logstore/vfs"
)

func seeds(short, all int) uint64 {
	if *long {
		return uint64(all)
	}
	return uint64(short)
}

// sizes of the entries: one that stays in a journal, one that fills a few.
var sizes = []int{20, 900}

// attempt runs the workload until the disk stops it, or the end. It returns what
// happened; the store is closed.
func attempt(t testing.TB, disk *vfs.Mem, size int, open Factory) *history {
	t.Helper()
	h := &history{model: memory.New()}
	s, err := open(disk, dir)
	if err != nil {
		if errors.Is(err, logstore.ErrCorrupt) {
			t.Fatalf("open of a new store: %v", err)
		}
		return h
	}
	defer s.Close()
	for i, updates := range workload(size) {
		err := s.Write(updates)
		if errors.Is(err, logstore.ErrFull) {
			nothingWritten(t, s, h)
			err = s.Write(updates) // where the fault has passed, this is as good as the first
		}
		if errors.Is(err, logstore.ErrFull) {
			nothingWritten(t, s, h)
			return h
		}
		if err != nil {
			if err := h.unknown(updates); err != nil {
				t.Fatalf("model: %v", err)
			}
			refused(t, s, size, i+1)
			if !disk.Crashed() {
				if err := h.explain(s); err != nil {
					t.Fatalf("read after a failed write: %v", err)
				}
			}
			return h
		}
		if err := h.acknowledged(updates); err != nil {
			t.Fatalf("model: %v", err)
		}
	}
	return h
}

// nothingWritten checks that a store refused a write for want of room, and no more.
func nothingWritten(t testing.TB, s logstore.Store, h *history) {
	t.Helper()
	if err := h.explain(s); err != nil {
		t.Fatalf("read after a write that was refused on a full disk: %v", err)
	}
}

// refused checks that a store that failed stays failed.
func refused(t testing.TB, s logstore.Store, size, from int) {
	t.Helper()
	writes := workload(size)
	for _, updates := range writes[min(from, len(writes)-1):] {
		if err := s.Write(updates); !errors.Is(err, logstore.ErrFailed) {
			t.Fatalf("write after a failed one: %v, expected %v", err, logstore.ErrFailed)
		}
	}
}

// crashAt stops the world before the nth change.
func crashAt(n int) func(vfs.Op) vfs.Fault {
	return func(op vfs.Op) vfs.Fault { return vfs.Fault{Crash: op.Kind != vfs.OpRead && op.N >= n} }
}

// recovered opens what a crash left, and compares.
func recovered(t testing.TB, disk *vfs.Mem, h *history, open Factory, seed uint64) {
	t.Helper()
	s, err := open(disk, dir)
	if err != nil {
		t.Fatalf("seed %d: open after a crash: %v", seed, err)
	}
	defer s.Close()
	if err := h.explain(s); err != nil {
		t.Fatalf("seed %d: after a crash: %v", seed, err)
	}
	if seed == 0 {
		goOn(t, disk, s, open, seed)
	}
}

// testCrash crashes at every change of the disk, from the first to those of Close.
func testCrash(t *testing.T, open Factory) {
	for _, size := range sizes {
		for n := 1; ; n++ {
			disk := vfs.NewMem(newRand(uint64(n)))
			disk.Inject(crashAt(n))
			h := attempt(t, disk, size, open)
			over := !disk.Crashed()
			for seed := range seeds(5, 40) {
				recovered(t, disk.Crash(newRand(seed)), h, open, seed)
				if t.Failed() {
					t.Fatalf("size %d, crash at change %d, seed %d", size, n, seed)
				}
			}
			if over {
				t.Logf("size %d: crashed at %d changes", size, n-1)
				break
			}
		}
	}
}

// testFirstCrash checks that a store whose creation was interrupted opens as new.
func testFirstCrash(t *testing.T, open Factory) {
	for n := 1; ; n++ {
		disk := vfs.NewMem(newRand(uint64(n)))
		disk.Inject(crashAt(n))
		s, err := open(disk, dir)
		if err == nil {
			s.Close()
		}
		over := !disk.Crashed()
		for seed := range seeds(12, 60) {
			recovered(t, disk.Crash(newRand(seed)), &history{model: memory.New()}, open, seed)
		}
		if over {
			break
		}
	}
}

// testCrashAgain crashes at every change that recovery from a crash makes.
func testCrashAgain(t *testing.T, open Factory) {
	total := vfs.NewMem(newRand(0))
	attempt(t, total, sizes[1], open)
	for _, at := range []int{total.Ops() / 3, total.Ops() / 2, total.Ops() - 4} {
		disk := vfs.NewMem(newRand(uint64(at)))
		disk.Inject(crashAt(at))
		h := attempt(t, disk, sizes[1], open)
		for seed := range seeds(2, 10) {
			first := disk.Crash(newRand(seed + 100))
			for n := 1; ; n++ {
				second := first.Clone()
				second.Inject(crashAt(n))
				s, err := open(second, dir)
				over := err == nil
				if over {
					s.Close()
				}
				for seed := range seeds(3, 10) {
					recovered(t, second.Crash(newRand(seed)), h, open, seed)
				}
				if over {
					break
				}
			}
		}
	}
}

// testReopen checks that a store closed and opened again is the same.
func testReopen(t *testing.T, open Factory) {
	for _, size := range sizes {
		disk := vfs.NewMem(newRand(0))
		h := attempt(t, disk, size, open)
		for range 3 {
			s := mustOpen(t, disk, open)
			if err := h.explain(s); err != nil {
				t.Fatalf("size %d: after a restart: %v", size, err)
			}
			if _, err := open(disk, dir); err == nil {
				t.Fatalf("size %d: a store was opened twice", size)
			}
			if err := s.Close(); err != nil {
				t.Fatalf("close: %v", err)
			}
		}
	}
}
