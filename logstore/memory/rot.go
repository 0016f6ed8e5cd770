package memory

import (
	"fmt"
	"io/fs"

	"github.com/protoraft/protoraft/logstore"
)

// Rot makes a group's entries from the block that holds index on unreadable, as a
// medium that decays does: Load refuses the group until a ResetFrom has removed them.
// It says whether the group has such an entry.
func (s *Store) Rot(id, index uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, ok := s.groups[id]
	if !ok || index < g.first || index > g.last() {
		return false
	}
	for i := range g.blocks {
		if b := &g.blocks[i]; b.FirstIndex <= index && index <= b.LastIndex() {
			index = max(b.FirstIndex, g.first)
		}
	}
	if g.rotten == 0 || index < g.rotten {
		g.rotten = index
	}
	s.groups[id] = g
	return true
}

func rotten(id, index uint64) *logstore.CorruptError {
	return &logstore.CorruptError{Group: id, Index: index, Where: "block", Reason: "rotten"}
}

// Salvage implements logstore.Store.
func (s *Store) Salvage(id uint64) (state logstore.GroupState, damage *logstore.CorruptError, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, ok := s.groups[id]
	switch {
	case s.closed:
		return state, nil, fmt.Errorf("memory: salvage: %w", fs.ErrClosed)
	case !ok:
		return state, nil, nil
	}
	if g.rotten != 0 {
		damage = rotten(id, g.rotten)
		if err := g.truncate(g.rotten); err != nil {
			return state, nil, invalid(id, err)
		}
	}
	state, err = describe(id, &g)
	return state, damage, err
}

func (g *group) reset(from uint64) error {
	if from == 0 {
		return nil
	}
	if from < g.first || from > g.last()+1 || g.rotten != 0 && from > g.rotten {
		return fmt.Errorf("reset from %d, but the log is whole from %d to %d", from, g.first, g.last())
	}
	g.rotten = 0
	return g.truncate(from)
}
