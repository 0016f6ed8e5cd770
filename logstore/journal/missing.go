package journal

import (
	"encoding/binary"
	"io"

	"github.com/protoraft/protoraft/logstore/vfs"
)

// findBeheaded looks for a segment whose beginning is gone: zeros are there, or what the
// file held before. It then looks like a file that is free, or like an older segment, and
// all that was acknowledged in it would be forgotten. Frames behind its first one tell: they
// were written when that one was durable.
func (r *recovery) findBeheaded() error {
	last := uint64(0)
	if r.newest != nil {
		last = r.newest.seq
	}
	buf := vfs.Aligned(readBytes)
	for _, seg := range r.free {
		if seg == r.newest {
			continue
		}
		at, seq := laterFrame(seg, last, buf)
		if seq == 0 {
			continue
		}
		err := r.dir.corrupt(slotName(seg.slot), "a frame of segment %d is at byte %d, and the beginning of that segment is gone; the last that is whole is %d", seq, at, last)
		if !r.excused(err) {
			return err
		}
	}
	return nil
}

// laterFrame finds the first frame in a file, but for one at its beginning, that is of a
// segment after last; seq is 0 where there is none. What cannot be read is passed over:
// as far as is known nobody needs it.
func laterFrame(seg *segment, last uint64, buf []byte) (at int64, seq uint64) {
	size := seg.filled / vfs.SectorBytes * vfs.SectorBytes
	for from := int64(0); from < size; from += int64(len(buf)) {
		data := buf[:min(int64(len(buf)), size-from)]
		if _, err := io.ReadFull(io.NewSectionReader(seg.file, from, int64(len(data))), data); err != nil {
			continue
		}
		for i := 0; i < len(data); i += vfs.SectorBytes {
			sector := data[i : i+vfs.SectorBytes]
			word := binary.LittleEndian.Uint64(sector[4:])
			if at = from + int64(i); at == 0 || word&^seqMask != kindStart || word&seqMask <= last {
				continue
			}
			if _, _, state := openSector(sector, uint32(at/vfs.SectorBytes)); state == starts {
				return at, word & seqMask
			}
		}
	}
	return 0, 0
}
