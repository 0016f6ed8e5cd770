package messages

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"google.golang.org/protobuf/encoding/protowire"
)

// MaxBlockBytes is the largest encoded block: above the 1 MiB a leader aims at,
// because one entry is never split.
const MaxBlockBytes = 4 << 20

// BlockHeaderBytes is the size of an EntryBlock before its first entry.
const BlockHeaderBytes = 5 + 6*9 + 5

// ErrBlockCorrupt is wrapped by every error about a block's bytes.
var ErrBlockCorrupt = errors.New("entry block corrupt")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Where each header field's tag stands; its value follows.
const (
	atChecksum    = 0
	atGroup       = 5
	atIncarnation = atGroup + 9
	atTerm        = atIncarnation + 9
	atFirstIndex  = atTerm + 9
	atPrevTerm    = atFirstIndex + 9
	atTime        = atPrevTerm + 9
	atCount       = atTime + 9
)

const entriesField = 9

// entryBytesMin is the room of an entry without content: its tag and its length.
const entryBytesMin = 2

// The tag bytes of the header, in order: field<<3 | wire type (5 fixed32, 1 fixed64).
var headerTags = [...]struct {
	at  int
	tag byte
}{
	{atChecksum, 1<<3 | 5}, {atGroup, 2<<3 | 1}, {atIncarnation, 3<<3 | 1}, {atTerm, 4<<3 | 1},
	{atFirstIndex, 5<<3 | 1}, {atPrevTerm, 6<<3 | 1}, {atTime, 7<<3 | 1}, {atCount, 8<<3 | 5},
}

// BlockHeader is what a block says of itself.
type BlockHeader struct {
	Group       uint64
	Incarnation uint64
	Term        uint64 // of every entry in the block
	FirstIndex  uint64
	PrevTerm    uint64 // of the entry before the first
	Time        int64  // log time, nanoseconds since 1970
}

// Block is an EntryBlock's bytes with its header read. It is immutable: the log,
// the wire and the Applier share the same bytes. The zero Block is empty.
type Block struct {
	BlockHeader
	Count uint32
	raw   []byte
}

// EntryView is an entry whose data aliases its block.
type EntryView struct {
	Kind         EntryKind
	Data         []byte
	Session      uint64
	Sequence     uint64
	Acknowledged uint64
}

// LastIndex is the index of the block's last entry.
func (b *Block) LastIndex() uint64 { return b.FirstIndex + uint64(b.Count) - 1 }

// Bytes returns the encoded block, to be read only.
func (b *Block) Bytes() []byte { return b.raw }

// Len is the size of the encoded block in bytes.
func (b *Block) Len() int { return len(b.raw) }

// OpenBlock reads a block's header and checks its checksum. The block aliases raw.
func OpenBlock(raw []byte) (Block, error) {
	b, err := openHeader(raw)
	if err != nil {
		return Block{}, err
	}
	if err := b.Verify(); err != nil {
		return Block{}, err
	}
	return b, nil
}

func openHeader(raw []byte) (Block, error) {
	if len(raw) < BlockHeaderBytes {
		return Block{}, fmt.Errorf("%w: %d bytes, a header has %d", ErrBlockCorrupt, len(raw), BlockHeaderBytes)
	}
	for _, h := range headerTags {
		if raw[h.at] != h.tag {
			return Block{}, fmt.Errorf("%w: tag %#x at byte %d, expected %#x", ErrBlockCorrupt, raw[h.at], h.at, h.tag)
		}
	}
	u64 := func(at int) uint64 { return binary.LittleEndian.Uint64(raw[at+1:]) }
	b := Block{
		BlockHeader: BlockHeader{
			Group: u64(atGroup), Incarnation: u64(atIncarnation), Term: u64(atTerm),
			FirstIndex: u64(atFirstIndex), PrevTerm: u64(atPrevTerm), Time: int64(u64(atTime)),
		},
		Count: binary.LittleEndian.Uint32(raw[atCount+1:]),
		raw:   raw,
	}
	if !b.possible() {
		return Block{}, fmt.Errorf("%w: impossible header %+v, %d entries in %d bytes", ErrBlockCorrupt, b.BlockHeader, b.Count, len(raw))
	}
	return b, nil
}

