package journal

import "github.com/protoraft/protoraft/logstore/vfs"

// Place tells where the block that holds an entry stands: the file, and where in it the
// bytes of the block begin. It is for whoever looks for damage, or makes some.
func (s *Store) Place(group, index uint64) (file string, offset int64, found bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	g := s.groups[group]
	if g == nil || index < g.first || len(g.blocks) == 0 || index > g.blocks[len(g.blocks)-1].last() {
		return "", 0, false
	}
	r := &g.blocks[g.at(index)]
	if r.lost || r.first > index {
		return "", 0, false
	}
	at := int(r.pos)
	return s.dir.slot(r.seg.slot), int64(at/sectorPayload*vfs.SectorBytes + sectorHeader + at%sectorPayload), true
}
