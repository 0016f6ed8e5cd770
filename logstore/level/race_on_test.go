//go:build race

package level_test

// Where a compaction fails while a writer waits for it, goleveldb sends on a channel
// the writer closes, and recovers from that; the race detector objects. Under it, the
// failing disks are tried with memtables that are never full.
const crashMemtableBytes = 128 << 10
