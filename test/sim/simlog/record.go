package simlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/memory"
	"github.com/protoraft/protoraft/logstore/vfs"
	"github.com/protoraft/protoraft/messages"
)

// A sector is: checksum of the rest (4), number of the record (8), of the sector
// within it (4), sectors of the record (4), bytes used (2), payload.
const (
	sectorHeader  = 22
	sectorPayload = vfs.SectorBytes - sectorHeader
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sectors frames a record's payload.
func sectors(record uint64, payload []byte) []byte {
	parts := max(1, (len(payload)+sectorPayload-1)/sectorPayload)
	out := make([]byte, parts*vfs.SectorBytes)
	for part := range parts {
		sector := out[part*vfs.SectorBytes:][:vfs.SectorBytes]
		used := copy(sector[sectorHeader:], payload[part*sectorPayload:])
		binary.LittleEndian.PutUint64(sector[4:], record)
		binary.LittleEndian.PutUint32(sector[12:], uint32(part))
		binary.LittleEndian.PutUint32(sector[16:], uint32(parts))
		binary.LittleEndian.PutUint16(sector[20:], uint16(used))
		binary.LittleEndian.PutUint32(sector, crc32.Checksum(sector[4:], castagnoli))
	}
	return out
}

// split returns the payloads of a file's records. A record that lacks sectors was
// being written when the world stopped; it is left out where it is the last one,
// and damage where it is not.
func split(data []byte) (records [][]byte, err error) {
	record, torn := uint64(1), false
	var payload []byte
	next, parts := uint32(0), uint32(0)
	for at := 0; at < len(data); at += vfs.SectorBytes {
		sector := data[at:min(at+vfs.SectorBytes, len(data))]
		if missing(sector) {
			torn = true
			continue
		}
		if crc32.Checksum(sector[4:], castagnoli) != binary.LittleEndian.Uint32(sector) {
			return nil, fmt.Errorf("sector at byte %d has a wrong checksum", at)
		}
		number, part := binary.LittleEndian.Uint64(sector[4:]), binary.LittleEndian.Uint32(sector[12:])
		if number != record || !torn && part != next {
			return nil, fmt.Errorf("sector at byte %d is %d of record %d, expected %d of %d", at, part, number, next, record)
		}
		if torn {
			continue
		}
		parts = binary.LittleEndian.Uint32(sector[16:])
		used := int(binary.LittleEndian.Uint16(sector[20:]))
		if next == 0 {
			payload = make([]byte, 0, min(int(parts)*sectorPayload, len(data)))
		}
		payload = append(payload, sector[sectorHeader:][:min(used, sectorPayload)]...)
		if next++; next == parts {
			records = append(records, payload)
			record, next, payload = record+1, 0, nil
		}
	}
	return records, nil
}

// missing says whether a sector was never written, or not to its end.
func missing(sector []byte) bool {
	if len(sector) < vfs.SectorBytes {
		return true
	}
	for _, b := range sector {
		if b != 0 {
			return false
		}
	}
	return true
}

// encode writes updates in a form of its own.
func encode(updates []logstore.Update) []byte {
	size := 10
	for i := range updates {
		size += 110 + len(updates[i].Note)
		for k := range updates[i].Blocks {
			size += 10 + updates[i].Blocks[k].Len()
		}
	}
	b := binary.AppendUvarint(make([]byte, 0, size), uint64(len(updates)))
	for i := range updates {
		u := &updates[i]
		flags := byte(0)
		if u.Delete {
			flags |= 1
		}
		if u.HardState != nil {
			flags |= 2
		}
		if u.Note != nil {
			flags |= 4
		}
		b = append(b, flags)
		for _, v := range []uint64{u.Group, u.Incarnation, u.ResetFrom, u.TruncateFrom, u.CompactTo, u.CompactTerm} {
			b = binary.AppendUvarint(b, v)
		}
		if u.HardState != nil {
			b = binary.AppendUvarint(b, u.HardState.Term)
			b = appendBytes(b, []byte(u.HardState.Vote))
			b = binary.AppendUvarint(b, u.HardState.Machine)
		}
		if u.Note != nil {
			b = appendBytes(b, u.Note)
		}
		b = binary.AppendUvarint(b, uint64(len(u.Blocks)))
		for k := range u.Blocks {
			b = appendBytes(b, u.Blocks[k].Bytes())
		}
	}
	return b
}

func appendBytes(b, v []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

var errShort = errors.New("record ends too early")

// reader takes a record apart; the first error stays.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.rest, r.err = nil, errShort
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) bytes() []byte {
	n := r.uint()
	if n > uint64(len(r.rest)) {
		r.rest, r.err = nil, errShort
		return nil
	}
	v := r.rest[:n:n]
	r.rest = r.rest[n:]
	return v
}

func decode(payload []byte) (updates []logstore.Update, err error) {
	r := &reader{rest: payload}
	for n := r.uint(); n > 0 && r.err == nil; n-- {
		if len(r.rest) == 0 {
			return nil, errShort
		}
		flags := r.rest[0]
		r.rest = r.rest[1:]
		u := logstore.Update{Delete: flags&1 != 0}
		for _, v := range []*uint64{&u.Group, &u.Incarnation, &u.ResetFrom, &u.TruncateFrom, &u.CompactTo, &u.CompactTerm} {
			*v = r.uint()
		}
		if flags&2 != 0 {
			u.HardState = &logstore.HardState{Term: r.uint(), Vote: string(r.bytes()), Machine: r.uint()}
		}
		if flags&4 != 0 {
			u.Note = r.bytes()
		}
		for blocks := r.uint(); blocks > 0 && r.err == nil; blocks-- {
			b, err := messages.OpenBlock(r.bytes())
			if err != nil {
				return nil, err
			}
			u.Blocks = append(u.Blocks, b)
		}
		updates = append(updates, u)
	}
	return updates, r.err
}

// dump returns the updates that make an empty store equal to s.
func dump(s *memory.Store) (updates []logstore.Update, err error) {
	groups, err := s.Groups()
	if err != nil {
		return nil, err
	}
	for _, group := range groups {
		st, err := s.Load(group)
		if err != nil {
			return nil, err
		}
		u := logstore.Update{Group: group, Incarnation: st.Incarnation, HardState: &st.HardState, Note: st.Note}
		if st.FirstIndex > 1 {
			u.CompactTo, u.CompactTerm = st.FirstIndex-1, st.PrevTerm
		}
		if st.LastIndex >= st.FirstIndex {
			if u.Blocks, err = s.Read(group, st.FirstIndex, st.LastIndex, 1<<40); err != nil {
				return nil, err
			}
		}
		updates = append(updates, u)
	}
	return updates, nil
}
