package core

import (
	"fmt"
	"slices"
)

// Where a majority is lost for ever, nobody can be elected and nothing be committed. One
// member that is left may be told to go on alone: it appends a configuration of itself,
// which begins another history of the group. What the lost majority committed and this
// member does not hold is no part of it.
//
// The others may come back, be a majority, and elect a leader of their own. So each
// history has a name, and a member heeds only those whose history is its own or goes on
// from it: who has begun, or joined, a history is never led back.

// Reset returns the configuration with which self goes on alone in a history of that
// name, or says why it cannot.
func (c *Configuration) Reset(self NodeID, name uint64) (Configuration, error) {
	own, known := c.Find(self)
	switch {
	case !known:
		return Configuration{}, fmt.Errorf("%q is no member of the group: its configuration names %s", self, listed(c.Everyone()))
	case own.Role == RoleWitness:
		return Configuration{}, fmt.Errorf("%q is a witness and holds no state", self)
	case name == 0:
		return Configuration{}, fmt.Errorf("0 is no name for a history")
	}
	own.Role = RoleVoter
	reset := Configuration{Members: []Member{own}, Removed: slices.Clone(c.Removed), Resets: append(slices.Clone(c.Resets), name)}
	for _, m := range c.Everyone() {
		if m.ID != self && !slices.Contains(reset.Removed, m.ID) {
			reset.Removed = append(reset.Removed, m.ID)
		}
	}
	return reset, nil
}

// Continues says whether a history is this one or goes on from it.
func Continues(theirs, own []uint64) bool {
	return len(theirs) >= len(own) && slices.Equal(theirs[:len(own)], own)
}
