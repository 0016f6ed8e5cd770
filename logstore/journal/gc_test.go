package journal

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/memory"
	"github.com/protoraft/protoraft/logstore/vfs"
	"github.com/protoraft/protoraft/messages"
)

func newModel() *memory.Store { return memory.New() }

// idle writes groups that then rest: their blocks, terms and notes are in the oldest
// segment, and keep it.
func idle(p *pair) bool {
	for first := uint64(1); first < 8; first++ {
		u := put(1, first, bytes.Repeat([]byte{'i', byte(first)}, 100))
		u.HardState, u.Note = &logstore.HardState{Term: first, Vote: "n1", Machine: first}, []byte{'n', byte(first)}
		if !p.write(u, logstore.Update{Group: 7, HardState: &logstore.HardState{Term: 9, Vote: "n7"}, CompactTo: 40, CompactTerm: 3}) {
			return false
		}
	}
	return true
}

// TestIdleGroupsMoveOn: what rests is moved along, so the journal does not grow with what
// was written, only with what is kept.
func TestIdleGroupsMoveOn(t *testing.T) {
	disk := newDisk(1)
	p := &pair{store: openTiny(t, disk), model: newModel()}
	if !idle(p) || !churn(p, 1, 600, 300) {
		t.Fatal("writes failed")
	}
	used, live := p.store.active.end, p.store.active.live
	for _, seg := range p.store.chain {
		used, live = used+seg.end, live+seg.live
	}
	if most := 2*live + int64(2*tiny.SlackBytes+tiny.SegmentBytes); used > most || p.store.slots > 14 {
		t.Fatalf("%d bytes in use in %d files for %d live ones, expected at most %d", used, p.store.slots, live, most)
	}
	if oldest := p.store.oldest; oldest < 20 {
		t.Fatalf("segment %d is still needed, the active one is %d", oldest, p.store.active.seq)
	}
	p.check(t, p.store, "before a restart")
	p.store.Close()
	p.check(t, openTiny(t, disk), "after a restart")
}

// TestCrashWhileMoving crashes at every change of the disk while idle groups are moved and
// their files used again.
func TestCrashWhileMoving(t *testing.T) {
	crashes, moving := 0, 0
	for n := 60; ; n += 2 {
		disk := newDisk(uint64(n))
		p := &pair{store: openTiny(t, disk), model: newModel()}
		disk.Inject(func(op vfs.Op) vfs.Fault { return vfs.Fault{Crash: op.Kind != vfs.OpRead && op.N >= n} })
		over := idle(p) && churn(p, 1, 120, 300)
		if p.store.gc.seg != nil {
			moving++
		}
		p.store.Close()
		for seed := range uint64(4) {
			after := disk.Crash(rand.New(rand.NewPCG(seed, uint64(n))))
			s := openTiny(t, after)
			p.check(t, s, "crash at change %d, seed %d", n, seed)
			// The next life goes on moving, and is cut off at once.
			q := &pair{store: s, model: restored(t, s)}
			churn(q, q.next(t), 6, 300)
			s.Close()
			q.check(t, openTiny(t, after.Crash(rand.New(rand.NewPCG(seed, 3)))), "crash at change %d, seed %d, and again", n, seed)
		}
		crashes++
		if over {
			break
		}
	}
	if crashes < 50 || moving < 20 {
		t.Fatalf("%d crashes, %d of them while something was moved; expected more", crashes, moving)
	}
}

// restored is a model that begins with what a store has.
func restored(t *testing.T, s *Store) *memory.Store {
	t.Helper()
	m := newModel()
	ids, err := s.Groups()
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		st, err := s.Load(id)
		if err != nil {
			t.Fatal(err)
		}
		u := logstore.Update{Group: id, Incarnation: st.Incarnation, HardState: &st.HardState, Note: st.Note, CompactTo: st.FirstIndex - 1, CompactTerm: st.PrevTerm}
		write(t, m, u)
		if st.LastIndex >= st.FirstIndex {
			blocks, err := s.Read(id, st.FirstIndex, st.LastIndex, 1<<30)
			if err != nil {
				t.Fatal(err)
			}
			write(t, m, logstore.Update{Group: id, Blocks: blocks})
		}
	}
	return m
}

// next is where group 2 goes on.
func (p *pair) next(t *testing.T) uint64 {
	t.Helper()
	st, err := p.store.Load(2)
	if err != nil {
		t.Fatal(err)
	}
	return max(st.LastIndex, st.FirstIndex-1) + 1
}

