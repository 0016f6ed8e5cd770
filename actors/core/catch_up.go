package core

// CatchUp follows one new voter until it may take part (thesis §4.2.1). It receives
// the log in rounds: each has to reach where the leader's log ended when the round
// began. One that has taken a round in less than an election timeout holds the group
// up no longer than an election would. Times are of one clock, in any one unit.
type CatchUp struct {
	target   Index // of this round
	began    int64
	match    Index
	received uint64 // bytes of a snapshot, since match last rose
	advanced int64  // when either last rose
	done     bool
}

// NewCatchUp begins at now, with a leader's log that ends at last.
func NewCatchUp(last Index, now int64) *CatchUp {
	return &CatchUp{target: last, began: now, advanced: now}
}

// Seen notes what the member holds by now, and where the leader's log ends; round is
// how long the last round may take.
func (c *CatchUp) Seen(match, last Index, now, round int64) {
	if match > c.match {
		c.match, c.received, c.advanced = match, 0, now
	}
	if c.done || match < c.target {
		return
	}
	c.done = now-c.began < round
	c.target, c.began = last, now
}

// Received notes how many bytes of a snapshot the member has: it advances before there
// is a match. A transfer that begins again advances only where it gets further than
// those before: one that never comes to its end is not waited for.
func (c *CatchUp) Received(bytes uint64, now int64) {
	if bytes > c.received {
		c.received, c.advanced = bytes, now
	}
}

// Done says whether it has caught up.
func (c *CatchUp) Done() bool { return c.done }

// Patience is what is left of it with a member that does not advance.
func (c *CatchUp) Patience(now, patience int64) int64 { return max(0, patience-(now-c.advanced)) }

// Stalled says whether it has not advanced for so long, nor caught up.
func (c *CatchUp) Stalled(now, patience int64) bool {
	return !c.done && c.Patience(now, patience) == 0
}

// Lost has a member that no longer answers catch up again.
func (c *CatchUp) Lost() { c.done = false }
