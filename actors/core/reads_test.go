package core

import "testing"

// Answers to an earlier round say nothing about a read of a later one, however
// often they arrive.
func TestLateAnswersConfirmNoLaterRound(t *testing.T) {
	r := NewReads(Quorum{Voters: ids("a", "b", "c")}, "a")
	first := r.Begin()
	second := r.Begin()
	if second <= first {
		t.Fatalf("rounds %d, %d: not unique", first, second)
	}
	r.Acked("b", first)
	r.Acked("b", first)
	r.Acked("c", first)
	if got := r.Confirmed(); got != first {
		t.Fatalf("confirmed %d, expected %d", got, first)
	}
	r.Acked("c", second)
	if got := r.Confirmed(); got != second {
		t.Fatalf("confirmed %d, expected %d", got, second)
	}
	r.Acked("c", first) // late
	if got := r.Confirmed(); got != second {
		t.Fatalf("a late answer moved confirmed back to %d", got)
	}
}

// A member that answers a round nobody has begun does not confirm the rounds to
// come.
func TestAnswersToRoundsNeverBegunAreIgnored(t *testing.T) {
	r := NewReads(Quorum{Voters: ids("a", "b", "c")}, "a")
	r.Acked("b", 100)
	r.Acked("c", 100)
	first := r.Begin()
	if got := r.Confirmed(); got >= first {
		t.Fatalf("round %d confirmed by answers from before it", got)
	}
	r.Acked("b", first)
	if got := r.Confirmed(); got != first {
		t.Fatalf("confirmed %d, expected %d", got, first)
	}
}

func TestReadQuorums(t *testing.T) {
	alone := NewReads(Quorum{Voters: ids("a")}, "a")
	if r := alone.Begin(); alone.Confirmed() != r || alone.Begun() != r {
		t.Error("a group of one does not confirm itself")
	}
	four := NewReads(Quorum{Voters: ids("a", "b", "c", "d")}, "a")
	r := four.Begin()
	four.Acked("b", r)
	four.Acked("learner", r)
	if four.Confirmed() == r {
		t.Error("two of four, and a learner, confirm a read")
	}
	four.Acked("c", r)
	if four.Confirmed() != r {
		t.Error("three of four do not confirm a read")
	}
	joint := NewReads(Quorum{Voters: ids("a", "b"), Outgoing: ids("c", "d", "e")}, "a")
	r = joint.Begin()
	joint.Acked("b", r)
	joint.Acked("c", r)
	if joint.Confirmed() == r {
		t.Error("one of three outgoing confirms a read")
	}
	joint.Acked("e", r)
	if joint.Confirmed() != r {
		t.Error("both majorities do not confirm a read")
	}
	empty := NewReads(Quorum{}, "a")
	if r := empty.Begin(); empty.Confirmed() >= r {
		t.Error("nobody's quorum confirms a read")
	}
}
