package sim

import "github.com/protoraft/protoraft/actors"

// A group sleeps when there is nothing left to do in it: who leads it has seen everybody
// hold all of its log, all of it committed, and everybody else sleeps or was told to. A
// member that sleeps knows all that is committed.

func (m *memberModel) fallsAsleep(f *actors.FellAsleep) {
	w := m.c.w
	m.asleep = true
	if last := uint64(len(m.log)); m.commit != last || uint64(len(m.disk)) != last || m.reported != last {
		w.violate("who sleeps has nothing to do", "group %d: %s falls asleep at %d, with %d on disk, %d committed and %d applied",
			m.g.id, m.n.id, last, len(m.disk), m.commit, m.reported)
	}
	if f.On != "" {
		w.cover.add("sleep: follower")
		if m.n.witness() {
			w.cover.add("sleep: witness")
		}
		return
	}
	w.cover.add("sleep: leader")
	for _, o := range m.g.members {
		if o == m || !m.current().has(o.n.id) {
			continue
		}
		held := o.held()
		if len(held) < len(m.log) || len(m.log) > 0 && held[len(m.log)-1].chain != m.log[len(m.log)-1].chain {
			w.violate("a leader sleeps when everybody has everything", "group %d: %s, of term %d, sleeps with a log up to %d, %s holds %d entries or others",
				m.g.id, m.n.id, m.leads, len(m.log), o.n.id, len(held))
		}
	}
}

func (m *memberModel) wakes() {
	if !m.asleep {
		return
	}
	now := clock{m.n, m.n.life}.Now()
	m.asleep, m.perhapsAt = false, now
	if m.leads == 0 {
		m.c.w.cover.add("sleep: follower woken")
		return
	}
	m.c.w.cover.add("sleep: leader woken")
	for _, o := range m.g.members { // they have an election timeout to answer
		m.contact[o.n.id] = now
	}
}
