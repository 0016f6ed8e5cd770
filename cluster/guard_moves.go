package cluster

import (
	"fmt"
	"maps"
	"slices"

	"github.com/protoraft/protoraft/actors"
	"github.com/protoraft/protoraft/actors/core"
)

// Members move. Three things follow for who is let in:
//
//   - One that a configuration has moved may speak from where it was, until it is heard
//     where it is to be: a leader goes on for a while, and answers have to reach it.
//   - From then on it may not: what still runs there, or is started again, has an old copy
//     of its disk.
//   - Who was away when others moved cannot know it. So a member says by which
//     configuration it is where it is, and is believed by those that have no later one. A
//     copy of its disk that was started elsewhere has no such configuration.

// listing is a configuration of this node's, by which it is at its address.
type listing struct{ group, index uint64 }

func (l *listing) String() string {
	if l == nil {
		return ""
	}
	return fmt.Sprintf("%d@%d", l.group, l.index)
}

func parseListing(text string) *listing {
	var l listing
	if _, err := fmt.Sscanf(text, "%d@%d", &l.group, &l.index); err != nil {
		return nil
	}
	return &l
}

// configured lists who belongs to a group by the configuration that its member here has.
func (g *guard) configured(m *actors.ConfigurationChanged) {
	g.noteConfiguration(m)
	for _, one := range m.Everyone {
		g.admit(string(one.ID), one.Address)
	}
}

func (g *guard) noteConfiguration(m *actors.ConfigurationChanged) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.known.Store(m.Group, m)
	for _, one := range m.Everyone {
		switch l := g.listed.Load(); {
		case string(one.ID) != g.node:
		case one.Address == g.address:
			g.listed.Store(&listing{m.Group, uint64(m.Index)})
		case l != nil && l.group == m.Group:
			g.listed.Store(nil)
		}
	}
}

// forget drops what a group that was deleted here said. Made again it begins with index 1:
// what it says then must not be held against what the one before said last.
func (g *guard) forget(group uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.known.Delete(group)
	if l := g.listed.Load(); l == nil || l.group != group {
		return
	}
	g.listed.Store(nil)
	g.known.Range(func(_, other any) bool {
		m := other.(*actors.ConfigurationChanged)
		if slices.ContainsFunc(m.Everyone, func(one core.Member) bool { return string(one.ID) == g.node && one.Address == g.address }) {
			g.listed.Store(&listing{m.Group, uint64(m.Index)})
		}
		return g.listed.Load() == nil
	})
}

// isCurrent says whether a member is where it says it is by the configuration that it
// names: one that is later than this node's, or the same and this node finds it there,
// though that of another group, which is behind, has somebody else at the address.
func (g *guard) isCurrent(id, address string, l *listing) bool {
	if l == nil {
		return false
	}
	value, has := g.known.Load(l.group)
	if !has {
		return true
	}
	own := value.(*actors.ConfigurationChanged)
	return uint64(own.Index) < l.index || uint64(own.Index) == l.index && slices.ContainsFunc(own.Everyone, func(m core.Member) bool {
		return string(m.ID) == id && m.Address == address
	})
}

// list puts a member at an address, where nobody else is from now on.
func (r *rules) list(id, address string) {
	if other := r.ids[address]; other != "" && other != id && r.members[other] == address {
		r.members = with(r.members, other, "")
	}
	r.members, r.ids = with(r.members, id, address), with(r.ids, address, id)
}

// stillThere refuses a member that was let in, and would not be any more: it was heard
// elsewhere since, or another is at its address.
func (r *rules) stillThere(c caller) error {
	if c.role == peerRole && r.ids[c.address] != c.node {
		return refuse(refusedIdentity, "member %q is at %s now, this stream is from %s", c.node, r.members[c.node], c.address)
	}
	return nil
}

// heardAt: a member's stream comes from there. Where that is its place, it is in no other.
func (g *guard) heardAt(id, address string) {
	r := g.rules.Load()
	elsewhere := func(at, of string) bool { return of == id && at != address }
	news, gone := r.ids[address] != id, false
	for at, of := range r.ids {
		gone = gone || elsewhere(at, of)
	}
	if !news && (!gone || r.members[id] != address) {
		return
	}
	g.change(func(r *rules) {
		r.list(id, address)
		r.ids = maps.Clone(r.ids)
		maps.DeleteFunc(r.ids, elsewhere)
	})
	g.logger.Info("member heard where it is, and let in from nowhere else", "member", id, "address", address)
}
