package journal

import (
	"errors"
	"testing"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/vfs"
	"github.com/protoraft/protoraft/messages"
)

// spoiled is a store whose group 1 has entries 1 to 6 in three blocks, of which the second
// cannot be read, and a hard state and a note.
func spoiled(t *testing.T, disk *vfs.Mem) *Store {
	t.Helper()
	s := openTiny(t, disk)
	data := []byte("some bytes that are long enough")
	write(t, s, logstore.Update{
		Group: 1, Incarnation: 1, HardState: &logstore.HardState{Term: 3, Vote: "n2"}, Note: []byte("note"),
		Blocks: []messages.Block{blockOf(1, 1, 2, data), blockOf(1, 3, 2, data), blockOf(1, 5, 2, data)},
	})
	write(t, s, put(2, 1, data))
	name, at, _ := s.Place(1, 3)
	s.Close()
	if err := disk.Flip(name, int(at)+messages.BlockHeaderBytes, 2); err != nil {
		t.Fatal(err)
	}
	return openTiny(t, disk)
}

// TestSalvageKeepsWhatIsWhole: what is before the damage is there, nothing is removed,
// and what is not whole is not written behind.
func TestSalvageKeepsWhatIsWhole(t *testing.T) {
	disk := newDisk(1)
	s := spoiled(t, disk)
	for round := range uint64(3) {
		st, damage, err := s.Salvage(1)
		if err != nil || damage == nil || damage.Index != 3 || st.LastIndex != 2 || st.HardState.Term != 3+round || string(st.Note) != "note" {
			t.Fatalf("salvaged %+v, damage %v (%v); expected entries up to 2, damage at 3", st, damage, err)
		}
		if blocks, err := s.Read(1, 1, 2, 1<<20); err != nil || len(blocks) != 1 {
			t.Fatalf("%d blocks of what is whole (%v)", len(blocks), err)
		}
		if _, err := s.Read(1, 3, 3, 1<<20); !errors.Is(err, logstore.ErrOutOfRange) {
			t.Fatalf("read of what is not whole: %v, expected %v", err, logstore.ErrOutOfRange)
		}
		if err := s.Write([]logstore.Update{put(1, 3, []byte("again"))}); !errors.Is(err, logstore.ErrCorrupt) {
			t.Fatalf("a block behind the damage: %v, expected %v", err, logstore.ErrCorrupt)
		}
		for _, from := range []uint64{4, 7} {
			if err := s.Write([]logstore.Update{{Group: 1, ResetFrom: from}}); !errors.Is(err, logstore.ErrInvalid) {
				t.Fatalf("a reset from %d: %v, expected %v", from, err, logstore.ErrInvalid)
			}
		}
		write(t, s, logstore.Update{Group: 1, HardState: &logstore.HardState{Term: 4 + round}})
		s.Close()
		s = openTiny(t, disk)
		if _, err := s.Load(1); !errors.Is(err, logstore.ErrCorrupt) {
			t.Fatalf("load after salvage: %v, expected %v", err, logstore.ErrCorrupt)
		}
		if _, err := s.Load(2); err != nil {
			t.Fatalf("the other group: %v", err)
		}
	}
}

// TestResetMakesASalvagedGroupWhole, together with the block that takes the place.
func TestResetMakesASalvagedGroupWhole(t *testing.T) {
	for _, from := range []uint64{1, 2, 3} {
		disk := newDisk(1)
		s := spoiled(t, disk)
		if _, _, err := s.Salvage(1); err != nil {
			t.Fatal(err)
		}
		u := logstore.Update{Group: 1, ResetFrom: from, Blocks: []messages.Block{blockOf(1, from, 5, []byte("again"))}}
		write(t, s, u)
		write(t, s, logstore.Update{Group: 1, Blocks: []messages.Block{blockOf(1, from+5, 1, []byte("more"))}})
		for range 2 {
			st, err := s.Load(1)
			if err != nil || st.LastIndex != from+5 || st.HardState.Vote != "n2" || string(st.Note) != "note" {
				t.Fatalf("reset from %d: %+v (%v), expected entries up to %d", from, st, err, from+5)
			}
			s.Close()
			s = openTiny(t, disk)
		}
	}
}

// TestTruncationLeavesTheDamage: cutting what is whole of a salvaged group shorter does not
// make it pass for a healthy one.
func TestTruncationLeavesTheDamage(t *testing.T) {
	disk := newDisk(1)
	s := spoiled(t, disk)
	if _, _, err := s.Salvage(1); err != nil {
		t.Fatal(err)
	}
	write(t, s, logstore.Update{Group: 1, TruncateFrom: 2})
	if err := s.Write([]logstore.Update{put(1, 2, []byte("x"))}); !errors.Is(err, logstore.ErrCorrupt) {
		t.Fatalf("a block behind the cut: %v, expected %v", err, logstore.ErrCorrupt)
	}
	for range 2 {
		s.Close()
		s = openTiny(t, disk)
		st, damage, err := s.Salvage(1)
		if err != nil || damage == nil || damage.Index != 2 || st.LastIndex != 1 {
			t.Fatalf("salvaged %+v, damage %v (%v); expected entry 1 and damage at 2", st, damage, err)
		}
	}
	write(t, s, logstore.Update{Group: 1, ResetFrom: 2, CompactTo: 1, CompactTerm: 1})
	s.Close()
	if st, err := openTiny(t, disk).Load(1); err != nil || st.FirstIndex != 2 || st.LastIndex != 1 {
		t.Fatalf("after the reset: %+v (%v), expected nothing from 2 on", st, err)
	}
}

// TestSalvageOfAWholeGroup changes nothing.
func TestSalvageOfAWholeGroup(t *testing.T) {
	s := spoiled(t, newDisk(1))
	st, damage, err := s.Salvage(2)
	if err != nil || damage != nil || st.LastIndex != 1 {
		t.Fatalf("%+v, damage %v (%v)", st, damage, err)
	}
	write(t, s, put(2, 2, []byte("more")))
	if st, damage, err := s.Salvage(99); err != nil || damage != nil || st.Exists() {
		t.Fatalf("a group that is not there: %+v, damage %v (%v)", st, damage, err)
	}
}