// possible says whether header, count and size can belong together. The count is
// bounded by the bytes there are, so that a reader may make room for it.
func (b *Block) possible() bool {
	return b.Count > 0 && uint64(b.Count) <= uint64(len(b.raw)-BlockHeaderBytes)/entryBytesMin &&
		b.FirstIndex > 0 && b.FirstIndex+uint64(b.Count) > b.FirstIndex &&
		b.Term > 0 && b.PrevTerm <= b.Term
}

// Verify checks the block's checksum against its bytes. The empty block has none
// and passes.
func (b *Block) Verify() error {
	if len(b.raw) == 0 {
		return nil
	}
	want := binary.LittleEndian.Uint32(b.raw[atChecksum+1:])
	if got := crc32.Checksum(b.raw[atGroup:], castagnoli); got != want {
		return fmt.Errorf("%w: checksum %#x, expected %#x (group %d, index %d)", ErrBlockCorrupt, got, want, b.Group, b.FirstIndex)
	}
	return nil
}

// Entries walks the block in order. It stops at the first error, f's own or a
// malformed entry. Data passed to f aliases the block.
func (b *Block) Entries(f func(index uint64, e EntryView) error) error {
	if len(b.raw) == 0 {
		return nil
	}
	rest := b.raw[BlockHeaderBytes:]
	for i := uint32(0); i < b.Count; i++ {
		body, n, err := nextEntry(rest)
		if err != nil {
			return err
		}
		e, err := readEntry(body)
		if err != nil {
			return err
		}
		if err := f(b.FirstIndex+uint64(i), e); err != nil {
			return err
		}
		rest = rest[n:]
	}
	if len(rest) != 0 {
		return fmt.Errorf("%w: %d bytes after the last entry", ErrBlockCorrupt, len(rest))
	}
	return nil
}

func nextEntry(rest []byte) (body []byte, n int, err error) {
	num, typ, t := protowire.ConsumeTag(rest)
	if t < 0 || num != entriesField || typ != protowire.BytesType {
		return nil, 0, fmt.Errorf("%w: no entry where one was announced", ErrBlockCorrupt)
	}
	body, m := protowire.ConsumeBytes(rest[t:])
	if m < 0 {
		return nil, 0, fmt.Errorf("%w: entry cut short", ErrBlockCorrupt)
	}
	return body, t + m, nil
}

// readEntry reads the fields it knows, of their one wire type, and skips others,
// which a later version may have added.
func readEntry(body []byte) (e EntryView, err error) {
	for len(body) > 0 {
		num, typ, n := protowire.ConsumeTag(body)
		if n < 0 {
			return e, fmt.Errorf("%w: entry field without a tag", ErrBlockCorrupt)
		}
		body = body[n:]
		var v uint64
		switch {
		case num == 2 && typ == protowire.BytesType:
			e.Data, n = protowire.ConsumeBytes(body)
		case (num == 1 || num == 3 || num == 4 || num == 6) && typ == protowire.VarintType:
			v, n = protowire.ConsumeVarint(body)
		case num <= 4 || num == 6:
			return e, fmt.Errorf("%w: entry field %d of wire type %d", ErrBlockCorrupt, num, typ)
		default:
			n = protowire.ConsumeFieldValue(num, typ, body)
		}
		if n < 0 {
			return e, fmt.Errorf("%w: entry field %d cut short", ErrBlockCorrupt, num)
		}
		switch num {
		case 1:
			e.Kind = EntryKind(v)
		case 3:
			e.Session = v
		case 4:
			e.Sequence = v
		case 6:
			e.Acknowledged = v
		}
		body = body[n:]
	}
	return e, nil
}

// Prefix returns a block of the entries up to and including last, encoded anew.
// It panics when last is not within the block.
func (b *Block) Prefix(last uint64) (Block, error) { return b.slice(b.FirstIndex, last) }

// Suffix returns a block of the entries from first on, encoded anew.
// It panics when first is not within the block.
func (b *Block) Suffix(first uint64) (Block, error) { return b.slice(first, b.LastIndex()) }

