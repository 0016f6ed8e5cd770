package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/protoraft/protoraft/cluster"
)

// snapshotFlags say when a node takes snapshots, what of its log it keeps behind them
// and how fast it sends them.
type snapshotFlags struct {
	entries  int
	every    size
	interval time.Duration
	keep     int
	rate     size
}

func (f *snapshotFlags) register(flags *pflag.FlagSet) {
	*f = snapshotFlags{entries: 100_000, every: 256 << 20, interval: time.Hour, keep: 10_000, rate: 16 << 20}
	flags.IntVar(&f.entries, "snapshot-entries", f.entries, "take a snapshot after this `number` of entries; 0: never for that")
	flags.Var(&f.every, "snapshot-bytes", "take a snapshot after this many `bytes` of log, such as 256MiB; 0: never for that")
	flags.DurationVar(&f.interval, "snapshot-interval", f.interval, "take a snapshot after this `time`, if anything was applied; 0: never for that")
	flags.IntVar(&f.keep, "keep-entries", f.keep, "`number` of entries before a snapshot that stay in the log, for followers that lag")
	flags.Var(&f.rate, "transfer-rate", "most `bytes` a second of a snapshot that are sent to one node; 0: no bound")
}

func (f *snapshotFlags) check() error {
	switch {
	case f.entries < 0:
		return usage("--snapshot-entries %d, expected 0 or more", f.entries)
	case f.interval < 0:
		return usage("--snapshot-interval %v, expected 0 or more", f.interval)
	case f.keep < 0:
		return usage("--keep-entries %d, expected 0 or more", f.keep)
	}
	return nil
}

// fill puts the flags where the library has them: what is never here is below 0 there.
func (f *snapshotFlags) fill(o *cluster.Options) {
	o.SnapshotEntries, o.SnapshotBytes = orNever(f.entries), orNever(int(f.every))
	o.SnapshotInterval, o.KeepEntries = orNever(f.interval), orNever(f.keep)
	o.TransferBytesPerSecond = orNever(int(f.rate))
}

func orNever[T int | time.Duration](v T) T {
	if v == 0 {
		return -1
	}
	return v
}

// size is a flag's value: a number of bytes, with a unit or without.
type size int

var sizeUnits = []struct {
	name  string
	bytes int
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}, {"", 1}}

func (s *size) String() string {
	for _, u := range sizeUnits {
		if n := int(*s); n != 0 && n%u.bytes == 0 {
			return strconv.Itoa(n/u.bytes) + u.name
		}
	}
	return "0"
}

func (s *size) Type() string { return "bytes" }

func (s *size) Set(text string) error {
	for _, u := range sizeUnits {
		number, has := strings.CutSuffix(text, u.name)
		if !has {
			continue
		}
		n, err := strconv.Atoi(strings.TrimSpace(number))
		if err != nil || n < 0 || n > (1<<50)/u.bytes {
			break
		}
		*s = size(n * u.bytes)
		return nil
	}
	return fmt.Errorf("expected a number of bytes up to 1 PiB, such as 4096, 64KiB, 256MiB or 2GiB")
}
