package level

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/hashicorp/go-hclog"
	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/opt"
	"github.com/syndtr/goleveldb/leveldb/util"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/vfs"
	"github.com/protoraft/protoraft/messages"
)

// Inspection is a store opened to be looked at, damaged or not. Nothing of it is
// changed: what opening would cut off is passed over, and no lock is taken, which is
// the caller's to do. It is for one goroutine.
type Inspection struct {
	store     *Store
	damage    []error
	sweepFrom map[uint64]uint64 // of groups that were asked for
}

// Record and GroupInfo are as for any engine.
type (
	Record    = logstore.Record
	GroupInfo = logstore.GroupInfo
)

var _ logstore.Inspection = (*Inspection)(nil)

// lenientReads pass damaged blocks of tables over.
var lenientReads = &opt.ReadOptions{DontFillCache: true, Strict: opt.StrictOverride}

var errReadOnly = errors.New("opened to be looked at")

// Inspect opens the store in dir, which must be there. Damage that keeps it from being
// opened for work is no error: see Damage. ErrNewerFormat is one.
func Inspect(f vfs.FS, dir string) (*Inspection, error) {
	if _, err := f.List(dir); err != nil {
		return nil, fmt.Errorf("level: inspect %s: %w", dir, err)
	}
	st := &fileStorage{fs: f, dir: dir, log: hclog.NewNullLogger(), cuts: map[string]int64{}}
	st.failed.Store(&failure{errReadOnly})
	i := &Inspection{store: &Store{log: st.log, storage: st, groups: map[uint64]*group{}}, sweepFrom: map[uint64]uint64{}}
	if err := st.check(); err != nil {
		if !errors.Is(err, logstore.ErrCorrupt) {
			return nil, fmt.Errorf("level: inspect %s: %w", dir, err)
		}
		i.damage = append(i.damage, err)
	}
	if err := i.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("level: inspect %s: %w", dir, err), i.Close())
	}
	return i, nil
}

// open opens the database as far as it can be. Without one there are no groups.
func (i *Inspection) open() error {
	var options Options
	if err := options.fill(); err != nil {
		return err
	}
	engine := options.engine()
	engine.ReadOnly = true
	db, err := leveldb.Open(i.store.storage, engine)
	switch {
	case errors.Is(err, fs.ErrNotExist) && len(i.damage) == 0:
		return nil // its creation was interrupted
	case err != nil:
		if len(i.damage) == 0 {
			i.damage = append(i.damage, i.store.engineError(0, err))
		}
		return nil
	}
	i.store.db = db
	value, err := db.Get(formatKey, nil)
	switch {
	case errors.Is(err, leveldb.ErrNotFound):
		i.damage = append(i.damage, &logstore.CorruptError{Where: "key fmt", Reason: "missing"})
		return nil
	case err == nil:
		err = checkFormat(value)
	}
	if errors.Is(err, logstore.ErrNewerFormat) {
		return err
	}
	if err != nil {
		i.damage = append(i.damage, i.store.engineError(0, err))
	}
	return nil
}

// Damage is what keeps the store from being opened for work. What can be read all the
// same may then be less, or older, than what was written.
func (i *Inspection) Damage() []error { return i.damage }

// Close ends the inspection.
func (i *Inspection) Close() error {
	if i.store.db == nil {
		return nil
	}
	return i.store.db.Close()
}

// Groups lists the groups that have anything stored, in ascending order.
func (i *Inspection) Groups() (ids []uint64, damage []error) {
	if i.store.db == nil {
		return nil, nil
	}
	it := i.store.db.NewIterator(nil, lenientReads)
	defer it.Release()
	// From one group to the next: their keys are apart, by kind.
	seen := map[uint64]bool{}
	for kind := byte(keyHardState); kind <= keyBlock; kind++ {
		for ok := it.Seek([]byte{kind}); ok; {
			key := it.Key()
			if key[0] != kind || len(key) < 9 {
				break
			}
			id := binary.BigEndian.Uint64(key[1:])
			seen[id] = true
			if id == ^uint64(0) {
				break
			}
			var next blockKey
			ok = it.Seek(next.group(kind, id+1))
		}
	}
	if err := it.Error(); err != nil {
		damage = append(damage, i.store.engineError(0, err))
	}
	return slices.Sorted(maps.Keys(seen)), damage
}

