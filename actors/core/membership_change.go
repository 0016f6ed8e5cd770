package core

import (
	"fmt"
	"slices"
)

// A change of members, however large, goes through at most three configurations
// (paper §6, thesis §4.3):
//
//  1. catching up: as before, with Next; the new voters get the log.
//  2. joint: Members are what was Next; decisions need a majority of the new voters
//     and of the old ones, Outgoing.
//  3. final: the new members alone.
//
// Each is appended only when the one before it is committed, so that at most one is
// not. A change without new voters has no first step, and one that leaves the voters
// as they are is its own last step. Every step can be read from the configuration
// alone: whichever member leads next goes on with it.

// Change is what somebody asks for: all of it happens, or nothing.
type Change struct {
	// Expected is the index of the configuration that the asker has seen, 0 for any.
	Expected Index
	Add      []Member // new members, as voters, learners or witnesses
	Remove   []NodeID
	Promote  []NodeID // learners that are to vote
	Demote   []NodeID // voters that are to be learners
}

// Changing says whether the configuration is a step of a change, not its end.
func (c *Configuration) Changing() bool { return len(c.Next) > 0 || len(c.Outgoing) > 0 }

// Begin returns the first configuration of a change of c, which stands at index at,
// or names what is wrong with it.
func (c *Configuration) Begin(at Index, r Change) (Configuration, error) {
	if r.Expected != 0 && r.Expected != at {
		return Configuration{}, fmt.Errorf("the members have changed: their configuration is that of index %d, expected was that of %d", at, r.Expected)
	}
	if c.Changing() {
		return Configuration{}, fmt.Errorf("a change to %s is under way, one at a time", listed(c.target()))
	}
	next, err := c.after(r)
	if err != nil {
		return Configuration{}, err
	}
	moved := Configuration{Members: c.Members, Next: next, Removed: c.Removed, Resets: c.Resets}
	switch {
	case sameIDs(voters(next), c.Voters()):
		return moved.Joint().Final(), nil // the quorums are the same
	case len(moved.CatchingUp()) == 0:
		return moved.Joint(), nil
	}
	return moved, nil
}

// after is the set of members that a change leads to.
func (c *Configuration) after(r Change) ([]Member, error) {
	next := slices.Clone(c.Members)
	named := map[NodeID]bool{}
	once := func(id NodeID) error {
		if named[id] {
			return fmt.Errorf("%q is named twice", id)
		}
		named[id] = true
		return nil
	}
	for _, id := range r.Remove {
		i := index(next, id)
		if err := once(id); err != nil {
			return nil, err
		}
		if i < 0 {
			return nil, fmt.Errorf("remove %q: not a member, expected one of %s", id, listed(c.Members))
		}
		next = slices.Delete(next, i, i+1)
	}
	for _, turn := range []struct {
		word     string
		ids      []NodeID
		from, to Role
		already  string
	}{
		{"promote", r.Promote, RoleLearner, RoleVoter, "votes already"},
		{"demote", r.Demote, RoleVoter, RoleLearner, "is a learner already"},
	} {
		for _, id := range turn.ids {
			if err := once(id); err != nil {
				return nil, err
			}
			switch i := index(next, id); {
			case i < 0:
				return nil, fmt.Errorf("%s %q: not a member, expected one of %s", turn.word, id, listed(c.Members))
			case next[i].Role == RoleWitness:
				return nil, fmt.Errorf("%s %q: it is a witness and has no state: remove it, and add another member in its place", turn.word, id)
			case next[i].Role != turn.from:
				return nil, fmt.Errorf("%s %q: it %s", turn.word, id, turn.already)
			default:
				next[i].Role = turn.to
			}
		}
	}
	for _, m := range r.Add {
		if err := once(m.ID); err != nil {
			return nil, err
		}
		if err := c.mayJoin(m); err != nil {
			return nil, err
		}
		next = append(next, m)
	}
	return next, checkNext(next, len(named))
}

