package sim

import (
	"errors"
	"flag"
	"io/fs"
	"math/rand/v2"
	"path"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/level"
	"github.com/protoraft/protoraft/logstore/vfs"
)

var flagEngine = flag.String("sim.engine", "simlog", "what keeps the logs: simlog, journal, or level, with which a seed does not say all")

var engines = map[string]func(seed uint64) Options{
	"simlog":  func(uint64) Options { return Options{} },
	"journal": func(uint64) Options { return Options{Engine: openJournal, InTurn: true} },
	"level":   func(seed uint64) Options { return Options{Engine: openLevel(seed)} },
}

// on is a run of a seed on the engine of that name.
func on(engine string, seed uint64) Options {
	o := engines[engine](seed)
	o.Seed, o.Hosts = seed, &hosts
	return o
}

// Of all stores opened with openLevel.
var (
	levelOpens  atomic.Int64
	levelTables atomic.Int64 // that found tables
	levelHalves atomic.Int64 // that found an unfinished file or two journals
)

// openLevel opens goleveldb with memtables of various sizes, by the seed.
func openLevel(seed uint64) Engine {
	sizes := rand.New(rand.NewPCG(seed, 0))
	return func(disk vfs.FS, dir string) (logstore.Store, error) {
		if err := countLevelFiles(disk, dir); err != nil {
			return nil, err
		}
		size := memtableBytes[sizes.IntN(len(memtableBytes))]
		s, err := level.Open(disk, dir, level.Options{MemtableBytes: size, CacheBytes: 1 << 20, LogBytes: 64 << 10})
		if err != nil {
			return nil, err
		}
		return s, nil
	}
}

// countLevelFiles notes what a store is opened on.
func countLevelFiles(disk vfs.FS, dir string) error {
	names, err := disk.List(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	count := func(suffix string) (n int) {
		for _, name := range names {
			if path.Ext(name) == suffix {
				n++
			}
		}
		return n
	}
	levelOpens.Add(1)
	if count(".ldb") > 0 {
		levelTables.Add(1)
	}
	if count(".log") > 1 || slices.Contains(names, "CURRENT.tmp") {
		levelHalves.Add(1)
	}
	return nil
}

// onLevel is what a run on goleveldb must have reached.
var onLevel = []string{
	"conflict truncation of durable entries",
	"crash in a write that was kept",
	"crash in a write that was lost",
	"crash within a turn",
	"disk fault: EIO",
	"disk fault: failed sync",
	"disk fault: power cut",
	"election while a disk has failed",
	"log read from disk",
	"storage failed",
	"write refused on a full disk",
}

// TestOnGoleveldb runs some seeds on goleveldb, whose goroutines no seed controls: what
// fails may not fail again. Every rule is checked as in any run.
func TestOnGoleveldb(t *testing.T) {
	began := time.Now()
	s := runMany(100, 0, "level")
	for _, r := range s.failed {
		explain(t, r, "level")
	}
	for _, situation := range onLevel {
		if s.coverage[situation] == 0 {
			t.Errorf("never reached: %s", situation)
		}
	}
	if levelTables.Load() == 0 || levelHalves.Load() == 0 {
		t.Errorf("of %d times it was opened, %d found tables and %d something unfinished, expected some", levelOpens.Load(), levelTables.Load(), levelHalves.Load())
	}
	t.Logf("%d seeds, %v simulated in %v, %d writes acknowledged; opened %d times, %d times with tables, %d times with something unfinished\n%v",
		s.seeds, s.virtual.Round(time.Second), time.Since(began).Round(time.Millisecond), s.writes, levelOpens.Load(), levelTables.Load(), levelHalves.Load(), s.coverage)
}
