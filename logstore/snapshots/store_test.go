package snapshots_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/snapshots"
	"github.com/protoraft/protoraft/logstore/vfs"
	"github.com/protoraft/protoraft/messages"
)

const dir = "/data/snapshots"

func newDisk(seed uint64) *vfs.Mem { return vfs.NewMem(rand.New(rand.NewPCG(seed, 7))) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func metaAt(index uint64) *messages.SnapshotMeta {
	return &messages.SnapshotMeta{Group: 3, Incarnation: 1, Index: index, Term: 2, Time: 99, Machine: "kv/1", ConfigurationIndex: 1,
		Configuration: &messages.Configuration{Members: []*messages.Member{{Id: "a", Address: "127.0.0.1:1"}}}}
}

// content of the machine's section: three frames, one of them not full.
func content(index uint64) []byte {
	b := make([]byte, 2*snapshots.FrameBytesMax+100)
	r := rand.New(rand.NewPCG(index, 1))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func open(t testing.TB, disk vfs.FS) *snapshots.Store {
	t.Helper()
	s, err := snapshots.Open(disk, dir)
	must(t, err)
	return s
}

// write writes a snapshot, its machine's section in pieces.
func write(s *snapshots.Store, meta *messages.SnapshotMeta, machine []byte, piece int) (snapshots.Info, error) {
	w, err := s.Create(meta)
	if err != nil {
		return snapshots.Info{}, err
	}
	defer w.Abort()
	if _, err := w.Section("sessions"); err != nil {
		return snapshots.Info{}, err
	}
	to, err := w.Section("machine")
	if err != nil {
		return snapshots.Info{}, err
	}
	for len(machine) > 0 {
		n := min(piece, len(machine))
		if _, err := to.Write(machine[:n]); err != nil {
			return snapshots.Info{}, err
		}
		machine = machine[n:]
	}
	return w.Commit()
}

// whole checks a snapshot from its head to its end.
func whole(s *snapshots.Store, index uint64, machine []byte) error {
	r, err := s.Open(3, index)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := r.Verify(); err != nil {
		return err
	}
	if !proto.Equal(r.Meta(), metaAt(index)) {
		return fmt.Errorf("meta is %v", r.Meta())
	}
	for name, want := range map[string][]byte{"sessions": nil, "machine": machine} {
		section, ok, err := r.Section(name)
		if err != nil || !ok {
			return fmt.Errorf("section %q: %v, %w", name, ok, err)
		}
		got, err := io.ReadAll(section)
		if err != nil || !bytes.Equal(got, want) {
			return fmt.Errorf("section %q has %d bytes, expected %d: %w", name, len(got), len(want), err)
		}
	}
	if _, ok, err := r.Section("none"); ok || err != nil {
		return fmt.Errorf("a section that is not there: %v, %w", ok, err)
	}
	return nil
}

func bytesOf(t testing.TB, s *snapshots.Store, index uint64) []byte {
	t.Helper()
	r, err := s.Open(3, index)
	must(t, err)
	defer r.Close()
	b, err := io.ReadAll(io.NewSectionReader(r, 0, r.Info().Size))
	must(t, err)
	return b
}

// files are the names on a disk, without locks.
func files(disk *vfs.Mem, ext string) (names []string) {
	for name := range disk.FileSizes() {
		if strings.HasSuffix(name, ext) {
			names = append(names, name)
		}
	}
	return names
}

func TestWriteListReadRemove(t *testing.T) {
	for name, disk := range map[string]vfs.FS{"mem": newDisk(1), "os": vfs.OS{}} {
		t.Run(name, func(t *testing.T) {
			s, err := snapshots.Open(disk, t.TempDir()+dir)
			must(t, err)
			defer s.Close()
			for _, index := range []uint64{5, 300, 20} {
				_, err := write(s, metaAt(index), content(index), 1000)
				must(t, err)
			}
			list, err := s.List(3)
			must(t, err)
			if len(list) != 3 || list[0].Meta.Index != 300 || list[1].Meta.Index != 20 || list[2].Meta.Index != 5 {
				t.Fatalf("list is %v, expected 300, 20, 5", list)
			}
			must(t, whole(s, 300, content(300)))
			reading, err := s.Open(3, 5)
			must(t, err)
			must(t, s.Remove(3, 20))
			must(t, reading.Verify()) // though its name is gone
			must(t, reading.Close())
			if err := s.Remove(3, 7); !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("keep one that is not there: %v, expected %v", err, fs.ErrNotExist)
			}
			if list, _ := s.List(3); len(list) != 2 {
				t.Fatalf("%d left, expected 300 and 20", len(list))
			}
			if groups, err := s.Groups(); err != nil || len(groups) != 1 || groups[0] != 3 {
				t.Fatalf("groups are %v (%v), expected 3", groups, err)
			}
			must(t, s.RemoveGroup(3))
			if groups, err := s.Groups(); err != nil || len(groups) != 0 {
				t.Fatalf("groups are %v (%v), expected none", groups, err)
			}
		})
	}
}

func TestEqualInputGivesEqualBytes(t *testing.T) {
	s := open(t, newDisk(1))
	first, err := write(s, metaAt(5), content(5), 1)
	must(t, err)
	a := bytesOf(t, s, 5)
	second, err := write(s, metaAt(5), content(5), 1<<20)
	must(t, err)
	if first.Checksum != second.Checksum || !bytes.Equal(a, bytesOf(t, s, 5)) {
		t.Fatal("the same snapshot written in other pieces has other bytes")
	}
}

func TestMisuseEndsTheWriter(t *testing.T) {
	for name, misuse := range map[string]func(w *snapshots.Writer) error{
		"a section twice": func(w *snapshots.Writer) error { w.Section("a"); _, err := w.Section("a"); return err },
		"no name":         func(w *snapshots.Writer) error { _, err := w.Section(""); return err },
		"an ended section": func(w *snapshots.Writer) error {
			a, _ := w.Section("a")
			w.Section("b")
			_, err := a.Write([]byte("x"))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			disk := newDisk(1)
			s := open(t, disk)
			w, err := s.Create(metaAt(5))
			must(t, err)
			if err := misuse(w); !errors.Is(err, logstore.ErrInvalid) {
				t.Fatalf("%v, expected %v", err, logstore.ErrInvalid)
			}
			if _, err := w.Commit(); !errors.Is(err, logstore.ErrInvalid) {
				t.Fatalf("commit: %v, expected %v", err, logstore.ErrInvalid)
			}
			if left := disk.FileSizes(); len(left) != 0 {
				t.Fatalf("left: %v, expected nothing", left)
			}
		})
	}
}

