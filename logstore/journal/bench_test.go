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
// block of some entries for each, compacted behind 16 MiB. Each turn is written by each
// engine, one after the other, so that a slow spell of the machine falls on all of them.
func BenchmarkWrite(b *testing.B) {
	for _, turn := range []struct{ groups, entries, size int }{
		{1, 1, 16}, {1, 100, 16}, {1, 1000, 16}, {48, 20, 16}, {1, 1, 1 << 10}, {1, 100, 1 << 10}, {1, 1, 64 << 10},
	} {
		b.Run(fmt.Sprintf("groups=%d/entries=%d/bytes=%d", turn.groups, turn.entries, turn.size), func(b *testing.B) {
			var stores []logstore.Store
			for _, engine := range benched {
				s, err := engine.open(b.TempDir())
				if err != nil {
					b.Fatal(err)
				}
				defer s.Close()
				stores = append(stores, s)
			}
			writeTurns(b, stores, turn.groups, turn.entries, turn.size)
		})
	}
}

func writeTurns(b *testing.B, stores []logstore.Store, groups, entries, size int) {
	data := bytes.Repeat([]byte("x"), size)
	updates := make([]logstore.Update, groups)
	took := make([][]time.Duration, len(stores))
	last, kept := uint64(0), uint64(16<<20/((size+40)*groups))
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
		for i, s := range stores {
			began := time.Now()
			if err := s.Write(updates); err != nil {
				b.Fatal(err)
			}
			took[i] = append(took[i], time.Since(began))
		}
	}
	for i := range took {
		slices.Sort(took[i])
		for name, share := range map[string]float64{"p50": .5, "p90": .9, "p99": .99} {
			at := took[i][int(share*float64(len(took[i])-1))]
			b.ReportMetric(float64(at.Microseconds()), benched[i].name+"-"+name+"-µs")
		}
	}
	b.ReportMetric(0, "ns/op") // of all engines together, which says nothing
}

// BenchmarkStart opens a log of 10,000 blocks of 2 KiB, behind as much that was compacted,
// and loads its group.
func BenchmarkStart(b *testing.B) {
	for _, engine := range benched {
		b.Run(engine.name, func(b *testing.B) {
			dir := b.TempDir()
			s, err := engine.open(dir)
			if err != nil {
				b.Fatal(err)
			}
			data := bytes.Repeat([]byte("x"), 2<<10)
			for first := uint64(1); first <= 20000; {
				var blocks []messages.Block
				for range 50 {
					w := messages.NewBlockWriter(messages.BlockHeader{Group: 1, Term: 1, FirstIndex: first, PrevTerm: min(first-1, 1)}, messages.EntryBytes(len(data)))
					w.Add(messages.EntryView{Data: data})
					blocks, first = append(blocks, w.Finish()), first+1
				}
				if err := s.Write([]logstore.Update{{Group: 1, Blocks: blocks}}); err != nil {
					b.Fatal(err)
				}
			}
			if err := s.Write([]logstore.Update{{Group: 1, CompactTo: 10000, CompactTerm: 1}}); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
				if s, err = engine.open(dir); err != nil {
					b.Fatal(err)
				}
				if st, err := s.Load(1); err != nil || st.LastIndex != 20000 {
					b.Fatal(st, err)
				}
			}
			s.Close()
		})
	}
}
