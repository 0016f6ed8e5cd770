package level

import (
	"bytes"
	"math/rand/v2"
	"path"
	"syscall"
	"testing"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/vfs"
	"github.com/protoraft/protoraft/messages"
)

// journalBytes is the length of the only journal.
func journalBytes(t *testing.T, disk *vfs.Mem) int {
	t.Helper()
	found, size := "", 0
	for name, n := range disk.FileSizes() {
		if path.Ext(name) != ".log" {
			continue
		}
		if found != "" {
			t.Fatalf("journals %s and %s, expected one", found, name)
		}
		found, size = name, n
	}
	if found == "" {
		t.Fatal("no journal")
	}
	return size
}

// appendTo writes one entry a Write, and returns the lengths of the journal after each.
// What was acknowledged must survive a crash right behind it.
func appendTo(t *testing.T, disk *vfs.Mem, opts Options, writes, size int) []int {
	t.Helper()
	s, err := Open(disk, "/db", opts)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var sizes []int
	for i := range uint64(writes) {
		b := blockOf(1, i+1, 1, bytes.Repeat([]byte{'d'}, size))
		if err := s.Write([]logstore.Update{{Group: 1, Blocks: []messages.Block{b}}}); err != nil {
			t.Fatalf("write %d: %v", i, err)
		}
		sizes = append(sizes, journalBytes(t, disk))
		after := openWith(t, disk.Clone().Crash(rand.New(rand.NewPCG(i, 1))))
		if st, err := after.Load(1); err != nil || st.LastIndex != i+1 {
			t.Fatalf("after write %d and a crash: %+v, %v", i, st, err)
		}
		after.Close()
	}
	return sizes
}

// TestJournalIsFilledAhead checks that most writes leave the journal's length alone.
func TestJournalIsFilledAhead(t *testing.T) {
	const writes, size = 25, 100 << 10
	sizes := appendTo(t, memDisk(), Options{MemtableBytes: 4 << 20}, writes, size)
	steps := 0
	for i, n := range sizes {
		if n < (i+1)*size || n > (i+1)*(size+500)+aheadBytes {
			t.Fatalf("after %d writes of %d bytes the journal has %d", i+1, size, n)
		}
		if i > 0 && n != sizes[i-1] {
			steps++
		}
	}
	if steps != writes*size/aheadBytes {
		t.Fatalf("the journal grew %d times, expected %d: %v", steps, writes*size/aheadBytes, sizes)
	}
}

// TestLittleSpaceAhead has room for fewer zeros than are wished for, and for records.
func TestLittleSpaceAhead(t *testing.T) {
	const writes, size = 5, 1000
	disk := memDisk()
	disk.Inject(func(op vfs.Op) vfs.Fault {
		if op.Kind != vfs.OpWrite || op.Len < aheadBytes/2 {
			return vfs.Fault{}
		}
		return vfs.Fault{Err: syscall.ENOSPC, Keep: 5000}
	})
	sizes := appendTo(t, disk, Options{}, writes, size)
	if last := sizes[writes-1]; last > 5000+writes*(size+500) {
		t.Fatalf("the journal has %d bytes", last)
	}
}

// TestMemtableBoundsZeros checks that a small store has small journals.
func TestMemtableBoundsZeros(t *testing.T) {
	sizes := appendTo(t, memDisk(), Options{MemtableBytes: 16 << 10}, 1, 100)
	if sizes[0] < 8<<10 || sizes[0] > 17<<10 {
		t.Fatalf("the journal has %d bytes, expected about 16 KiB", sizes[0])
	}
}
