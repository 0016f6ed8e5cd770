package sim

import (
	"bytes"
	"maps"

	fsmsession "github.com/protoraft/protoraft/fsm/session"
	"github.com/protoraft/protoraft/messages"
)

// A lost majority is given up: who goes on alone says so when its configuration, its term
// and its vote are durable. It keeps all that it knew to be committed, and tells what else
// its log held; from there on another history of the group begins, in which what only the
// lost members have never happened. All other rules hold in it as they did before.

// resets says whether the member was ordered to go on alone.
func (t *turn) resets() bool {
	return t.find(func(message any) bool {
		r, ok := message.(*messages.ResetPeers)
		return ok && r.AcceptLoss
	})
}

func (m *memberModel) wasReset(r *messages.PeersReset) {
	w, g := m.c.w, m.g
	w.cover.add("lost majority given up")
	w.trace.printf("%s, group %d, goes on alone: %v", m.n.id, g.id, r)
	alone := func(log []entry) bool {
		if r.Index == 0 || r.Index > uint64(len(log)) {
			return false
		}
		e := log[r.Index-1]
		c := g.configs[e.data]
		return e.kind == messages.EntryKind_CONFIGURATION && c != nil && !c.changing() && len(c.voters) == 1 && c.voters[0] == m.n.id
	}
	switch {
	case r.Index != r.LastIndex+1 || r.CommitIndex > r.LastIndex || !alone(m.log):
		w.violate("a reset keeps what is held", "group %d: %s goes on alone and says %v, its log ends at %d", g.id, m.n.id, r, len(m.log))
	case !alone(m.disk) || m.hard.Term < r.Term || m.hard.Vote != m.n.id:
		w.violate("persisted before reply", "group %d: %s says that it goes on alone in term %d by %d, its disk ends at %d and has %+v",
			g.id, m.n.id, r.Term, r.Index, len(m.disk), m.hard)
	}
	if b := g.before; b != nil {
		g.checkKept(m, r, b)
	}
}

// checkKept: what the survivor held when it was cut off is what it says, and is there.
func (g *groupModel) checkKept(m *memberModel, r *messages.PeersReset, b *heldBefore) {
	if r.CommitIndex < b.commit || uint64(len(m.log)) < b.commit || b.commit > 0 && m.log[b.commit-1].chain != b.chain {
		m.c.w.violate("a reset keeps what is held", "group %d: %s goes on alone from what was committed up to %d, when it was cut off that was %d",
			g.id, m.n.id, r.CommitIndex, b.commit)
	}
	if r.LastIndex > r.CommitIndex {
		m.c.w.cover.add("entries committed by a reset")
	}
	g.before = nil
}

// heldBefore is what a group's model knew when its survivor was cut off: to there it goes
// back when the others are lost.
type heldBefore struct {
	commit, chain uint64
	reference     machine
	keys          [keysMax]keyModel
	acknowledged  uint64
	at            uint64
	table         []byte
}

// remember notes what a member holds that nobody can reach any more.
func (g *groupModel) remember(m *memberModel) *heldBefore {
	b := &heldBefore{commit: m.commit, reference: g.reference, keys: g.keys, acknowledged: g.acknowledged, at: min(g.sessions.at, m.commit)}
	if b.commit > 0 {
		b.chain = m.log[b.commit-1].chain
	}
	var table bytes.Buffer
	v := g.sessions.table.View()
	defer v.Release()
	if _, err := v.WriteTo(&table); err != nil {
		panic(err) // a buffer takes everything
	}
	b.table = table.Bytes()
	return b
}

// goBack has the group's model forget what only lost members know.
func (g *groupModel) goBack(b *heldBefore, limits fsmsession.Limits) {
	w := g.members[0].c.w
	if uint64(len(g.committed)) > b.commit {
		w.cover.add("committed entries lost with a majority")
	}
	later := func(index, _ uint64) bool { return index > b.commit }
	g.committed = g.committed[:b.commit:b.commit]
	maps.DeleteFunc(g.states, later)
	maps.DeleteFunc(g.views, later)
	maps.DeleteFunc(g.sessions.digests, later)
	maps.DeleteFunc(g.sessions.passed, func(index uint64, _ bool) bool { return index > b.commit })
	maps.DeleteFunc(g.values, func(_ uint64, a appended) bool { return a.index > b.commit })
	g.reference, g.keys, g.acknowledged = b.reference, b.keys, b.acknowledged
	g.sessions.at, g.sessions.table = b.at, fsmsession.New(limits)
	if err := g.sessions.table.Load(bytes.NewReader(b.table)); err != nil {
		panic(err) // it has written that itself
	}
	g.before = b
}
