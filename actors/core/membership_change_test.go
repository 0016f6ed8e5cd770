package core

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func voting(names ...string) (out []Member) {
	for _, n := range names {
		name, learner := strings.CutSuffix(n, "?")
		m := Member{ID: NodeID(name), Address: name + ":1"}
		if learner {
			m.Role = RoleLearner
		}
		out = append(out, m)
	}
	return out
}

func TestChangesThatCannotBe(t *testing.T) {
	now := Configuration{Members: voting("a", "b", "c", "l?"), Removed: ids("x")}
	for want, r := range map[string]Change{
		`expected was that of 6`:                 {Expected: 6, Add: voting("d")},
		`nothing to change`:                      {},
		`add "a": it is a member already`:        {Add: voting("a")},
		`add "x": it was removed once`:           {Add: voting("x")},
		`add "" at "d:1"`:                        {Add: []Member{{Address: "d:1"}}},
		`add "d" at ""`:                          {Add: []Member{{ID: "d"}}},
		`a:1 is the address of "a"`:              {Add: []Member{{ID: "d", Address: "a:1"}}, Remove: ids("a")},
		`have the same address e:1`:              {Add: []Member{{ID: "d", Address: "e:1"}, {ID: "e", Address: "e:1"}}},
		`add "r": role 3`:                        {Add: []Member{{ID: "r", Address: "r:1", Role: 3}}},
		`remove "d": not a member`:               {Remove: ids("d")},
		`promote "d": not a member`:              {Promote: ids("d")},
		`promote "a": it votes already`:          {Promote: ids("a")},
		`demote "l": it is a learner`:            {Demote: ids("l")},
		`"a" is named twice`:                     {Demote: ids("a"), Remove: ids("a")},
		`no voter would be left`:                 {Remove: ids("a", "b"), Demote: ids("c")},
		`expected one of a, b, c, l`:             {Remove: ids("nobody")},
		`give the node a new one`:                {Add: voting("x?")},
		`"d" is named twice`:                     {Add: voting("d", "d")},
		`their configuration is that of index 7`: {Expected: 1, Promote: ids("l")},
	} {
		if _, err := now.Begin(7, r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, expected %q", r, err, want)
		}
	}
	for _, under := range []Configuration{{Members: voting("a"), Next: voting("b")}, {Members: voting("b"), Outgoing: ids("a")}} {
		if _, err := under.Begin(7, Change{Add: voting("d")}); err == nil || !strings.Contains(err.Error(), "a change to b is under way") {
			t.Errorf("%+v: %v, expected one at a time", under, err)
		}
	}
}

// Each change goes through no more steps than it needs, and ends at what was asked.
func TestStepsOfAChange(t *testing.T) {
	now := Configuration{Members: voting("a", "b", "c", "l?")}
	next := Configuration{Members: now.Members, Next: voting("a", "b", "c", "l?", "d")}
	for name, c := range map[string]struct {
		change Change
		first  Configuration
		last   Configuration
	}{
		"a new voter catches up": {Change{Add: voting("d")}, next, Configuration{Members: voting("a", "b", "c", "l?", "d")}},
		"a learner is promoted": {Change{Expected: 7, Promote: ids("l")},
			Configuration{Members: now.Members, Next: voting("a", "b", "c", "l")}, Configuration{Members: voting("a", "b", "c", "l")}},
		"a voter less is joint at once": {Change{Remove: ids("a")},
			Configuration{Members: voting("b", "c", "l?"), Outgoing: ids("a", "b", "c"), Leaving: voting("a")},
			Configuration{Members: voting("b", "c", "l?"), Removed: ids("a")}},
		"a demoted voter stays": {Change{Demote: ids("a")},
			Configuration{Members: voting("a?", "b", "c", "l?"), Outgoing: ids("a", "b", "c")},
			Configuration{Members: voting("a?", "b", "c", "l?")}},
		"learners come and go at once": {Change{Add: voting("m?"), Remove: ids("l")},
			Configuration{Members: voting("a", "b", "c", "m?"), Removed: ids("l")},
			Configuration{Members: voting("a", "b", "c", "m?"), Removed: ids("l")}},
		"all replaced": {Change{Add: voting("d"), Remove: ids("a", "b", "c", "l")},
			Configuration{Members: now.Members, Next: voting("d")},
			Configuration{Members: voting("d"), Removed: ids("a", "b", "c", "l")}},
	} {
		at, err := now.Begin(7, c.change)
		if err != nil || !reflect.DeepEqual(at, c.first) {
			t.Errorf("%s: begins with %+v, %v, expected %+v", name, at, err, c.first)
			continue
		}
		for n := 0; at.Changing(); n++ {
			switch step := at.NextStep("b", true, true, false); {
			case n > 2:
				t.Fatalf("%s: no end at %+v", name, at)
			case step == StepJoint:
				at = at.Joint()
			case step == StepFinal:
				at = at.Final()
			default:
				t.Fatalf("%s: step %d at %+v", name, step, at)
			}
		}
		if !reflect.DeepEqual(at, c.last) {
			t.Errorf("%s: ends with %+v, expected %+v", name, at, c.last)
		}
	}
	if back := next.RollBack(); !reflect.DeepEqual(back, now) {
		t.Errorf("rolled back to %+v, expected %+v", back, now)
	}
}

