package journal

import (
	"bytes"
	"errors"
	"path"
	"reflect"
	"strings"
	"testing"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/vfs"
)

// chained is a closed journal with some sealed segments, none of which can be spared.
func chained(t *testing.T) (disk *vfs.Mem, chain []link, slots []string, active string, is seen) {
	t.Helper()
	disk = newDisk(1)
	opts := tiny
	opts.SegmentBytes = 24 << 10
	s, err := Open(disk, "/db", opts)
	if err != nil {
		t.Fatal(err)
	}
	for group := uint64(1); group <= 12; group++ {
		for first := uint64(1); first <= 24; first++ {
			write(t, s, put(group, first, bytes.Repeat([]byte{byte(group)}, 200)))
		}
	}
	for _, seg := range s.chain {
		chain, slots = append(chain, link{seg.seq, seg.end}), append(slots, s.dir.slot(seg.slot))
	}
	if len(chain) < 4 {
		t.Fatalf("%d sealed segments, expected more", len(chain))
	}
	is, active = look(t, s), newestSlot(s)
	return copyOf(s, disk), chain, slots, active, is
}

// TestIndexFromTheFrames: where what a segment says of the one before it is damaged, that
// one is read itself; its own beginning is known from the one after it.
func TestIndexFromTheFrames(t *testing.T) {
	disk, chain, slots, _, is := chained(t)
	for i := 1; i < len(chain); i++ {
		f, _, _ := judgeFrame(contents(t, disk, slots[i]), 0, chain[i].seq)
		if f.toldBytes() == vfs.SectorBytes {
			t.Fatalf("segment %d tells all in its first sector", chain[i].seq)
		}
		s := openTiny(t, flipped(t, disk, slots[i], vfs.SectorBytes+sectorHeader+5))
		if got := look(t, s); !reflect.DeepEqual(got, is) {
			t.Fatalf("the beginning of segment %d is damaged: found %v, expected %v", chain[i].seq, got, is)
		}
		s.Close()
	}
	// Where both are damaged, something may be lost, and nobody can say of whom.
	harmed := flipped(t, disk, slots[2], vfs.SectorBytes+sectorHeader+5)
	data := contents(t, disk, slots[1])
	f, v, _ := judgeFrame(data, 0, chain[1].seq)
	if v != whole {
		t.Fatalf("the first frame of segment %d is %v", chain[1].seq, v)
	}
	_, err := Open(flipped(t, harmed, slots[1], f.end()+sectorHeader+frameHeader), "/db", tiny)
	if !errors.Is(err, logstore.ErrCorrupt) || !strings.Contains(err.Error(), slots[1]) {
		t.Fatalf("a frame and the index damaged: %v, expected %v that names %s", err, logstore.ErrCorrupt, slots[1])
	}
}

