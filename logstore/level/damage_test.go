package level

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/vfs"
	"github.com/protoraft/protoraft/messages"
)

func blockOf(group, first uint64, count int, data []byte) messages.Block {
	w := messages.NewBlockWriter(messages.BlockHeader{Group: group, Term: 1, FirstIndex: first, PrevTerm: min(first-1, 1)}, count*len(data))
	for range count {
		w.Add(messages.EntryView{Data: data})
	}
	return w.Finish()
}

func openWith(t *testing.T, disk vfs.FS, updates ...logstore.Update) *Store {
	t.Helper()
	s, err := Open(disk, "/db", Options{MemtableBytes: 1 << 20})
	if err == nil {
		err = s.Write(updates)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func memDisk() *vfs.Mem { return vfs.NewMem(rand.New(rand.NewPCG(3, 4))) }

// TestDamageStaysInItsGroup damages one group's block within a table that holds three
// groups.
func TestDamageStaysInItsGroup(t *testing.T) {
	disk := memDisk()
	var updates []logstore.Update
	for group := uint64(1); group <= 3; group++ {
		updates = append(updates, logstore.Update{Group: group, Incarnation: 1, Blocks: []messages.Block{
			blockOf(group, 1, 2, bytes.Repeat([]byte{'a' + byte(group)}, 40<<10)),
			blockOf(group, 3, 2, bytes.Repeat([]byte{'A' + byte(group)}, 40<<10)),
		}})
	}
	openWith(t, disk, updates...).Close()
	openWith(t, disk).Close() // recovery turns the journal into a table
	name, at := find(t, disk, bytes.Repeat([]byte{'A' + 2}, 1000))
	if err := disk.Flip(name, at, 3); err != nil {
		t.Fatal(err)
	}
	s := openWith(t, disk)
	var corrupt *logstore.CorruptError
	if _, err := s.Load(2); !errors.As(err, &corrupt) || corrupt.Group != 2 || corrupt.Where == "" {
		t.Fatalf("load of the damaged group: %v, expected a CorruptError of group 2", err)
	}
	if err := s.Write([]logstore.Update{{Group: 2, HardState: &logstore.HardState{Term: 5}}}); !errors.Is(err, logstore.ErrCorrupt) || errors.Is(err, logstore.ErrFailed) {
		t.Fatalf("write to the damaged group: %v, expected %v", err, logstore.ErrCorrupt)
	}
	for _, group := range []uint64{1, 3} {
		st, err := s.Load(group)
		if err != nil || st.LastIndex != 4 {
			t.Fatalf("load of group %d: %+v, %v", group, st, err)
		}
		if err := s.Write([]logstore.Update{{Group: group, Blocks: []messages.Block{blockOf(group, 5, 1, []byte("x"))}}}); err != nil {
			t.Fatalf("write to group %d: %v", group, err)
		}
	}
}

func find(t *testing.T, disk *vfs.Mem, what []byte) (name string, at int) {
	t.Helper()
	for name, size := range disk.FileSizes() {
		f, err := disk.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		data := make([]byte, size)
		if _, err := f.ReadAt(data, 0); err != nil && size > 0 {
			t.Fatal(err)
		}
		if at := bytes.Index(data, what); at >= 0 {
			return name, at
		}
	}
	t.Fatalf("%.20q is in no file", what)
	return "", 0
}

// TestLoadMissesKeys takes keys away, or exchanges values, behind the store's back.
func TestLoadMissesKeys(t *testing.T) {
	var key blockKey
	for name, harm := range map[string]func(s *Store) error{
		"first block": func(s *Store) error { return s.db.Delete(key.block(1, 1), nil) },
		"a block":     func(s *Store) error { return s.db.Delete(key.block(1, 3), nil) },
		"last block":  func(s *Store) error { return s.db.Delete(key.block(1, 5), nil) },
		"log state":   func(s *Store) error { return s.db.Delete(key.group(keyLogState, 1), nil) },
		"all but the blocks": func(s *Store) error {
			return errors.Join(s.db.Delete(key.group(keyLogState, 1), nil), s.db.Delete(key.group(keyHardState, 1), nil))
		},
		"another's hard state": func(s *Store) error {
			v, err := s.db.Get(key.group(keyHardState, 2), nil)
			return errors.Join(err, s.db.Put(key.group(keyHardState, 1), v, nil))
		},
		"another's log state": func(s *Store) error {
			v, err := s.db.Get(key.group(keyLogState, 2), nil)
			return errors.Join(err, s.db.Put(key.group(keyLogState, 1), v, nil))
		},
		"another's block": func(s *Store) error {
			v, err := s.db.Get(key.block(2, 3), nil)
			return errors.Join(err, s.db.Put(key.block(1, 3), v, nil))
		},
	} {
		t.Run(name, func(t *testing.T) {
			var updates []logstore.Update
			for group := uint64(1); group <= 2; group++ {
				updates = append(updates, logstore.Update{Group: group, HardState: &logstore.HardState{Term: group}, Blocks: []messages.Block{
					blockOf(group, 1, 2, []byte("a")), blockOf(group, 3, 2, []byte("b")), blockOf(group, 5, 2, []byte("c")),
				}})
			}
			s := openWith(t, memDisk(), updates...)
			if err := harm(s); err != nil {
				t.Fatal(err)
			}
			var corrupt *logstore.CorruptError
			if _, err := s.Load(1); !errors.As(err, &corrupt) || corrupt.Group != 1 {
				t.Fatalf("load: %v, expected a CorruptError of group 1", err)
			}
			if _, err := s.Load(2); err != nil {
				t.Fatalf("load of the other group: %v", err)
			}
			if err := s.Write([]logstore.Update{{Group: 1, Delete: true}}); err != nil {
				t.Fatalf("delete of the damaged group: %v", err)
			}
			if st, err := s.Load(1); err != nil || st.Exists() {
				t.Fatalf("deleted group: %+v, %v", st, err)
			}
		})
	}
}

func TestNewerFormatIsRefused(t *testing.T) {
	disk := memDisk()
	s := openWith(t, disk)
	value := seal(formatKey, binary.LittleEndian.AppendUint32(nil, formatVersion+1))
	if err := s.db.Put(formatKey, value, synced); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := Open(disk, "/db", Options{}); !errors.Is(err, logstore.ErrNewerFormat) || !strings.Contains(err.Error(), "format 2") {
		t.Fatalf("open: %v, expected %v", err, logstore.ErrNewerFormat)
	}
}

// TestLargeBatch writes more than a memtable at once, and crashes at every change on
// the way: all of it or none.
func TestLargeBatch(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcde\n"), 64<<10) // 1 MiB
	for n := 1; ; n++ {
		disk := memDisk()
		s := openWith(t, disk, logstore.Update{Group: 1, Blocks: []messages.Block{blockOf(1, 1, 1, []byte("x"))}})
		begin := disk.Ops()
		disk.Inject(func(op vfs.Op) vfs.Fault { return vfs.Fault{Crash: op.Kind != vfs.OpRead && op.N >= begin+n} })
		var updates []logstore.Update
		for group := uint64(1); group <= 3; group++ {
			updates = append(updates, logstore.Update{Group: group, Blocks: []messages.Block{blockOf(group, 2, 1, data), blockOf(group, 3, 1, data)}})
		}
		err := s.Write(updates)
		over := !disk.Crashed()
		after := disk.Crash(rand.New(rand.NewPCG(uint64(n), 9)))
		s.Close()
		s = openWith(t, after)
		for group := uint64(1); group <= 3; group++ {
			st, lerr := s.Load(group)
			before := uint64(1)
			if group > 1 {
				before = 0
			}
			if lerr != nil || st.LastIndex != 3 && (err == nil || st.LastIndex != before) {
				t.Fatalf("crash at change %d (write: %v): group %d is %+v (%v)", n, err, group, st, lerr)
			}
		}
		s.Close()
		if over {
			return
		}
	}
}
