package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/vfs"
	"github.com/protoraft/protoraft/messages"
)

// Inspection is a journal opened to be looked at.
type Inspection struct {
	store  *Store
	damage []error
}

var _ logstore.Inspection = (*Inspection)(nil)

// Inspect opens the store in dir, which must be there. Damage that keeps it from being
// opened for work is no error: see Damage. ErrNewerFormat is one.
func Inspect(f vfs.FS, dir string) (*Inspection, error) {
	d := directory{f, dir}
	found, err := d.slots()
	if err != nil {
		return nil, fmt.Errorf("journal: inspect %s: %w", dir, err)
	}
	i := &Inspection{store: &Store{dir: d, groups: map[uint64]*group{}}}
	slots, err := d.readMark()
	unmarked := errors.Is(err, fs.ErrNotExist)
	if err == nil || unmarked {
		err = d.checkUnused(beyond(found, slots))
	}
	switch {
	case err == nil && unmarked:
		return i, nil // its creation was interrupted
	case errors.Is(err, logstore.ErrCorrupt):
		i.damage = append(i.damage, err)
		slots = slices.Max(append(found, 0))
	case err != nil:
		return nil, fmt.Errorf("journal: inspect %s: %w", dir, err)
	}
	if err := i.read(slots); err != nil {
		return nil, errors.Join(fmt.Errorf("journal: inspect %s: %w", dir, err), i.Close())
	}
	return i, nil
}

// read takes in what can be read.
func (i *Inspection) read(slots int) error {
	s := i.store
	r := &recovery{dir: s.dir, lenient: true, open: func(n int) (vfs.File, error) { return s.dir.fs.Open(s.dir.slot(n)) }}
	err := r.read(slots)
	s.chain, s.free, s.groups, s.active = r.chain, r.free, r.groups, r.newest
	if slices.Contains(s.free, s.active) {
		s.active = nil
	}
	i.damage = append(i.damage, r.damage...)
	for _, g := range s.groups {
		g.merge()
	}
	if err != nil && !errors.Is(err, logstore.ErrCorrupt) {
		return err
	}
	if err != nil {
		i.damage = append(i.damage, err)
	}
	return nil
}

// Damage implements logstore.Inspection.
func (i *Inspection) Damage() []error { return i.damage }

// Close implements logstore.Inspection.
func (i *Inspection) Close() error { return i.store.closeFiles() }

// Groups implements logstore.Inspection.
func (i *Inspection) Groups() (ids []uint64, damage []error) {
	for _, id := range slices.Sorted(maps.Keys(i.store.groups)) {
		if i.store.groups[id].exists {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// Group implements logstore.Inspection.
func (i *Inspection) Group(id uint64) (info logstore.GroupInfo) {
	g := i.store.groups[id]
	if g == nil {
		return info
	}
	return logstore.GroupInfo{
		HardState: g.hard, Incarnation: g.incarnation, FirstIndex: g.first, PrevTerm: g.prevTerm, Reached: g.last(),
	}
}

// Blocks implements logstore.Inspection.
func (i *Inspection) Blocks(id uint64, _ *logstore.GroupInfo, see func(logstore.Record) error) error {
	g := i.store.groups[id]
	if g == nil {
		return nil
	}
	var pages pageReader
	for n := range g.blocks {
		r := &g.blocks[n]
		if why := g.follows(n); why != "" {
			if err := see(logstore.Record{Damage: corrupt(id, r.first, i.store.place(r), "%s", why)}); err != nil {
				return err
			}
		}
		if r.lost {
			continue
		}
		record := logstore.Record{}
		b, err := pages.block(i.store, id, g.blocks[n:])
		if err == nil {
			err = b.Entries(func(uint64, messages.EntryView) error { return nil })
		}
		switch {
		case err == nil:
			record.Block = b
		case !errors.As(err, &record.Damage):
			record.Damage = corrupt(id, r.first, i.store.place(r), "%v", err)
		}
		if err := see(record); err != nil {
			return err
		}
	}
	return nil
}