func TestNextStep(t *testing.T) {
	catching := Configuration{Members: voting("a"), Next: voting("a", "b")}
	joint := Configuration{Members: voting("b"), Outgoing: ids("a"), Leaving: voting("a")}
	settled := Configuration{Members: voting("a", "l?")}
	for _, c := range []struct {
		config                      Configuration
		self                        NodeID
		committed, caughtUp, giveUp bool
		want                        Step
	}{
		{catching, "a", false, true, false, StepWait},
		{catching, "a", false, false, true, StepWait},
		{catching, "a", true, false, false, StepWait},
		{catching, "a", true, true, false, StepJoint},
		{catching, "a", true, true, true, StepRollBack},
		{catching, "a", true, false, true, StepRollBack},
		{joint, "a", false, true, false, StepWait},
		{joint, "a", true, false, false, StepFinal},
		{joint, "a", true, false, true, StepFinal}, // there is no way back
		{settled, "a", true, false, false, StepNone},
		{settled, "l", false, false, false, StepWait},
		{settled, "l", true, false, false, StepLeave},
		{settled, "z", true, false, false, StepLeave},
	} {
		if got := c.config.NextStep(c.self, c.committed, c.caughtUp, c.giveUp); got != c.want {
			t.Errorf("%+v, %+v: step %d, expected %d", c.config, c, got, c.want)
		}
	}
}

// Every step of every change keeps two majorities from passing each other by: any
// quorum of one configuration meets any of the next.
func TestStepsOfAnyChangeIntersect(t *testing.T) {
	all := ids("a", "b", "c", "d", "e")
	for seed := range uint64(400) {
		r := newRand(seed)
		at := Configuration{Members: someMembers(r, all)}
		if len(at.Voters()) == 0 {
			continue
		}
		next, err := at.Begin(1, changeTo(at, someMembers(r, all)))
		if err != nil {
			continue
		}
		for n := 0; ; n++ {
			expectIntersect(t, all, at, next)
			at = next
			if n > 3 {
				t.Fatalf("no end at %+v", at)
			}
			if at.NextStep("", true, true, false) == StepJoint {
				next = at.Joint()
			} else if at.Changing() {
				next = at.Final()
			} else {
				break
			}
		}
	}
}

func someMembers(r *rand.Rand, all []NodeID) (out []Member) {
	for _, id := range all {
		if r.IntN(2) == 0 {
			out = append(out, Member{ID: id, Address: string(id), Role: Role(r.IntN(2))})
		}
	}
	return out
}

func changeTo(now Configuration, want []Member) (c Change) {
	for _, m := range want {
		switch known, ok := now.Member(m.ID); {
		case !ok:
			c.Add = append(c.Add, m)
		case known.Role < m.Role:
			c.Demote = append(c.Demote, m.ID)
		case known.Role > m.Role:
			c.Promote = append(c.Promote, m.ID)
		}
	}
	for _, m := range now.Members {
		if index(want, m.ID) < 0 {
			c.Remove = append(c.Remove, m.ID)
		}
	}
	return c
}

func expectIntersect(t *testing.T, all []NodeID, a, b Configuration) {
	t.Helper()
	everySubset(all, func(one map[NodeID]bool) {
		if !a.Quorum().Agrees(func(id NodeID) bool { return one[id] }) {
			return
		}
		if b.Quorum().Agrees(func(id NodeID) bool { return !one[id] }) {
			t.Fatalf("%v decides in %+v, and everybody else in %+v", one, a, b)
		}
	})
}

