package level

import "github.com/protoraft/protoraft/logstore/vfs"

// bufferBytes is how much a writer gathers. goleveldb writes in pieces of at most
// 32 KiB; a block of the log is up to 4 MiB.
const bufferBytes = 1 << 20

// writer is a file goleveldb appends to. The journal flushes it after each record.
type writer struct {
	s   *fileStorage
	f   vfs.File
	buf []byte
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
	_, err := w.f.Write(w.buf)
	w.buf = w.buf[:0]
	if err != nil {
		return w.s.fail(err)
	}
	return nil
}

// Sync implements storage.Syncer.
func (w *writer) Sync() error {
	if err := w.Flush(); err != nil {
		return err
	}
	if err := w.f.Sync(); err != nil {
		return w.s.fail(err)
	}
	return nil
}

// Close closes the file. goleveldb has synced what counts: each of our batches asks
// for it, and so do tables and manifests.
func (w *writer) Close() error { return w.f.Close() }
