package core

import "fmt"

// A member that moves keeps its id, its vote and its log; only where the others find it
// is another. So the quorums are the same before and after, and the change is its own
// last step. Until the member runs at the new address it counts for nothing, as one that
// is down: who changes the members has to look that a quorum is there without it.

// afterMoves is the set of members once those that move have their new addresses.
func (c *Configuration) afterMoves(r Change) (next []Member, err error) {
	if len(r.Add)+len(r.Remove)+len(r.Promote)+len(r.Demote) > 0 {
		return nil, fmt.Errorf("move %s: something else is to be changed with it, expected a move by itself", listed(r.Move))
	}
	next = append(next, c.Members...)
	named := map[NodeID]bool{}
	for _, m := range r.Move {
		i := index(next, m.ID)
		switch {
		case named[m.ID]:
			return nil, fmt.Errorf("%q is named twice", m.ID)
		case i < 0:
			return nil, fmt.Errorf("move %q: not a member, expected one of %s", m.ID, listed(c.Members))
		case m.Address == "":
			return nil, fmt.Errorf("move %q: no address, expected the one it moves to", m.ID)
		case next[i].Address == m.Address:
			return nil, fmt.Errorf("move %q: %s is its address already", m.ID, m.Address)
		}
		for _, other := range c.Members {
			// Also of one that leaves it in the same change: it runs there until it has moved.
			if other.Address == m.Address {
				return nil, fmt.Errorf("move %q: %s is the address of %q, expected one of its own", m.ID, m.Address, other.ID)
			}
		}
		named[m.ID], next[i].Address = true, m.Address
	}
	return next, checkNext(next, len(named))
}

// Moves says whether id has another address in a configuration that is to follow.
func (c *Configuration) Moves(id NodeID, next *Configuration) bool {
	from, was := c.Find(id)
	to, is := next.Find(id)
	return was && is && from.Address != to.Address
}
