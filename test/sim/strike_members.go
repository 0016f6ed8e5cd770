package sim

import "github.com/protoraft/protoraft/messages"

// memberRequests begin here, above those of any client; the group is in the lowest
// bits.
const memberRequests = 1 << 48

const memberGroups = 16

// changeMembers asks somebody, who need not lead, for a change of a group's members
// that may or may not be possible.
func (w *World) changeMembers(n *node) {
	g := w.checks.groups[w.chaos.IntN(len(w.checks.groups))]
	to := n.gatewayPID()
	if !n.outsider && w.chaos.IntN(2) == 0 {
		to = n.memberPID(g.id)
	}
	w.memberRequest++
	request := memberRequests + w.memberRequest*memberGroups + g.id
	var m any
	if w.chaos.IntN(8) == 0 {
		m = &messages.AbortChange{Group: g.id, Request: request}
	} else {
		m = w.drawChange(g, request)
	}
	w.trace.printf("%s is asked for %v", n.id, m)
	n.host.system.Root.RequestWithCustomSender(to, m, w.probe.pid(n))
}

func (w *World) drawChange(g *groupModel, request uint64) *messages.ChangeMembers {
	m := &messages.ChangeMembers{Group: g.id, Request: request}
	now, index := g.settled()
	switch w.chaos.IntN(4) {
	case 0:
		m.ExpectedIndex = uint64(index)
	case 1:
		if w.chaos.IntN(4) == 0 {
			m.ExpectedIndex = uint64(index) + 1 // of no configuration, most likely
		}
	}
	most := 1 + w.chaos.IntN(3)
	for _, i := range w.chaos.Perm(len(w.nodes)) {
		n := w.nodes[i]
		if most == 0 {
			break
		}
		most--
		switch voter := now != nil && now.votes(n.id); {
		case now == nil || !now.has(n.id):
			role := messages.Role_VOTER
			if w.chaos.IntN(4) == 0 {
				role = messages.Role_LEARNER
			}
			if n.witness() {
				role = messages.Role_WITNESS
			}
			m.Add = append(m.Add, &messages.Member{Id: n.id, Address: n.address, Role: role})
		case voter && len(now.voters) > 2 && w.chaos.IntN(3) == 0:
			m.Remove = append(m.Remove, n.id)
		case voter:
			m.Demote = append(m.Demote, n.id)
		default:
			m.Promote = append(m.Promote, n.id)
		}
	}
	return m
}

// memberAnswers tells answers about members from others, by their request.
func (c *checks) memberAnswers(results *messages.Results) bool {
	for i := range results.Items {
		item := &results.Items[i]
		if item.Request < memberRequests {
			return false
		}
		c.memberAnswer(item.Request%memberGroups, item)
	}
	return true
}
