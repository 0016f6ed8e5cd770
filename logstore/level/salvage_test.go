package level

import (
	"bytes"
	"errors"
	"testing"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/vfs"
	"github.com/protoraft/protoraft/messages"
)

// spoil puts bytes under a block's key that are no block, as a medium may.
func spoil(t *testing.T, s *Store, group, first uint64) {
	t.Helper()
	var key blockKey
	if err := s.db.Put(key.block(group, first), []byte("not a block"), synced); err != nil {
		t.Fatal(err)
	}
}

// damaged is a store whose group 1 has entries 1 to 6 in three blocks, of which the
// second cannot be read, and a hard state and a note.
func damaged(t *testing.T, disk vfs.FS) *Store {
	t.Helper()
	s := openWith(t, disk, logstore.Update{
		Group: 1, Incarnation: 1, HardState: &logstore.HardState{Term: 3, Vote: "n2"}, Note: []byte("note"),
		Blocks: []messages.Block{blockOf(1, 1, 2, []byte("a")), blockOf(1, 3, 2, []byte("b")), blockOf(1, 5, 2, []byte("c"))},
	})
	spoil(t, s, 1, 3)
	s.Close()
	return openWith(t, disk)
}

// TestSalvageKeepsWhatIsWhole: what is before the damage is there, nothing is removed,
// and what is not whole is not written behind.
func TestSalvageKeepsWhatIsWhole(t *testing.T) {
	disk := memDisk()
	s := damaged(t, disk)
	var corrupt *logstore.CorruptError
	if _, err := s.Load(1); !errors.As(err, &corrupt) || corrupt.Index != 3 || corrupt.Group != 1 {
		t.Fatalf("load: %v, expected damage at 3 of group 1", err)
	}
	st, damage, err := s.Salvage(1)
	if err != nil || damage == nil || damage.Index != 3 || st.LastIndex != 2 || st.HardState.Term != 3 || string(st.Note) != "note" {
		t.Fatalf("salvaged %+v, damage %v (%v); expected entries up to 2, damage at 3", st, damage, err)
	}
	if blocks, err := s.Read(1, 1, 2, 1<<20); err != nil || len(blocks) != 1 {
		t.Fatalf("%d blocks of what is whole (%v)", len(blocks), err)
	}
	again := blockOf(1, 3, 1, []byte("again"))
	if err := s.Write([]logstore.Update{{Group: 1, Blocks: []messages.Block{again}}}); !errors.Is(err, logstore.ErrCorrupt) {
		t.Fatalf("a block behind the damage: %v, expected %v", err, logstore.ErrCorrupt)
	}
	for _, from := range []uint64{0, 4} {
		u := logstore.Update{Group: 1, HardState: &logstore.HardState{Term: 4}, ResetFrom: from}
		if err := s.Write([]logstore.Update{u}); (from == 0) != (err == nil) {
			t.Fatalf("term 4 with a reset from %d: %v", from, err)
		}
	}
	s.Close()
	s = openWith(t, disk)
	if _, err := s.Load(1); !errors.Is(err, logstore.ErrCorrupt) {
		t.Fatalf("load after salvage: %v, expected %v", err, logstore.ErrCorrupt)
	}
	if st, _, err := s.Salvage(1); err != nil || st.HardState.Term != 4 {
		t.Fatalf("salvaged again %+v (%v), expected term 4", st, err)
	}
}

// TestResetMakesASalvagedGroupWhole, together with the block that takes the place.
func TestResetMakesASalvagedGroupWhole(t *testing.T) {
	disk := memDisk()
	s := damaged(t, disk)
	if _, _, err := s.Salvage(1); err != nil {
		t.Fatal(err)
	}
	u := logstore.Update{Group: 1, ResetFrom: 3, Blocks: []messages.Block{blockOf(1, 3, 5, []byte("again"))}}
	for range 2 {
		if err := s.Write([]logstore.Update{u}); err != nil {
			t.Fatal(err)
		}
		u = logstore.Update{Group: 1, Blocks: []messages.Block{blockOf(1, 8, 1, []byte("more"))}}
	}
	s.Close()
	st, err := openWith(t, disk).Load(1)
	if err != nil || st.LastIndex != 8 || st.HardState.Vote != "n2" || string(st.Note) != "note" {
		t.Fatalf("%+v (%v), expected entries up to 8", st, err)
	}
}

// TestSalvageWithoutHardStateOrNote: they are named, and the log is there.
func TestSalvageWithoutHardStateOrNote(t *testing.T) {
	for kind, where := range map[byte]string{keyHardState: "hard state", keyNote: "note"} {
		s := openWith(t, memDisk(), logstore.Update{
			Group: 1, Incarnation: 1, HardState: &logstore.HardState{Term: 3, Vote: "n2"}, Note: []byte("note"),
			Blocks: []messages.Block{blockOf(1, 1, 2, []byte("a"))},
		})
		var key blockKey
		if err := s.db.Put(key.group(kind, 1), []byte("nonsense"), synced); err != nil {
			t.Fatal(err)
		}
		st, damage, err := s.Salvage(1)
		if err != nil || damage == nil || damage.Where != where || damage.Index != 0 || st.LastIndex != 2 {
			t.Fatalf("%s: %+v, damage %v (%v)", where, st, damage, err)
		}
		if (st.HardState.Term == 0) != (kind == keyHardState) || (st.Note == nil) != (kind == keyNote) {
			t.Fatalf("%s: salvaged %+v", where, st)
		}
	}
}

// TestSalvageFromADamagedTable: goleveldb itself cannot read the keys there.
func TestSalvageFromADamagedTable(t *testing.T) {
	disk := memDisk()
	openWith(t, disk, logstore.Update{Group: 2, Incarnation: 1, Blocks: []messages.Block{
		blockOf(2, 1, 2, bytes.Repeat([]byte{'a'}, 40<<10)),
		blockOf(2, 3, 2, bytes.Repeat([]byte{'b'}, 40<<10)),
		blockOf(2, 5, 2, bytes.Repeat([]byte{'c'}, 40<<10)),
	}}).Close()
	openWith(t, disk).Close() // recovery turns the journal into a table
	name, at := find(t, disk, bytes.Repeat([]byte{'b'}, 1000))
	if err := disk.Flip(name, at, 3); err != nil {
		t.Fatal(err)
	}
	s := openWith(t, disk)
	st, damage, err := s.Salvage(2)
	if err != nil || damage == nil || damage.Index != st.LastIndex+1 || damage.Index > 3 || damage.Where == "" {
		t.Fatalf("salvaged %+v, damage %v (%v)", st, damage, err)
	}
	u := logstore.Update{Group: 2, ResetFrom: damage.Index, Blocks: []messages.Block{blockOf(2, damage.Index, 1, []byte("again"))}}
	if err := s.Write([]logstore.Update{u}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(2, 1, damage.Index, 1<<20); err != nil {
		t.Fatal(err)
	}
}
