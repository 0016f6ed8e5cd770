package level

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
	"github.com/syndtr/goleveldb/leveldb/storage"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/vfs"
)

const (
	currentName = "CURRENT"
	lockName    = "LOCK"
	currentTemp = "CURRENT.tmp"
)

// fileStorage is goleveldb's view of a directory. It differs from the stock one in
// what a crash and a failing disk may do: every new name is synced before it is
// used, CURRENT has a checksum, and after the first failed change nothing is changed
// any more.
type fileStorage struct {
	fs     vfs.FS
	dir    string
	log    hclog.Logger
	lock   io.Closer
	ahead  int64 // bytes of zeros to keep ahead in journals
	room   room
	failed atomic.Pointer[failure]

	// Where a store is only looked at: what would be cut off, by name.
	cuts map[string]int64
	// Of the goroutine that writes journals.
	journal *writer // the newest
	batch   batchRoom
}

type failure struct{ err error }

// openStorage makes the directory where there is none, and locks it.
func openStorage(f vfs.FS, dir string, log hclog.Logger) (*fileStorage, error) {
	if err := f.MkdirAll(dir); err != nil {
		return nil, err
	}
	s := &fileStorage{fs: f, dir: dir, log: log}
	lock, err := f.Lock(s.path(lockName))
	if err != nil {
		return nil, err
	}
	s.lock = lock
	// A process before this one may have died between a name and its sync.
	if err := f.SyncDir(dir); err != nil {
		lock.Close()
		return nil, err
	}
	return s, nil
}

func (s *fileStorage) path(name string) string { return path.Join(s.dir, name) }

func (s *fileStorage) file(fd storage.FileDesc) string { return s.path(fd.String()) }

// fail makes err stick: what the disk holds is unknown from here on.
func (s *fileStorage) fail(err error) error {
	if s.failed.CompareAndSwap(nil, &failure{err}) {
		s.log.Error("storage failed, nothing is written any more", "dir", s.dir, "error", err)
	}
	return s.failure()
}

// failure is nil, or the first error wrapped in ErrFailed.
func (s *fileStorage) failure() error {
	if f := s.failed.Load(); f != nil {
		return fmt.Errorf("%w: %w", logstore.ErrFailed, f.err)
	}
	return nil
}

// Lock implements storage.Storage. The directory has been locked since openStorage.
func (s *fileStorage) Lock() (storage.Locker, error) { return unlocked{}, nil }

type unlocked struct{}

func (unlocked) Unlock() {}

// Log implements storage.Storage.
func (s *fileStorage) Log(line string) { s.log.Trace(line) }

// SetMeta implements storage.Storage: it points CURRENT at a manifest.
func (s *fileStorage) SetMeta(fd storage.FileDesc) error {
	if err := s.failure(); err != nil {
		return err
	}
	if err := s.setCurrent(encodeCurrent(fd)); err != nil {
		return s.fail(err)
	}
	return nil
}

func (s *fileStorage) setCurrent(line []byte) error {
	f, err := s.createFresh(currentTemp)
	if err != nil {
		return err
	}
	_, err = s.writeAll(f, line, storage.TypeManifest)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = s.fs.Rename(s.path(currentTemp), s.path(currentName))
	}
	if err == nil {
		err = s.fs.SyncDir(s.dir)
	}
	return err
}

// createFresh creates a file in place of one that stood there, never over its bytes.
func (s *fileStorage) createFresh(name string) (vfs.File, error) {
	f, err := s.fs.Create(s.path(name))
	if errors.Is(err, fs.ErrExist) {
		if err := s.fs.Remove(s.path(name)); err != nil {
			return nil, err
		}
		f, err = s.fs.Create(s.path(name))
	}
	if vfs.IsFull(err) && s.room.take(reserveStep, storage.TypeManifest) { // a name takes little
		f, err = s.fs.Create(s.path(name))
	}
	return f, err
}

func encodeCurrent(fd storage.FileDesc) []byte {
	name := fd.String()
	return fmt.Appendf(nil, "%s %08x\n", name, crc32.Checksum([]byte(name), castagnoli))
}

// GetMeta implements storage.Storage.
func (s *fileStorage) GetMeta() (storage.FileDesc, error) {
	var none storage.FileDesc
	line, err := s.read(currentName)
	if err != nil {
		return none, err
	}
	name, _, _ := strings.Cut(string(line), " ")
	fd, ok := parseName(name)
	if !ok || fd.Type != storage.TypeManifest || string(encodeCurrent(fd)) != string(line) {
		return none, &logstore.CorruptError{Where: s.path(currentName),
			Reason: fmt.Sprintf("%.60q, expected the name of a manifest and its checksum", line)}
	}
	return fd, nil
}

