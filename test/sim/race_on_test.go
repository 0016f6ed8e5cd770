//go:build race

package sim

// memtableBytes of goleveldb. Where a compaction fails while a writer waits for it, it
// sends on a channel the writer closes, and recovers from that; the race detector
// objects. Under it no memtable is ever full.
var memtableBytes = []int{256 << 10}
