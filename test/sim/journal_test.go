package sim

import (
	"errors"
	"testing"
	"time"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/journal"
	"github.com/protoraft/protoraft/logstore/vfs"
)

// openJournal opens the journal with segments that are full after a few writes.
func openJournal(disk vfs.FS, dir string) (logstore.Store, error) {
	s, err := journal.Open(disk, dir, journal.Options{
		SegmentBytes: 16 << 10, PageBytes: 512, AheadBytes: 2 << 10, IndexBytes: 2 << 10, SlackBytes: 16 << 10, ReserveBytes: 16 << 10,
	})
	if err != nil {
		return nil, err
	}
	return rottingJournal{s, disk.(*vfs.Mem)}, nil
}

// rottingJournal is a journal on a medium that decays.
type rottingJournal struct {
	*journal.Store
	disk *vfs.Mem
}

// Rot flips a bit of the block that holds an entry, once, and says whether there is one.
func (s rottingJournal) Rot(group, index uint64) bool {
	file, at, found := s.Place(group, index)
	if !found {
		return false
	}
	if _, err := s.Load(group); errors.Is(err, logstore.ErrCorrupt) {
		return true // since an earlier start
	}
	return s.disk.Flip(file, int(at), 1) == nil
}

// onJournal is what a run on the journal must have reached.
var onJournal = append([]string{"log rotten", "written when a full disk had room again"}, onLevel...)

// TestOnJournal runs some seeds on the journal, which does all its work in the caller's
// turn: what fails fails again.
func TestOnJournal(t *testing.T) {
	began := time.Now()
	s := runMany(60, 0, "journal")
	for _, r := range s.failed {
		explain(t, r, "journal")
	}
	for _, situation := range onJournal {
		if s.coverage[situation] == 0 {
			t.Errorf("never reached: %s", situation)
		}
	}
	t.Logf("%d seeds, %v simulated in %v, %d writes acknowledged\n%v",
		s.seeds, s.virtual.Round(time.Second), time.Since(began).Round(time.Millisecond), s.writes, s.coverage)
}

// TestDeterminismOnJournal: on the journal too a seed says all.
func TestDeterminismOnJournal(t *testing.T) {
	for seed := range *flagTwice/3 + 1 {
		first, again := Run(on("journal", seed+1)), Run(on("journal", seed+1))
		if again.Trace != first.Trace || again.Events != first.Events {
			t.Fatalf("seed %d: trace %016x of %d events, then %016x of %d", seed+1, first.Trace, first.Events, again.Trace, again.Events)
		}
	}
}
