package core

import "slices"

// Role is what a member may do.
type Role int

const (
	RoleVoter Role = iota
	RoleLearner
	RoleWitness
)

// Member is one place of a group.
type Member struct {
	ID      NodeID
	Address string
	Role    Role
	// Priority says who stands first when there is no leader. One below 0 is not to
	// lead: it does only when no other can, and hands over as soon as one has caught up.
	Priority int
}

// Configuration is who belongs to a group. It is active from the moment it is
// appended. While Outgoing is not empty, decisions need a majority of the voters
// and a majority of Outgoing (joint consensus, paper §6). membership_change.go says
// how one configuration follows another.
type Configuration struct {
	Members  []Member
	Outgoing []NodeID

	// Leaving are those of the old configuration that the new one has no more, while
	// the group is joint: until its end they get the log, and vote if they are Outgoing.
	Leaving []Member

	// Next is the set being moved to, while its new voters catch up. Those that are in
	// Next only get the log and have no voice.
	Next []Member

	// Removed are ids that were members once and may never be again: who comes back
	// under one may have forgotten what it promised.
	Removed []NodeID

	// Resets names the history that the group has: a number for each time that a lost
	// majority was given up, in order. See membership_reset.go.
	Resets []uint64
}

// Everyone is whoever receives the log: members, those leaving and those that are to
// come, who are learners so far. It may be c's own list, not to be changed.
func (c *Configuration) Everyone() []Member {
	if len(c.Leaving)+len(c.Next) == 0 {
		return slices.Clip(c.Members)
	}
	all := slices.Concat(c.Members, c.Leaving)
	for _, m := range c.Next {
		if _, known := c.Member(m.ID); !known {
			m.Role = RoleLearner
			all = append(all, m)
		}
	}
	return all
}

// Find returns the one of Everyone with this id.
func (c *Configuration) Find(id NodeID) (Member, bool) {
	for _, m := range c.Everyone() {
		if m.ID == id {
			return m, true
		}
	}
	return Member{}, false
}

// Member returns the member with this id.
func (c *Configuration) Member(id NodeID) (Member, bool) {
	for _, m := range c.Members {
		if m.ID == id {
			return m, true
		}
	}
	return Member{}, false
}

// Voters are the ids that decide, apart from Outgoing.
func (c *Configuration) Voters() []NodeID {
	var ids []NodeID
	for _, m := range c.Members {
		if m.Role != RoleLearner {
			ids = append(ids, m.ID)
		}
	}
	return ids
}

// MayStand says whether id may be elected to serve: it has a voice, and state.
func (c *Configuration) MayStand(id NodeID) bool {
	m, ok := c.Member(id)
	return c.Quorum().Contains(id) && (!ok || m.Role == RoleVoter) && !c.Witness(id)
}

// MayLead says whether id is to lead. A witness is not, whatever its priority.
func (c *Configuration) MayLead(id NodeID) bool {
	m, _ := c.Member(id)
	return c.MayStand(id) && m.Priority >= 0
}

// lastResort is how many election timeouts more one leaves to others that is not to
// lead. It must not leave them all: what is committed may be on no other member.
const lastResort = 3

// Precedence is how many election timeouts a member leaves to others before it stands:
// one for each higher priority among the voters. So the priority that is asked for
// decays, and a low one leads when those above it are gone.
func (c *Configuration) Precedence(id NodeID) int {
	own, _ := c.Member(id)
	witness := c.Witness(id)
	var higher []int
	for _, m := range c.Members {
		if m.Role == RoleVoter && (m.Priority > own.Priority || witness) && !slices.Contains(higher, m.Priority) {
			higher = append(higher, m.Priority)
		}
	}
	if own.Priority < 0 || witness {
		return len(higher) + lastResort
	}
	return len(higher)
}

// Quorum is the set, or the two sets, whose majorities decide.
func (c *Configuration) Quorum() Quorum {
	return Quorum{Voters: c.Voters(), Outgoing: slices.Clone(c.Outgoing)}
}

// StateQuorum is Quorum without witnesses, who hold no state to compare.
func (c *Configuration) StateQuorum() Quorum {
	q := c.Quorum()
	return Quorum{Voters: slices.DeleteFunc(q.Voters, c.Witness), Outgoing: slices.DeleteFunc(q.Outgoing, c.Witness)}
}

// Quorum decides by majority of Voters and, where it is not empty, of Outgoing.
// Learners are in neither.
type Quorum struct {
	Voters, Outgoing []NodeID
}

// Contains says whether id has a voice.
func (q Quorum) Contains(id NodeID) bool {
	return slices.Contains(q.Voters, id) || slices.Contains(q.Outgoing, id)
}

// Agrees says whether enough members satisfy yes. A quorum of nobody never agrees.
func (q Quorum) Agrees(yes func(NodeID) bool) bool {
	return len(q.Voters) > 0 && agree(q.Voters, yes) && (len(q.Outgoing) == 0 || agree(q.Outgoing, yes))
}

func agree(ids []NodeID, yes func(NodeID) bool) bool {
	n := 0
	for _, id := range ids {
		if yes(id) {
			n++
		}
	}
	return n > len(ids)/2
}

// Reached is the highest value that enough members have reached.
func Reached[T ~uint64](q Quorum, at func(NodeID) T) T {
	if len(q.Voters) == 0 {
		return 0
	}
	v := reached(q.Voters, at)
	if len(q.Outgoing) > 0 {
		v = min(v, reached(q.Outgoing, at))
	}
	return v
}

func reached[T ~uint64](ids []NodeID, at func(NodeID) T) T {
	var room [8]T
	values := room[:0]
	for _, id := range ids {
		values = append(values, at(id))
	}
	slices.Sort(values)
	return values[(len(values)-1)/2] // a majority is at or above it
}
