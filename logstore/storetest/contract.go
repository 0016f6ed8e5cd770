package storetest

import (
	"errors"
	"io/fs"
	"reflect"
	"sync"
	"testing"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/memory"
	"github.com/protoraft/protoraft/messages"
)

// Contract checks what a Store promises while nothing fails. open returns a new,
// empty store.
func Contract(t *testing.T, open func(t *testing.T) logstore.Store) {
	for name, test := range map[string]func(*testing.T, logstore.Store){
		"model": testModel, "invalid": testInvalid, "order": testOrder, "read": testRead,
		"groups": testGroups, "compaction": testCompaction, "concurrent": testConcurrent,
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			test(t, s)
			testClosed(t, s)
		})
	}
}

// testClosed checks that a closed store answers with an error, not with nothing.
func testClosed(t *testing.T, s logstore.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	_, lerr := s.Load(1)
	_, rerr := s.Read(1, 1, 1, 1)
	_, gerr := s.Groups()
	werr := s.Write([]logstore.Update{{Group: 1, HardState: &logstore.HardState{Term: 1 << 20}}})
	for what, err := range map[string]error{"load": lerr, "read": rerr, "groups": gerr, "write": werr} {
		if !errors.Is(err, fs.ErrClosed) {
			t.Errorf("%s of a closed store: %v, expected %v", what, err, fs.ErrClosed)
		}
	}
}

func write(t testing.TB, s logstore.Store, updates ...logstore.Update) {
	t.Helper()
	if err := s.Write(updates); err != nil {
		t.Fatalf("write: %v", err)
	}
}

func load(t testing.TB, s logstore.Store, group uint64) logstore.GroupState {
	t.Helper()
	st, err := s.Load(group)
	if err != nil {
		t.Fatalf("load of group %d: %v", group, err)
	}
	return st
}

// testModel compares with the memory store after each write of the workload.
func testModel(t *testing.T, s logstore.Store) {
	h := &history{model: memory.New()}
	for i, updates := range workload(100) {
		write(t, s, updates...)
		if err := h.acknowledged(updates); err != nil {
			t.Fatalf("model: %v", err)
		}
		if err := h.explain(s); err != nil {
			t.Fatalf("after write %d: %v", i, err)
		}
	}
}

// testInvalid checks that a broken update writes nothing, of its neighbours neither,
// and does not fail the store.
func testInvalid(t *testing.T, s logstore.Store) {
	write(t, s, logstore.Update{Group: 1, Blocks: []messages.Block{block(1, 2, 1, 5, 3, 10), block(1, 3, 2, 8, 2, 10)}})
	before, err := look(s, 1)
	if err != nil {
		t.Fatal(err)
	}
	for name, u := range map[string]logstore.Update{
		"gap":                      {Group: 1, Blocks: []messages.Block{block(1, 3, 3, 11, 1, 10)}},
		"overlap":                  {Group: 1, Blocks: []messages.Block{block(1, 3, 3, 9, 1, 10)}},
		"wrong previous term":      {Group: 1, Blocks: []messages.Block{block(1, 3, 2, 10, 1, 10)}},
		"gap between blocks":       {Group: 1, Blocks: []messages.Block{block(1, 3, 3, 10, 1, 10), block(1, 3, 3, 12, 1, 10)}},
		"block of another group":   {Group: 1, Blocks: []messages.Block{block(2, 3, 3, 10, 1, 10)}},
		"empty block":              {Group: 1, Blocks: []messages.Block{{BlockHeader: messages.BlockHeader{Group: 1, FirstIndex: 10}}}},
		"truncation below the log": {Group: 1, TruncateFrom: 4},
		"truncation, then a gap":   {Group: 1, TruncateFrom: 6, Blocks: []messages.Block{block(1, 4, 2, 7, 1, 10)}},
		"compaction of wrong term": {Group: 1, CompactTo: 6, CompactTerm: 3},
	} {
		u.HardState = &logstore.HardState{Term: 99}
		neighbour := logstore.Update{Group: 2, HardState: &logstore.HardState{Term: 98}}
		if err := s.Write([]logstore.Update{neighbour, u}); !errors.Is(err, logstore.ErrInvalid) {
			t.Fatalf("%s: %v, expected %v", name, err, logstore.ErrInvalid)
		}
		after, err := look(s, 1)
		if err != nil || !after.same(&before) {
			t.Fatalf("%s: group is %v (%v), expected %v", name, &after, err, &before)
		}
		if st := load(t, s, 2); st.Exists() {
			t.Fatalf("%s: the update beside it was written: %+v", name, st)
		}
	}
	write(t, s, logstore.Update{Group: 1, Blocks: []messages.Block{block(1, 3, 3, 10, 1, 10)}})
}

