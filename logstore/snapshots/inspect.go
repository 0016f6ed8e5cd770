package snapshots

import (
	"errors"
	"io"

	"github.com/protoraft/protoraft/logstore/vfs"
)

// Part is a section and how many bytes it has.
type Part struct {
	Name  string
	Bytes int64
}

// OpenAt opens a snapshot that begins within a file, at an offset, and ends where the file
// does. It takes the file over, also when it fails. where names it in errors, which count
// bytes from the offset.
func OpenAt(f vfs.File, where string, offset int64) (*Reader, error) {
	r := &Reader{f: within{f, offset}, where: where}
	if err := r.readEnds(); err != nil {
		f.Close()
		return nil, err
	}
	return r, nil
}

// within is the end of a file.
type within struct {
	vfs.File
	offset int64
}

func (w within) ReadAt(p []byte, off int64) (int, error) { return w.File.ReadAt(p, off+w.offset) }

func (w within) Size() (int64, error) {
	size, err := w.File.Size()
	return max(0, size-w.offset), err
}

// Parts lists the sections with their sizes, in order. It reads the whole file and checks
// everything.
func (r *Reader) Parts() ([]Part, error) {
	names, err := r.check()
	if err != nil {
		return nil, err
	}
	parts := make([]Part, 0, len(names))
	for _, name := range names {
		section, found, err := r.Section(name)
		if err != nil {
			return nil, err
		}
		if !found {
			return nil, corrupt(r.where, r.name, name, 0, errLost)
		}
		n, err := io.Copy(io.Discard, section)
		if err != nil {
			return nil, err
		}
		parts = append(parts, Part{name, n})
	}
	return parts, nil
}

// Copy writes every section of r to w, in order, each checked as it is read.
func (w *Writer) Copy(r *Reader) error {
	names, err := r.check()
	for _, name := range names {
		var from io.Reader
		var found bool
		if from, found, err = r.Section(name); err == nil && !found {
			err = corrupt(r.where, r.name, name, 0, errLost)
		}
		var to io.Writer
		if err == nil {
			to, err = w.Section(name)
		}
		if err == nil {
			_, err = io.Copy(to, from)
		}
		if err != nil {
			return err
		}
	}
	return err
}

// errLost: the file has changed since it was checked.
var errLost = errors.New("the section is there no more")
