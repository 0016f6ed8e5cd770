package sim

import (
	"fmt"
	"slices"

	"github.com/protoraft/protoraft/logstore/snapshots"
	"github.com/protoraft/protoraft/messages"
)

// Witnesses: what a witness has counted for survives with it. It cuts its log only
// behind what every voter with state has on disk. Where it is told that its log begins
// later, a majority holds what is before without it; so of any majority one is left that
// it can bring on. It has no state: nothing is in its snapshots, and it is never handed
// an office but that of last resort.

// witness says whether the node's members are witnesses, now or once they are added.
func (n *node) witness() bool {
	s := &n.w.setup
	members := s.nodes - s.spares
	return s.witness && !n.outsider && (members >= 3 && n.number == members-1 || s.spares > 0 && n.number == s.nodes-1)
}

// checkSpared: a member cuts its log up to an index.
func (m *memberModel) checkSpared(to uint64) {
	if !m.n.witness() {
		return
	}
	m.c.w.cover.add("witness cuts its log")
	c, _ := m.g.settled()
	for _, one := range c.Members {
		if o := m.g.byID(one.Id); one.Role == messages.Role_VOTER && !o.holds(to) {
			m.c.w.violate("a witness keeps what others need", "group %d: %s cuts its log up to %d, which %s does not have", m.g.id, m.n.id, to, one.Id)
		}
	}
}

// checkRested: a snapshot takes the place of a member's log.
func (m *memberModel) checkRested(to uint64) {
	if !m.n.witness() {
		return
	}
	m.c.w.cover.add("witness is told where its log begins")
	c, _ := m.g.settled()
	if has := func(o *memberModel) bool { return !o.n.witness() && o.holds(to) }; !m.g.counts(c, has) {
		m.c.w.violate("a witness keeps what others need", "group %d: the log of %s is to begin after %d, which no majority of %v has without it", m.g.id, m.n.id, to, c)
	}
}

// checkSections: a witness's snapshot has none, any other's has.
func (m *memberModel) checkSections(r *snapshots.Reader) error {
	sections, err := r.Sections()
	if err == nil && (len(sections) == 0) != m.n.witness() {
		slices.Sort(sections)
		err = fmt.Errorf("the snapshot up to %d has sections %q, and it is %v that the member is a witness", r.Meta().GetIndex(), sections, m.n.witness())
	}
	return err
}
