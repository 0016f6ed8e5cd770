package journal

import (
	"errors"
	"io/fs"
	"slices"

	"github.com/protoraft/protoraft/logstore/vfs"
)

func newGroup(id uint64) *group { return &group{id: id, view: view{first: 1}} }

// recover reads what is there and begins a segment of this life. Nothing is written behind
// what an earlier life has left, and its last frame is written again: after a failed sync
// the cache may show what the disk does not have.
func (s *Store) recover() error {
	if err := s.findMark(); err != nil {
		return err
	}
	r := &recovery{dir: s.dir, open: func(n int) (vfs.File, error) { return s.dir.openSlot(n, s.opts.direct()) }}
	err := r.read(s.slots)
	// Whatever was opened is closed with the store.
	s.chain, s.free, s.groups = r.chain, r.free, r.groups
	if err != nil {
		if r.newest != nil && !slices.Contains(s.free, r.newest) {
			s.free = append(s.free, r.newest)
		}
		return err
	}
	return s.beginLife(r)
}

// findMark reads how many files there must be, and removes those that were made for a
// mark that was never written.
func (s *Store) findMark() (err error) {
	found, err := s.dir.slots()
	if err != nil {
		return err
	}
	s.slots, err = s.dir.readMark()
	unmarked := errors.Is(err, fs.ErrNotExist)
	if err != nil && !unmarked {
		return err
	}
	unnamed := beyond(found, s.slots)
	if err := s.dir.checkUnused(unnamed); err != nil {
		return err
	}
	for _, n := range unnamed {
		if err := s.dir.fs.Remove(s.dir.slot(n)); err != nil {
			return err
		}
	}
	if !unmarked {
		return nil
	}
	// An empty journal is one that has its mark.
	err = s.dir.prepareMark(0)
	for err != nil && vfs.IsFull(err) && s.spare(reserveStep, all) {
		err = s.dir.prepareMark(0)
	}
	if err != nil {
		return err
	}
	return s.dir.publishMark()
}

// beyond are the files whose numbers are above those that a mark names.
func beyond(found []int, slots int) []int {
	return slices.DeleteFunc(slices.Clone(found), func(n int) bool { return n <= slots })
}

// checkUnused: files that no mark names were made for one that was never written, and have
// nothing in them. Where they have, the mark is gone, or an older one is in its place.
func (d directory) checkUnused(slots []int) error {
	for _, n := range slots {
		data, err := d.read(slotName(n))
		if err != nil {
			return err
		}
		if !allZero(data) {
			return d.corrupt(MarkName, "missing, or an older one: %s is in use, and not named", slotName(n))
		}
	}
	return nil
}

// beginLife begins the first segment of this life. What was read is synced first: a process
// that was killed before its sync has left it in the cache.
func (s *Store) beginLife(r *recovery) error {
	if r.newest != nil {
		if err := r.newest.file.Sync(); err != nil {
			return err
		}
	}
	last, begin, info := s.lastFrame(r)
	ops, held := r.lastOps(last), r.held()
	s.free = slices.DeleteFunc(s.free, func(seg *segment) bool { return slices.Contains(held, seg) })
	seg, err := s.beginSegment(r.highest+1, &begin, ops, info, all)
	s.free = append(s.free, held...)
	if err != nil {
		return err
	}
	if r.newest != nil {
		if last.at > 0 {
			r.newest.end = last.at
			s.chain = append(s.chain, r.newest)
		} else {
			r.newest.end = 0
			s.free = append(s.free, r.newest)
		}
	}
	s.active, s.free = seg, without(s.free, seg)
	for i := range ops {
		s.groups[ops[i].group].apply(&ops[i], seg)
	}
	for _, g := range s.groups {
		g.merge()
	}
	return nil
}

// lastFrame is the frame that is written again, and what the new segment says of those
// before it.
func (s *Store) lastFrame(r *recovery) (last *frameInfo, begin start, info frameInfo) {
	if r.newest == nil {
		return nil, begin, frameInfo{batch: 1, oldest: 1}
	}
	n := len(r.frames) - 1
	last = &r.frames[n]
	begin.chain = links(r.chain)
	if last.at == 0 {
		// All there is of that segment is written again: nobody needs it any more.
		if len(begin.chain) > 0 {
			begin.index = r.begin.index
		}
		return last, begin, frameInfo{batch: last.batch + 1, oldest: last.oldest}
	}
	begin.chain = append(begin.chain, link{r.newest.seq, last.at})
	for i := range r.frames[:n] {
		begin.index = appendIndex(begin.index, &r.frames[i], r.directory(&r.frames[i]))
	}
	return last, begin, frameInfo{batch: last.batch + 1, oldest: last.oldest}
}

// lastOps are the ops of a frame, with the bytes of its blocks as they are.
func (r *recovery) lastOps(f *frameInfo) (ops []op) {
	if f == nil {
		return nil
	}
	read := r.ops(f)
	for {
		o, ok := read.next()
		if !ok {
			return ops // it was read before, without an error
		}
		if o.block() {
			o.bytes = make([]byte, o.length)
			streamAt(o.bytes, r.data, 0, int(o.pos))
		}
		ops = append(ops, o)
	}
}

func links(chain []*segment) (list []link) {
	for _, seg := range chain {
		list = append(list, link{seg.seq, seg.end})
	}
	return list
}

func without(list []*segment, seg *segment) []*segment {
	return slices.DeleteFunc(list, func(s *segment) bool { return s == seg })
}

// beginSegment writes the first frame of a segment into a file that is in no use. Until it
// is whole the segment before it is the last.
func (s *Store) beginSegment(seq uint64, begin *start, ops []op, info frameInfo, may spend) (*segment, error) {
	head := begin.append(nil)
	s.layOut(&info, len(head), ops)
	seg, err := s.freeSegment(int64(info.size), may)
	if err != nil {
		return nil, err
	}
	if err := s.writeFrame(seg, seq, &info, head, ops); err != nil {
		return nil, err
	}
	seg.seq, seg.end, seg.owners = seq, info.end(), seg.owners[:0]
	seg.objects, seg.live = 0, 0
	s.index = appendIndex(s.index[:0], &info, s.dirBytes)
	return seg, nil
}

// layOut encodes the directory of a frame and sizes it. s.dirBytes is the directory from
// then on, and where each block goes is in its op.
func (s *Store) layOut(info *frameInfo, head int, ops []op) {
	s.dirBytes = s.dirBytes[:0]
	data := 0
	for i := range ops {
		s.dirBytes = appendOp(s.dirBytes, &ops[i])
		if ops[i].block() {
			data += len(ops[i].bytes)
		}
	}
	info.begin, info.dir = head, len(s.dirBytes)
	info.length = frameHeader + head + info.dir + data
	info.size = padded(info.length, s.opts.PageBytes)
}

// writeFrame makes a frame durable, in room that is there. Its error means that the store
// has failed.
func (s *Store) writeFrame(seg *segment, seq uint64, info *frameInfo, head []byte, ops []op) error {
	w := &s.writer
	w.reset(info.length, s.opts.PageBytes)
	w.tell(info, seq, head, s.dirBytes)
	for i, pos := 0, info.dataAt(); i < len(ops); i++ {
		if o := &ops[i]; o.block() {
			w.write(o.bytes)
			o.pos = uint32(pos)
			pos += len(o.bytes)
		}
	}
	if err := vfs.WriteSynced(seg.file, w.seal(info, seq), info.at); err != nil {
		return s.fail(err)
	}
	s.batch, s.oldest = info.batch, info.oldest
	return nil
}
