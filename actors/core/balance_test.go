package core

import "testing"

// Who takes over leads the fewest, and fewer than the leader even then; it may lead, is
// fit, and of no lower priority.
func TestRelief(t *testing.T) {
	group := Configuration{Members: []Member{
		{ID: "n1"}, {ID: "n2"}, {ID: "n3"}, {ID: "n4", Priority: -1}, {ID: "n5", Role: RoleLearner},
	}}
	all := func(NodeID) bool { return true }
	for name, c := range map[string]struct {
		leads map[NodeID]int
		fit   func(NodeID) bool
		want  NodeID
	}{
		"the fewest":         {map[NodeID]int{"n1": 9, "n2": 5, "n3": 3}, all, "n3"},
		"none is fewer":      {map[NodeID]int{"n1": 9, "n3": 3}, all, "n2"},
		"one of two alike":   {map[NodeID]int{"n1": 9, "n2": 3, "n3": 3}, all, "n2"},
		"nothing is won":     {map[NodeID]int{"n1": 4, "n2": 3, "n3": 4}, all, ""},
		"others lead more":   {map[NodeID]int{"n1": 4, "n2": 8, "n3": 8}, all, ""},
		"the fewest lags":    {map[NodeID]int{"n1": 9, "n2": 5, "n3": 3}, func(id NodeID) bool { return id != "n3" }, "n2"},
		"nobody may lead it": {map[NodeID]int{"n1": 9, "n2": 9, "n3": 9}, all, ""},
	} {
		if got, ok := Relief(&group, "n1", c.leads, c.fit); got != c.want || ok != (c.want != "") {
			t.Errorf("%s: %q, expected %q", name, got, c.want)
		}
	}
	group.Members[0].Priority, group.Members[2].Priority = 2, 2
	if got, _ := Relief(&group, "n1", map[NodeID]int{"n1": 9, "n2": 0, "n3": 5}, all); got != "n3" {
		t.Errorf("priorities: %q, expected n3", got)
	}
}

// By such steps the numbers even out, and come to rest.
func TestReliefComesToRest(t *testing.T) {
	group := Configuration{Members: []Member{{ID: "n1"}, {ID: "n2"}, {ID: "n3"}}}
	leads := map[NodeID]int{"n1": 30}
	steps := 0
	for moved := true; moved; steps++ {
		moved = false
		for _, id := range []NodeID{"n1", "n2", "n3"} {
			if to, ok := Relief(&group, id, leads, func(NodeID) bool { return true }); ok {
				leads[id]--
				leads[to]++
				moved = true
			}
		}
		if steps > 100 {
			t.Fatalf("it goes on: %v", leads)
		}
	}
	if leads["n1"] != 10 || leads["n2"] != 10 || leads["n3"] != 10 {
		t.Errorf("it rests at %v", leads)
	}
}
