package storetest

import (
	"errors"
	"io"
	"path"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/vfs"
)

// fault is one way a call fails.
type fault struct {
	name string
	err  error
	keep func(length int) int // bytes of a write that get through
	only vfs.OpKind           // the calls it can happen to; OpRead for all changes
	stay bool                 // all later changes fail too
}

var faults = []fault{
	{name: "EIO", err: syscall.EIO, keep: func(int) int { return 0 }, only: vfs.OpRead},
	{name: "short write", err: io.ErrShortWrite, keep: func(n int) int { return n / 2 }, only: vfs.OpWrite},
	{name: "ENOSPC but for a byte", err: syscall.ENOSPC, keep: func(n int) int { return n - 1 }, only: vfs.OpWrite},
	{name: "ENOSPC from here on", err: syscall.ENOSPC, keep: func(n int) int { return n / 3 }, only: vfs.OpRead, stay: true},
}

// at injects the fault at the nth change, and says whether it came to that.
func (f *fault) at(n int, hit *bool) func(vfs.Op) vfs.Fault {
	return func(op vfs.Op) vfs.Fault {
		if op.Kind == vfs.OpRead || op.N < n || op.N > n && !f.stay {
			return vfs.Fault{}
		}
		if op.N == n {
			*hit = true
		}
		if f.only != vfs.OpRead && f.only != op.Kind {
			return vfs.Fault{}
		}
		return vfs.Fault{Err: f.err, Keep: f.keep(op.Len)}
	}
}

// testFailure fails every change of the disk in turn. The process may restart on
// what the page cache shows, or the machine may crash.
func testFailure(t *testing.T, open Factory) {
	for i := range faults {
		t.Run(faults[i].name, func(t *testing.T) {
			for n := 1; ; n++ {
				hit := false
				disk := vfs.NewMem(newRand(uint64(n)))
				disk.Inject(faults[i].at(n, &hit))
				h := attempt(t, disk, sizes[1], open)
				disk.Inject(nil)
				for seed := range seeds(2, 20) {
					recovered(t, disk.Clone().Crash(newRand(seed)), h, open, seed)
				}
				recovered(t, disk.Clone(), h, open, 0)
				if !hit {
					t.Logf("failed at %d changes", n-1)
					break
				}
			}
		})
	}
}

// testReadFailure fails every read of a recovery in turn: an error is in order, a
// wrong answer is not.
func testReadFailure(t *testing.T, open Factory) {
	image := vfs.NewMem(newRand(0))
	h := attempt(t, image, sizes[1], open)
	for n := 1; ; n++ {
		disk, hit := image.Clone(), false
		disk.Inject(func(op vfs.Op) vfs.Fault {
			if op.Kind != vfs.OpRead || op.N != n {
				return vfs.Fault{}
			}
			hit = true
			return vfs.Fault{Err: syscall.EIO}
		})
		s, err := open(disk, dir)
		if err == nil {
			if err := h.explain(s); errors.Is(err, errWrong) {
				t.Fatalf("read %d failed: %v", n, err)
			}
			s.Close()
		}
		if !hit {
			break
		}
		disk.Inject(nil)
		recovered(t, disk, h, open, 1)
	}
}

// testFlip flips bits all over the files of a store, as written and as recovered. Each group is what it was, or the damage is named.
func testFlip(t *testing.T, open Factory) {
	for _, size := range sizes {
		image := vfs.NewMem(newRand(0))
		h := attempt(t, image, size, open)
		flipAll(t, image, h, open)
		reopenAndVote(t, image, h, open)
		flipAll(t, image, h, open)
	}
}

func flipAll(t *testing.T, image *vfs.Mem, h *history, open Factory) {
	t.Helper()
	tried, named := map[string]int{}, map[string]int{}
	for name, size := range image.FileSizes() {
		if path.Base(name) == reserve {
			continue
		}
		kind := strings.TrimRight(strings.TrimLeft(path.Base(name), "0123456789"), "0123456789")
		for _, at := range flipOffsets(size) {
			disk := image.Clone()
			if err := disk.Flip(name, at, uint(at*5)); err != nil {
				t.Fatal(err)
			}
			tried[kind]++
			if damaged(t, disk, h, open, name, at) {
				named[kind]++
			}
		}
	}
	t.Logf("flips tried %v, named %v", tried, named)
	for kind := range tried {
		// Files about to be removed are not read, so not each of a kind counts.
		if named[kind] == 0 {
			t.Errorf("no flip was noticed in files %q", kind)
		}
	}
}

// reserve is the file that an engine may keep to have room on a full disk. Its bytes
// say nothing.
const reserve = "RESERVE"

func flipOffsets(size int) []int {
	var offsets []int
	step := max(1, size/90)
	if *long {
		step = 1
	}
	for at := 0; at < size; {
		offsets = append(offsets, at)
		if at < 40 || at > size-60 {
			at++
		} else {
			at = min(at+step, max(size-60, at+1))
		}
	}
	return slices.Compact(offsets)
}

// damaged opens a damaged store, and says whether the damage was named.
func damaged(t *testing.T, disk *vfs.Mem, h *history, open Factory, name string, at int) bool {
	t.Helper()
	s, err := open(disk, dir)
	if err != nil {
		if !errors.Is(err, logstore.ErrCorrupt) {
			t.Fatalf("%s, byte %d: open: %v, expected %v", name, at, err, logstore.ErrCorrupt)
		}
		return true
	}
	defer s.Close()
	named := false
	for group := uint64(1); group <= groups; group++ {
		err := h.explainGroup(s, group)
		if err == nil {
			continue
		}
		var corrupt *logstore.CorruptError
		if !errors.As(err, &corrupt) || corrupt.Group != group {
			t.Fatalf("%s, byte %d: %v, expected a CorruptError of group %d", name, at, err, group)
		}
		named = true
	}
	return named
}

// testVanish takes one file after the other away: it is missed, or was not needed.
func testVanish(t *testing.T, open Factory) {
	image := vfs.NewMem(newRand(0))
	h := attempt(t, image, sizes[1], open)
	reopenAndVote(t, image, h, open)
	missed := 0
	for name := range image.FileSizes() {
		disk := image.Clone()
		if err := disk.Remove(name); err != nil {
			t.Fatal(err)
		}
		if damaged(t, disk, h, open, name, 0) {
			missed++
		}
	}
	if missed == 0 {
		t.Error("no file was missed")
	}
}

// reopenAndVote leaves a store that was recovered once and written to since.
func reopenAndVote(t *testing.T, disk *vfs.Mem, h *history, open Factory) {
	t.Helper()
	s := mustOpen(t, disk, open)
	defer s.Close()
	vote := []logstore.Update{{Group: 1, HardState: &logstore.HardState{Term: 6, Vote: "n6"}}}
	if err := s.Write(vote); err != nil {
		t.Fatal(err)
	}
	if err := h.acknowledged(vote); err != nil {
		t.Fatal(err)
	}
}
