package journal

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/vfs"
)

// lastFrames is a journal whose last frame has a few sectors, in a file that is new or has
// held another segment. before and after are its file without that frame and with it.
func lastFrame(t *testing.T, recycled bool) (disk *vfs.Mem, name string, at int64, before, after []byte, was, is seen) {
	t.Helper()
	disk = newDisk(1)
	s := openTiny(t, disk)
	p := &pair{store: s, model: newModel()}
	next := uint64(1)
	for begun := s.active.slot; recycled && !(s.active.slot == begun && s.active.seq > 3 && s.active.end > 2<<10 && s.active.end < 4<<10); next++ {
		if !churn(p, next, 1, 700) {
			t.Fatal("no churn")
		}
	}
	if !recycled {
		churn(p, next, 3, 100)
		next += 3
	}
	name, at = newestSlot(s), s.active.end
	before, was = contents(t, disk, name), look(t, s)
	if !churn(p, next, 1, 1800) || newestSlot(s) != name || s.active.end-at < 4*vfs.SectorBytes {
		t.Fatalf("the last frame is not where it should be: %s, %d to %d", newestSlot(s), at, s.active.end)
	}
	is = look(t, s)
	disk = copyOf(s, disk)
	after = contents(t, disk, name)
	before = append(before, make([]byte, max(0, len(after)-len(before)))...)
	old := before[at:s.active.end]
	if recycled != (len(bytes.Trim(old, "\x00")) > 0) {
		t.Fatalf("recycled %v, and what stood there before are %d zeros", recycled, len(old))
	}
	return disk, name, at, before, after, was, is
}

// TestTornAtEveryByte cuts the last write off at every byte, from its end and from its
// beginning: it was never acknowledged, and is not there. Sectors are whole, but where
// others behind prove that the write was cut off.
func TestTornAtEveryByte(t *testing.T) {
	for _, recycled := range []bool{false, true} {
		disk, name, at, before, after, was, is := lastFrame(t, recycled)
		end := at
		for i := range after {
			if after[i] != before[i] {
				end = int64(i + 1)
			}
		}
		try := func(data []byte, want seen, what string, k int64) {
			t.Helper()
			s, err := Open(changed(t, disk, name, data), "/db", tiny)
			if err != nil {
				t.Fatalf("recycled %v, %s at byte %d: %v", recycled, what, k, err)
			}
			defer s.Close()
			if got := look(t, s); !reflect.DeepEqual(got, want) {
				t.Fatalf("recycled %v, %s at byte %d: found %v, expected %v", recycled, what, k, got, want)
			}
		}
		try(after, is, "nothing lost", 0)
		for k := at; k < end; k++ {
			whole := k / vfs.SectorBytes * vfs.SectorBytes
			if k >= at+vfs.SectorBytes && k < (end-1)/vfs.SectorBytes*vfs.SectorBytes {
				whole = k // the sector is in two parts, and one behind it is missing
			}
			try(append(bytes.Clone(after[:whole]), before[whole:]...), was, "cut", k)
			if k%vfs.SectorBytes == 0 && k > at {
				try(append(append(bytes.Clone(after[:at]), before[at:k]...), after[k:]...), was, "begun", k)
				hole := bytes.Clone(after)
				copy(hole[k:], before[k:k+vfs.SectorBytes])
				try(hole, was, "hole", k)
			}
		}
	}
}

// TestTwoAttemptsAreNoFrame: a segment is begun twice with the same number, each time in
// part. Sectors of both, each of them whole, do not make a frame.
func TestTwoAttemptsAreNoFrame(t *testing.T) {
	frame := func(fill byte) []byte {
		s := &Store{opts: tiny}
		if err := s.opts.fill(); err != nil {
			t.Fatal(err)
		}
		info, ops := frameInfo{batch: 1, oldest: 1}, []op{}
		b := blockOf(1, 1, 1, bytes.Repeat([]byte{fill}, 2000))
		ops = append(ops, blockOp(&b))
		s.layOut(&info, 0, ops)
		seg := &segment{file: newFile(t)}
		if err := s.writeFrame(seg, 5, &info, nil, ops); err != nil {
			t.Fatal(err)
		}
		data, err := readFull(seg.file, 0, info.size)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	one, two := frame('1'), frame('2')
	if _, v, why := judgeFrame(one, 0, 5); v != whole {
		t.Fatalf("a frame as written is %v: %s", v, why)
	}
	for cut := vfs.SectorBytes; cut < len(one); cut += vfs.SectorBytes {
		mixed := append(bytes.Clone(two[:cut]), one[cut:]...)
		if _, v, why := judgeFrame(mixed, 0, 5); v != torn {
			t.Fatalf("from byte %d on of another attempt: %v (%s), expected it torn", cut, v, why)
		}
	}
}

func newFile(t *testing.T) vfs.File {
	t.Helper()
	f, err := newDisk(1).Create("/f")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestOlderSegmentIsNotRead: frames that stand where a file goes on after its segment
// ends, from when it held another, are not of this one, whole as they are.
func TestOlderSegmentIsNotRead(t *testing.T) {
	disk := newDisk(1)
	s := openTiny(t, disk)
	p := &pair{store: s, model: newModel()}
	older := false
	for next := uint64(1); next < 400; next++ {
		if !churn(p, next, 1, 700) {
			t.Fatal("no churn")
		}
		data, at := contents(t, disk, newestSlot(s)), s.active.end
		for ; at+vfs.SectorBytes <= int64(len(data)); at += vfs.SectorBytes {
			seq, kind, state := openSector(data[at:], uint32(at/vfs.SectorBytes))
			if state == starts && kind == kindStart && seq < s.active.seq {
				older = true
				if _, v, _ := judgeFrame(data[at:], at, seq); v != whole {
					continue
				}
				if _, v, _ := judgeFrame(data[at:], at, s.active.seq); v != nothing {
					t.Fatalf("a frame of segment %d is %v in segment %d", seq, v, s.active.seq)
				}
			}
		}
		if next%7 == 0 {
			again := openTiny(t, disk.Clone())
			p.check(t, again, "after %d writes", next)
			again.Close()
		}
	}
	if !older || s.slots > 12 {
		t.Fatalf("older frames seen: %v, in %d files; expected some, in few files that are used again", older, s.slots)
	}
}

// TestDamageIsNoTornWrite: what is wrong with the last frame is damage when every sector
// of it is there; then nothing is cut off.
func TestDamageIsNoTornWrite(t *testing.T) {
	for _, recycled := range []bool{false, true} {
		disk, name, at, before, after, _, is := lastFrame(t, recycled)
		refused, named := 0, 0
		for i := at; i < int64(len(after)); i++ {
			if after[i] == before[i] && (i-at)%vfs.SectorBytes > sectorHeader {
				continue // padding, or as good
			}
			s, err := Open(flipped(t, disk, name, i), "/db", tiny)
			if err != nil {
				if !errors.Is(err, logstore.ErrCorrupt) {
					t.Fatalf("byte %d: %v, expected %v", i, err, logstore.ErrCorrupt)
				}
				refused++
				continue
			}
			if _, err := s.Load(2); errors.Is(err, logstore.ErrCorrupt) {
				named++
			} else if got := look(t, s); !reflect.DeepEqual(got, is) {
				t.Fatalf("byte %d: found %v, expected %v", i, got, is)
			}
			s.Close()
		}
		if refused == 0 || named < refused {
			t.Fatalf("recycled %v: the store refused %d times, the group %d; expected what tells of the frame to be the lesser part", recycled, refused, named)
		}
	}
}
