//go:build !race

package sim

// memtableBytes of goleveldb: from one that is full after a few writes, so that tables
// are written and merged while faults strike, to one that only a restart empties.
var memtableBytes = []int{2 << 10, 8 << 10, 128 << 10}
