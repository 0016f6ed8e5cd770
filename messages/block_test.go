package messages_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/messages"
)

// build encodes a block of the entries.
func build(h messages.BlockHeader, entries []messages.EntryView) messages.Block {
	room := 0
	for _, e := range entries {
		room += messages.EntryBytes(len(e.Data))
	}
	w := messages.NewBlockWriter(h, room)
	for _, e := range entries {
		w.Add(e)
	}
	return w.Finish()
}

// read decodes every entry, with data copied.
func read(t *testing.T, b messages.Block) []messages.EntryView {
	t.Helper()
	var es []messages.EntryView
	next := b.FirstIndex
	err := b.Entries(func(index uint64, e messages.EntryView) error {
		if index != next {
			t.Fatalf("entry of index %d where %d was next", index, next)
		}
		next++
		e.Data = bytes.Clone(e.Data)
		es = append(es, e)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(es) > 0 && next != b.LastIndex()+1 {
		t.Fatalf("entries end before %d, the block's last index is %d", next, b.LastIndex())
	}
	return es
}

func same(a, b []messages.EntryView) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Kind != b[i].Kind || !bytes.Equal(a[i].Data, b[i].Data) || a[i].Session != b[i].Session || a[i].Sequence != b[i].Sequence || a[i].Acknowledged != b[i].Acknowledged {
			return false
		}
	}
	return true
}

// randomBlock makes a block of up to maxEntries entries, extremes included.
func randomBlock(r *rand.Rand, maxEntries int) (messages.BlockHeader, []messages.EntryView) {
	extreme := func() uint64 { return r.Uint64() >> r.IntN(64) }
	h := messages.BlockHeader{
		Group: extreme(), Incarnation: extreme(), Term: 1 + extreme()/2,
		FirstIndex: 1 + extreme()/2, Time: int64(extreme()),
	}
	h.PrevTerm = r.Uint64N(h.Term + 1)
	entries := make([]messages.EntryView, 1+r.IntN(maxEntries))
	for i := range entries {
		e := &entries[i]
		e.Kind = messages.EntryKind(r.IntN(4))
		if r.IntN(4) > 0 {
			e.Data = make([]byte, r.IntN(200))
			for j := range e.Data {
				e.Data[j] = byte(r.Uint32())
			}
		}
		if r.IntN(2) == 0 {
			e.Session, e.Sequence, e.Acknowledged = extreme(), extreme(), extreme()
		}
	}
	return h, entries
}

func TestBlockRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 500 {
		h, entries := randomBlock(r, 20)
		written := build(h, entries)
		b, err := messages.OpenBlock(written.Bytes())
		if err != nil {
			t.Fatalf("header %+v: %v", h, err)
		}
		if b.BlockHeader != h || int(b.Count) != len(entries) || written.BlockHeader != h || written.Count != b.Count {
			t.Fatalf("opened %+v with %d entries, wrote %+v with %d", b.BlockHeader, b.Count, h, len(entries))
		}
		if got := read(t, b); !same(got, entries) {
			t.Fatalf("read %+v, wrote %+v", got, entries)
		}
	}
}

// A block is what any protobuf library makes of EntryBlock.
func TestBlockIsValidProtobuf(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	for range 200 {
		h, entries := randomBlock(r, 10)
		b := build(h, entries)
		var m messages.EntryBlock
		if err := proto.Unmarshal(b.Bytes(), &m); err != nil {
			t.Fatal(err)
		}
		got := messages.BlockHeader{
			Group: m.Group, Incarnation: m.Incarnation, Term: m.Term,
			FirstIndex: m.FirstIndex, PrevTerm: m.PrevTerm, Time: int64(m.Time),
		}
		if got != h || int(m.Count) != len(entries) || m.Checksum == 0 {
			t.Fatalf("protobuf reads header %+v of %d entries, wrote %+v of %d", got, m.Count, h, len(entries))
		}
		var views []messages.EntryView
		for _, e := range m.Entries {
			views = append(views, messages.EntryView{Kind: e.Kind, Data: e.Data, Session: e.Session, Sequence: e.Sequence, Acknowledged: e.Acknowledged})
		}
		if !same(views, entries) {
			t.Fatalf("protobuf reads %+v, wrote %+v", views, entries)
		}
		if len(m.ProtoReflect().GetUnknown()) != 0 {
			t.Fatalf("protobuf finds unknown fields %x", m.ProtoReflect().GetUnknown())
		}
	}
}

