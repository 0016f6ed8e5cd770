package cluster

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/protoraft/protoraft/fsm/counter"
)

// A snapshot is durable when TakeSnapshot returns: a restart begins with it, and has
// all that came after.
func TestRestartBeginsWithTheSnapshot(t *testing.T) {
	o := alone(t, t.TempDir(), freeAddress(t))
	o.KeepEntries = -1
	n := startAlone(t, o)
	if _, err := n.StartGroup(1, counter.New(counter.Hooks{})); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		add(t, n, 1, 1)
	}
	index, err := n.TakeSnapshot(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	add(t, n, 1, 5)
	shutDown(t, n)

	n = startAlone(t, o)
	if _, err := n.StartGroup(1, counter.New(counter.Hooks{})); err != nil {
		t.Fatal(err)
	}
	if sum := add(t, n, 1, 1); sum != 16 {
		t.Fatalf("%d after a restart, expected 16", sum)
	}
	s, err := n.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if g := s.Groups[0]; g.SnapshotIndex != index || g.FirstIndex != index+1 {
		t.Fatalf("%+v, expected the snapshot at %d and the log behind it", g, index)
	}
	if _, err := n.TakeSnapshot(t.Context(), 2); err == nil {
		t.Fatal("a snapshot of a group that is not here")
	}
}

// A member that was away while the log was cut is sent a snapshot over the real remote,
// past the real guard.
func TestSnapshotIsSentToAMemberThatWasAway(t *testing.T) {
	onlyRemote(t)
	var members []Member
	for i := range 3 {
		members = append(members, Member{ID: fmt.Sprintf("n%d", i+1), Address: freeAddress(t)})
	}
	dirs := []string{t.TempDir(), t.TempDir(), t.TempDir()}
	start := func(i int) *Node {
		n, err := Start(NewSystem(hclog.NewNullLogger()), Options{
			ID: members[i].ID, Members: members, DataDir: dirs[i], KeepEntries: -1,
			ElectionTimeout: 300 * time.Millisecond, HeartbeatInterval: 50 * time.Millisecond, Logger: testLogger(t),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { shutDown(t, n) })
		if _, err := n.StartGroup(1, counter.New(counter.Hooks{})); err != nil {
			t.Fatal(err)
		}
		return n
	}
	first, second, third := start(0), start(1), start(2)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		_, err := third.Client().Propose(ctx, 1, counter.Add(1))
		if err == nil {
			break // the group has begun
		}
		t.Logf("tried again: %v", err)
	}
	shutDown(t, third)
	for range 20 {
		if _, err := first.Client().Propose(ctx, 1, counter.Add(1)); err != nil {
			t.Logf("tried again: %v", err)
		}
	}
	for _, n := range []*Node{first, second} {
		if _, err := n.TakeSnapshot(ctx, 1); err != nil {
			t.Fatal(err)
		}
	}
	// Anew, for the leader may still have in memory what the third one lacks.
	shutDown(t, first)
	shutDown(t, second)
	first, _ = start(0), start(1)
	third = start(2)
	for look := time.NewTicker(20 * time.Millisecond); ; <-look.C {
		s, err := third.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		f, err := first.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if ctx.Err() != nil {
			t.Fatalf("after 30 s: %+v", s.Groups)
		}
		if len(s.Groups) == 0 || len(f.Groups) == 0 {
			continue // not started yet
		}
		g, want := s.Groups[0], f.Groups[0].CommitIndex
		if g.SnapshotIndex > 0 && g.AppliedIndex >= want {
			if refused := third.Guard(); refused.Type+refused.Target > 0 {
				t.Fatalf("the guard refused: %+v", refused)
			}
			return
		}
	}
}

// A node that joins a group whose log was cut is sent a snapshot first, over the real
// remote and past the real guard, then votes like the others; a restart finds it so.
func TestNewcomerGetsASnapshot(t *testing.T) {
	f := newFleet(t)
	client := f.outside()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for range 20 {
		if _, err := client.Propose(ctx, 1, counter.Add(1)); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range f.first {
		if _, err := f.nodes[m.ID].TakeSnapshot(ctx, 1); err != nil {
			t.Fatalf("%s: %v", m.ID, err)
		}
	}
	n4 := f.join("n4")
	f.change(client, MembersChange{Add: []Member{n4}})
	group := func() GroupStatus {
		t.Helper()
		s, err := f.nodes["n4"].Status(ctx)
		if err != nil || len(s.Groups) != 1 {
			t.Fatalf("%+v, %v", s, err)
		}
		return s.Groups[0]
	}
	g := group()
	if g.SnapshotIndex == 0 || g.FirstIndex != g.SnapshotIndex+1 {
		t.Fatalf("%+v, expected a log behind a snapshot", g)
	}
	expectIDs(t, "members of n4", g.Members(), "n1", "n2", "n3", "n4")
	if refused := f.nodes["n4"].Guard(); refused.Type+refused.Target > 0 {
		t.Fatalf("the guard refused: %+v", refused)
	}

	dir := f.nodes["n4"].options.DataDir
	f.stop("n4")
	f.start(n4, append(f.first, n4), true, dir)
	f.stop("n1") // three of four are needed, n4 among them
	for {
		_, err := client.Propose(ctx, 1, counter.Add(1))
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
		t.Logf("tried again: %v", err) // the one that was stopped may have led
	}
	if after := group(); after.SnapshotIndex < g.SnapshotIndex {
		t.Fatalf("%+v after a restart, %+v before", after, g)
	}
	expectIDs(t, "members of n4 after a restart", group().Members(), "n1", "n2", "n3", "n4")
}
