package cluster

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/protoraft/protoraft/fsm/counter"
)

// TestWipedNodeRejoins: a node that comes back with an empty directory is not taken for
// a new one, fetches what it had, and counts again, whatever it is started as.
func TestWipedNodeRejoins(t *testing.T) {
	t.Run("as one of the first", func(t *testing.T) { testWipedNodeRejoins(t, false) })
	t.Run("as one that joins", func(t *testing.T) { testWipedNodeRejoins(t, true) })
}

func testWipedNodeRejoins(t *testing.T, join bool) {
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
	if join {
		c.joins = c.nodes[1].ClusterID()
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

// TestAwaitedMembersAreNamed: a node whose group cannot begin yet says whom it waits
// for.
func TestAwaitedMembersAreNamed(t *testing.T) {
	c := newTrio(t)
	said := make(chan string, 64)
	node, err := Start(NewSystem(hclog.NewNullLogger()), Options{
		ID: c.members[0].ID, Members: c.members, DataDir: c.dirs[0], ElectionTimeout: 50 * time.Millisecond, HeartbeatInterval: 5 * time.Millisecond,
		Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: lines(said)}),
	})
	if err != nil {
		t.Fatal(err)
	}
	c.nodes[0] = node
	if _, err := node.StartGroup(1, counter.New(counter.Hooks{})); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(20 * time.Second)
	for {
		select {
		case line := <-said:
			if strings.Contains(line, "a new group begins when all of its members have met") &&
				strings.Contains(line, "n2 at "+c.members[1].Address) && strings.Contains(line, "n3 at "+c.members[2].Address) {
				return
			}
		case <-deadline:
			t.Fatal("nobody said who is awaited")
		}
	}
}

// lines passes on what is logged, as long as somebody listens.
type lines chan<- string

func (l lines) Write(p []byte) (int, error) {
	select {
	case l <- string(p):
	default:
	}
	return len(p), nil
}

// TestDamagedSnapshotIsFetchedAnew: a node whose log begins behind a snapshot that is
// damaged gets another one from its leader, and counts again.
func TestDamagedSnapshotIsFetchedAnew(t *testing.T) {
	c := newTrio(t)
	c.keep = -1
	for i := range 3 {
		c.start(i, 1)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	adds := 0
	add := func(n *Node) {
		t.Helper()
		if _, err := n.Client().Propose(ctx, 1, counter.Add(1)); err != nil {
			t.Fatalf("%s: %v", n.ID(), err)
		}
		adds++
	}
	for range 20 {
		add(c.nodes[1])
	}
	for i := range 3 {
		if _, err := c.nodes[i].TakeSnapshot(ctx, 1); err != nil {
			t.Fatal(err)
		}
	}
	c.stop(0)
	files, err := filepath.Glob(filepath.Join(c.dirs[0], "snapshots", "*", "*.snapshot"))
	if err != nil || len(files) != 1 {
		t.Fatalf("snapshots %v (%v), expected one", files, err)
	}
	raw, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)/2] ^= 0x10
	if err := os.WriteFile(files[0], raw, 0o600); err != nil {
		t.Fatal(err)
	}
	for start, restored := c.start(0, 1), 0; restored < 2; {
		add(start)
		st, err := start.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if g := st.Groups[0]; g.Failure != "" {
			t.Fatal(g.Failure)
		} else if g.Role == "follower" && g.Recovering == "" && g.SnapshotIndex > 0 {
			if restored++; restored < 2 { // and so it is found at the next start
				c.stop(0)
				start = c.start(0, 1)
			}
		}
	}
	c.stop(1) // from here on there is no quorum without it
	answer, err := c.nodes[0].Client().Query(ctx, 1, counter.Read(), Linearizable)
	if got, perr := counter.Parse(answer); err != nil || perr != nil || got != int64(adds) {
		t.Fatalf("%d (%v, %v), expected %d", got, err, perr, adds)
	}
}
