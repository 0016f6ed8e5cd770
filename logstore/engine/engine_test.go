package engine_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/engine"
	"github.com/protoraft/protoraft/logstore/vfs"
	"github.com/protoraft/protoraft/messages"
)

func newDisk() *vfs.Mem { return vfs.NewMem(rand.New(rand.NewPCG(1, 2))) }

func open(t *testing.T, disk vfs.FS, dir, name string) logstore.Store {
	t.Helper()
	s, err := engine.Open(disk, dir, name, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func block(group, term, prevTerm, first uint64, count int) messages.Block {
	w := messages.NewBlockWriter(messages.BlockHeader{Group: group, Term: term, FirstIndex: first, PrevTerm: prevTerm, Time: int64(first)}, 0)
	for range count {
		w.Add(messages.EntryView{Data: bytes.Repeat([]byte{byte(first)}, 900)})
	}
	return w.Finish()
}

// fill writes groups in every state that a copy must keep.
func fill(t *testing.T, s logstore.Store) {
	t.Helper()
	w := messages.NewBlockWriter(messages.BlockHeader{Group: 1, Term: 2, FirstIndex: 8, PrevTerm: 1, Time: 8}, 0)
	w.Add(messages.EntryView{Kind: messages.EntryKind_CONFIGURATION, Data: []byte("a b c")})
	for _, u := range []logstore.Update{
		{Group: 1, Incarnation: 4, HardState: &logstore.HardState{Term: 3, Vote: "n1", Machine: 2}, Note: []byte("note"),
			Blocks: []messages.Block{block(1, 1, 0, 1, 7), w.Finish(), block(1, 3, 2, 9, 50)}},
		{Group: 1, CompactTo: 5, CompactTerm: 1}, // within a block
		{Group: 2, HardState: &logstore.HardState{Term: 1}},
		{Group: 1 << 60, Incarnation: 9, CompactTo: 70, CompactTerm: 6},
		{Group: 3, Blocks: []messages.Block{block(3, 5, 4, 40, 3)}},
	} {
		if err := s.Write([]logstore.Update{u}); err != nil {
			t.Fatal(err)
		}
	}
	var blocks []messages.Block
	for first := uint64(43); first < 3000; first += 20 { // more than is copied at a time
		blocks = append(blocks, block(3, 5, 5, first, 20))
	}
	if err := s.Write([]logstore.Update{{Group: 3, Blocks: blocks}}); err != nil {
		t.Fatal(err)
	}
}

func look(t *testing.T, s logstore.Store) map[uint64][]any {
	t.Helper()
	ids, err := s.Groups()
	if err != nil {
		t.Fatal(err)
	}
	all := map[uint64][]any{}
	for _, id := range ids {
		st, err := s.Load(id)
		if err != nil {
			t.Fatal(err)
		}
		all[id] = append(all[id], st)
		for next := st.FirstIndex; next <= st.LastIndex; {
			blocks, err := s.Read(id, next, st.LastIndex, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			for i := range blocks {
				err := blocks[i].Entries(func(index uint64, e messages.EntryView) error {
					if index >= next {
						all[id] = append(all[id], []any{index, blocks[i].Term, e.Kind, string(e.Data)})
						next = index + 1
					}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	return all
}

// TestCopy goes from each engine to each other, and there and back.
func TestCopy(t *testing.T) {
	for _, one := range engine.Names() {
		for _, other := range engine.Names() {
			disk := newDisk()
			from, to := open(t, disk, "/from", one), open(t, disk, "/to", other)
			fill(t, from)
			c, err := engine.Copy(from, to)
			if err != nil || c.Groups != 4 || c.Entries < 2900 {
				t.Fatalf("%s to %s: %+v, %v", one, other, c, err)
			}
			want := look(t, from)
			to.Close()
			if got := look(t, open(t, disk.Crash(rand.New(rand.NewPCG(1, 1))), "/to", "")); !reflect.DeepEqual(got, want) {
				t.Fatalf("%s to %s: the copy is not what it was made from", one, other)
			}
		}
	}
}

// TestDetect: each engine's directory is known, and refused by name to the other.
func TestDetect(t *testing.T) {
	disk := newDisk()
	if found, err := engine.Detect(disk, "/nothing"); found != "" || err != nil {
		t.Fatalf("nothing is of %q, %v", found, err)
	}
	for i, name := range engine.Names() {
		s, err := engine.Open(disk, "/"+name, name, nil)
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		if found, err := engine.Detect(disk, "/"+name); found != name || err != nil {
			t.Fatalf("%s is of %q, %v", name, found, err)
		}
		other := engine.Names()[1-i]
		if _, err := engine.Open(disk, "/"+name, other, nil); !errors.Is(err, engine.ErrOther) || !strings.Contains(err.Error(), name) {
			t.Fatalf("%s opened as %s: %v, expected %v", name, other, err, engine.ErrOther)
		}
		open(t, disk, "/"+name, "").Close()
	}
	if _, err := engine.Open(disk, "/x", "sqlite", nil); err == nil {
		t.Fatal("an engine that there is not was opened")
	}
	s := open(t, disk, "/new", "")
	s.Close()
	if found, _ := engine.Detect(disk, "/new"); found != engine.Default {
		t.Fatalf("a new log is of %q, expected %q", found, engine.Default)
	}
	one := map[string]string{engine.Goleveldb: "/new/JOURNAL", engine.Journal: "/new/CURRENT"}[engine.Default] // of the other one
	if f, err := disk.Create(one); err != nil {
		t.Fatal(err)
	} else {
		f.Close()
	}
	if _, err := engine.Open(disk, "/new", "", nil); !errors.Is(err, engine.ErrOther) {
		t.Fatalf("a directory of both: %v, expected %v", err, engine.ErrOther)
	}
}

// TestInspect shows the same of the same log, whichever engine keeps it.
func TestInspect(t *testing.T) {
	shown := map[string][]any{}
	for _, name := range engine.Names() {
		disk := newDisk()
		s := open(t, disk, "/log", name)
		fill(t, s)
		s.Close()
		ops := disk.Ops()
		i, err := engine.Inspect(disk, "/log")
		if err != nil || len(i.Damage()) > 0 {
			t.Fatalf("%s: %v, damage %v", name, err, i.Damage())
		}
		ids, damage := i.Groups()
		if len(damage) > 0 {
			t.Fatalf("%s: %v", name, damage)
		}
		for _, id := range ids {
			info := i.Group(id)
			shown[name] = append(shown[name], id, info.HardState, info.Incarnation, info.FirstIndex, info.PrevTerm, info.Damage)
			err := i.Blocks(id, &info, func(r logstore.Record) error {
				shown[name] = append(shown[name], r.Block.FirstIndex, r.Block.Count, r.Block.Term, r.Damage)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := i.Close(); err != nil {
			t.Fatal(err)
		}
		if disk.Ops() != ops {
			t.Fatalf("%s: looking changed the disk", name)
		}
	}
	if one, other := shown[engine.Goleveldb], shown[engine.Journal]; len(one) < 100 || !reflect.DeepEqual(one, other) {
		t.Fatalf("%v\nand\n%v", one, other)
	}
}
