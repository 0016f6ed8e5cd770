package core

import "testing"

// The paper's figure 8: an entry of an older term on a majority is not committed by
// counting, for a member without it may still win; an entry of the own term above
// it commits both.
func TestOldTermEntryDoesNotCommitByCounting(t *testing.T) {
	// S1 leads term 4. Entry 2 is of term 2; its own first entry is 3.
	tally := NewTally(Quorum{Voters: ids("1", "2", "3", "4", "5")}, 3, 1)
	tally.Advance("1", 2)
	tally.Advance("2", 2)
	if commit, moved := tally.Advance("3", 2); moved || commit != 1 {
		t.Fatalf("entry 2 of an older term, on three of five: commit %d", commit)
	}
	if tally.Settled() {
		t.Fatal("settled before an entry of the own term is committed")
	}
	tally.Advance("1", 3)
	tally.Advance("2", 3)
	if commit, moved := tally.Advance("3", 3); !moved || commit != 3 || !tally.Settled() {
		t.Fatalf("the own term's first entry on three of five: commit %d, moved %v", commit, moved)
	}
}

// A late or repeated answer changes nothing, and what was committed stays.
func TestMatchNeverFalls(t *testing.T) {
	tally := NewTally(Quorum{Voters: ids("a", "b", "c")}, 1, 0)
	tally.Advance("a", 5)
	tally.Advance("b", 4)
	if tally.Commit() != 4 {
		t.Fatalf("commit %d, expected 4", tally.Commit())
	}
	if commit, moved := tally.Advance("b", 2); moved || commit != 4 || tally.Match("b") != 4 {
		t.Fatalf("commit %d, match %d after a late answer", commit, tally.Match("b"))
	}
	if _, moved := tally.Advance("b", 4); moved {
		t.Fatal("a repeated answer moved the commit index")
	}
}

// A majority of four is three.
func TestEvenSizes(t *testing.T) {
	tally := NewTally(Quorum{Voters: ids("a", "b", "c", "d")}, 1, 0)
	tally.Advance("a", 7)
	if commit, _ := tally.Advance("b", 7); commit != 0 {
		t.Fatalf("two of four commit %d", commit)
	}
	if commit, _ := tally.Advance("c", 6); commit != 6 {
		t.Fatalf("three of four commit %d, expected 6", commit)
	}
}

func TestTallyNeedsBothHalvesAndNoLearner(t *testing.T) {
	tally := NewTally(Quorum{Voters: ids("a"), Outgoing: ids("a", "b", "c")}, 1, 0)
	if _, moved := tally.Advance("a", 3); moved {
		t.Fatal("the one incoming voter commits alone while the old voters still count")
	}
	if _, moved := tally.Advance("learner", 3); moved {
		t.Fatal("a learner commits")
	}
	if commit, moved := tally.Advance("c", 2); !moved || commit != 2 {
		t.Fatalf("commit %d, expected 2", commit)
	}
}

// Whatever the order, repetition and delay of answers, the commit index is the
// highest entry of the own term that a quorum holds, and never falls.
func TestTallyByBruteForce(t *testing.T) {
	for seed := range uint64(2_000) {
		r := newRand(seed)
		q := randomQuorum(r)
		start, commit := Index(1+r.IntN(6)), Index(0)
		commit = Index(r.IntN(int(start)))
		tally := NewTally(q, start, commit)
		match := map[NodeID]Index{}
		for range 60 {
			id, at := ids("a", "b", "c", "d", "e", "f", "learner")[r.IntN(7)], Index(r.IntN(12))
			match[id] = max(match[id], at)
			was := commit
			for v := start; v <= 12; v++ {
				if v > commit && q.Agrees(func(id NodeID) bool { return match[id] >= v }) {
					commit = v
				}
			}
			got, moved := tally.Advance(id, at)
			if got != commit || moved != (commit > was) || tally.Commit() != commit {
				t.Fatalf("seed %d: commit %d moved %v, expected %d after %v (%v, first of term %d)", seed, got, moved, commit, match, q, start)
			}
			if tally.Match(id) != match[id] || tally.Settled() != (commit >= start) {
				t.Fatalf("seed %d: match %d, settled %v", seed, tally.Match(id), tally.Settled())
			}
		}
	}
}

func TestBestIsTheVoterThatHoldsTheMost(t *testing.T) {
	tally := NewTally(Quorum{Voters: ids("a", "c", "b", "d")}, 1, 0)
	tally.Advance("a", 9)
	tally.Advance("learner", 9)
	if best, ok := tally.Best(others); !ok || best != "b" {
		t.Errorf("%q, expected b: ties go to the lower id", best)
	}
	tally.Advance("d", 3)
	tally.Advance("c", 5)
	if best, _ := tally.Best(others); best != "c" {
		t.Errorf("%q, expected c", best)
	}
	alone := NewTally(Quorum{Voters: ids("a")}, 1, 0)
	if best, ok := alone.Best(others); ok {
		t.Errorf("%q is best of nobody", best)
	}
}

// others ranks everybody but a alike.
func others(id NodeID) int {
	if id == "a" {
		return -1
	}
	return 0
}

func TestBestIsOfTheHighestRank(t *testing.T) {
	tally := NewTally(Quorum{Voters: ids("a", "b", "c", "d")}, 1, 0)
	tally.Advance("b", 9)
	tally.Advance("c", 3)
	tally.Advance("d", 5)
	rank := map[NodeID]int{"a": -1, "b": 0, "c": 2, "d": 2}
	if best, ok := tally.Best(func(id NodeID) int { return rank[id] }); !ok || best != "d" {
		t.Errorf("%q, expected d", best)
	}
	if best, ok := tally.Best(func(NodeID) int { return -1 }); ok {
		t.Errorf("%q is best of none that come into question", best)
	}
}

// Counting ahead takes both quorums, moves the commit never back, and ends when a
// configuration is active or nobody's quorum is counted by.
func TestTallyCountsAhead(t *testing.T) {
	tally := NewTally(Quorum{Voters: ids("a", "b", "c")}, 1, 0)
	expect := func(want Index, moves bool, commit Index, moved bool) {
		t.Helper()
		if commit != want || moved != moves || tally.Commit() != want {
			t.Fatalf("commit %d, moved %v; expected %d, %v", commit, moved, want, moves)
		}
	}
	next := Quorum{Voters: ids("a", "c", "d"), Outgoing: ids("a", "b", "c")}
	tally.Advance("a", 9)
	commit, moved := tally.Advance("b", 4)
	expect(4, true, commit, moved)
	commit, moved = tally.CountAhead(next)
	expect(4, false, commit, moved)
	commit, moved = tally.Advance("b", 7)
	expect(4, false, commit, moved)
	commit, moved = tally.Advance("d", 6)
	expect(6, true, commit, moved)
	commit, moved = tally.CountAhead(Quorum{})
	expect(7, true, commit, moved)
	tally.CountAhead(next)
	tally.Advance("b", 8)
	commit, moved = tally.SetQuorum(Quorum{Voters: ids("a", "b")})
	expect(8, true, commit, moved)
}
