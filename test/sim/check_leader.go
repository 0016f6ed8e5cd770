package sim

import (
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors"
	"github.com/protoraft/protoraft/messages"
)

// A leader in office: it goes on only while a majority has answered it within an
// election timeout (check-quorum, thesis §6.2); it asks its Replicators how they do
// once a heartbeat interval, all of them, those that have crashed started anew; it
// hands over only to a member that has all of its log, all of it committed unless it is a
// witness, appends nothing meanwhile, and takes its office up again after an election
// timeout (thesis §3.10). What it gives its Applier is bounded.

func (m *memberModel) entersOffice(t *turn) {
	clear(m.contact)
	clear(m.rounds)
	clear(m.queries)
	if m.contact == nil {
		m.contact, m.rounds, m.queries, m.matches = map[string]time.Duration{}, map[string]uint64{}, map[asking]asked{}, map[string]uint64{}
	}
	for _, o := range m.g.members {
		m.contact[o.n.id] = t.now
	}
	clear(m.matches)
	clear(m.losses)
	m.round, m.handingOver, m.lackingSince, m.latestBeat, m.since = 0, 0, 0, 0, t.now
}

// onContact: a peer has answered.
func (m *memberModel) onContact(t *turn, term uint64, peer string, round uint64) {
	if m.leads == 0 || term != m.leads {
		return
	}
	m.contact[peer] = t.now
	m.rounds[peer] = max(m.rounds[peer], round)
}

// checksProgress sees a leader ask one of its Replicators: it does so when it has
// found that a majority answers.
func (m *memberModel) checksProgress(of *stepMailbox) {
	t, s := &m.c.turn, &m.c.w.setup
	if !t.own(m) || t.poisoned || !t.beats() {
		return // a Replicator is asked besides when a configuration makes it, or has it part
	}
	t.checked++
	answers := func(id string) bool { return id == m.n.id || t.now-m.contact[id] < s.electionTimeout }
	if !t.members.decide(answers) {
		m.c.w.violate("a leader without a majority steps down", "group %d: %s leads term %d of %v on, too few answer", m.g.id, m.n.id, m.leads, t.members)
	}
	settled := m.current() == t.members // else a Replicator that parts is asked twice
	least := s.heartbeat
	if s.pulse { // leaders beat together: after one that was late the next comes sooner
		least /= 2
	}
	if since := t.now - max(of.checkedAt, m.since); settled && since < least-time.Microsecond && m.c.w.script == nil {
		m.c.w.violate("one heartbeat an interval", "group %d: %s beats again after %v, expected %v", m.g.id, m.n.id, since, least)
	}
	of.checkedAt = t.now
	if m.handingOver > 0 && t.now-m.handOverAt >= s.electionTimeout {
		m.c.w.violate("a hand-over ends", "group %d: %s has been handing term %d over for %v", m.g.id, m.n.id, m.leads, t.now-m.handOverAt)
	}
}

// keeps: a hand-over is refused or given up.
func (m *memberModel) keeps() {
	m.handingOver = max(0, m.handingOver-1)
}

// checkOffice follows a leader's turn.
func (m *memberModel) checkOffice(t *turn) {
	if m.leads == 0 || m.leads != t.leads {
		return
	}
	for _, s := range t.said {
		if _, order := s.message.(*messages.TimeoutNow); order {
			m.checkOrder(s.to)
			if m.n.witness() {
				m.c.w.cover.add("witness hands over")
			}
		}
	}
	m.checkReplicators(t)
}

// checkOrder: the leader goes on leading, so this is a hand-over.
func (m *memberModel) checkOrder(to *node) {
	target, last := m.g.members[to.number], len(m.log)
	has := func(o *memberModel) bool { // or had, before it lost its disk unnoticed: then it does not stand
		held := o.held()
		return len(held) >= last && held[last-1].chain == m.log[last-1].chain
	}
	if !has(target) || !m.n.witness() && !m.g.counts(m.current(), has) {
		m.c.w.violate("leadership goes to a whole log", "group %d: %s of %v hands term %d over to %s, its log ends at %d, the other's has %d entries",
			m.g.id, m.n.id, m.current(), m.leads, to.id, last, len(target.disk))
	}
	if !slices.Contains(m.current().voters, to.id) || to.witness() {
		m.c.w.violate("leadership goes to who votes", "group %d: %s of %v hands term %d over to %s", m.g.id, m.n.id, m.current(), m.leads, to.id)
	}
}

func (t *turn) beats() bool {
	return t.find(func(message any) bool { _, ok := message.(*messages.HeartbeatTimeout); return ok })
}

// checkReplicators: every peer has a Replicator that is asked.
func (m *memberModel) checkReplicators(t *turn) {
	due, beat := false, uint64(0)
	t.find(func(message any) bool {
		if h, ok := message.(*messages.HeartbeatTimeout); ok {
			// One of a lower generation is of a timer that was stopped, and comes late.
			due, beat = due || h.Generation >= m.latestBeat, max(beat, h.Generation)
		}
		return false
	})
	switch {
	case !due:
	case t.checked >= t.members.peers(m.n.id):
		m.lackingSince, m.latestBeat = 0, beat
	case m.lackingSince == 0:
		m.lackingSince = t.now
	case t.now-m.lackingSince > 2*m.c.w.setup.electionTimeout && m.c.w.script == nil:
		m.c.w.violate("a crashed Replicator is started again", "group %d: %s leads term %d with %d Replicators for %v",
			m.g.id, m.n.id, m.leads, t.checked, t.now-m.lackingSince)
	}
}

// appendsAsLeader: while it hands over, the log does not grow.
func (m *memberModel) appendsAsLeader() {
	if t := &m.c.turn; m.leads != 0 && m.leads == t.leads && t.own(m) && m.handingOver > 0 {
		m.c.w.violate("nothing is appended during a hand-over", "group %d: %s appends in term %d", m.g.id, m.n.id, m.leads)
	}
}

// piece is a block with the Applier.
type piece struct {
	last  uint64
	bytes int
}

// givesApplier: what is committed and not applied takes bounded memory.
func (m *memberModel) givesApplier(a *actors.ApplyCommitted) {
	for i := range a.Blocks {
		b := &a.Blocks[i]
		if limit := m.c.w.setup.limits.ApplyBacklogBytes; m.givenBytes >= limit {
			m.c.w.violate("bounded queues", "group %d: %s gives its Applier %d on, which has %d bytes, the limit is %d", m.g.id, m.n.id, b.FirstIndex, m.givenBytes, limit)
			return
		}
		m.given = append(m.given, piece{min(uint64(a.Commit), b.LastIndex()), b.Len()})
		m.givenBytes += b.Len()
	}
}

func (m *memberModel) tookUpTo(index uint64) {
	n := 0
	for n < len(m.given) && m.given[n].last <= index {
		m.givenBytes -= m.given[n].bytes
		n++
	}
	m.given = m.given[n:]
}

// leaderStarts: the machine is told that it leads when its state is complete.
func (m *memberModel) leaderStarts(term uint64) {
	if m.leads != term {
		return
	}
	for i := m.appliedI + 1; i < m.termStart; i++ {
		if i > uint64(len(m.g.committed)) || m.g.sessions.forMachine(m, i) {
			m.c.w.violate("a machine leads when its state is complete", "group %d: %s is told that it leads term %d, %d is not applied", m.g.id, m.n.id, term, i)
			return
		}
	}
}

// asking is who waits for a query.
type asking struct {
	address, id string
	request     uint64
}

func askedBy(to *actor.PID, request uint64) asking { return asking{to.Address, to.Id, request} }
