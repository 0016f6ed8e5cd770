package journal

import (
	"errors"
	"strings"
	"testing"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/vfs"
)

// beheaded is a closed journal, the file of its newest segment, and what that file held
// before the segment was begun.
func beheaded(t *testing.T, segments uint64) (disk *vfs.Mem, name string, held []byte) {
	t.Helper()
	disk = newDisk(1)
	s := openTiny(t, disk)
	before, index := map[string][]byte{}, uint64(0)
	next := func() {
		for n := 1; n <= s.slots; n++ {
			if name := s.dir.slot(n); name != newestSlot(s) {
				before[name] = contents(t, disk, name)
			}
		}
		index++
		u := put(1, index, make([]byte, 900))
		if index > 2 {
			u.CompactTo, u.CompactTerm = index-2, 1
		}
		write(t, s, u)
	}
	for first := s.active.seq; s.active.seq < first+segments; {
		next()
	}
	name = newestSlot(s)
	held = before[name]
	for range 3 {
		next()
	}
	if newestSlot(s) != name {
		t.Fatal("the segment is full already")
	}
	return copyOf(s, disk), name, held
}

// TestLostBeginningIsMissed: where the first sectors of the newest segment are zeros, or
// what the file held before, what was acknowledged behind them is not forgotten silently.
func TestLostBeginningIsMissed(t *testing.T) {
	for _, segments := range []uint64{0, 1, 12} {
		disk, name, held := beheaded(t, segments)
		if segments == 12 && len(held) == 0 {
			t.Fatal("the file held nothing before")
		}
		data := contents(t, disk, name)
		for _, lost := range []int{1, 2, 4} {
			for _, was := range [][]byte{make([]byte, len(data)), held} {
				n := min(lost*vfs.SectorBytes, len(was))
				if n == 0 {
					continue
				}
				image := changed(t, disk, name, append(append([]byte(nil), was[:n]...), data[n:]...))
				s, err := Open(image, "/db", tiny)
				if !errors.Is(err, logstore.ErrCorrupt) || !strings.Contains(err.Error(), name) {
					t.Errorf("%d sectors of segment %d are gone: %v, expected %v that names %s", lost, segments+1, err, logstore.ErrCorrupt, name)
				}
				if s != nil {
					s.Close()
				}
				i, err := Inspect(image, "/db")
				if err != nil {
					t.Fatal(err)
				}
				if len(i.Damage()) == 0 {
					t.Errorf("%d sectors of segment %d are gone, and no damage is told", lost, segments+1)
				}
				i.Close()
			}
		}
	}
}
