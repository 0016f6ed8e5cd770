package journal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/protoraft/protoraft/logstore/vfs"
)

// A frame is what one Write makes durable. It begins at a page of its own, so that no
// sync that follows touches it again. Its bytes, without the headers of the sectors, are
//
//	length of all (4), of the beginning (4), of the directory (4)
//	checksum over the checksums of its sectors but the first (4)
//	batch (8): one more than the frame before it in the segment
//	oldest (8): number of the oldest segment that is needed
//	bytes on disk (4), to where the next frame begins
//	checksum over segment, place, header, beginning and directory (4): where a sector is
//	damaged, it tells whether more than blocks is
//	beginning: only in a segment's first frame; see start
//	directory: what happened, one op after the other
//	bytes of the blocks in the directory, in its order
const frameHeader = 40

// frameWriter builds a frame in a buffer that is used again.
type frameWriter struct {
	buf []byte // sectors
	pos int    // in the stream
}

// keepFrameBytes is the largest frame whose buffer is used again.
const keepFrameBytes = 8 << 20

// reset begins a frame of so many bytes of stream.
func (w *frameWriter) reset(stream, page int) {
	size := padded(stream, page)
	if cap(w.buf) < size || cap(w.buf) > keepFrameBytes && size <= keepFrameBytes {
		w.buf = vfs.Aligned(max(size, 64<<10))
	}
	w.buf, w.pos = w.buf[:size], 0
	clear(w.buf[max(sectorsFor(stream)-1, 0)*vfs.SectorBytes:]) // the last sector, and the padding
}

// padded is how many bytes a stream takes on disk.
func padded(stream, page int) int {
	return (sectorsFor(stream)*vfs.SectorBytes + page - 1) / page * page
}

func (w *frameWriter) write(p []byte) {
	sector, in := w.buf[w.pos/sectorPayload*vfs.SectorBytes:], w.pos%sectorPayload
	w.pos += len(p)
	for len(p) > 0 {
		n := copy(sector[sectorHeader+in:vfs.SectorBytes], p)
		p, sector, in = p[n:], sector[vfs.SectorBytes:], 0
	}
}

// frameInfo is the header of a frame, and where it stands.
type frameInfo struct {
	at     int64 // in the file
	length int   // of the stream
	begin  int   // bytes of the beginning
	dir    int   // bytes of the directory
	batch  uint64
	oldest uint64
	size   int // on disk, padding included
}

// dataAt is the stream position, counted from the beginning of the file, where the bytes
// of the frame's blocks begin.
func (f *frameInfo) dataAt() int { return f.streamStart() + frameHeader + f.begin + f.dir }

// streamStart is where the frame's stream begins, counted over the sectors of the file.
func (f *frameInfo) streamStart() int { return int(f.at/vfs.SectorBytes) * sectorPayload }

func (f *frameInfo) end() int64 { return f.at + int64(f.size) }

// tell writes the frame's header, beginning and directory. The checksum of the sectors is
// left to seal.
func (w *frameWriter) tell(f *frameInfo, seq uint64, head, dir []byte) {
	var h [frameHeader]byte
	binary.LittleEndian.PutUint32(h[0:], uint32(f.length))
	binary.LittleEndian.PutUint32(h[4:], uint32(f.begin))
	binary.LittleEndian.PutUint32(h[8:], uint32(f.dir))
	binary.LittleEndian.PutUint64(h[16:], f.batch)
	binary.LittleEndian.PutUint64(h[24:], f.oldest)
	binary.LittleEndian.PutUint32(h[32:], uint32(f.size))
	binary.LittleEndian.PutUint32(h[36:], toldSum(h[:], f.at, seq, head, dir))
	w.write(h[:])
	w.write(head)
	w.write(dir)
}

// toldSum is the checksum of what a frame tells, but for its bytes of blocks.
func toldSum(header []byte, at int64, seq uint64, rest ...[]byte) uint32 {
	var where [16]byte
	binary.LittleEndian.PutUint64(where[0:], seq)
	binary.LittleEndian.PutUint64(where[8:], uint64(at))
	sum := crc32.Checksum(where[:], castagnoli)
	sum = crc32.Update(sum, castagnoli, header[:12])
	sum = crc32.Update(sum, castagnoli, header[16:36])
	for _, b := range rest {
		sum = crc32.Update(sum, castagnoli, b)
	}
	return sum
}

// seal gives the frame's sectors their checksums.
func (w *frameWriter) seal(f *frameInfo, seq uint64) []byte {
	n, first := sectorsFor(f.length), uint32(f.at/vfs.SectorBytes)
	check := uint32(0)
	for i := 1; i < n; i++ {
		sector := w.buf[i*vfs.SectorBytes:][:vfs.SectorBytes]
		sealSector(sector, first+uint32(i), kindContinue, seq)
		check = crc32.Update(check, castagnoli, sector[:4])
	}
	binary.LittleEndian.PutUint32(w.buf[sectorHeader+12:], check)
	sealSector(w.buf[:vfs.SectorBytes], first, kindStart, seq)
	return w.buf
}

// verdict is what reading a place where a frame may begin found.
type verdict uint8

