// Package journal keeps logs and hard states in files of its own: one stream of frames
// for all groups of a node, one write and one sync for each Write.
//
// What it expects of a disk, what stands in its files and when it gives up is described in
// package logstore; the bytes are at sector.go, frame.go and op.go. It has no goroutines:
// all it does to the disk it does in the turn of who calls.
package journal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/vfs"
)

// Store is a logstore.Store over a journal.
type Store struct {
	log  hclog.Logger
	opts Options
	dir  directory
	lock io.Closer

	failed atomic.Pointer[failure]

	mu     sync.RWMutex // groups, their index, and what is needed of each segment
	groups map[uint64]*group
	closed bool

	// The rest is the writer's.
	room   room
	slots  int        // files that the mark names
	chain  []*segment // sealed segments, the oldest first
	active *segment
	free   []*segment // without anything that is needed
	index  []byte     // what happened in the active one, for its successor to say
	batch  uint64     // of the last frame
	oldest uint64     // as the last frame says it
	writer frameWriter
	batchOps
	gc collector
}

var _ logstore.Store = (*Store)(nil)

type failure struct{ err error }

// Open opens the store in dir, making it where there is none. An interrupted write is cut
// off. It returns an error wrapping ErrCorrupt that names the file where damage cannot be
// laid to one group, and ErrNewerFormat where a later version wrote it.
func Open(f vfs.FS, dir string, opts Options) (*Store, error) {
	if err := opts.fill(); err != nil {
		return nil, err
	}
	s := &Store{
		log: opts.Logger, opts: opts, dir: directory{f, dir}, groups: map[uint64]*group{},
		room: room{log: opts.Logger, want: int64(opts.ReserveBytes)},
	}
	if err := s.open(); err != nil {
		s.closeFiles()
		return nil, fmt.Errorf("journal: open %s: %w", dir, err)
	}
	return s, nil
}

func (s *Store) open() (err error) {
	if err := s.dir.fs.MkdirAll(s.dir.path); err != nil {
		return err
	}
	if s.lock, err = s.dir.fs.Lock(s.dir.file(lockName)); err != nil {
		return err
	}
	// A process before this one may have died between a name and its sync.
	if err := s.dir.fs.SyncDir(s.dir.path); err != nil {
		return err
	}
	if err := s.room.open(s.dir); err != nil {
		return err
	}
	if err := s.recover(); err != nil {
		return err
	}
	if err := s.room.fill(); err != nil {
		s.log.Warn("the disk is full: only terms and votes are written until there is room", "dir", s.dir.path, "error", err)
	}
	return nil
}

// fail makes err stick: what the disk holds is unknown from here on.
func (s *Store) fail(err error) error {
	if s.failed.CompareAndSwap(nil, &failure{err}) {
		s.log.Error("storage failed, nothing is written any more", "dir", s.dir.path, "error", err)
	}
	return s.failure()
}

// failure is nil, or the first error wrapped in ErrFailed.
func (s *Store) failure() error {
	if f := s.failed.Load(); f != nil {
		return fmt.Errorf("%w: %w", logstore.ErrFailed, f.err)
	}
	return nil
}

// Groups implements logstore.Store.
func (s *Store) Groups() ([]uint64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, fmt.Errorf("journal: groups: %w", fs.ErrClosed)
	}
	var ids []uint64
	for id, g := range s.groups {
		if g.exists {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// groupOf returns the group of that number, or nil.
func (s *Store) groupOf(id uint64) *group {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.groups[id]
}

// Close implements logstore.Store. Everything acknowledged is durable already.
func (s *Store) Close() error {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	if closed {
		return nil
	}
	return s.closeFiles()
}

func (s *Store) closeFiles() (err error) {
	for _, seg := range slices.Concat(s.chain, []*segment{s.active}, s.free) {
		if seg != nil && seg.file != nil {
			err = errors.Join(err, seg.file.Close())
		}
	}
	err = errors.Join(err, s.room.close())
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	return err
}
