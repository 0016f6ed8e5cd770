package cluster

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/protoraft/protoraft/actors"
	"github.com/protoraft/protoraft/fsm/counter"
)

// trio is three nodes in this process, each with its own actor system and directory.
type trio struct {
	keep    int    // entries behind a snapshot, as in Options
	joins   string // of the nodes started from now on, where they join: their cluster
	t       *testing.T
	members []Member
	dirs    []string
	nodes   []*Node
	changes chan actors.LeaderChanged
	change  func(i int, o *Options) // nil for none
}

func newTrio(t *testing.T) *trio {
	t.Helper()
	c := &trio{t: t, changes: make(chan actors.LeaderChanged, 1024)}
	for i := range 3 {
		c.members = append(c.members, Member{ID: fmt.Sprintf("n%d", i+1), Address: freeAddress(t)})
		c.dirs = append(c.dirs, t.TempDir())
		c.nodes = append(c.nodes, nil)
	}
	t.Cleanup(func() {
		for i := range c.nodes {
			c.stop(i)
		}
	})
	return c
}

func (c *trio) start(i int, groups ...uint64) *Node {
	c.t.Helper()
	onlyRemote(c.t)
	logger := hclog.New(&hclog.LoggerOptions{Name: c.members[i].ID, Level: hclog.Info, Output: testWriter{c.t}})
	system := NewSystem(logger)
	system.EventStream.Subscribe(func(e any) {
		if m, ok := e.(*actors.LeaderChanged); ok && m.Leader != "" {
			c.changes <- *m
		}
	})
	o := Options{
		ID: c.members[i].ID, Members: c.members, DataDir: c.dirs[i], Logger: logger, Join: c.joins != "", ClusterID: c.joins, KeepEntries: c.keep,
		ElectionTimeout: 300 * time.Millisecond, HeartbeatInterval: 30 * time.Millisecond,
	}
	if c.change != nil {
		c.change(i, &o)
	}
	node, err := Start(system, o)
	if err != nil {
		c.t.Fatal(err)
	}
	c.nodes[i] = node
	for _, g := range groups {
		if _, err := node.StartGroup(g, counter.New(counter.Hooks{})); err != nil {
			c.t.Fatal(err)
		}
	}
	return node
}

func (c *trio) stop(i int) {
	if n := c.nodes[i]; n != nil {
		c.nodes[i] = nil
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if err := n.Shutdown(ctx); err != nil {
			c.t.Errorf("shutdown of %s: %v", n.ID(), err)
		}
	}
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	if testing.Verbose() {
		fmt.Printf("%s", p)
	}
	return len(p), nil
}

// TestThreeNodes proposes on every node of two groups that share a store and reads
// the sum on every other.
func TestThreeNodes(t *testing.T) {
	c := newTrio(t)
	for i := range 3 {
		c.start(i, 1, 2)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	const adds = 200
	var wg sync.WaitGroup
	for _, group := range []uint64{1, 2} {
		for i, n := range c.nodes {
			wg.Go(func() {
				for k := range adds {
					if _, err := n.Client().Propose(ctx, group, counter.Add(int64(group))); err != nil {
						t.Errorf("n%d add %d to group %d: %v", i+1, k, group, err)
						return
					}
				}
			})
		}
	}
	wg.Wait()
	for _, group := range []uint64{1, 2} {
		for i, n := range c.nodes {
			for _, level := range []Consistency{Linearizable, ThroughLog, Lease, OnMember, Within(0)} {
				answer, err := n.Client().Query(ctx, group, counter.Read(), level)
				if err != nil {
					t.Fatalf("n%d query of group %d: %v", i+1, group, err)
				}
				got, err := counter.Parse(answer)
				if want := int64(group) * 3 * adds; err != nil || got != want {
					t.Errorf("n%d group %d: %d (%v), expected %d", i+1, group, got, err, want)
				}
			}
		}
	}
	st, err := c.nodes[0].Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", st)
}
