package sim

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors"
	"github.com/protoraft/protoraft/messages"
)

// What is read by lease is answered while the lease holds, by the clock that goes on
// while the machine sleeps; and as long as something is to be answered by it, nobody is
// told to stand, as voters then break the promise that the lease is made of. Histories
// alone do not show either: a read that was asked for before another leader was elected
// may come before all that this one did.

// noLease marks a query that a lease has no part in.
const noLease time.Duration = 0

// givesLeased sees queries given to the Applier, and until when each may be answered.
func (m *memberModel) givesLeased(a *actors.AnswerQueries) {
	for _, q := range a.Queries {
		if q.To == nil {
			continue
		}
		if m.leased == nil {
			m.leased = map[asking]time.Duration{}
		}
		key, until := askedBy(q.To, q.Request), q.LeaseUntil
		if _, again := m.leased[key]; again {
			until = noLease // a Gateway may ask twice: it is not known which one is answered
		}
		m.leased[key] = until
	}
}

// ranOut: the lease of these has ended, and they need a round.
func (m *memberModel) ranOut(r *actors.LeaseRanOut) {
	m.c.w.cover.add("lease ran out before its answer")
	for _, q := range r.Queries {
		if q.To != nil {
			delete(m.leased, askedBy(q.To, q.Request))
		}
	}
}

// answers sees what leaves an Applier in its turn.
func (t *turn) answers(to *actor.PID, results *messages.Results) {
	if t.box == nil || t.box.kind != applierActor || t.m == nil {
		return
	}
	now := clock{t.box.n, t.box.life}.Elapsed()
	for i := range results.Items {
		item := &results.Items[i]
		key := askedBy(to, item.Request)
		until := t.m.leased[key]
		delete(t.m.leased, key)
		if until != noLease && item.Outcome == messages.Outcome_APPLIED && now >= until {
			t.m.c.w.violate("what is read by lease is answered while it holds", "group %d: %s answers request %d of %s %v after its lease has ended",
				t.m.g.id, t.m.n.id, item.Request, to.Id, now-until)
			return
		}
	}
}

// tellsToStand: no lease is being read by.
func (m *memberModel) tellsToStand(to *node) {
	for key, until := range m.leased {
		if until != noLease {
			m.c.w.violate("nobody is told to stand while a lease is read by", "group %d: %s tells %s, and request %d of %s is yet to be answered by its lease",
				m.g.id, m.n.id, to.id, key.request, key.id)
			return
		}
	}
}
