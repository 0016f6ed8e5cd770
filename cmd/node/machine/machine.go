// Package machine is what a node's group replicates: keys (fsm/kv) and locks
// (fsm/lock) in one log. docs/design/0004-one-group.md says why it is one.
//
// A command or query for the locks has a zero byte before it, with which none for the
// keys begins; all others are for the keys. Until the first command for locks a
// snapshot is that of the keys, byte for byte.
package machine

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/protoraft/protoraft/fsm"
	"github.com/protoraft/protoraft/fsm/kv"
	"github.com/protoraft/protoraft/fsm/lock"
)

// lockByte is a field of number 0 to a reader of protobuf, which is none.
const lockByte = 0

// Lock makes a command or query of package lock one of this machine.
func Lock(data []byte) []byte { return append([]byte{lockByte}, data...) }

// Machine implements fsm.StateMachine and fsm.Querier. Make it with New.
type Machine struct {
	keys   *kv.Machine
	locks  *lock.Machine
	locked bool // a command for locks was applied
}

var (
	_ fsm.StateMachine = (*Machine)(nil)
	_ fsm.Querier      = (*Machine)(nil)
)

// New returns an empty machine.
func New() *Machine { return &Machine{keys: kv.New(), locks: lock.New()} }

// Format is the name of the machine's snapshots, for good.
const Format = "protoraft-node"

// SnapshotFormat implements fsm.Formatted.
func (m *Machine) SnapshotFormat() string { return Format }

// Apply implements fsm.StateMachine. The error is always nil.
func (m *Machine) Apply(e fsm.Entry) ([]byte, error) {
	if len(e.Data) == 0 || e.Data[0] != lockByte {
		return m.keys.Apply(e)
	}
	m.locked = true
	e.Data = e.Data[1:]
	return m.locks.Apply(e)
}

// Query implements fsm.Querier.
func (m *Machine) Query(query []byte) ([]byte, error) {
	if len(query) == 0 || query[0] != lockByte {
		return m.keys.Query(query)
	}
	return m.locks.Query(query[1:])
}

// A snapshot with locks is
//
//	"prnd", version (1 byte), 3 zero bytes
//	length of the locks' snapshot    uvarint
//	the locks' snapshot, the keys' snapshot
//
// each of which has a checksum of its own.
const (
	snapshotHeader = "prnd\x01\x00\x00\x00"
	locksBytesMax  = 1 << 30
)

// ErrSnapshot is wrapped by the errors of Restore, beside those of the parts.
var ErrSnapshot = errors.New("machine: bad snapshot")

// Snapshot implements fsm.StateMachine in constant time.
func (m *Machine) Snapshot() (fsm.View, error) {
	keys, err := m.keys.Snapshot()
	if err != nil || !m.locked {
		return keys, err
	}
	locks, err := m.locks.Snapshot()
	if err != nil {
		keys.Release()
		return nil, err
	}
	return &view{keys, locks}, nil
}

type view struct{ keys, locks fsm.View }

func (v *view) Release() {
	v.keys.Release()
	v.locks.Release()
}

// WriteTo writes the locks twice, once to learn how long they are.
func (v *view) WriteTo(w io.Writer) (int64, error) {
	size, err := v.locks.WriteTo(io.Discard)
	if err != nil {
		return 0, err
	}
	n, err := w.Write(binary.AppendUvarint([]byte(snapshotHeader), uint64(size)))
	written := int64(n)
	for _, part := range []fsm.View{v.locks, v.keys} {
		if err != nil {
			return written, err
		}
		var k int64
		k, err = part.WriteTo(w)
		written += k
	}
	return written, err
}

// Restore implements fsm.StateMachine. It reads r to its end. Nothing changes unless
// all of it is as a view wrote it.
func (m *Machine) Restore(r io.Reader) error {
	in, restored := bufio.NewReaderSize(r, 64<<10), New()
	begin, err := in.Peek(4)
	if err != nil && err != io.EOF {
		return err
	}
	if string(begin) == snapshotHeader[:4] {
		if err := restored.restoreLocks(in); err != nil {
			return err
		}
	}
	if err := restored.keys.Restore(in); err != nil {
		return err
	}
	*m = *restored
	return nil
}

func (m *Machine) restoreLocks(in *bufio.Reader) error {
	header := make([]byte, len(snapshotHeader))
	if _, err := io.ReadFull(in, header); err != nil {
		return fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	if string(header) != snapshotHeader {
		return fmt.Errorf("%w: it begins with %x, this program reads %x", ErrSnapshot, header, snapshotHeader)
	}
	size, err := binary.ReadUvarint(in)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	if size > locksBytesMax {
		return fmt.Errorf("%w: locks of %d bytes, at most %d", ErrSnapshot, size, locksBytesMax)
	}
	m.locked = true
	return m.locks.Restore(io.LimitReader(in, int64(size)))
}
