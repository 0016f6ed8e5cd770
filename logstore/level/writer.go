package level

import (
	"github.com/syndtr/goleveldb/leveldb/storage"

	"github.com/protoraft/protoraft/logstore/vfs"
)

// bufferBytes is how much a writer gathers. goleveldb writes in pieces of at most
// 32 KiB; a block of the log is up to 4 MiB.
const bufferBytes = 1 << 20

// aheadBytes is how far a journal is filled with zeros ahead of its records. A sync
// that changes the length of a file, or the blocks it has, also commits the file
// system's own journal, which is slow, and which all processes queue up for; within
// the zeros it writes the record and nothing else.
const aheadBytes = 1 << 20

var zeros [aheadBytes]byte

// pageBytes is where the zeros end: within a page the next ones would write it again.
const pageBytes = 4 << 10

// writer is a file goleveldb writes from beginning to end.
type writer struct {
	s      *fileStorage
	f      vfs.File
	fd     storage.FileDesc
	buf    []byte
	size   int64 // of what was written, without zeros ahead
	ahead  int64 // bytes of zeros to write ahead at a time; 0 for none
	filled int64 // where the zeros end
}

// Write implements io.Writer.
func (w *writer) Write(p []byte) (int, error) {
	if err := w.s.failure(); err != nil {
		return 0, err
	}
	w.buf = append(w.buf, p...)
	if len(w.buf) >= bufferBytes {
		if err := w.Flush(); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// Flush hands the buffer to the file system.
func (w *writer) Flush() error {
	if err := w.s.failure(); err != nil {
		return err
	}
	if len(w.buf) == 0 {
		return nil
	}
	n, err := w.f.Write(w.buf)
	w.size += int64(n)
	w.buf = w.buf[:0]
	if err != nil {
		return w.s.fail(err)
	}
	return nil
}

// Sync implements storage.Syncer. One sync covers the record that reached beyond the
// zeros and the zeros for those after it.
func (w *writer) Sync() error {
	if err := w.Flush(); err != nil {
		return err
	}
	if w.ahead > 0 && w.size > w.filled {
		w.writeAhead()
	}
	if err := w.f.Sync(); err != nil {
		return w.s.fail(err)
	}
	return nil
}

// writeAhead fills the file with zeros behind what was written. Nobody needs them, so
// where they fail the file just grows; should the disk be to blame, the sync says so.
func (w *writer) writeAhead() {
	end := (w.size + w.ahead) &^ (pageBytes - 1)
	if end <= w.size {
		return
	}
	if _, err := w.f.WriteAt(zeros[:end-w.size], w.size); err != nil {
		w.s.log.Debug("no zeros ahead in this journal, its syncs are slower", "file", w.s.file(w.fd), "error", err)
		w.ahead = 0
		return
	}
	w.filled = end
}

// Close closes the file. goleveldb has synced what counts: each of our batches asks
// for it, and so do tables and manifests.
func (w *writer) Close() error { return w.f.Close() }
