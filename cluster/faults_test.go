package cluster

import (
	"errors"
	"testing"
	"time"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/fsm"
	"github.com/protoraft/protoraft/fsm/counter"
)

// frail is a counter that panics at a command of its choice.
type frail struct{ *counter.Machine }

func (f frail) Apply(e fsm.Entry) ([]byte, error) {
	if string(e.Data) == string(counter.Add(666)) {
		panic("the machine broke")
	}
	return f.Machine.Apply(e)
}

// TestFaultStaysInItsGroup: a machine that panics stops its group, and no other one of the
// node; that group can be deleted and made again there while the others go on.
func TestFaultStaysInItsGroup(t *testing.T) {
	o := aloneWithGroups(t)
	o.Machines["counter"] = func(uint64) (fsm.StateMachine, error) { return frail{counter.New(counter.Hooks{})}, nil }
	n := startAlone(t, o)
	for group := uint64(1); group <= 3; group++ {
		make1(t, n, group)
		add(t, n, group, int64(group))
	}
	if _, err := n.Client().Propose(t.Context(), 2, counter.Add(666)); err == nil {
		t.Fatal("applied by a machine that broke")
	}
	if a, b := add(t, n, 1, 10), add(t, n, 3, 10); a != 11 || b != 13 {
		t.Errorf("the others count to %d and %d, expected 11 and 13", a, b)
	}
	status, err := n.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range status.Groups {
		if (g.Role == "failed") != (g.Group == 2) {
			t.Errorf("group %d is %s: %s", g.Group, g.Role, g.Failure)
		}
	}
	if err := n.DeleteGroup(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	make1(t, n, 2)
	if got := add(t, n, 2, 1); got != 1 {
		t.Errorf("made again it counts to %d, expected 1", got)
	}
	if a := add(t, n, 1, 1); a != 12 {
		t.Errorf("another group counts to %d, expected 12", a)
	}
	if _, err := n.Client().Propose(t.Context(), 9, counter.Add(1)); !errors.Is(err, ErrNoGroup) {
		t.Errorf("a group that nobody has made: %v, expected %v", err, ErrNoGroup)
	}
}

// TestLeadersSpreadOverNodes: where one node leads all groups the others take some over,
// until each leads as many, and then it stays so.
func TestLeadersSpreadOverNodes(t *testing.T) {
	onlyRemote(t)
	onlyRemote(t)
	nodes := startThree(t, func(o *Options) { o.BalanceEvery = 50 * time.Millisecond })
	const groups = 6
	for group := uint64(1); group <= groups; group++ {
		for _, n := range nodes {
			if err := n.CreateGroup(t.Context(), GroupSpec{Group: group, Kind: "counter"}); err != nil {
				t.Fatal(err)
			}
		}
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	until := time.After(patience)
	for {
		leads := map[core.NodeID]int{}
		for _, n := range nodes {
			s, err := n.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, g := range s.Groups {
				if g.Role == "leader" {
					leads[core.NodeID(s.ID)]++
				}
			}
		}
		if leads["n1"] == groups/3 && leads["n2"] == groups/3 && leads["n3"] == groups/3 {
			break
		}
		select {
		case <-tick.C:
		case <-until:
			t.Fatalf("leaders are spread as %v", leads)
		}
	}
	for group := uint64(1); group <= groups; group++ {
		add(t, nodes[group%3], group, 1)
	}
}
