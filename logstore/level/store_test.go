package level_test

import (
	"errors"
	"testing"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/level"
	"github.com/protoraft/protoraft/logstore/storetest"
	"github.com/protoraft/protoraft/logstore/vfs"
)

// small makes files rotate within the suite's workload.
var small = level.Options{MemtableBytes: 8 << 10, CacheBytes: 64 << 10, LogBytes: 128 << 10}

func TestStore(t *testing.T) {
	opts := small
	opts.MemtableBytes = crashMemtableBytes
	storetest.Run(t, func(fs vfs.FS, dir string) (logstore.Store, error) { return level.Open(fs, dir, opts) })
}

func TestFullDisk(t *testing.T) {
	opts := small
	opts.MemtableBytes = crashMemtableBytes
	storetest.Full(t, func(fs vfs.FS, dir string) (logstore.Store, error) { return level.Open(fs, dir, opts) })
}

// TestStoreWithoutZerosAhead runs the suite where journals grow record by record.
func TestStoreWithoutZerosAhead(t *testing.T) {
	opts := small
	opts.MemtableBytes = crashMemtableBytes
	storetest.Run(t, func(fs vfs.FS, dir string) (logstore.Store, error) { return level.Open(noZerosFS{fs}, dir, opts) })
}

// noZerosFS writes at the end of files only.
type noZerosFS struct{ vfs.FS }

func (f noZerosFS) Create(name string) (vfs.File, error) {
	file, err := f.FS.Create(name)
	if err != nil {
		return nil, err
	}
	return endFile{file}, nil
}

type endFile struct{ vfs.File }

func (endFile) WriteAt([]byte, int64) (int, error) { return 0, errors.ErrUnsupported }

func TestContractOnRealFiles(t *testing.T) {
	storetest.Contract(t, func(t *testing.T) logstore.Store {
		s, err := level.Open(vfs.OS{}, t.TempDir(), small)
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}
