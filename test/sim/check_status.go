package sim

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/messages"
)

// Index order: applied ≤ commit ≤ last, durable ≤ last, and what a member says of
// itself when asked is what its messages and its disk have shown.

// probe asks every member to describe itself, again and again.
type probe struct{ w *World }

const probeName = "probe"

func newProbe(w *World) *probe { return &probe{w} }

func (p *probe) pid(n *node) *actor.PID { return actor.NewPID(n.address, probeName) }

func (p *probe) register(n *node) {
	n.host.system.ProcessRegistry.Add(&listener{n: n, hear: p.hear}, probeName)
}

func (p *probe) unregister(n *node) { n.host.system.ProcessRegistry.Remove(p.pid(n)) }

func (p *probe) next() {
	p.w.after(p.w.setup.electionTimeout/2, func() {
		for _, n := range p.w.nodes {
			if n.up {
				for _, g := range p.w.checks.groups {
					n.host.system.Root.RequestWithCustomSender(n.memberPID(g.id), &messages.DescribeGroup{Group: g.id}, p.pid(n))
				}
			}
		}
		p.next()
	})
}

func (p *probe) hear(n *node, message any) {
	switch m := message.(type) {
	case *messages.GroupStatus:
		p.w.checks.member(n, m.Group).described(m)
	case *messages.Results:
		if !p.w.checks.memberAnswers(m) {
			p.w.violate("no stray message", "%v for the probe on %s", m, n.id)
		}
	case *messages.LeadershipTransferred:
		p.w.cover.add("transfer of leadership done")
	case *messages.SnapshotTaken:
		p.w.checks.member(n, m.Group).onSnapshotTaken(m)
	case *messages.SnapshotRefused:
		p.w.cover.add("snapshot refused")
	case *messages.LeadershipKept:
		p.w.cover.add("transfer of leadership refused")
		p.w.checks.member(n, m.Group).keeps()
	case *messages.ElectionStarted:
		p.w.cover.add("election on demand")
	case *messages.ElectionRefused:
		p.w.cover.add("election on demand refused")
	case *messages.PeersReset:
		p.w.checks.member(n, m.Group).wasReset(m)
	case *messages.PeersKept:
		p.w.cover.add("reset refused")
		p.w.trace.printf("%s, group %d does not go on alone: %s", n.id, m.Group, m.Reason)
	default:
		p.w.violate("no stray message", "%T for the probe on %s", message, n.id)
	}
}

func (m *memberModel) described(s *messages.GroupStatus) {
	w := m.c.w
	if s.Role == "starting" || s.Role == "failed" {
		return
	}
	switch {
	case s.AppliedIndex > s.CommitIndex || s.CommitIndex > s.LastIndex || s.DurableIndex > s.LastIndex || !m.snapshotOrder(s):
		w.violate("index order", "group %d: %s describes itself as %v", m.g.id, m.n.id, s)
	case s.LastIndex != uint64(len(m.log)) || s.Term != m.asked.Term || s.AppliedIndex > m.reported || (s.Role == "leader") != (m.leads != 0):
		w.violate("what is said is so", "group %d: %s describes itself as %v, seen were last %d, term %d, applied %d, leads %d",
			m.g.id, m.n.id, s, len(m.log), m.asked.Term, m.reported, m.leads)
	case s.DurableIndex <= m.snapshots.durable:
	case s.DurableIndex > uint64(len(m.disk)) || s.DurableIndex > 0 && m.disk[s.DurableIndex-1].chain != m.log[s.DurableIndex-1].chain:
		w.violate("what is said is so", "group %d: %s describes %d as durable, its disk ends at %d or differs", m.g.id, m.n.id, s.DurableIndex, len(m.disk))
	}
	if s.CommitIndex <= uint64(len(m.log)) {
		m.claim("status", s.Term, s.CommitIndex)
	}
}

// listener is a process of the simulation's own within a node.
type listener struct {
	n    *node
	hear func(n *node, message any)
}

func (l *listener) SendUserMessage(to *actor.PID, message any) {
	if !l.n.acts(l.n.life) {
		return
	}
	_, inner, _ := actor.UnwrapEnvelope(message)
	if results, ok := inner.(*messages.Results); ok {
		l.n.w.checks.turn.answers(to, results)
	}
	l.hear(l.n, inner)
}

func (l *listener) SendSystemMessage(*actor.PID, any) {}
func (l *listener) Stop(*actor.PID)                   {}

// settleTime is how long a group may need to agree once everything works.
func (w *World) settleTime() time.Duration { return 60*w.setup.electionTimeout + 2*time.Second }
