package journal

import (
	"errors"

	"github.com/protoraft/protoraft/logstore"
)

// Salvage implements logstore.Store. What is not whole stays where it is, and in the
// index, until it is reset: an end cut off quietly would pass for a healthy log.
func (s *Store) Salvage(id uint64) (state logstore.GroupState, damage *logstore.CorruptError, err error) {
	g, err := s.known(id, "salvage")
	if g == nil || err != nil {
		return state, nil, err
	}
	g.loading.Lock()
	defer g.loading.Unlock()
	p := s.picture(g)
	defer p.done()
	whole, damage, err := p.check()
	if err != nil && !errors.Is(err, logstore.ErrCorrupt) {
		return logstore.GroupState{}, nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	g.checked = true
	if damage != nil {
		v := p.view
		v.blocks = v.blocks[:whole]
		damage.Index = v.last() + 1 // what is whole ends before it
		g.damaged, g.whole = damage.Index, whole
	}
	return p.state, damage, nil
}
