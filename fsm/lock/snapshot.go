package lock

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"

	"github.com/tidwall/btree"

	"github.com/protoraft/protoraft/fsm"
)

// A snapshot is
//
//	"prlk", version (1 byte), 3 zero bytes
//	log time in ms since 1970, count of locks     uvarints
//	per lock: length, name, length, owner, token, end, count of places
//	          per place: length, owner, end
//	CRC-32C of all before it                      4 bytes, little endian
//
// with the locks in the order of their names, numbers as uvarints, ends in ms since
// 1970. Locks whose time is over and that are not removed yet are in it.
const snapshotHeader = "prlk\x01\x00\x00\x00"

// ErrSnapshot is wrapped by every error of Restore that says the snapshot cannot be
// used. The state is then as it was before.
var ErrSnapshot = errors.New("lock: bad snapshot")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Snapshot implements fsm.StateMachine in constant time.
func (m *Machine) Snapshot() (fsm.View, error) { return &view{m.locks.Copy(), m.now}, nil }

type view struct {
	locks *btree.Map[string, *state]
	now   int64
}

func (v *view) Release() { v.locks = nil }

type counted struct {
	w io.Writer
	n int64
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// WriteTo implements io.WriterTo.
func (v *view) WriteTo(w io.Writer) (int64, error) {
	out, sum := &counted{w: w}, crc32.New(castagnoli)
	b := bufio.NewWriterSize(io.MultiWriter(out, sum), 16<<10)
	// A bufio.Writer keeps its first error for Flush.
	b.WriteString(snapshotHeader)
	var n [binary.MaxVarintLen64]byte
	number := func(v uint64) { b.Write(n[:binary.PutUvarint(n[:], v)]) }
	text := func(s string) {
		number(uint64(len(s)))
		b.WriteString(s)
	}
	number(uint64(v.now))
	number(uint64(v.locks.Len()))
	v.locks.Scan(func(name string, s *state) bool {
		text(name)
		text(s.owner)
		number(s.token)
		number(uint64(s.until))
		number(uint64(len(s.queue)))
		for _, p := range s.queue {
			text(p.owner)
			number(uint64(p.until))
		}
		return true
	})
	if err := b.Flush(); err != nil {
		return out.n, err
	}
	_, err := out.Write(binary.LittleEndian.AppendUint32(nil, sum.Sum32()))
	return out.n, err
}

// Restore implements fsm.StateMachine. It reads r to its end. Nothing changes unless
// all of it is as a view wrote it.
func (m *Machine) Restore(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if len(b) < len(snapshotHeader)+4 {
		return fmt.Errorf("%w: cut short", ErrSnapshot)
	}
	if got := string(b[:len(snapshotHeader)]); got != snapshotHeader {
		return fmt.Errorf("%w: it begins with %x, expected %x", ErrSnapshot, got, snapshotHeader)
	}
	body, tail := b[:len(b)-4], b[len(b)-4:]
	if got, want := binary.LittleEndian.Uint32(tail), crc32.Checksum(body, castagnoli); got != want {
		return fmt.Errorf("%w: checksum %#x, expected %#x", ErrSnapshot, got, want)
	}
	restored := New()
	in := &reader{rest: body[len(snapshotHeader):]}
	restored.load(in)
	if in.err == nil && len(in.rest) > 0 {
		in.err = fmt.Errorf("%d bytes behind its locks", len(in.rest))
	}
	if in.err != nil {
		return fmt.Errorf("%w: %w", ErrSnapshot, in.err)
	}
	*m = *restored
	return nil
}

func (m *Machine) load(in *reader) {
	m.now = in.time()
	last := ""
	for i := in.number(MaxLocks); i > 0 && in.err == nil; i-- {
		name := in.text(MaxNameBytes)
		s := &state{owner: in.text(MaxOwnerBytes), token: in.number(math.MaxInt64), until: in.time()}
		for places := in.number(MaxQueue); places > 0 && in.err == nil; places-- {
			s.queue = append(s.queue, place{in.text(MaxOwnerBytes), in.time()})
		}
		if in.err != nil {
			return
		}
		if name <= last || s.token == 0 && len(s.queue) == 0 {
			in.err = fmt.Errorf("lock %q is out of order or of nobody", name)
			return
		}
		m.put(name, s)
		last = name
	}
}

// reader keeps its first error.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) number(limit uint64) uint64 {
	v, n := binary.Uvarint(r.rest)
	switch {
	case r.err != nil:
		return 0
	case n <= 0:
		r.err = errors.New("cut short")
		return 0
	case v > limit:
		r.err = fmt.Errorf("a number %d, at most %d", v, limit)
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) time() int64 { return int64(r.number(math.MaxInt64)) }

func (r *reader) text(limit uint64) string {
	n := r.number(limit)
	if r.err == nil && n > uint64(len(r.rest)) {
		r.err = errors.New("cut short")
	}
	if r.err != nil {
		return ""
	}
	s := string(r.rest[:n])
	r.rest = r.rest[n:]
	return s
}
