package sim

import (
	"maps"
	"slices"

	"github.com/protoraft/protoraft/actors"
	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/messages"
)

// Who lets whom in, as the processes' guards decide it: a message goes only where a member
// is known to be, and is taken from one that comes from where it is known to be, or that
// names a configuration, a later one or the same, by which it is there.

// places is what a process knows of that.
type places struct {
	at    map[string]string                       // id → address
	of    map[string]string                       // address → id, also where a member was before
	known map[uint64]*actors.ConfigurationChanged // group → the configuration
	own   listing
}

// listing is a configuration that has a node where it is; of group 0 for none.
type listing struct{ group, index uint64 }

// settleIn begins a process's life at its address.
func (n *node) settleIn() {
	w := n.w
	if n.moves != "" {
		if before := n.address; before != n.moves && w.mover != nil {
			w.mover.vacant = append(w.mover.vacant, before)
		}
		w.trace.printf("%s moves from %s to %s", n.id, n.address, n.moves)
		n.address, n.moves = n.moves, ""
		w.byAddress[n.address] = n
	}
	n.places = places{at: map[string]string{}, of: map[string]string{}, known: map[uint64]*actors.ConfigurationChanged{}}
	for _, o := range w.nodes {
		if o != n && o.home != n.address {
			n.places.list(o.id, o.home)
		}
	}
	n.places.list(n.id, n.address)
}

// told is what a client's process is told of a node as it begins: where that is, and where
// it is to be.
func (n *node) told() []string {
	if n.moves != "" && n.moves != n.address {
		return []string{n.address, n.moves}
	}
	return []string{n.address}
}

func (p *places) list(id, address string) {
	if other := p.of[address]; other != id && p.at[other] == address {
		p.at[other] = ""
	}
	p.at[id], p.of[address] = address, id
}

// configured follows a member of the process that goes by another configuration.
func (n *node) configured(m *actors.ConfigurationChanged) {
	p := &n.places
	p.known[m.Group] = m
	for _, one := range m.Everyone {
		id := string(one.ID)
		switch {
		case id == n.id && one.Address == n.address:
			p.own = listing{m.Group, uint64(m.Index)}
		case id == n.id && p.own.group == m.Group:
			p.own = listing{}
		}
		if (id == n.id) == (one.Address == n.address) {
			p.list(id, one.Address)
		}
	}
}

// nodeAt is the node that this one means by an address: of two that have had it, the one
// that it knows to be there.
func (n *node) nodeAt(address string) *node {
	id := n.places.of[address]
	for _, o := range n.w.nodes {
		if o.id == id {
			return o
		}
	}
	return n.w.byAddress[address]
}

// finds says whether a process may send to another at an address.
func (n *node) finds(to *node, address string) bool {
	return n.w.mover == nil || to.outsider || n.places.of[address] == to.id
}

// admits says whether a packet is for the process that is here now, and from one whose
// place is known.
func (n *node) admits(p *packet) bool {
	w, from := n.w, n.w.byAddress[p.fromAddr]
	if w.mover == nil || from == nil || from.outsider {
		return w.mover == nil || p.toAddr == n.address
	}
	o, id := &n.places, p.fromID
	current := p.fromAddr != n.address && o.isCurrent(p)
	switch {
	case p.toAddr != n.address:
		w.cover.add("message to where a node was before")
		return false
	case !n.outsider && o.of[p.fromAddr] != id && !current:
		w.cover.add("message from where a member is not known to be")
		return false
	case o.of[p.fromAddr] != id:
		w.cover.add("member believed to have moved")
		o.list(id, p.fromAddr)
	}
	if o.at[id] == p.fromAddr {
		maps.DeleteFunc(o.of, func(at, of string) bool { return of == id && at != p.fromAddr })
	}
	return true
}

// isCurrent says whether the sender's place is what the configuration says that it names.
func (p *places) isCurrent(from *packet) bool {
	if from.listed.group == 0 {
		return false
	}
	own := p.known[from.listed.group]
	return own == nil || uint64(own.Index) < from.listed.index || uint64(own.Index) == from.listed.index && slices.ContainsFunc(own.Everyone, func(m core.Member) bool {
		return string(m.ID) == from.fromID && m.Address == from.fromAddr
	})
}

// everyone is whoever a configuration names.
func (c *members) everyone() []*messages.Member {
	return slices.Concat(c.Members, c.Leaving, c.Next)
}

// place is where a configuration has a node, empty for nowhere.
func (c *members) place(id string) string {
	if c == nil {
		return ""
	}
	for _, one := range c.everyone() {
		if one.Id == id {
			return one.Address
		}
	}
	return ""
}

// changesAddresses: no two members are in one place, and where members move nothing else
// changes with it.
func (m *memberModel) changesAddresses(before, after *members) {
	w, g := m.c.w, m.g
	moved, at := false, map[string]string{}
	for _, one := range after.everyone() {
		if other := at[one.Address]; other != "" && other != one.Id {
			w.violate("members", "group %d: %s appends %v, where %s and %s are both at %s", g.id, m.n.id, after, other, one.Id, one.Address)
		}
		at[one.Address] = one.Id
		was := before.place(one.Id)
		moved = moved || was != "" && was != one.Address
	}
	if !moved {
		return
	}
	w.cover.add("members: address changed")
	if before.place(m.n.id) != after.place(m.n.id) {
		w.cover.add("members: address of the leader changed")
	}
	same := len(before.everyone()) == len(after.everyone()) && !before.changing() && !after.changing()
	for _, one := range after.Members {
		same = same && slices.ContainsFunc(before.Members, func(o *messages.Member) bool {
			return o.Id == one.Id && o.Role == one.Role && o.Priority == one.Priority
		})
	}
	if !same {
		w.violate("members", "group %d: %s goes from %v to %v, which moves members and changes more", g.id, m.n.id, before, after)
	}
}
