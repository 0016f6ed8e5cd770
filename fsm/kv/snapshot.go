package kv

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"math"

	"github.com/protoraft/protoraft/fsm"
	"github.com/tidwall/btree"
)

// A snapshot is
//
//	"prkv", version (1 byte), 3 zero bytes
//	of version 2: log time in ms since 1970, index that versions are kept from   uvarints
//	count of keys                      uvarint
//	per key: length, key, length, value   uvarints and bytes
//	         of version 2: deadline, 0 for none, and version counted from that index
//	CRC-32C of all before it           4 bytes, little endian
//
// with the keys in the order of the tree, so that equal states write equal bytes.
// Version 1 is written while the group keeps no versions (version.go), and so has
// no deadlines either.
const (
	snapshotMagic  = "prkv"
	snapshotPlain  = 1
	snapshotKeeper = 2 // of deadlines and versions
	snapshotHeader = 8
)

// ErrSnapshot is wrapped by every error of Restore that says the snapshot cannot
// be used. The state is then as it was before.
var ErrSnapshot = errors.New("kv: bad snapshot")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Snapshot implements fsm.StateMachine in constant time.
func (m *Machine) Snapshot() (fsm.View, error) {
	return &view{tree: m.keys.copy(), count: m.keys.count, now: m.keys.now, since: m.since}, nil
}

type view struct {
	tree  *btree.Map[uint64, *item]
	count int
	now   int64
	since uint64
}

func (v *view) Release() { v.tree = nil }

// WriteTo implements io.WriterTo.
func (v *view) WriteTo(w io.Writer) (int64, error) {
	out := &summedWriter{w: w, sum: crc32.New(castagnoli)}
	b := bufio.NewWriterSize(out, 64<<10)
	// A bufio.Writer keeps its first error for Flush.
	var n [binary.MaxVarintLen64]byte
	number := func(v uint64) { b.Write(n[:binary.PutUvarint(n[:], v)]) }
	b.WriteString(snapshotMagic)
	if v.since == 0 {
		b.Write([]byte{snapshotPlain, 0, 0, 0})
	} else {
		b.Write([]byte{snapshotKeeper, 0, 0, 0})
		number(uint64(v.now))
		number(v.since)
	}
	number(uint64(v.count))
	ascend(v.tree, 0, func(_ uint64, it *item) bool {
		number(uint64(len(it.key)))
		b.WriteString(it.key)
		number(uint64(len(it.value)))
		_, err := b.Write(it.value)
		if v.since != 0 {
			number(uint64(it.deadline))
			number(max(it.version, v.since) - v.since)
		}
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
	restored := Machine{keys: newKeyspace()}
	restored.keys.hash = m.keys.hash
	if err := restored.load(in); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("%w: cut short", ErrSnapshot)
		}
		return err
	}
	*m = restored
	return nil
}

// load reads all of a snapshot into an empty machine.
func (m *Machine) load(in *summedReader) error {
	if err := m.loadHeader(in); err != nil {
		return err
	}
	count, err := binary.ReadUvarint(in)
	if err != nil {
		return err
	}
	if err := m.loadKeys(in, count); err != nil {
		return err
	}
	want := in.sum.Sum32()
	tail, err := in.take(4)
	if err != nil {
		return err
	}
	if got := binary.LittleEndian.Uint32(tail); got != want {
		return fmt.Errorf("%w: checksum %#x, expected %#x", ErrSnapshot, got, want)
	}
	if _, err := in.r.ReadByte(); err != io.EOF {
		return fmt.Errorf("%w: something follows its checksum", ErrSnapshot)
	}
	return nil
}

func (m *Machine) loadHeader(in *summedReader) error {
	header, err := in.take(snapshotHeader)
	if err != nil {
		return err
	}
	if string(header[:4]) != snapshotMagic || header[5]|header[6]|header[7] != 0 {
		return fmt.Errorf("%w: it begins with %x, expected %x", ErrSnapshot, header, snapshotMagic)
	}
	switch header[4] {
	case snapshotPlain:
		return nil
	case snapshotKeeper:
		if m.keys.now, err = in.time(); err != nil {
			return err
		}
		if m.since, err = binary.ReadUvarint(in); err != nil {
			return err
		}
		if m.since == 0 {
			return fmt.Errorf("%w: versions are kept from entry 0, expected 1 or more", ErrSnapshot)
		}
		return nil
	}
	return fmt.Errorf("%w: version %d, this program reads %d and %d", ErrSnapshot, header[4], snapshotPlain, snapshotKeeper)
}

func (m *Machine) loadKeys(in *summedReader, count uint64) error {
	k := &m.keys
	lastHash, lastKey := uint64(0), ""
	for i := uint64(0); i < count; i++ {
		key, err := in.field("key", MaxKeyBytes)
		if err != nil {
			return err
		}
		c, err := m.loadCell(in)
		if err != nil {
			return err
		}
		h := k.hash(key)
		if i > 0 && (h < lastHash || h == lastHash && string(key) <= lastKey) {
			return fmt.Errorf("%w: key %d is out of order", ErrSnapshot, i)
		}
		if i > 0 && h == lastHash {
			first, _ := k.tree.Get(h)
			k.tree.Set(h, first.with(key, c, k.generation))
		} else {
			k.tree.Load(h, &item{key: string(key), cell: c})
		}
		k.count++
		lastHash, lastKey = h, string(key)
		k.reschedule(lastKey, 0, c.deadline)
	}
	return nil
}

func (m *Machine) loadCell(in *summedReader) (c cell, err error) {
	if c.value, err = in.field("value", MaxValueBytes); err != nil || m.since == 0 {
		return c, err
	}
	if c.deadline, err = in.time(); err != nil {
		return c, err
	}
	later, err := binary.ReadUvarint(in)
	if later > math.MaxUint64-m.since {
		return c, fmt.Errorf("%w: a version %d above %d", ErrSnapshot, later, m.since)
	}
	c.version = m.since + later
	return c, err
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

// time reads a time in milliseconds.
func (s *summedReader) time() (int64, error) {
	v, err := binary.ReadUvarint(s)
	if v > math.MaxInt64 {
		return 0, fmt.Errorf("%w: a time of %d ms since 1970", ErrSnapshot, v)
	}
	return int64(v), err
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
