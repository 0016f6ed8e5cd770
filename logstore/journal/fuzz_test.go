package journal

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/vfs"
	"github.com/protoraft/protoraft/messages"
)

// openAny opens a journal of one file, whatever is in it, and reads all it can be asked.
// It ends with a store that is of use, or with an error.
func openAny(t *testing.T, file []byte) {
	disk := newDisk(1)
	if err := disk.MkdirAll("/db"); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{slotName(1): file, MarkName: encodeMark(1)} {
		f, err := disk.Create("/db/" + name)
		if err == nil {
			_, err = f.Write(data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if i, err := Inspect(disk, "/db"); err == nil {
		ids, _ := i.Groups()
		for _, id := range ids {
			info := i.Group(id)
			if err := i.Blocks(id, &info, func(logstore.Record) error { return nil }); err != nil {
				t.Fatal(err)
			}
		}
	}
	s, err := Open(disk, "/db", tiny)
	if err != nil {
		if !errors.Is(err, logstore.ErrCorrupt) && !errors.Is(err, logstore.ErrNewerFormat) {
			t.Fatalf("%v, expected %v", err, logstore.ErrCorrupt)
		}
		return
	}
	defer s.Close()
	ids, err := s.Groups()
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		st, err := s.Load(id)
		if err == nil && st.LastIndex >= st.FirstIndex {
			_, err = s.Read(id, st.FirstIndex, st.LastIndex, 1<<20)
		}
		if err != nil && !errors.Is(err, logstore.ErrCorrupt) {
			t.Fatalf("group %d: %v, expected %v", id, err, logstore.ErrCorrupt)
		}
		if _, _, err := s.Salvage(id); err != nil {
			t.Fatalf("group %d: %v", id, err)
		}
	}
	write(t, s, logstore.Update{Group: 1 << 40, HardState: &logstore.HardState{Term: 1}})
}

// FuzzFile reads any bytes as a segment.
func FuzzFile(f *testing.F) {
	disk := newDisk(1)
	s := openTiny(f, disk)
	for first := uint64(1); first < 6; first++ {
		u := put(1, first, bytes.Repeat([]byte{byte(first)}, 300))
		u.HardState, u.Note = &logstore.HardState{Term: first, Vote: "n1"}, []byte("note")
		write(f, s, u)
	}
	file := contents(f, disk, newestSlot(s))
	f.Add([]byte{})
	f.Add(file)
	for at := 0; at < len(file); at += 700 {
		f.Add(file[:at])
		harmed := bytes.Clone(file)
		harmed[at] ^= 0x10
		f.Add(harmed)
	}
	f.Fuzz(openAny)
}

// FuzzTold reads any beginning, directory and data, with the right checksums.
func FuzzTold(f *testing.F) {
	b := blockOf(3, 1, 2, []byte("data"))
	block := blockOp(&b)
	var dir []byte
	for _, o := range []op{
		{kind: opHard, group: 3, hard: logstore.HardState{Term: 4, Vote: "n1", Machine: 2}}, {kind: opNote, group: 3, bytes: []byte("note")},
		block, {kind: opLog, group: 3, incarnation: 1, first: 1}, {kind: opCut, group: 3, first: 9}, {kind: opDelete, group: 4},
	} {
		dir = appendOp(dir, &o)
	}
	f.Add((&start{}).append(nil), dir, b.Bytes())
	f.Add((&start{chain: []link{{1, 512}}, index: dir}).append(nil), dir, b.Bytes())
	block.kind = opMoved
	f.Add((&start{}).append(nil), appendOp(appendOp(nil, &block), &op{kind: opLost, group: 3, first: 3, count: 2, term: 1}), b.Bytes())
	f.Add([]byte{1}, []byte{byte(opFrame), 5}, []byte{})
	f.Fuzz(func(t *testing.T, begin, dir, data []byte) {
		if len(begin)+len(dir)+len(data) > 1<<20 {
			return
		}
		info := frameInfo{begin: len(begin), dir: len(dir), length: frameHeader + len(begin) + len(dir) + len(data), batch: 1, oldest: 1}
		info.size = padded(info.length, vfs.SectorBytes)
		var w frameWriter
		w.reset(info.length, vfs.SectorBytes)
		w.tell(&info, 2, begin, dir)
		w.write(data)
		openAny(t, w.seal(&info, 2))
	})
}

// FuzzOps: what can be read of a directory is written as it was read.
func FuzzOps(f *testing.F) {
	b := blockOf(3, 1, 2, []byte("data"))
	block := blockOp(&b)
	f.Add(appendOp(nil, &block))
	f.Add(appendOp(nil, &op{kind: opHard, group: 3, hard: logstore.HardState{Term: 4, Vote: "n1", Machine: 2}}))
	f.Add(appendOp(nil, &op{kind: opLost, group: 1 << 60, first: 3, count: 2, term: 1}))
	f.Fuzz(func(t *testing.T, dir []byte) {
		r := opReader{rest: dir, end: messages.MaxBlockBytes}
		var ops []op
		for {
			o, ok := r.next()
			if !ok {
				break
			}
			ops = append(ops, o)
		}
		if r.err != nil {
			return
		}
		var again []byte
		for i := range ops {
			again = appendOp(again, &ops[i])
		}
		q := opReader{rest: again, end: messages.MaxBlockBytes}
		for i := range ops {
			o, ok := q.next()
			if !ok || fmt.Sprint(o) != fmt.Sprint(ops[i]) {
				t.Fatalf("op %d is %+v, then %+v (%v)", i, ops[i], o, q.err)
			}
		}
	})
}
