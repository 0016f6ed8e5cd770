package core

import (
	"slices"
	"strings"
	"testing"
)

// with reads members: "a" votes, "l?" learns, "w!" is a witness.
func withWitness(names ...string) (out []Member) {
	for _, name := range names {
		m := Member{ID: NodeID(strings.TrimRight(name, "?!")), Address: name + ":1"}
		switch {
		case strings.HasSuffix(name, "?"):
			m.Role = RoleLearner
		case strings.HasSuffix(name, "!"):
			m.Role = RoleWitness
		}
		out = append(out, m)
	}
	return out
}

func TestWitnessVotesAndIsNotToLead(t *testing.T) {
	c := Configuration{Members: withWitness("a", "b", "w!")}
	q := c.Quorum()
	if !q.Contains("w") || !q.Agrees(func(id NodeID) bool { return id != "b" }) || q.Agrees(func(id NodeID) bool { return id == "w" }) {
		t.Errorf("%v: expected a and w to decide, and w alone not to", q)
	}
	if c.MayStand("w") || c.MayLead("w") {
		t.Error("a witness is not to lead")
	}
	if !MayStand("w", &c, nil, true) {
		t.Error("a witness must stand when nobody else can")
	}
	tally := NewTally(q, 1, 0)
	tally.Advance("w", 9)
	if best, ok := tally.Best(func(id NodeID) int {
		if !c.MayLead(id) {
			return -1
		}
		return 0
	}); !ok || best == "w" {
		t.Errorf("%s is to lead next, a witness is never", best)
	}
}

// A witness leaves more to others than anybody who may lead, however low its priority.
func TestWitnessStandsLast(t *testing.T) {
	c := Configuration{Members: withWitness("a", "b", "c", "w!")}
	c.Members[1].Priority, c.Members[2].Priority, c.Members[3].Priority = 2, -1, 7
	for _, id := range ids("a", "b", "c") {
		if own, last := c.Precedence(id), c.Precedence("w"); own >= last {
			t.Errorf("%s leaves %d election timeouts to others, the witness %d, expected more", id, own, last)
		}
	}
	if n := c.Precedence("w"); n != 3+lastResort {
		t.Errorf("the witness leaves %d, expected one for each priority and %d", n, lastResort)
	}
}

func TestWitnessIsOneOfThreeAtLeast(t *testing.T) {
	for _, good := range [][]Member{withWitness("a"), withWitness("a", "b"), withWitness("a", "b", "w!"), withWitness("a", "b", "c", "w!", "l?")} {
		if err := CheckWitness(good); err != nil {
			t.Errorf("%v: %v", good, err)
		}
	}
	for want, bad := range map[string][]Member{
		"voters with state beside a witness: 1": withWitness("a", "l?", "w!"),
		"voters with state beside a witness: 0": withWitness("w!"),
		"witnesses: 2":                          withWitness("a", "b", "c", "v!", "w!"),
	} {
		if err := CheckWitness(bad); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, expected %q", bad, err, want)
		}
	}
}

func TestChangesOfWitnesses(t *testing.T) {
	now := Configuration{Members: withWitness("a", "b", "w!", "l?")}
	for want, r := range map[string]Change{
		`promote "w": it is a witness`:          {Promote: ids("w")},
		`demote "w": it is a witness`:           {Demote: ids("w")},
		"witnesses: 2":                          {Add: withWitness("v!")},
		"voters with state beside a witness: 1": {Remove: ids("b")},
	} {
		if _, err := now.Begin(7, r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, expected %q", r, err, want)
		}
	}
	replaced, err := now.Begin(7, Change{Add: withWitness("v!"), Remove: ids("w")})
	if err != nil {
		t.Fatal(err)
	}
	if !replaced.Witness("v") || !replaced.Witness("w") || replaced.Witness("a") || !replaced.Witnessed() {
		t.Errorf("%+v: expected v and w to be witnesses", replaced)
	}
	// The new one may be sent the log's end only: those with state must have the rest.
	if got := replaced.CatchingUp(); !slices.Equal(got, ids("v", "a", "b")) {
		t.Errorf("%v have to catch up, expected v, a and b", got)
	}
	joint := replaced.Joint()
	if final := joint.Final(); !joint.Witness("w") || final.Witness("w") || !slices.Equal(final.Removed, ids("w")) {
		t.Errorf("joint %+v, final %+v", joint, final)
	}
	if joint.MayStand("w") || joint.MayLead("w") || !joint.MayLead("a") {
		t.Errorf("%+v: expected a to lead, and not w, which leaves", joint)
	}
	if q := joint.StateQuorum(); slices.Contains(q.Voters, "v") || slices.Contains(q.Outgoing, "w") || len(q.Voters) != 2 || len(q.Outgoing) != 2 {
		t.Errorf("state is compared by %v, expected a and b", q)
	}
	// The same with one that goes: it may have been what the witness was not sent.
	four := Configuration{Members: withWitness("a", "b", "c", "w!")}
	smaller, err := four.Begin(7, Change{Remove: ids("c")})
	if got := smaller.CatchingUp(); err != nil || !slices.Equal(got, ids("a", "b")) {
		t.Errorf("%v have to catch up, %v, expected a and b", got, err)
	}
	// Without a witness nobody has to wait for old voters.
	freed, err := four.Begin(7, Change{Remove: ids("w")})
	if err != nil || len(freed.Next) > 0 || len(freed.Outgoing) != 4 {
		t.Errorf("%+v, %v; expected to be joint at once", freed, err)
	}
}

// What a witness may cut every voter with state has: those to come and those that leave
// as well, learners not.
func TestSpareIsWhatAllWithStateHave(t *testing.T) {
	match := map[NodeID]Index{"a": 90, "b": 80, "c": 70, "d": 60, "w": 5, "l": 1}
	at := func(id NodeID) Index { return match[id] }
	for _, one := range []struct {
		c    Configuration
		want Index
	}{
		{Configuration{Members: withWitness("a", "b", "w!", "l?")}, 80},
		{Configuration{Members: withWitness("a", "b", "w!"), Next: withWitness("a", "b", "c", "w!")}, 70},
		{Configuration{Members: withWitness("a", "b", "w!"), Outgoing: ids("a", "d", "w"), Leaving: withWitness("d")}, 60},
		{Configuration{Members: withWitness("a", "b", "w!", "d?"), Outgoing: ids("a", "b", "d", "w")}, 60},
	} {
		if got := one.c.Spare(85, at); got != one.want {
			t.Errorf("%+v: %d to spare, expected %d", one.c, got, one.want)
		}
	}
	c := Configuration{Members: withWitness("a", "b", "w!")}
	if got := c.Spare(75, at); got != 75 {
		t.Errorf("%d to spare, committed are 75", got)
	}
}
