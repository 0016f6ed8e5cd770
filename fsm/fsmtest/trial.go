package fsmtest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/protoraft/protoraft/fsm"
	"github.com/protoraft/protoraft/test/sim"
)

// trial is what one seed has drawn: a log.
type trial struct {
	rng      *rand.Rand
	entries  []fsm.Entry
	machines []fsm.StateMachine
}

// fresh makes a machine. One that lives among actors is given a place.
func (t *trial) fresh(k Kit) fsm.StateMachine {
	m := k.New()
	t.machines = append(t.machines, m)
	if h, ok := m.(fsm.Hosted); ok {
		if err := h.Start(sim.Alone()); err != nil {
			panic(err)
		}
	}
	return m
}

// end stops what fresh has started.
func (t *trial) end() {
	for _, m := range t.machines {
		if h, ok := m.(fsm.Hosted); ok {
			h.Stop()
		}
	}
}

func newTrial(k Kit, seed uint64) *trial {
	t := &trial{rng: rand.New(rand.NewPCG(seed, 1))}
	commands := rand.New(rand.NewPCG(seed, 2))
	when, term := time.Unix(1_700_000_000, 0).UTC(), uint64(2)
	for index := uint64(3); len(t.entries) < k.Commands; index++ {
		if t.rng.IntN(20) == 0 { // a new leader, whose first entry is not the machine's
			term += 1 + t.rng.Uint64N(3)
			continue
		}
		when = when.Add(time.Duration(t.rng.Int64N(int64(time.Second))))
		t.entries = append(t.entries, fsm.Entry{Group: 1, Index: index, Term: term, Time: when, Data: k.Command(commands)})
	}
	return t
}

// replica is a machine and what it has answered.
type replica struct {
	machine fsm.StateMachine
	rng     *rand.Rand // of the sizes of its batches; nil for one by one
	poison  byte       // for data it has applied
	replies [][]byte   // as returned
	kept    [][]byte   // copies of them
}

// apply applies entries as a group's Applier would. The machine works on copies of
// the data, which are overwritten as soon as it is done with them.
func (r *replica) apply(entries []fsm.Entry) error {
	for len(entries) > 0 {
		n := 1
		if r.rng != nil {
			n += r.rng.IntN(min(len(entries), 10))
		}
		if err := r.batch(entries[:n]); err != nil {
			return err
		}
		entries = entries[n:]
	}
	return nil
}

func (r *replica) batch(entries []fsm.Entry) error {
	copies, replies := slices.Clone(entries), make([][]byte, len(entries))
	for i := range copies {
		copies[i].Data = slices.Clone(entries[i].Data)
	}
	var err error
	if b, ok := r.machine.(fsm.BatchApplier); ok {
		err = b.ApplyBatch(copies, replies)
	} else {
		for i := range copies {
			if replies[i], err = r.machine.Apply(copies[i]); err != nil {
				break
			}
		}
	}
	if err != nil {
		return fmt.Errorf("entries %d to %d: %w: an error stops the group; a command that is refused is answered by a reply", entries[0].Index, entries[len(entries)-1].Index, err)
	}
	for i, c := range copies {
		if !bytes.Equal(c.Data, entries[i].Data) {
			return fmt.Errorf("entry %d: Apply wrote to Data, which is the log's", c.Index)
		}
		r.replies = append(r.replies, replies[i])
		r.kept = append(r.kept, slices.Clone(replies[i]))
	}
	for _, c := range copies {
		for i := range c.Data {
			c.Data[i] ^= r.poison // what the machine has kept of it is now another thing
		}
	}
	return nil
}

// snapshot is what a view of the machine writes now.
func (r *replica) snapshot() ([]byte, error) {
	v, err := r.machine.Snapshot()
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	defer v.Release()
	return written(v)
}

func written(v fsm.View) ([]byte, error) {
	var b bytes.Buffer
	n, err := v.WriteTo(&b)
	if err != nil {
		return nil, fmt.Errorf("write a snapshot: %w", err)
	}
	if n != int64(b.Len()) {
		return nil, fmt.Errorf("WriteTo wrote %d bytes and says %d", b.Len(), n)
	}
	return b.Bytes(), nil
}

// equal compares two replicas, replies from the given one on.
func equal(a, b *replica, from int) error {
	for i := range b.kept {
		if i+from < len(a.kept) && !bytes.Equal(a.kept[i+from], b.kept[i]) {
			return fmt.Errorf("command %d of the log was answered with %.80q and with %.80q", i+from+1, a.kept[i+from], b.kept[i])
		}
	}
	x, err := a.snapshot()
	if err != nil {
		return err
	}
	y, err := b.snapshot()
	if err != nil {
		return err
	}
	return sameBytes("snapshots of two machines in the same state", x, y)
}

func sameBytes(what string, a, b []byte) error {
	if bytes.Equal(a, b) {
		return nil
	}
	i := 0
	for i < min(len(a), len(b)) && a[i] == b[i] {
		i++
	}
	return fmt.Errorf("%s differ from byte %d on: %.40q… (%d bytes) and %.40q… (%d bytes)", what, i, a[i:], len(a), b[i:], len(b))
}
