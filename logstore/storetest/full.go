package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/memory"
	"github.com/protoraft/protoraft/logstore/vfs"
)

// roomBack is how long a store may take to notice that there is room again: goleveldb
// waits up to 8 s between two attempts to write a table.
const roomBack = 30 * time.Second

// Full is for engines that tell a full disk from a failed one. It fills the disk before each write in turn, but for some bytes, and gives it
// room again after the first refusal. What was refused is not there, neither to readers
// nor after a crash; votes are still taken; the same write succeeds later.
func Full(t *testing.T, open Factory) {
	for _, size := range sizes {
		refused, voted := 0, 0
		for _, spare := range []int{0, 1, 600, 5000} {
			for from := range workload(size) {
				f := fullRun{t: t, open: open, disk: vfs.NewMem(newRand(uint64(from))), h: &history{model: memory.New()}}
				f.run(size, from, spare)
				refused += f.refused
				voted += f.voted
				if t.Failed() {
					t.Fatalf("entries of %d bytes, full at write %d but for %d bytes", size, from, spare)
				}
			}
		}
		t.Logf("entries of %d bytes: %d writes refused, %d votes taken meanwhile", size, refused, voted)
		if size == sizes[1] && (refused == 0 || 2*voted < refused) {
			t.Errorf("entries of %d bytes: %d writes refused, %d votes taken meanwhile", size, refused, voted)
		}
	}
}

type fullRun struct {
	t              *testing.T
	open           Factory
	disk           *vfs.Mem
	h              *history
	refused, voted int
}

func (f *fullRun) run(size, from, spare int) {
	s := mustOpen(f.t, f.disk, f.open)
	defer s.Close()
	for i, updates := range workload(size) {
		if i == from {
			f.disk.Limit(f.disk.Used() + spare)
		}
		err := s.Write(updates)
		if errors.Is(err, logstore.ErrFull) {
			f.onRefusal(s, updates)
			err = f.again(s, updates)
		}
		if err != nil {
			f.t.Fatalf("write %d: %v", i, err)
		}
		f.note(updates)
	}
	f.disk.NoLimit()
	f.check(s)
	recovered(f.t, f.disk.Clone(), f.h, f.open, 0)
}

func (f *fullRun) note(updates []logstore.Update) {
	if err := f.h.acknowledged(updates); err != nil {
		f.t.Fatalf("model: %v", err)
	}
}

func (f *fullRun) check(s logstore.Store) {
	f.t.Helper()
	if err := f.h.explain(s); err != nil {
		f.t.Fatal(err)
	}
	for seed := range uint64(2) {
		recovered(f.t, f.disk.Clone().Crash(newRand(seed)), f.h, f.open, seed+1)
	}
}

func (f *fullRun) onRefusal(s logstore.Store, updates []logstore.Update) {
	f.refused++
	f.check(s)
	vote := []logstore.Update{{Group: updates[0].Group, HardState: &logstore.HardState{Term: uint64(100 + f.refused), Vote: "v"}}}
	switch err := s.Write(vote); {
	case err == nil:
		f.voted++
		f.note(vote)
	case !errors.Is(err, logstore.ErrFull):
		f.t.Fatalf("a vote on a full disk: %v", err)
	}
	f.check(s)
}

// again repeats a write, now that there is room.
func (f *fullRun) again(s logstore.Store, updates []logstore.Update) error {
	f.disk.NoLimit()
	deadline := time.NewTimer(roomBack)
	defer deadline.Stop()
	every := time.NewTicker(5 * time.Millisecond)
	defer every.Stop()
	for {
		err := s.Write(updates)
		if !errors.Is(err, logstore.ErrFull) {
			return err
		}
		select {
		case <-every.C:
		case <-deadline.C:
			return err
		}
	}
}
