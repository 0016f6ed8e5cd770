package level

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/vfs"
	"github.com/protoraft/protoraft/messages"
)

// inspected writes ten blocks of one entry of 40 KiB each for group 1, and a little for
// group 7, as a journal or, with tables, as a table.
func inspected(t *testing.T, tables bool) *vfs.Mem {
	t.Helper()
	disk := memDisk()
	var updates []logstore.Update
	for i := range uint64(10) {
		updates = append(updates, logstore.Update{Group: 1, Incarnation: 1, Blocks: []messages.Block{
			blockOf(1, i+1, 1, bytes.Repeat([]byte{'a' + byte(i)}, 40<<10)),
		}})
	}
	updates = append(updates, logstore.Update{Group: 7, Incarnation: 2, HardState: &logstore.HardState{Term: 9, Vote: "n2"}})
	s := openWith(t, disk)
	for _, u := range updates { // a record each
		if err := s.Write([]logstore.Update{u}); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	if tables {
		openWith(t, disk).Close()
	}
	return disk
}

// contents is every file of the store.
func contents(t *testing.T, disk *vfs.Mem) map[string]string {
	t.Helper()
	files := map[string]string{}
	for name, size := range disk.FileSizes() {
		f, err := disk.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		data := make([]byte, size)
		if _, err := f.ReadAt(data, 0); err != nil && size > 0 {
			t.Fatal(err)
		}
		files[name] = string(data)
	}
	return files
}

// look inspects group 1: the indexes that can be read, and what is damaged.
func look(t *testing.T, disk *vfs.Mem) (indexes []uint64, damage []string) {
	t.Helper()
	before := contents(t, disk)
	i, err := Inspect(disk, "/db")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range i.Damage() {
		damage = append(damage, d.Error())
	}
	ids, more := i.Groups()
	if len(more) > 0 {
		t.Errorf("groups %v, %v", ids, more)
	}
	if slices.Contains(ids, 1) {
		info := i.Group(1)
		for _, d := range info.Damage {
			damage = append(damage, d.Error())
		}
		err := i.Blocks(1, &info, func(r Record) error {
			if r.Damage != nil {
				damage = append(damage, r.Damage.Error())
				return nil
			}
			indexes = append(indexes, r.Block.FirstIndex)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(before, contents(t, disk)) {
		t.Error("the files were changed")
	}
	return indexes, damage
}

func upTo(n uint64) (all []uint64) {
	for i := range n {
		all = append(all, i+1)
	}
	return all
}

func TestInspect(t *testing.T) {
	for _, tables := range []bool{false, true} {
		disk := inspected(t, tables)
		if indexes, damage := look(t, disk); !slices.Equal(indexes, upTo(10)) || len(damage) > 0 {
			t.Errorf("tables %v: indexes %v, damage %v", tables, indexes, damage)
		}
		i, err := Inspect(disk, "/db")
		if err != nil {
			t.Fatal(err)
		}
		if ids, _ := i.Groups(); !slices.Equal(ids, []uint64{1, 7}) {
			t.Errorf("groups %v, expected 1 and 7", ids)
		}
		if info := i.Group(7); info.HardState != (logstore.HardState{Term: 9, Vote: "n2"}) || info.Incarnation != 2 || info.FirstIndex != 1 || len(info.Damage) > 0 {
			t.Errorf("group 7: %+v", info)
		}
		if err := i.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Inspect(memDisk(), "/db"); err == nil {
		t.Error("a store was found where there is no directory")
	}
}

// TestInspectDamage: what is damaged is named, the rest is read, and nothing changes.
func TestInspectDamage(t *testing.T) {
	for _, test := range []struct {
		name   string
		tables bool
		harm   func(t *testing.T, disk *vfs.Mem)
		want   []uint64 // indexes
		says   []string // one of the damages says each
	}{
		{"a block of a table", true, flipIn('e'), []uint64{1, 2, 3, 4, 6, 7, 8, 9, 10}, []string{".ldb", "index 5, block: entries 5 to 5 are missing"}},
		{"the last block of a table", true, flipIn('j'), upTo(9), []string{".ldb"}},
		{"a record of a journal", false, flipIn('e'), nil, []string{".log: at byte ", "are missing"}},
		{"an interrupted write", false, func(t *testing.T, disk *vfs.Mem) { cutBehind(t, disk, 'j') }, upTo(9), nil},
		{"the name of the manifest", false, func(t *testing.T, disk *vfs.Mem) { flip(t, disk, []byte("MANIFEST-")) }, nil, []string{"CURRENT: "}},
	} {
		t.Run(test.name, func(t *testing.T) {
			disk := inspected(t, test.tables)
			test.harm(t, disk)
			indexes, damage := look(t, disk)
			if test.want != nil && !slices.Equal(indexes, test.want) {
				t.Errorf("indexes %v, expected %v", indexes, test.want)
			}
			if len(test.says) == 0 && len(damage) > 0 {
				t.Errorf("damage %v, expected none", damage)
			}
			for _, says := range test.says {
				if !slices.ContainsFunc(damage, func(d string) bool { return strings.Contains(d, says) }) {
					t.Errorf("no damage says %q: %v", says, damage)
				}
			}
			if len(test.says) > 0 && slices.Contains(indexes, 5) && test.name == "a record of a journal" {
				t.Error("the damaged entry was read")
			}
		})
	}
}

func flipIn(letter byte) func(*testing.T, *vfs.Mem) {
	return func(t *testing.T, disk *vfs.Mem) { flip(t, disk, bytes.Repeat([]byte{letter}, 1000)) }
}

func flip(t *testing.T, disk *vfs.Mem, what []byte) {
	t.Helper()
	name, at := find(t, disk, what)
	if err := disk.Flip(name, at+len(what)/2, 3); err != nil {
		t.Fatal(err)
	}
}

// cutBehind ends the file in the middle of what letter fills, and takes away what came
// after: a crash while it was written.
func cutBehind(t *testing.T, disk *vfs.Mem, letter byte) {
	t.Helper()
	name, at := find(t, disk, bytes.Repeat([]byte{letter}, 1000))
	f, err := disk.Append(name)
	if err == nil {
		err = errors.Join(f.Truncate(int64(at+500)), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestInspectLostKeys takes keys away behind the store's back.
func TestInspectLostKeys(t *testing.T) {
	var key blockKey
	for says, lost := range map[string][]byte{
		"index 1, block: entries 1 to 3 are missing":              slices.Clone(key.block(1, 1)),
		"index 4, block: entries 4 to 6 are missing":              slices.Clone(key.block(1, 4)),
		"index 7, block: the log ends here, but had reached 9":    slices.Clone(key.block(1, 7)),
		fmt.Sprintf("group 1, index 0, log state: %s", "missing"): slices.Clone(key.group(keyLogState, 1)),
	} {
		disk := memDisk()
		s := openWith(t, disk, logstore.Update{Group: 1, Incarnation: 1, Blocks: []messages.Block{
			blockOf(1, 1, 3, []byte("x")), blockOf(1, 4, 3, []byte("y")), blockOf(1, 7, 3, []byte("z")),
		}}, logstore.Update{Group: 7, Incarnation: 1, HardState: &logstore.HardState{Term: 1}})
		if err := s.db.Delete(lost, synced); err != nil {
			t.Fatal(err)
		}
		s.Close()
		if _, damage := look(t, disk); len(damage) != 1 || !strings.Contains(damage[0], says) {
			t.Errorf("damage %v, expected %q", damage, says)
		}
	}
}