// TestLostBlockStaysLost: a block that cannot be read when it is to be moved keeps its
// group from being taken for a whole one, through restarts, until it is reset.
func TestLostBlockStaysLost(t *testing.T) {
	disk := newDisk(1)
	p := &pair{store: openTiny(t, disk), model: newModel()}
	if !idle(p) {
		t.Fatal("writes failed")
	}
	name, at, found := p.store.Place(1, 4)
	if !found {
		t.Fatal("entry 4 is nowhere")
	}
	if err := disk.Flip(name, int(at)+150, 1); err != nil {
		t.Fatal(err)
	}
	if !churn(p, 1, 200, 300) {
		t.Fatal("writes failed")
	}
	if _, _, found := p.store.Place(1, 4); found {
		t.Fatal("the damaged block was not moved")
	}
	for range 3 {
		p.store.Close()
		p.store = openTiny(t, disk)
		var damage *logstore.CorruptError
		if _, err := p.store.Load(1); !errors.As(err, &damage) || damage.Group != 1 || damage.Index != 4 {
			t.Fatalf("load: %v, expected damage at 4 of group 1", err)
		}
		if !churn(p, p.next(t), 60, 300) {
			t.Fatal("the other group does not go on")
		}
	}
	st, damage, err := p.store.Salvage(1)
	if err != nil || damage == nil || damage.Index != 4 || st.LastIndex != 3 || st.HardState.Term != 7 {
		t.Fatalf("salvaged %+v, damage %v (%v); expected entries up to 3", st, damage, err)
	}
	u := put(1, 4, []byte("again"))
	u.ResetFrom = 4
	write(t, p.store, u)
	p.store.Close()
	if st, err := openTiny(t, disk).Load(1); err != nil || st.LastIndex != 4 {
		t.Fatalf("after the reset: %+v, %v, expected entries up to 4", st, err)
	}
}

// badSectors is a disk on which some bytes of a file cannot be read until they are written.
type badSectors struct {
	vfs.FS
	name     string
	from, to int64
	err      error // EIO where there is none
}

type badFile struct {
	vfs.File
	fs   *badSectors
	name string
}

func (b *badSectors) Append(name string) (vfs.File, error) {
	f, err := b.FS.Append(name)
	return &badFile{f, b, name}, err
}

func (f *badFile) bad(p []byte, off int64) bool {
	return f.name == f.fs.name && off < f.fs.to && off+int64(len(p)) > f.fs.from
}

func (f *badFile) ReadAt(p []byte, off int64) (int, error) {
	if f.bad(p, off) {
		return 0, cmp.Or(f.fs.err, error(syscall.EIO))
	}
	return f.File.ReadAt(p, off)
}

func (f *badFile) WriteAt(p []byte, off int64) (int, error) {
	if f.bad(p, off) {
		f.fs.name = ""
	}
	return f.File.WriteAt(p, off)
}

// TestOneBadSectorLosesOneBlock: blocks are read together when they are moved; of those
// only the one that cannot be read is lost.
func TestOneBadSectorLosesOneBlock(t *testing.T) {
	disk := &badSectors{FS: newDisk(1)}
	p := &pair{store: openTiny(t, disk), model: newModel()}
	const idle, bad = 6, 3 // groups
	for group := uint64(11); group < 11+idle; group++ {
		if !p.write(put(group, 1, bytes.Repeat([]byte{byte(group)}, 600))) {
			t.Fatal("write failed")
		}
	}
	was := map[uint64]string{}
	for group := uint64(11); group < 11+idle; group++ {
		name, at, _ := p.store.Place(group, 1)
		was[group] = name
		if group == 11+bad {
			disk.name, disk.from, disk.to = name, at, at+1
		}
	}
	if was[11] != disk.name || was[10+idle] != disk.name {
		t.Fatalf("the blocks are in %v, expected one file", was)
	}
	if !churn(p, 1, 200, 300) {
		t.Fatal("writes failed")
	}
	p.store.Close()
	s := openTiny(t, disk)
	for group := uint64(11); group < 11+idle; group++ {
		_, err := s.Load(group)
		if lost := group == 11+bad; lost != errors.Is(err, logstore.ErrCorrupt) || !lost && err != nil {
			t.Errorf("group %d: %v; only group %d has a block that could not be read", group, err, 11+bad)
		}
	}
}