// mayJoin names what speaks against a new member.
func (c *Configuration) mayJoin(m Member) error {
	switch _, known := c.Member(m.ID); {
	case m.ID == "" || m.Address == "":
		return fmt.Errorf("add %q at %q: expected an id and an address", m.ID, m.Address)
	case known:
		return fmt.Errorf("add %q: it is a member already", m.ID)
	case slices.Contains(c.Removed, m.ID):
		return fmt.Errorf("add %q: it was removed once, and an id does not come back: give the node a new one and an empty data directory", m.ID)
	case m.Role != RoleVoter && m.Role != RoleLearner && m.Role != RoleWitness:
		return fmt.Errorf("add %q: role %d, expected voter, learner or witness", m.ID, m.Role)
	}
	for _, other := range c.Members {
		// Also of one that is removed at the same time: both take part until the end.
		if other.Address == m.Address {
			return fmt.Errorf("add %q: %s is the address of %q, expected one of its own", m.ID, m.Address, other.ID)
		}
	}
	return nil
}

func checkNext(next []Member, named int) error {
	if named == 0 {
		return fmt.Errorf("nothing to change: expected members to add, remove, promote or demote")
	}
	if len(voters(next)) == 0 {
		return fmt.Errorf("no voter would be left, expected at least one")
	}
	if err := CheckWitness(next); err != nil {
		return err
	}
	for i, m := range next {
		for _, other := range next[:i] {
			if other.Address == m.Address {
				return fmt.Errorf("%q and %q have the same address %s", other.ID, m.ID, m.Address)
			}
		}
	}
	return nil
}

// Joint is what follows when the new voters have caught up.
func (c *Configuration) Joint() Configuration {
	j := Configuration{Members: c.Next, Outgoing: c.Voters(), Removed: c.Removed, Resets: c.Resets}
	for _, m := range c.Members {
		if index(c.Next, m.ID) < 0 {
			j.Leaving = append(j.Leaving, m)
		}
	}
	return j
}

// Final is what follows a joint configuration.
func (c Configuration) Final() Configuration {
	f := Configuration{Members: c.Members, Removed: slices.Clone(c.Removed), Resets: c.Resets}
	for _, m := range c.Leaving {
		f.Removed = append(f.Removed, m.ID)
	}
	return f
}

// RollBack is what undoes a change whose new voters do not catch up. They may be
// asked for again: they never had a voice.
func (c *Configuration) RollBack() Configuration {
	return Configuration{Members: c.Members, Removed: c.Removed, Resets: c.Resets}
}

// NewVoters are those that must catch up before the group becomes joint.
func (c *Configuration) NewVoters() (ids []NodeID) {
	old := c.Voters()
	for _, id := range voters(c.Next) {
		if !slices.Contains(old, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// Step is what a leader does next about its configuration.
type Step int

const (
	StepNone     Step = iota // nothing: it is settled
	StepWait                 // for its commit, or for the new voters
	StepJoint                // append what Joint returns
	StepFinal                // append what Final returns
	StepRollBack             // append what RollBack returns
	StepLeave                // step down: the leader has no voice any more
)

// NextStep decides it. committed: the configuration is, and so is an entry of the
// leader's own term, without which a leader does not know what is (the fault of the
// single-server change, raft-dev 2015). caughtUp: every new voter has; giveUp: they
// do not, or are not wanted any more.
func (c *Configuration) NextStep(self NodeID, committed, caughtUp, giveUp bool) Step {
	switch {
	case !committed:
		return StepWait
	case len(c.Outgoing) > 0:
		return StepFinal // once joint there is only forward
	case len(c.Next) > 0 && giveUp:
		return StepRollBack
	case len(c.Next) > 0 && caughtUp:
		return StepJoint
	case len(c.Next) > 0:
		return StepWait
	case !c.Quorum().Contains(self):
		return StepLeave
	}
	return StepNone
}

// MayStand says whether a member may stand for election: a voter, or one that was
// until a configuration came which is not known to be committed. The others may not
// have that one, and need its holder's log (thesis §4.2.2). It does not count its
// own vote, having none.
func MayStand(self NodeID, active, before *Configuration, committed bool) bool {
	if active.Quorum().Contains(self) {
		return true
	}
	return !committed && before != nil && before.Quorum().Contains(self)
}

// target is where a change under way leads.
func (c *Configuration) target() []Member {
	if len(c.Next) > 0 {
		return c.Next
	}
	return c.Members
}

func voters(members []Member) []NodeID {
	c := Configuration{Members: members}
	return c.Voters()
}

func index(members []Member, id NodeID) int {
	return slices.IndexFunc(members, func(m Member) bool { return m.ID == id })
}

func sameIDs(a, b []NodeID) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(id NodeID) bool { return !slices.Contains(b, id) })
}

func listed(members []Member) (text string) {
	for i, m := range members {
		if i > 0 {
			text += ", "
		}
		text += string(m.ID)
	}
	return text
}
