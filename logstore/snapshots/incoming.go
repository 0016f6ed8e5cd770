package snapshots

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/vfs"
	"github.com/protoraft/protoraft/messages"
)

// Incoming is a snapshot being received. It must end with Finish, Discard or Close.
type Incoming struct {
	s        *Store
	info     Info
	partial  string
	f        vfs.File
	check    *checker
	unsynced unsynced
	ended    error
}

var (
	errFinished  = fmt.Errorf("%w: snapshots: already finished", logstore.ErrInvalid)
	errDiscarded = fmt.Errorf("%w: snapshots: discarded", logstore.ErrInvalid)
	errClosed    = fmt.Errorf("%w: snapshots: closed", logstore.ErrInvalid)
)

// Receive begins to receive the snapshot that info names, or goes on with it where an
// earlier Incoming was closed or its process died: Have says how much is there. An
// Incoming of the group that is open is closed, and what was received of other
// snapshots of the group is removed.
func (s *Store) Receive(info Info) (*Incoming, error) {
	if info.Meta.GetIndex() == 0 || info.Size < sizeMin {
		return nil, fmt.Errorf("%w: snapshots: receive group %d, index %d, %d bytes, expected an index above 0 and at least %d bytes",
			logstore.ErrInvalid, info.Meta.GetGroup(), info.Meta.GetIndex(), info.Size, sizeMin)
	}
	group := info.Meta.Group
	s.supersede(group)
	if err := s.fs.MkdirAll(s.groupDir(group)); err != nil {
		return nil, fmt.Errorf("snapshots: make %s: %w", s.groupDir(group), err)
	}
	n := nameOf(info.Meta)
	file := fmt.Sprintf("%016x-%016x-%016x-%016x%s", n.incarnation, n.index, info.Size, info.Checksum, partialExt)
	if err := s.removePartials(group, func(_ fileName, other string) bool { return other != file }); err != nil {
		return nil, err
	}
	in := &Incoming{s: s, info: info, partial: path.Join(s.groupDir(group), file)}
	in.info.Damage = nil
	if err := in.open(); err != nil {
		if in.f != nil {
			in.f.Close()
		}
		s.fs.Remove(in.partial)
		return nil, fmt.Errorf("snapshots: receive %s: %w", in.partial, err)
	}
	s.mu.Lock()
	s.incoming[group] = in
	s.mu.Unlock()
	return in, nil
}

// supersede closes the Incoming of a group that is open. Its owner's next call fails.
func (s *Store) supersede(group uint64) {
	s.mu.Lock()
	in := s.incoming[group]
	delete(s.incoming, group)
	s.mu.Unlock()
	if in != nil {
		in.f.Close()
	}
}

// detach says whether in was the one of its group until now. One that was superseded
// has no right to the file any more.
func (s *Store) detach(in *Incoming) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	group := in.info.Meta.Group
	if s.incoming[group] != in {
		return false
	}
	delete(s.incoming, group)
	return true
}

// receiving says whether a file of the group belongs to its open Incoming.
func (s *Store) receiving(group uint64, file string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	in := s.incoming[group]
	return in != nil && path.Base(in.partial) == file
}

func (in *Incoming) newChecker() *checker {
	return newChecker(in.partial, nameOf(in.info.Meta), func(meta *messages.SnapshotMeta) error {
		if !proto.Equal(meta, in.info.Meta) {
			return fmt.Errorf("meta is {%v}, expected {%v}", meta, in.info.Meta)
		}
		return nil
	})
}

// open opens the partial file and checks what is there. A crash may have torn it
// anywhere: it goes on behind the last frame before which everything is whole.
func (in *Incoming) open() error {
	in.check = in.newChecker()
	f, err := in.s.fs.Append(in.partial)
	if errors.Is(err, fs.ErrNotExist) {
		in.f, err = in.s.fs.Create(in.partial)
		return err
	}
	if err != nil {
		return err
	}
	in.f = f
	size, err := f.Size()
	if err != nil {
		return err
	}
	if err := in.rescan(min(size, in.info.Size)); err != nil {
		return err
	}
	in.unsynced = unsynced(in.check.checked) // by whoever wrote it, for all that is known
	in.check.item = in.check.item[:0]
	return f.Truncate(in.check.checked)
}

