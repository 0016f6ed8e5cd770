// Package simlog is a logstore.Store that does all its work in the caller's turn:
// no goroutines, no chance, no clock. A simulation can therefore run it from a
// seed. It keeps everything in memory beside the disk and rewrites the whole log
// at every start, so it is of no use for anything else.
//
// A directory holds MARK, which says that there is a store, and one file log-N. A
// write is one record, made of whole sectors that each carry a checksum: a sector
// is then written or zero or missing, and anything else is damage. The first record
// of a file is the state that the file before it had come to.
//
// A record is written over zeros that were written before it: where the disk has no room
// for those, nothing has happened. The file RESERVE holds nothing; it is cut for records
// without blocks, so that terms and votes are taken on a full disk.
package simlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/memory"
	"github.com/protoraft/protoraft/logstore/vfs"
	"github.com/protoraft/protoraft/messages"
)

const (
	mark      = "MARK"
	logPrefix = "log-"
	newSuffix = ".new"
)

// Store is a logstore.Store on a vfs.FS.
type Store struct {
	mu      sync.Mutex
	state   *memory.Store // as on disk, and after a failed write as it may be
	file    vfs.File
	length  int64 // of the records
	filled  int64 // of the file, with the zeros behind them
	reserve reserve
	lock    io.Closer
	records uint64
	failed  error
	closed  bool
}

var _ logstore.Store = (*Store)(nil)

// Open opens the store in dir, making it where there is none. What an earlier
// process wrote and could not sync is either kept for good or gone for good.
func Open(disk vfs.FS, dir string) (_ *Store, err error) {
	if err := disk.MkdirAll(dir); err != nil {
		return nil, err
	}
	s := &Store{state: memory.New()}
	if s.lock, err = disk.Lock(path.Join(dir, "LOCK")); err != nil {
		return nil, err
	}
	if err := s.start(directory{disk, dir}); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Store) start(d directory) error {
	marked, newest, err := d.look()
	if err != nil {
		return err
	}
	if newest > 0 {
		err = d.recover(s, newest, marked)
	} else if marked {
		err = d.corrupt(mark, "there is no log beside it")
	}
	if err != nil {
		return err
	}
	// After a failed sync the cache may show what the disk does not have: nothing
	// that was read is trusted to be there until it was written again.
	if s.file, err = d.begin(s.state, newest+1); err != nil {
		return err
	}
	s.records = 1
	if s.length, err = s.file.Size(); err != nil {
		return err
	}
	s.filled = s.length
	if s.reserve, err = d.openReserve(); err != nil {
		return err
	}
	if err := d.mark(); err != nil {
		return err
	}
	return d.removeOthers(newest + 1)
}

type directory struct {
	disk vfs.FS
	dir  string
}

func (d directory) name(n int) string { return path.Join(d.dir, logPrefix+strconv.Itoa(n)) }

func (d directory) corrupt(where, reason string) error {
	return &logstore.CorruptError{Where: path.Join(d.dir, where), Reason: reason}
}

// look finds the newest log and whether the store is marked as made. A mark that
// was being written is none; Open makes sure that it is missed where it belongs.
func (d directory) look() (marked bool, newest int, err error) {
	names, err := d.disk.List(d.dir)
	if err != nil {
		return false, 0, err
	}
	for _, name := range names {
		if number, ok := strings.CutPrefix(name, logPrefix); ok && !strings.HasSuffix(name, newSuffix) {
			n, err := strconv.Atoi(number)
			if err != nil {
				return false, 0, d.corrupt(name, "not the name of a log")
			}
			newest = max(newest, n)
		}
	}
	if !slices.Contains(names, mark) {
		return false, newest, nil
	}
	data, err := readAll(d.disk, path.Join(d.dir, mark))
	if err != nil {
		return false, 0, err
	}
	records, err := split(data)
	if err != nil {
		return false, 0, d.corrupt(mark, err.Error())
	}
	return len(records) == 1, newest, nil
}

