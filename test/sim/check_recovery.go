package sim

import (
	"errors"
	"slices"

	"github.com/protoraft/protoraft/logstore"
)

// Recovery: what a restart finds is what was acknowledged as durable, or that and
// the whole of the one write that was under way.

func (m *memberModel) read(store logstore.Store) (image, error) {
	st, err := store.Load(m.g.id)
	if errors.Is(err, logstore.ErrCorrupt) {
		st, _, err = store.Salvage(m.g.id)
	}
	if err != nil || !st.Exists() {
		return image{}, err
	}
	im := image{hard: st.HardState, note: string(st.Note)}
	if st.LastIndex == 0 {
		return im, nil
	}
	blocks, err := store.Read(m.g.id, 1, st.LastIndex, 1<<40)
	for i := range blocks {
		if err == nil {
			im.log, err = extend(im.log, &blocks[i])
		}
	}
	return im, err
}

func (m *memberModel) recovered(found image) {
	w := m.c.w
	switch {
	case m.lossy:
		m.lossy, m.maybe = false, nil
		m.disk, m.hard, m.note, m.stale = found.log, found.hard, found.note, found.note
		return
	case found.equal(image{m.disk, m.hard, m.note}):
		if m.maybe != nil {
			w.cover.add("crash in a write that was lost")
		}
	case m.maybe != nil && found.equal(*m.maybe):
		w.cover.add("crash in a write that was kept")
	default:
		w.violate("what is durable survives", "group %d: %s finds %d entries and %+v, its disk had %d and %+v", m.g.id, m.n.id, len(found.log), found.hard, len(m.disk), m.hard)
	}
	m.maybe = nil
	m.becomesDurable(found)
}

func (im image) equal(o image) bool {
	return im.hard == o.hard && im.note == o.note && slices.Equal(im.log, o.log)
}

// onMemberFailed: only a failed disk is a reason to stop.
func (m *memberModel) onMemberFailed(reason string) {
	m.failed = true
	if w := m.c.w; w.script != nil && w.script.broken[m] {
		return
	}
	if !m.n.fault.struck() && !m.n.disk.Crashed() && !m.n.dying {
		m.c.w.violate("members do not fail by themselves", "group %d: %s: %s", m.g.id, m.n.id, reason)
	}
}
