package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/vfs"
)

// recovery reads the segments that an earlier life has left, and changes nothing.
//
// Only the last frame of the newest segment may be an interrupted write: each one was
// synced before the next was written. A segment counts from when its first frame is
// whole, and that one tells of all before it; of those nothing else is read.
type recovery struct {
	dir  directory
	open func(slot int) (vfs.File, error)

	// lenient goes on where it would stop, for who only looks.
	lenient bool
	damage  []error

	groups map[uint64]*group
	used   []*segment // whatever has a segment's number, by that number
	chain  []*segment // of those the ones that are needed, the oldest first
	free   []*segment

	highest uint64 // number of any segment, also of one that was never begun
	newest  *segment
	begin   start // of the newest
	data    []byte
	frames  []frameInfo // of the newest
}

// read takes in everything. slots is how many files there must be.
func (r *recovery) read(slots int) error {
	r.groups = map[uint64]*group{}
	for n := 1; n <= slots; n++ {
		if err := r.look(n); err != nil && !r.excused(err) {
			return err
		}
	}
	slices.SortFunc(r.used, func(a, b *segment) int { return int(int64(a.seq) - int64(b.seq)) })
	if n := len(r.used); n > 0 {
		r.highest = r.used[n-1].seq
	}
	if err := r.findNewest(); err != nil {
		return err
	}
	if r.newest != nil {
		if err := r.findChain(); err != nil {
			return err
		}
	}
	if err := r.findBeheaded(); err != nil || r.newest == nil {
		return err
	}
	return r.replay()
}

// excused takes note of damage, where that is enough.
func (r *recovery) excused(err error) bool {
	if r.lenient && errors.Is(err, logstore.ErrCorrupt) {
		r.damage = append(r.damage, err)
		return true
	}
	return false
}

// look finds out which segment a file holds.
func (r *recovery) look(slot int) error {
	f, err := r.open(slot)
	if errors.Is(err, fs.ErrNotExist) {
		return r.dir.corrupt(slotName(slot), "missing, but %s names it", MarkName)
	}
	if err != nil {
		return err
	}
	seg := &segment{slot: slot, file: f}
	r.free = append(r.free, seg) // until it is known to be needed
	if seg.filled, err = f.Size(); err != nil || seg.filled < vfs.SectorBytes {
		return err
	}
	sector, err := readFull(f, 0, vfs.SectorBytes)
	if err != nil {
		return err
	}
	seq, kind, state := openSector(sector, 0)
	switch {
	case state == absent:
		return nil
	case state == damaged:
		// Whatever was acknowledged last may be here.
		seq = binary.LittleEndian.Uint64(sector[4:]) & seqMask
		if _, _, err := r.firstFrame(seg, seq); err != nil {
			return r.dir.corrupt(slotName(slot), "its first sector is damaged")
		}
	case kind != kindStart:
		return r.dir.corrupt(slotName(slot), "no frame begins in its first sector")
	}
	seg.seq = seq
	r.used = append(r.used, seg)
	return nil
}

// firstFrame reads what the first frame of a segment tells, without the bytes of blocks.
func (r *recovery) firstFrame(seg *segment, seq uint64) (f frameInfo, data []byte, err error) {
	if data, err = readFull(seg.file, 0, vfs.SectorBytes); err != nil {
		return f, nil, err
	}
	f = readHeader(data[sectorHeader:], 0)
	if reason := f.impossible(); reason != "" || int64(f.toldBytes()) > seg.filled {
		return f, nil, r.dir.corrupt(slotName(seg.slot), "its first frame cannot be read")
	}
	if data, err = readFull(seg.file, 0, f.toldBytes()); err != nil {
		return f, nil, err
	}
	if !f.told(data, seq) {
		return f, nil, r.dir.corrupt(slotName(seg.slot), "its first frame is damaged")
	}
	return f, data, nil
}

