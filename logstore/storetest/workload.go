package storetest

import (
	"fmt"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/messages"
)

// groups is how many groups share the store: 1 to groups.
const groups = 3

// workload returns the writes every crash and fault is tried on: appends, votes,
// truncation within and between blocks, compaction, a snapshot beyond the end, a
// group deleted and made anew. size is how large an entry is.
func workload(size int) [][]logstore.Update {
	b := func(group, term, prevTerm, first uint64, count int) []messages.Block {
		return []messages.Block{block(group, term, prevTerm, first, count, size)}
	}
	vote := func(term uint64) *logstore.HardState {
		return &logstore.HardState{Term: term, Vote: fmt.Sprint("n", term)}
	}
	return [][]logstore.Update{
		{{Group: 1, Incarnation: 7, HardState: vote(1), Blocks: b(1, 1, 0, 1, 3)}},
		{
			{Group: 1, HardState: vote(2)},
			{Group: 2, Incarnation: 8, HardState: vote(1), Blocks: []messages.Block{configuration(2, 1, 0, 1, "a b c")}},
		},
		{
			{Group: 1, Blocks: append(b(1, 2, 1, 4, 4), block(1, 2, 2, 8, 4, size))},
			{Group: 2, Blocks: b(2, 1, 1, 2, 5)},
			{Group: 3, Incarnation: 1, HardState: vote(9), CompactTo: 40, CompactTerm: 8},
		},
		{{Group: 3, HardState: vote(10), Note: []byte("a note")}},
		{ // a conflict within a block, in the same write as the entries that replace it
			{Group: 1, HardState: vote(3), Note: []byte("one more"), TruncateFrom: 6, Blocks: b(1, 3, 2, 6, 2)},
			{Group: 3, Blocks: b(3, 9, 8, 41, 6)},
		},
		{
			{Group: 1, CompactTo: 4, CompactTerm: 2},
			{Group: 2, TruncateFrom: 2, HardState: vote(2)},
		},
		{{Group: 2, Blocks: []messages.Block{configuration(2, 2, 1, 2, "a b"), block(2, 2, 2, 3, 9, size)}}},
		{
			{Group: 3, Delete: true},
			{Group: 1, Blocks: b(1, 3, 3, 8, 3), CompactTo: 8, CompactTerm: 3},
		},
		{
			{Group: 3, Delete: true, Incarnation: 2, HardState: vote(1), Blocks: b(3, 1, 0, 1, 2)},
			{Group: 2, CompactTo: 50, CompactTerm: 2},
		},
		{{Group: 1, TruncateFrom: 9, Blocks: b(1, 4, 3, 9, 7)}, {Group: 2, Blocks: b(2, 5, 2, 51, 3)}},
		{{Group: 1, HardState: vote(5)}, {Group: 2, HardState: vote(5)}, {Group: 3, HardState: vote(5), Blocks: b(3, 5, 1, 3, 1)}},
	}
}
