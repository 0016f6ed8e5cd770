package sim

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/protoraft/protoraft/actors"
	"github.com/protoraft/protoraft/fsm"
	"github.com/protoraft/protoraft/messages"
)

// durable is the world's machine with a disk of its own, which is the node's: it crashes
// and fails as that does. It writes its state now and then, beside the old one, and loses
// what it has not written. At times it starts from an older state than it had, as from a
// backup: where it has said to hold more, and the node has noted that, its member must be
// refused before anything is restored over it or applied.
type durable struct {
	*machine
	n     *node
	name  string
	index uint64 // of the last command in the state
	kept  uint64 // of that on the disk
	lost  error  // why it does not know
}

var _ fsm.Durable = (*durable)(nil)

// durableModel is what a member's machine has had on its disk.
type durableModel struct {
	older   [][]byte // a few of those before the last, oldest first
	ahead   uint64   // it had by itself when it started
	refused bool     // it must be
}

const (
	machineDir = "/data/machines"
	olderMax   = 8
)

func newDurable(own *machine, n *node, group uint64) *durable {
	d := &durable{machine: own, n: n, name: fmt.Sprintf("%s/%d", machineDir, group)}
	d.lost = d.open()
	return d
}

// open reads what an earlier life has left.
func (d *durable) open() error {
	m, w := d.member, d.n.w
	m.durable.ahead, m.durable.refused = 0, false
	b, err := d.read()
	if err == nil && len(b) > 0 {
		// A sync of an earlier life may have failed: then what can be read is not durable,
		// and no later sync makes it so.
		err = d.write(b)
	}
	if err != nil {
		return err
	}
	if older := m.durable.older; !w.healed && len(older) > 0 && w.setup.backwards > 0 && w.machines.Float64() < w.setup.backwards {
		if one := older[w.machines.IntN(len(older))]; len(b) > 0 && heldBy(one) < heldBy(b) {
			b = one
			w.cover.add("machine went backwards")
		}
	}
	if len(b) > 0 {
		if err := d.load(b); err != nil {
			return err
		}
	}
	d.kept = d.index
	w.trace.printf("%s group %d: the machine begins with %d", m.n.id, m.g.id, d.index)
	m.durable.ahead, m.appliedI = d.index, d.index
	if m.durable.refused = d.index < m.hard.Machine; !m.durable.refused && d.index > 0 {
		w.cover.add("machine goes on from its own disk")
	}
	if d.index > max(uint64(len(m.disk)), m.snapshots.durable) {
		w.violate("no machine is ahead of its log", "group %d: the machine of %s has %d on its disk, the log ends at %d", m.g.id, m.n.id, d.index, len(m.disk))
	}
	return nil
}

// read returns nothing where there is no file.
func (d *durable) read() ([]byte, error) {
	if err := d.n.disk.MkdirAll(machineDir); err != nil {
		return nil, err
	}
	names, err := d.n.disk.List(machineDir)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if name == path.Base(d.name) {
			f, err := d.n.disk.Open(d.name)
			if err != nil {
				return nil, err
			}
			b := make([]byte, 8+viewBytes)
			_, err = f.ReadAt(b, 0)
			return b, errors.Join(err, f.Close())
		}
	}
	return nil, nil
}

// heldBy is the index that a state's bytes begin with.
func heldBy(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }

// load takes bytes over as the state, without a word to the checks.
func (d *durable) load(b []byte) error {
	quiet := machine{}
	if err := quiet.Restore(bytes.NewReader(b[8:])); err != nil {
		return err
	}
	d.index, d.lists, d.state = heldBy(b), quiet.lists, quiet.state
	return nil
}

// Apply implements fsm.StateMachine.
func (d *durable) Apply(e fsm.Entry) ([]byte, error) {
	d.member.untouched("applies an entry")
	if e.Index > uint64(len(d.member.disk)) && e.Index > d.member.snapshots.durable {
		d.n.w.violate("no machine is ahead of its log", "group %d: the machine of %s is given %d, its log's disk ends at %d", d.member.g.id, d.n.id, e.Index, len(d.member.disk))
	}
	reply, err := d.machine.Apply(e)
	if err == nil {
		d.index = e.Index
		d.keep()
	}
	return reply, err
}

