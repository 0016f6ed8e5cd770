package journal

import (
	"fmt"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/messages"
)

// draft is what a group will be when the Write at hand is durable. The index itself is
// changed by the ops only.
type draft struct {
	view
	staged  bool
	damaged uint64 // as the group's, and 0 once that is reset
	whole   int    // as the group's
	reset   bool
	changed bool // what opLog says differs from what was said last
}

// group returns the group of that number, making an empty one.
func (s *Store) group(id uint64) *group {
	if g := s.groupOf(id); g != nil {
		return g
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.groups[id]
	if g == nil {
		g = newGroup(id)
		s.groups[id] = g
	}
	return g
}

// begin makes the group's draft, where it has none.
func (s *Store) begin(g *group) error {
	if g.draft.staged {
		return nil
	}
	if err := s.ensureChecked(g); err != nil {
		return err
	}
	s.mu.RLock()
	d := draft{view: g.readable(), damaged: g.damaged, whole: g.whole}
	s.mu.RUnlock()
	s.enter(g, d)
	return nil
}

func (s *Store) enter(g *group, d draft) {
	d.staged = true
	if !g.draft.staged {
		s.touched = append(s.touched, g)
	}
	g.draft = d
}

// stage turns an update into ops, and checks it against what is before it.
func (s *Store) stage(u *logstore.Update) error {
	g := s.group(u.Group)
	if u.Delete {
		s.stageDelete(g)
	}
	if err := s.begin(g); err != nil {
		return err
	}
	d := &g.draft
	if u.Incarnation != 0 && u.Incarnation != d.incarnation {
		d.incarnation, d.changed = u.Incarnation, true
	}
	if u.HardState != nil {
		s.ops = append(s.ops, op{kind: opHard, group: g.id, hard: *u.HardState})
		d.changed = d.changed || !d.exists
	}
	if u.Note != nil {
		s.ops = append(s.ops, op{kind: opNote, group: g.id, bytes: u.Note})
		d.changed = d.changed || !d.exists
	}
	if err := s.stageReset(g, u.ResetFrom); err != nil {
		return err
	}
	if err := s.stageTruncate(g, u.TruncateFrom); err != nil {
		return err
	}
	if err := s.stageBlocks(g, u.Blocks); err != nil {
		return err
	}
	if u.CompactTo >= d.first {
		if err := d.compact(u.CompactTo, u.CompactTerm); err != nil {
			return invalid(g.id, err)
		}
		d.changed = true
	}
	if d.changed {
		d.exists, d.changed = true, false
		s.ops = append(s.ops, op{kind: opLog, group: g.id, incarnation: d.incarnation, first: d.first, prevTerm: d.prevTerm})
	}
	return nil
}

func invalid(group uint64, err error) error {
	return fmt.Errorf("%w: group %d: %w", logstore.ErrInvalid, group, err)
}

func corrupt(group, index uint64, where, format string, args ...any) *logstore.CorruptError {
	return &logstore.CorruptError{Group: group, Index: index, Where: where, Reason: fmt.Sprintf(format, args...)}
}

// stageDelete removes everything of a group, also of one that cannot be read.
func (s *Store) stageDelete(g *group) {
	if g.exists || g.draft.exists {
		s.ops = append(s.ops, op{kind: opDelete, group: g.id})
	}
	s.enter(g, draft{view: view{first: 1}, reset: true})
}

func (s *Store) stageBlocks(g *group, blocks []messages.Block) error {
	d := &g.draft
	if d.damaged != 0 && len(blocks) > 0 {
		return corrupt(g.id, d.damaged, "block", "not whole from here on, and not reset")
	}
	for i := range blocks {
		b := &blocks[i]
		if b.Count == 0 || b.Group != g.id {
			return invalid(g.id, fmt.Errorf("block of group %d with %d entries", b.Group, b.Count))
		}
		first := d.first
		if err := d.add(b); err != nil {
			return invalid(g.id, err)
		}
		d.changed = d.changed || d.first != first || !d.exists
		s.ops = append(s.ops, blockOp(b))
	}
	return nil
}

// stageTruncate removes the entries from index on; 0 is for none.
func (s *Store) stageTruncate(g *group, index uint64) error {
	d := &g.draft
	switch {
	case index == 0:
		return nil
	case index < d.first:
		return invalid(g.id, fmt.Errorf("truncation from %d, but the log begins at %d", index, d.first))
	case index > d.last():
		return nil
	}
	keep, prefix := d.at(index), messages.Block{}
	if r := &d.blocks[keep]; r.first < index && d.first < index {
		straddling, err := s.fetch(g, r)
		if err != nil {
			return err
		}
		if prefix, err = straddling.Prefix(index - 1); err != nil {
			return corrupt(g.id, r.first, "block", "%v", err)
		}
	}
	s.ops = append(s.ops, op{kind: opCut, group: g.id, first: index})
	d.blocks = d.blocks[:keep:keep] // readers still use what follows
	if prefix.Count > 0 {
		o := blockOp(&prefix)
		s.ops, d.blocks = append(s.ops, o), append(d.blocks, refOf(&o, nil))
	}
	if d.damaged != 0 {
		s.stageLost(g)
	}
	return nil
}

// stageLost says again what the cut before it has taken along: that the group is not whole.
func (s *Store) stageLost(g *group) {
	lost := g.blocks[min(g.draft.whole, len(g.blocks)):] // they stay in the index until the cut is durable
	if len(lost) == 0 {
		return
	}
	first, last := lost[0].first, lost[len(lost)-1].last()
	s.ops = append(s.ops, op{
		kind: opLost, group: g.id, first: first, count: uint32(min(last-first+1, 1<<32-1)), term: lost[0].term,
	})
}

// fetch returns a block for the writer, which may be of this very Write.
func (s *Store) fetch(g *group, r *ref) (messages.Block, error) {
	if r.seg != nil {
		return s.readBlock(g.id, r)
	}
	for i := len(s.ops) - 1; i >= 0; i-- {
		if o := &s.ops[i]; o.kind == opBlock && o.group == g.id && o.first == r.first {
			return messages.OpenBlock(o.bytes)
		}
	}
	return messages.Block{}, corrupt(g.id, r.first, "block", "neither written nor about to be")
}

// stageReset removes everything stored from an index on, whole or not.
func (s *Store) stageReset(g *group, index uint64) error {
	d := &g.draft
	if index == 0 {
		return nil
	}
	if index < d.first || index > d.last()+1 {
		return invalid(g.id, fmt.Errorf("reset from %d, but the log is whole from %d to %d", index, d.first, d.last()))
	}
	d.damaged, d.reset = 0, true
	if index > d.last() {
		s.ops = append(s.ops, op{kind: opCut, group: g.id, first: index})
	}
	return s.stageTruncate(g, index)
}

// settle follows up on ops that were applied to a group.
func (g *group) settle() {
	g.merge()
	d := &g.draft
	switch {
	case d.reset:
		g.damaged, g.whole = 0, 0
	case g.damaged != 0:
		if d.damaged != 0 {
			g.damaged = min(g.damaged, d.last()+1)
		}
		g.whole = g.at(g.damaged)
	}
	g.checked = true
}
