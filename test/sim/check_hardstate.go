package sim

import (
	"github.com/protoraft/protoraft/actors"
	"github.com/protoraft/protoraft/logstore"
)

// Term and vote never go back, across restarts: the term does not fall, and within a
// term a vote once given stays. Persisted before reply: what a message rests on
// (term, vote, acknowledged entries) is in the disk's synced image when it leaves.

func (m *memberModel) onPersistHardState(p *actors.PersistHardState) {
	m.moves("asks for", m.asked, p.State)
	m.notesMachine(p)
	m.asked = p.State
}

func (m *memberModel) checkHard(next logstore.HardState) { m.moves("has on disk", m.hard, next) }

func (m *memberModel) moves(what string, from, to logstore.HardState) {
	if to.Term < from.Term || to.Term == from.Term && from.Vote != "" && to.Vote != from.Vote {
		m.c.w.violate("term and vote never go back", "group %d: %s %s %+v after %+v", m.g.id, m.n.id, what, to, from)
	}
}

// saysVote: a RequestVote or a grant leaves when the vote for candidate is durable.
func (m *memberModel) saysVote(what string, term uint64, candidate string) {
	m.counts(what, 0)
	if m.hard.Term != term || m.hard.Vote != candidate {
		m.c.w.violate("persisted before reply", "group %d: %s for %s in term %d from %s, whose disk has %+v", m.g.id, what, candidate, term, m.n.id, m.hard)
	}
}

func (m *memberModel) saysTerm(what string, term uint64) {
	if durable := max(m.hard.Term, lastTerm(m.disk)); durable < term {
		m.c.w.violate("persisted before reply", "group %d: %s in term %d from %s, whose disk has term %d", m.g.id, what, term, m.n.id, durable)
	}
}

// saysDurable: an acknowledgement vouches for entries on disk that are the leader's.
func (m *memberModel) saysDurable(term, match uint64) {
	m.saysTerm("AppendAccepted", term)
	if match <= m.snapshots.durable {
		return // the snapshot vouches for it, whatever the log has by now
	}
	if match > uint64(len(m.disk)) {
		m.c.w.violate("persisted before reply", "group %d: %s acknowledges up to %d, its disk ends at %d", m.g.id, m.n.id, match, len(m.disk))
		return
	}
	l, ok := m.g.leaders[term]
	if !ok || match == 0 {
		return
	}
	if lm := m.g.members[l.node.number]; lm.leads == term && (match > uint64(len(lm.log)) || lm.log[match-1].chain != m.disk[match-1].chain) {
		m.c.w.violate("persisted before reply", "group %d: %s acknowledges up to %d in term %d, but its disk has other entries than leader %s", m.g.id, m.n.id, match, term, l.node.id)
	}
}