const (
	nothing verdict = iota // no frame was begun here
	torn                   // an interrupted write, never acknowledged
	whole
	harmed // whole once; the bytes of blocks in it are damaged, not what tells of them
	broken // whole once; what it says is lost
)

// judgeFrame reads the frame at the beginning of data, which are the bytes of segment seq
// from at on.
func judgeFrame(data []byte, at int64, seq uint64) (f frameInfo, v verdict, why string) {
	if len(data) < vfs.SectorBytes {
		return f, nothing, ""
	}
	state := judgeSector(data[:vfs.SectorBytes], uint32(at/vfs.SectorBytes), seq)
	if state == absent || state == follows { // one that follows is of an earlier attempt to begin the segment
		return f, nothing, ""
	}
	f = readHeader(data[sectorHeader:], at)
	switch reason := f.impossible(); {
	case state == damaged && (reason != "" || !f.told(data, seq)):
		return f, broken, "its first sector is damaged"
	case reason != "":
		return f, broken, reason
	}
	return judgeSectors(data, f, seq, state == damaged)
}

// toldBytes is how many bytes of the file what a frame tells takes.
func (f *frameInfo) toldBytes() int {
	return sectorsFor(frameHeader+f.begin+f.dir) * vfs.SectorBytes
}

// told says whether the frame at the beginning of data tells what it told.
func (f *frameInfo) told(data []byte, seq uint64) bool {
	if len(data) < f.toldBytes() {
		return false
	}
	b := make([]byte, frameHeader+f.begin+f.dir)
	streamAt(b, data, 0, 0)
	return toldSum(b, f.at, seq, b[frameHeader:]) == binary.LittleEndian.Uint32(b[36:])
}

func readHeader(h []byte, at int64) frameInfo {
	return frameInfo{
		at:     at,
		length: int(binary.LittleEndian.Uint32(h[0:])),
		begin:  int(binary.LittleEndian.Uint32(h[4:])),
		dir:    int(binary.LittleEndian.Uint32(h[8:])),
		batch:  binary.LittleEndian.Uint64(h[16:]),
		oldest: binary.LittleEndian.Uint64(h[24:]),
		size:   int(binary.LittleEndian.Uint32(h[32:])),
	}
}

// impossible names what cannot be in a header, though its checksum is right.
func (f *frameInfo) impossible() string {
	switch {
	case f.length < frameHeader+f.begin+f.dir:
		return fmt.Sprintf("it has %d bytes, its parts %d", f.length, frameHeader+f.begin+f.dir)
	case f.size%vfs.SectorBytes != 0 || f.size < sectorsFor(f.length)*vfs.SectorBytes:
		return fmt.Sprintf("it has %d bytes on disk for %d", f.size, f.length)
	case f.batch == 0:
		return "it has no number"
	}
	return ""
}

// judgeSectors decides by the sectors behind the first. One that never reached the disk
// proves that the frame was never acknowledged.
func judgeSectors(data []byte, f frameInfo, seq uint64, firstBad bool) (frameInfo, verdict, string) {
	n, first, check, bad := sectorsFor(f.length), uint32(f.at/vfs.SectorBytes), uint32(0), -1
	if firstBad {
		bad = 0
	}
	for i := 1; i < n; i++ {
		if len(data) < (i+1)*vfs.SectorBytes {
			return f, torn, fmt.Sprintf("it ends after %d of %d sectors", i, n)
		}
		sector := data[i*vfs.SectorBytes:][:vfs.SectorBytes]
		switch judgeSector(sector, first+uint32(i), seq) {
		case absent:
			return f, torn, fmt.Sprintf("sector %d of %d is not there", i, n)
		case starts, damaged:
			if bad < 0 {
				bad = i
			}
		}
		check = crc32.Update(check, castagnoli, sector[:4])
	}
	switch {
	case bad >= 0 && !f.told(data, seq):
		return f, broken, fmt.Sprintf("sector %d of %d is damaged", bad, n)
	case bad >= 0:
		return f, harmed, fmt.Sprintf("sector %d of %d is damaged", bad, n)
	case check != binary.LittleEndian.Uint32(data[sectorHeader+12:]):
		return f, torn, "its sectors are of two attempts" // each of them is whole
	}
	return f, whole, ""
}

// lostBlocks says whether a frame that was acknowledged, as others stand behind it, has lost
// sectors that hold nothing but bytes of blocks: their groups miss them when they are read.
func (f *frameInfo) lostBlocks(v verdict, data []byte, seq uint64) bool {
	return v == torn && f.told(data, seq)
}

// startBehind looks for a frame that begins within data, the bytes of segment seq from at
// on, behind the first sector: all before it was synced first.
func startBehind(data []byte, at int64, seq uint64) (where int64, found bool) {
	for i := vfs.SectorBytes; i+vfs.SectorBytes <= len(data); i += vfs.SectorBytes {
		if judgeSector(data[i:i+vfs.SectorBytes], uint32((at+int64(i))/vfs.SectorBytes), seq) == starts {
			return at + int64(i), true
		}
	}
	return 0, false
}
