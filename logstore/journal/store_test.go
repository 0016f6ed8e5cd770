package journal_test

import (
	"testing"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/journal"
	"github.com/protoraft/protoraft/logstore/storetest"
	"github.com/protoraft/protoraft/logstore/vfs"
)

// small makes segments rotate, be collected and be used again within the suite's
// workload.
var small = journal.Options{
	SegmentBytes: 8 << 10, PageBytes: 512, AheadBytes: 2 << 10, IndexBytes: 1 << 10, SlackBytes: 8 << 10, ReserveBytes: 8 << 10,
}

func openSmall(fs vfs.FS, dir string) (logstore.Store, error) { return journal.Open(fs, dir, small) }

func TestStore(t *testing.T) { storetest.Run(t, openSmall) }

func TestFullDisk(t *testing.T) { storetest.Full(t, openSmall) }

// TestStoreWithPages runs the suite with the pages of production, in which frames end
// far from where the next ones begin.
func TestStoreWithPages(t *testing.T) {
	opts := small
	opts.PageBytes, opts.SegmentBytes, opts.AheadBytes = 4<<10, 32<<10, 8<<10
	storetest.Run(t, func(fs vfs.FS, dir string) (logstore.Store, error) { return journal.Open(fs, dir, opts) })
}

func TestContractOnRealFiles(t *testing.T) {
	for name, buffered := range map[string]bool{"direct": false, "buffered": true} {
		t.Run(name, func(t *testing.T) {
			storetest.Contract(t, func(t *testing.T) logstore.Store {
				s, err := journal.Open(vfs.OS{}, t.TempDir(), journal.Options{SegmentBytes: 64 << 10, SlackBytes: 64 << 10, AheadBytes: 16 << 10, Buffered: buffered})
				if err != nil {
					t.Fatal(err)
				}
				return s
			})
		})
	}
}
