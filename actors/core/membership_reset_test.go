package core

import (
	"fmt"
	"strings"
	"testing"
)

func TestReset(t *testing.T) {
	joint := Configuration{
		Members: []Member{{ID: "n1"}, {ID: "n4", Role: RoleLearner}}, Outgoing: []NodeID{"n1", "n2"},
		Leaving: []Member{{ID: "n2"}}, Removed: []NodeID{"n0"}, Resets: []uint64{7},
	}
	catching := Configuration{Members: []Member{{ID: "n1"}, {ID: "n2"}}, Next: []Member{{ID: "n1"}, {ID: "n3"}}}
	for _, c := range []struct {
		of         *Configuration
		self       NodeID
		name       uint64
		want, fail string
	}{
		{&joint, "n1", 9, "[{n1  0 0}] [] [] [] [n0 n4 n2] [7 9]", ""},
		{&joint, "n4", 9, "[{n4  0 0}] [] [] [] [n0 n1 n2] [7 9]", ""}, // a learner decides from now on
		{&joint, "n2", 9, "[{n2  0 0}] [] [] [] [n0 n1 n4] [7 9]", ""},
		{&catching, "n2", 9, "[{n2  0 0}] [] [] [] [n1 n3] [9]", ""},
		{&catching, "n9", 9, "", "no member of the group: its configuration names n1, n2, n3"},
		{&catching, "n1", 0, "", "no name"},
		{&Configuration{Members: []Member{{ID: "n1", Role: RoleWitness}, {ID: "n2"}}}, "n1", 9, "", "witness"},
	} {
		got, err := c.of.Reset(c.self, c.name)
		if c.fail != "" {
			if err == nil || !strings.Contains(err.Error(), c.fail) {
				t.Errorf("%s of %v: %v, expected %q", c.self, c.of, err, c.fail)
			}
			continue
		}
		text := fmt.Sprint(got.Members, got.Outgoing, got.Leaving, got.Next, got.Removed, got.Resets)
		if err != nil || text != c.want {
			t.Errorf("%s of %v: %s, %v, expected %s", c.self, c.of, text, err, c.want)
		}
	}
	if fmt.Sprint(joint.Removed, joint.Resets) != "[n0] [7]" {
		t.Errorf("the old configuration has changed: %v", joint)
	}
}

func TestContinues(t *testing.T) {
	for _, c := range []struct {
		theirs, own []uint64
		want        bool
	}{
		{nil, nil, true},
		{[]uint64{1}, nil, true},
		{[]uint64{1, 2}, []uint64{1}, true},
		{nil, []uint64{1}, false},
		{[]uint64{2}, []uint64{1}, false},
		{[]uint64{2, 1}, []uint64{1}, false},
		{[]uint64{1}, []uint64{1, 2}, false},
	} {
		if got := Continues(c.theirs, c.own); got != c.want {
			t.Errorf("%v continues %v: %v", c.theirs, c.own, got)
		}
	}
}

// Whatever step follows, the history stays what it is.
func TestStepsKeepTheHistory(t *testing.T) {
	c := Configuration{Members: []Member{{ID: "n1", Address: "a"}}, Resets: []uint64{5}}
	next, err := c.Begin(0, Change{Add: []Member{{ID: "n2", Address: "b"}}})
	if err != nil {
		t.Fatal(err)
	}
	joint := next.Joint()
	for name, step := range map[string]Configuration{"catching up": next, "joint": joint, "final": joint.Final(), "rolled back": next.RollBack()} {
		if fmt.Sprint(step.Resets) != "[5]" {
			t.Errorf("%s: history %v", name, step.Resets)
		}
	}
}