// Group reads what a group says of itself.
func (i *Inspection) Group(id uint64) (info GroupInfo) {
	fail := func(where string, err error) {
		info.Damage = append(info.Damage, corrupt(id, 0, where, "%v", err))
	}
	var key blockKey
	k := key.group(keyHardState, id)
	voted, err := i.store.db.Get(k, lenientReads)
	if err == nil {
		info.HardState, err = readHardState(k, voted)
	}
	if err != nil && !errors.Is(err, leveldb.ErrNotFound) {
		fail("hard state", err)
	}
	k = key.group(keyLogState, id)
	value, err := i.store.db.Get(k, lenientReads)
	if err != nil {
		if errors.Is(err, leveldb.ErrNotFound) {
			err = errors.New("missing")
		}
		fail("log state", err)
		return info
	}
	state, err := readLogState(k, value)
	if err != nil {
		fail("log state", err)
		return info
	}
	info.Incarnation, info.FirstIndex, info.PrevTerm = state.incarnation, state.first, state.prevTerm
	info.Reached, i.sweepFrom[id] = state.reached, state.sweepFrom
	return info
}

// Blocks hands every block of the group's log to see, and every damaged place, in the
// order of the log; entries removed behind a snapshot are left out. It ends with see's
// error.
func (i *Inspection) Blocks(id uint64, info *GroupInfo, see func(Record) error) error {
	w := walk{id: id, info: info, see: see, next: info.FirstIndex, term: info.PrevTerm}
	from := blockRange(id, i.sweepFrom[id])
	for _, reads := range []*opt.ReadOptions{scanReads, lenientReads} {
		damage, err := i.scan(&w, from, reads)
		if err != nil {
			return err
		}
		if damage == nil {
			break
		}
		var c *logstore.CorruptError
		if !errors.As(damage, &c) {
			c = corrupt(id, 0, "database", "%v", damage).(*logstore.CorruptError)
		}
		if err := see(Record{Damage: c}); err != nil {
			return err
		}
		if len(w.key) > 0 {
			from.Start = append(w.key, 0)
		}
	}
	return w.end()
}

// scan hands on what one pass can read; damage is what has ended it.
func (i *Inspection) scan(w *walk, in *util.Range, reads *opt.ReadOptions) (damage, err error) {
	it := i.store.db.NewIterator(in, reads)
	defer it.Release()
	for it.Next() {
		w.key = append(w.key[:0], it.Key()...)
		if err := w.block(it.Key(), it.Value()); err != nil {
			return nil, err
		}
	}
	if err := it.Error(); err != nil {
		return i.store.engineError(w.id, err), nil
	}
	return nil, nil
}

// walk checks that each block carries the log on.
type walk struct {
	id   uint64
	info *GroupInfo
	see  func(Record) error
	key  []byte // of the last block
	next uint64 // index, 0 for any
	term uint64 // of the entry before
}

func (w *walk) damaged(index uint64, format string, args ...any) error {
	return w.see(Record{Damage: corrupt(w.id, index, "block", format, args...).(*logstore.CorruptError)})
}

func (w *walk) block(key, value []byte) error {
	index := binary.BigEndian.Uint64(key[9:])
	b, err := messages.OpenBlock(value)
	if err == nil {
		err = b.Entries(func(uint64, messages.EntryView) error { return nil })
	}
	if err == nil && (b.Group != w.id || b.FirstIndex != index) {
		err = fmt.Errorf("it is of group %d and begins at %d", b.Group, b.FirstIndex)
	}
	if err != nil {
		return w.damaged(index, "%v", err)
	}
	if b.LastIndex() < w.info.FirstIndex {
		return nil // removed, and not swept yet
	}
	if err := w.follows(&b); err != nil {
		return err
	}
	w.next, w.term = b.LastIndex()+1, b.Term
	return w.see(Record{Block: b})
}

// follows says what is wrong between the block and those before it.
func (w *walk) follows(b *messages.Block) error {
	switch begins := w.next == w.info.FirstIndex && b.FirstIndex < w.next; {
	case w.next == 0:
		return nil // nobody knows where the log begins
	case begins && b.Term != w.term:
		return w.damaged(b.FirstIndex, "the entry at %d has term %d, expected %d", w.next-1, b.Term, w.term)
	case begins:
		return nil
	case b.FirstIndex > w.next:
		return w.damaged(w.next, "entries %d to %d are missing", w.next, b.FirstIndex-1)
	case b.FirstIndex < w.next:
		return w.damaged(b.FirstIndex, "it begins at %d, expected %d", b.FirstIndex, w.next)
	case b.PrevTerm != w.term:
		return w.damaged(b.FirstIndex, "it follows term %d, expected %d", b.PrevTerm, w.term)
	}
	return nil
}

func (w *walk) end() error {
	if w.next != 0 && w.next <= w.info.Reached {
		return w.damaged(w.next, "the log ends here, but had reached %d", w.info.Reached)
	}
	return nil
}
