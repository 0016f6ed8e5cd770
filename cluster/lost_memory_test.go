package cluster

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/protoraft/protoraft/fsm/counter"
)

// TestWipedNodeRejoins: a node that comes back with an empty directory is not taken for
// a new one, fetches what it had, and counts again.
func TestWipedNodeRejoins(t *testing.T) {
	c := newTrio(t)
	for i := range 3 {
		c.start(i, 1)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	add := func(n *Node) {
		t.Helper()
		if _, err := n.Client().Propose(ctx, 1, counter.Add(1)); err != nil {
			t.Fatalf("%s: %v", n.ID(), err)
		}
	}
	for range 20 {
		add(c.nodes[1])
	}
	c.stop(0)
	add(c.nodes[1])
	if err := os.RemoveAll(c.dirs[0]); err != nil {
		t.Fatal(err)
	}
	wiped := c.start(0, 1)
	adds := 21
	for restored := false; !restored; adds++ {
		add(wiped) // takes a while: each one is a step on the way
		st, err := wiped.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		g := st.Groups[0]
		restored = g.Role == "follower" && g.Recovering == "" && g.LastIndex >= 22
	}
	c.stop(1) // from here on there is no quorum without the wiped node
	answer, err := wiped.Client().Query(ctx, 1, counter.Read(), Linearizable)
	if got, perr := counter.Parse(answer); err != nil || perr != nil || got != int64(adds) {
		t.Fatalf("%d (%v, %v), expected %d", got, err, perr, adds)
	}
}
