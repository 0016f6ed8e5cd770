package sim

import (
	"errors"
	"io"
	"sync"
	"time"

	"github.com/protoraft/protoraft/logstore/vfs"
)

// diskFault is what a node's disk has done to the process that uses it. Goroutines of
// an engine may be the first to meet it, so unlike the rest of the world it is locked.
type diskFault struct {
	mu  sync.Mutex
	met Coverage
}

func (f *diskFault) strike(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.met == nil {
		f.met = Coverage{}
	}
	f.met.add("disk fault: " + name)
}

func (f *diskFault) struck() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.met) > 0
}

// clear forgets the faults, which were counted in c.
func (f *diskFault) clear(c Coverage) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c.Add(f.met)
	clear(f.met)
}

// leaveDisk ends what a process does to its disk. The next one finds it as it was at
// this moment, whatever goroutines of the engine still do until they have stopped.
func (n *node) leaveDisk(power bool) {
	w := n.w
	n.disk.Inject(nil)
	n.disk.NoLimit()
	left := n.disk
	switch {
	case power || n.disk.Crashed():
		left = n.disk.Crash(w.chaos)
	case w.background:
		left = n.disk.Clone()
	}
	for _, s := range []io.Closer{n.store, n.snapshots} {
		if err := s.Close(); err != nil && !errors.Is(err, vfs.ErrCrashed) {
			w.violate("a store can be closed", "%s: %v", n.id, err)
		}
	}
	n.disk = left
	n.fault.clear(w.cover)
}

// fillDisk leaves so many bytes of the disk, for a while or until the process ends. It is
// no fault: nothing may fail for it.
func (n *node) fillDisk(spare int, d time.Duration) {
	if n.outsider {
		return
	}
	n.disk.Limit(n.disk.Used() + spare)
	life := n.life
	n.w.after(d, func() {
		if n.up && n.life == life {
			n.emptyDisk()
		}
	})
}

// emptyDisk gives it room again. An engine with goroutines looks for that in real time,
// which is far too late here: its process starts again instead.
func (n *node) emptyDisk() {
	refused := n.disk.Refused() > 0
	n.disk.NoLimit()
	if n.up && refused && n.w.background {
		n.crash(false)
		n.restartIn(n.w.drawDowntime())
	}
}
