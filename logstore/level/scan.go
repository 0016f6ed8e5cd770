package level

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/syndtr/goleveldb/leveldb/util"

	"github.com/protoraft/protoraft/logstore/vfs"
)

// Journals and manifests are sequences of records, cut into chunks that do not
// cross 32 KiB blocks: checksum (4), length (2), type (1), bytes. goleveldb's reader
// drops what it cannot read, with the rest of the block, and goes on behind it. Here
// the same bytes are read to tell a record that never became whole from one that
// was whole once.
//
// We sync each record before the next one is written. So an interrupted write is
// the last record of its file, and some of it is not there; anything else is damage.
// Behind the last record of a journal there are zeros, as many as were written ahead.
const (
	chunkBlock  = 32 << 10
	chunkHeader = 7

	chunkFull   = 1
	chunkFirst  = 2
	chunkMiddle = 3
	chunkLast   = 4
)

// damage is where a file stops making sense.
type damage struct {
	at     int  // of the chunk
	torn   bool // an interrupted write, never acknowledged
	reason string
}

// scanner walks the records of one file.
type scanner struct {
	data   []byte
	at     int    // of the next chunk
	end    int    // of the last whole record
	record []byte // reused
	damage *damage

	// begins says whether bytes can be the beginning of a record that follows those
	// read so far: a value that somebody stored may look like a chunk of its own.
	begins func(body []byte) bool
}

// next returns the next record, valid until the call after. At the end it returns
// false, and damage is nil where nothing but zeros is left.
func (s *scanner) next() ([]byte, bool) {
	s.record = s.record[:0]
	for begun := false; ; begun = true {
		s.skipPadding()
		if s.at >= len(s.data) {
			if begun {
				s.damage = &damage{at: s.end, torn: true, reason: "the last record has no end"}
			}
			return nil, false
		}
		kind, body, reason := chunkAt(s.data, s.at)
		if reason == "" && begun != (kind == chunkMiddle || kind == chunkLast) {
			// Whole chunks in an order nobody writes.
			s.damage = &damage{at: s.at, reason: fmt.Sprintf("chunk of type %d out of order", kind)}
			return nil, false
		}
		if reason != "" {
			if begun || !allZero(s.data[s.at:]) {
				s.damage = s.judge(reason)
			}
			return nil, false
		}
		s.record = append(s.record, body...)
		s.at += chunkHeader + len(body)
		if kind == chunkFull || kind == chunkLast {
			s.end = s.at
			return s.record, true
		}
	}
}

func (s *scanner) skipPadding() {
	if left := chunkBlock - s.at%chunkBlock; left < chunkHeader {
		s.at += left
	}
}

// blockEnd is where the block around at ends, or the file does.
func blockEnd(data []byte, at int) int { return min(len(data), at-at%chunkBlock+chunkBlock) }

func chunkAt(data []byte, at int) (kind byte, body []byte, reason string) {
	limit := blockEnd(data, at)
	if at+chunkHeader > limit {
		return 0, nil, "chunk header cut short"
	}
	header := data[at : at+chunkHeader]
	kind = header[6]
	if kind < chunkFull || kind > chunkLast {
		return 0, nil, fmt.Sprintf("chunk type %d", kind)
	}
	end := at + chunkHeader + int(binary.LittleEndian.Uint16(header[4:]))
	if end > limit {
		return 0, nil, fmt.Sprintf("chunk ends at byte %d, its block at %d", end, limit)
	}
	if !checks(data, at, end) {
		return 0, nil, "checksum mismatch"
	}
	return kind, data[at+chunkHeader : end], ""
}

func checks(data []byte, at, end int) bool {
	return binary.LittleEndian.Uint32(data[at:]) == util.NewCRC(data[at+chunkHeader-1:end]).Value()
}

// judge decides whether the chunk at s.at, which cannot be read, was ever whole.
func (s *scanner) judge(reason string) *damage {
	d := &damage{at: s.at, reason: reason}
	switch {
	case s.recordBehind():
		d.reason += ", with a whole record behind it"
	case s.whole():
		d.reason += ", with every sector of it there"
	default:
		d.torn = true
	}
	return d
}

// recordBehind looks for the beginning of a record anywhere behind s.at: whatever
// is before such a beginning was synced, thus whole.
func (s *scanner) recordBehind() bool {
	for at := s.at + 1; at+chunkHeader <= len(s.data); at++ {
		kind := s.data[at+6]
		if kind != chunkFull && kind != chunkFirst {
			continue
		}
		if _, body, reason := chunkAt(s.data, at); reason == "" && s.begins(body) {
			return true
		}
	}
	return false
}

// whole says whether all sectors of the chunk at s.at reached the disk, so that
// what is wrong with it came later. A sector that never did is zero, or beyond the
// end of the file.
func (s *scanner) whole() bool {
	limit := blockEnd(s.data, s.at)
	if s.at+chunkHeader > limit {
		return false
	}
	if s.checksLonger(limit) {
		return true // but for its length
	}
	end := s.at + chunkHeader + int(binary.LittleEndian.Uint16(s.data[s.at+4:]))
	kind := s.data[s.at+6]
	switch {
	case kind < chunkFull || kind > chunkLast || end > s.at-s.at%chunkBlock+chunkBlock:
		// No header is written like this. Either it is damaged or not all of it is there.
		last := s.at + chunkHeader - 1
		end = min(limit, last-last%vfs.SectorBytes+vfs.SectorBytes)
	case end > limit:
		return false
	}
	for from := s.at; from < end; {
		to := min(end, from-from%vfs.SectorBytes+vfs.SectorBytes)
		if allZero(s.data[from:to]) {
			return false
		}
		from = to
	}
	return true
}

// checksLonger says whether the chunk at s.at has the right checksum with another
// length: up to the last byte before limit that is not zero, or with up to a sector
// of zeros more. Trying all of them would make chance matter.
func (s *scanner) checksLonger(limit int) bool {
	body := s.data[s.at+chunkHeader-1 : limit]
	used := max(1, len(bytes.TrimRight(body, "\x00")))
	body = body[:min(len(body), used+vfs.SectorBytes)]
	want := binary.LittleEndian.Uint32(s.data[s.at:])
	crc := util.NewCRC(body[:used])
	for ; crc.Value() != want; used++ {
		if used == len(body) {
			return false
		}
		crc = crc.Update(body[used : used+1])
	}
	return true
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
