package journal

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/protoraft/protoraft/logstore/vfs"
)

// A file is made of sectors, which a disk writes whole or not at all. Each one says by
// itself what it is: checksum (4), kind and number of the segment (8), payload. The
// checksum begins with where the sector stands. So one that was not written is told from
// one that was damaged, also where the file held an older segment before.
const (
	sectorHeader  = 12
	sectorPayload = vfs.SectorBytes - sectorHeader

	kindStart    = 1 << 56 // a frame begins here
	kindContinue = 2 << 56 // it goes on
	seqMask      = 1<<56 - 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sectorState is what reading a sector found.
type sectorState uint8

const (
	absent  sectorState = iota // never written in this segment
	starts                     // whole, the first of a frame
	follows                    // whole, another of a frame
	damaged                    // once whole, or never a sector
)

// sealSector completes the sector that stands at number at of its file.
func sealSector(sector []byte, at uint32, kind, seq uint64) {
	binary.LittleEndian.PutUint64(sector[4:], kind|seq)
	binary.LittleEndian.PutUint32(sector, crc32.Update(at, castagnoli, sector[4:vfs.SectorBytes]))
}

// judgeSector looks at a sector of segment seq; at is its number in the file. One that is
// damaged counts as absent where it says that it is of a segment before: that it was
// written in this one is then not to be seen, and nobody misses it in that one.
func judgeSector(sector []byte, at uint32, seq uint64) sectorState {
	found, kind, state := openSector(sector, at)
	switch {
	case state == damaged:
		if earlier(sector, seq) && !isBut(sector, at, kindStart|seq) && !isBut(sector, at, kindContinue|seq) {
			return absent
		}
		return damaged
	case state != starts:
		return state
	case found < seq:
		return absent // of a segment that the file held before
	case found > seq:
		return damaged
	case kind == kindStart:
		return starts
	default:
		return follows
	}
}

// earlier says whether a sector says that it is of a segment before seq.
func earlier(sector []byte, seq uint64) bool {
	word := binary.LittleEndian.Uint64(sector[4:])
	kind, found := word&^seqMask, word&seqMask
	return (kind == kindStart || kind == kindContinue) && found > 0 && found < seq
}

// isBut says whether a sector would be whole with word for its kind and segment.
func isBut(sector []byte, at uint32, word uint64) bool {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], word)
	sum := crc32.Update(at, castagnoli, b[:])
	return binary.LittleEndian.Uint32(sector) == crc32.Update(sum, castagnoli, sector[sectorHeader:vfs.SectorBytes])
}

// openSector reads which segment a sector is of. Its state is absent, damaged, or starts
// for any whole one.
func openSector(sector []byte, at uint32) (seq, kind uint64, state sectorState) {
	if len(sector) < vfs.SectorBytes {
		return 0, 0, absent
	}
	word := binary.LittleEndian.Uint64(sector[4:])
	if word == 0 && allZero(sector) {
		return 0, 0, absent
	}
	seq, kind = word&seqMask, word&^seqMask
	if kind != kindStart && kind != kindContinue || seq == 0 ||
		binary.LittleEndian.Uint32(sector) != crc32.Update(at, castagnoli, sector[4:vfs.SectorBytes]) {
		return 0, 0, damaged
	}
	return seq, kind, starts
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// sectorsFor is how many sectors a stream of so many bytes takes.
func sectorsFor(stream int) int { return (stream + sectorPayload - 1) / sectorPayload }

// streamAt copies the bytes of a stream that begin at position from, out of sectors that
// begin at the position where sector first does.
func streamAt(to []byte, sectors []byte, first, from int) {
	for from -= first * sectorPayload; len(to) > 0; {
		in := from % sectorPayload
		sector := sectors[from/sectorPayload*vfs.SectorBytes:]
		n := copy(to, sector[sectorHeader+in:vfs.SectorBytes])
		to, from = to[n:], from+n
	}
}
