package journal

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/messages"
)

// opKind is what an op does to the index. Ops are absolute: to apply those of a frame
// twice comes to the same as once.
type opKind uint8

const (
	opFrame  opKind = iota + 1 // in an index: where the data of the ops that follow begins
	opHard                     // term, vote, and what the machine holds
	opNote                     // what the member keeps beside its log
	opLog                      // incarnation, where the log begins; whatever is before it goes
	opCut                      // everything from an index on goes
	opDelete                   // the group goes
	opBlock                    // a block is appended; whatever stood there goes
	opMoved                    // a block again, as it was, so that its old place can be used
	opLost                     // entries that were here and cannot be read; no bytes
)

// op is one change of a group.
type op struct {
	kind  opKind
	group uint64

	hard  logstore.HardState // opHard
	bytes []byte             // opNote, and of blocks when they are written

	incarnation uint64 // opLog
	first       uint64 // opLog, opCut, blocks
	prevTerm    uint64 // opLog, blocks

	term   uint64 // blocks
	time   int64
	count  uint32
	length uint32 // of the data
	pos    uint32 // where it begins, in the segment's stream; known once placed
}

func (o *op) block() bool { return o.kind == opBlock || o.kind == opMoved }

// blockOp appends a block.
func blockOp(b *messages.Block) op {
	return op{
		kind: opBlock, group: b.Group, first: b.FirstIndex, prevTerm: b.PrevTerm, term: b.Term,
		time: b.Time, count: b.Count, length: uint32(b.Len()), bytes: b.Bytes(),
	}
}

// appendOp encodes an op for a directory. Of a block only the length of the data is
// there: the data stands behind the directory, in the same order.
func appendOp(to []byte, o *op) []byte {
	to = append(to, byte(o.kind))
	if o.kind == opFrame {
		return binary.AppendUvarint(to, uint64(o.pos))
	}
	to = binary.AppendUvarint(to, o.group)
	switch o.kind {
	case opHard:
		to = binary.AppendUvarint(to, o.hard.Term)
		to = binary.AppendUvarint(to, o.hard.Machine)
		to = appendString(to, o.hard.Vote)
	case opNote:
		to = appendString(to, string(o.bytes))
	case opLog:
		to = binary.AppendUvarint(to, o.incarnation)
		to = binary.AppendUvarint(to, o.first)
		to = binary.AppendUvarint(to, o.prevTerm)
	case opCut:
		to = binary.AppendUvarint(to, o.first)
	case opBlock, opMoved, opLost:
		to = binary.AppendUvarint(to, o.first)
		to = binary.AppendUvarint(to, uint64(o.count))
		to = binary.AppendUvarint(to, o.term)
		to = binary.AppendUvarint(to, o.prevTerm)
		to = binary.AppendVarint(to, o.time)
		to = binary.AppendUvarint(to, uint64(o.length))
	}
	return to
}

func appendString(to []byte, s string) []byte {
	return append(binary.AppendUvarint(to, uint64(len(s))), s...)
}

var errOp = errors.New("directory cannot be read")

// opReader takes a directory apart. The first error stays.
type opReader struct {
	rest []byte
	data int // stream position of the next block's bytes
	end  int // and where there are no more of them
	err  error
}

func (r *opReader) uint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.fail("a number is cut short")
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *opReader) uint32() uint32 {
	v := r.uint()
	if v > 1<<32-1 {
		r.fail("%d does not fit 32 bits", v)
	}
	return uint32(v)
}

func (r *opReader) bytes() []byte {
	n := r.uint()
	if n > uint64(len(r.rest)) {
		r.fail("%d bytes announced, %d left", n, len(r.rest))
		return nil
	}
	v := r.rest[:n:n]
	r.rest = r.rest[n:]
	return v
}

func (r *opReader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", errOp, fmt.Sprintf(format, args...))
	}
	r.rest = nil
}

// next returns the next op, and false at the end or where there is an error. Bytes of a
// note alias the directory; those of blocks are not here.
func (r *opReader) next() (o op, ok bool) {
	if len(r.rest) == 0 {
		return o, false
	}
	o.kind = opKind(r.rest[0])
	r.rest = r.rest[1:]
	if o.kind == opFrame {
		o.pos = r.uint32()
		r.data = int(o.pos)
		return o, r.err == nil
	}
	o.group = r.uint()
	switch o.kind {
	case opHard:
		o.hard.Term, o.hard.Machine = r.uint(), r.uint()
		o.hard.Vote = string(r.bytes())
	case opNote:
		o.bytes = r.bytes()
	case opLog:
		o.incarnation, o.first, o.prevTerm = r.uint(), r.uint(), r.uint()
		if o.first == 0 && r.err == nil {
			r.fail("a log that begins at 0")
		}
	case opCut:
		o.first = r.uint()
	case opDelete:
	case opBlock, opMoved, opLost:
		r.block(&o)
	default:
		r.fail("op of kind %d", o.kind)
	}
	return o, r.err == nil
}

func (r *opReader) block(o *op) {
	o.first, o.count = r.uint(), r.uint32()
	o.term, o.prevTerm = r.uint(), r.uint()
	t, n := binary.Varint(r.rest)
	if n <= 0 {
		r.fail("a time is cut short")
		return
	}
	o.time, r.rest = t, r.rest[n:]
	if o.length = r.uint32(); o.kind != opLost {
		o.pos = uint32(r.data)
		r.data += int(o.length)
	}
	switch {
	case o.kind == opLost && o.length > 0:
		r.fail("a lost block of %d bytes", o.length)
	case r.data > r.end:
		r.fail("a block ends at %d, behind what holds it, which ends at %d", r.data, r.end)
	}
	if o.first == 0 || o.count == 0 || o.first+uint64(o.count) < o.first {
		r.fail("a block of %d entries from %d on", o.count, o.first)
	}
}

// link is a segment as a later one knows it.
type link struct {
	seq uint64
	end int64 // of what counts in it, in bytes of the file
}

// start is what the first frame of a segment says of those before it, so that opening
// needs to read no more of them than that: which there are, and what happened in the last
// one. In each of those the same is written of the one before.
type start struct {
	chain []link // the oldest first
	index []byte // ops of the last one's frames, with opFrame before those of each
}

func (s *start) append(to []byte) []byte {
	to = binary.AppendUvarint(to, formatVersion)
	to = binary.AppendUvarint(to, uint64(len(s.chain)))
	for _, l := range s.chain {
		to = binary.AppendUvarint(to, l.seq)
		to = binary.AppendUvarint(to, uint64(l.end))
	}
	return append(binary.AppendUvarint(to, uint64(len(s.index))), s.index...)
}

func readStart(b []byte) (s start, err error) {
	r := &opReader{rest: b}
	if v := r.uint(); v != formatVersion && r.err == nil {
		return s, fmt.Errorf("%w: format %d, expected %d", logstore.ErrNewerFormat, v, formatVersion)
	}
	for n, last := r.uint(), uint64(0); n > 0 && r.err == nil; n-- {
		l := link{seq: r.uint(), end: int64(r.uint())}
		if l.seq <= last || l.end <= 0 {
			r.fail("segment %d of %d bytes after segment %d", l.seq, l.end, last)
		}
		s.chain, last = append(s.chain, l), l.seq
	}
	s.index = r.bytes()
	if len(r.rest) > 0 {
		r.fail("%d bytes behind the index", len(r.rest))
	}
	return s, r.err
}
