package level

import (
	"fmt"

	"github.com/hashicorp/go-hclog"
	"github.com/syndtr/goleveldb/leveldb/opt"
)

// Options of a store. The zero value is a good one.
type Options struct {
	// Logger hears what the engine does; nil for silence.
	Logger hclog.Logger

	// MemtableBytes is how much is gathered in memory and in one journal file before
	// it is written as a table. Up to three of that size are in memory. Default 16 MiB.
	MemtableBytes int

	// CacheBytes bounds the cache of table blocks that reads fill. Default 8 MiB.
	CacheBytes int

	// LogBytes is how large the live logs of all groups together are expected to
	// grow. Beyond it bytes are rewritten once more, and removed ones stay on disk
	// longer. Default 512 MiB.
	LogBytes int

	// ReserveBytes is how much of the disk the store keeps for when it is full. It
	// should hold two memtables and some more: one that is being written as a table
	// when the disk fills, and one that the next start finds in its journal. Default
	// 5/2 of MemtableBytes.
	ReserveBytes int
}

const (
	defaultMemtableBytes = 16 << 20
	defaultCacheBytes    = 8 << 20
	defaultLogBytes      = 512 << 20
)

func (o *Options) fill() error {
	for _, f := range []struct {
		name  string
		value *int
		unset int
	}{
		{"MemtableBytes", &o.MemtableBytes, defaultMemtableBytes},
		{"CacheBytes", &o.CacheBytes, defaultCacheBytes},
		{"LogBytes", &o.LogBytes, defaultLogBytes},
	} {
		switch {
		case *f.value == 0:
			*f.value = f.unset
		case *f.value < 0:
			return fmt.Errorf("level: %s is %d, expected a positive number of bytes", f.name, *f.value)
		}
	}
	switch {
	case o.ReserveBytes == 0:
		o.ReserveBytes = 2*o.MemtableBytes + o.MemtableBytes/2
	case o.ReserveBytes < 0:
		return fmt.Errorf("level: ReserveBytes is %d, expected a positive number of bytes", o.ReserveBytes)
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	return nil
}

// engine is how goleveldb is set up: one writer, values that do not compress, few
// and large blocks, level 1 as the base level so that tombstones meet what they
// delete there. The journal is not opened strictly: check has read it before, with
// better judgement.
func (o *Options) engine() *opt.Options {
	return &opt.Options{
		WriteBuffer:                  o.MemtableBytes,
		CompactionTableSize:          8 << 20,
		CompactionTotalSize:          o.LogBytes,
		CompactionL0Trigger:          4,
		WriteL0SlowdownTrigger:       32,
		WriteL0PauseTrigger:          64,
		Compression:                  opt.NoCompression,
		BlockSize:                    32 << 10,
		BlockCacheCapacity:           o.CacheBytes,
		DisableSeeksCompaction:       true,
		IteratorSamplingRate:         -1,
		NoWriteMerge:                 true,
		DisableLargeBatchTransaction: true, // a batch is one journal record, whatever its size
		Strict: opt.StrictManifest | opt.StrictJournalChecksum | opt.StrictBlockChecksum |
			opt.StrictCompaction | opt.StrictReader,
	}
}
