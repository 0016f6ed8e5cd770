package journal_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/journal"
	"github.com/protoraft/protoraft/logstore/level"
	"github.com/protoraft/protoraft/logstore/vfs"
	"github.com/protoraft/protoraft/messages"
)

var benched = []struct {
	name string
	open func(dir string) (logstore.Store, error)
}{
	{"journal", func(dir string) (logstore.Store, error) { return journal.Open(vfs.OS{}, dir, journal.Options{}) }},
	{"buffered", func(dir string) (logstore.Store, error) {
		return journal.Open(vfs.OS{}, dir, journal.Options{Buffered: true})
	}},
	{"goleveldb", func(dir string) (logstore.Store, error) { return level.Open(vfs.OS{}, dir, level.Options{}) }},
}

// BenchmarkWrite writes what a LogWriter's turns bring, on real files: some groups, a
// block of some entries for each, compacted behind 16 MiB. It says how long the slowest
// of a thousand takes.
func BenchmarkWrite(b *testing.B) {
	for _, turn := range []struct{ groups, entries, size int }{
		{1, 1, 16}, {1, 100, 16}, {1, 1000, 16}, {48, 20, 16}, {1, 1, 1 << 10}, {1, 100, 1 << 10}, {1, 1, 64 << 10},
	} {
		for _, engine := range benched {
			b.Run(fmt.Sprintf("groups=%d/entries=%d/bytes=%d/%s", turn.groups, turn.entries, turn.size, engine.name), func(b *testing.B) {
				s, err := engine.open(b.TempDir())
				if err != nil {
					b.Fatal(err)
				}
				defer s.Close()
				writeTurns(b, s, turn.groups, turn.entries, turn.size)
			})
		}
	}
}

func writeTurns(b *testing.B, s logstore.Store, groups, entries, size int) {
	data := bytes.Repeat([]byte("x"), size)
	updates := make([]logstore.Update, groups)
	took := make([]time.Duration, 0, 1<<20)
	last, kept := uint64(0), uint64(16<<20/((size+40)*groups))
	b.SetBytes(int64(groups * entries * size))
	b.ReportAllocs()
	for b.Loop() {
		for g := range updates {
			w := messages.NewBlockWriter(messages.BlockHeader{
				Group: uint64(g + 1), Term: 1, FirstIndex: last + 1, PrevTerm: min(last, 1),
			}, entries*messages.EntryBytes(size))
			for range entries {
				w.Add(messages.EntryView{Data: data})
			}
			updates[g] = logstore.Update{Group: uint64(g + 1), Blocks: []messages.Block{w.Finish()}}
			if last/kept != (last+uint64(entries))/kept && last > kept {
				updates[g].CompactTo, updates[g].CompactTerm = last-kept, 1
			}
		}
		last += uint64(entries)
		began := time.Now()
		if err := s.Write(updates); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	at := func(share float64) float64 { return float64(took[int(share*float64(len(took)-1))].Microseconds()) }
	b.ReportMetric(at(.5), "p50-µs")
	b.ReportMetric(at(.99), "p99-µs")
	b.ReportMetric(at(.999), "p99.9-µs")
	b.ReportMetric(at(1), "max-µs")
}
