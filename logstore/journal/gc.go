package journal

import (
	"slices"

	"github.com/protoraft/protoraft/messages"
)

// collector moves what is still needed of the oldest segment to the end of the journal,
// a little with each Write, so that the file can be used again.
//
// Only the oldest segment is ever given up. So what removes something is never gone
// before what it removes, and a crash cannot bring anything back.
type collector struct {
	seg   *segment // being emptied
	next  int      // of its owners
	begun int      // where next was before this Write
	said  int      // how many segments there were when it was said that one cannot be read
	pages pageReader
}

// How much of a segment a Write goes through: some, and twice what it adds. Where the
// segments hold twice what is live, as much is gained as is written, or more.
const (
	collectLeast = 256 << 10
	collectRatio = 2
)

// chainShare bounds how many segments there are for the bytes they hold.
const (
	chainLeast = 16
	chainRatio = 16
)

// due says whether the segments hold too much that nobody needs.
func (s *Store) due() bool {
	if len(s.chain) == 0 || s.chain[0].objects == 0 {
		return false
	}
	used, live := s.active.end, s.active.live
	for _, seg := range s.chain {
		used += seg.end
		live += seg.live
	}
	return used > 2*live+int64(s.opts.SlackBytes) ||
		int64(len(s.chain)) > chainLeast+chainRatio*used/int64(s.opts.SegmentBytes)
}

// collect returns ops that move something, beside a Write of so many bytes.
func (s *Store) collect(bytes int) (moved []op) {
	c := &s.gc
	c.begun = c.next
	if !s.due() {
		return nil
	}
	if c.seg != s.chain[0] {
		*c = collector{seg: s.chain[0]}
	}
	budget := max(collectLeast, collectRatio*bytes)
	for size, from := 0, uint32(0); c.next < len(c.seg.owners) && size < budget; c.next++ {
		o := c.seg.owners[c.next]
		if o.block() {
			if from == 0 {
				from = o.pos
			}
			if int(o.pos-from) >= budget {
				break
			}
		}
		m, ok, err := s.move(&o)
		if err != nil {
			s.sayStuck(err)
			break
		}
		if ok {
			size += 2*stateBytes + len(m.bytes)
			moved = append(moved, m)
		}
	}
	if c.next == len(c.seg.owners) && len(moved) == 0 {
		c.next = 0 // whatever is left has come up behind it
	}
	return moved
}

// sayStuck: where the oldest segment cannot be read none behind it is given up either. It is
// said again whenever the journal has doubled: what lasts shows in what it costs.
func (s *Store) sayStuck(err error) {
	c := &s.gc
	if len(s.chain) < 2*c.said {
		return
	}
	c.said = len(s.chain)
	s.log.Warn("what is live in the oldest segment cannot be read now, and keeps it and all behind it",
		"file", s.dir.slot(c.seg.slot), "segments", c.said, "error", err)
}

// back: what was collected was not written.
func (c *collector) back() { c.next = c.begun }

// forget lets go of a segment that is not there any more.
func (c *collector) forget(chain []*segment) {
	if c.seg != nil && !slices.Contains(chain, c.seg) {
		*c = collector{}
	}
}

// move makes the op that has what o had in the segment stand elsewhere, where it is needed.
func (s *Store) move(o *owner) (op, bool, error) {
	g, at := s.groups[o.group], place{s.gc.seg, s.gc.next}
	switch {
	case g == nil:
	case o.block():
		if r := g.find(o.first, at.seg); r != nil {
			m, err := s.moveBlock(g, r)
			return m, err == nil, err
		}
	case g.logIn == at:
		return op{kind: opLog, group: g.id, incarnation: g.incarnation, first: g.first, prevTerm: g.prevTerm}, true, nil
	case g.hardIn == at:
		return op{kind: opHard, group: g.id, hard: g.hard}, true, nil
	case g.noteIn == at:
		return op{kind: opNote, group: g.id, bytes: g.note}, true, nil
	}
	return op{}, false, nil
}

// moveBlock reads a block. Of one that is damaged it is kept that it was there. An error
// means that it could not be read this time.
func (s *Store) moveBlock(g *group, r *ref) (op, error) {
	o := op{
		kind: opLost, group: g.id, first: r.first, prevTerm: r.prevTerm, term: r.term, time: r.time, count: r.count,
	}
	if r.lost {
		return o, nil
	}
	near := []ref{*r}
	if !s.gc.pages.has(r) {
		near = s.gc.near(r)
	}
	raw, err := s.gc.pages.bytes(s, near)
	if err != nil && !isDamage(err) {
		return op{}, err
	}
	if err == nil {
		var b messages.Block
		if b, err = messages.OpenBlock(raw); err == nil && b.Group == g.id && b.FirstIndex == r.first && b.Count == r.count {
			o.kind, o.length, o.bytes = opMoved, r.length, raw
			return o, nil
		}
	}
	s.log.Error("a block cannot be read where it stands; the group is not whole from there on",
		"group", g.id, "index", r.first, "file", s.dir.slot(r.seg.slot), "error", err)
	return o, nil
}

// near is the block with those that come behind it in the segment, so that they are read
// together.
func (c *collector) near(r *ref) []ref {
	refs := []ref{*r}
	for i := c.next + 1; i < len(c.seg.owners); i++ {
		o := &c.seg.owners[i]
		if !o.block() {
			continue
		}
		if o.pos < refs[len(refs)-1].pos || int(o.pos-r.pos) > collectLeast {
			break
		}
		refs = append(refs, ref{pos: o.pos, length: o.bytes, seg: r.seg})
	}
	return refs
}