// findNewest finds the last segment whose first frame is whole, and reads it.
func (r *recovery) findNewest() error {
	for i := len(r.used) - 1; i >= 0; i-- {
		seg := r.used[i]
		if i > 0 && r.used[i-1].seq == seg.seq {
			return r.dir.corrupt(slotName(seg.slot), "segment %d, as %s", seg.seq, slotName(r.used[i-1].slot))
		}
		data, bad, err := readSegment(seg.file, seg.filled)
		if err != nil {
			return err
		}
		frames, err := r.scanNewest(seg, data)
		if err != nil && bad.err != nil {
			err = fmt.Errorf("%w: %w", err, bad.err)
		}
		if err != nil && !r.excused(err) {
			return err
		}
		if len(frames) == 0 {
			continue // it was never begun
		}
		// The last frame is written again, and may yet be read some other time.
		if last := &frames[len(frames)-1]; bad.within(last.at, last.end()) && !r.lenient {
			return bad.err
		}
		r.newest, r.data, r.frames = seg, data, frames
		seg.end = frames[len(frames)-1].end()
		r.begin, err = readStart(r.stream(&frames[0], frameHeader, frames[0].begin))
		if err != nil {
			return r.unreadable(seg, &frames[0], err)
		}
		return nil
	}
	if len(r.used) > 0 {
		// The first segment of all was begun when nothing had been acknowledged.
		for _, seg := range r.used {
			if seg.seq != 1 {
				return r.dir.corrupt(slotName(seg.slot), "segment %d has no whole frame, and there is none before it", seg.seq)
			}
		}
	}
	return nil
}

func (r *recovery) unreadable(seg *segment, f *frameInfo, err error) error {
	if errors.Is(err, logstore.ErrNewerFormat) {
		return fmt.Errorf("%s: %w", r.dir.slot(seg.slot), err)
	}
	return r.dir.corrupt(slotName(seg.slot), "frame at byte %d: %v", f.at, err)
}

// scanNewest returns the frames of a segment that has no successor.
func (r *recovery) scanNewest(seg *segment, data []byte) (frames []frameInfo, err error) {
	for at := int64(0); ; {
		rest := data[min(at, int64(len(data))):]
		f, v, why := judgeFrame(rest, at, seg.seq)
		where, more := int64(0), false
		if v != whole && v != harmed {
			if where, more = startBehind(rest, at, seg.seq); more && f.lostBlocks(v, rest, seg.seq) {
				v = harmed
			}
		}
		if v == whole || v == harmed {
			if n := len(frames); n > 0 && f.batch != frames[n-1].batch+1 {
				return frames, r.dir.corrupt(slotName(seg.slot), "frame at byte %d has number %d, expected %d", at, f.batch, frames[n-1].batch+1)
			}
			frames, at = append(frames, f), f.end()
			continue
		}
		if more {
			return frames, r.dir.corrupt(slotName(seg.slot), "the frame at byte %d cannot be read (%s), but one begins at byte %d", at, why, where)
		}
		if v == broken {
			return frames, r.dir.corrupt(slotName(seg.slot), "the frame at byte %d cannot be read: %s", at, why)
		}
		return frames, nil // torn, or nothing: never acknowledged
	}
}

// findChain finds the segments that the newest one names and that are still needed.
func (r *recovery) findChain() error {
	oldest := r.frames[len(r.frames)-1].oldest
	for _, l := range r.begin.chain {
		if l.seq < oldest {
			continue
		}
		i := slices.IndexFunc(r.used, func(s *segment) bool { return s.seq == l.seq })
		if i < 0 || r.used[i].filled < l.end {
			err := r.dir.corrupt(slotName(r.newest.slot), "segment %d, of %d bytes, is named here and is not there", l.seq, l.end)
			if !r.excused(err) {
				return err
			}
			continue
		}
		r.used[i].end = l.end
		r.chain = append(r.chain, r.used[i])
	}
	r.free = slices.DeleteFunc(r.free, func(s *segment) bool { return s == r.newest || slices.Contains(r.chain, s) })
	return nil
}

