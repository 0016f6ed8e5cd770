package snapshots

import (
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/vfs"
	"github.com/protoraft/protoraft/messages"
)

// Writer writes one snapshot. It must end with Commit or Abort. The first error, of
// the disk or of the caller, removes what was written, and every later call returns it.
type Writer struct {
	s    *Store
	meta *messages.SnapshotMeta
	temp string
	f    vfs.File
	seed uint32
	sum  wholeSum

	offset   int64 // of the frame
	unsynced unsynced
	frame    []byte // room for its head, then its payload so far
	sections []string
	ended    error // why nothing can be written any more
}

var (
	errCommitted = fmt.Errorf("%w: snapshots: already committed", logstore.ErrInvalid)
	errAborted   = fmt.Errorf("%w: snapshots: aborted", logstore.ErrInvalid)
)

// Create begins a snapshot of meta, whose index must not be 0. Nothing of it can be
// seen before Commit. One of the same incarnation and index that is there is replaced
// then. meta must not be changed any more.
func (s *Store) Create(meta *messages.SnapshotMeta) (*Writer, error) {
	if meta.GetIndex() == 0 {
		return nil, fmt.Errorf("%w: snapshots: of group %d at index 0, expected one above", logstore.ErrInvalid, meta.GetGroup())
	}
	header, err := encodeHeader(meta)
	if err != nil {
		return nil, err
	}
	if err := s.fs.MkdirAll(s.groupDir(meta.Group)); err != nil {
		return nil, fmt.Errorf("snapshots: make %s: %w", s.groupDir(meta.Group), err)
	}
	if err := s.sweep(meta.Group); err != nil {
		return nil, err
	}
	w := &Writer{s: s, meta: meta, sum: newWholeSum(), frame: make([]byte, frameHeadBytes, FrameBytesMax)}
	_, w.seed, err = decodeHeader(header)
	if err != nil {
		return nil, err
	}
	w.temp = s.reserve(nameOf(meta))
	if w.f, err = s.fs.Create(w.temp); err != nil {
		s.release(w.temp)
		return nil, fmt.Errorf("snapshots: %w", err)
	}
	if err := w.write(header); err != nil {
		return nil, w.fail(err)
	}
	return w, nil
}

// reserve takes a name no other writer has.
func (s *Store) reserve(n fileName) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := 1; ; i++ {
		name := path.Join(s.groupDir(n.group), fmt.Sprintf("%016x-%016x-%d%s", n.incarnation, n.index, i, unfinishedExt))
		if !s.unfinished[name] {
			s.unfinished[name] = true
			return name
		}
	}
}

func (s *Store) release(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.unfinished, name)
}

// Section ends the section before and begins the next one. Names are not empty, of
// at most SectionNameBytesMax bytes, and there is one of each. What is returned writes
// to this section until the next one begins.
func (w *Writer) Section(name string) (io.Writer, error) {
	if w.ended != nil {
		return nil, w.ended
	}
	if err := checkSectionName(w.sections, name); err != nil {
		return nil, w.fail(fmt.Errorf("%w: %w", logstore.ErrInvalid, err))
	}
	if err := w.flush(); err != nil {
		return nil, err
	}
	w.sections = append(w.sections, name)
	w.frame = append(w.frame, name...)
	if err := w.seal(sectionFrame); err != nil {
		return nil, err
	}
	return &sectionWriter{w: w, number: len(w.sections)}, nil
}

type sectionWriter struct {
	w      *Writer
	number int
}

// Write implements io.Writer. p is copied.
func (s *sectionWriter) Write(p []byte) (int, error) {
	w := s.w
	if w.ended != nil {
		return 0, w.ended
	}
	if s.number != len(w.sections) {
		return 0, w.fail(fmt.Errorf("%w: write to section %q, which ended when %q began",
			logstore.ErrInvalid, w.sections[s.number-1], w.sections[len(w.sections)-1]))
	}
	total := len(p)
	for len(p) > 0 {
		n := min(frameHeadBytes+payloadBytesMax-len(w.frame), len(p))
		w.frame, p = append(w.frame, p[:n]...), p[n:]
		if len(w.frame) == frameHeadBytes+payloadBytesMax {
			if err := w.flush(); err != nil {
				return 0, err
			}
		}
	}
	return total, nil
}

