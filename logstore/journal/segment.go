package journal

import (
	"sync/atomic"

	"github.com/protoraft/protoraft/logstore/vfs"
)

// segment is a stretch of the journal, and the file that holds it. When nothing in it is
// needed any more its file holds another one.
type segment struct {
	slot   int // number of the file
	file   vfs.File
	filled int64 // the file's length: there is room up to here

	seq uint64 // 0 while the file is free
	end int64  // of the frames that count, in bytes of the file

	// What of it is needed, under Store.mu.
	objects int   // blocks, hard states, notes and log states
	live    int64 // their bytes
	// owners are the groups of what was ever in it, in order.
	owners []owner

	pins atomic.Int32 // readers that were shown what is in it
}

// owner is who had something in a segment.
type owner struct {
	group uint64
	first uint64 // of a block
	pos   uint32
	bytes uint32
	kind  opKind
}

func (o *owner) block() bool { return o.kind >= opBlock }

// stateBytes is what a hard state or log state counts for.
const stateBytes = 32

func (s *segment) retain(bytes int) {
	s.objects++
	s.live += int64(bytes)
}

func (s *segment) release(bytes int) {
	s.objects--
	s.live -= int64(bytes)
}
