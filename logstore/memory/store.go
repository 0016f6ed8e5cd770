// Package memory is a logstore.Store that keeps everything in maps: the plainest
// reading of the contract, for tests of what stands on a store and to compare
// engines with. Nothing survives the process.
package memory

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sort"
	"sync"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/messages"
)

// Store is a logstore.Store in memory.
type Store struct {
	mu     sync.Mutex
	groups map[uint64]group
	next   *failure
	failed error
	full   bool
	closed bool
}

type failure struct {
	err  error
	kept bool
}

// group is a value: a Write works on copies, and replaces them when all went well.
type group struct {
	incarnation uint64
	hard        logstore.HardState
	note        []byte
	rotten      uint64 // entries from here on cannot be read, 0 for none; see Rot
	first       uint64
	prevTerm    uint64
	blocks      []messages.Block // never changed in place, only appended to
}

var _ logstore.Store = (*Store)(nil)

// New returns an empty store.
func New() *Store { return &Store{groups: map[uint64]group{}} }

// FailNext makes the next Write return err, and all later ones ErrFailed. kept says
// whether a Restart finds what that Write asked for.
func (s *Store) FailNext(err error, kept bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = &failure{err, kept}
}

// Fill makes the store's disk full, or gives it room again. On a full one, a Write that
// brings blocks returns ErrFull.
func (s *Store) Fill(full bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.full = full
}

// Restart returns a store with the same contents that has not failed nor been
// closed, as a new process would find it. The old one goes on by itself.
func (s *Store) Restart() *Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, g := range s.groups {
		g.blocks = slices.Clip(g.blocks) // neither store appends to the other's room
		s.groups[id] = g
	}
	return &Store{groups: maps.Clone(s.groups)}
}

// Groups implements logstore.Store.
func (s *Store) Groups() ([]uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("memory: groups: %w", fs.ErrClosed)
	}
	return slices.Sorted(maps.Keys(s.groups)), nil
}

// Load implements logstore.Store.
func (s *Store) Load(id uint64) (logstore.GroupState, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, ok := s.groups[id]
	if s.closed {
		return logstore.GroupState{}, fmt.Errorf("memory: load: %w", fs.ErrClosed)
	}
	if !ok {
		return logstore.GroupState{}, nil
	}
	if g.rotten != 0 {
		return logstore.GroupState{}, rotten(id, g.rotten)
	}
	return describe(id, &g)
}

func describe(id uint64, g *group) (logstore.GroupState, error) {
	state := logstore.GroupState{
		Incarnation: g.incarnation, HardState: g.hard, Note: bytes.Clone(g.note),
		FirstIndex: g.first, PrevTerm: g.prevTerm, LastIndex: g.last(),
	}
	for i := range g.blocks {
		b := &g.blocks[i]
		state.LastTime = b.Time
		for index := max(b.FirstIndex, g.first); index <= b.LastIndex(); index++ {
			state.Runs = extend(state.Runs, index, b.Term)
		}
		err := b.Entries(func(index uint64, e messages.EntryView) error {
			if index >= g.first && e.Kind == messages.EntryKind_CONFIGURATION {
				state.Configurations = append(state.Configurations, logstore.ConfigurationEntry{Index: index, Data: bytes.Clone(e.Data)})
			}
			return nil
		})
		if err != nil {
			return logstore.GroupState{}, &logstore.CorruptError{Group: id, Index: b.FirstIndex, Where: "block", Reason: err.Error()}
		}
	}
	return state, nil
}

func extend(runs []logstore.TermRun, index, term uint64) []logstore.TermRun {
	if n := len(runs); n > 0 && runs[n-1].Term == term {
		runs[n-1].Last = index
		return runs
	}
	return append(runs, logstore.TermRun{Term: term, First: index, Last: index})
}

func (g *group) last() uint64 {
	if n := len(g.blocks); n > 0 {
		return g.blocks[n-1].LastIndex()
	}
	return g.first - 1
}

func (g *group) lastTerm() uint64 {
	if n := len(g.blocks); n > 0 {
		return g.blocks[n-1].Term
	}
	return g.prevTerm
}

// Write implements logstore.Store.
func (s *Store) Write(updates []logstore.Update) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return fmt.Errorf("memory: write: %w", fs.ErrClosed)
	case s.failed != nil:
		return fmt.Errorf("%w: %w", logstore.ErrFailed, s.failed)
	}
	groups := maps.Clone(s.groups)
	for i := range updates {
		if err := apply(groups, &updates[i]); err != nil {
			return err
		}
	}
	if s.full && slices.ContainsFunc(updates, func(u logstore.Update) bool { return len(u.Blocks) > 0 }) {
		return fmt.Errorf("memory: write: %w", logstore.ErrFull)
	}
	failing := s.next
	if failing == nil || failing.kept {
		s.groups = groups
	}
	if failing != nil {
		s.failed = failing.err
		return failing.err
	}
	return nil
}

