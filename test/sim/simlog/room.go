package simlog

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/vfs"
)

const (
	reserveName  = "RESERVE"
	reserveBytes = 32 * vfs.SectorBytes
)

// reserve is room on the disk that is kept for when there is no more.
type reserve struct {
	file vfs.File
	size int64
}

func (d directory) openReserve() (r reserve, err error) {
	name := path.Join(d.dir, reserveName)
	if r.file, err = d.disk.Append(name); errors.Is(err, fs.ErrNotExist) {
		r.file, err = d.disk.Create(name)
	}
	if err == nil {
		r.size, err = r.file.Size()
	}
	if err == nil {
		err = r.fill()
	}
	if errors.Is(err, logstore.ErrFull) {
		err = nil // Write will say so
	}
	return r, err
}

// fill makes the reserve whole.
func (r *reserve) fill() error {
	if r.size >= reserveBytes {
		return nil
	}
	n, err := r.file.WriteAt(make([]byte, reserveBytes-r.size), r.size)
	r.size += int64(n)
	return full(err)
}

// give cuts as much off the reserve as n bytes take, and says whether that was anything.
func (r *reserve) give(n int64) bool {
	size := max(r.size-(n+vfs.SectorBytes-1)/vfs.SectorBytes*vfs.SectorBytes, 0)
	if size == r.size || r.file.Truncate(size) != nil {
		return false
	}
	r.size = size
	return true
}

// makeRoom writes zeros for a record of so many bytes. An error wrapping ErrFull says
// that there is no room; after any other the store has failed.
func (s *Store) makeRoom(record int64, updates []logstore.Update) error {
	small := true
	for i := range updates {
		small = small && len(updates[i].Blocks) == 0
	}
	if !small {
		if err := s.notFull(s.reserve.fill()); err != nil {
			return err
		}
	}
	for least := s.length + record; s.filled < least; {
		n, err := s.file.WriteAt(make([]byte, least-s.filled), s.filled)
		s.filled += int64(n)
		if err = full(err); errors.Is(err, logstore.ErrFull) && small && s.reserve.give(least-s.filled) {
			continue
		}
		if err := s.notFull(err); err != nil {
			return err
		}
	}
	return nil
}

// notFull has the store fail for any error but want of room.
func (s *Store) notFull(err error) error {
	if err != nil && !errors.Is(err, logstore.ErrFull) {
		s.failed = err
	}
	return err
}

// full gives a disk's refusal the name of the contract.
func full(err error) error {
	if err != nil && vfs.IsFull(err) {
		return fmt.Errorf("%w: %w", logstore.ErrFull, err)
	}
	return err
}
