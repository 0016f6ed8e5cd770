// Package level keeps logs and hard states in goleveldb: one database for all
// groups of a node, one batch and one sync for each Write.
//
// What it stores, and what it expects of a disk, is described in package logstore.
package level

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"github.com/hashicorp/go-hclog"
	"github.com/syndtr/goleveldb/leveldb"
	lerrors "github.com/syndtr/goleveldb/leveldb/errors"
	"github.com/syndtr/goleveldb/leveldb/opt"
	"github.com/syndtr/goleveldb/leveldb/util"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/vfs"
	"github.com/protoraft/protoraft/messages"
)

// Store is a logstore.Store over goleveldb.
type Store struct {
	log     hclog.Logger
	storage *fileStorage
	db      *leveldb.DB

	mu     sync.RWMutex // groups, and of each group: loaded, cur
	groups map[uint64]*group
	closed bool

	// The rest is the writer's.
	batch   *leveldb.Batch
	touched []*group         // staged in this Write
	written []messages.Block // put in this Write
	sweep   []*group         // groups with blocks to sweep
	destroy bool             // this Write deletes blocks readers may look for
	key     blockKey
	value   []byte
}

var _ logstore.Store = (*Store)(nil)

// scanReads are for reads that pass by once.
var scanReads = &opt.ReadOptions{DontFillCache: true}

var synced = &opt.WriteOptions{Sync: true}

// Open opens the store in dir, making it where there is none. An interrupted write
// is cut off. It returns an error wrapping ErrCorrupt that names the file where damage
// cannot be laid to one group, and ErrNewerFormat where a later version wrote it.
func Open(f vfs.FS, dir string, opts Options) (*Store, error) {
	if err := opts.fill(); err != nil {
		return nil, err
	}
	st, err := openStorage(f, dir, opts.Logger)
	if err != nil {
		return nil, fmt.Errorf("level: open %s: %w", dir, err)
	}
	st.ahead = int64(min(aheadBytes, opts.MemtableBytes))
	s := &Store{log: opts.Logger, storage: st, groups: map[uint64]*group{}, batch: new(leveldb.Batch)}
	if err := s.open(&opts); err != nil {
		if s.db != nil {
			s.db.Close()
		}
		st.Close()
		return nil, fmt.Errorf("level: open %s: %w", dir, err)
	}
	return s, nil
}

func (s *Store) open(opts *Options) error {
	if err := s.storage.openRoom(int64(opts.ReserveBytes)); err != nil {
		return err
	}
	if err := s.storage.check(); err != nil {
		return err
	}
	db, err := leveldb.Open(s.storage, opts.engine())
	if err != nil {
		return s.engineError(0, err)
	}
	s.db = db
	if err := s.openFormat(); err != nil {
		return err
	}
	if err := s.storage.room.fill(); err != nil {
		s.log.Warn("the disk is full: only terms and votes are written until there is room", "dir", s.storage.dir, "error", err)
	}
	return s.findGroups()
}

// openFormat checks the format of a store, and sets it in a new one.
func (s *Store) openFormat() error {
	value, err := s.db.Get(formatKey, nil)
	if err == nil {
		return checkFormat(value)
	}
	if !errors.Is(err, leveldb.ErrNotFound) {
		return s.engineError(0, err)
	}
	it := s.db.NewIterator(nil, scanReads)
	defer it.Release()
	if it.First() {
		return &logstore.CorruptError{Where: "key fmt", Reason: "missing, but other keys are there"}
	}
	if err := it.Error(); err != nil {
		return s.engineError(0, err)
	}
	if err := s.db.Put(formatKey, encodeFormat(), synced); err != nil {
		return s.engineError(0, err)
	}
	return nil
}

// findGroups learns which groups there are; their logs are read by Load.
func (s *Store) findGroups() error {
	it := s.db.NewIterator(&util.Range{Start: []byte{keyHardState}, Limit: []byte{keyBlock}}, scanReads)
	defer it.Release()
	for it.Next() {
		id, err := groupOf(it.Key())
		if err != nil {
			return &logstore.CorruptError{Where: "group list", Reason: err.Error()}
		}
		s.group(id).cur.exists = true
	}
	if err := it.Error(); err != nil {
		return s.engineError(0, err)
	}
	return nil
}

// group returns the group of that number, making an empty one.
func (s *Store) group(id uint64) *group {
	s.mu.RLock()
	g := s.groups[id]
	s.mu.RUnlock()
	if g != nil {
		return g
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if g = s.groups[id]; g == nil {
		g = &group{id: id}
		s.groups[id] = g
	}
	return g
}

// engineError gives goleveldb's errors the names of the contract. group is whose
// keys were read, 0 for no group's in particular.
func (s *Store) engineError(group uint64, err error) error {
	var corrupt *lerrors.ErrCorrupted
	switch {
	case errors.Is(err, logstore.ErrCorrupt):
		return err
	case errors.As(err, &corrupt):
		where := "database"
		if !corrupt.Fd.Zero() {
			where = s.storage.file(corrupt.Fd)
		}
		return &logstore.CorruptError{Group: group, Where: where, Reason: corrupt.Err.Error()}
	case errors.Is(err, leveldb.ErrClosed):
		return fmt.Errorf("level: %w", fs.ErrClosed)
	}
	return err
}

// Groups implements logstore.Store.
func (s *Store) Groups() ([]uint64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, fmt.Errorf("level: groups: %w", fs.ErrClosed)
	}
	var ids []uint64
	for id, g := range s.groups {
		if g.cur.exists {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// Close implements logstore.Store. Everything acknowledged is durable already; a
// failure to write more is no error of Close.
func (s *Store) Close() error {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	if closed {
		return nil
	}
	err := s.db.Close()
	if s.storage.failed.Load() != nil || vfs.IsFull(err) {
		err = nil // it has been reported by the Write that met it, or by none
	}
	return errors.Join(err, s.storage.Close())
}
