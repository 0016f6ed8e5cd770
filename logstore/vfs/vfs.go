// Package vfs is the small part of a file system the log store and the snapshots
// stand on: real files ([OS]), and a disk in memory that crashes, tears, fails and
// rots on demand ([Mem]).
package vfs

import "io"

// FS is a file system. It is safe for concurrent use. Names are slash separated;
// errors about them wrap fs.ErrNotExist and fs.ErrExist.
//
// Nothing is durable by itself: a file's bytes after its Sync, its name (created,
// renamed or removed) after SyncDir of its directory. Neither implies the other.
type FS interface {
	// Create makes a new, empty file for writing. It fails where the name exists:
	// writing over old bytes would let a crash mix the two.
	Create(name string) (File, error)
	// Open opens a file for reading.
	Open(name string) (File, error)
	// Append opens an existing file for reading, truncating, and writing, at first at its end.
	Append(name string) (File, error)
	// Rename moves a file, replacing what stood at to. It is atomic, also in a crash.
	Rename(from, to string) error
	// Remove removes a file or an empty directory.
	Remove(name string) error
	// List returns the names within a directory, sorted, without the directory.
	List(dir string) ([]string, error)
	// MkdirAll makes a directory and those above it, where missing: when it returns
	// nil, the whole path survives a crash.
	MkdirAll(dir string) error
	// SyncDir makes the names within a directory durable.
	SyncDir(dir string) error
	// Lock takes the lock of that name for this process until it is closed, and
	// fails at once where it is held.
	Lock(name string) (io.Closer, error)
}

// File is an open file. Write goes on where the Write before it ended, whatever
// WriteAt wrote there. ReadAt may run beside everything.
type File interface {
	io.Writer
	io.WriterAt
	io.ReaderAt
	io.Closer
	// Size is the file's length in bytes.
	Size() (int64, error)
	// Truncate cuts the file; the next Write follows there.
	Truncate(size int64) error
	// Sync makes the bytes and the length durable. After an error the file is lost:
	// what was not durable may never be, whatever a second Sync answers.
	Sync() error
}
