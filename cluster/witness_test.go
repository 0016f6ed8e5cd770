package cluster

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/protoraft/protoraft/fsm/counter"
)

// TestWitnessOfTwo: two nodes with state and a witness go on without either of the two,
// serve by the witness's node, and replace the witness.
func TestWitnessOfTwo(t *testing.T) {
	f := newFleet(t, "n3")
	client := f.nodes["n3"].Client() // of the witness's node
	load := startCounting(client, 2)
	load.await(t, 20)
	leader, err := client.Leader(t.Context(), 1)
	if err != nil || leader.ID == "n3" {
		t.Fatalf("%v leads, %v; expected n1 or n2", leader, err)
	}
	reply, err := client.Query(t.Context(), 1, nil, Stale)
	if sum, parse := counter.Parse(reply); err != nil || parse != nil || sum < 1 {
		t.Fatalf("%d by a stale read at the witness's node, %v, %v; expected what the leader has", sum, err, parse)
	}
	if _, err := f.nodes[leader.ID].TakeSnapshot(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	n4 := f.join("n4!")
	m, err := client.Members(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range m.Voters {
		if one.Witness != (one.ID == "n3") {
			t.Fatalf("members %+v, expected n3 alone to be a witness", m.Voters)
		}
	}
	if _, err := client.AddWitness(t.Context(), 1, n4); !errors.Is(err, ErrMembersKept) || !strings.Contains(err.Error(), "at most 1") {
		t.Fatalf("a second witness: %v", err)
	}
	if _, err := client.PromoteMember(t.Context(), 1, "n3"); !errors.Is(err, ErrMembersKept) || !strings.Contains(err.Error(), "is a witness") {
		t.Fatalf("a witness promoted: %v", err)
	}
	m = f.change(client, MembersChange{Add: []Member{n4}, Remove: []string{"n3"}})
	expectIDs(t, "voters", m.Voters, "n1", "n2", "n4")

	f.stop(leader.ID)
	load.await(t, 20)
	close(load.stop)
	load.done.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	status, err := f.nodes["n4"].Status(ctx)
	if err != nil || len(status.Groups) != 1 || status.Groups[0].Role != "witness" {
		t.Fatalf("%+v, %v; expected a witness", status, err)
	}
	reply, err = f.nodes["n4"].Client().Query(ctx, 1, nil, Linearizable)
	if err != nil {
		t.Fatal(err)
	}
	sum, err := counter.Parse(reply)
	if acked, unknown := load.acked.Load(), load.unknown.Load(); err != nil || sum < acked || sum > acked+unknown {
		t.Fatalf("sum %d (%v), expected %d acknowledged and up to %d more", sum, err, acked, unknown)
	}
}

// Nodes that were told another witness would begin with other logs: they do not meet.
func TestWitnessIsPartOfTheCluster(t *testing.T) {
	three := []Member{{ID: "a", Address: "h:1"}, {ID: "b", Address: "h:2"}, {ID: "c", Address: "h:3"}}
	before := deriveClusterID(three)
	three[2].Witness = true
	if after := deriveClusterID(three); after == before {
		t.Fatalf("%s with and without a witness", after)
	}
	for want, o := range map[string]Options{
		"Options.Members: voters with state beside a witness: 1": {ID: "a", DataDir: "d", Members: three[1:]},
		"Options.Members: witnesses: 2":                          {ID: "a", DataDir: "d", Members: append(three[:3:3], Member{ID: "d", Address: "h:4", Witness: true})},
	} {
		o.ID = o.Members[0].ID
		if err := o.fill(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, expected %q", err, want)
		}
	}
	joins := Options{ID: "c", DataDir: "d", ClusterID: "x", Join: true, Members: three[1:]}
	if err := joins.fill(); err != nil || !joins.witness() {
		t.Errorf("%v; expected a witness that waits to be added", err)
	}
}

// A witness's node is not backed up and does not go on alone. What another one gives is
// restored into a cluster with a witness, which goes on without either of its voters.
func TestWitnessOfRestoredCluster(t *testing.T) {
	f := newFleet(t, "n3")
	add(t, f.nodes["n1"], 1, 42)
	for _, newest := range []bool{false, true} {
		if _, err := f.nodes["n3"].Backup(t.Context(), 1, newest); !errors.Is(err, ErrNoSnapshot) || !strings.Contains(err.Error(), "n3 is a witness") {
			t.Fatalf("%v, expected a refusal by name", err)
		}
	}
	if _, err := f.nodes["n3"].ResetPeers(t.Context(), 1, true); !errors.Is(err, ErrMembersKept) {
		t.Fatalf("%v, expected %v", err, ErrMembersKept)
	}
	path, info := backUp(t, f.awaitLeader(), false)
	for id := range f.nodes {
		f.stop(id)
	}
	o := RestoreOptions{Backups: []string{path}, ClusterID: NewClusterID(), Machine: counter.Format, ID: "n1", DataDir: filepath.Join(t.TempDir(), "n1")}
	o.Members = []Member{{ID: "n1", Address: freeAddress(t)}, {ID: "n2", Address: freeAddress(t), Witness: true}}
	if err := Restore(o); err == nil || !strings.Contains(err.Error(), "expected at least 2") {
		t.Fatalf("%v, expected a refusal: a witness beside one voter", err)
	}
	o.Members = append(o.Members, Member{ID: "n3", Address: freeAddress(t)})
	nodes := restoreAll(t, o)
	if sum := add(t, nodes["n2"], 1, 1); sum != 43 {
		t.Fatalf("%d, expected the 42 of the backup and 1", sum)
	}
	s, err := nodes["n2"].Status(t.Context())
	if err != nil || s.Groups[0].Role != "witness" || s.Groups[0].FirstIndex != info.Index+1 {
		t.Fatalf("%+v, %v; expected a witness with a log behind %d", s, err, info.Index)
	}
	shutDown(t, nodes["n3"])
	if sum := add(t, nodes["n2"], 1, 1); sum != 44 {
		t.Fatalf("%d, expected 44", sum)
	}
}
