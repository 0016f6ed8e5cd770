package core

// A group in which nothing happens sleeps: its leader sends no heartbeats, its followers
// wait for none. These are the conditions that the log sets; who is busy otherwise says so
// by itself.

// Stand is where a member's log and machine stand.
type Stand struct {
	Last, Durable, Commit, Applied Index
}

// still says whether everything there is is durable, committed and applied.
func (s Stand) still() bool {
	return s.Durable == s.Last && s.Commit == s.Last && s.Applied == s.Last
}

// MaySleep says whether a leader may ask its group to sleep: everybody who receives the log
// has all of it, and the configuration is settled. One that lacks an entry would never
// get it, and one that is being added or removed not hear of it.
func MaySleep(c *Configuration, self NodeID, s Stand, match func(NodeID) Index) bool {
	if !s.still() || c.Changing() {
		return false
	}
	for _, m := range c.Everyone() {
		if m.ID != self && match(m.ID) != s.Last {
			return false
		}
	}
	return true
}

// MayFollowAsleep says whether a follower may sleep when its leader, whose log ends at
// last and is committed, asks it to: it has that log and no more, and has come to its end.
func MayFollowAsleep(s Stand, last Index) bool { return s.still() && s.Last == last }
