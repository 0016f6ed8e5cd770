package journal

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"io"
	"slices"

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

// unread are the sectors that the disk could not read, by where they begin.
type unread struct {
	sectors []int64
	err     error // the first
}

func (u *unread) within(from, to int64) bool {
	return slices.ContainsFunc(u.sectors, func(at int64) bool { return at >= from && at < to })
}

// readSegment reads so much of a file. In the place of what the disk cannot read are bytes
// that no sector has, so that it counts as damaged.
func readSegment(f vfs.File, size int64) (data []byte, bad unread, err error) {
	data, err = readFull(f, 0, int(size))
	if !vfs.IsUnreadable(err) {
		return data, bad, err
	}
	data = bytes.Repeat([]byte{0xff}, int(size))
	for at := int64(0); at < size; at += vfs.DirectBytes {
		page := data[at:min(at+vfs.DirectBytes, size)]
		got, err := readFull(f, at, len(page))
		if vfs.IsUnreadable(err) {
			err = bad.read(f, at, page)
		} else {
			copy(page, got)
		}
		if err != nil {
			return nil, bad, err
		}
	}
	return data, bad, nil
}

// read goes through a page of which something cannot be read.
func (u *unread) read(f vfs.File, at int64, page []byte) error {
	for i := 0; i < len(page); i += vfs.SectorBytes {
		sector := page[i:min(i+vfs.SectorBytes, len(page))]
		got, err := readFull(f, at+int64(i), len(sector))
		switch {
		case err == nil:
			copy(sector, got)
		case !vfs.IsUnreadable(err):
			return err
		default:
			u.sectors = append(u.sectors, at+int64(i))
			u.err = cmp.Or(u.err, err)
		}
	}
	return nil
}
