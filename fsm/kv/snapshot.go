package kv

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"

	"github.com/protoraft/protoraft/fsm"
	"github.com/tidwall/btree"
)

// A snapshot is
//
//	"prkv", version (1 byte), 3 zero bytes
//	count of keys                      uvarint
//	per key: length, key, length, value   uvarints and bytes
//	CRC-32C of all before it           4 bytes, little endian
//
// with the keys in the order of the tree, so that equal states write equal bytes.
const (
	snapshotMagic   = "prkv"
	snapshotVersion = 1
	snapshotHeader  = 8
)

// ErrSnapshot is wrapped by every error of Restore that says the snapshot cannot
// be used. The state is then as it was before.
var ErrSnapshot = errors.New("kv: bad snapshot")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Snapshot implements fsm.StateMachine in constant time.
func (m *Machine) Snapshot() (fsm.View, error) {
	return &view{tree: m.keys.copy(), count: m.keys.count}, nil
}

type view struct {
	tree  *btree.Map[uint64, *item]
	count int
}

func (v *view) Release() { v.tree = nil }

// WriteTo implements io.WriterTo.
func (v *view) WriteTo(w io.Writer) (int64, error) {
	out := &summedWriter{w: w, sum: crc32.New(castagnoli)}
	b := bufio.NewWriterSize(out, 64<<10)
	// A bufio.Writer keeps its first error for Flush.
	b.WriteString(snapshotMagic)
	b.Write([]byte{snapshotVersion, 0, 0, 0})
	var n [binary.MaxVarintLen64]byte
	number := func(v int) { b.Write(n[:binary.PutUvarint(n[:], uint64(v))]) }
	number(v.count)
	ascend(v.tree, 0, func(_ uint64, it *item) bool {
		number(len(it.key))
		b.WriteString(it.key)
		number(len(it.value))
		_, err := b.Write(it.value)
		return err == nil
	})
	if err := b.Flush(); err != nil {
		return out.n, err
	}
	tail, err := w.Write(binary.LittleEndian.AppendUint32(nil, out.sum.Sum32()))
	return out.n + int64(tail), err
}

type summedWriter struct {
	w   io.Writer
	sum hash.Hash32
	n   int64
}

func (s *summedWriter) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	s.sum.Write(p[:n])
	s.n += int64(n)
	return n, err
}

// Restore implements fsm.StateMachine. It reads r to its end. Nothing changes
// unless all of it is as a view wrote it.
func (m *Machine) Restore(r io.Reader) error {
	in := &summedReader{r: bufio.NewReaderSize(r, 64<<10), sum: crc32.New(castagnoli)}
	keys, err := readKeys(in, m.keys.hash)
	if err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("%w: cut short", ErrSnapshot)
		}
		return err
	}
	m.keys = keys
	return nil
}

func readKeys(in *summedReader, hash func([]byte) uint64) (keyspace, error) {
	keys := newKeyspace()
	keys.hash = hash
	header, err := in.take(snapshotHeader)
	if err != nil {
		return keys, err
	}
	if string(header[:4]) != snapshotMagic || header[5]|header[6]|header[7] != 0 {
		return keys, fmt.Errorf("%w: it begins with %x, expected %x", ErrSnapshot, header, snapshotMagic)
	}
	if header[4] != snapshotVersion {
		return keys, fmt.Errorf("%w: version %d, this program reads %d", ErrSnapshot, header[4], snapshotVersion)
	}
	count, err := binary.ReadUvarint(in)
	if err != nil {
		return keys, err
	}
	if err := keys.load(in, count); err != nil {
		return keys, err
	}
	want := in.sum.Sum32()
	tail, err := in.take(4)
	if err != nil {
		return keys, err
	}
	if got := binary.LittleEndian.Uint32(tail); got != want {
		return keys, fmt.Errorf("%w: checksum %#x, expected %#x", ErrSnapshot, got, want)
	}
	if _, err := in.r.ReadByte(); err != io.EOF {
		return keys, fmt.Errorf("%w: something follows its checksum", ErrSnapshot)
	}
	return keys, nil
}

func (k *keyspace) load(in *summedReader, count uint64) error {
	lastHash, lastKey := uint64(0), ""
	for i := uint64(0); i < count; i++ {
		key, err := in.field("key", MaxKeyBytes)
		if err != nil {
			return err
		}
		value, err := in.field("value", MaxValueBytes)
		if err != nil {
			return err
		}
		h := k.hash(key)
		if i > 0 && (h < lastHash || h == lastHash && string(key) <= lastKey) {
			return fmt.Errorf("%w: key %d is out of order", ErrSnapshot, i)
		}
		if i > 0 && h == lastHash {
			k.put(key, value)
		} else {
			k.tree.Load(h, &item{key: string(key), value: value})
			k.count++
		}
		lastHash, lastKey = h, string(key)
	}
	return nil
}

type summedReader struct {
	r   *bufio.Reader
	sum hash.Hash32
}

func (s *summedReader) ReadByte() (byte, error) {
	c, err := s.r.ReadByte()
	if err == nil {
		s.sum.Write([]byte{c})
	}
	return c, err
}

func (s *summedReader) take(n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(s.r, b); err != nil {
		return nil, err
	}
	s.sum.Write(b)
	return b, nil
}

func (s *summedReader) field(what string, limit uint64) ([]byte, error) {
	n, err := binary.ReadUvarint(s)
	if err != nil {
		return nil, err
	}
	if n > limit {
		return nil, fmt.Errorf("%w: a %s of %d bytes, at most %d", ErrSnapshot, what, n, limit)
	}
	return s.take(int(n))
}