// replay applies what happened in each segment, in order.
func (r *recovery) replay() error {
	indexes, err := r.indexes()
	if err != nil {
		return err
	}
	for i, seg := range r.chain {
		if err := r.apply(&opReader{rest: indexes[i], end: int(seg.end/vfs.SectorBytes) * sectorPayload}, seg); err != nil {
			if err = r.dir.corrupt(slotName(seg.slot), "%v", err); !r.excused(err) {
				return err
			}
		}
	}
	for i := range r.frames {
		f := &r.frames[i]
		if err := r.apply(r.ops(f), r.newest); err != nil {
			if err = r.unreadable(r.newest, f, err); !r.excused(err) {
				return err
			}
		}
	}
	return nil
}

// indexes returns what happened in each segment of the chain: as its successor says, or,
// where that is damaged, as its own frames do.
func (r *recovery) indexes() ([][]byte, error) {
	indexes := make([][]byte, len(r.chain))
	for i := len(r.chain) - 1; i >= 0; i-- {
		seg := r.chain[i]
		if i == len(r.chain)-1 {
			if n := len(r.begin.chain); n > 0 && r.begin.chain[n-1].seq == seg.seq {
				indexes[i] = r.begin.index
				continue
			}
		} else if index, ok := r.indexBefore(r.chain[i+1], seg); ok {
			indexes[i] = index
			continue
		}
		index, err := r.scanSealed(seg)
		if err != nil && !r.excused(err) {
			return nil, err
		}
		indexes[i] = index
	}
	return indexes, nil
}

// indexBefore reads what the segment after says of the one before it.
func (r *recovery) indexBefore(after, before *segment) ([]byte, bool) {
	f, data, err := r.firstFrame(after, after.seq)
	if err != nil {
		return nil, false
	}
	b := make([]byte, f.begin)
	streamAt(b, data, 0, frameHeader)
	s, err := readStart(b)
	if n := len(s.chain); err != nil || n == 0 || s.chain[n-1].seq != before.seq {
		return nil, false
	}
	return s.index, true
}

// scanSealed makes a segment's index from its frames, all of which must be there.
func (r *recovery) scanSealed(seg *segment) (index []byte, err error) {
	data, _, err := readSegment(seg.file, seg.end)
	if err != nil {
		return nil, err
	}
	for at := int64(0); at < seg.end; {
		f, v, why := judgeFrame(data[at:], at, seg.seq)
		if v != whole && v != harmed && !f.lostBlocks(v, data[at:], seg.seq) {
			return index, r.dir.corrupt(slotName(seg.slot), "the frame at byte %d cannot be read (%s), and it is sealed to byte %d", at, why, seg.end)
		}
		dir := make([]byte, f.dir)
		streamAt(dir, data, 0, f.streamStart()+frameHeader+f.begin)
		index = appendIndex(index, &f, dir)
		at = f.end()
	}
	return index, nil
}

// appendIndex adds a frame's directory to its segment's index.
func appendIndex(index []byte, f *frameInfo, dir []byte) []byte {
	if len(dir) == 0 {
		return index
	}
	return append(appendOp(index, &op{kind: opFrame, pos: uint32(f.dataAt())}), dir...)
}

// stream copies a part of a frame of the newest segment.
func (r *recovery) stream(f *frameInfo, from, size int) []byte {
	b := make([]byte, size)
	streamAt(b, r.data, 0, f.streamStart()+from)
	return b
}

// dir is the directory of a frame of the newest segment.
func (r *recovery) directory(f *frameInfo) []byte { return r.stream(f, frameHeader+f.begin, f.dir) }

func (r *recovery) ops(f *frameInfo) *opReader {
	return &opReader{rest: r.directory(f), data: f.dataAt(), end: f.streamStart() + f.length}
}

func (r *recovery) apply(ops *opReader, seg *segment) error {
	for {
		o, ok := ops.next()
		if !ok {
			return ops.err
		}
		if o.kind == opFrame {
			continue
		}
		g := r.groups[o.group]
		if g == nil {
			g = newGroup(o.group)
			r.groups[o.group] = g
		}
		g.apply(&o, seg)
	}
}