func apply(groups map[uint64]group, u *logstore.Update) error {
	if u.Delete {
		delete(groups, u.Group)
	}
	g, exists := groups[u.Group]
	if !exists {
		g.first = 1
	}
	if u.Incarnation != 0 {
		g.incarnation = u.Incarnation
	}
	if u.HardState != nil {
		g.hard = *u.HardState
	}
	if u.Note != nil {
		g.note = bytes.Clone(u.Note)
	}
	if err := g.reset(u.ResetFrom); err != nil {
		return invalid(u.Group, err)
	}
	if g.rotten != 0 && len(u.Blocks) > 0 {
		return rotten(u.Group, g.rotten)
	}
	if err := g.truncate(u.TruncateFrom); err != nil {
		return invalid(u.Group, err)
	}
	for i := range u.Blocks {
		if u.Blocks[i].Group != u.Group {
			return invalid(u.Group, fmt.Errorf("block of group %d", u.Blocks[i].Group))
		}
		if err := g.append(u.Blocks[i]); err != nil {
			return invalid(u.Group, err)
		}
	}
	if err := g.compact(u.CompactTo, u.CompactTerm); err != nil {
		return invalid(u.Group, err)
	}
	if exists || u.Incarnation != 0 || u.HardState != nil || u.Note != nil || len(g.blocks) > 0 || g.first > 1 {
		groups[u.Group] = g
	}
	return nil
}

func invalid(group uint64, err error) error {
	return fmt.Errorf("%w: group %d: %w", logstore.ErrInvalid, group, err)
}

func (g *group) truncate(from uint64) error {
	switch {
	case from == 0 || from > g.last():
		if from != 0 && from < g.first {
			return fmt.Errorf("truncation from %d, but the log begins at %d", from, g.first)
		}
		return nil
	case from < g.first:
		return fmt.Errorf("truncation from %d, but the log begins at %d", from, g.first)
	}
	var left []messages.Block
	for i := range g.blocks {
		b := &g.blocks[i]
		if b.FirstIndex >= from || from == g.first {
			break
		}
		prefix, err := b.Prefix(min(from-1, b.LastIndex()))
		if err != nil {
			return err
		}
		left = append(left, prefix)
	}
	g.blocks = left
	return nil
}

func (g *group) append(b messages.Block) error {
	switch {
	case b.Count == 0:
		return fmt.Errorf("block without entries")
	case len(g.blocks) == 0 && b.FirstIndex != g.first:
		g.first, g.prevTerm = b.FirstIndex, b.PrevTerm
	case b.FirstIndex != g.last()+1:
		return fmt.Errorf("block begins at %d, expected %d", b.FirstIndex, g.last()+1)
	case b.PrevTerm != g.lastTerm():
		return fmt.Errorf("block at %d follows term %d, expected %d", b.FirstIndex, b.PrevTerm, g.lastTerm())
	}
	g.blocks = append(g.blocks, b)
	return nil
}

func (g *group) compact(to, term uint64) error {
	if to < g.first {
		return nil
	}
	var left []messages.Block
	for _, b := range g.blocks {
		if b.FirstIndex <= to && to <= b.LastIndex() && b.Term != term {
			return fmt.Errorf("compaction to %d of term %d, but its term is %d", to, term, b.Term)
		}
		if b.LastIndex() > to {
			left = append(left, b)
		}
	}
	g.first, g.prevTerm, g.blocks = to+1, term, left
	return nil
}

// Read implements logstore.Store.
func (s *Store) Read(id, first, last uint64, maxBytes int) ([]messages.Block, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, ok := s.groups[id]
	if !ok {
		g.first = 1
	}
	switch {
	case s.closed:
		return nil, fmt.Errorf("memory: read: %w", fs.ErrClosed)
	case last < first:
		return nil, invalid(id, fmt.Errorf("read of %d to %d", first, last))
	case first < g.first:
		return nil, fmt.Errorf("%w: group %d, read from %d, the log begins at %d", logstore.ErrCompacted, id, first, g.first)
	case first > g.last():
		return nil, fmt.Errorf("%w: group %d, read from %d, the log ends at %d", logstore.ErrOutOfRange, id, first, g.last())
	case g.rotten != 0 && last >= g.rotten:
		return nil, rotten(id, g.rotten)
	}
	var blocks []messages.Block
	size := 0
	from := sort.Search(len(g.blocks), func(i int) bool { return g.blocks[i].LastIndex() >= first })
	for _, b := range g.blocks[from:] {
		if size += b.Len(); b.FirstIndex > last || size > maxBytes && len(blocks) > 0 {
			break
		}
		blocks = append(blocks, b)
	}
	return blocks, nil
}

// Close implements logstore.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}
