package core

import (
	"reflect"
	"strings"
	"testing"
)

func moves(pairs ...string) (out []Member) {
	for _, pair := range pairs {
		id, address, _ := strings.Cut(pair, "=")
		out = append(out, Member{ID: NodeID(id), Address: address})
	}
	return out
}

func TestMovesThatCannotBe(t *testing.T) {
	now := Configuration{Members: voting("a", "b", "c", "l?"), Removed: ids("x")}
	for want, r := range map[string]Change{
		`move "d": not a member, expected one of a, b, c, l`:       {Move: moves("d=d:1")},
		`move "x": not a member`:                                   {Move: moves("x=x:1")},
		`move "a": no address`:                                     {Move: moves("a=")},
		`move "a": a:1 is its address already`:                     {Move: moves("a=a:1")},
		`move "a": b:1 is the address of "b"`:                      {Move: moves("a=b:1")},
		`move "a": l:1 is the address of "l"`:                      {Move: moves("a=l:1")},
		`move "b": a:1 is the address of "a"`:                      {Move: moves("b=a:1", "a=z:1")}, // it runs there until it has moved
		`"a" and "b" have the same address z:1`:                    {Move: moves("a=z:1", "b=z:1")},
		`"a" is named twice`:                                       {Move: moves("a=y:1", "a=z:1")},
		`move a: something else is to be changed with it`:          {Move: moves("a=z:1"), Remove: ids("b")},
		`move b, a: something else is to be changed with it`:       {Move: moves("b=y:1", "a=z:1"), Add: voting("d?")},
		`move l: something else is to be changed with it`:          {Move: moves("l=z:1"), Promote: ids("l")},
		`move c: something else is to be changed with it`:          {Move: moves("c=z:1"), Demote: ids("a")},
		`their configuration is that of index 7, expected was tha`: {Expected: 6, Move: moves("a=z:1")},
	} {
		if next, err := now.Begin(7, r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %+v, %v, expected %q", r, next, err, want)
		}
	}
	for _, under := range []Configuration{{Members: voting("a"), Next: voting("a", "b")}, {Members: voting("b"), Outgoing: ids("a")}} {
		if _, err := under.Begin(7, Change{Move: moves("b=z:1")}); err == nil || !strings.Contains(err.Error(), "one at a time") {
			t.Errorf("%+v: %v, expected one at a time", under, err)
		}
	}
}

// A move is one configuration, in which nothing else is another, and the one before it
// stays what it was.
func TestMove(t *testing.T) {
	voter := Member{ID: "a", Address: "a:1", Priority: 3}
	learner := Member{ID: "l", Address: "l:1", Role: RoleLearner}
	now := Configuration{Members: []Member{voter, learner}, Removed: ids("x"), Resets: []uint64{5}}
	before := Configuration{Members: []Member{voter, learner}, Removed: ids("x"), Resets: []uint64{5}}
	next, err := now.Begin(7, Change{Move: moves("a=a:2", "l=l:2"), Expected: 7})
	voter.Address, learner.Address = "a:2", "l:2"
	want := Configuration{Members: []Member{voter, learner}, Removed: ids("x"), Resets: []uint64{5}}
	if err != nil || !reflect.DeepEqual(next, want) {
		t.Fatalf("%+v, %v, expected %+v", next, err, want)
	}
	if !reflect.DeepEqual(now, before) {
		t.Errorf("it was changed itself, to %+v", now)
	}
	if next.NextStep("a", true, true, false) != StepNone {
		t.Error("a step follows")
	}
	if !now.Moves("a", &next) || !now.Moves("l", &next) || now.Moves("x", &next) || now.Moves("a", &now) {
		t.Error("who moves is not told rightly")
	}
}
