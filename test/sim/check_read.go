package sim

import (
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
// than the one it names has acknowledged in this term. Nobody else heeds it: the address may
// by then be another's, and of two groups the one that is behind has it as another's.
func (m *memberModel) beats(h *messages.Heartbeat) {
	m.round = max(m.round, h.Round)
	if h.Commit > m.matches[h.To] {
		m.c.w.violate("heartbeats commit what is acknowledged", "group %d: %s in term %d commits to %d at %q, which has acknowledged %d in this term",
			m.g.id, m.n.id, h.Term, h.Commit, h.To, m.matches[h.To])
	}
}

// confirmed says whether a quorum has answered a round later than that one, the leader
// being one of it: of the configuration that counts, or of that which counted until
// this turn.
func (m *memberModel) confirmed(after uint64) bool {
	answered := func(id string) bool { return id == m.n.id || m.rounds[id] > after }
	return m.current().decide(answered) || m.c.turn.members.decide(answered)
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
		if !m.confirmed(was.round) {
			m.c.w.violate("reads are confirmed by a later round", "group %d: %s of %v in term %d answers request %d, which came in round %d, after the rounds %v",
				m.g.id, m.n.id, m.current(), m.leads, q.Request, was.round, m.rounds)
			return
		}
		if uint64(q.Index) < was.committed {
			m.c.w.violate("reads reflect what is committed", "group %d: %s in term %d answers request %d at %d, %d were committed when it came",
				m.g.id, m.n.id, m.leads, q.Request, q.Index, was.committed)
			return
		}
	}
}
