// Package counter is the smallest useful replicated machine: one integer. It is
// meant to be copied.
package counter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/protoraft/protoraft/fsm"
	"google.golang.org/protobuf/encoding/protowire"
)

// ErrOverflow is what Parse returns for an addition that was refused because the
// sum does not fit 64 bits. The counter keeps its value.
var ErrOverflow = errors.New("counter: sum out of the range of 64 bits")

// Commands, queries and replies are protobuf messages of one field:
//
//	message Add    { sint64 delta = 1; }                     // command
//	message Read   {}                                         // query
//	message Result { sint64 value = 1; bool overflow = 2; }   // reply to both
const (
	tagNumber   = 1 << 3
	tagOverflow = 2 << 3
)

// Format is the name of the counter's snapshots, for good.
const Format = "protoraft-counter"

// Add is the command that adds delta. Parse its reply for the sum.
func Add(delta int64) []byte { return binary.AppendVarint([]byte{tagNumber}, delta) }

// Read is the query for the value. Parse its answer.
func Read() []byte { return nil }

// Parse reads a reply: the counter's value after the command or at the query.
func Parse(reply []byte) (int64, error) {
	n, rest, err := number(reply)
	if err != nil {
		return 0, err
	}
	if len(rest) == 2 && rest[0] == tagOverflow && rest[1] == 1 {
		return n, ErrOverflow
	}
	if len(rest) != 0 {
		return 0, fmt.Errorf("counter: %d bytes after the value", len(rest))
	}
	return n, nil
}

func number(b []byte) (n int64, rest []byte, err error) {
	if len(b) < 2 || b[0] != tagNumber {
		return 0, nil, fmt.Errorf("counter: %x is not a number", b)
	}
	v, size := protowire.ConsumeVarint(b[1:])
	if size < 0 {
		return 0, nil, fmt.Errorf("counter: %x is not a number", b)
	}
	return protowire.DecodeZigZag(v), b[1+size:], nil
}

// Hooks are called when this member starts and stops leading, where set. They run
// in the Applier: they must not wait.
type Hooks struct {
	LeaderStart func(term uint64)
	LeaderStop  func(term uint64)
}

// Machine implements fsm.StateMachine, fsm.Querier and fsm.LeaderObserver.
type Machine struct {
	value int64
	hooks Hooks
}

var (
	_ fsm.Querier        = (*Machine)(nil)
	_ fsm.LeaderObserver = (*Machine)(nil)
)

// New returns a counter at 0.
func New(hooks Hooks) *Machine { return &Machine{hooks: hooks} }

// Apply adds. A sum out of range and a command that is not an Add leave the value
// as it is; the latter is answered by nothing, which Parse refuses.
func (m *Machine) Apply(e fsm.Entry) ([]byte, error) {
	delta, rest, err := number(e.Data)
	if err != nil || len(rest) != 0 {
		return nil, nil
	}
	if delta > 0 && m.value > math.MaxInt64-delta || delta < 0 && m.value < math.MinInt64-delta {
		return append(Add(m.value), tagOverflow, 1), nil
	}
	m.value += delta
	return Add(m.value), nil // a Result begins as an Add does
}

// Query answers Read.
func (m *Machine) Query(query []byte) ([]byte, error) {
	if len(query) != 0 {
		return nil, fmt.Errorf("counter: a query of %d bytes, expected none", len(query))
	}
	return Add(m.value), nil
}

// Snapshot copies the value: it is its own view.
func (m *Machine) Snapshot() (fsm.View, error) { return view(m.value), nil }

type view int64

func (v view) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(binary.BigEndian.AppendUint64(nil, uint64(v)))
	return int64(n), err
}

func (view) Release() {}

// SnapshotFormat implements fsm.Formatted.
func (m *Machine) SnapshotFormat() string { return Format }

// Restore implements fsm.StateMachine.
func (m *Machine) Restore(r io.Reader) error {
	b, err := io.ReadAll(io.LimitReader(r, 9))
	if err != nil {
		return err
	}
	if len(b) != 8 {
		return fmt.Errorf("counter: a snapshot of %d bytes, expected 8", len(b))
	}
	m.value = int64(binary.BigEndian.Uint64(b))
	return nil
}

// LeaderStart implements fsm.LeaderObserver.
func (m *Machine) LeaderStart(term uint64) {
	if m.hooks.LeaderStart != nil {
		m.hooks.LeaderStart(term)
	}
}

// LeaderStop implements fsm.LeaderObserver.
func (m *Machine) LeaderStop(term uint64) {
	if m.hooks.LeaderStop != nil {
		m.hooks.LeaderStop(term)
	}
}