// steps is what the crash and fault tests interrupt: an old snapshot is there, a new
// one comes by writing or by receiving, the old one is removed.
func steps(s *snapshots.Store, sent []byte, info snapshots.Info, receive bool) error {
	var err error
	if receive {
		err = transfer(s, sent, info)
	} else {
		_, err = write(s, metaAt(9), content(9), 5000)
	}
	if err == nil {
		err = s.Remove(3, 9)
	}
	return err
}

func transfer(s *snapshots.Store, sent []byte, info snapshots.Info) error {
	in, err := s.Receive(info)
	if err != nil {
		return err
	}
	defer in.Close()
	for at := in.Have(); at < info.Size; at = in.Have() {
		if err := in.Append(at, sent[at:min(at+30000, info.Size)]); err != nil {
			return err
		}
	}
	return in.Finish()
}

func prepared(t *testing.T) (disk *vfs.Mem, sent []byte, info snapshots.Info) {
	source := open(t, newDisk(2))
	info, err := write(source, metaAt(9), content(9), 5000)
	must(t, err)
	disk = newDisk(1)
	s := open(t, disk)
	_, err = write(s, metaAt(4), content(4), 5000)
	must(t, err)
	must(t, s.Close())
	return disk, bytesOf(t, source, 9), info
}

func TestEveryCrashPoint(t *testing.T) {
	before, sent, info := prepared(t)
	for _, receive := range []bool{false, true} {
		finished := false
		for n := 1; !finished; n++ {
			disk := before.Clone()
			s := open(t, disk)
			start := disk.Ops()
			disk.Inject(func(op vfs.Op) vfs.Fault { return vfs.Fault{Crash: op.Kind != vfs.OpRead && op.N == start+n} })
			err := steps(s, sent, info, receive)
			finished = err == nil
			for seed := range uint64(12) {
				after := disk.Crash(rand.New(rand.NewPCG(seed, uint64(n))))
				s := open(t, after)
				list, lerr := s.List(3)
				must(t, lerr)
				if len(list) == 0 || finished && list[0].Meta.Index != 9 {
					t.Fatalf("receive %v, crash %d, seed %d: list is %v", receive, n, seed, list)
				}
				for _, i := range list {
					if err := whole(s, i.Meta.Index, content(i.Meta.Index)); err != nil {
						t.Fatalf("receive %v, crash %d, seed %d: %v", receive, n, seed, err)
					}
				}
				if left := files(after, ".unfinished"); len(left) > 0 {
					t.Fatalf("left after open: %v", left)
				}
				must(t, steps(s, sent, info, receive)) // goes on from whatever is there
				must(t, whole(s, 9, content(9)))
			}
		}
	}
}