func (b *Block) slice(first, last uint64) (Block, error) {
	if first == b.FirstIndex && last == b.LastIndex() {
		return *b, nil
	}
	if first < b.FirstIndex || last > b.LastIndex() || first > last {
		panic(fmt.Sprintf("messages: slice %d..%d of block %d..%d", first, last, b.FirstIndex, b.LastIndex()))
	}
	h := b.BlockHeader
	h.FirstIndex = first
	if first > b.FirstIndex {
		h.PrevTerm = b.Term
	}
	from, to := BlockHeaderBytes, BlockHeaderBytes
	for i := b.FirstIndex; i <= last; i++ {
		_, n, err := nextEntry(b.raw[to:])
		if err != nil {
			return Block{}, err
		}
		to += n
		if i < first {
			from = to
		}
	}
	w := NewBlockWriter(h, to-from)
	w.raw = append(w.raw, b.raw[from:to]...)
	w.count = uint32(last - first + 1)
	return w.Finish(), nil
}

// BlockWriter encodes one block, appending entries in order.
type BlockWriter struct {
	header BlockHeader
	count  uint32
	raw    []byte
}

// NewBlockWriter begins a block; entryBytes is how much will follow, or about as much:
// what is too much is kept with the block.
func NewBlockWriter(h BlockHeader, entryBytes int) *BlockWriter {
	return &BlockWriter{header: h, raw: make([]byte, BlockHeaderBytes, BlockHeaderBytes+entryBytes)}
}

// EntryBytes is the room an entry takes in a block, at the most.
func EntryBytes(data int) int { return data + 48 }

// EncodedBytes is the room the entry takes in a block.
func (e EntryView) EncodedBytes() int { return 1 + protowire.SizeBytes(e.contentBytes()) }

func (e EntryView) contentBytes() (size int) {
	if e.Kind != 0 {
		size += 1 + protowire.SizeVarint(uint64(e.Kind))
	}
	if len(e.Data) > 0 {
		size += 1 + protowire.SizeBytes(len(e.Data))
	}
	if e.Session != 0 {
		size += 1 + protowire.SizeVarint(e.Session)
	}
	if e.Sequence != 0 {
		size += 1 + protowire.SizeVarint(e.Sequence)
	}
	if e.Acknowledged != 0 {
		size += 1 + protowire.SizeVarint(e.Acknowledged)
	}
	return size
}

// Add appends an entry.
func (w *BlockWriter) Add(e EntryView) {
	b := append(w.raw, entriesField<<3|2)
	b = protowire.AppendVarint(b, uint64(e.contentBytes()))
	if e.Kind != 0 {
		b = protowire.AppendVarint(append(b, 1<<3), uint64(e.Kind))
	}
	if len(e.Data) > 0 {
		b = protowire.AppendBytes(append(b, 2<<3|2), e.Data)
	}
	if e.Session != 0 {
		b = protowire.AppendVarint(append(b, 3<<3), e.Session)
	}
	if e.Sequence != 0 {
		b = protowire.AppendVarint(append(b, 4<<3), e.Sequence)
	}
	if e.Acknowledged != 0 {
		b = protowire.AppendVarint(append(b, 6<<3), e.Acknowledged)
	}
	w.raw = b
	w.count++
}

// Len is the size of what has been written so far.
func (w *BlockWriter) Len() int { return len(w.raw) }

// Finish writes header and checksum. The writer must not be used afterwards.
// It panics on a block without entries and on a header that OpenBlock would
// refuse: better than on disk, where it would make the log unreadable.
func (w *BlockWriter) Finish() Block {
	block := Block{BlockHeader: w.header, Count: w.count, raw: w.raw}
	if !block.possible() {
		panic(fmt.Sprintf("messages: impossible block %+v, %d entries in %d bytes", w.header, w.count, len(w.raw)))
	}
	for _, h := range headerTags {
		w.raw[h.at] = h.tag
	}
	h := w.header
	put := func(at int, v uint64) { binary.LittleEndian.PutUint64(w.raw[at+1:], v) }
	put(atGroup, h.Group)
	put(atIncarnation, h.Incarnation)
	put(atTerm, h.Term)
	put(atFirstIndex, h.FirstIndex)
	put(atPrevTerm, h.PrevTerm)
	put(atTime, uint64(h.Time))
	binary.LittleEndian.PutUint32(w.raw[atCount+1:], w.count)
	binary.LittleEndian.PutUint32(w.raw[atChecksum+1:], crc32.Checksum(w.raw[atGroup:], castagnoli))
	return block
}
