package level

import (
	"fmt"
	"slices"
	"sort"
	"sync"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/messages"
)

// group is one group's index. Readers see cur, under Store.mu; the writer builds
// next and publishes it when its batch is durable.
type group struct {
	id uint64

	loading sync.Mutex // held while cur is read from disk
	loaded  bool       // under Store.mu
	damaged uint64     // salvaged: what is stored from here on is not whole, 0 for none

	cur view

	// The rest is the writer's.
	next     view // while staged
	staged   bool
	changed  bool // next's log state differs from the stored one
	sweeping bool // is in Store.sweep
	reset    bool // what was damaged goes with this batch
}

// view is a group's log without its bytes. Its slices are shared between cur and
// next: next only appends to them, or replaces them.
type view struct {
	exists      bool
	incarnation uint64
	first       uint64
	prevTerm    uint64
	blocks      []blockRef

	// sweep holds the first indexes of blocks that end below first and are still
	// stored, lowest first.
	sweep []uint64
}

// blockRef is what the index knows of a block.
type blockRef struct {
	first uint64
	term  uint64
	time  int64
	count uint32
	bytes uint32
}

func refOf(b *messages.Block) blockRef {
	return blockRef{first: b.FirstIndex, term: b.Term, time: b.Time, count: b.Count, bytes: uint32(b.Len())}
}

func (r *blockRef) last() uint64 { return r.first + uint64(r.count) - 1 }

func (v *view) last() uint64 {
	if n := len(v.blocks); n > 0 {
		return v.blocks[n-1].last()
	}
	return v.first - 1
}

func (v *view) lastTerm() uint64 {
	if n := len(v.blocks); n > 0 {
		return v.blocks[n-1].term
	}
	return v.prevTerm
}

// at returns the position of the block that holds index, which must be stored.
func (v *view) at(index uint64) int {
	return sort.Search(len(v.blocks), func(i int) bool { return v.blocks[i].last() >= index })
}

// logState is what is stored of the view beside its blocks.
func (v *view) logState() logState {
	s := logState{incarnation: v.incarnation, first: v.first, prevTerm: v.prevTerm, reached: v.last(), sweepFrom: v.first}
	if len(v.blocks) > 0 {
		s.sweepFrom = min(s.sweepFrom, v.blocks[0].first)
	}
	if len(v.sweep) > 0 {
		s.sweepFrom = min(s.sweepFrom, v.sweep[0])
	}
	return s
}

// add takes a block into the view, or says why it does not belong there.
func (v *view) add(b *messages.Block) error {
	switch {
	case len(v.blocks) == 0 && b.FirstIndex != v.first:
		v.first, v.prevTerm = b.FirstIndex, b.PrevTerm
	case b.FirstIndex != v.last()+1:
		return fmt.Errorf("block begins at %d, expected %d", b.FirstIndex, v.last()+1)
	case b.PrevTerm != v.lastTerm():
		return fmt.Errorf("block at %d follows term %d, expected %d", b.FirstIndex, b.PrevTerm, v.lastTerm())
	}
	v.blocks = append(v.blocks, refOf(b))
	return nil
}

// compact begins the log after index.
func (v *view) compact(index, term uint64) error {
	if index <= v.last() {
		if have := v.blocks[v.at(index)].term; have != term {
			return fmt.Errorf("compaction to %d of term %d, but its term is %d", index, term, have)
		}
	}
	v.first, v.prevTerm = index+1, term
	gone := sort.Search(len(v.blocks), func(i int) bool { return v.blocks[i].last() > index })
	v.sweep = slices.Grow(v.sweep, gone)
	for _, r := range v.blocks[:gone] {
		v.sweep = append(v.sweep, r.first)
	}
	v.blocks = v.blocks[gone:]
	return nil
}

// runs merges the blocks, from first on, into stretches of one term.
func (v *view) runs() []logstore.TermRun {
	var runs []logstore.TermRun
	for i := range v.blocks {
		r := &v.blocks[i]
		if n := len(runs); n > 0 && runs[n-1].Term == r.term {
			runs[n-1].Last = r.last()
			continue
		}
		runs = append(runs, logstore.TermRun{Term: r.term, First: max(r.first, v.first), Last: r.last()})
	}
	return runs
}

// describe fills in what the index knows.
func (v *view) describe(s *logstore.GroupState) {
	s.Incarnation, s.FirstIndex, s.PrevTerm = v.incarnation, v.first, v.prevTerm
	s.Runs, s.LastIndex = v.runs(), v.last()
	if n := len(v.blocks); n > 0 {
		s.LastTime = v.blocks[n-1].time
	}
}
