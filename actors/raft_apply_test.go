package actors

import (
	"testing"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/messages"
)

// TestWaitersGoToTheApplierAlone: who waits for an entry is answered by the Applier once
// it has the entry, and until then by the Raft: never by both, never by neither.
func TestWaitersGoToTheApplierAlone(t *testing.T) {
	var r raft
	r.opts.Limits = &Limits{ApplyBacklogBytes: 1 << 20}
	r.tail = newTail(&logstore.GroupState{FirstIndex: 1})
	client := actor.NewPID("a", "client")
	for first := uint64(1); first <= 5; first += 2 {
		r.tail.append(CommittedBlock{
			Block:   blockOf(1, 1, first, min(first-1, 1), messages.EntryView{}, messages.EntryView{}),
			Waiters: []Waiter{{client, first}, {client, first + 1}},
		})
	}
	handed := r.takeBlocks(1, 3) // the second block in part
	if len(handed) != 2 || len(handed[0].Waiters) != 2 || len(handed[1].Waiters) != 2 {
		t.Fatalf("handed over %+v, expected two blocks with those who wait", handed)
	}
	if kept := r.tail.blocks; kept[0].Waiters != nil || len(kept[1].Waiters) != 2 || len(kept[2].Waiters) != 2 {
		t.Fatalf("kept %+v, expected those of the first block to be forgotten", kept)
	}
	var left []uint64
	for _, w := range r.tail.takeWaiters(3) {
		left = append(left, w.Request)
	}
	if len(left) != 3 || left[0] != 4 || left[1] != 5 || left[2] != 6 {
		t.Fatalf("requests %v are the Raft's to answer, expected 4, 5 and 6", left)
	}
}
