package sim

import (
	"errors"
	"slices"
	"strings"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/messages"
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
	if st.FirstIndex > 1 {
		im.purged = st.FirstIndex - 1
		if im.log, err = m.compacted(im.purged, st.PrevTerm); err != nil {
			return im, err
		}
	}
	if st.LastIndex < max(st.FirstIndex, 1) {
		return im, nil
	}
	blocks, err := store.Read(m.g.id, im.purged+1, st.LastIndex, 1<<40)
	for i := range blocks {
		b := &blocks[i]
		if err == nil && b.FirstIndex <= im.purged {
			var cut messages.Block
			cut, err = b.Suffix(im.purged + 1)
			b = &cut
		}
		if err == nil {
			im.log, err = extend(im.log, b)
		}
	}
	return im, err
}

func (m *memberModel) recovered(found image) {
	w := m.c.w
	switch {
	case m.lossy:
		m.lossy, m.maybe = false, nil
		m.disk, m.hard, m.note, m.stale, m.snapshots.purged = found.log, found.hard, found.note, found.note, found.purged
		return
	case found.equal(image{m.disk, m.hard, m.note, m.snapshots.purged}):
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
	return im.hard == o.hard && im.note == o.note && im.purged == o.purged && slices.Equal(im.log, o.log)
}

// onMemberFailed: only a failed disk is a reason to stop, or a state that has drifted.
func (m *memberModel) onMemberFailed(reason string) {
	m.failed = true
	if w := m.c.w; w.script != nil && w.script.broken[m] {
		return
	}
	if m.driftNoticed(reason) || m.refusalDue(reason) {
		return
	}
	if m.n.panicked || m.n.misread || strings.Contains(reason, errBroken.Error()) {
		m.c.w.cover.add("member failed, others of its process go on")
		m.n.endSoon(4 * m.n.w.setup.electionTimeout)
		return
	}
	if !m.n.fault.struck() && !m.n.disk.Crashed() && !m.n.dying {
		m.c.w.violate("members do not fail by themselves", "group %d: %s: %s", m.g.id, m.n.id, reason)
	}
}

// broken says whether a machine of the process was made to fail.
func (c *checks) broken(n *node) bool {
	for _, g := range c.groups {
		if !n.outsider && g.members[n.number].breaks != failsNot {
			return true
		}
	}
	return false
}

// storageFailed: every member of the process is told, not only those that wrote.
func (c *checks) storageFailed(n *node) {
	if n.outsider || n.dying {
		return
	}
	for _, g := range c.groups {
		if m := g.members[n.number]; m.admitted && !m.toldFailed {
			c.w.violate("failed storage stops every member", "group %d: the member on %s is not told", g.id, n.id)
		}
	}
}
