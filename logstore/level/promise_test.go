package level

import (
	"errors"
	"syscall"
	"testing"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/vfs"
	"github.com/protoraft/protoraft/messages"
)

// TestFullAfterThePromise: where the file system took the zeros and has no room for the
// record, or says so at the sync, part of it may be on disk. That is no full disk, it is
// a store that has failed, whatever room there is later.
func TestFullAfterThePromise(t *testing.T) {
	for name, kind := range map[string]vfs.OpKind{"write": vfs.OpWrite, "sync": vfs.OpSync} {
		t.Run(name, func(t *testing.T) {
			disk := memDisk()
			s, err := Open(disk, "/db", Options{MemtableBytes: 1 << 20})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			write := func(index uint64) error {
				return s.Write([]logstore.Update{{Group: 1, Blocks: []messages.Block{blockOf(1, index, 1, make([]byte, 1000))}}})
			}
			if err := write(1); err != nil {
				t.Fatal(err)
			}
			full := true
			disk.Inject(func(op vfs.Op) vfs.Fault {
				if full && (op.Kind == kind || op.Kind == vfs.OpTruncate) {
					return vfs.Fault{Err: syscall.ENOSPC, Keep: op.Len / 2}
				}
				return vfs.Fault{}
			})
			if err := write(2); err == nil || errors.Is(err, logstore.ErrFull) {
				t.Fatalf("%v, expected a failure that is none for want of room", err)
			}
			full = false
			if err := write(2); !errors.Is(err, logstore.ErrFailed) {
				t.Fatalf("%v, expected %v", err, logstore.ErrFailed)
			}
		})
	}
}