// recover reads a log into s. Only a store that never took a write may be unmarked.
func (d directory) recover(s *Store, n int, marked bool) error {
	data, err := readAll(d.disk, d.name(n))
	if err != nil {
		return err
	}
	records, err := split(data)
	if err != nil {
		return d.corrupt(d.name(n), err.Error())
	}
	if len(records) == 0 {
		return d.corrupt(d.name(n), "its first record is missing")
	}
	for i, payload := range records {
		updates, err := decode(payload)
		if err == nil {
			err = s.state.Write(updates)
		}
		if err != nil {
			return d.corrupt(d.name(n), fmt.Sprintf("record %d: %v", i+1, err))
		}
		if !marked && len(updates) > 0 {
			return d.corrupt(mark, "missing, though the store was in use")
		}
	}
	return nil
}

// begin writes log n, holding state, and makes it the newest one.
func (d directory) begin(state *memory.Store, n int) (vfs.File, error) {
	updates, err := dump(state)
	if err != nil {
		return nil, err
	}
	return d.publish(d.name(n), encode(updates))
}

// mark says that there is a store here. It is written again at every start, like
// the log: the one that was read may be in the cache only.
func (d directory) mark() error {
	f, err := d.publish(path.Join(d.dir, mark), []byte("simlog 1"))
	if err != nil {
		return err
	}
	return f.Close()
}

// publish makes a file of one record, durable before it has its name.
func (d directory) publish(name string, payload []byte) (vfs.File, error) {
	unfinished := name + newSuffix
	if err := d.disk.Remove(unfinished); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	f, err := d.disk.Create(unfinished)
	if err != nil {
		return nil, err
	}
	if _, err = f.Write(sectors(1, payload)); err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = d.disk.Rename(unfinished, name)
	}
	if err == nil {
		err = d.disk.SyncDir(d.dir)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (d directory) removeOthers(n int) error {
	names, err := d.disk.List(d.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, logPrefix) && path.Join(d.dir, name) != d.name(n) {
			if err := d.disk.Remove(path.Join(d.dir, name)); err != nil {
				return err
			}
		}
	}
	return d.disk.SyncDir(d.dir)
}

func readAll(disk vfs.FS, name string) ([]byte, error) {
	f, err := disk.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil || size == 0 {
		return nil, err
	}
	data := make([]byte, size)
	if n, err := f.ReadAt(data, 0); n < len(data) {
		return nil, err
	}
	return data, nil
}

// Write implements logstore.Store.
func (s *Store) Write(updates []logstore.Update) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return fmt.Errorf("simlog: write: %w", fs.ErrClosed)
	case s.failed != nil:
		return fmt.Errorf("%w: %w", logstore.ErrFailed, s.failed)
	}
	record := sectors(s.records+1, encode(updates))
	if err := s.makeRoom(int64(len(record)), updates); err != nil {
		return err
	}
	if err := s.state.Write(updates); err != nil {
		return err
	}
	_, err := s.file.Write(record)
	if err == nil {
		err = s.file.Sync()
	}
	if err != nil {
		s.failed = err
		return err
	}
	s.records++
	s.length += int64(len(record))
	return nil
}

// Groups implements logstore.Store.
func (s *Store) Groups() ([]uint64, error) {
	state, err := s.open("groups")
	if err != nil {
		return nil, err
	}
	return state.Groups()
}

// Load implements logstore.Store.
func (s *Store) Load(group uint64) (logstore.GroupState, error) {
	state, err := s.open("load")
	if err != nil {
		return logstore.GroupState{}, err
	}
	return state.Load(group)
}

// Salvage implements logstore.Store.
func (s *Store) Salvage(group uint64) (logstore.GroupState, *logstore.CorruptError, error) {
	state, err := s.open("salvage")
	if err != nil {
		return logstore.GroupState{}, nil, err
	}
	return state.Salvage(group)
}

// Rot makes a group's entries from index on unreadable for this process; see
// memory.Store. The next one finds them whole.
func (s *Store) Rot(group, index uint64) bool { return s.state.Rot(group, index) }

// Read implements logstore.Store.
func (s *Store) Read(group, first, last uint64, maxBytes int) ([]messages.Block, error) {
	state, err := s.open("read")
	if err != nil {
		return nil, err
	}
	return state.Read(group, first, last, maxBytes)
}

func (s *Store) open(what string) (*memory.Store, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("simlog: %s: %w", what, fs.ErrClosed)
	}
	return s.state, nil
}

// Close implements logstore.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	err := s.lock.Close()
	for _, f := range []vfs.File{s.file, s.reserve.file} {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	return err
}
