package core

import "testing"

// One member's answer counts once, however often it arrives, and the first stands.
func TestBallotCountsEachMemberOnce(t *testing.T) {
	b := NewBallot(Quorum{Voters: ids("a", "b", "c", "d", "e")})
	b.Record("a", true)
	for range 5 {
		b.Record("b", true)
	}
	if b.Won() {
		t.Fatal("two voters of five, one of them counted again and again, win")
	}
	b.Record("c", false)
	b.Record("c", true)
	if b.Won() {
		t.Fatal("a second answer changed the first")
	}
	b.Record("d", true)
	if !b.Won() || b.Lost() {
		t.Fatal("three of five do not win")
	}
}

func TestBallotIgnoresWhoHasNoVoice(t *testing.T) {
	b := NewBallot(Quorum{Voters: ids("a", "b", "c")})
	b.Record("a", true)
	b.Record("learner", true)
	b.Record("stranger", true)
	if b.Won() {
		t.Fatal("learners and strangers elect a leader")
	}
	b.Record("learner", false)
	b.Record("x", false)
	if b.Lost() {
		t.Fatal("learners and strangers defeat a candidate")
	}
}

// Won and Lost by brute force, over every combination of answers.
func TestBallotByBruteForce(t *testing.T) {
	all := ids("a", "b", "c", "d", "e", "f")
	for seed := range uint64(40) {
		r := newRand(seed)
		q := randomQuorum(r)
		for range 200 {
			b := NewBallot(q)
			granted, possible := map[NodeID]bool{}, map[NodeID]bool{}
			for _, id := range all {
				switch r.IntN(3) {
				case 0:
					b.Record(id, true)
					granted[id], possible[id] = true, true
				case 1:
					b.Record(id, false)
				default:
					possible[id] = true
				}
			}
			agrees := func(m map[NodeID]bool) bool { return q.Agrees(func(id NodeID) bool { return m[id] }) }
			if b.Won() != agrees(granted) || b.Lost() != !agrees(possible) {
				t.Fatalf("%v: granted %v, still possible %v: won %v, lost %v", q, granted, possible, b.Won(), b.Lost())
			}
		}
	}
}

// In a joint configuration the votes of one half elect nobody.
func TestBallotNeedsBothHalves(t *testing.T) {
	b := NewBallot(Quorum{Voters: ids("a", "b", "c"), Outgoing: ids("c", "d", "e")})
	b.Record("a", true)
	b.Record("b", true)
	if b.Won() {
		t.Fatal("the incoming half elects alone")
	}
	b.Record("d", true)
	if b.Won() {
		t.Fatal("one of three outgoing is a majority")
	}
	b.Record("e", true)
	if !b.Won() {
		t.Fatal("both majorities do not elect")
	}
	lost := NewBallot(Quorum{Voters: ids("a"), Outgoing: ids("c", "d", "e")})
	lost.Record("c", false)
	lost.Record("d", false)
	if !lost.Lost() {
		t.Fatal("no outgoing majority can come together, and the campaign is not lost")
	}
}

func TestVoterDecisions(t *testing.T) {
	last := Position{10, 4}
	fresh := Position{10, 4}
	tests := []struct {
		name             string
		v                Voter
		c                Candidacy
		pre, heed, grant bool
	}{
		{"free vote, fresh log", Voter{Term: 5, Last: last}, Candidacy{Term: 5, Candidate: "a", Last: fresh}, false, true, true},
		{"pre-vote asks for a higher term", Voter{Term: 5, Last: last}, Candidacy{Term: 6, Candidate: "a", Last: fresh}, true, true, false},
		{"pre-vote though voted in this term", Voter{Term: 5, Vote: "b", Last: last}, Candidacy{Term: 6, Candidate: "a", Last: fresh}, true, true, false},
		{"older term", Voter{Term: 5, Last: last}, Candidacy{Term: 4, Candidate: "a", Last: fresh}, false, true, false},
		{"vote given to another", Voter{Term: 5, Vote: "b", Last: last}, Candidacy{Term: 5, Candidate: "a", Last: fresh}, false, true, false},
		{"repeated request", Voter{Term: 5, Vote: "a", Last: last}, Candidacy{Term: 5, Candidate: "a", Last: fresh}, false, true, true},
		{"repeated request compares logs again", Voter{Term: 5, Vote: "a", Last: last}, Candidacy{Term: 5, Candidate: "a", Last: Position{9, 4}}, false, true, false},
		{"shorter log", Voter{Term: 5, Last: last}, Candidacy{Term: 5, Candidate: "a", Last: Position{9, 4}}, false, true, false},
		{"shorter log of a later term", Voter{Term: 6, Last: last}, Candidacy{Term: 6, Candidate: "a", Last: Position{3, 5}}, false, true, true},
		{"longer log of an older term", Voter{Term: 5, Last: last}, Candidacy{Term: 5, Candidate: "a", Last: Position{99, 3}}, false, true, false},
		{"pre-vote with a stale log", Voter{Term: 5, Last: last}, Candidacy{Term: 6, Candidate: "a", Last: Position{99, 3}}, false, true, false},
		{"a leader is heard", Voter{Term: 5, Last: last, HearsLeader: true}, Candidacy{Term: 6, Candidate: "a", Last: fresh}, false, false, false},
		{"a leader is heard, and sent the candidate", Voter{Term: 6, Last: last, HearsLeader: true}, Candidacy{Term: 6, Candidate: "a", Last: fresh, Transfer: true}, false, true, true},
		{"sent by the leader with a stale log", Voter{Term: 6, Last: last, HearsLeader: true}, Candidacy{Term: 6, Candidate: "a", Last: Position{9, 4}, Transfer: true}, false, true, false},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			if got := c.v.GrantPreVote(c.c); got != c.pre {
				t.Errorf("pre-vote %v, expected %v", got, c.pre)
			}
			if got := c.v.HeedVote(c.c); got != c.heed {
				t.Errorf("heeded %v, expected %v", got, c.heed)
			}
			if got := c.v.GrantVote(c.c); got != c.grant {
				t.Errorf("vote %v, expected %v", got, c.grant)
			}
		})
	}
}

// However requests arrive and repeat, a voter that records what it grants gives its
// vote to one candidate a term.
func TestOneVoteATerm(t *testing.T) {
	for seed := range uint64(200) {
		r := newRand(seed)
		v := Voter{Term: 1, Last: Position{5, 1}}
		given := map[Term]NodeID{}
		for range 100 {
			c := Candidacy{
				Term: Term(1 + r.IntN(6)), Candidate: ids("a", "b", "c")[r.IntN(3)],
				Last: Position{Index(4 + r.IntN(3)), Term(1 + r.IntN(2))}, Transfer: r.IntN(4) == 0,
			}
			if !v.HeedVote(c) {
				t.Fatal("not heeded, though no leader is heard")
			}
			if c.Term > v.Term {
				v.Term, v.Vote = c.Term, ""
			}
			if !v.GrantVote(c) {
				continue
			}
			if !c.Last.FreshAs(v.Last) {
				t.Fatalf("seed %d: granted to a log at %v, own at %v", seed, c.Last, v.Last)
			}
			if was, voted := given[c.Term]; voted && was != c.Candidate {
				t.Fatalf("seed %d: votes for %s and %s in term %d", seed, was, c.Candidate, c.Term)
			}
			v.Vote, given[c.Term] = c.Candidate, c.Candidate
		}
	}
}