// read returns a whole file.
func (s *fileStorage) read(name string) ([]byte, error) {
	f, err := s.fs.Open(s.path(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, size), data); err != nil {
		return nil, fmt.Errorf("level: read %s, %d bytes: %w", s.path(name), size, err)
	}
	return data, nil
}

// parseName is the inverse of FileDesc.String.
func parseName(name string) (storage.FileDesc, bool) {
	fd := storage.FileDesc{Type: storage.TypeManifest}
	number, ok := strings.CutPrefix(name, "MANIFEST-")
	if !ok {
		var ext string
		if number, ext, ok = strings.Cut(name, "."); !ok {
			return fd, false
		}
		switch ext {
		case "log":
			fd.Type = storage.TypeJournal
		case "ldb":
			fd.Type = storage.TypeTable
		case "tmp":
			fd.Type = storage.TypeTemp
		default:
			return fd, false
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	fd.Num = n
	return fd, err == nil && fd.String() == name
}

// List implements storage.Storage. Files of other names are not ours.
func (s *fileStorage) List(types storage.FileType) ([]storage.FileDesc, error) {
	names, err := s.fs.List(s.dir)
	if err != nil {
		return nil, err
	}
	var fds []storage.FileDesc
	for _, name := range names {
		if fd, ok := parseName(name); ok && fd.Type&types != 0 {
			fds = append(fds, fd)
		}
	}
	return fds, nil
}

// Open implements storage.Storage.
func (s *fileStorage) Open(fd storage.FileDesc) (storage.Reader, error) {
	f, err := s.fs.Open(s.file(fd))
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err != nil {
		f.Close()
		return nil, err
	}
	if cut, ok := s.cuts[fd.String()]; ok {
		size = min(size, cut)
	}
	return &reader{SectionReader: io.NewSectionReader(f, 0, size), f: f}, nil
}

type reader struct {
	*io.SectionReader
	f vfs.File
}

func (r *reader) Close() error { return r.f.Close() }

// Create implements storage.Storage. The name is durable when it returns. A journal has
// room for the batch that it is made for.
func (s *fileStorage) Create(fd storage.FileDesc) (storage.Writer, error) {
	if err := s.failure(); err != nil {
		return nil, err
	}
	f, err := s.createFresh(fd.String())
	if err != nil {
		return nil, s.failUnlessFull(fd.Type, err)
	}
	if err := s.fs.SyncDir(s.dir); err != nil {
		f.Close()
		return nil, s.fail(err)
	}
	w := &writer{s: s, f: f, fd: fd}
	if fd.Type != storage.TypeJournal {
		return w, nil
	}
	w.ahead = s.ahead
	if need := s.batch; need.bytes > 0 && !need.written {
		// The journal before this one goes when its table is written: what this one takes
		// from the reserve is soon given back, whatever the batch.
		need.small = true
		if err := w.makeRoom(need); err != nil {
			f.Close()
			return nil, errors.Join(err, s.fs.Remove(s.file(fd)))
		}
	}
	s.journal = w
	return w, nil
}

// failUnlessFull fails the store, except for want of room for a table or a whole
// journal: nothing refers to it yet, and the engine begins it anew.
func (s *fileStorage) failUnlessFull(of storage.FileType, err error) error {
	if vfs.IsFull(err) && (of == storage.TypeTable || of == storage.TypeJournal) {
		return err
	}
	return s.fail(err)
}

// Remove implements storage.Storage. The name may be back after a crash; a file
// that nothing refers to is removed again then.
func (s *fileStorage) Remove(fd storage.FileDesc) error {
	if err := s.failure(); err != nil {
		return err
	}
	if err := s.fs.Remove(s.file(fd)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return os.ErrNotExist
		}
		return s.failUnlessFull(fd.Type, err)
	}
	if err := s.room.fill(); err != nil {
		s.log.Debug("the reserve is not whole", "removed", s.file(fd), "error", err)
	}
	return nil
}

// Rename implements storage.Storage. The new name is durable when it returns.
func (s *fileStorage) Rename(from, to storage.FileDesc) error {
	if err := s.failure(); err != nil {
		return err
	}
	err := s.fs.Rename(s.file(from), s.file(to))
	if err == nil {
		err = s.fs.SyncDir(s.dir)
	}
	if err != nil {
		return s.fail(err)
	}
	return nil
}

// Close implements storage.Storage.
func (s *fileStorage) Close() error { return errors.Join(s.room.close(), s.lock.Close()) }
