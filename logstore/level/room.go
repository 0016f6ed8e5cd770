package level

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/syndtr/goleveldb/leveldb/storage"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/vfs"
)

const reserveName = "RESERVE"

// room keeps a part of the disk for when there is no more: the file RESERVE, which
// holds nothing but its length. On a full disk it is cut, piece by piece, for what must
// go on: terms and votes, the tables and manifest records by which the engine gets rid
// of journals, and compaction, which gives back more than it takes. A Write that
// brings blocks first makes it whole again, and is refused where that cannot be. So
// does a removal, as far as it goes, before others have what it gave back.
//
// The file is never synced. A crash may lose its end, which is then written again.
type room struct {
	s    *fileStorage
	mu   sync.Mutex
	file vfs.File // nil where there is none
	size int64
	want int64
}

// The least that is left of the reserve, as parts of it: tables must leave some for
// journals, and those some for the manifest, whose refusal would fail the store.
const (
	leftByTables   = 8
	leftByJournals = 16
)

// reserveStep is how much of the reserve is written or given up at a time.
const reserveStep = 64 << 10

// openRoom takes over the reserve that a process before this one has left.
func (s *fileStorage) openRoom(want int64) error {
	r := &s.room
	r.s, r.want = s, want
	f, err := s.fs.Append(s.path(reserveName))
	if errors.Is(err, fs.ErrNotExist) {
		f, err = s.fs.Create(s.path(reserveName))
	}
	if err != nil && vfs.IsFull(err) {
		return nil // nor is there any room to keep
	}
	if err != nil {
		return err
	}
	if r.size, err = f.Size(); err != nil {
		f.Close()
		return err
	}
	r.file = f
	if r.size > want {
		r.cut(want)
	}
	return nil
}

func (r *room) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file = nil
	return err
}

// cut shortens the file. A failure changes nothing; whoever needed it fails for itself.
func (r *room) cut(size int64) bool {
	if err := r.file.Truncate(size); err != nil {
		r.s.log.Debug("the reserve cannot be cut", "error", err)
		return false
	}
	r.size = size
	return true
}

// take gives n bytes to a file of that type, or as much as it may have, and says
// whether that was anything.
func (r *room) take(n int64, of storage.FileType) bool {
	var least int64
	switch of {
	case storage.TypeTable:
		least = r.want / leftByTables
	case storage.TypeJournal:
		least = r.want / leftByJournals
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	n = (n + reserveStep - 1) / reserveStep * reserveStep
	if r.file == nil || r.size <= least {
		return false
	}
	return r.cut(max(least, r.size-n))
}

// fill makes the reserve whole. It returns an error wrapping ErrFull where the disk has
// no room for it.
func (r *room) fill() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.file != nil && r.size < r.want {
		n, err := r.file.WriteAt(zeros[:min(reserveStep, r.want-r.size)], r.size)
		r.size += int64(n)
		if err == nil {
			continue
		}
		if vfs.IsFull(err) {
			return fmt.Errorf("%w: %w", logstore.ErrFull, err)
		}
		// Nobody's data is at stake. Should the disk be to blame, the next sync says so.
		r.s.log.Warn("no room can be kept in reserve: a full disk will stop this node", "error", err)
		r.file.Close()
		r.file = nil
	}
	return nil
}

// writeAll writes to a file of that type, from the reserve where the disk is full.
func (s *fileStorage) writeAll(f vfs.File, p []byte, of storage.FileType) (n int, err error) {
	for {
		k, err := f.Write(p[n:])
		n += k
		if err == nil || !vfs.IsFull(err) || !s.room.take(int64(len(p)-n), of) {
			return n, err
		}
	}
}

// makeRoom sees to it that the engine has room for a batch of so many bytes before it
// is given it. Where small, the batch is short and has no blocks: it may take from the
// reserve. It returns an error wrapping ErrFull where there is no room.
func (s *fileStorage) makeRoom(batch int, small bool) error {
	if !small {
		if err := s.room.fill(); err != nil {
			return err
		}
	}
	// In the journal, each block of 32 KiB has a header of 7 bytes, and may end in as
	// many that are not used.
	s.batch = batchRoom{bytes: int64(batch) + int64(batch)/(2<<10) + 64, small: small}
	if s.journal == nil {
		return nil
	}
	return s.journal.makeRoom(s.batch)
}

// batchRoom is what the batch at hand needs of a journal, and what became of it.
type batchRoom struct {
	bytes   int64
	small   bool
	written bool // something of it was given to a journal
	synced  bool // and all of that was synced
}

// judge says what an error of the engine's Write means. The engine writes nothing to a
// journal before it has room in memory, and none of what it does afterwards, making
// the next journal, concerns the batch any more.
func (s *fileStorage) judge(err error) error {
	switch b := &s.batch; {
	case s.failure() != nil || !vfs.IsFull(err):
		return s.fail(err)
	case !b.written:
		return fmt.Errorf("%w: %w", logstore.ErrFull, err)
	case b.synced:
		s.log.Debug("written, but no room for the next journal", "error", err)
		return nil
	default:
		return s.fail(err)
	}
}
