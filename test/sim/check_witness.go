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
	if m.forgot || !c.votes(m.n.id) {
		return // not yet: see checkRemembers and checkJoins
	}
	m.checkBegins(c, to)
}

// checkRemembers: a witness counts again after it had lost memory. Where its log begins
// meanwhile it may have had a part in.
func (m *memberModel) checkRemembers() {
	if c, _ := m.g.settled(); m.n.witness() && c != nil && c.votes(m.n.id) {
		m.c.w.cover.add("witness restored")
		m.checkBegins(c, m.snapshots.durable)
	}
}

func (m *memberModel) checkBegins(c *members, to uint64) {
	if has := func(o *memberModel) bool { return !o.n.witness() && o.holds(to) }; !m.g.counts(c, has) {
		m.c.w.violate("a witness keeps what others need", "group %d: the log of %s begins after %d, or is to, which no majority of %v has without it", m.g.id, m.n.id, to, c)
	}
}

// checkJoins: a leader gives a witness its voice. From then on it may be all that those
// with state have to be brought on by.
func (m *memberModel) checkJoins(before, after *members) {
	for _, id := range after.voters {
		joins := m.g.byID(id)
		if joins == nil || !joins.n.witness() || before.votes(id) {
			continue
		}
		m.c.w.cover.add("members: witness joins")
		for _, one := range after.Members {
			if o, from := m.g.byID(one.Id), joins.snapshots.durable; one.Role == messages.Role_VOTER && !o.holds(from) {
				m.c.w.violate("a witness keeps what others need", "group %d: %s has %s join, whose log begins after %d, and %s does not have all of that",
					m.g.id, m.n.id, id, from, one.Id)
			}
		}
	}
}

// checkLeft: configurations are committed from an index on. Their witness may be among
// those who have done so, and all that is left besides one with state.
func (g *groupModel) checkLeft(from uint64) {
	for _, e := range g.committed[from-1:] {
		if e.kind != messages.EntryKind_CONFIGURATION {
			continue
		}
		for _, one := range g.configs[e.data].Members {
			if m := g.byID(one.Id); m != nil && one.Role == messages.Role_WITNESS && !m.forgot && m.snapshots.purged > 0 {
				m.checkBegins(g.configs[e.data], m.snapshots.purged)
			}
		}
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
