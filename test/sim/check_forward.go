package sim

import "github.com/protoraft/protoraft/messages"

// An operation is forwarded once, by the process where it was asked, under a number
// that no earlier life of that process has used: an answer to that life may still be
// on its way.

type number struct {
	node   int
	number uint64
}

func (c *checks) forwards(from *node, m *messages.ForwardRequests) {
	for _, f := range m.Requests {
		var id uint64
		switch r := f.Request.(type) {
		case *messages.ForwardedRequest_Propose:
			id = r.Propose.Request
			command, err := decodeCommand(r.Propose.Command)
			if o := c.history.byRequest[command.value]; err == nil && o != nil && o.once == nil && (o.node != from || o.life != from.life) {
				c.w.violate("forwarded once", "%v leaves %s for another leader", o, from.id)
			}
		case *messages.ForwardedRequest_Query:
			id = r.Query.Request
		case *messages.ForwardedRequest_ChangeMembers:
			id = r.ChangeMembers.Request
		case *messages.ForwardedRequest_AbortChange:
			id = r.AbortChange.Request
		case *messages.ForwardedRequest_ListMembers:
			id = r.ListMembers.Request
		}
		key := number{from.number, id}
		if life, used := c.numbers[key]; used && life != from.life {
			c.w.violate("numbers are not used again", "%s forwards an operation as %d, as its life %d did", from.id, id, life)
		}
		c.numbers[key] = from.life
	}
}

// saysTo: an acknowledgement answers an append of its own term.
func (m *memberModel) saysTo(replicator string, term uint64) {
	if asked := replicatorTerm(replicator); asked != 0 && asked != term {
		m.c.w.violate("acknowledgements are of their term", "group %d: AppendAccepted in term %d from %s to %s", m.g.id, term, m.n.id, replicator)
	}
}
