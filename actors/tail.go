package actors

import (
	"fmt"
	"sort"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/messages"
)

// tail is the member's log: the terms of all of it, and the blocks of its end.
// Steady state reads nothing from disk: what was appended lately is here, and
// always everything that is not yet durable or not yet handed to the Applier.
type tail struct {
	shape    core.LogShape
	blocks   []CommittedBlock // contiguous, up to the end of the log
	bytes    int
	lastTime int64

	// durable is the last entry known to be on disk. It falls with a truncation.
	durable core.Index
	// generation counts truncations. A write reported durable from before one says
	// nothing of what stands in its place now.
	generation uint64
	unreported int // blocks given to the LogWriter and not reported durable
}

func newTail(s *logstore.GroupState) tail {
	first := max(s.FirstIndex, 1)
	runs := make([]core.TermRun, len(s.Runs))
	for i, r := range s.Runs {
		runs[i] = core.TermRun{Term: core.Term(r.Term), First: core.Index(r.First), Last: core.Index(r.Last)}
	}
	t := tail{
		shape: core.NewLogShape(
			core.Position{Index: core.Index(first - 1), Term: core.Term(s.PrevTerm)}, runs),
		lastTime: s.LastTime,
	}
	t.durable = t.last().Index
	return t
}

func (t *tail) last() core.Position { return t.shape.Last() }

// inMemoryFrom is the first entry whose block is here, or the end of the log + 1.
func (t *tail) inMemoryFrom() core.Index {
	if len(t.blocks) == 0 {
		return t.last().Index + 1
	}
	return core.Index(t.blocks[0].FirstIndex)
}

func (t *tail) append(b CommittedBlock) {
	t.shape.Append(core.Term(b.Term), core.Index(b.FirstIndex), core.Index(b.LastIndex()))
	t.blocks = append(t.blocks, b)
	t.bytes += b.Len()
	t.lastTime = max(t.lastTime, b.Time)
}

// truncateFrom removes every entry at or above i and returns the blocks, or parts
// of blocks, that their waiters must hear about.
func (t *tail) truncateFrom(i core.Index) (waiters []Waiter, err error) {
	t.shape.TruncateFrom(i)
	t.generation++
	t.unreported = 0
	t.durable = min(t.durable, i-1)
	for n := len(t.blocks); n > 0 && t.blocks[n-1].LastIndex() >= uint64(i); n = len(t.blocks) {
		b := t.blocks[n-1]
		t.blocks[n-1] = CommittedBlock{}
		t.blocks = t.blocks[:n-1]
		t.bytes -= b.Len()
		keep := 0
		if b.FirstIndex < uint64(i) {
			kept, err := b.Prefix(uint64(i) - 1)
			if err != nil {
				return nil, err
			}
			keep = int(kept.Count)
			t.blocks = append(t.blocks, CommittedBlock{kept, b.Waiters[:min(keep, len(b.Waiters))]})
			t.bytes += kept.Len()
		}
		if len(b.Waiters) > keep {
			waiters = append(waiters, b.Waiters[keep:]...)
		}
	}
	return waiters, nil
}

// compactTo forgets the entries at or below i, which the machine has applied.
func (t *tail) compactTo(i core.Index) {
	t.shape.CompactTo(i)
	n := t.from(i + 1)
	for k := range n {
		t.bytes -= t.blocks[k].Len()
		t.blocks[k] = CommittedBlock{}
	}
	t.blocks = t.blocks[n:]
}

// reset begins the log anew after a durable snapshot. Reports of what was written
// before say nothing any more; nobody waits for what was here.
func (t *tail) reset(p core.Position, time int64) {
	*t = tail{
		shape: core.NewLogShape(p, nil), lastTime: max(t.lastTime, time),
		durable: p.Index, generation: t.generation + 1,
	}
}

// persisted takes the LogWriter's word, unless it is of an earlier generation.
func (t *tail) persisted(generation uint64, last core.Index) bool {
	if generation != t.generation {
		return false
	}
	t.unreported--
	t.durable = max(t.durable, min(last, t.last().Index))
	return true
}

// from returns the position in blocks of the one that holds i.
func (t *tail) from(i core.Index) int {
	return sort.Search(len(t.blocks), func(k int) bool { return t.blocks[k].LastIndex() >= uint64(i) })
}

// between returns the blocks in memory that hold entries of first..last. The first
// may begin before first and the last end after last.
func (t *tail) between(first, last core.Index) []CommittedBlock {
	a, b := t.from(first), t.from(last)
	if b < len(t.blocks) {
		b++
	}
	return t.blocks[a:b]
}

// read returns blocks from first on, up to about maxBytes and at least one. first
// must be in memory.
func (t *tail) read(first core.Index, maxBytes int) ([]messages.Block, error) {
	var out []messages.Block
	for k := t.from(first); k < len(t.blocks); k++ {
		b := t.blocks[k].Block
		if b.FirstIndex < uint64(first) {
			cut, err := b.Suffix(uint64(first))
			if err != nil {
				return nil, err
			}
			b = cut
		}
		if len(out) > 0 && b.Len() > maxBytes {
			break
		}
		maxBytes -= b.Len()
		out = append(out, b)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("nothing in memory from %d on, the log ends at %v", first, t.last())
	}
	return out, nil
}

// release drops the oldest blocks beyond keepBytes: none that is not durable, none that
// is not committed, and none whose waiters the Applier has not yet been given. What it
// drops can be read from disk.
func (t *tail) release(keepBytes int, handed, commit core.Index) {
	n := 0
	for n < len(t.blocks) && t.bytes > keepBytes {
		b := &t.blocks[n]
		free := commit
		if len(b.Waiters) > 0 {
			free = handed
		}
		if b.LastIndex() > uint64(min(t.durable, free)) {
			break
		}
		t.bytes -= b.Len()
		t.blocks[n] = CommittedBlock{}
		n++
	}
	t.blocks = t.blocks[n:]
}

// takeWaiters returns who waits for entries above i, and forgets them.
func (t *tail) takeWaiters(i core.Index) []Waiter {
	var out []Waiter
	for k := t.from(i + 1); k < len(t.blocks); k++ {
		b := &t.blocks[k]
		if len(b.Waiters) == 0 {
			continue
		}
		skip := 0
		if b.FirstIndex <= uint64(i) {
			skip = min(int(uint64(i)+1-b.FirstIndex), len(b.Waiters))
		}
		out = append(out, b.Waiters[skip:]...)
		b.Waiters = b.Waiters[:skip:skip]
	}
	return out
}