// flush writes the bytes of a section that wait.
func (w *Writer) flush() error {
	if len(w.frame) == frameHeadBytes {
		return nil
	}
	return w.seal(dataFrame)
}

func (w *Writer) seal(kind byte) error {
	err := w.write(sealFrame(w.seed, w.offset, kind, w.frame))
	w.frame = w.frame[:frameHeadBytes]
	if err != nil {
		return w.fail(err)
	}
	return nil
}

func (w *Writer) write(b []byte) error {
	if n, err := w.f.Write(b); err != nil {
		return err
	} else if n != len(b) {
		return fmt.Errorf("wrote %d bytes of %d: %w", n, len(b), io.ErrShortWrite)
	}
	w.sum.Write(b)
	w.offset += int64(len(b))
	return w.unsynced.wrote(w.f, len(b))
}

// unsynced counts the bytes of a file that no sync has covered yet.
type unsynced int64

// syncEveryBytes bounds what one sync has to write, and so how long a sync of the log,
// which often is on the same disk, may have to wait for it.
const syncEveryBytes = 1 << 20

// wrote syncs the file when enough has gathered.
func (u *unsynced) wrote(f vfs.File, n int) error {
	if *u += unsynced(n); *u < syncEveryBytes {
		return nil
	}
	*u = 0
	return f.Sync()
}

// fail ends the writer and removes what it wrote. What cannot be removed now is
// removed by the next Create of the group, or the next Open.
func (w *Writer) fail(err error) error {
	w.discard()
	w.ended = fmt.Errorf("snapshots: write %s: %w", w.s.path(nameOf(w.meta)), err)
	return w.ended
}

func (w *Writer) discard() {
	w.f.Close()
	w.s.fs.Remove(w.temp)
	w.s.release(w.temp)
}

// Abort ends the writing; nothing is left of it. After Commit, or an error, it does
// nothing.
func (w *Writer) Abort() {
	if w.ended == nil {
		w.discard()
		w.ended = errAborted
	}
}

// Commit ends the snapshot. When it returns nil, the snapshot is whole, durable and
// the one that Open finds. When it returns an error, nothing is visible but what was
// before, with one exception: where the sync of the directory failed, a restart may
// find the snapshot, whole.
func (w *Writer) Commit() (Info, error) {
	if w.ended != nil {
		return Info{}, w.ended
	}
	if err := w.flush(); err != nil {
		return Info{}, err
	}
	info := Info{Meta: w.meta, Size: w.offset + endBytes, Checksum: w.sum.value()}
	w.frame = endPayload(w.frame, info.Size, info.Checksum)
	if err := w.seal(endFrame); err != nil {
		return Info{}, err
	}
	if err := w.s.publish(w.f, w.temp, nameOf(w.meta)); err != nil {
		return Info{}, w.fail(err)
	}
	w.s.release(w.temp)
	w.ended = errCommitted
	return info, nil
}

// publish makes a whole file durable and gives it its name. It closes the file.
func (s *Store) publish(f vfs.File, temp string, name fileName) error {
	err := f.Sync()
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	replaced, err := s.exists(name)
	if err != nil {
		return err
	}
	if err := s.fs.Rename(temp, s.path(name)); err != nil {
		return err
	}
	err = s.fs.SyncDir(s.groupDir(name.group))
	if err != nil && !replaced {
		// What stood there before, at the same index, may be all there is after a
		// restart; a name that is new is taken back.
		err = errors.Join(err, s.remove(s.path(name)))
	}
	return err
}

func (s *Store) exists(name fileName) (bool, error) {
	names, err := s.finished(name.group)
	for _, n := range names {
		if n == name {
			return true, nil
		}
	}
	return false, err
}
