package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// AppendDirect implements Direct.
func (OS) AppendDirect(name string) (File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|unix.O_DIRECT, 0)
	if errors.Is(err, unix.EINVAL) {
		return nil, fmt.Errorf("vfs: %s: direct writes: %w", name, errors.ErrUnsupported)
	}
	if err != nil {
		return nil, err
	}
	if !takesDirect(f) {
		f.Close()
		return nil, fmt.Errorf("vfs: %s: direct writes of %d bytes: %w", name, DirectBytes, errors.ErrUnsupported)
	}
	return directFile{osFile{f}, syncsWithWrite(f)}, nil
}

// takesDirect asks what a file's direct writes must be multiples of. Kernels before 6.1
// do not say: then what can be opened for them is taken at its word.
func takesDirect(f *os.File) bool {
	var st unix.Statx_t
	err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_DIOALIGN, &st)
	if err != nil || st.Mask&unix.STATX_DIOALIGN == 0 {
		return true
	}
	fits := func(n uint32) bool { return n > 0 && DirectBytes%n == 0 }
	return fits(st.Dio_mem_align) && fits(st.Dio_offset_align)
}

// syncsWithWrite says whether a file is of a file system that is known to heed RWF_DSYNC in
// direct writes. Others may take it and do nothing, as FUSE and 9p do, whose servers are
// told by a sync only.
func syncsWithWrite(f *os.File) bool {
	var st unix.Statfs_t
	if unix.Fstatfs(int(f.Fd()), &st) != nil {
		return false
	}
	switch uint32(st.Type) {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC:
		return true
	}
	return false
}

// directFile is a file opened with O_DIRECT. Of a buffer that is not where such I/O wants
// it, a copy is used.
type directFile struct {
	osFile
	oneCall bool // a write can be told to sync
}

func (f directFile) Write([]byte) (int, error) {
	return 0, &fs.PathError{Op: "write", Path: f.Name(), Err: errors.ErrUnsupported}
}

func (f directFile) WriteAt(p []byte, off int64) (int, error) {
	p, err := f.fit(p, off)
	if err != nil {
		return 0, err
	}
	return f.osFile.WriteAt(p, off)
}

// fit is p where direct I/O wants it.
func (f directFile) fit(p []byte, off int64) ([]byte, error) {
	if off%DirectBytes != 0 || len(p)%DirectBytes != 0 {
		return nil, &fs.PathError{Op: "write", Path: f.Name(), Err: fmt.Errorf("%d bytes at %d, expected multiples of %d", len(p), off, DirectBytes)}
	}
	if len(p) == 0 || aligned(p) {
		return p, nil
	}
	b := Aligned(len(p))
	copy(b, p)
	return b, nil
}

// writeSynced has the kernel sync with the write, where it is known to. Where no block or
// length of the file has changed since the last sync, the disk writes through, which
// spares it flushing all of its cache.
func (f directFile) writeSynced(p []byte, off int64) error {
	p, err := f.fit(p, off)
	if err != nil {
		return err
	}
	if f.oneCall {
		if err := f.writeInOne(p, off); !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOSYS) {
			return err
		}
		// A kernel before 4.7, which has written nothing.
	}
	if _, err := f.osFile.WriteAt(p, off); err != nil {
		return err
	}
	return f.Sync()
}

func (f directFile) writeInOne(p []byte, off int64) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var werr error
	err = raw.Control(func(fd uintptr) { werr = writeAllSynced(int(fd), p, off) })
	if err == nil {
		err = werr
	}
	if err != nil {
		return &fs.PathError{Op: "write", Path: f.Name(), Err: err}
	}
	return nil
}

func writeAllSynced(fd int, p []byte, off int64) error {
	for len(p) > 0 {
		n, err := unix.Pwritev2(fd, [][]byte{p}, off, unix.RWF_DSYNC)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return err
		case n <= 0:
			return io.ErrShortWrite
		default:
			p, off = p[n:], off+int64(n)
		}
	}
	return nil
}

// ReadAt reads the pages around what is asked for.
func (f directFile) ReadAt(p []byte, off int64) (int, error) {
	from, end := off&^(DirectBytes-1), (off+int64(len(p))+DirectBytes-1)&^(DirectBytes-1)
	if from == off && end == off+int64(len(p)) && aligned(p) {
		return f.osFile.ReadAt(p, off)
	}
	b := Aligned(int(end - from))
	n, err := f.osFile.ReadAt(b, from)
	n = min(max(n-int(off-from), 0), len(p))
	copy(p, b[off-from:][:n])
	switch {
	case n == len(p):
		return n, nil
	case err == nil:
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
