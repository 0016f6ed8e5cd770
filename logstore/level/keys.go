package level

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/messages"
)

// The first byte of a key. Groups and indexes follow big endian, so that keys sort
// like numbers.
const (
	keyFormat    = 0x00
	keyHardState = 0x01 // ‖ group
	keyLogState  = 0x02 // ‖ group
	keyBlock     = 0x03 // ‖ group ‖ first index
	keyNote      = 0x04 // ‖ group
)

const formatVersion = 1

// FormatVersion is the version of the layout this build writes.
const FormatVersion = formatVersion

var formatKey = []byte{keyFormat, 'f', 'm', 't'}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// blockKey is the largest key there is.
type blockKey [17]byte

func (k *blockKey) group(kind byte, group uint64) []byte {
	k[0] = kind
	binary.BigEndian.PutUint64(k[1:], group)
	return k[:9]
}

func (k *blockKey) block(group, first uint64) []byte {
	k[0] = keyBlock
	binary.BigEndian.PutUint64(k[1:], group)
	binary.BigEndian.PutUint64(k[9:], first)
	return k[:]
}

func groupOf(key []byte) (uint64, error) {
	if len(key) != 9 {
		return 0, fmt.Errorf("key %x has %d bytes, expected 9", key, len(key))
	}
	return binary.BigEndian.Uint64(key[1:]), nil
}

// logState is where a group's log begins, and how far it reached when that was
// last written.
type logState struct {
	incarnation uint64
	first       uint64 // lowest index
	prevTerm    uint64 // of the entry before first
	reached     uint64 // the log ended here or later
	sweepFrom   uint64 // no block key is below this one
}

const logStateBytes = 5*8 + 4

var errValue = errors.New("value is damaged")

// seal appends the checksum of key and value, so that a value under a wrong key is
// found out.
func seal(key, value []byte) []byte {
	return binary.LittleEndian.AppendUint32(value, sum(key, value))
}

func sum(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}

func unseal(key, value []byte) ([]byte, error) {
	n := len(value) - 4
	if n < 0 {
		return nil, fmt.Errorf("%w: %d bytes", errValue, len(value))
	}
	want := binary.LittleEndian.Uint32(value[n:])
	if got := sum(key, value[:n]); got != want {
		return nil, fmt.Errorf("%w: checksum %#x, expected %#x", errValue, got, want)
	}
	return value[:n], nil
}

func appendLogState(to, key []byte, s logState) []byte {
	for _, v := range [...]uint64{s.incarnation, s.first, s.prevTerm, s.reached, s.sweepFrom} {
		to = binary.LittleEndian.AppendUint64(to, v)
	}
	return seal(key, to)
}

func readLogState(key, value []byte) (s logState, err error) {
	body, err := unseal(key, value)
	if err != nil {
		return s, err
	}
	if len(value) != logStateBytes {
		return s, fmt.Errorf("%w: %d bytes, expected %d", errValue, len(value), logStateBytes)
	}
	for i, v := range [...]*uint64{&s.incarnation, &s.first, &s.prevTerm, &s.reached, &s.sweepFrom} {
		*v = binary.LittleEndian.Uint64(body[8*i:])
	}
	return s, nil
}

// appendHardState writes a messages.HardState.
func appendHardState(to, key []byte, hs logstore.HardState) []byte {
	to = protowire.AppendVarint(append(to, 1<<3), hs.Term)
	to = protowire.AppendString(append(to, 2<<3|2), hs.Vote)
	if hs.Machine != 0 {
		to = protowire.AppendVarint(append(to, 4<<3), hs.Machine)
	}
	return seal(key, to)
}

func readHardState(key, value []byte) (hs logstore.HardState, err error) {
	body, err := unseal(key, value)
	if err != nil {
		return hs, err
	}
	var m messages.HardState
	if err := proto.Unmarshal(body, &m); err != nil {
		return hs, fmt.Errorf("%w: %w", errValue, err)
	}
	return logstore.HardState{Term: m.GetTerm(), Vote: m.GetVote(), Machine: m.GetMachine()}, nil
}

func encodeFormat() []byte {
	return seal(formatKey, binary.LittleEndian.AppendUint32(nil, formatVersion))
}

func checkFormat(value []byte) error {
	body, err := unseal(formatKey, value)
	if err == nil && len(body) < 4 {
		err = fmt.Errorf("%w: %d bytes, expected at least 4", errValue, len(body))
	}
	if err != nil {
		return &logstore.CorruptError{Where: "key fmt", Reason: err.Error()}
	}
	if v := binary.LittleEndian.Uint32(body); v > formatVersion {
		return fmt.Errorf("%w: format %d, expected at most %d", logstore.ErrNewerFormat, v, formatVersion)
	}
	return nil
}
