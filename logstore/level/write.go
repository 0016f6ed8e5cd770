package level

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/syndtr/goleveldb/leveldb"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/messages"
)

// How many compacted blocks a Write sweeps away: some, and more than it adds, so
// that what is to be swept shrinks under any load.
const (
	sweepLeast = 16
	sweepRatio = 2
)

// keepBatchBytes is the largest batch whose memory is used again.
const keepBatchBytes = 8 << 20

// smallBatchBytes is the largest batch that may take from the reserve.
const smallBatchBytes = 64 << 10

// Write implements logstore.Store. All updates are one journal record, so they
// are durable together or not at all.
func (s *Store) Write(updates []logstore.Update) error {
	if err := s.usable(); err != nil {
		return err
	}
	defer s.unstage()
	for i := range updates {
		if err := s.stage(&updates[i]); err != nil {
			return err
		}
	}
	if s.batch.Len() == 0 {
		return nil
	}
	s.sweepSome()
	small := len(s.written) == 0 && len(s.batch.Dump()) <= smallBatchBytes
	if err := s.storage.makeRoom(len(s.batch.Dump()), small); err != nil {
		s.sweepLater()
		return err
	}
	return s.commit()
}

func (s *Store) usable() error {
	s.mu.RLock()
	closed := s.closed
	s.mu.RUnlock()
	if closed {
		return fmt.Errorf("level: write: %w", fs.ErrClosed)
	}
	return s.storage.failure()
}

// commit writes the batch and publishes what was staged.
func (s *Store) commit() error {
	if s.destroy {
		// A reader finds either the old index and the old blocks, or both new.
		s.mu.Lock()
		defer s.mu.Unlock()
	}
	err := s.db.Write(s.batch, synced)
	if err != nil {
		// The journal may hold the batch, and goleveldb would give its sequence
		// numbers to the next one: unless it surely does not, never write again.
		err = s.storage.judge(s.engineError(0, err))
	}
	if errors.Is(err, logstore.ErrFull) {
		s.sweepLater()
		return err
	}
	if !s.destroy {
		s.mu.Lock()
		defer s.mu.Unlock()
	}
	for _, g := range s.touched {
		if err != nil {
			g.loaded = false // the database may have it or not: readers look again
			continue
		}
		g.cur, g.loaded = g.next, true
		if g.reset {
			g.damaged = 0
		}
		if len(g.cur.sweep) > 0 && !g.sweeping {
			s.sweep, g.sweeping = append(s.sweep, g), true
		}
	}
	return err
}

// unstage forgets what a Write put together.
func (s *Store) unstage() {
	for i, g := range s.touched {
		g.next, g.staged, g.changed, g.reset = view{}, false, false, false
		s.touched[i] = nil
	}
	s.touched = s.touched[:0]
	clear(s.written)
	s.written = s.written[:0]
	s.destroy = false
	if len(s.batch.Dump()) > keepBatchBytes {
		s.batch = new(leveldb.Batch)
	}
	s.batch.Reset()
}

// begin makes the group's next view, a copy of its current one.
func (s *Store) begin(id uint64) (*group, error) {
	g := s.group(id)
	if g.staged {
		return g, nil
	}
	if err := s.ensureLoaded(g); err != nil {
		return nil, err
	}
	s.enter(g, g.cur) // only the writer changes cur
	return g, nil
}

func (s *Store) enter(g *group, v view) {
	g.next, g.staged = v, true
	s.touched = append(s.touched, g)
}

// stage puts an update into the batch and into its group's next view.
func (s *Store) stage(u *logstore.Update) error {
	if u.Delete {
		if err := s.stageDelete(u.Group); err != nil {
			return err
		}
	}
	g, err := s.begin(u.Group)
	if err != nil {
		return err
	}
	v := &g.next
	if u.Incarnation != 0 && u.Incarnation != v.incarnation {
		v.incarnation, g.changed = u.Incarnation, true
	}
	if u.HardState != nil {
		key := s.key.group(keyHardState, g.id)
		s.value = appendHardState(s.value[:0], key, *u.HardState)
		s.batch.Put(key, s.value)
		g.changed = g.changed || !v.exists
	}
	if u.Note != nil {
		s.stageNote(g, u.Note)
	}
	if err := s.stageReset(g, u); err != nil {
		return err
	}
	if u.TruncateFrom != 0 {
		if err := s.stageTruncate(g, u.TruncateFrom); err != nil {
			return err
		}
	}
	if err := s.stageBlocks(g, u.Blocks); err != nil {
		return err
	}
	if u.CompactTo >= v.first {
		if err := v.compact(u.CompactTo, u.CompactTerm); err != nil {
			return invalid(g.id, err)
		}
		g.changed = true
	}
	if g.changed {
		v.exists = true
		key := s.key.group(keyLogState, g.id)
		s.value = appendLogState(s.value[:0], key, v.logState())
		s.batch.Put(key, s.value)
		g.changed = false
	}
	return nil
}