func TestEverySingleBitFlipIsRefused(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	for range 10 {
		b := build(randomBlock(r, 4))
		raw := bytes.Clone(b.Bytes())
		for bit := range len(raw) * 8 {
			raw[bit/8] ^= 1 << (bit % 8)
			if _, err := messages.OpenBlock(raw); !errors.Is(err, messages.ErrBlockCorrupt) {
				t.Fatalf("bit %d of %x flipped: error %v, expected ErrBlockCorrupt", bit, b.Bytes(), err)
			}
			raw[bit/8] ^= 1 << (bit % 8)
		}
	}
}

func TestEveryTruncationIsRefused(t *testing.T) {
	b := build(randomBlock(rand.New(rand.NewPCG(4, 4)), 4))
	for n := range b.Len() {
		if _, err := messages.OpenBlock(b.Bytes()[:n]); !errors.Is(err, messages.ErrBlockCorrupt) {
			t.Fatalf("first %d of %d bytes: error %v, expected ErrBlockCorrupt", n, b.Len(), err)
		}
	}
	if _, err := messages.OpenBlock(append(bytes.Clone(b.Bytes()), 0)); !errors.Is(err, messages.ErrBlockCorrupt) {
		t.Fatalf("one byte more: error %v, expected ErrBlockCorrupt", err)
	}
}

func TestPrefixAndSuffixEqualEncodingAnew(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	for range 100 {
		h, entries := randomBlock(r, 8)
		b := build(h, entries)
		for i := range entries {
			at := h.FirstIndex + uint64(i)
			prefix, err := b.Prefix(at)
			if err != nil {
				t.Fatal(err)
			}
			if want := build(h, entries[:i+1]); !bytes.Equal(prefix.Bytes(), want.Bytes()) || prefix.BlockHeader != want.BlockHeader || prefix.Count != want.Count {
				t.Fatalf("Prefix(%d) of %+v is %x, expected %x", at, h, prefix.Bytes(), want.Bytes())
			}
			suffix, err := b.Suffix(at)
			if err != nil {
				t.Fatal(err)
			}
			hs := h
			if hs.FirstIndex = at; i > 0 {
				hs.PrevTerm = h.Term
			}
			if want := build(hs, entries[i:]); !bytes.Equal(suffix.Bytes(), want.Bytes()) || suffix.BlockHeader != want.BlockHeader || suffix.Count != want.Count {
				t.Fatalf("Suffix(%d) of %+v is %x, expected %x", at, h, suffix.Bytes(), want.Bytes())
			}
		}
	}
}

func TestSliceOutsideTheBlockPanics(t *testing.T) {
	b := build(messages.BlockHeader{Term: 1, FirstIndex: 5}, make([]messages.EntryView, 3))
	for name, f := range map[string]func() (messages.Block, error){
		"Prefix(4)": func() (messages.Block, error) { return b.Prefix(4) },
		"Prefix(8)": func() (messages.Block, error) { return b.Prefix(8) },
		"Suffix(4)": func() (messages.Block, error) { return b.Suffix(4) },
		"Suffix(8)": func() (messages.Block, error) { return b.Suffix(8) },
	} {
		mustPanic(t, name, func() { f() })
	}
}

func mustPanic(t *testing.T, name string, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s did not panic", name)
		}
	}()
	f()
}

// The bytes on disk and on the wire. A change here is a change of format: it
// needs a new field and a way to read what is already written, not a new golden.
func TestBlockGolden(t *testing.T) {
	b := build(messages.BlockHeader{
		Group: 7, Incarnation: 2, Term: 5, FirstIndex: 1000, PrevTerm: 4, Time: 1_700_000_000_123_456_789,
	}, []messages.EntryView{
		{Kind: messages.EntryKind_NOOP},
		{Data: []byte("set x 1"), Session: 300, Sequence: 1},
		{Kind: messages.EntryKind_QUERY, Data: []byte("get x")},
	})
	const golden = "" +
		"0d" + "37675cfd" + // CRC32C of what follows
		"11" + "0700000000000000" + // group
		"19" + "0200000000000000" + // incarnation
		"21" + "0500000000000000" + // term
		"29" + "e803000000000000" + // first index
		"31" + "0400000000000000" + // term before
		"39" + "15cd853dfe9c9717" + // time
		"45" + "03000000" + // count
		"4a02" + "0801" +
		"4a0e" + "1207" + "73657420782031" + "18ac02" + "2001" +
		"4a09" + "0803" + "1205" + "6765742078"
	if got := hex.EncodeToString(b.Bytes()); got != golden {
		t.Errorf("got  %s\nwant %s", got, golden)
	}
}