func TestWhoReceivesTheLog(t *testing.T) {
	c := Configuration{Members: voting("a", "l?"), Next: voting("a", "l", "d"), Leaving: voting("z")}
	var got []string
	for _, m := range c.Everyone() {
		got = append(got, fmt.Sprint(m.ID, m.Role))
	}
	if !slices.Equal(got, []string{"a0", "l1", "z0", "d1"}) {
		t.Errorf("%v, expected a and z as voters, l and d as learners", got)
	}
	if q := c.Quorum(); q.Contains("d") || q.Contains("l") {
		t.Error("who is only to come has a voice")
	}
	if got := c.NewVoters(); !slices.Equal(got, ids("l", "d")) {
		t.Errorf("new voters %v, expected l and d", got)
	}
}

func TestWhoMayStand(t *testing.T) {
	old, now := &Configuration{Members: voting("a", "b")}, &Configuration{Members: voting("b", "l?"), Removed: ids("a")}
	for _, c := range []struct {
		self      NodeID
		before    *Configuration
		committed bool
		want      bool
	}{
		{"b", old, true, true},
		{"a", old, false, true}, // the others may need its log
		{"a", old, true, false},
		{"a", nil, false, false},
		{"l", old, false, false},
		{"z", old, false, false},
	} {
		if got := MayStand(c.self, now, c.before, c.committed); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
	if MayStand("a", &Configuration{}, nil, false) {
		t.Error("a member without a configuration stands")
	}
}

func TestCatchingUp(t *testing.T) {
	c := NewCatchUp(10, 0)
	c.Seen(9, 12, 5, 100)
	if c.Done() {
		t.Fatal("done before the end of its round")
	}
	c.Seen(10, 50, 200, 100) // a slow round
	if c.Done() {
		t.Fatal("done after a round of 200, expected less than 100")
	}
	c.Seen(49, 60, 250, 100)
	if c.Done() || c.Stalled(349, 100) || !c.Stalled(350, 100) || c.Patience(300, 100) != 50 {
		t.Fatalf("done %v, stalled %v and %v, patience %d", c.Done(), c.Stalled(349, 100), c.Stalled(350, 100), c.Patience(300, 100))
	}
	c.Seen(50, 60, 299, 100)
	if !c.Done() || c.Stalled(10_000, 100) {
		t.Fatal("not done after a round of 99")
	}
	c.Lost()
	if c.Done() {
		t.Fatal("done while it does not answer")
	}
	c.Seen(60, 61, 1000, 100) // it is back: this round has taken long
	c.Seen(61, 61, 1010, 100)
	if !c.Done() {
		t.Fatal("not done though it is back")
	}
}

// A tally and the rounds of reads go by the configuration they are given last.
func TestCountingByAnotherConfiguration(t *testing.T) {
	tally := NewTally(Quorum{Voters: ids("a", "b", "c")}, 5, 0)
	tally.Advance("a", 8)
	tally.Advance("b", 7)
	if commit, moved := tally.SetQuorum(Quorum{Voters: ids("d"), Outgoing: ids("a", "b", "c")}); moved || commit != 7 {
		t.Fatalf("commit %d, moved %v: d has nothing", commit, moved)
	}
	if commit, _ := tally.Advance("c", 8); commit != 7 {
		t.Fatalf("commit %d without d", commit)
	}
	if commit, _ := tally.Advance("d", 9); commit != 8 {
		t.Fatalf("commit %d, expected 8 with both", commit)
	}
	if commit, moved := tally.SetQuorum(Quorum{Voters: ids("d")}); !moved || commit != 9 {
		t.Fatalf("commit %d, moved %v: d alone has 9", commit, moved)
	}
	reads := NewReads(Quorum{Voters: ids("a")}, "a")
	reads.Begin()
	reads.SetQuorum(Quorum{Voters: ids("a"), Outgoing: ids("b")})
	if reads.Confirmed() != 0 {
		t.Fatal("confirmed without b")
	}
}

// A snapshot's bytes are an advance too, where they get further than before.
func TestCatchingUpBySnapshot(t *testing.T) {
	c := NewCatchUp(10, 0)
	c.Received(5, 90)
	c.Received(9, 180)
	if c.Stalled(279, 100) || c.Patience(200, 100) != 80 {
		t.Fatal("stalled while its snapshot arrives")
	}
	c.Received(3, 200)
	c.Received(9, 250) // begun again, and no further
	if !c.Stalled(280, 100) {
		t.Fatal("waited for though its transfer never gets further")
	}
	c.Seen(5, 12, 300, 100)
	c.Received(1, 390) // the next snapshot
	if c.Stalled(489, 100) {
		t.Fatal("stalled while its next snapshot arrives")
	}
}
