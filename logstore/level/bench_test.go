package level_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/level"
	"github.com/protoraft/protoraft/logstore/vfs"
	"github.com/protoraft/protoraft/messages"
)

// BenchmarkWrite appends one block a Write on real files, compacting behind itself.
func BenchmarkWrite(b *testing.B) {
	for _, size := range []int{100, 2 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			s, err := level.Open(vfs.OS{}, b.TempDir(), level.Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			data := bytes.Repeat([]byte("x"), size)
			updates := make([]logstore.Update, 1)
			blocks := make([]messages.Block, 1)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for index := uint64(1); b.Loop(); index++ {
				w := messages.NewBlockWriter(messages.BlockHeader{Group: 1, Term: 1, FirstIndex: index, PrevTerm: min(index-1, 1)}, messages.EntryBytes(size))
				w.Add(messages.EntryView{Data: data})
				blocks[0] = w.Finish()
				updates[0] = logstore.Update{Group: 1, Blocks: blocks}
				if index%512 == 0 {
					updates[0].CompactTo, updates[0].CompactTerm = index-256, 1
				}
				if err := s.Write(updates); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
