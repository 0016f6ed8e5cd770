package level

import (
	"fmt"

	"github.com/syndtr/goleveldb/leveldb/storage"

	"github.com/protoraft/protoraft/logstore"
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
	if w.fd.Type == storage.TypeJournal && len(p) > 0 {
		w.s.batch.written, w.s.batch.synced = true, false
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
	n, err := w.s.writeAll(w.f, w.buf, w.fd.Type)
	w.size += int64(n)
	w.buf = w.buf[:0]
	return w.failed(err)
}

// failed fails the store for a failure of this file. A table is not missed: goleveldb
// drops it, and writes another when there is room. A journal is: part of a record may
// be in it.
func (w *writer) failed(err error) error {
	if err == nil || w.fd.Type == storage.TypeTable && vfs.IsFull(err) {
		return err
	}
	return w.s.fail(err)
}

// Sync implements storage.Syncer. One sync covers the records and the zeros that were
// written ahead of them.
func (w *writer) Sync() error {
	if err := w.Flush(); err != nil {
		return err
	}
	if err := w.f.Sync(); err != nil {
		return w.failed(err)
	}
	if w.fd.Type == storage.TypeJournal {
		w.s.batch.synced = true
	}
	return nil
}

// makeRoom fills the journal with zeros ahead of a batch, where they do not reach
// beyond it, and further while there is room. Where zeros cannot be written the file
// just grows; should the disk be to blame, the sync says so.
func (w *writer) makeRoom(need batchRoom) error {
	least := w.size + int64(len(w.buf)) + need.bytes
	for w.ahead > 0 && w.filled < least {
		from := max(w.size, w.filled)
		end := max(least+pageBytes, w.size+w.ahead) &^ (pageBytes - 1)
		n, err := w.f.WriteAt(zeros[:min(end-from, int64(len(zeros)))], from)
		w.filled = from + int64(n)
		switch {
		case err == nil:
		case !vfs.IsFull(err):
			w.s.log.Debug("no zeros ahead in this journal, its syncs are slower", "file", w.s.file(w.fd), "error", err)
			w.ahead = 0
		case w.filled >= least: // it just fits
		case !need.small || !w.s.room.take(least-w.filled, storage.TypeJournal):
			return fmt.Errorf("%w: %w", logstore.ErrFull, err)
		}
	}
	return nil
}

// Close closes the file. goleveldb has synced what counts: each of our batches asks
// for it, and so do tables and manifests.
func (w *writer) Close() error { return w.f.Close() }
