package snapshots

import (
	"errors"
	"fmt"
	"io"
	"path"

	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/vfs"
	"github.com/protoraft/protoraft/messages"
)

// Reader reads one snapshot. It holds the file open until Close: the snapshot can be
// read to its end when it is removed or replaced meanwhile.
type Reader struct {
	f      vfs.File
	where  string
	name   fileName
	named  bool // the file's name says what it must be of
	info   Info
	seed   uint32
	frames int64 // where they begin
}

// Open opens the snapshot of a group at an index. It checks the head and the end of
// the file. Errors wrap fs.ErrNotExist where there is none, ErrCorrupt where it is
// damaged, and ErrNewerFormat where a later version wrote it.
func (s *Store) Open(group, index uint64) (*Reader, error) {
	name, err := s.find(group, index)
	if err != nil {
		return nil, err
	}
	return s.open(name)
}

func (s *Store) open(name fileName) (*Reader, error) { return openFile(s.fs, s.path(name), name, true) }

// OpenFile opens a file of a snapshot wherever it is, as Store.Open does.
func OpenFile(f vfs.FS, name string) (*Reader, error) {
	return openFile(f, path.Clean(name), fileName{}, false)
}

func openFile(fs vfs.FS, where string, name fileName, named bool) (*Reader, error) {
	f, err := fs.Open(where)
	if err != nil {
		return nil, fmt.Errorf("snapshots: %w", err)
	}
	r := &Reader{f: f, where: where, name: name, named: named}
	if err := r.readEnds(); err != nil {
		f.Close()
		return nil, err
	}
	return r, nil
}

// readEnds reads the head and the end.
func (r *Reader) readEnds() error {
	size, err := r.f.Size()
	if err != nil {
		return fmt.Errorf("snapshots: size of %s: %w", r.where, err)
	}
	r.info.Size = size
	head, err := r.readHeader()
	if err != nil {
		return err
	}
	r.frames = int64(len(head))
	meta, seed, err := decodeHeader(head)
	if err == nil {
		err = r.belongs(meta)
	}
	if err != nil {
		return corrupt(r.where, r.name, "", 0, err)
	}
	r.info.Meta, r.seed, r.name = meta, seed, nameOf(meta)
	end := make([]byte, endBytes)
	at := size - endBytes
	if at < r.frames {
		return corrupt(r.where, r.name, "", r.frames, fmt.Errorf("%d bytes, expected at least %d", size, r.frames+endBytes))
	}
	if err := r.readFull(end, at); err != nil {
		return err
	}
	kind, payload, err := openFrame(seed, at, end)
	if err == nil && kind != endFrame {
		err = fmt.Errorf("frame of kind %d, expected %d", kind, endFrame)
	}
	if err != nil {
		return corrupt(r.where, r.name, "", at, err)
	}
	said, checksum := readEndPayload(payload)
	if said != uint64(size) {
		return corrupt(r.where, r.name, "", at, fmt.Errorf("%d bytes, expected %d", size, said))
	}
	r.info.Checksum = checksum
	return nil
}

func (r *Reader) readHeader() ([]byte, error) {
	if r.info.Size < int64(preambleBytes) {
		return nil, corrupt(r.where, r.name, "", 0, fmt.Errorf("%d bytes, expected at least %d", r.info.Size, sizeMin))
	}
	head := make([]byte, min(int64(atMeta), r.info.Size))
	if err := r.readFull(head, 0); err != nil {
		return nil, err
	}
	if err := checkPreamble(head); err != nil {
		return nil, corrupt(r.where, r.name, "", 0, err)
	}
	if r.info.Size < sizeMin {
		return nil, corrupt(r.where, r.name, "", 0, fmt.Errorf("%d bytes, expected at least %d", r.info.Size, sizeMin))
	}
	n, err := headerBytes(head)
	if err == nil && int64(n) > r.info.Size-endBytes {
		err = fmt.Errorf("header of %d bytes in a file of %d", n, r.info.Size)
	}
	if err != nil {
		return nil, corrupt(r.where, r.name, "", 0, err)
	}
	head = append(head, make([]byte, n-len(head))...)
	return head, r.readFull(head[atMeta:], int64(atMeta))
}

// belongs checks that a file has the name of what it holds.
func (r *Reader) belongs(meta *messages.SnapshotMeta) error {
	if got := nameOf(meta); r.named && got != r.name {
		return fmt.Errorf("a snapshot of group %d, incarnation %d, index %d, expected %d, %d, %d",
			got.group, got.incarnation, got.index, r.name.group, r.name.incarnation, r.name.index)
	}
	return nil
}

// readFull reads bytes that the file must have.
func (r *Reader) readFull(p []byte, off int64) error {
	n, err := r.f.ReadAt(p, off)
	switch {
	case n == len(p):
		return nil
	case errors.Is(err, io.EOF):
		return corrupt(r.where, r.name, "", off, fmt.Errorf("the file ends after %d bytes of %d", n, len(p)))
	}
	return fmt.Errorf("snapshots: read %s at byte %d: %w", r.where, off, err)
}

