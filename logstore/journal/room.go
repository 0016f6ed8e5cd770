package journal

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/hashicorp/go-hclog"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/vfs"
)

// room keeps a part of the disk for when there is no more: the file RESERVE, which holds
// nothing but its length. On a full disk it is cut for terms, votes and compactions, and
// to open the store. A Write that brings blocks first makes it whole again, and is
// refused where that cannot be.
//
// The file is never synced. A crash may lose its end, which is then written again.
type room struct {
	log  hclog.Logger
	file vfs.File // nil where there is none
	size int64
	want int64
}

// reserveStep is how much of the reserve is given up at a time, at least.
const reserveStep = 64 << 10

// leftByWrites: a part of the reserve so large is for the next start only.
const leftByWrites = 4

var zeros = vfs.Aligned(1 << 20)

// open takes over the reserve that a process before this one has left.
func (r *room) open(d directory) error {
	f, err := d.fs.Append(d.file(reserveName))
	if errors.Is(err, fs.ErrNotExist) {
		f, err = d.fs.Create(d.file(reserveName))
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
	if r.file = f; r.size > r.want {
		r.cut(r.want)
	}
	return nil
}

func (r *room) close() error {
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
		r.log.Debug("the reserve cannot be cut", "error", err)
		return false
	}
	r.size = size
	return true
}

// take gives up n bytes, but leaves so many, and says whether that was anything.
func (r *room) take(n, least int64) bool {
	n = (n + reserveStep - 1) / reserveStep * reserveStep
	if r.file == nil || r.size <= least {
		return false
	}
	return r.cut(max(least, r.size-n))
}

// fill makes the reserve whole. It returns an error wrapping ErrFull where the disk has
// no room for it.
func (r *room) fill() error {
	for r.file != nil && r.size < r.want {
		n, err := r.file.WriteAt(zeros[:min(int64(len(zeros)), r.want-r.size)], r.size)
		r.size += int64(n)
		if err == nil {
			continue
		}
		if vfs.IsFull(err) {
			return fmt.Errorf("%w: %w", logstore.ErrFull, err)
		}
		// Nobody's data is at stake. Should the disk be to blame, the next sync says so.
		r.log.Warn("no room can be kept in reserve: a full disk will stop this node", "error", err)
		r.file.Close()
		r.file = nil
	}
	return nil
}

// spend is what a write may take of the reserve: nothing, but for the next start, or all.
type spend uint8

const (
	none spend = iota
	some
	all
)

func (s *Store) spare(what int64, may spend) bool {
	switch may {
	case some:
		return s.room.take(what, s.room.want/leftByWrites)
	case all:
		return s.room.take(what, 0)
	}
	return false
}

// makeRoom fills a file with zeros up to least, and ahead of that while there is room. A sync that changes neither the length of a file nor its
// blocks is a fast one; that of the frame covers the zeros. It returns an error wrapping ErrFull where the disk has no room; any other means that the
// store has failed.
func (s *Store) makeRoom(seg *segment, least int64, may spend) error {
	page := int64(s.opts.PageBytes)
	seg.filled = seg.filled / page * page // an earlier life may have been refused in the midst
	for seg.filled < least {
		end := max(least, min(least+int64(s.opts.AheadBytes), int64(s.opts.SegmentBytes))) / page * page
		n, err := seg.file.WriteAt(zeros[:min(end-seg.filled, int64(len(zeros))/page*page)], seg.filled)
		seg.filled = (seg.filled + int64(n)) / page * page // what is beyond is written again
		switch {
		case err == nil:
		case !vfs.IsFull(err):
			return s.fail(err)
		case seg.filled >= least: // it just fits
		case !s.spare(least-seg.filled, may):
			return fmt.Errorf("%w: %w", logstore.ErrFull, err)
		}
	}
	return nil
}

// freeSegment returns a file that is in no use and has room for so many bytes, making one
// where there is none. Its errors are those of makeRoom.
func (s *Store) freeSegment(least int64, may spend) (*segment, error) {
	var best *segment
	for _, seg := range s.free {
		if seg.pins.Load() == 0 && (best == nil || seg.filled > best.filled) {
			best = seg
		}
	}
	if best == nil {
		var err error
		if best, err = s.newSlot(may); err != nil {
			return nil, err
		}
		s.free = append(s.free, best)
	}
	return best, s.makeRoom(best, least, may)
}

// newSlot makes one more file. The mark names it before anything is in it.
func (s *Store) newSlot(may spend) (*segment, error) {
	for {
		seg, err := s.tryNewSlot()
		switch {
		case err == nil:
			return seg, nil
		case s.failure() != nil || !vfs.IsFull(err):
			return nil, s.fail(err)
		case !s.spare(reserveStep, may):
			return nil, fmt.Errorf("%w: %w", logstore.ErrFull, err)
		}
	}
}

func (s *Store) tryNewSlot() (*segment, error) {
	n := s.slots + 1
	f, err := s.dir.createFresh(slotName(n))
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	if err := s.dir.fs.SyncDir(s.dir.path); err != nil {
		return nil, s.fail(err)
	}
	if err := s.dir.prepareMark(n); err != nil {
		return nil, err
	}
	if err := s.dir.publishMark(); err != nil {
		return nil, s.fail(err)
	}
	file, err := s.dir.openSlot(n, s.opts.direct())
	if err != nil {
		return nil, s.fail(err)
	}
	s.slots = n
	return &segment{slot: n, file: file}, nil
}
