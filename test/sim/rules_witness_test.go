package sim

import "github.com/protoraft/protoraft/messages"

// brokenByWitnesses breaks the rules of witnesses: the last member is one.
var brokenByWitnesses = map[string][]func(x bad){
	"a witness keeps what others need": {
		func(x bad) { x.witness().checkSpared(5) }, // nobody has five entries
		func(x bad) { x.witness().checkRested(5) },
		func(x bad) { // it counts again, and has begun there meanwhile
			m := x.witness()
			m.snapshots.durable = 5
			m.checkRemembers()
		},
		func(x bad) { // a configuration is committed, by which it may decide with one
			m := x.witness()
			m.snapshots.purged = 5
			c, _ := x.g.settled()
			c.Members[m.n.number].Role = messages.Role_WITNESS
			x.g.checkLeft(1)
		},
	},
}

func (x bad) witness() *memberModel {
	x.w.setup.witness = true
	x.commits(&messages.Configuration{Members: x.g.unwritten.Members})
	return x.g.members[x.w.setup.nodes-x.w.setup.spares-1]
}