// testOrder checks that the parts of an update happen in the order of its fields, and
// the updates of one group in theirs.
func testOrder(t *testing.T, s logstore.Store) {
	write(t, s, logstore.Update{Group: 1, Incarnation: 3, HardState: &logstore.HardState{Term: 1, Vote: "a", Machine: 7},
		Blocks: []messages.Block{block(1, 1, 0, 1, 4, 10)}})
	write(t, s,
		logstore.Update{Group: 1, TruncateFrom: 3, Blocks: []messages.Block{block(1, 2, 1, 3, 4, 10)}, CompactTo: 4, CompactTerm: 2},
		logstore.Update{Group: 1, TruncateFrom: 6, Blocks: []messages.Block{block(1, 3, 2, 6, 2, 10)}},
	)
	want := logstore.GroupState{
		Incarnation: 3, HardState: logstore.HardState{Term: 1, Vote: "a", Machine: 7}, FirstIndex: 5, PrevTerm: 2,
		Runs: []logstore.TermRun{{Term: 2, First: 5, Last: 5}, {Term: 3, First: 6, Last: 7}}, LastIndex: 7, LastTime: 1e9 + 6,
	}
	if got := load(t, s, 1); !reflect.DeepEqual(got, want) {
		t.Fatalf("group is %+v, expected %+v", got, want)
	}
	write(t, s,
		logstore.Update{Group: 1, Blocks: []messages.Block{block(1, 3, 3, 8, 2, 10)}},
		logstore.Update{Group: 1, Delete: true, HardState: &logstore.HardState{Term: 4}, Blocks: []messages.Block{block(1, 4, 0, 1, 1, 10)}},
	)
	want = logstore.GroupState{HardState: logstore.HardState{Term: 4}, FirstIndex: 1,
		Runs: []logstore.TermRun{{Term: 4, First: 1, Last: 1}}, LastIndex: 1, LastTime: 1e9 + 1}
	if got := load(t, s, 1); !reflect.DeepEqual(got, want) {
		t.Fatalf("group made anew is %+v, expected %+v", got, want)
	}
}

// testRead checks ranges, limits and errors of Read.
func testRead(t *testing.T, s logstore.Store) {
	var blocks []messages.Block
	for first := uint64(1); first <= 21; first += 5 {
		blocks = append(blocks, block(1, 1, min(first-1, 1), first, 5, 100))
	}
	write(t, s, logstore.Update{Group: 1, Blocks: blocks, CompactTo: 7, CompactTerm: 1})
	size := blocks[1].Len()
	for _, c := range []struct {
		first, last uint64
		max         int
		begin, end  uint64 // of the blocks returned
		err         error
	}{
		{first: 8, last: 25, max: 1 << 20, begin: 6, end: 25},
		{first: 10, last: 10, max: 1 << 20, begin: 6, end: 10},
		{first: 11, last: 16, max: 1 << 20, begin: 11, end: 20},
		{first: 8, last: 25, max: 0, begin: 6, end: 10},
		{first: 8, last: 25, max: 2*size + 10, begin: 6, end: 15},
		{first: 25, last: 900, max: 1 << 20, begin: 21, end: 25},
		{first: 7, last: 25, max: 1 << 20, err: logstore.ErrCompacted},
		{first: 26, last: 26, max: 1 << 20, err: logstore.ErrOutOfRange},
		{first: 9, last: 8, max: 1 << 20, err: logstore.ErrInvalid},
	} {
		got, err := s.Read(1, c.first, c.last, c.max)
		if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Fatalf("%+v: %v", c, err)
		}
		if err != nil {
			continue
		}
		next := c.begin
		for i := range got {
			if got[i].FirstIndex != next || got[i].Verify() != nil {
				t.Fatalf("%+v: block %d begins at %d, expected %d", c, i, got[i].FirstIndex, next)
			}
			next = got[i].LastIndex() + 1
		}
		if next != c.end+1 {
			t.Fatalf("%+v: read to %d", c, next-1)
		}
	}
	if _, err := s.Read(2, 1, 1, 1); !errors.Is(err, logstore.ErrOutOfRange) {
		t.Fatalf("read of an unknown group: %v, expected %v", err, logstore.ErrOutOfRange)
	}
}

