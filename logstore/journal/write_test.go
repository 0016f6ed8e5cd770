package journal

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"syscall"
	"testing"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/vfs"
)

// watchedFS sees where files are written.
type watchedFS struct {
	vfs.FS
	wrote func(name string, at int64, size int)
	syncs func(name string)
}

type watchedFile struct {
	vfs.File
	fs   *watchedFS
	name string
}

func (f *watchedFS) Append(name string) (vfs.File, error) {
	file, err := f.FS.Append(name)
	if err != nil {
		return nil, err
	}
	return &watchedFile{file, f, name}, nil
}

func (f *watchedFile) WriteAt(p []byte, off int64) (int, error) {
	f.fs.wrote(f.name, off, len(p))
	return f.File.WriteAt(p, off)
}

func (f *watchedFile) Sync() error {
	f.fs.syncs(f.name)
	return f.File.Sync()
}

// TestOneWriteOneSync: a Write is one write and one sync, but for zeros, also where it
// begins a segment; and no page that was synced is written again while it counts.
func TestOneWriteOneSync(t *testing.T) {
	opts := tiny
	opts.PageBytes, opts.SegmentBytes, opts.AheadBytes = 4<<10, 64<<10, 64<<10
	type place struct {
		name string
		page int64
	}
	frames, syncs, zeros := []place{}, 0, 0
	counts := map[place]bool{} // pages of frames
	fs := &watchedFS{FS: newDisk(1), syncs: func(string) { syncs++ }}
	var s *Store
	fs.wrote = func(name string, at int64, size int) {
		if !isSlot(name) {
			return
		}
		if at%int64(opts.PageBytes) != 0 || size%opts.PageBytes != 0 {
			t.Errorf("%s: %d bytes at %d, expected whole pages", name, size, at)
		}
		if s != nil && name == newestSlot(s) && at >= s.active.end && at < s.active.filled || at == 0 && (s == nil || name != newestSlot(s)) {
			frames = append(frames, place{name, at})
		} else {
			zeros++
		}
		if at == 0 {
			for p := range counts {
				if p.name == name {
					delete(counts, p) // its segment is not needed any more
				}
			}
		}
		for page := at; page < at+int64(size); page += int64(opts.PageBytes) {
			if counts[place{name, page}] {
				t.Errorf("%s: the page at %d was synced and is written again", name, page)
			}
		}
	}
	s, err := Open(fs, "/db", opts)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	begun := 0
	for i := uint64(1); i < 300; i++ {
		slots, seq, filled := s.slots, s.active.seq, zeros
		frames, syncs = frames[:0], 0
		u := put(2, i, bytes.Repeat([]byte{1}, int(i%30)*100))
		if i > 3 {
			u.CompactTo, u.CompactTerm = i-3, 1
		}
		write(t, s, u)
		if s.active.seq != seq {
			begun++
		}
		if s.slots == slots && (syncs != 1 || zeros == filled && len(frames) != 1) {
			t.Fatalf("write %d: %d writes and %d syncs, expected one of each", i, len(frames), syncs)
		}
		for page := frames[len(frames)-1].page; page < s.active.end; page += int64(opts.PageBytes) {
			counts[place{newestSlot(s), page}] = true
		}
	}
	if begun < 10 {
		t.Fatalf("%d segments begun, expected more", begun)
	}
}

// TestMovedDoesNotOvertake: what is moved along with a Write is what was there before it.
func TestMovedDoesNotOvertake(t *testing.T) {
	due := 0
	for k := uint64(20); k < 90; k++ {
		disk := newDisk(k)
		p := &pair{store: openTiny(t, disk), model: newModel()}
		if !idle(p) || !churn(p, 1, int(k), 300) {
			t.Fatal("writes failed")
		}
		if p.store.due() && p.store.groups[1].hardIn.seg == p.store.chain[0] {
			due++
		}
		u := put(2, k+1, bytes.Repeat([]byte{2}, 300))
		p.write(
			logstore.Update{Group: 1, HardState: &logstore.HardState{Term: 100 + k, Vote: "new"}, Note: []byte(fmt.Sprint(k)), TruncateFrom: 6, CompactTo: 2, CompactTerm: 1},
			u,
		)
		p.check(t, p.store, "vote after %d writes", k)
		p.store.Close()
		p.check(t, openTiny(t, disk), "vote after %d writes, and a restart", k)
	}
	if due == 0 {
		t.Fatal("what stood in the oldest segment was never written anew while it was moved")
	}
}

