package journal

import (
	"bytes"
	"math/rand/v2"
	"path"
	"reflect"
	"strings"
	"testing"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/memory"
	"github.com/protoraft/protoraft/logstore/vfs"
	"github.com/protoraft/protoraft/messages"
)

// tiny makes segments of a few frames.
var tiny = Options{
	SegmentBytes: 8 << 10, PageBytes: 512, AheadBytes: 2 << 10, IndexBytes: 1 << 10, SlackBytes: 4 << 10, ReserveBytes: 8 << 10,
}

func newDisk(seed uint64) *vfs.Mem { return vfs.NewMem(rand.New(rand.NewPCG(seed, 7))) }

func openTiny(t testing.TB, disk vfs.FS) *Store {
	t.Helper()
	s, err := Open(disk, "/db", tiny)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func blockOf(group, first uint64, count int, data []byte) messages.Block {
	w := messages.NewBlockWriter(messages.BlockHeader{Group: group, Term: 1, FirstIndex: first, PrevTerm: min(first-1, 1)}, count*messages.EntryBytes(len(data)))
	for range count {
		w.Add(messages.EntryView{Data: data})
	}
	return w.Finish()
}

func put(group, first uint64, data []byte) logstore.Update {
	return logstore.Update{Group: group, Incarnation: 1, Blocks: []messages.Block{blockOf(group, first, 1, data)}}
}

func write(t testing.TB, s logstore.Store, updates ...logstore.Update) {
	t.Helper()
	if err := s.Write(updates); err != nil {
		t.Fatal(err)
	}
}

func contents(t testing.TB, disk vfs.FS, name string) []byte {
	t.Helper()
	data, err := directory{disk, path.Dir(name)}.read(path.Base(name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// changed is a copy of a disk on which a file has other bytes.
func changed(t testing.TB, disk *vfs.Mem, name string, data []byte) *vfs.Mem {
	t.Helper()
	c := disk.Clone()
	if err := c.Remove(name); err != nil {
		t.Fatal(err)
	}
	f, err := c.Create(name)
	if err == nil {
		_, err = f.Write(data)
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SyncDir(path.Dir(name)); err != nil {
		t.Fatal(err)
	}
	return c
}

// flipped is a copy of a disk on which a bit is not what it was.
func flipped(t testing.TB, disk *vfs.Mem, name string, at int64) *vfs.Mem {
	t.Helper()
	c := disk.Clone()
	if err := c.Flip(name, int(at), uint(at)); err != nil {
		t.Fatal(err)
	}
	return c
}

// copyOf is an image of the disk after everything was closed.
func copyOf(s *Store, disk *vfs.Mem) *vfs.Mem {
	s.Close()
	return disk.Clone()
}

// seen is everything a store says of its groups.
type seen map[uint64]any

func look(t testing.TB, s logstore.Store) seen {
	t.Helper()
	ids, err := s.Groups()
	if err != nil {
		t.Fatal(err)
	}
	all := seen{}
	for _, id := range ids {
		st, err := s.Load(id)
		if err != nil {
			t.Fatalf("group %d: %v", id, err)
		}
		var raw []byte
		if st.LastIndex >= st.FirstIndex {
			blocks, err := s.Read(id, st.FirstIndex, st.LastIndex, 1<<30)
			if err != nil {
				t.Fatalf("group %d: %v", id, err)
			}
			for i := range blocks {
				raw = append(raw, blocks[i].Bytes()...)
			}
		}
		all[id] = []any{st, raw}
	}
	return all
}

// pair is a store with its model.
type pair struct {
	store *Store
	model *memory.Store
	// before is the model without the write that failed, where one did.
	before *memory.Store
}

func (p *pair) write(updates ...logstore.Update) bool {
	if err := p.store.Write(updates); err != nil {
		p.before = p.model.Restart()
		_ = p.model.Write(updates) // it may be there
		return false
	}
	return p.model.Write(updates) == nil
}

// check compares a store opened anew with what may be there.
func (p *pair) check(t testing.TB, s *Store, what string, args ...any) {
	t.Helper()
	got := look(t, s)
	if reflect.DeepEqual(got, look(t, p.model)) || p.before != nil && reflect.DeepEqual(got, look(t, p.before)) {
		return
	}
	t.Fatalf(what+": found %+v, expected %+v", append(args, got, look(t, p.model))...)
}

// churn writes n times to group 2, compacting behind itself.
func churn(p *pair, from uint64, n int, size int) bool {
	for i := range uint64(n) {
		index := from + i
		u := put(2, index, bytes.Repeat([]byte{byte(index)}, size))
		if index > 4 {
			u.CompactTo, u.CompactTerm = index-3, 1
		}
		if !p.write(u) {
			return false
		}
	}
	return true
}

// newestSlot is the file of the active segment.
func newestSlot(s *Store) string { return s.dir.slot(s.active.slot) }

func isSlot(name string) bool { return strings.HasSuffix(name, slotSuffix) }
