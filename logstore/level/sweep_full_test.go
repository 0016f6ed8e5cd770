package level

import (
	"errors"
	"testing"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/messages"
)

// blockKeys counts the blocks of a group that the database has.
func blockKeys(t *testing.T, s *Store, group uint64) (n int) {
	t.Helper()
	it := s.db.NewIterator(blockRange(group, 0), scanReads)
	defer it.Release()
	for it.Next() {
		n++
	}
	if err := it.Error(); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestSweepAfterRefusals: what a refused write was to sweep away along with it is still
// swept by later ones, whether the write had blocks or not, and however often.
func TestSweepAfterRefusals(t *testing.T) {
	const blocks, few = 5 * sweepLeast, 3
	disk := memDisk()
	s, err := Open(disk, "/db", Options{MemtableBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	left := func() int { return blockKeys(t, s, 1) + blockKeys(t, s, 2) + blockKeys(t, s, 3) }
	must := func(u ...logstore.Update) {
		t.Helper()
		if err := s.Write(u); err != nil {
			t.Fatal(err)
		}
	}
	put := func(group, index uint64, data []byte) logstore.Update {
		return logstore.Update{Group: group, Incarnation: 1, Blocks: []messages.Block{blockOf(group, index, 1, data)}}
	}
	vote := func(term uint64) logstore.Update {
		return logstore.Update{Group: 2, HardState: &logstore.HardState{Term: term, Vote: "n1"}}
	}
	for group := uint64(1); group <= 2; group++ {
		for index := uint64(1); index <= blocks; index++ {
			must(put(group, index, make([]byte, 10)))
		}
	}
	for index := uint64(1); index <= few; index++ { // a single write could sweep them all
		must(put(3, index, make([]byte, 10)))
	}
	must(logstore.Update{Group: 1, CompactTo: blocks, CompactTerm: 1}, logstore.Update{Group: 2, CompactTo: blocks - 1, CompactTerm: 1},
		logstore.Update{Group: 3, CompactTo: few, CompactTerm: 1})

	disk.Limit(disk.Used())
	for range 3 { // more than the zeros ahead have room for, so it is refused
		if err := s.Write([]logstore.Update{put(1, blocks+1, make([]byte, 2*aheadBytes))}); !errors.Is(err, logstore.ErrFull) {
			t.Fatalf("%v, expected %v", err, logstore.ErrFull)
		}
	}
	before := left()
	if before != 2*blocks+few {
		t.Fatalf("%d blocks there, expected all %d: nothing was written", before, 2*blocks+few)
	}
	must(vote(1))
	if after := left(); after != before-sweepLeast {
		t.Fatalf("%d blocks there after a vote, expected %d less than %d", after, sweepLeast, before)
	}
	disk.NoLimit()
	for term := uint64(2); term < 2*blocks/sweepLeast+3; term++ {
		must(vote(term))
	}
	if one, two, three := blockKeys(t, s, 1), blockKeys(t, s, 2), blockKeys(t, s, 3); one != 0 || two != 1 || three != 0 {
		t.Fatalf("%d, %d and %d blocks left, expected 0, 1 and 0", one, two, three)
	}
	must(put(1, blocks+1, make([]byte, 2*aheadBytes)))
	s.Close()
	if s, err = Open(disk, "/db", Options{MemtableBytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	for group, last := range map[uint64]uint64{1: blocks + 1, 2: blocks} {
		if st, err := s.Load(group); err != nil || st.FirstIndex != last || st.LastIndex != last {
			t.Fatalf("group %d: %+v, %v, expected entry %d only", group, st, err, last)
		}
	}
}
