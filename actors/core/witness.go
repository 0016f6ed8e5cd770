package core

import (
	"fmt"
	"slices"
)

// A witness votes and holds the log's end, and has no state. It counts for elections and
// for commits like any voter, so what it has acknowledged it must be able to give to a
// voter with state until all of those have it. docs/design/0018-witnesses.md says why
// the rules below are enough for that.

// Witness says whether id is a witness, or is to be one.
func (c *Configuration) Witness(id NodeID) bool {
	is := func(m Member) bool { return m.ID == id && m.Role == RoleWitness }
	return slices.ContainsFunc(c.Members, is) || slices.ContainsFunc(c.Leaving, is) || slices.ContainsFunc(c.Next, is)
}

// Witnessed says whether a witness takes part, or is to.
func (c *Configuration) Witnessed() bool {
	return slices.ContainsFunc(c.Everyone(), func(m Member) bool { return c.Witness(m.ID) })
}

// CheckWitness refuses members among whom a witness would be of no use, or a danger: one
// beside a single voter with state survives nothing, and of two one may be left with the
// end of a log whose beginning only the other had.
func CheckWitness(members []Member) error {
	var witnesses, stateful int
	for _, m := range members {
		switch m.Role {
		case RoleWitness:
			witnesses++
		case RoleVoter:
			stateful++
		}
	}
	switch {
	case witnesses > 1:
		return fmt.Errorf("witnesses: %d, expected at most 1", witnesses)
	case witnesses == 1 && stateful < 2:
		return fmt.Errorf("voters with state beside a witness: %d, expected at least 2", stateful)
	}
	return nil
}

// Stateful are the voters with state, those that were and those that are to come
// included.
func (c *Configuration) Stateful() (ids []NodeID) {
	for _, id := range c.Outgoing {
		if !c.Witness(id) {
			ids = append(ids, id)
		}
	}
	for _, m := range slices.Concat(c.Members, c.Next) {
		if m.Role == RoleVoter && !slices.Contains(ids, m.ID) {
			ids = append(ids, m.ID)
		}
	}
	return ids
}

// Spare is how far a witness may cut its log: what is committed and, by what the leader
// knows, on the disk of every voter with state.
func (c *Configuration) Spare(commit Index, match func(NodeID) Index) Index {
	for _, id := range c.Stateful() {
		commit = min(commit, match(id))
	}
	return commit
}

// CatchingUp are those that must have caught up before the group becomes joint: the
// new voters and, where there is to be a witness, all voters with state. A witness that
// was sent no more than the end of the log has nothing for those that lack the rest, and
// who had the rest may be leaving.
func (c *Configuration) CatchingUp() []NodeID {
	ids := c.NewVoters()
	if !slices.ContainsFunc(c.Next, func(m Member) bool { return m.Role == RoleWitness }) {
		return ids
	}
	for _, m := range c.Next {
		if m.Role == RoleVoter && !slices.Contains(ids, m.ID) {
			ids = append(ids, m.ID)
		}
	}
	return ids
}
