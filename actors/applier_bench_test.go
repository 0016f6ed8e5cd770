package actors

import (
	"testing"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/fsm/counter"
	"github.com/protoraft/protoraft/fsm/session"
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

// BenchmarkApplySession is the same for commands of a session, each with somebody who
// waits for it.
func BenchmarkApplySession(b *testing.B) {
	const entries = 64
	a := &applier{group: 1, machine: counter.New(counter.Hooks{}), sessions: session.New(session.DefaultLimits())}
	a.sessions.Open(1, 0)
	a.applied = 1
	waiters := make([]Waiter, entries)
	for i := range waiters {
		waiters[i] = Waiter{actor.NewPID("a", "client"), uint64(i)}
		waiters[i].To = waiters[0].To
	}
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		all := make([]messages.EntryView, entries)
		for i := range all {
			sequence := uint64(a.applied) + uint64(i)
			all[i] = messages.EntryView{Data: counter.Add(1), Session: 1, Sequence: sequence, Acknowledged: sequence - min(sequence, 256)}
		}
		block := blockOf(1, 1, uint64(a.applied)+1, 1, all...)
		b.StartTimer()
		a.applyBlock(nil, &block, waiters, core.Index(block.LastIndex()))
		clear(a.replies.to)
		clear(a.replies.items)
		a.replies.to, a.replies.items = a.replies.to[:0], a.replies.items[:0]
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*entries), "ns/entry")
}
