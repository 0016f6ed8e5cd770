package journal

import (
	"fmt"
	"io/fs"

	"github.com/protoraft/protoraft/logstore"
)

// batchOps is what a Write puts together.
type batchOps struct {
	ops      []op
	touched  []*group
	dirBytes []byte
}

// writeBytesMax is the largest Write: a segment that holds it is one whose places fit 32
// bits.
const writeBytesMax = 1 << 30

// smallBytes is the largest Write that may take from the reserve.
const smallBytes = 64 << 10

// Write implements logstore.Store. All updates are one frame, so they are durable
// together or not at all.
func (s *Store) Write(updates []logstore.Update) error {
	if err := s.usable(); err != nil {
		return err
	}
	defer s.unstage()
	blocks := false
	for i := range updates {
		if err := s.stage(&updates[i]); err != nil {
			return err
		}
		blocks = blocks || len(updates[i].Blocks) > 0
	}
	if len(s.ops) == 0 {
		return nil
	}
	if n := opsBytes(s.ops); n > writeBytesMax {
		return fmt.Errorf("%w: %d bytes in one write, expected at most %d", logstore.ErrInvalid, n, writeBytesMax)
	}
	may := some
	if blocks || opsBytes(s.ops) > smallBytes {
		if may = none; s.room.size < s.room.want {
			if err := s.room.fill(); err != nil {
				return err
			}
		}
	}
	return s.commit(may)
}

func (s *Store) usable() error {
	s.mu.RLock()
	closed := s.closed
	s.mu.RUnlock()
	if closed {
		return fmt.Errorf("journal: write: %w", fs.ErrClosed)
	}
	return s.failure()
}

// opsBytes is about what ops take on disk.
func opsBytes(ops []op) (n int) {
	for i := range ops {
		n += 2*stateBytes + len(ops[i].bytes)
	}
	return n
}

// commit makes the ops durable, with what is to be moved along where there is room for
// it, and applies them.
func (s *Store) commit(may spend) error {
	own := s.ops
	if moved := s.collect(opsBytes(own)); len(moved) > 0 {
		err := s.put(append(moved, own...), none)
		if err == nil || s.failure() != nil {
			return err
		}
		s.gc.back() // no room to move anything
	}
	return s.put(own, may)
}

// put makes a frame of ops, in the active segment or in a new one.
func (s *Store) put(ops []op, may spend) error {
	info := frameInfo{at: s.active.end, batch: s.batch + 1, oldest: s.stillNeeded()}
	s.layOut(&info, 0, ops)
	next := s.active
	if s.mustRotate(&info) {
		begin := start{chain: links(s.chain[s.dead():]), index: s.index}
		begin.chain = append(begin.chain, link{s.active.seq, s.active.end})
		info.at = 0
		seg, err := s.beginSegment(s.active.seq+1, &begin, ops, info, may)
		if err != nil {
			return err
		}
		next = seg
	} else {
		if err := s.makeRoom(next, info.end(), may); err != nil {
			return err
		}
		if err := s.writeFrame(next, next.seq, &info, nil, ops); err != nil {
			return err
		}
		next.end = info.end()
		s.index = appendIndex(s.index, &info, s.dirBytes)
	}
	s.publish(next, ops)
	return nil
}

// mustRotate says whether a frame does not belong in the active segment any more.
func (s *Store) mustRotate(info *frameInfo) bool {
	return info.end() > int64(s.opts.SegmentBytes) || len(s.index)+info.dir > s.opts.IndexBytes
}

// dead is how many of the oldest segments nothing is needed of.
func (s *Store) dead() (n int) {
	for n < len(s.chain) && s.chain[n].objects == 0 {
		n++
	}
	return n
}

// stillNeeded is the oldest segment that is needed.
func (s *Store) stillNeeded() uint64 {
	if n := s.dead(); n < len(s.chain) {
		return s.chain[n].seq
	}
	return s.active.seq
}

// publish shows what is durable.
func (s *Store) publish(next *segment, ops []op) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if next != s.active {
		s.free = without(s.free, next)
		s.chain = append(s.chain, s.active)
		s.active = next
	}
	for i := range ops {
		s.groups[ops[i].group].apply(&ops[i], next)
	}
	for _, g := range s.touched {
		g.settle()
	}
	s.release()
}

// filesKept is how many free files keep their room in any case.
const filesKept = 2

// release frees the segments that the last frame says nobody needs.
func (s *Store) release() {
	for len(s.chain) > 0 && s.chain[0].seq < s.oldest {
		seg := s.chain[0]
		s.chain = s.chain[1:]
		seg.seq, seg.end, seg.owners = 0, 0, nil
		s.free = append(s.free, seg)
	}
	s.gc.forget(s.chain)
	s.giveBack()
}

// giveBack empties free files beyond what a log of this size needs, so that the disk gets
// back what a longer one has taken.
func (s *Store) giveBack() {
	used, live := s.active.filled, s.active.live
	for _, seg := range s.chain {
		used, live = used+seg.filled, live+seg.live
	}
	most := 2*live + int64(s.opts.SlackBytes) + filesKept*int64(s.opts.SegmentBytes)
	kept := 0
	for _, seg := range s.free {
		if seg.filled == 0 {
			continue
		}
		used += seg.filled
		if kept++; kept <= filesKept || used <= most || seg.pins.Load() > 0 {
			continue
		}
		if err := seg.file.Truncate(0); err != nil {
			s.log.Debug("a file that is not needed keeps its room", "file", s.dir.slot(seg.slot), "error", err)
			continue
		}
		used -= seg.filled
		seg.filled = 0
	}
}

func (s *Store) unstage() {
	clear(s.ops)
	s.ops = s.ops[:0]
	for i, g := range s.touched {
		g.draft, s.touched[i] = draft{}, nil
	}
	s.touched = s.touched[:0]
}
