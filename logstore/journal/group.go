package journal

import (
	"fmt"
	"slices"
	"sort"
	"sync"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/messages"
)

// ref is what the index knows of a block.
type ref struct {
	first    uint64
	term     uint64
	prevTerm uint64
	time     int64
	count    uint32
	length   uint32
	pos      uint32 // in the segment's stream
	lost     bool   // it cannot be read, and its bytes are gone
	seg      *segment
}

func (r *ref) last() uint64 { return r.first + uint64(r.count) - 1 }

// bytes is what the block counts for in its segment.
func (r *ref) bytes() int { return int(r.length) + stateBytes }

// view is a group's log without its bytes.
type view struct {
	exists      bool
	incarnation uint64
	first       uint64
	prevTerm    uint64 // of the entry before first
	blocks      []ref
}

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

// at returns the position of the first block that does not end before index.
func (v *view) at(index uint64) int {
	return sort.Search(len(v.blocks), func(i int) bool { return v.blocks[i].last() >= index })
}

// add takes a block in at the end, or says why it does not belong there.
func (v *view) add(b *messages.Block) error {
	switch {
	case len(v.blocks) == 0 && b.FirstIndex != v.first:
		v.first, v.prevTerm = b.FirstIndex, b.PrevTerm
	case b.FirstIndex != v.last()+1:
		return fmt.Errorf("block begins at %d, expected %d", b.FirstIndex, v.last()+1)
	case b.PrevTerm != v.lastTerm():
		return fmt.Errorf("block at %d follows term %d, expected %d", b.FirstIndex, b.PrevTerm, v.lastTerm())
	}
	v.blocks = append(v.blocks, ref{
		first: b.FirstIndex, term: b.Term, prevTerm: b.PrevTerm, time: b.Time, count: b.Count, length: uint32(b.Len()),
	})
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
	v.blocks = v.blocks[v.at(index+1):]
	return nil
}