// TestFullAfterThePromise: where the file system took the zeros and has no room for the
// frame, or says so at the sync, part of it may be on disk. That is no full disk, it is a
// store that has failed, whatever room there is later.
func TestFullAfterThePromise(t *testing.T) {
	for name, kind := range map[string]vfs.OpKind{"write": vfs.OpWrite, "sync": vfs.OpSync} {
		t.Run(name, func(t *testing.T) {
			disk := newDisk(1)
			s := openTiny(t, disk)
			write(t, s, put(1, 1, make([]byte, 100)))
			full := true
			disk.Inject(func(op vfs.Op) vfs.Fault {
				if full && op.Kind == kind {
					return vfs.Fault{Err: syscall.ENOSPC, Keep: op.Len / 2}
				}
				return vfs.Fault{}
			})
			if err := s.Write([]logstore.Update{put(1, 2, make([]byte, 100))}); err == nil || errors.Is(err, logstore.ErrFull) {
				t.Fatalf("%v, expected a failure that is none for want of room", err)
			}
			full = false
			if err := s.Write([]logstore.Update{put(1, 2, make([]byte, 100))}); !errors.Is(err, logstore.ErrFailed) {
				t.Fatalf("%v, expected %v", err, logstore.ErrFailed)
			}
		})
	}
}

// TestCompactionMakesRoom: on a disk that is full of the log itself, a snapshot gives the
// room back.
func TestCompactionMakesRoom(t *testing.T) {
	disk := newDisk(1)
	s := openTiny(t, disk)
	disk.Limit(disk.Used() + 30<<10)
	last := uint64(0)
	for {
		err := s.Write([]logstore.Update{put(1, last+1, make([]byte, 500))})
		if errors.Is(err, logstore.ErrFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		last++
	}
	write(t, s, logstore.Update{Group: 1, CompactTo: last - 1, CompactTerm: 1})
	write(t, s, logstore.Update{Group: 1, HardState: &logstore.HardState{Term: 2}})
	for range last / 2 {
		last++
		write(t, s, put(1, last, make([]byte, 500)))
	}
	s.Close()
	disk.NoLimit()
	if st, err := openTiny(t, disk).Load(1); err != nil || st.LastIndex != last || st.HardState.Term != 2 {
		t.Fatalf("%+v, %v, expected an end at %d", st, err, last)
	}
}

// TestWhatTheCacheShowed: after a failed sync a restarted process may find in the cache
// what is not on the disk. What it shows from then on a power cut must not take away.
func TestWhatTheCacheShowed(t *testing.T) {
	shown := 0
	for n := 1; n < 40; n++ {
		disk := newDisk(uint64(n))
		p := &pair{store: openTiny(t, disk), model: newModel()}
		left := n
		disk.Inject(func(op vfs.Op) vfs.Fault {
			if op.Kind == vfs.OpSync {
				if left--; left == 0 {
					return vfs.Fault{Err: syscall.EIO}
				}
			}
			return vfs.Fault{}
		})
		if churn(p, 1, 60, 1200) {
			t.Fatalf("sync %d did not fail", n)
		}
		p.store.Close()
		disk.Inject(nil)
		s := openTiny(t, disk)
		showed := look(t, s)
		if reflect.DeepEqual(showed, look(t, p.model)) {
			shown++
		}
		s.Close()
		for seed := range uint64(4) {
			again := openTiny(t, disk.Clone().Crash(rand.New(rand.NewPCG(seed, uint64(n)))))
			if got := look(t, again); !reflect.DeepEqual(got, showed) {
				t.Fatalf("sync %d failed: a start showed %v, and after a power cut there is %v", n, showed, got)
			}
			again.Close()
		}
	}
	if shown == 0 {
		t.Fatal("the cache never showed what was not synced")
	}
}
