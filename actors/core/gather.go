package core

// Gather decides whether a leader closes its next block when its own disk has the last
// one, or waits until that is applied. Clients that wait for an answer come in cohorts:
// closed at once, a block has only those that the last one does not answer, and each
// cohort costs a write, a sync and a message to every peer. Who waits a little has all of
// them in one block, at half the cost. It pays where the rest of the way is no longer than
// the disk took, and not where peers or the machine are far slower: there blocks follow
// each other without waiting.
type Gather struct {
	last             Index // of the block that was closed last
	began, persisted int64
	disk, rest       int64 // averages: from closing to the own disk, and from there to applied
	reported         bool  // persisted is of the last block
}

// gatherPatience is for how long a block waits for one that is not applied, in times that
// the own disk takes: averages do not tell of a machine or a quorum that has come to stand
// still, or has much to do before.
const gatherPatience = 2

// gatherWeight is how much of an average the latest block is: one of so many parts.
const gatherWeight = 8

// Began notes a block that ends with last, closed at now.
func (g *Gather) Began(last Index, now int64) {
	g.last, g.began, g.reported = last, now, false
}

// Persisted notes how far the own disk has come.
func (g *Gather) Persisted(durable Index, now int64) {
	if g.reported || durable < g.last {
		return
	}
	g.reported, g.persisted = true, now
	g.disk = average(g.disk, now-g.began)
}

// MayClose notes how far the machine has come, and says whether the next block may be
// closed.
func (g *Gather) MayClose(applied Index, now int64) bool {
	if applied < g.last {
		return g.rest >= g.disk || g.reported && now-g.persisted > gatherPatience*g.disk
	}
	if g.reported {
		g.rest = average(g.rest, now-g.persisted)
		g.reported, g.last = false, 0
	}
	return true
}

func average(a, latest int64) int64 { return a + (latest-a)/gatherWeight }
