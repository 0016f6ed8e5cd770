package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/protoraft/protoraft/fsm"
)

// slotMachine is a machine whose state is worth a snapshot: slots as wide as a
// command, of which each command overwrites one. Pages are shared with views, and
// copied when they change.
type slotMachine struct {
	width   int
	pages   [slotPages][]byte
	shared  [slotPages]bool
	applied atomic.Uint64
}

const (
	slotPages     = 1024
	slotsPerPage  = 64
	slotsInAll    = slotPages * slotsPerPage
	slotKeyBytes  = 4 // of a command, which name its slot
	slotStateHead = 8 // bytes before the pages
)

func newSlotMachine(width int) *slotMachine {
	m := &slotMachine{width: max(width, slotKeyBytes)}
	for i := range m.pages {
		m.pages[i] = make([]byte, slotsPerPage*m.width)
	}
	return m
}

func (m *slotMachine) count() uint64 { return m.applied.Load() }

func (m *slotMachine) Apply(e fsm.Entry) ([]byte, error) {
	m.applied.Add(1)
	if len(e.Data) < slotKeyBytes {
		return nil, nil
	}
	slot := int(binary.LittleEndian.Uint32(e.Data) % slotsInAll)
	page := slot / slotsPerPage
	if m.shared[page] {
		m.pages[page], m.shared[page] = append([]byte(nil), m.pages[page]...), false
	}
	at := slot % slotsPerPage * m.width
	copy(m.pages[page][at:at+m.width], e.Data)
	return nil, nil
}

func (m *slotMachine) Query([]byte) ([]byte, error) {
	return binary.LittleEndian.AppendUint64(nil, m.count()), nil
}

func (m *slotMachine) Snapshot() (fsm.View, error) {
	for i := range m.shared {
		m.shared[i] = true
	}
	return &slotView{applied: m.count(), pages: m.pages}, nil
}

func (m *slotMachine) Restore(r io.Reader) error {
	var head [slotStateHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return fmt.Errorf("slots: %w", err)
	}
	for i := range m.pages {
		page := make([]byte, slotsPerPage*m.width)
		if _, err := io.ReadFull(r, page); err != nil {
			return fmt.Errorf("slots: page %d of %d: %w", i, slotPages, err)
		}
		m.pages[i], m.shared[i] = page, false
	}
	m.applied.Store(binary.LittleEndian.Uint64(head[:]))
	return nil
}

type slotView struct {
	applied uint64
	pages   [slotPages][]byte
}

func (v *slotView) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(binary.LittleEndian.AppendUint64(nil, v.applied))
	written := int64(n)
	for i := 0; i < slotPages && err == nil; i++ {
		n, err = w.Write(v.pages[i])
		written += int64(n)
	}
	return written, err
}

func (v *slotView) Release() {}