// resum gives raw the checksum of its bytes, as somebody who means harm would.
func resum(raw []byte) []byte {
	binary.LittleEndian.PutUint32(raw[1:], crc32.Checksum(raw[5:], crc32.MakeTable(crc32.Castagnoli)))
	return raw
}

// Headers that no leader writes, with a right checksum.
func TestImpossibleHeadersAreRefused(t *testing.T) {
	good := build(messages.BlockHeader{Group: 1, Term: 2, FirstIndex: 3, PrevTerm: 2}, make([]messages.EntryView, 2))
	put := func(at int, v uint64) func(raw []byte) {
		return func(raw []byte) { binary.LittleEndian.PutUint64(raw[at:], v) }
	}
	count := func(v uint32) func(raw []byte) {
		return func(raw []byte) { binary.LittleEndian.PutUint32(raw[60:], v) }
	}
	for name, change := range map[string]func(raw []byte){
		"term 0":                 put(24, 0),
		"first index 0":          put(33, 0),
		"previous term above":    put(42, 3),
		"indexes overflow":       put(33, math.MaxUint64),
		"no entries":             count(0),
		"more entries than room": count(3),
		"4 billion entries":      count(math.MaxUint32),
	} {
		raw := bytes.Clone(good.Bytes())
		change(raw)
		if _, err := messages.OpenBlock(resum(raw)); !errors.Is(err, messages.ErrBlockCorrupt) || !strings.Contains(err.Error(), "impossible header") {
			t.Errorf("%s: error %v, expected an impossible header", name, err)
		}
	}
	if _, err := messages.OpenBlock(resum(bytes.Clone(good.Bytes()))); err != nil {
		t.Errorf("unchanged: %v", err)
	}
}

// Entries that no leader writes, in a block with a right header and checksum.
func TestMalformedEntriesAreRefused(t *testing.T) {
	for name, body := range map[string]string{
		"another field":          "52020801",
		"another wire type":      "48020000",
		"longer than the block":  "4a7f0801",
		"bytes after the last":   "4a0208014a00",
		"kind as bytes":          "4a030a0141",
		"data as a number":       "4a021001",
		"session as bytes":       "4a021a00",
		"field without value":    "4a0108",
		"data longer than entry": "4a02120a",
		"endless number":         "4a0b08ffffffffffffffffffff",
		"field 0":                "4a020001",
		"group without an end":   "4a012b",
	} {
		entry, err := hex.DecodeString(body)
		if err != nil {
			t.Fatal(err)
		}
		good := build(messages.BlockHeader{Term: 1, FirstIndex: 1}, make([]messages.EntryView, 1))
		raw := append(bytes.Clone(good.Bytes()[:messages.BlockHeaderBytes]), entry...)
		b, err := messages.OpenBlock(resum(raw))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := b.Entries(func(uint64, messages.EntryView) error { return nil }); !errors.Is(err, messages.ErrBlockCorrupt) {
			t.Errorf("%s: error %v, expected ErrBlockCorrupt", name, err)
		}
	}
}

// A field of a later version is skipped, and kept by Prefix and Suffix.
func TestUnknownEntryFieldsAreSkipped(t *testing.T) {
	first := build(messages.BlockHeader{Term: 1, FirstIndex: 1}, make([]messages.EntryView, 2))
	raw := append(bytes.Clone(first.Bytes()[:messages.BlockHeaderBytes]), 0x4a, 5, 0x12, 1, 'x', 0x28, 9, 0x4a, 0)
	b, err := messages.OpenBlock(resum(raw))
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, b); !same(got, []messages.EntryView{{Data: []byte("x")}, {}}) {
		t.Errorf("read %+v", got)
	}
	p, err := b.Prefix(1)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasSuffix(p.Bytes(), []byte{0x28, 9}) {
		t.Errorf("Prefix lost the field: %x", p.Bytes())
	}
}

func TestZeroBlockIsEmpty(t *testing.T) {
	var b messages.Block
	if b.Len() != 0 || b.Bytes() != nil || b.Verify() != nil || len(read(t, b)) != 0 {
		t.Errorf("the zero Block is not empty: %+v", b)
	}
}

