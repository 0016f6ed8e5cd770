package cluster

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/protoraft/protoraft/fsm"
	"github.com/protoraft/protoraft/fsm/counter"
)

// resetAlone has a node go on alone as soon as it may.
func resetAlone(t *testing.T, n *Node) PeersReset {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		r, err := n.ResetPeers(ctx, 1, true)
		if err == nil {
			return r
		}
		early := strings.Contains(err.Error(), "a leader was heard") || strings.Contains(err.Error(), "it leads")
		if !early || pause(ctx, membersPause) != nil {
			t.Fatal(err)
		}
	}
}

// The majority is lost, and one node goes on alone; new ones join it. When those that were
// lost come back, as a majority that elects a leader of its own, they change nothing here,
// and each of them stops when it has heard that it is out.
func TestLostMajorityIsGivenUp(t *testing.T) {
	f := newFleet(t)
	n1 := f.nodes["n1"]
	add(t, n1, 1, 3)
	if _, err := n1.ResetPeers(t.Context(), 1, true); !errors.Is(err, ErrMembersKept) {
		t.Fatalf("%v, expected a refusal: there is a leader", err)
	}
	dirs := map[string]string{}
	for _, id := range []string{"n2", "n3"} {
		dirs[id] = f.nodes[id].options.DataDir
		f.stop(id)
	}
	r := resetAlone(t, n1)
	if strings.Join(r.Removed, " ") != "n2 n3" || r.CommitIndex == 0 || r.Index != r.LastIndex+1 {
		t.Fatalf("%+v", r)
	}
	if _, err := n1.ResetPeers(t.Context(), 2, true); !errors.Is(err, ErrNoGroup) {
		t.Fatalf("%v, expected %v", err, ErrNoGroup)
	}
	if sum := add(t, n1, 1, 4); sum != 7 {
		t.Fatalf("%d, expected 7", sum)
	}
	for _, m := range f.first[1:] {
		f.start(m, f.first, false, dirs[m.ID])
	}
	awaitRole(t, f.nodes["n2"], "removed")
	awaitRole(t, f.nodes["n3"], "removed")
	if sum := add(t, n1, 1, 1); sum != 8 {
		t.Fatalf("%d, expected 8", sum)
	}
	f.change(n1.Client(), MembersChange{Add: []Member{f.join("n4")}})
	if sum := add(t, f.nodes["n4"], 1, 1); sum != 9 {
		t.Fatalf("%d, expected 9", sum)
	}
}

// In a process of its own the same node goes on where it was, and stays alone.
func TestNodeThatWentOnAloneStaysSo(t *testing.T) {
	f := newFleet(t)
	n1 := f.nodes["n1"]
	add(t, n1, 1, 3)
	f.stop("n2")
	f.stop("n3")
	first := resetAlone(t, n1)
	dir := n1.options.DataDir
	f.stop("n1")
	n1 = f.start(f.first[0], f.first, false, dir)
	if sum := add(t, n1, 1, 4); sum != 7 {
		t.Fatalf("%d, expected 7", sum)
	}
	s, err := n1.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if g := s.Groups[0]; g.Term <= first.Term || len(g.Members()) != 1 || g.Members()[0].ID != "n1" {
		t.Fatalf("%+v after %+v", g, first)
	}
}

// restoreAll restores every member of a new cluster, and starts it.
func restoreAll(t *testing.T, o RestoreOptions) map[string]*Node {
	t.Helper()
	nodes := map[string]*Node{}
	for _, m := range o.Members {
		o.ID, o.DataDir = m.ID, filepath.Join(t.TempDir(), "new", m.ID)
		if err := Restore(o); err != nil {
			t.Fatal(err)
		}
		nodes[m.ID] = restored(t, o)
	}
	return nodes
}

// restored starts a node of a cluster that was restored.
func restored(t *testing.T, o RestoreOptions) *Node {
	t.Helper()
	onlyRemote(t)
	logger := hclog.New(&hclog.LoggerOptions{Name: "new-" + o.ID, Level: hclog.Info, Output: testWriter{t}})
	n, err := Start(NewSystem(logger), Options{
		ID: o.ID, Members: o.Members, ClusterID: o.ClusterID, DataDir: o.DataDir, Logger: logger,
		ElectionTimeout: 300 * time.Millisecond, HeartbeatInterval: 30 * time.Millisecond, RequestTimeout: 2 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shutDown(t, n) })
	var machine fsm.StateMachine
	if !isWitness(o.Members, o.ID) {
		machine = counter.New(counter.Hooks{})
	}
	if _, err := n.StartGroup(1, machine); err != nil {
		t.Fatal(err)
	}
	return n
}
