package storetest

import (
	"syscall"
	"testing"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/vfs"
)

// ends are how a process ends and leaves in the cache what the disk may not have.
var ends = []struct {
	name  string
	fault vfs.Fault
}{
	{"killed", vfs.Fault{Err: syscall.EINTR, Undone: true}},
	{"its sync failed", vfs.Fault{Err: syscall.EIO}},
}

// endAt ends the process before the nth change: nothing it does reaches the disk any more.
func endAt(n int, fault vfs.Fault) func(vfs.Op) vfs.Fault {
	return func(op vfs.Op) vfs.Fault {
		switch {
		case op.Kind == vfs.OpRead || op.N < n:
			return vfs.Fault{}
		case op.N == n:
			return fault
		}
		return vfs.Fault{Err: syscall.EINTR, Undone: true}
	}
}

// testKilled ends the process at every change of the disk, which stays up. The next one
// begins with what the cache shows, and the power fails at each change that it makes: all
// that was acknowledged is there, and all that a store which had opened had shown.
func testKilled(t *testing.T, open Factory) {
	for i, end := range ends {
		t.Run(end.name, func(t *testing.T) {
			step := len(ends)
			if *long {
				step = 1
			}
			for n := 1 + i; ; n += step {
				disk := vfs.NewMem(newRand(uint64(n)))
				disk.Inject(endAt(n, end.fault))
				h := attempt(t, disk, sizes[1], open)
				disk.Inject(nil)
				if disk.Ops() < n {
					t.Logf("%d changes", disk.Ops())
					break
				}
				powerFails(t, disk, h, open, n)
			}
		})
	}
}

// powerFails starts a store on a disk and has the power fail at each change that makes.
func powerFails(t *testing.T, disk *vfs.Mem, h *history, open Factory, n int) {
	for m := 1; ; m++ {
		second := disk.Clone()
		second.Inject(crashAt(m))
		s, err := open(second, dir)
		var shown map[uint64]contents
		if err == nil {
			if shown, err = showAll(s); err != nil && !second.Crashed() {
				t.Fatal(err)
			}
			s.Close()
		}
		opened := err == nil
		for seed := range seeds(2, 20) {
			after := second.Crash(newRand(seed))
			recovered(t, after, h, open, seed+1)
			if opened {
				asShown(t, after, shown, open)
			}
			if t.Failed() {
				t.Fatalf("ended at change %d, the power at change %d of the next start, seed %d", n, m, seed)
			}
		}
		if opened {
			return
		}
	}
}

// asShown checks that what a store has shown outlived it.
func asShown(t *testing.T, disk *vfs.Mem, shown map[uint64]contents, open Factory) {
	t.Helper()
	s := mustOpen(t, disk, open)
	defer s.Close()
	now, err := showAll(s)
	if err != nil {
		t.Fatal(err)
	}
	for group, is := range now {
		if was := shown[group]; !is.same(&was) {
			t.Errorf("group %d is %v, and was shown as %v", group, &is, &was)
		}
	}
}

func showAll(s logstore.Store) (map[uint64]contents, error) {
	all := map[uint64]contents{}
	for group := uint64(1); group <= groups; group++ {
		c, err := look(s, group)
		if err != nil {
			return nil, err
		}
		all[group] = c
	}
	return all, nil
}
