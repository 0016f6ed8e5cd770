package actors

import (
	"testing"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/fsm/counter"
	"github.com/protoraft/protoraft/messages"
)

// BenchmarkApplyBlock is what the Applier itself costs for an entry, with the smallest
// of machines and nobody who waits.
func BenchmarkApplyBlock(b *testing.B) {
	const entries = 64
	all := make([]messages.EntryView, entries)
	for i := range all {
		all[i].Data = counter.Add(1)
	}
	block := blockOf(1, 1, 1, 0, all...)
	a := &applier{group: 1, machine: counter.New(counter.Hooks{})}
	b.ReportAllocs()
	for b.Loop() {
		a.applied = 0
		a.applyBlock(nil, &block, nil, core.Index(entries))
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*entries), "ns/entry")
}
