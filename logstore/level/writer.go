package level

import "github.com/protoraft/protoraft/logstore/vfs"

// bufferBytes is how much a writer gathers. goleveldb writes in pieces of at most
// 32 KiB; a block of the log is up to 4 MiB.
const bufferBytes = 1 << 20

// writer is a file goleveldb appends to. The journal flushes it after each record.
type writer struct {
	s       *fileStorage
	f       vfs.File
	buf     []byte
	unsaved bool // written since the last sync
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
	w.unsaved = true
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
	w.unsaved = false
	return nil
}

// Close syncs what is not: the next journal must not become durable before the
// end of this one.
func (w *writer) Close() error {
	var err error
	if w.s.failure() == nil && (w.unsaved || len(w.buf) > 0) {
		err = w.Sync()
	}
	if cerr := w.f.Close(); err == nil {
		err = cerr
	}
	return err
}