// TestDiskThatIsAwayIsNoDamage: where nothing of a file can be read the blocks may be whole.
// Nobody is told that they are lost, and a start that finds the disk back has them all.
func TestDiskThatIsAwayIsNoDamage(t *testing.T) {
	disk := &badSectors{FS: newDisk(1)}
	p := &pair{store: openTiny(t, disk), model: newModel()}
	if !p.write(put(11, 1, make([]byte, 600))) {
		t.Fatal("write failed")
	}
	name, _, _ := p.store.Place(11, 1)
	disk.name, disk.from, disk.to = name, 0, 1<<40
	for range 2 {
		if _, err := p.store.Read(11, 1, 1, 1<<20); !strings.Contains(fmt.Sprint(err), "nothing else of the file") || errors.Is(err, logstore.ErrCorrupt) {
			t.Fatalf("%v, expected that the disk does not answer", err)
		}
	}
	disk.name = ""
	p.store.Close()
	if st, err := openTiny(t, disk).Load(11); err != nil || st.LastIndex != 1 {
		t.Fatalf("%+v, %v", st, err)
	}
}

// TestUnreadableSegmentIsSaidAgain: while the oldest segment cannot be read the journal only
// grows. That is said each time it has doubled, and is over with the cause.
func TestUnreadableSegmentIsSaidAgain(t *testing.T) {
	disk, said := &badSectors{FS: newDisk(1)}, new(bytes.Buffer)
	opts := tiny
	opts.Logger = hclog.New(&hclog.LoggerOptions{Output: said})
	s, err := Open(disk, "/db", opts)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p := &pair{store: s, model: newModel()}
	if !idle(p) || !churn(p, 1, 30, 300) { // which closes the first segment
		t.Fatal("writes failed")
	}
	disk.name, _, _ = s.Place(1, 4)
	disk.from, disk.to = 0, 1<<40
	if !churn(p, 31, 1200, 300) {
		t.Fatal("writes failed")
	}
	grown := len(s.chain)
	if n := strings.Count(said.String(), "keeps it and all behind it"); n < 3 || 1<<(n-1) > grown {
		t.Fatalf("said %d times with %d segments, expected once for each doubling:\n%s", n, grown, said)
	}
	disk.name = ""
	if !churn(p, p.next(t), 1200, 300) {
		t.Fatal("writes failed")
	}
	if now := len(s.chain); now > grown/2 {
		t.Fatalf("%d segments of %d are left once the oldest can be read", now, grown)
	}
	p.check(t, s, "at the end")
}

// TestBadSectorStopsItsGroup: a sector that cannot be read is damage of the group whose
// block stands there, as wrong bytes are: what is before it is salvaged, and neither the
// blocks that are read along with it nor the writes of other groups suffer.
func TestBadSectorStopsItsGroup(t *testing.T) {
	disk := &badSectors{FS: newDisk(1)}
	opts := tiny
	opts.SegmentBytes = 64 << 10
	s, err := Open(disk, "/db", opts)
	if err != nil {
		t.Fatal(err)
	}
	for first := uint64(1); first <= 9; first++ {
		write(t, s, put(1, first, bytes.Repeat([]byte{byte(first)}, 1200)), put(2, first, make([]byte, 20)))
	}
	name, at, _ := s.Place(1, 6)
	at += vfs.SectorBytes // where nothing else is
	disk.name, disk.from, disk.to = name, at, at+1
	blocks, err := s.Read(1, 1, 5, 1<<20)
	if err != nil || len(blocks) != 5 {
		t.Fatalf("read of what is before it: %d blocks, %v", len(blocks), err)
	}
	bad := func(what string, err error) {
		t.Helper()
		var damage *logstore.CorruptError
		if !errors.As(err, &damage) || damage.Group != 1 || damage.Index != 6 || damage.Where != name || errors.Is(err, logstore.ErrFailed) {
			t.Fatalf("%s: %v, expected damage at 6 of group 1 in %s", what, err, name)
		}
	}
	_, err = s.Read(1, 1, 9, 1<<20)
	bad("read", err)
	// A block of three, to be cut within.
	write(t, s, logstore.Update{Group: 1, Blocks: []messages.Block{blockOf(1, 10, 3, make([]byte, 300))}})
	was := disk.from
	if name, at, _ := s.Place(1, 10); name == disk.name {
		disk.from, disk.to = at, at+1
	} else {
		t.Fatal("the block is in another file")
	}
	if err := s.Write([]logstore.Update{{Group: 1, TruncateFrom: 11}}); !errors.Is(err, logstore.ErrCorrupt) || errors.Is(err, logstore.ErrFailed) {
		t.Fatalf("truncation within a block that cannot be read: %v, expected %v", err, logstore.ErrCorrupt)
	}
	write(t, s, put(2, 10, make([]byte, 2000)))
	s.Close()
	name, at, _ = s.Place(2, 10)
	if name != disk.name {
		t.Fatalf("the last frame is in %s, expected it in %s", name, disk.name)
	}
	for _, behind := range []int64{0, 1000} { // where the frame begins, and within its block
		disk.from, disk.to = at+behind, at+behind+1
		if _, err := Open(disk, "/db", opts); !errors.Is(err, syscall.EIO) {
			t.Fatalf("the last frame, which is written again, cannot be read: %v, expected %v", err, syscall.EIO)
		}
	}
	disk.from, disk.to = was, was+1
	if s, err = Open(disk, "/db", opts); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, err = s.Load(1)
	bad("load", err)
	st, damage, err := s.Salvage(1)
	if err != nil || damage == nil || damage.Index != 6 || st.LastIndex != 5 {
		t.Fatalf("salvaged %+v, damage %v (%v); expected entries up to 5", st, damage, err)
	}
	if st, err := s.Load(2); err != nil || st.LastIndex != 10 {
		t.Fatalf("the other group: %+v, %v", st, err)
	}
}

