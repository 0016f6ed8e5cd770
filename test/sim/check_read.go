package sim

import (
	"slices"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors"
	"github.com/protoraft/protoraft/messages"
)

// A linearizable read is answered by a leader that a majority has confirmed in a round
// begun after the read came, and reflects all that was committed when it came
// (ReadIndex, thesis §6.4).

// asked is what was so when a query came to a leader.
type asked struct {
	round     uint64 // latest that a heartbeat had carried
	committed uint64
}

func (m *memberModel) onQuery(t *turn, q *messages.Query, from *actor.PID) {
	if t.leads == 0 || from == nil || q.Consistency != messages.Consistency_LINEARIZABLE {
		return
	}
	key := askedBy(from, q.Request)
	if _, again := m.queries[key]; !again { // a Gateway may ask twice, and takes the first answer
		m.queries[key] = asked{m.round, uint64(len(m.g.committed))}
	}
}

// beats sees a heartbeat: the round that it carries, and that it commits no further
// than its receiver has acknowledged in this term.
func (m *memberModel) beats(to *node, h *messages.Heartbeat) {
	m.round = max(m.round, h.Round)
	if h.Commit > m.matches[to.id] {
		m.c.w.violate("heartbeats commit what is acknowledged", "group %d: %s in term %d commits to %d at %s, which has acknowledged %d in this term",
			m.g.id, m.n.id, h.Term, h.Commit, to.id, m.matches[to.id])
	}
}

// confirmed is the latest round that a majority has answered, the leader being one.
func (m *memberModel) confirmed() uint64 {
	rounds := make([]uint64, 0, len(m.g.members))
	for _, o := range m.g.members {
		if o != m {
			rounds = append(rounds, m.rounds[o.n.id])
		}
	}
	slices.Sort(rounds)
	return rounds[len(rounds)-len(m.g.members)/2]
}

// answersQueries sees queries given to the Applier.
func (m *memberModel) answersQueries(a *actors.AnswerQueries) {
	if m.leads == 0 || len(m.queries) == 0 {
		return
	}
	for _, q := range a.Queries {
		if q.To == nil {
			continue
		}
		key := askedBy(q.To, q.Request)
		was, known := m.queries[key]
		if !known {
			continue
		}
		delete(m.queries, key)
		if len(m.g.members) > 1 {
			if confirmed := m.confirmed(); confirmed <= was.round {
				m.c.w.violate("reads are confirmed by a later round", "group %d: %s in term %d answers request %d, which came in round %d, after round %d",
					m.g.id, m.n.id, m.leads, q.Request, was.round, confirmed)
				return
			}
		}
		if uint64(q.Index) < was.committed {
			m.c.w.violate("reads reflect what is committed", "group %d: %s in term %d answers request %d at %d, %d were committed when it came",
				m.g.id, m.n.id, m.leads, q.Request, q.Index, was.committed)
			return
		}
	}
}