// testGroups checks that groups come and go without touching each other.
func testGroups(t *testing.T, s logstore.Store) {
	ids := []uint64{1, 255, 256, 1 << 40, ^uint64(0)}
	for _, id := range ids {
		write(t, s, logstore.Update{Group: id, Incarnation: 1, Blocks: []messages.Block{block(id, 1, 0, 1, 3, 10)}})
	}
	if got, err := s.Groups(); err != nil || !reflect.DeepEqual(got, ids) {
		t.Fatalf("groups %v (%v), expected %v", got, err, ids)
	}
	write(t, s, logstore.Update{Group: 256, Delete: true}, logstore.Update{Group: 9})
	if got, err := s.Groups(); err != nil || !reflect.DeepEqual(got, []uint64{1, 255, 1 << 40, ^uint64(0)}) {
		t.Fatalf("groups %v (%v) after one was deleted", got, err)
	}
	if st := load(t, s, 256); !reflect.DeepEqual(st, logstore.GroupState{}) {
		t.Fatalf("deleted group is %+v, expected nothing", st)
	}
	for _, id := range []uint64{1, 255, 1 << 40, ^uint64(0)} {
		if c, err := look(s, id); err != nil || len(c.entries) != 3 {
			t.Fatalf("group %d: %v (%v), expected 3 entries", id, &c, err)
		}
	}
}

// testCompaction appends and compacts until what was compacted must have been
// removed, then lets the log begin lower than that.
func testCompaction(t *testing.T, s logstore.Store) {
	write(t, s, logstore.Update{Group: 1, Blocks: []messages.Block{block(1, 1, 0, 1, 2, 50)}})
	for first := uint64(3); first < 1200; first += 2 {
		u := logstore.Update{Group: 1, Blocks: []messages.Block{block(1, 1, 1, first, 2, 50)}}
		if first%101 == 0 {
			u.CompactTo, u.CompactTerm = first-30, 1
		}
		write(t, s, u)
	}
	c, err := look(s, 1)
	if err != nil || c.state.LastIndex != 1200 || len(c.entries) != int(1200-c.state.FirstIndex+1) || c.state.FirstIndex < 900 {
		t.Fatalf("group is %v (%v)", &c, err)
	}
	var blocks []messages.Block
	for first := uint64(1201); first < 1700; first += 5 {
		blocks = append(blocks, block(1, 1, 1, first, 5, 10))
	}
	write(t, s, logstore.Update{Group: 1, Blocks: blocks})
	write(t, s, logstore.Update{Group: 1, CompactTo: 1700, CompactTerm: 1})
	write(t, s, logstore.Update{Group: 1, Blocks: []messages.Block{block(1, 5, 4, 1, 1500, 10)}})
	if c, err = look(s, 1); err != nil || c.state.FirstIndex != 1 || len(c.entries) != 1500 || len(c.state.Runs) != 1 {
		t.Fatalf("group begun anew is %v (%v)", &c, err)
	}
}

// testConcurrent reads beside writes that append, truncate and compact. Whatever is
// read must have been written at its index, and hang together.
func testConcurrent(t *testing.T, s logstore.Store) {
	const rounds = 150
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := readBeside(s); err != nil {
					t.Errorf("read beside write: %v", err)
					return
				}
			}
		})
	}
	write(t, s, logstore.Update{Group: 1, Blocks: []messages.Block{block(1, 1, 0, 1, 10, 20)}})
	next, term := uint64(11), uint64(1)
	for range rounds {
		write(t, s, logstore.Update{Group: 1, Blocks: []messages.Block{block(1, term, term, next, 10, 20)}})
		write(t, s, logstore.Update{Group: 1, TruncateFrom: next + 4, Blocks: []messages.Block{block(1, term+1, term, next+4, 3, 20)}})
		next, term = next+7, term+1
		if next > 60 {
			write(t, s, logstore.Update{Group: 1, CompactTo: next - 2, CompactTerm: term})
		}
	}
	close(done)
	readers.Wait()
}

func readBeside(s logstore.Store) error {
	st, err := s.Load(1)
	if err != nil || st.LastIndex < st.FirstIndex || st.FirstIndex == 0 {
		return err
	}
	blocks, err := s.Read(1, st.FirstIndex, st.LastIndex, 1<<20)
	if errors.Is(err, logstore.ErrCompacted) || errors.Is(err, logstore.ErrOutOfRange) {
		return nil // it went on meanwhile
	}
	if err != nil {
		return err
	}
	for i := range blocks {
		if err := blocks[i].Verify(); err != nil {
			return err
		}
		if i > 0 && (blocks[i].FirstIndex != blocks[i-1].LastIndex()+1 || blocks[i].PrevTerm != blocks[i-1].Term) {
			return errors.New("blocks do not follow each other")
		}
	}
	return nil
}
