package core

import "testing"

// gatherAfter has blocks take so long to the own disk, and from there to the machine.
func gatherAfter(disk, rest int64, blocks int) *Gather {
	g, now := &Gather{}, int64(1)
	for i := range blocks {
		g.Began(Index(i+1), now)
		g.Persisted(Index(i+1), now+disk)
		g.MayClose(Index(i+1), now+disk+rest)
		now += disk + rest + 5
	}
	return g
}

func TestGatherWaitsWhereTheRestIsShort(t *testing.T) {
	for _, c := range []struct {
		name       string
		disk, rest int64
		blocks     int
		waits      bool
	}{
		{"nothing known", 0, 0, 0, false},
		{"a network as quick as the disk", 200, 150, 20, true},
		{"peers far away", 200, 20_000, 20, false},
		{"a slow machine", 200, 300, 20, false},
		{"no time at all", 0, 0, 20, false},
		{"the first block", 200, 150, 1, true},
	} {
		g := gatherAfter(c.disk, c.rest, c.blocks)
		g.Began(100, 1_000_000)
		g.Persisted(100, 1_000_000+c.disk)
		if waits := !g.MayClose(99, 1_000_000+c.disk); waits != c.waits {
			t.Errorf("%s: waits %v, expected %v", c.name, waits, c.waits)
		}
		if !g.MayClose(100, 1_000_000+c.disk+c.rest) {
			t.Errorf("%s: waits for a block that is applied", c.name)
		}
	}
}

// Peers that become slow are noticed, and so is that they are quick again.
func TestGatherFollows(t *testing.T) {
	g := gatherAfter(200, 100, 20)
	waits := func(rest int64) bool {
		g.Began(g.last+1, 0)
		g.Persisted(g.last, 200)
		waits := !g.MayClose(g.last-1, 200)
		last := g.last
		g.MayClose(last, 200+rest)
		g.last = last
		return waits
	}
	if !waits(10_000) {
		t.Fatal("does not wait, with quick peers")
	}
	if waits(10_000) {
		t.Fatal("waits again after a block that took long")
	}
	for range 8 * gatherWeight {
		waits(100)
	}
	if !waits(100) {
		t.Fatal("does not wait, though peers are quick again")
	}
}

// A machine that stands still, and one that has a long log to go through first, is not waited
// for: what comes must be replicated, and members may have to change.
func TestGatherDoesNotWaitForWhatStands(t *testing.T) {
	g := gatherAfter(200, 100, 20)
	g.Began(100, 1000)
	g.Persisted(100, 1200)
	if g.MayClose(50, 1200+gatherPatience*g.disk) {
		t.Fatal("does not wait")
	}
	if !g.MayClose(50, 1201+gatherPatience*g.disk) {
		t.Fatal("waits for ever")
	}
}

// A block is also applied before the own disk has it, by the disks of others: that tells
// nothing of how long the rest takes.
func TestGatherWithASlowDiskOfItsOwn(t *testing.T) {
	g := gatherAfter(200, 100, 20)
	was := g.rest
	g.Began(50, 0)
	if !g.MayClose(50, 80) || g.rest != was {
		t.Fatalf("rest %d, was %d", g.rest, was)
	}
	g.Persisted(50, 900)
	if g.disk <= 200 {
		t.Fatalf("disk %d: what the slow one took was not counted", g.disk)
	}
}