// Info says which snapshot it is.
func (r *Reader) Info() Info { return r.info }

// Meta is what the snapshot is of.
func (r *Reader) Meta() *messages.SnapshotMeta { return r.info.Meta }

// Close releases the file.
func (r *Reader) Close() error { return r.f.Close() }

// ReadAt implements io.ReaderAt over the bytes of the file as they are, to send them:
// Info().Size bytes, which the receiver's Incoming checks. It may run beside everything.
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off > r.info.Size {
		return 0, fmt.Errorf("%w: snapshots: read %s at byte %d of %d", logstore.ErrInvalid, r.where, off, r.info.Size)
	}
	short := int64(len(p)) > r.info.Size-off
	if short {
		p = p[:r.info.Size-off]
	}
	if len(p) > 0 {
		if err := r.readFull(p, off); err != nil {
			return 0, err
		}
	}
	if short {
		return len(p), io.EOF
	}
	return len(p), nil
}

// Verify reads the whole file and checks everything.
func (r *Reader) Verify() error {
	_, err := r.check()
	return err
}

// Sections lists the names of the sections, in order. It reads the whole file and
// checks everything.
func (r *Reader) Sections() ([]string, error) { return r.check() }

func (r *Reader) check() ([]string, error) {
	c := newChecker(r.where, r.name, func(meta *messages.SnapshotMeta) error {
		if !proto.Equal(meta, r.info.Meta) {
			return errors.New("the meta is not what it was when the file was opened")
		}
		return nil
	})
	buf := make([]byte, FrameBytesMax)
	for off := int64(0); off < r.info.Size; off += int64(len(buf)) {
		buf = buf[:min(int64(len(buf)), r.info.Size-off)]
		if err := r.readFull(buf, off); err != nil {
			return nil, err
		}
		if _, err := c.Write(buf); err != nil {
			return nil, err
		}
	}
	if !c.ended {
		return nil, c.corrupt(errors.New("the file ends, expected more"))
	}
	return c.sections, nil
}

// Section finds a section; the bool is whether there is one. What is returned reads
// its bytes, each frame checked before any of it is handed out, and may be used until
// Close. An error of finding or reading wraps ErrCorrupt and names file, section and
// offset where the bytes are wrong. What stands before the section is read and checked
// too.
func (r *Reader) Section(name string) (io.Reader, bool, error) {
	s := &sectionReader{r: r, next: r.frames}
	for {
		kind, payload, err := s.read()
		switch {
		case err != nil:
			return nil, false, err
		case kind == sectionFrame && string(payload) == name:
			return s, true, nil
		case kind == endFrame:
			return nil, false, nil
		}
	}
}

// sectionReader walks the frames from one to the next.
type sectionReader struct {
	r       *Reader
	next    int64 // offset of the next frame
	section string
	buf     []byte
	left    []byte // of a payload, checked, not handed out
	err     error
}

// read returns the next frame, checked.
func (s *sectionReader) read() (kind byte, payload []byte, err error) {
	rest := s.r.info.Size - s.next
	if rest < frameHeadBytes+sumBytes {
		return 0, nil, s.corrupt(errors.New("the file ends, expected a frame"))
	}
	if s.buf == nil {
		s.buf = make([]byte, FrameBytesMax)
	}
	// One read a frame, where it is a full one, as most are.
	b := s.buf[:min(rest, FrameBytesMax)]
	if err := s.r.readFull(b, s.next); err != nil {
		return 0, nil, err
	}
	n, err := frameBytes(b)
	if err == nil && n > len(b) {
		err = fmt.Errorf("frame of %d bytes, expected at most %d", n, len(b))
	}
	if err != nil {
		return 0, nil, s.corrupt(err)
	}
	if kind, payload, err = openFrame(s.r.seed, s.next, b[:n]); err != nil {
		return 0, nil, s.corrupt(err)
	}
	if kind == endFrame && s.next+int64(n) != s.r.info.Size {
		return 0, nil, s.corrupt(fmt.Errorf("the end, %d bytes before that of the file", s.r.info.Size-s.next-int64(n)))
	}
	if kind == sectionFrame {
		s.section = string(payload)
	}
	s.next += int64(n)
	return kind, payload, nil
}

func (s *sectionReader) corrupt(err error) error {
	return corrupt(s.r.where, s.r.name, s.section, s.next, err)
}

// Read implements io.Reader.
func (s *sectionReader) Read(p []byte) (int, error) {
	if len(s.left) == 0 && s.err == nil {
		kind, payload, err := s.read()
		switch {
		case err != nil:
			s.err = err
		case kind != dataFrame:
			s.err = io.EOF
		default:
			s.left = payload
		}
	}
	if len(s.left) == 0 {
		return 0, s.err
	}
	n := copy(p, s.left)
	s.left = s.left[n:]
	return n, nil
}
