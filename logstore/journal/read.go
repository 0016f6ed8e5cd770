package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/vfs"
	"github.com/protoraft/protoraft/messages"
)

// Load implements logstore.Store. It reads every block of the group.
func (s *Store) Load(id uint64) (logstore.GroupState, error) {
	var none logstore.GroupState
	g, err := s.known(id, "load")
	if g == nil || err != nil {
		return none, err
	}
	g.loading.Lock()
	defer g.loading.Unlock()
	return s.load(g)
}

// known returns a group that is in the index, or nil.
func (s *Store) known(id uint64, what string) (*group, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, fmt.Errorf("journal: %s: %w", what, fs.ErrClosed)
	}
	return s.groups[id], nil
}

// load checks all of the group, and takes note that it is whole.
func (s *Store) load(g *group) (logstore.GroupState, error) {
	p := s.picture(g)
	defer p.done()
	if _, damage, err := p.check(); err != nil || damage != nil {
		if damage != nil {
			err = damage
		}
		return logstore.GroupState{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	g.checked = true
	return p.state, nil
}

// ensureChecked has the group's blocks read once, before anything rests on them.
func (s *Store) ensureChecked(g *group) error {
	if s.isChecked(g) {
		return nil
	}
	g.loading.Lock()
	defer g.loading.Unlock()
	if s.isChecked(g) {
		return nil
	}
	_, err := s.load(g)
	return err
}

func (s *Store) isChecked(g *group) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return g.checked || !g.exists
}

// picture is a group as it was at one moment. Until it is done with, no place of its
// blocks is used again.
type picture struct {
	s     *Store
	id    uint64
	view  view
	state logstore.GroupState
	pages pageReader
}

func (s *Store) picture(g *group) *picture {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p := &picture{s: s, id: g.id, view: g.view}
	p.view.blocks = append([]ref(nil), g.blocks...)
	if g.exists {
		p.state = logstore.GroupState{HardState: g.hard}
		if g.noteIn.seg != nil {
			p.state.Note = append([]byte{}, g.note...)
		}
	}
	pin(p.view.blocks)
	return p
}

func pin(refs []ref) {
	for i := range refs {
		if refs[i].seg != nil {
			refs[i].seg.pins.Add(1)
		}
	}
}

func unpin(refs []ref) {
	for i := range refs {
		if refs[i].seg != nil {
			refs[i].seg.pins.Add(-1)
		}
	}
}

func (p *picture) done() { unpin(p.view.blocks) }

// check reads every block. whole is how many are before the first that is damaged, which
// damage names; state is what is known up to there.
func (p *picture) check() (whole int, damage *logstore.CorruptError, err error) {
	if !p.view.exists {
		return 0, nil, nil
	}
	v := p.view
	for whole = range v.blocks {
		if damage, err = p.checkBlock(whole); damage != nil || err != nil {
			break
		}
		whole++
	}
	if err != nil {
		return 0, nil, err
	}
	v.blocks = v.blocks[:whole]
	v.describe(&p.state)
	return whole, damage, nil
}

// checkBlock reads block i, and keeps a configuration that it holds.
func (p *picture) checkBlock(i int) (*logstore.CorruptError, error) {
	r := &p.view.blocks[i]
	if why := p.view.follows(i); why != "" {
		index := r.first
		if i == 0 {
			index = p.view.first
		} else if last := p.view.blocks[i-1].last(); last < r.first {
			index = last + 1
		}
		return corrupt(p.id, index, p.s.place(r), "%s", why), nil
	}
	b, err := p.pages.block(p.s, p.id, p.view.blocks[i:])
	var damage *logstore.CorruptError
	switch {
	case errors.As(err, &damage):
		return damage, nil
	case err != nil:
		return nil, err
	}
	if b.Count > 1 {
		return nil, nil // a configuration stands alone
	}
	err = b.Entries(func(index uint64, e messages.EntryView) error {
		if e.Kind == messages.EntryKind_CONFIGURATION {
			p.state.Configurations = append(p.state.Configurations, logstore.ConfigurationEntry{Index: index, Data: bytes.Clone(e.Data)})
		}
		return nil
	})
	if err != nil {
		return corrupt(p.id, r.first, p.s.place(r), "%v", err), nil
	}
	return nil, nil
}

// place names where a block stands.
func (s *Store) place(r *ref) string {
	if r.seg == nil {
		return "block"
	}
	return s.dir.slot(r.seg.slot)
}

// Read implements logstore.Store.
func (s *Store) Read(id, first, last uint64, maxBytes int) ([]messages.Block, error) {
	g, err := s.known(id, "read")
	if err != nil {
		return nil, err
	}
	if g != nil {
		if err := s.ensureChecked(g); err != nil {
			return nil, err
		}
	}
	refs, err := s.locate(id, g, first, last, maxBytes)
	if err != nil {
		return nil, err
	}
	defer unpin(refs)
	blocks := make([]messages.Block, len(refs))
	var pages pageReader
	for i := range refs {
		if blocks[i], err = pages.block(s, id, refs[i:]); err != nil {
			return nil, err
		}
	}
	return blocks, nil
}

// locate finds the blocks of a range. Their places are not used again until they are
// unpinned.
func (s *Store) locate(id uint64, g *group, first, last uint64, maxBytes int) ([]ref, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	v := view{first: 1}
	if g != nil {
		v = g.readable()
	}
	switch {
	case s.closed:
		return nil, fmt.Errorf("journal: read: %w", fs.ErrClosed)
	case last < first:
		return nil, invalid(id, fmt.Errorf("read of %d to %d", first, last))
	case first < v.first:
		return nil, fmt.Errorf("%w: group %d, read from %d, the log begins at %d", logstore.ErrCompacted, id, first, v.first)
	case first > v.last():
		return nil, fmt.Errorf("%w: group %d, read from %d, the log ends at %d", logstore.ErrOutOfRange, id, first, v.last())
	}
	from := v.at(first)
	to, size := from+1, int(v.blocks[from].length)
	for to < len(v.blocks) && v.blocks[to].first <= last {
		if size += int(v.blocks[to].length); size > maxBytes {
			break
		}
		to++
	}
	refs := append([]ref(nil), v.blocks[from:to]...)
	pin(refs)
	return refs, nil
}

// readBlock reads one block for the writer.
func (s *Store) readBlock(group uint64, r *ref) (messages.Block, error) {
	var pages pageReader
	return pages.block(s, group, []ref{*r})
}

// pageReader reads blocks that stand near each other at once.
type pageReader struct {
	seg  *segment
	from int // sector
	buf  []byte
}

// readBytes is how much is read at a time, where so much is wanted.
const readBytes = 1 << 20

// block reads the first of refs, and what it can of those that follow it.
func (p *pageReader) block(s *Store, group uint64, refs []ref) (messages.Block, error) {
	r := &refs[0]
	raw, err := p.bytes(s, refs)
	switch {
	case isDamage(err):
		return messages.Block{}, corrupt(group, r.first, s.place(r), "%v", err)
	case err != nil:
		return messages.Block{}, err
	}
	b, err := messages.OpenBlock(raw)
	switch {
	case err != nil:
		return b, corrupt(group, r.first, s.place(r), "%v", err)
	case b.Group != group || b.FirstIndex != r.first:
		return b, corrupt(group, r.first, s.place(r), "the block there is of group %d and begins at %d", b.Group, b.FirstIndex)
	case b.Count != r.count || b.Term != r.term || b.PrevTerm != r.prevTerm:
		return b, corrupt(group, r.first, s.place(r), "%d entries of term %d after term %d, expected %d of term %d after term %d",
			b.Count, b.Term, b.PrevTerm, r.count, r.term, r.prevTerm)
	}
	return b, nil
}

// bytes returns those of the first of refs as they are.
func (p *pageReader) bytes(s *Store, refs []ref) ([]byte, error) {
	r := &refs[0]
	if !p.has(r) {
		from, to := span(r)
		err := p.read(refs, from, to)
		if isDamage(err) && len(refs) > 1 { // it may be another one's
			err = p.read(refs[:1], from, to)
		}
		if err != nil {
			return nil, fmt.Errorf("journal: %s: %w", s.place(r), err)
		}
	}
	raw := make([]byte, r.length)
	streamAt(raw, p.buf, p.from, int(r.pos))
	return raw, nil
}

// isDamage says whether an error of a read means that the bytes are gone, and not that they
// could not be had this time.
func isDamage(err error) bool {
	return vfs.IsUnreadable(err) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// answers says whether a disk that cannot read some bytes of a file can read others. One that
// cannot is away for now, or for good, which says nothing of what is on it.
func answers(f vfs.File) bool {
	n, _ := f.ReadAt(vfs.Aligned(vfs.SectorBytes), 0)
	return n == vfs.SectorBytes
}

// has says whether a block was read along with one before it.
func (p *pageReader) has(r *ref) bool {
	from, to := span(r)
	return r.seg == p.seg && from >= p.from && to <= p.from+len(p.buf)/vfs.SectorBytes
}

// span is the sectors that a block stands in.
func span(r *ref) (from, to int) {
	return int(r.pos) / sectorPayload, sectorsFor(int(r.pos) + int(r.length))
}

// read fetches the sectors from..to, and on to those of blocks that follow.
func (p *pageReader) read(refs []ref, from, to int) error {
	for i := 1; i < len(refs) && refs[i].seg == refs[0].seg && refs[i].pos > refs[i-1].pos; i++ {
		_, end := span(&refs[i])
		if (end-from)*vfs.SectorBytes > readBytes {
			break
		}
		to = end
	}
	p.seg = nil
	size := (to - from) * vfs.SectorBytes
	if cap(p.buf) < size {
		p.buf = vfs.Aligned(size)
	}
	p.buf = p.buf[:size]
	file := refs[0].seg.file
	if n, err := file.ReadAt(p.buf, int64(from)*vfs.SectorBytes); n < size {
		if vfs.IsUnreadable(err) && !answers(file) {
			return fmt.Errorf("read %d of %d bytes: %v, and nothing else of the file can be read", n, size, err)
		}
		return fmt.Errorf("read %d of %d bytes: %w", n, size, err)
	}
	p.seg, p.from = refs[0].seg, from
	return nil
}