func (in *Incoming) rescan(size int64) error {
	buf := make([]byte, FrameBytesMax)
	for off := int64(0); off < size; off += int64(len(buf)) {
		buf = buf[:min(int64(len(buf)), size-off)]
		if n, err := in.f.ReadAt(buf, off); n < len(buf) {
			return fmt.Errorf("read at byte %d: %w", off, err)
		}
		if _, err := in.check.Write(buf); err != nil {
			return nil // damaged from here on
		}
	}
	return nil
}

// Have is the offset to go on at: how many bytes are there. They are not durable
// before Finish.
func (in *Incoming) Have() int64 { return in.check.offset() }

// Append takes the next bytes. Where offset is not Have, or there are more bytes than
// the snapshot has, it returns an error wrapping ErrInvalid and has taken nothing;
// any other error ends the Incoming, and the snapshot must be received from its
// beginning. One that wraps ErrCorrupt says that the bytes are not what was written.
func (in *Incoming) Append(offset int64, p []byte) error {
	if in.ended != nil {
		return in.ended
	}
	if have := in.Have(); offset != have || int64(len(p)) > in.info.Size-have {
		return fmt.Errorf("%w: snapshots: %d bytes at %d for %s, expected at most %d at %d",
			logstore.ErrInvalid, len(p), offset, in.partial, in.info.Size-have, have)
	}
	if _, err := in.check.Write(p); err != nil {
		return in.fail(err)
	}
	n, err := in.f.Write(p)
	if err == nil && n != len(p) {
		err = fmt.Errorf("wrote %d bytes of %d", n, len(p))
	}
	if err == nil {
		err = in.unsynced.wrote(in.f, n)
	}
	if err != nil {
		return in.fail(err)
	}
	return nil
}

// Finish ends the receiving. When it returns nil, the snapshot is whole, durable and
// the one that Open finds. Where bytes are missing it returns an error wrapping
// ErrInvalid and they can still be appended. Any other error is as that of
// Writer.Commit, and the snapshot must be received from its beginning.
func (in *Incoming) Finish() error {
	if in.ended != nil {
		return in.ended
	}
	if have := in.Have(); have < in.info.Size {
		return fmt.Errorf("%w: snapshots: %s has %d bytes, expected %d", logstore.ErrInvalid, in.partial, have, in.info.Size)
	}
	if !in.check.ended {
		return in.fail(in.check.corrupt(errors.New("no end there, expected one")))
	}
	if in.check.checksum != in.info.Checksum {
		return in.fail(in.check.corrupt(fmt.Errorf("checksum of the whole is %016x, expected %016x", in.check.checksum, in.info.Checksum)))
	}
	if err := in.s.publish(in.f, in.partial, nameOf(in.info.Meta)); err != nil {
		return in.fail(err)
	}
	in.s.detach(in)
	in.ended = errFinished
	return nil
}

// fail ends the Incoming and removes what was received. What cannot be removed is
// checked by the next Receive.
func (in *Incoming) fail(err error) error {
	in.discard()
	in.ended = fmt.Errorf("snapshots: receive %s: %w", in.partial, err)
	return in.ended
}

func (in *Incoming) discard() {
	in.f.Close()
	if in.s.detach(in) {
		in.s.fs.Remove(in.partial)
	}
}

// Discard ends the receiving and removes what was received. After the end it does nothing.
func (in *Incoming) Discard() {
	if in.ended == nil {
		in.discard()
		in.ended = errDiscarded
	}
}

// Close ends the receiving for now; what was received stays for the next Receive.
func (in *Incoming) Close() {
	if in.ended == nil {
		in.s.detach(in)
		in.f.Close()
		in.ended = errClosed
	}
}
