package vfs

import (
	"io"
	"io/fs"
	"syscall"
)

type memFile struct {
	m      *Mem
	n      *node
	name   string
	write  bool
	closed bool
	at     int // of the next Write
}

func (f *memFile) check(op string, write bool) error {
	switch {
	case f.closed:
		return &fs.PathError{Op: op, Path: f.name, Err: fs.ErrClosed}
	case write && !f.write:
		return &fs.PathError{Op: op, Path: f.name, Err: fs.ErrPermission}
	}
	return nil
}

// Write implements File.
func (f *memFile) Write(p []byte) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	n, err := f.writeAt(p, f.at)
	f.at += n
	return n, err
}

// WriteAt implements File.
func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if off < 0 {
		return 0, &fs.PathError{Op: "write", Path: f.name, Err: fs.ErrInvalid}
	}
	return f.writeAt(p, int(off))
}

func (f *memFile) writeAt(p []byte, off int) (int, error) {
	if err := f.check("write", true); err != nil {
		return 0, err
	}
	fault, err := f.m.before(OpWrite, f.name, len(p))
	if err != nil {
		if fault.Crash || fault.Err == nil {
			return 0, err
		}
		keep := min(max(fault.Keep, 0), len(p))
		if end := off + keep; end < len(f.n.data) {
			keep = max(keep-end%SectorBytes, 0)
		}
		p = p[:keep]
	}
	if fit := f.m.fits(f.n, off, len(p)); fit < len(p) {
		p, err = p[:fit], &fs.PathError{Op: "write", Path: f.name, Err: syscall.ENOSPC}
	}
	if len(p) > 0 {
		f.n.write(p, off)
	}
	return len(p), err
}

func (n *node) write(p []byte, off int) {
	from, end := min(off, len(n.data)), off+len(p)
	n.data = resize(n.data, max(end, len(n.data)))
	copy(n.data[off:], p)
	for s := from / SectorBytes; s*SectorBytes < end; s++ {
		n.dirty[s] = struct{}{}
	}
}

// ReadAt implements File.
func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.check("read", false); err != nil {
		return 0, err
	}
	if _, err := f.m.before(OpRead, f.name, len(p)); err != nil {
		return 0, err
	}
	if off < 0 || off >= int64(len(f.n.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.n.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Size implements File.
func (f *memFile) Size() (int64, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.check("stat", false); err != nil {
		return 0, err
	}
	if _, err := f.m.before(OpRead, f.name, 0); err != nil {
		return 0, err
	}
	return int64(len(f.n.data)), nil
}

// Truncate implements File.
func (f *memFile) Truncate(size int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.check("truncate", true); err != nil {
		return err
	}
	if _, err := f.m.before(OpTruncate, f.name, 0); err != nil {
		return err
	}
	if size < 0 || size > int64(len(f.n.data)) {
		return &fs.PathError{Op: "truncate", Path: f.name, Err: fs.ErrInvalid}
	}
	f.n.data = append([]byte(nil), f.n.data[:size]...)
	f.n.cut, f.at = true, int(size)
	return nil
}

// Sync implements File.
func (f *memFile) Sync() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.check("sync", true); err != nil {
		return err
	}
	fault, err := f.m.before(OpSync, f.name, 0)
	switch {
	case err == nil:
		f.n.sync()
	case fault.Err != nil && !fault.Crash && !fault.Undone:
		f.n.synced = f.n.survivor(f.m.rng)
		f.n.clean()
	}
	return err
}

func (n *node) sync() {
	size := len(n.data)
	n.synced = resize(n.synced, size)
	for s := range n.dirty {
		if from := s * SectorBytes; from < size {
			copy(n.synced[from:], n.data[from:min(from+SectorBytes, size)])
		}
	}
	n.clean()
}

func (n *node) clean() {
	clear(n.dirty)
	n.cut = false
}

// resize cuts b or extends it with zeros.
func resize(b []byte, size int) []byte {
	if size <= len(b) {
		return b[:size]
	}
	return append(b, make([]byte, size-len(b))...)
}

// Close implements File. It syncs nothing.
func (f *memFile) Close() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.closed {
		return &fs.PathError{Op: "close", Path: f.name, Err: fs.ErrClosed}
	}
	f.closed = true
	return nil
}