func TestFinishRefusesWhatOpenBlockWould(t *testing.T) {
	mustPanic(t, "no entries", func() { build(messages.BlockHeader{Term: 1, FirstIndex: 1}, nil) })
	for name, h := range map[string]messages.BlockHeader{
		"term 0":              {FirstIndex: 1},
		"first index 0":       {Term: 1},
		"previous term above": {Term: 1, FirstIndex: 2, PrevTerm: 2},
	} {
		mustPanic(t, name, func() { build(h, make([]messages.EntryView, 1)) })
	}
}

func TestEntryBytesIsEnough(t *testing.T) {
	for _, n := range []int{0, 1, 127, 128, 1 << 14, 1 << 21} {
		b := build(messages.BlockHeader{Term: 1, FirstIndex: 1}, []messages.EntryView{
			{Kind: -1, Data: make([]byte, n), Session: math.MaxUint64, Sequence: math.MaxUint64},
		})
		if used := b.Len() - messages.BlockHeaderBytes; used > messages.EntryBytes(n) {
			t.Errorf("an entry of %d bytes takes %d, EntryBytes says %d at the most", n, used, messages.EntryBytes(n))
		}
	}
}

func TestEntriesStopsAtTheCallersError(t *testing.T) {
	b := build(messages.BlockHeader{Term: 1, FirstIndex: 1}, make([]messages.EntryView, 3))
	stop, calls := errors.New("stop"), 0
	err := b.Entries(func(index uint64, _ messages.EntryView) error {
		if calls++; index == 2 {
			return stop
		}
		return nil
	})
	if err != stop || calls != 2 {
		t.Errorf("error %v after %d calls, expected the caller's after 2", err, calls)
	}
}

// FuzzBlock reads bytes an attacker may have made, checksum put right: nothing
// panics, and what is read equals what protobuf reads of the same bytes.
func FuzzBlock(f *testing.F) {
	r := rand.New(rand.NewPCG(6, 6))
	for range 5 {
		b := build(randomBlock(r, 3))
		f.Add(b.Bytes())
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) >= messages.BlockHeaderBytes {
			raw = resum(bytes.Clone(raw))
		}
		b, err := messages.OpenBlock(raw)
		if err != nil {
			if !errors.Is(err, messages.ErrBlockCorrupt) {
				t.Fatalf("error %v is not ErrBlockCorrupt", err)
			}
			return
		}
		var es []messages.EntryView
		if err := b.Entries(func(_ uint64, e messages.EntryView) error { es = append(es, e); return nil }); err != nil {
			if !errors.Is(err, messages.ErrBlockCorrupt) {
				t.Fatalf("error %v is not ErrBlockCorrupt", err)
			}
			b.Prefix(b.FirstIndex)
			b.Suffix(b.LastIndex())
			return
		}
		var m messages.EntryBlock
		if err := proto.Unmarshal(raw, &m); err != nil {
			t.Fatalf("protobuf refuses what Entries read: %v", err)
		}
		if len(m.Entries) != len(es) {
			t.Fatalf("protobuf reads %d entries, Entries %d", len(m.Entries), len(es))
		}
		for i, e := range m.Entries {
			if v := es[i]; v.Kind != e.Kind || !bytes.Equal(v.Data, e.Data) || v.Session != e.Session || v.Sequence != e.Sequence {
				t.Fatalf("entry %d: protobuf reads %v, Entries %+v", i, e, v)
			}
		}
		middle := b.FirstIndex + uint64(b.Count)/2
		s, err := b.Suffix(middle)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := messages.OpenBlock(s.Bytes()); err != nil {
			t.Fatalf("a suffix of a good block: %v", err)
		}
	})
}

func BenchmarkBlock64x16(b *testing.B) {
	data := bytes.Repeat([]byte("x"), 16)
	encode := func() messages.Block {
		w := messages.NewBlockWriter(messages.BlockHeader{Group: 1, Term: 3, FirstIndex: 100, PrevTerm: 3}, 64*messages.EntryBytes(16))
		for range 64 {
			w.Add(messages.EntryView{Data: data})
		}
		return w.Finish()
	}
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			encode()
		}
	})
	b.Run("read", func(b *testing.B) {
		block := encode()
		raw := block.Bytes()
		b.ReportAllocs()
		for b.Loop() {
			o, err := messages.OpenBlock(raw)
			if err != nil {
				b.Fatal(err)
			}
			total := 0
			if err := o.Entries(func(_ uint64, e messages.EntryView) error { total += len(e.Data); return nil }); err != nil {
				b.Fatal(err)
			}
			if total != 64*16 {
				b.Fatalf("read %d bytes of data, expected %d", total, 64*16)
			}
		}
	})
}