func TestEveryFault(t *testing.T) {
	before, sent, info := prepared(t)
	for _, receive := range []bool{false, true} {
		for _, fault := range []vfs.Fault{{Err: syscall.EIO}, {Err: syscall.ENOSPC, Keep: 700}} {
			for _, reads := range []bool{false, true} {
				finished := false
				for n := 1; !finished; n++ {
					disk := before.Clone()
					s := open(t, disk)
					seen := 0
					disk.Inject(func(op vfs.Op) vfs.Fault {
						if (op.Kind == vfs.OpRead) == reads {
							if seen++; seen == n {
								return fault
							}
						}
						return vfs.Fault{}
					})
					err := steps(s, sent, info, receive)
					disk.Inject(nil)
					finished = seen < n
					if err != nil && (!errors.Is(err, fault.Err) || errors.Is(err, logstore.ErrCorrupt)) {
						t.Fatalf("fault %d: %v, expected a plain %v", n, err, fault.Err)
					}
					list, lerr := s.List(3)
					must(t, lerr)
					for _, i := range list {
						must(t, whole(s, i.Meta.Index, content(i.Meta.Index)))
					}
					must(t, steps(s, sent, info, receive))
					must(t, whole(s, 9, content(9)))
					if left := append(files(disk, ".unfinished"), files(disk, ".partial")...); len(left) > 0 {
						t.Fatalf("fault %d: left %v", n, left)
					}
				}
			}
		}
	}
}

// TestEveryBit flips each bit of a small snapshot.
func TestEveryBit(t *testing.T) {
	disk := newDisk(1)
	s := open(t, disk)
	machine := []byte("the state of a machine")
	_, err := write(s, metaAt(5), machine, 10)
	must(t, err)
	name := files(disk, ".snapshot")[0]
	for at := range disk.FileSizes()[name] {
		for bit := range uint(8) {
			must(t, disk.Flip(name, at, bit))
			if err := whole(s, 5, machine); !errors.Is(err, logstore.ErrCorrupt) || !strings.Contains(err.Error(), name) {
				t.Fatalf("byte %d, bit %d: %v, expected damage of %s", at, bit, err, name)
			}
			must(t, disk.Flip(name, at, bit))
		}
	}
	must(t, whole(s, 5, machine))
}

func TestReceiveResumes(t *testing.T) {
	disk, sent, info := prepared(t)
	s := open(t, disk)
	in, err := s.Receive(info)
	must(t, err)
	must(t, in.Append(0, sent[:100000]))
	if err := in.Append(5, sent[5:10]); !errors.Is(err, logstore.ErrInvalid) {
		t.Fatalf("bytes out of order: %v, expected %v", err, logstore.ErrInvalid)
	}
	if err := in.Finish(); !errors.Is(err, logstore.ErrInvalid) {
		t.Fatalf("finish before the end: %v, expected %v", err, logstore.ErrInvalid)
	}
	again, err := s.Receive(info) // its owner died
	must(t, err)
	if have := again.Have(); have == 0 || have > 100000 {
		t.Fatalf("has %d bytes, expected all whole frames of 100000", have)
	}
	in.Discard() // must not touch what the other has
	must(t, again.Append(again.Have(), sent[again.Have():]))
	must(t, again.Finish())
	must(t, whole(s, 9, content(9)))
}

func TestReceiveRefusesDamage(t *testing.T) {
	disk, sent, info := prepared(t)
	s := open(t, disk)
	for at := 0; at < len(sent); at += 97 {
		bad := bytes.Clone(sent)
		bad[at] ^= 4
		if err := transfer(s, bad, info); !errors.Is(err, logstore.ErrCorrupt) && !errors.Is(err, logstore.ErrNewerFormat) {
			t.Fatalf("byte %d damaged: %v, expected %v", at, err, logstore.ErrCorrupt)
		}
	}
	other := info
	other.Checksum++
	if err := transfer(s, sent, other); !errors.Is(err, logstore.ErrCorrupt) {
		t.Fatalf("other checksum: %v, expected %v", err, logstore.ErrCorrupt)
	}
	if left := files(disk, ".partial"); len(left) != 0 {
		t.Fatalf("left: %v", left)
	}
	must(t, transfer(s, sent, info))
}

// FuzzReader: whatever stands in a file, it is read whole or refused.
func FuzzReader(f *testing.F) {
	s := open(f, newDisk(1))
	_, err := write(s, metaAt(5), []byte("state"), 10)
	must(f, err)
	f.Add(bytesOf(f, s, 5))
	f.Add([]byte("PRSNAPS\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		disk := newDisk(1)
		file, err := disk.Create("/f")
		must(t, err)
		file.Write(b)
		r, err := snapshots.OpenFile(disk, "/f")
		if err == nil {
			if section, ok, serr := r.Section("machine"); serr == nil && ok {
				_, err = io.Copy(io.Discard, section)
			}
			err = errors.Join(err, r.Verify())
		}
		if err != nil && !errors.Is(err, logstore.ErrCorrupt) && !errors.Is(err, logstore.ErrNewerFormat) {
			t.Fatalf("%v, expected %v", err, logstore.ErrCorrupt)
		}
	})
}
