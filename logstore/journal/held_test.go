package journal

import (
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/protoraft/protoraft/logstore/vfs"
)

// TestStartSyncsWhatItRead: a process is killed before the sync of a frame, which the next
// one finds in the cache. From the first byte that one writes, the frame is on the disk.
func TestStartSyncsWhatItRead(t *testing.T) {
	disk := newDisk(1)
	p := &pair{store: openTiny(t, disk), model: newModel()}
	if !churn(p, 1, 5, 300) {
		t.Fatal("writes failed")
	}
	file := newestSlot(p.store)
	disk.Inject(func(op vfs.Op) vfs.Fault {
		if op.Kind == vfs.OpSync && op.Name == file {
			return vfs.Fault{Err: syscall.EINTR, Undone: true}
		}
		return vfs.Fault{}
	})
	if churn(p, 6, 1, 300) || newestSlot(p.store) != file {
		t.Fatal("the last frame was synced, or another file begun")
	}
	p.store.Close()
	p.before = nil // the next process sees it all
	disk.Inject(func(op vfs.Op) vfs.Fault { return vfs.Fault{Crash: op.Kind == vfs.OpWrite && isSlot(op.Name)} })
	if s, err := Open(disk, "/db", tiny); err == nil {
		s.Close()
		t.Fatal("the start wrote nothing")
	}
	for seed := range uint64(20) {
		p.check(t, openTiny(t, disk.Crash(rand.New(rand.NewPCG(seed, 1)))), "power failure %d", seed)
	}
}

// TestStartsNeedFewFiles: starts that write nothing and follow each other take turns with
// the files that are held from them.
func TestStartsNeedFewFiles(t *testing.T) {
	disk := newDisk(1)
	p := &pair{store: openTiny(t, disk), model: newModel()}
	if !churn(p, 1, 60, 300) {
		t.Fatal("writes failed")
	}
	slots := p.store.slots
	for range 20 {
		p.store.Close()
		p.store = openTiny(t, disk)
		p.check(t, p.store, "after a start")
	}
	if p.store.slots > slots+2 {
		t.Fatalf("%d files after 20 starts, %d before them", p.store.slots, slots)
	}
}
