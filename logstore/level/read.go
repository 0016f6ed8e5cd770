package level

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/iterator"
	"github.com/syndtr/goleveldb/leveldb/opt"
	"github.com/syndtr/goleveldb/leveldb/util"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/messages"
)

// getter is the database or a snapshot of it.
type getter interface {
	Get(key []byte, ro *opt.ReadOptions) ([]byte, error)
	NewIterator(slice *util.Range, ro *opt.ReadOptions) iterator.Iterator
}

// Load implements logstore.Store.
func (s *Store) Load(id uint64) (logstore.GroupState, error) {
	g := s.group(id)
	g.loading.Lock()
	defer g.loading.Unlock()
	return s.load(g)
}

// load reads the group from disk, and sets its index where it has none.
func (s *Store) load(g *group) (logstore.GroupState, error) {
	snap, err := s.db.GetSnapshot()
	if err != nil {
		return logstore.GroupState{}, s.engineError(g.id, err)
	}
	defer snap.Release()
	var state logstore.GroupState
	v, err := s.scan(snap, g.id, &state)
	if err != nil {
		return logstore.GroupState{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !g.loaded {
		g.cur, g.loaded = v, true
	}
	return state, nil
}

// ensureLoaded gives the group its index.
func (s *Store) ensureLoaded(g *group) error {
	if s.isLoaded(g) {
		return nil
	}
	g.loading.Lock()
	defer g.loading.Unlock()
	if s.isLoaded(g) {
		return nil
	}
	_, err := s.load(g)
	return err
}

func (s *Store) isLoaded(g *group) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return g.loaded
}

func blockRange(group, from uint64) *util.Range {
	var start, limit blockKey
	return &util.Range{Start: start.block(group, from), Limit: append(limit.block(group, ^uint64(0)), 0)}
}

// scan reads all of a group, checking what can be checked.
func (s *Store) scan(db getter, id uint64, to *logstore.GroupState) (view, error) {
	v := view{first: 1}
	state, err := s.scanStates(db, id, &v, to)
	if err != nil {
		return view{}, err
	}
	it := db.NewIterator(blockRange(id, state.sweepFrom), scanReads)
	defer it.Release()
	for it.Next() {
		index := binary.BigEndian.Uint64(it.Key()[9:])
		if !v.exists {
			return view{}, corrupt(id, index, "block", "there is no log state for it")
		}
		if err := v.scanned(id, index, it.Value(), to); err != nil {
			return view{}, corrupt(id, index, "block", "%v", err)
		}
	}
	if err := it.Error(); err != nil {
		return view{}, s.engineError(id, err)
	}
	if !v.exists {
		return v, nil
	}
	if v.last() < state.reached {
		return view{}, corrupt(id, v.last()+1, "block", "the log ends here, but had reached %d", state.reached)
	}
	v.describe(to)
	return v, nil
}

// scanStates reads hard state and log state.
func (s *Store) scanStates(db getter, id uint64, v *view, to *logstore.GroupState) (state logState, err error) {
	var key blockKey
	k := key.group(keyHardState, id)
	voted, err := db.Get(k, nil)
	switch {
	case err == nil:
		if to.HardState, err = readHardState(k, voted); err != nil {
			return state, corrupt(id, 0, "hard state", "%v", err)
		}
	case !errors.Is(err, leveldb.ErrNotFound):
		return state, s.engineError(id, err)
	}
	if err := scanNote(db, id, to); err != nil {
		return state, s.noteError(id, err)
	}
	k = key.group(keyLogState, id)
	value, err := db.Get(k, nil)
	switch {
	case err == nil:
		if state, err = readLogState(k, value); err != nil {
			return state, corrupt(id, 0, "log state", "%v", err)
		}
		v.exists, v.incarnation, v.first, v.prevTerm = true, state.incarnation, state.first, state.prevTerm
	case !errors.Is(err, leveldb.ErrNotFound):
		return state, s.engineError(id, err)
	case voted != nil:
		return state, corrupt(id, 0, "log state", "missing, but there is a hard state")
	}
	return state, nil
}

// scanned takes in one stored block, which must carry the log on.
func (v *view) scanned(id, key uint64, value []byte, to *logstore.GroupState) error {
	b, err := messages.OpenBlock(value)
	if err != nil {
		return err
	}
	if b.Group != id || b.FirstIndex != key {
		return fmt.Errorf("it is of group %d and begins at %d", b.Group, b.FirstIndex)
	}
	if b.LastIndex() < v.first {
		v.sweep = append(v.sweep, key)
		return nil
	}
	if err := v.carryOn(&b); err != nil {
		return err
	}
	return keepConfiguration(&b, to)
}

// carryOn takes in a block read from disk, of which the first may begin before
// the log does.
func (v *view) carryOn(b *messages.Block) error {
	switch {
	case len(v.blocks) > 0 || b.FirstIndex == v.first:
		return v.add(b)
	case b.FirstIndex > v.first:
		return fmt.Errorf("the log begins at %d, entries before this block are missing", v.first)
	case b.Term != v.prevTerm:
		return fmt.Errorf("the entry at %d has term %d, expected %d", v.first-1, b.Term, v.prevTerm)
	}
	v.blocks = append(v.blocks, refOf(b))
	return nil
}

// keepConfiguration copies a configuration entry, which always stands alone.
func keepConfiguration(b *messages.Block, to *logstore.GroupState) error {
	if b.Count != 1 {
		return nil
	}
	return b.Entries(func(index uint64, e messages.EntryView) error {
		if e.Kind == messages.EntryKind_CONFIGURATION {
			to.Configurations = append(to.Configurations, logstore.ConfigurationEntry{Index: index, Data: bytes.Clone(e.Data)})
		}
		return nil
	})
}

func corrupt(group, index uint64, where, format string, args ...any) error {
	return &logstore.CorruptError{Group: group, Index: index, Where: where, Reason: fmt.Sprintf(format, args...)}
}

// Read implements logstore.Store.
func (s *Store) Read(id, first, last uint64, maxBytes int) ([]messages.Block, error) {
	g := s.group(id)
	if err := s.ensureLoaded(g); err != nil {
		return nil, err
	}
	refs, snap, err := s.locate(g, first, last, maxBytes)
	if err != nil {
		return nil, err
	}
	defer snap.Release()
	blocks := make([]messages.Block, len(refs))
	for i := range refs {
		b, err := s.readBlock(snap, id, refs[i].first)
		if err != nil {
			return nil, err
		}
		if b.Count != refs[i].count || b.Term != refs[i].term {
			return nil, corrupt(id, b.FirstIndex, "block", "%d entries of term %d, expected %d of term %d",
				b.Count, b.Term, refs[i].count, refs[i].term)
		}
		blocks[i] = b
	}
	return blocks, nil
}

// locate finds the blocks of a range, with a snapshot in which they are.
func (s *Store) locate(g *group, first, last uint64, maxBytes int) ([]blockRef, *leveldb.Snapshot, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	v := &g.cur
	switch {
	case s.closed:
		return nil, nil, fmt.Errorf("level: read: %w", fs.ErrClosed)
	case last < first:
		return nil, nil, invalid(g.id, fmt.Errorf("read of %d to %d", first, last))
	case first < v.first:
		return nil, nil, fmt.Errorf("%w: group %d, read from %d, the log begins at %d", logstore.ErrCompacted, g.id, first, v.first)
	case first > v.last():
		return nil, nil, fmt.Errorf("%w: group %d, read from %d, the log ends at %d", logstore.ErrOutOfRange, g.id, first, v.last())
	}
	from := v.at(first)
	to, size := from+1, int(v.blocks[from].bytes)
	for to < len(v.blocks) && v.blocks[to].first <= last {
		if size += int(v.blocks[to].bytes); size > maxBytes {
			break
		}
		to++
	}
	snap, err := s.db.GetSnapshot()
	if err != nil {
		return nil, nil, s.engineError(g.id, err)
	}
	return v.blocks[from:to:to], snap, nil
}

// readBlock reads one block that the index has.
func (s *Store) readBlock(db getter, group, first uint64) (messages.Block, error) {
	var key blockKey
	value, err := db.Get(key.block(group, first), nil)
	switch {
	case errors.Is(err, leveldb.ErrNotFound):
		return messages.Block{}, corrupt(group, first, "block", "missing")
	case err != nil:
		return messages.Block{}, s.engineError(group, err)
	}
	b, err := messages.OpenBlock(value)
	if err != nil {
		return messages.Block{}, corrupt(group, first, "block", "%v", err)
	}
	if b.Group != group || b.FirstIndex != first {
		return messages.Block{}, corrupt(group, first, "block", "it is of group %d and begins at %d", b.Group, b.FirstIndex)
	}
	return b, nil
}