// TestDamageStaysInItsGroup damages a block in every segment in turn.
func TestDamageStaysInItsGroup(t *testing.T) {
	disk, chain, _, _, is := chained(t)
	place := openTiny(t, disk.Clone())
	for i := range chain {
		group := uint64(12*i/(len(chain)+1) + 1)
		name, at, found := place.Place(group, 3)
		if !found {
			t.Fatalf("group %d: entry 3 is nowhere", group)
		}
		s := openTiny(t, flipped(t, disk, name, at+100))
		var damage *logstore.CorruptError
		if _, err := s.Load(group); !errors.As(err, &damage) || damage.Group != group || damage.Index != 3 || damage.Where != name {
			t.Fatalf("load of group %d: %v, expected damage at 3 in %s", group, err, name)
		}
		vote := logstore.Update{Group: group, HardState: &logstore.HardState{Term: 5}}
		if err := s.Write([]logstore.Update{vote}); !errors.Is(err, logstore.ErrCorrupt) || errors.Is(err, logstore.ErrFailed) {
			t.Fatalf("write to the damaged group: %v, expected %v", err, logstore.ErrCorrupt)
		}
		write(t, s, logstore.Update{Group: group, Delete: true})
		got := look(t, s)
		want := seen{}
		for id, one := range is {
			if id != group {
				want[id] = one
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("the other groups are %v, expected %v", got, want)
		}
		s.Close()
	}
}

// TestOpeningReadsIndexes: of sealed segments only what tells of them is read.
func TestOpeningReadsIndexes(t *testing.T) {
	disk := newDisk(1)
	opts := Options{SegmentBytes: 1 << 20, PageBytes: 512, SlackBytes: 1 << 30}
	s, err := Open(disk, "/db", opts)
	if err != nil {
		t.Fatal(err)
	}
	for first := uint64(1); first <= 200; first++ {
		write(t, s, put(1, first, make([]byte, 100<<10)))
	}
	sealed, active := int64(0), s.active.end
	for _, seg := range s.chain {
		sealed += seg.end
	}
	s.Close()
	read := int64(0)
	disk.Inject(func(op vfs.Op) vfs.Fault {
		if op.Kind == vfs.OpRead {
			read += int64(op.Len)
		}
		return vfs.Fault{}
	})
	s, err = Open(disk, "/db", opts)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if most := int64(opts.SegmentBytes) + 200<<10; read > most || sealed < 10*active {
		t.Fatalf("%d bytes read of %d sealed and %d active ones, expected at most %d", read, sealed, active, most)
	}
	if st, err := s.Load(1); err != nil || st.LastIndex != 200 {
		t.Fatalf("%+v, %v", st, err)
	}
}

// TestManyStarts: starts that write nothing need no more files, nor longer chains.
func TestManyStarts(t *testing.T) {
	disk, chain, _, _, is := chained(t)
	slots := 0
	for i := range 20 {
		s := openTiny(t, disk)
		if got := look(t, s); !reflect.DeepEqual(got, is) {
			t.Fatalf("start %d: found %v, expected %v", i, got, is)
		}
		if i == 2 {
			slots = s.slots
		}
		if i > 2 && s.slots > slots || len(s.chain) > len(chain)+2 {
			t.Fatalf("start %d: %d files and %d segments, expected %d files", i, s.slots, len(s.chain), slots)
		}
		s.Close()
	}
}

// TestNewerFormatIsRefused, whether the mark says so or a segment.
func TestNewerFormatIsRefused(t *testing.T) {
	disk, _, _, _, _ := chained(t)
	mark := "journal format 2 slots 3"
	mark += " " + markSum(mark) + "\n"
	if _, err := Open(changed(t, disk, "/db/"+MarkName, []byte(mark)), "/db", tiny); !errors.Is(err, logstore.ErrNewerFormat) || !strings.Contains(err.Error(), "format 2") {
		t.Fatalf("open: %v, expected %v", err, logstore.ErrNewerFormat)
	}
	if _, err := readStart([]byte{2, 0, 0}); !errors.Is(err, logstore.ErrNewerFormat) {
		t.Fatalf("a segment of format 2: %v, expected %v", err, logstore.ErrNewerFormat)
	}
}

// TestMissingFiles: a file that the mark names is missed, and so is the mark.
func TestMissingFiles(t *testing.T) {
	disk, _, slots, active, _ := chained(t)
	for _, name := range append(slots, active, "/db/"+MarkName) {
		c := disk.Clone()
		if err := c.Remove(name); err != nil {
			t.Fatal(err)
		}
		var damage *logstore.CorruptError
		if _, err := Open(c, "/db", tiny); !errors.As(err, &damage) || damage.Where != name {
			t.Fatalf("%s is gone: %v, expected damage there", name, err)
		}
	}
}

// TestOlderMarkIsNoticed: with a mark of before in its place a file that it does not name is
// in use, and what is in it is not forgotten, nor the file removed.
func TestOlderMarkIsNoticed(t *testing.T) {
	disk, _, _, active, is := chained(t)
	slots, err := directory{disk, "/db"}.readMark()
	if err != nil || slotName(slots) != path.Base(active) {
		t.Fatalf("%d files (%v), expected %s to be the last", slots, err, active)
	}
	older := changed(t, disk, "/db/"+MarkName, encodeMark(slots-1))
	var damage *logstore.CorruptError
	if _, err := Open(older, "/db", tiny); !errors.As(err, &damage) || damage.Where != "/db/"+MarkName || !strings.Contains(damage.Reason, path.Base(active)) {
		t.Fatalf("%v, expected damage of %s that names %s", err, MarkName, active)
	}
	i, err := Inspect(older, "/db")
	if err != nil || len(i.Damage()) != 1 {
		t.Fatalf("%v, and damage %v, expected one", err, i.Damage())
	}
	i.Close()
	if got := look(t, openTiny(t, changed(t, older, "/db/"+MarkName, encodeMark(slots)))); !reflect.DeepEqual(got, is) {
		t.Fatalf("with the mark put right: found %v, expected %v", got, is)
	}
}

// TestLostSectorStaysInItsGroup: sectors of a block that are gone, with frames behind that
// one, stop the group of the block and no other, in the newest segment and in a sealed one,
// also where its index is gone too. Where they tell of more than blocks, nobody can say whose
// it was.
func TestLostSectorStaysInItsGroup(t *testing.T) {
	const groups = 6
	opts := tiny
	opts.SegmentBytes, opts.IndexBytes = 64<<10, 8<<10
	open := func(disk vfs.FS) (*Store, error) { return Open(disk, "/db", opts) }
	disk := newDisk(1)
	s, err := open(disk)
	if err != nil {
		t.Fatal(err)
	}
	write(t, s, logstore.Update{Group: 1, Note: make([]byte, 1000)}) // an index of a few sectors
	for group := uint64(1); group <= groups; group++ {
		write(t, s, put(group, 1, bytes.Repeat([]byte{byte(group)}, 3000)))
	}
	write(t, s, put(1, 2, []byte("the last"))) // what is lost of that one looks torn
	name, _, _ := s.Place(1, 1)
	image := copyOf(s, disk)
	for group := uint64(1); group <= groups; group++ {
		file, at, _ := s.Place(group, 1)
		if at = at / vfs.SectorBytes * vfs.SectorBytes; file != name {
			t.Fatalf("group %d is in %s, group 1 in %s", group, file, name)
		}
		without := func(from int64, sectors int) *vfs.Mem {
			data := contents(t, image, name)
			clear(data[from:][:sectors*vfs.SectorBytes])
			return changed(t, image, name, data)
		}
		// only opens the log, expects damage of that group only, and leaves a segment of two frames behind.
		only := func(lost *vfs.Mem, what string) string {
			s, err := open(lost)
			if err != nil {
				t.Fatalf("group %d, %s: %v", group, what, err)
			}
			defer s.Close()
			for id := uint64(1); id <= groups; id++ {
				var damage *logstore.CorruptError
				if _, err := s.Load(id); (id == group) != errors.As(err, &damage) || id == group && damage.Group != group {
					t.Fatalf("%s of group %d are gone, load of group %d: %v", what, group, id, err)
				}
			}
			write(t, s, logstore.Update{Group: group%groups + 1, HardState: &logstore.HardState{Term: 9}})
			return newestSlot(s)
		}
		for sectors := 1; sectors <= 4; sectors++ {
			lost := without(at+vfs.SectorBytes, sectors)
			successor := only(lost, "sectors")
			only(lost, "sectors, sealed since,")
			only(flipped(t, lost, successor, vfs.SectorBytes+100), "sectors, and the index,")
		}
		if _, err := open(without(at, 1)); !errors.Is(err, logstore.ErrCorrupt) {
			t.Fatalf("the first sector of a frame is gone: %v, expected %v", err, logstore.ErrCorrupt)
		}
	}
}
