package core

// Relief picks who is to take over a group from a leader whose node leads more groups than
// others do, by how many each node leads as far as is known. It is the voter that leads the
// fewest, of no lower priority than the leader, and fit, as the leader sees it; and only
// one that will lead fewer even then, so that nothing goes back and forth.
func Relief(c *Configuration, self NodeID, leads map[NodeID]int, fit func(NodeID) bool) (to NodeID, ok bool) {
	own, _ := c.Member(self)
	for _, m := range c.Members {
		switch {
		case m.ID == self || m.Priority < own.Priority || !c.MayLead(m.ID) || !fit(m.ID):
		case leads[m.ID]+1 >= leads[self]:
		case !ok || leads[m.ID] < leads[to] || leads[m.ID] == leads[to] && m.ID < to:
			to, ok = m.ID, true
		}
	}
	return to, ok
}
