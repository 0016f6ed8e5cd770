package main

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/protoraft/protoraft/fsm"
)

func slotCommand(slot uint32, fill byte) fsm.Entry {
	return fsm.Entry{Data: append(binary.LittleEndian.AppendUint32(nil, slot), bytes.Repeat([]byte{fill}, 12)...)}
}

// A view is what it was however the machine goes on, and a machine restored from it
// is equal to what it was taken of.
func TestSlotViewDoesNotChange(t *testing.T) {
	m := newSlotMachine(16)
	written := func(m *slotMachine) []byte {
		v, err := m.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		defer v.Release()
		var b bytes.Buffer
		if n, err := v.WriteTo(&b); err != nil || n != int64(b.Len()) || n != slotStateHead+slotsInAll*16 {
			t.Fatalf("wrote %d bytes and said %d, %v; expected %d", b.Len(), n, err, slotStateHead+slotsInAll*16)
		}
		return b.Bytes()
	}
	for _, e := range []fsm.Entry{slotCommand(3, 'a'), slotCommand(slotsInAll+4, 'b')} {
		if _, err := m.Apply(e); err != nil {
			t.Fatal(err)
		}
	}
	before := written(m)
	view, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Apply(slotCommand(3, 'c')); err != nil {
		t.Fatal(err)
	}
	var late bytes.Buffer
	if _, err := view.WriteTo(&late); err != nil || !bytes.Equal(late.Bytes(), before) {
		t.Errorf("the view changed with the machine, or failed: %v", err)
	}
	if bytes.Equal(written(m), before) {
		t.Error("a command changed nothing")
	}
	restored := newSlotMachine(16)
	if err := restored.Restore(bytes.NewReader(before)); err != nil {
		t.Fatal(err)
	}
	if restored.count() != 2 || !bytes.Equal(written(restored), before) {
		t.Errorf("restored machine has applied %d, expected 2 and the same state", restored.count())
	}
	if err := restored.Restore(bytes.NewReader(before[:100])); err == nil {
		t.Error("half a state was restored without an error")
	}
}
