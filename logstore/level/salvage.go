package level

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"

	"github.com/syndtr/goleveldb/leveldb"

	"github.com/protoraft/protoraft/logstore"
)

// errNote marks a note that cannot be read, so that the rest can be salvaged.
var errNote = errors.New("note")

// scanNote reads what the member keeps beside its log.
func scanNote(db getter, id uint64, to *logstore.GroupState) error {
	var key blockKey
	k := key.group(keyNote, id)
	value, err := db.Get(k, nil)
	switch {
	case errors.Is(err, leveldb.ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	note, err := unseal(k, value)
	if err != nil {
		return fmt.Errorf("%w: %w", errNote, err)
	}
	to.Note = bytes.Clone(note)
	return nil
}

func (s *Store) noteError(id uint64, err error) error {
	if errors.Is(err, errNote) {
		return corrupt(id, 0, "note", "%v", err)
	}
	return s.engineError(id, err)
}

func (s *Store) stageNote(g *group, note []byte) {
	key := s.key.group(keyNote, g.id)
	s.value = seal(key, append(s.value[:0], note...))
	s.batch.Put(key, s.value)
	g.changed = g.changed || !g.next.exists
}

// Salvage implements logstore.Store.
func (s *Store) Salvage(id uint64) (state logstore.GroupState, damage *logstore.CorruptError, err error) {
	g := s.group(id)
	g.loading.Lock()
	defer g.loading.Unlock()
	s.mu.RLock()
	closed := s.closed
	s.mu.RUnlock()
	if closed {
		return state, nil, fmt.Errorf("level: salvage: %w", fs.ErrClosed)
	}
	state, err = s.load(g)
	if err == nil || !errors.Is(err, logstore.ErrCorrupt) {
		return state, nil, err
	}
	snap, err := s.db.GetSnapshot()
	if err != nil {
		return state, nil, s.engineError(id, err)
	}
	defer snap.Release()
	state = logstore.GroupState{}
	v, damage, err := s.salvage(snap, id, &state)
	if err != nil {
		return logstore.GroupState{}, nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	g.cur, g.loaded, g.damaged = v, true, damage.Index
	return state, damage, nil
}

// salvage reads as scan does, and stops where the log is not whole any more. Of hard
// state and note it takes what is whole.
func (s *Store) salvage(db getter, id uint64, to *logstore.GroupState) (v view, damage *logstore.CorruptError, err error) {
	v = view{first: 1}
	state, damage, err := s.salvageStates(db, id, &v, to)
	if err != nil {
		return v, nil, err
	}
	it := db.NewIterator(blockRange(id, state.sweepFrom), scanReads)
	defer it.Release()
	for it.Next() {
		index := binary.BigEndian.Uint64(it.Key()[9:])
		if err := v.scanned(id, index, it.Value(), to); err != nil {
			v.describe(to)
			// What is whole ends before it; a block may be missing before this one.
			return v, &logstore.CorruptError{Group: id, Index: v.last() + 1, Where: "block", Reason: err.Error()}, nil
		}
	}
	v.describe(to)
	if err := it.Error(); err != nil {
		if err = s.engineError(id, err); !errors.As(err, &damage) {
			return v, nil, err
		}
		damage.Index = v.last() + 1
		return v, damage, nil
	}
	if v.last() < state.reached {
		damage = &logstore.CorruptError{Group: id, Index: v.last() + 1, Where: "block",
			Reason: fmt.Sprintf("the log ends here, but had reached %d", state.reached)}
	}
	return v, damage, nil
}

// salvageStates reads hard state, note and log state; only without the last one
// nothing can be made out.
func (s *Store) salvageStates(db getter, id uint64, v *view, to *logstore.GroupState) (state logState, damage *logstore.CorruptError, err error) {
	var key blockKey
	k := key.group(keyHardState, id)
	if voted, err := db.Get(k, nil); err == nil {
		if to.HardState, err = readHardState(k, voted); err != nil {
			to.HardState = logstore.HardState{}
			damage = &logstore.CorruptError{Group: id, Where: "hard state", Reason: err.Error()}
		}
	} else if !errors.Is(err, leveldb.ErrNotFound) {
		return state, nil, s.engineError(id, err)
	}
	if err := scanNote(db, id, to); errors.Is(err, errNote) {
		damage = &logstore.CorruptError{Group: id, Where: "note", Reason: err.Error()}
	} else if err != nil {
		return state, nil, s.engineError(id, err)
	}
	k = key.group(keyLogState, id)
	value, err := db.Get(k, nil)
	if err != nil && !errors.Is(err, leveldb.ErrNotFound) {
		return state, nil, s.engineError(id, err)
	}
	if err == nil {
		state, err = readLogState(k, value)
	}
	if err != nil {
		return state, nil, corrupt(id, 0, "log state", "%v", err)
	}
	v.exists, v.incarnation, v.first, v.prevTerm = true, state.incarnation, state.first, state.prevTerm
	return state, damage, nil
}

// stageReset removes everything stored from an index on, whole or not, and refuses
// blocks behind what is not whole.
func (s *Store) stageReset(g *group, u *logstore.Update) error {
	damaged := g.damaged
	if g.reset {
		damaged = 0
	}
	if u.ResetFrom == 0 {
		if damaged != 0 && len(u.Blocks) > 0 && !u.Delete {
			return corrupt(g.id, damaged, "block", "not whole from here on, and not reset")
		}
		return nil
	}
	v := &g.next
	if u.ResetFrom < v.first || u.ResetFrom > v.last()+1 {
		return invalid(g.id, fmt.Errorf("reset from %d, but the log is whole from %d to %d", u.ResetFrom, v.first, v.last()))
	}
	if err := s.stageTruncate(g, u.ResetFrom); err != nil {
		return err
	}
	if err := s.deleteBlocks(g.id, u.ResetFrom); err != nil {
		return err
	}
	g.changed, g.reset, s.destroy = true, true, true
	return nil
}

// unreadableMax bounds the indexes in a row whose keys cannot be read: a table's block
// holds far fewer.
const unreadableMax = 1 << 17

// deleteBlocks deletes a group's blocks from an index on. Where the keys cannot be
// read, every one that could be there is deleted.
func (s *Store) deleteBlocks(id, from uint64) error {
	for unreadable := 0; ; unreadable++ {
		it := s.db.NewIterator(blockRange(id, from), scanReads)
		for it.Next() {
			s.batch.Delete(it.Key())
			from, unreadable = binary.BigEndian.Uint64(it.Key()[9:])+1, 0
		}
		err := it.Error()
		it.Release()
		if err == nil {
			return nil
		}
		if err = s.engineError(id, err); !errors.Is(err, logstore.ErrCorrupt) || unreadable >= unreadableMax {
			return err
		}
		s.batch.Delete(s.key.block(id, from))
		from++
	}
}
