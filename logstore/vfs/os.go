package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
)

// OS is the real file system. On Linux, Sync is fdatasync.
type OS struct{}

// ErrLocked: another process, or another part of this one, holds the lock.
var ErrLocked = errors.New("vfs: locked")

type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

func (f osFile) Truncate(size int64) error {
	if err := f.File.Truncate(size); err != nil {
		return err
	}
	_, err := f.Seek(size, io.SeekStart)
	return err
}

func (f osFile) Sync() error {
	if err := syncData(f.File); err != nil {
		return &fs.PathError{Op: "sync", Path: f.Name(), Err: err}
	}
	return nil
}

func open(name string, flag int) (File, error) {
	f, err := os.OpenFile(name, flag, 0o640)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// Create implements FS.
func (OS) Create(name string) (File, error) { return open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL) }

// Open implements FS.
func (OS) Open(name string) (File, error) { return open(name, os.O_RDONLY) }

// Append implements FS.
func (OS) Append(name string) (File, error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		f.Close()
		return nil, err
	}
	return osFile{f}, nil
}

// Rename implements FS.
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// Remove implements FS.
func (OS) Remove(name string) error { return os.Remove(name) }

// List implements FS.
func (OS) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

// MkdirAll implements FS.
func (o OS) MkdirAll(dir string) error {
	dir = filepath.Clean(dir)
	parent := filepath.Dir(dir)
	if parent == dir {
		return nil
	}
	if err := o.MkdirAll(parent); err != nil {
		return err
	}
	err := os.Mkdir(dir, 0o750)
	made := err == nil
	if errors.Is(err, fs.ErrExist) {
		st, serr := os.Stat(dir)
		if err = serr; err == nil && !st.IsDir() {
			err = fmt.Errorf("vfs: %s is a file, expected a directory", dir)
		}
	}
	if err != nil {
		return err
	}
	// One that exists may have been made by a process that died before its sync.
	// What others made and we may not open is none of ours.
	if err := o.SyncDir(parent); err != nil && (made || !errors.Is(err, fs.ErrPermission)) {
		return err
	}
	return nil
}

// SyncDir implements FS.
func (OS) SyncDir(dir string) error {
	if err := syncDir(dir); err != nil {
		return &fs.PathError{Op: "sync", Path: dir, Err: err}
	}
	return nil
}

// Lock implements FS. The lock is advisory and goes with the process.
func (OS) Lock(name string) (io.Closer, error) {
	l := flock.New(name)
	held, err := l.TryLock()
	if err != nil {
		return nil, fmt.Errorf("vfs: lock %s: %w", name, err)
	}
	if !held {
		return nil, fmt.Errorf("%w: %s is held by another process", ErrLocked, name)
	}
	return l, nil
}