// TestReadErrorIsNoDamage: a block that could not be read for another reason than that it
// is gone is not given up when it is to be moved.
func TestReadErrorIsNoDamage(t *testing.T) {
	disk := &badSectors{FS: newDisk(1), err: syscall.ENOMEM}
	p := &pair{store: openTiny(t, disk), model: newModel()}
	if !idle(p) {
		t.Fatal("writes failed")
	}
	name, at, _ := p.store.Place(1, 4)
	disk.name, disk.from, disk.to = name, at, at+1
	if !churn(p, 1, 200, 300) {
		t.Fatal("writes failed")
	}
	if now, _, found := p.store.Place(1, 4); !found || now != name {
		t.Fatalf("it is in %q, expected it to stay in %s", now, name)
	}
	disk.name = ""
	if !churn(p, 201, 200, 300) {
		t.Fatal("writes failed")
	}
	if oldest := p.store.oldest; oldest < 20 {
		t.Fatalf("segment %d is still needed", oldest)
	}
	p.check(t, p.store, "when it could be read again")
	p.store.Close()
	p.check(t, openTiny(t, disk), "after a restart")
}

// TestReadersKeepTheirPlace: what a reader was shown is not written over while it reads,
// and the writer does not wait for it.
func TestReadersKeepTheirPlace(t *testing.T) {
	disk := newDisk(1)
	p := &pair{store: openTiny(t, disk), model: newModel()}
	if !churn(p, 1, 4, 300) {
		t.Fatal("writes failed")
	}
	picture := p.store.picture(p.store.groups[2])
	if !churn(p, 5, 300, 300) {
		t.Fatal("writes failed")
	}
	if _, damage, err := picture.check(); damage != nil || err != nil {
		t.Fatalf("what was shown before: %v, %v", damage, err)
	}
	pinned := p.store.slots
	picture.done()
	if !churn(p, 305, 300, 300) {
		t.Fatal("writes failed")
	}
	if p.store.slots > pinned+1 {
		t.Fatalf("%d files, then %d; expected those of the reader to be used again", pinned, p.store.slots)
	}
}

// TestStepsAreBounded: with every Write, no more is moved than the bounds say.
func TestStepsAreBounded(t *testing.T) {
	disk := newDisk(1)
	opts := tiny
	opts.SegmentBytes, opts.SlackBytes, opts.IndexBytes = 1<<20, 1<<20, 64<<10
	s, err := Open(disk, "/db", opts)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for first := uint64(1); first < 60; first++ {
		write(t, s, put(1, first, make([]byte, 30<<10)))
	}
	largest := 0
	disk.Inject(func(op vfs.Op) vfs.Fault {
		if op.Kind == vfs.OpWrite {
			largest = max(largest, op.Len)
		}
		return vfs.Fault{}
	})
	seq := s.active.seq
	for index := uint64(1); index < 2000; index++ {
		u := put(2, index, make([]byte, 10<<10))
		u.CompactTo, u.CompactTerm = index-1, min(index-1, 1)
		write(t, s, u)
	}
	if most := collectLeast + 30<<10 + 64<<10 + 20<<10; largest > most || s.active.seq < seq+10 {
		t.Fatalf("the largest write had %d bytes, expected at most %d", largest, most)
	}
}
