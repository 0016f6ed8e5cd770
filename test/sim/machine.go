package sim

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"github.com/protoraft/protoraft/fsm"
)

// machine keeps an append-only list for each key and remembers of it only its
// length and a hash over its values in order: enough to tell any two lists apart.
type machine struct {
	member *memberModel // nil outside a world
	lists  [keysMax]list
	state  uint64 // hash over every command applied, in order
}

const keysMax = 16

// viewBytes is the size of a snapshot.
const viewBytes = 8 + 12*keysMax

type list struct {
	length uint32
	hash   uint64
}

func (l *list) append(value uint64) {
	l.length++
	l.hash = mix(l.hash, value)
}

// command appends value to a key's list; onlyAt makes it depend on the list's
// length: append when it is as expected.
type command struct {
	key    uint8
	value  uint64
	onlyAt bool
	expect uint32
}

func (c *command) encode(padding int) []byte {
	b := make([]byte, 14, 14+padding)
	b[0] = c.key
	if c.onlyAt {
		b[1] = 1
	}
	binary.LittleEndian.PutUint64(b[2:], c.value)
	binary.LittleEndian.PutUint32(b[10:], c.expect)
	return append(b, make([]byte, padding)...)
}

func decodeCommand(b []byte) (c command, err error) {
	if len(b) < 14 || b[0] >= keysMax {
		return c, fmt.Errorf("command of %d bytes, expected 14 or more and a key below %d", len(b), keysMax)
	}
	return command{
		key: b[0], onlyAt: b[1] == 1, value: binary.LittleEndian.Uint64(b[2:]), expect: binary.LittleEndian.Uint32(b[10:]),
	}, nil
}

// result is what a command or query answers: the list as it is afterwards.
type result struct {
	list
	appended bool
}

func (r *result) encode() []byte {
	b := make([]byte, 13)
	if r.appended {
		b[0] = 1
	}
	binary.LittleEndian.PutUint32(b[1:], r.length)
	binary.LittleEndian.PutUint64(b[5:], r.hash)
	return b
}

func decodeResult(b []byte) (r result, err error) {
	if len(b) != 13 {
		return r, fmt.Errorf("answer of %d bytes, expected 13", len(b))
	}
	return result{
		list:     list{binary.LittleEndian.Uint32(b[1:]), binary.LittleEndian.Uint64(b[5:])},
		appended: b[0] == 1,
	}, nil
}

// execute is the machine's one transition.
func (m *machine) execute(data []byte) (result, error) {
	c, err := decodeCommand(data)
	if err != nil {
		return result{}, err
	}
	l := &m.lists[c.key]
	r := result{appended: !c.onlyAt || c.expect == l.length}
	if r.appended {
		l.append(c.value)
	}
	r.list = *l
	m.state = mix(m.state, digest(data))
	return r, nil
}

// Apply implements fsm.StateMachine.
func (m *machine) Apply(e fsm.Entry) ([]byte, error) {
	if err := m.fail(failsApply, panicsInApply); err != nil {
		return nil, err
	}
	r, err := m.execute(e.Data)
	if err != nil {
		return nil, err
	}
	if m.member != nil {
		m.member.applied(e, m.state)
	}
	return r.encode(), nil
}

// Query implements fsm.Querier.
func (m *machine) Query(q []byte) ([]byte, error) {
	if err := m.fail(panicsInQuery); err != nil {
		return nil, err
	}
	if len(q) != 1 || q[0] >= keysMax {
		return nil, fmt.Errorf("query of %d bytes, expected a key below %d", len(q), keysMax)
	}
	return (&result{list: m.lists[q[0]]}).encode(), nil
}

// LeaderStart implements fsm.LeaderObserver.
func (m *machine) LeaderStart(term uint64) {
	if m.member != nil {
		m.member.leaderStarts(term)
	}
}

// LeaderStop implements fsm.LeaderObserver.
func (m *machine) LeaderStop(uint64) {}

// Snapshot implements fsm.StateMachine.
func (m *machine) Snapshot() (fsm.View, error) {
	b := binary.LittleEndian.AppendUint64(nil, m.state)
	for _, l := range m.lists {
		b = binary.LittleEndian.AppendUint32(b, l.length)
		b = binary.LittleEndian.AppendUint64(b, l.hash)
	}
	if m.member != nil {
		m.member.viewed(digest(b))
	}
	return view(b), nil
}

// Restore implements fsm.StateMachine.
func (m *machine) Restore(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if len(b) != viewBytes {
		return fmt.Errorf("snapshot of %d bytes, expected %d", len(b), viewBytes)
	}
	m.state = binary.LittleEndian.Uint64(b)
	for i := range m.lists {
		at := b[8+12*i:]
		m.lists[i] = list{binary.LittleEndian.Uint32(at), binary.LittleEndian.Uint64(at[4:])}
	}
	if m.member != nil {
		m.member.restored(m.state, digest(b))
	}
	return nil
}

type view []byte

func (v view) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(slices.Clone(v))
	return int64(n), err
}

func (v view) Release() {}