func invalid(group uint64, err error) error {
	return fmt.Errorf("%w: group %d: %w", logstore.ErrInvalid, group, err)
}

func (s *Store) stageBlocks(g *group, blocks []messages.Block) error {
	v := &g.next
	for i := range blocks {
		b := &blocks[i]
		if b.Count == 0 || b.Group != g.id {
			return invalid(g.id, fmt.Errorf("block of group %d with %d entries", b.Group, b.Count))
		}
		first := v.first
		if err := v.add(b); err != nil {
			return invalid(g.id, err)
		}
		if b.FirstIndex < first && len(v.blocks) == 1 {
			s.sweepAll(g) // what was compacted would stand within the log again
		}
		g.changed = g.changed || v.first != first || !v.exists
		s.putBlock(b)
	}
	return nil
}

func (s *Store) putBlock(b *messages.Block) {
	s.batch.Put(s.key.block(b.Group, b.FirstIndex), b.Bytes())
	s.written = append(s.written, *b)
}

// stageTruncate removes the entries from index on.
func (s *Store) stageTruncate(g *group, index uint64) error {
	v := &g.next
	if index < v.first {
		return invalid(g.id, fmt.Errorf("truncation from %d, but the log begins at %d", index, v.first))
	}
	if index > v.last() {
		return nil
	}
	keep := 0
	if index > v.first {
		keep = v.at(index - 1)
	}
	var left []blockRef
	left = append(left, v.blocks[:keep]...) // a copy: readers still use the old one
	gone := v.blocks[keep:]
	if index > v.first {
		straddling, err := s.fetch(g.id, gone[0].first)
		if err != nil {
			return err
		}
		prefix, err := straddling.Prefix(index - 1)
		if err != nil {
			return &logstore.CorruptError{Group: g.id, Index: gone[0].first, Where: "block", Reason: err.Error()}
		}
		if prefix.Count != straddling.Count {
			s.putBlock(&prefix)
		}
		left, gone = append(left, refOf(&prefix)), gone[1:]
	}
	for i := range gone {
		s.batch.Delete(s.key.block(g.id, gone[i].first))
	}
	v.blocks, g.changed, s.destroy = left, true, true
	return nil
}

// fetch returns a block for the writer, which may be of this very batch.
func (s *Store) fetch(group, first uint64) (messages.Block, error) {
	for i := len(s.written) - 1; i >= 0; i-- {
		if b := &s.written[i]; b.Group == group && b.FirstIndex == first {
			return *b, nil
		}
	}
	return s.readBlock(s.db, group, first)
}

// stageDelete removes everything of a group, also of one that cannot be loaded as
// long as its keys can be read.
func (s *Store) stageDelete(id uint64) error {
	g := s.group(id)
	it := s.db.NewIterator(blockRange(id, 0), scanReads)
	defer it.Release()
	for it.Next() {
		s.batch.Delete(it.Key())
	}
	if err := it.Error(); err != nil {
		return s.engineError(id, err)
	}
	for i := range s.written { // not in the database yet
		if b := &s.written[i]; b.Group == id {
			s.batch.Delete(s.key.block(id, b.FirstIndex))
		}
	}
	s.batch.Delete(s.key.group(keyHardState, id))
	s.batch.Delete(s.key.group(keyLogState, id))
	s.batch.Delete(s.key.group(keyNote, id))
	if g.staged {
		g.next = view{first: 1}
	} else {
		s.enter(g, view{first: 1})
	}
	g.changed, s.destroy = false, true
	return nil
}

// sweepAll deletes what is left of a group's compacted blocks.
func (s *Store) sweepAll(g *group) {
	for _, first := range g.next.sweep {
		s.batch.Delete(s.key.block(g.id, first))
	}
	g.next.sweep, g.changed, s.destroy = nil, true, true
}

// sweepSome deletes some compacted blocks along with the batch, which costs no sync
// of its own. Nothing refers to them: they were compacted by an earlier Write.
func (s *Store) sweepSome() {
	budget := sweepLeast + sweepRatio*len(s.written)
	for budget > 0 && len(s.sweep) > 0 {
		g := s.sweep[len(s.sweep)-1]
		if !g.staged {
			s.enter(g, g.cur)
		}
		v := &g.next
		n := min(budget, len(v.sweep))
		for _, first := range v.sweep[:n] {
			s.batch.Delete(s.key.block(g.id, first))
		}
		v.sweep = v.sweep[n:]
		budget -= n
		if len(v.sweep) == 0 {
			s.sweep, g.sweeping = s.sweep[:len(s.sweep)-1], false
		}
	}
}

// sweepLater: of what was to be swept along nothing is, for the batch was not written.
func (s *Store) sweepLater() {
	for _, g := range s.touched {
		if len(g.cur.sweep) > 0 && !g.sweeping {
			s.sweep, g.sweeping = append(s.sweep, g), true
		}
	}
}
