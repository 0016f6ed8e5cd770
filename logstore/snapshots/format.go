package snapshots

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/messages"
)

const (
	magic         = "PRSNAPS\n"
	formatVersion = 1

	// FrameBytesMax is the largest frame, with its head and checksum: what a reader
	// must hold in memory.
	FrameBytesMax = 64 << 10
	// MetaBytesMax is the largest encoded meta.
	MetaBytesMax = 1 << 20
	// SectionsMax is how many sections a snapshot may have.
	SectionsMax = 64
	// SectionNameBytesMax is the longest name of one.
	SectionNameBytesMax = 64

	atVersion       = len(magic)
	atVersionSum    = atVersion + 4
	preambleBytes   = atVersionSum + 4 // the same in all versions
	atMeta          = preambleBytes + 4
	headerBytesMax  = atMeta + MetaBytesMax + sumBytes
	frameHeadBytes  = 1 + 4
	sumBytes        = 4
	payloadBytesMax = FrameBytesMax - frameHeadBytes - sumBytes
	endPayloadBytes = 8 + 8
	endBytes        = frameHeadBytes + endPayloadBytes + sumBytes
	sizeMin         = int64(atMeta + sumBytes + endBytes)
)

// The kinds of frames. Zero is none, since a lost sector reads as zeros.
const (
	sectionFrame = 1 // payload: the name of the section that begins
	dataFrame    = 2 // payload: its next bytes
	endFrame     = 3 // payload: length of the file, checksum of all before this frame
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encodeHeader returns the head of a file. Its last four bytes seed the checksums of
// the frames.
func encodeHeader(meta *messages.SnapshotMeta) ([]byte, error) {
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(meta)
	if err != nil {
		return nil, fmt.Errorf("%w: snapshots: meta of group %d: %w", logstore.ErrInvalid, meta.GetGroup(), err)
	}
	if len(encoded) > MetaBytesMax {
		return nil, fmt.Errorf("%w: snapshots: meta of group %d has %d bytes, expected at most %d",
			logstore.ErrInvalid, meta.GetGroup(), len(encoded), MetaBytesMax)
	}
	b := make([]byte, 0, atMeta+len(encoded)+sumBytes)
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint32(b, formatVersion)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(encoded)))
	b = append(b, encoded...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)), nil
}

// checkPreamble reads what every version begins with.
func checkPreamble(b []byte) error {
	if string(b[:atVersion]) != magic {
		return fmt.Errorf("begins with %q, expected %q", b[:atVersion], magic)
	}
	if sum := crc32.Checksum(b[:atVersionSum], castagnoli); sum != binary.LittleEndian.Uint32(b[atVersionSum:]) {
		return fmt.Errorf("checksum of the version is %08x, expected %08x", binary.LittleEndian.Uint32(b[atVersionSum:]), sum)
	}
	if v := binary.LittleEndian.Uint32(b[atVersion:]); v > formatVersion {
		return fmt.Errorf("%w: format %d, expected at most %d", logstore.ErrNewerFormat, v, formatVersion)
	} else if v == 0 {
		return fmt.Errorf("format 0, expected %d", formatVersion)
	}
	return nil
}

// headerBytes is the size of a header, read from its first atMeta bytes.
func headerBytes(b []byte) (int, error) {
	if err := checkPreamble(b); err != nil {
		return 0, err
	}
	n := binary.LittleEndian.Uint32(b[preambleBytes:])
	if n > MetaBytesMax {
		return 0, fmt.Errorf("meta of %d bytes, expected at most %d", n, MetaBytesMax)
	}
	return atMeta + int(n) + sumBytes, nil
}

// decodeHeader reads a whole header.
func decodeHeader(b []byte) (meta *messages.SnapshotMeta, seed uint32, err error) {
	at := len(b) - sumBytes
	seed = crc32.Checksum(b[:at], castagnoli)
	if stored := binary.LittleEndian.Uint32(b[at:]); stored != seed {
		return nil, 0, fmt.Errorf("checksum of the meta is %08x, expected %08x", stored, seed)
	}
	meta = &messages.SnapshotMeta{}
	if err := proto.Unmarshal(b[atMeta:at], meta); err != nil {
		return nil, 0, fmt.Errorf("meta: %w", err)
	}
	return meta, seed, nil
}

// frameSum is the checksum of a frame. Neither a frame of another file nor one from
// elsewhere in this file has it.
func frameSum(seed uint32, offset int64, frame []byte) uint32 {
	var at [8]byte
	binary.LittleEndian.PutUint64(at[:], uint64(offset))
	return crc32.Update(crc32.Update(seed, castagnoli, at[:]), castagnoli, frame)
}

// sealFrame completes a frame that has its payload after frameHeadBytes of room.
func sealFrame(seed uint32, offset int64, kind byte, frame []byte) []byte {
	frame[0] = kind
	binary.LittleEndian.PutUint32(frame[1:], uint32(len(frame)-frameHeadBytes))
	return binary.LittleEndian.AppendUint32(frame, frameSum(seed, offset, frame))
}

// frameBytes is the size of a frame, read from its first frameHeadBytes.
func frameBytes(b []byte) (int, error) {
	n := binary.LittleEndian.Uint32(b[1:])
	least, most := uint32(1), uint32(payloadBytesMax)
	switch b[0] {
	case sectionFrame:
		most = SectionNameBytesMax
	case dataFrame:
	case endFrame:
		least, most = endPayloadBytes, endPayloadBytes
	default:
		return 0, fmt.Errorf("frame of kind %d, expected %d, %d or %d", b[0], sectionFrame, dataFrame, endFrame)
	}
	if n < least || n > most {
		return 0, fmt.Errorf("frame of kind %d with %d bytes, expected %d to %d", b[0], n, least, most)
	}
	return frameHeadBytes + int(n) + sumBytes, nil
}

// openFrame checks a whole frame. The payload aliases it.
func openFrame(seed uint32, offset int64, frame []byte) (kind byte, payload []byte, err error) {
	at := len(frame) - sumBytes
	if sum, stored := frameSum(seed, offset, frame[:at]), binary.LittleEndian.Uint32(frame[at:]); sum != stored {
		return 0, nil, fmt.Errorf("checksum of the frame is %08x, expected %08x", stored, sum)
	}
	return frame[0], frame[frameHeadBytes:at], nil
}

func endPayload(b []byte, size int64, checksum uint64) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(size))
	return binary.LittleEndian.AppendUint64(b, checksum)
}

func readEndPayload(b []byte) (size, checksum uint64) {
	return binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
}