// keep writes the state, sometimes. Where that fails, the machine holds what it held.
func (d *durable) keep() {
	w := d.n.w
	if w.machines.IntN(w.setup.keepEvery) != 0 {
		return
	}
	quiet := machine{lists: d.lists, state: d.state}
	v, err := quiet.Snapshot()
	b := append(binary.LittleEndian.AppendUint64(nil, d.index), v.(view)...)
	if err == nil {
		err = d.write(b)
	}
	if err != nil {
		w.cover.add("machine could not write its state")
		return
	}
	d.kept = d.index
	w.trace.printf("%s group %d: the machine holds %d", d.n.id, d.member.g.id, d.kept)
	m := &d.member.durable
	if m.older = append(m.older, b); len(m.older) > olderMax {
		m.older = m.older[1:]
	}
}

func (d *durable) write(b []byte) error {
	f, err := d.n.disk.Create(d.name + ".new")
	if errors.Is(err, fs.ErrExist) { // of a write that came to no end
		if err = d.n.disk.Remove(d.name + ".new"); err == nil {
			f, err = d.n.disk.Create(d.name + ".new")
		}
	}
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = d.n.disk.Rename(d.name+".new", d.name)
	}
	if err == nil {
		err = d.n.disk.SyncDir(machineDir)
	}
	return err
}

// AppliedIndex implements fsm.Durable.
func (d *durable) AppliedIndex() (uint64, error) {
	if d.lost != nil {
		return 0, fmt.Errorf("%w: %w", errBroken, d.lost)
	}
	return d.kept, nil
}

// Snapshot implements fsm.StateMachine. The view holds its index.
func (d *durable) Snapshot() (fsm.View, error) {
	v, err := d.machine.Snapshot()
	if err != nil {
		return nil, err
	}
	return view(append(binary.LittleEndian.AppendUint64(nil, d.index), v.(view)...)), nil
}

// Restore implements fsm.StateMachine.
func (d *durable) Restore(r io.Reader) error {
	d.member.untouched("restores a snapshot")
	var index [8]byte
	if _, err := io.ReadFull(r, index[:]); err != nil {
		return err
	}
	if err := d.machine.Restore(r); err != nil {
		return err
	}
	d.index = binary.LittleEndian.Uint64(index[:])
	d.keep()
	return nil
}

// untouched: a machine that must be refused is left as it is.
func (m *memberModel) untouched(what string) {
	if m.durable.refused {
		m.c.w.violate("a machine that went backwards is refused", "group %d: the machine of %s holds %d, has said to hold %d, and %s", m.g.id, m.n.id, m.durable.ahead, m.hard.Machine, what)
	}
}

// refusalDue says whether a member has stopped for a machine that went backwards, and
// must have. Its process is started again, with the state it should have, as by an
// operator.
func (m *memberModel) refusalDue(reason string) bool {
	if !strings.Contains(reason, "went backwards") {
		return false
	}
	want := fmt.Sprintf("says it has applied %d, and said %d in an earlier life, expected at least %d", m.durable.ahead, m.hard.Machine, m.hard.Machine)
	if !m.durable.refused || !strings.Contains(reason, want) {
		m.c.w.violate("members do not fail by themselves", "group %d: %s: %s", m.g.id, m.n.id, reason)
		return true
	}
	m.c.w.cover.add("machine that went backwards refused")
	m.durable.older = nil
	m.n.endSoon(m.c.w.setup.electionTimeout)
	return true
}

// notesMachine: the node has been told what the machine holds. That never goes back, and is
// never more than it holds.
func (m *memberModel) notesMachine(p *actors.PersistHardState) {
	if p.State.Machine < m.asked.Machine {
		m.c.w.violate("what a machine holds is not forgotten", "group %d: %s notes %d after %d", m.g.id, m.n.id, p.State.Machine, m.asked.Machine)
	}
	if p.State.Machine > m.asked.Machine {
		m.c.w.cover.add("what a machine holds is noted")
	}
}

// replyLost: the group says of a command that it was applied, once, and no more.
func (h *history) replyLost(o *op, item *messages.ResultItem) bool {
	w, g := h.c.w, h.c.group(o.group)
	a, ok := g.values[o.command.value]
	if !w.setup.durable || !o.kind.writes() || !ok || a.index != item.Index || len(item.Data) > 0 {
		w.violate("acknowledged means applied", "%v was answered as applied before, at %d, with %q; the log has %+v", o, item.Index, item.Data, a)
		return false
	}
	w.cover.add("applied before, reply lost")
	item.Data = a.result.encode() // what the client would have been shown
	return true
}