// follows says what is wrong between block i and what is before it.
func (v *view) follows(i int) string {
	r, next, term := &v.blocks[i], v.first, v.prevTerm
	if i > 0 {
		next, term = v.blocks[i-1].last()+1, v.blocks[i-1].term
	}
	switch {
	case r.first > next:
		return fmt.Sprintf("entries %d to %d are missing", next, r.first-1)
	case r.first < next && i > 0:
		return fmt.Sprintf("it begins at %d, expected %d", r.first, next)
	case r.first < next && r.term != term:
		return fmt.Sprintf("the entry at %d has term %d, expected %d", next-1, r.term, term)
	case r.first == next && r.prevTerm != term:
		return fmt.Sprintf("it follows term %d, expected %d", r.prevTerm, term)
	case r.lost:
		return "it could not be read when its place was to be used again"
	}
	return ""
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

// group is what the store knows of a group. All but loading is under Store.mu, and
// changed by the writer only.
type group struct {
	id      uint64
	loading sync.Mutex // held while the group is checked

	view
	hard   logstore.HardState
	note   []byte
	hardIn place
	noteIn place
	logIn  place

	// moved are blocks read again in another place than their own while the journal is
	// replayed, not merged into blocks yet.
	moved []ref

	checked bool   // every block was read
	damaged uint64 // salvaged: entries are not whole from here on; 0 for none
	whole   int    // of a salvaged group: how many blocks are before that

	draft draft // the writer's
}

// place is where the newest of something stands.
type place struct {
	seg *segment // nil for nowhere
	n   int      // of its owners
}

// readable is the group's log as far as it is whole.
func (g *group) readable() view {
	v := g.view
	if g.damaged != 0 {
		v.blocks = v.blocks[:g.whole:g.whole] // what follows is not to be written over
	}
	return v
}

// find returns the block that begins at first and stands in seg, or nil.
func (g *group) find(first uint64, seg *segment) *ref {
	i := sort.Search(len(g.blocks), func(i int) bool { return g.blocks[i].first >= first })
	if i < len(g.blocks) && g.blocks[i].first == first && g.blocks[i].seg == seg {
		return &g.blocks[i]
	}
	return nil
}

// apply does an op that stands in seg. It is what a Write does when it is durable, and
// what opening does again.
func (g *group) apply(o *op, seg *segment) {
	if o.kind != opDelete && o.kind != opCut {
		seg.owners = append(seg.owners, ownerOf(o))
	}
	switch o.kind {
	case opHard:
		g.hard = o.hard
		replace(&g.hardIn, seg, stateBytes, stateBytes)
	case opNote:
		old := len(g.note)
		g.note = append(make([]byte, 0, len(o.bytes)), o.bytes...)
		replace(&g.noteIn, seg, old, len(o.bytes))
	case opLog:
		g.merge()
		g.exists, g.incarnation, g.first, g.prevTerm = true, o.incarnation, o.first, o.prevTerm
		replace(&g.logIn, seg, stateBytes, stateBytes)
		g.dropBefore(o.first)
	case opCut:
		g.cut(o.first)
	case opDelete:
		g.remove()
	case opBlock:
		g.cut(o.first)
		g.blocks = append(g.blocks, refOf(o, seg))
		seg.retain(g.blocks[len(g.blocks)-1].bytes())
	case opMoved, opLost:
		g.move(refOf(o, seg))
	}
}

func ownerOf(o *op) owner {
	return owner{group: o.group, kind: o.kind, first: o.first, pos: o.pos, bytes: o.length}
}

func refOf(o *op, seg *segment) ref {
	return ref{
		first: o.first, term: o.term, prevTerm: o.prevTerm, time: o.time,
		count: o.count, length: o.length, pos: o.pos, lost: o.kind == opLost, seg: seg,
	}
}

// replace has where be the last owner of seg.
func replace(where *place, seg *segment, old, bytes int) {
	if where.seg != nil {
		where.seg.release(old)
	}
	*where = place{seg, len(seg.owners) - 1}
	seg.retain(bytes)
}

// cut removes every block that ends at index or later.
func (g *group) cut(index uint64) {
	if n := len(g.moved); n > 0 && g.moved[n-1].last() >= index {
		g.merge()
	}
	keep := g.at(index)
	for i := range g.blocks[keep:] {
		r := &g.blocks[keep+i]
		r.seg.release(r.bytes())
	}
	g.blocks, g.whole = g.blocks[:keep], min(g.whole, keep)
}

func (g *group) dropBefore(first uint64) {
	gone := g.at(first)
	for i := range g.blocks[:gone] {
		r := &g.blocks[i]
		r.seg.release(r.bytes())
	}
	g.blocks = g.blocks[gone:]
	g.whole = max(g.whole-gone, 0)
}

// move puts a block in the place of itself, or where it belongs if its old place is gone.
func (g *group) move(r ref) {
	if i := g.at(r.first); i < len(g.blocks) && g.blocks[i].first == r.first && g.blocks[i].count == r.count {
		old := &g.blocks[i]
		old.seg.release(old.bytes())
		*old = r
		r.seg.retain(r.bytes())
		return
	}
	if n := len(g.moved); n > 0 && g.moved[n-1].first >= r.first {
		g.merge() // blocks are moved from the beginning of a log on; this is another pass
		g.move(r)
		return
	}
	g.moved = append(g.moved, r)
	r.seg.retain(r.bytes())
}

// merge puts moved blocks where they belong.
func (g *group) merge() {
	if len(g.moved) == 0 {
		return
	}
	moved := g.moved
	g.moved = nil
	g.blocks = append(g.blocks, moved...)
	slices.SortStableFunc(g.blocks, func(a, b ref) int {
		switch {
		case a.first < b.first:
			return -1
		case a.first > b.first:
			return 1
		}
		return 0
	})
}

// remove forgets everything of the group.
func (g *group) remove() {
	g.merge()
	g.cut(0)
	for _, in := range []struct {
		where *place
		bytes int
	}{{&g.hardIn, stateBytes}, {&g.noteIn, len(g.note)}, {&g.logIn, stateBytes}} {
		if in.where.seg != nil {
			in.where.seg.release(in.bytes)
			*in.where = place{}
		}
	}
	g.view, g.hard, g.note = view{first: 1}, logstore.HardState{}, nil
	g.damaged, g.whole = 0, 0
}
