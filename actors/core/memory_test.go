package core

import "testing"

func TestLifeFollows(t *testing.T) {
	known := Life{Number: 3, Nonce: 7}
	for _, c := range []struct {
		shown Life
		want  bool
	}{
		{Life{3, 7}, true},
		{Life{4, 1}, true},
		{Life{9, 7}, true},
		{Life{3, 8}, false}, // another start from the same image
		{Life{2, 7}, false},
		{Life{1, 1}, false},
	} {
		if got := c.shown.Follows(known); got != c.want {
			t.Errorf("%v after %v: %v, expected %v", c.shown, known, got, c.want)
		}
	}
}

func TestJudgeOfAGreeting(t *testing.T) {
	life := Life{Number: 4, Nonce: 9}
	met := Acquaintance{Met: true, Known: Life{3, 1}, History: true}
	for name, c := range map[string]struct {
		a    Acquaintance
		g    Greeting
		want Judgement
	}{
		"restart":                        {met, Greeting{Life: life, Last: 5}, Whole},
		"restart, seen before":           {Acquaintance{Met: true, Known: life, History: true}, Greeting{Life: life}, Whole},
		"never met, with a log":          {Acquaintance{History: true}, Greeting{Life: life, Last: 5}, Whole},
		"older life":                     {Acquaintance{Met: true, Known: Life{5, 1}, History: true}, Greeting{Life: life}, LostLife},
		"same number, other nonce":       {Acquaintance{Met: true, Known: Life{4, 8}}, Greeting{Life: life}, LostLife},
		"older life of one who knows":    {Acquaintance{Met: true, Known: Life{5, 1}}, Greeting{Life: life, Recovering: true}, LostLife},
		"older life, asked a forgetful":  {Acquaintance{Met: true, Known: Life{5, 1}, Forgetful: true}, Greeting{Life: life}, LostLife},
		"log shorter than acknowledged":  {Acquaintance{Met: true, Known: Life{3, 1}, History: true, Match: 6}, Greeting{Life: life, Last: 5}, LostLog},
		"the same, and it knows":         {Acquaintance{Met: true, Known: Life{3, 1}, History: true, Match: 6}, Greeting{Life: life, Last: 5, Recovering: true}, Whole},
		"acknowledged in this life":      {Acquaintance{Met: true, Known: life, History: true, Match: 6}, Greeting{Life: life, Last: 5}, Whole},
		"new group":                      {Acquaintance{}, Greeting{Life: Life{1, 2}, Founding: true}, Whole},
		"new group, begun here, met":     {Acquaintance{Met: true, Known: Life{1, 2}, History: true}, Greeting{Life: Life{1, 2}, Founding: true}, Whole},
		"nothing stored, group begun":    {Acquaintance{History: true}, Greeting{Life: Life{1, 2}, Founding: true}, LostAll},
		"nothing stored, a later number": {met, Greeting{Life: life, Founding: true}, LostAll},
		"asked a forgetful":              {Acquaintance{Forgetful: true, History: true}, Greeting{Life: life, Last: 5}, Unsure},
		"new group, asked a forgetful":   {Acquaintance{Forgetful: true, History: true}, Greeting{Life: Life{1, 2}, Founding: true}, Unsure},
	} {
		if got := c.a.Judge(c.g); got != c.want {
			t.Errorf("%s: %v, expected %v", name, got, c.want)
		}
	}
}

func votersOf(ids ...NodeID) *Configuration {
	c := &Configuration{}
	for _, id := range ids {
		c.Members = append(c.Members, Member{ID: id})
	}
	return c
}

func TestMayBegin(t *testing.T) {
	three, five := votersOf("a", "b", "c"), votersOf("a", "b", "c", "d", "e")
	type answers = map[NodeID]Judgement
	for name, c := range map[string]struct {
		config   *Configuration
		founding bool
		answers  answers
		want     bool
	}{
		"alone":                              {votersOf("a"), true, nil, true},
		"restart, nobody":                    {three, false, nil, false},
		"restart, one of two":                {three, false, answers{"b": Whole}, true},
		"restart, one who does not know":     {three, false, answers{"b": Unsure}, false},
		"restart, one of four":               {five, false, answers{"b": Whole}, false},
		"restart, two of four":               {five, false, answers{"b": Whole, "e": Whole}, true},
		"new group, one of two":              {three, true, answers{"b": Whole}, false},
		"new group, all":                     {three, true, answers{"b": Whole, "c": Whole}, true},
		"new group, one does not know":       {three, true, answers{"b": Whole, "c": Unsure}, true},
		"new group, nobody knows":            {three, true, answers{"b": Unsure, "c": Unsure}, false},
		"new group, a stranger in for one":   {three, true, answers{"b": Whole, "x": Whole}, false},
		"new group of five, three of four":   {five, true, answers{"b": Whole, "c": Whole, "d": Whole}, false},
		"new group of two, it does not know": {votersOf("a", "b"), true, answers{"b": Unsure}, false},
	} {
		if got := MayBegin(c.config, "a", c.founding, func(id NodeID) (Judgement, bool) { j, heard := c.answers[id]; return j, heard }); got != c.want {
			t.Errorf("%s: %v, expected %v", name, got, c.want)
		}
	}
}

func TestWhoHasForgottenDoesNotVote(t *testing.T) {
	c := Candidacy{Term: 2, Candidate: "b", Last: Position{9, 1}}
	v := Voter{Term: 2, Last: Position{1, 1}}
	if !v.GrantVote(c) {
		t.Fatal("the vote is not granted to begin with")
	}
	v.Recovering = true
	if v.GrantVote(c) {
		t.Error("a vote of one who may have given it to another")
	}
	c.Term = 3
	if v.GrantPreVote(c) {
		t.Error("a pre-vote of one who will not vote")
	}
}

func TestRecoveryEndsBehindTheBarrier(t *testing.T) {
	r := Recovery{Barrier: 5, Match: 5}
	if r.Done(4) || !r.Done(5) {
		t.Error("it ends when the barrier is committed, not before")
	}
	if r.Match = 4; r.Done(9) {
		t.Error("it ends when the member holds the barrier, not before")
	}
	log := NewLogShape(Position{}, []TermRun{{1, 1, 3}, {4, 4, 6}})
	for _, c := range []struct {
		term             Term
		durable, barrier Index
		want             bool
	}{
		{4, 6, 5, true}, {4, 4, 5, false}, {5, 6, 5, false}, {4, 6, 3, false}, {4, 9, 7, false},
	} {
		if got := Restores(&log, c.term, c.durable, c.barrier); got != c.want {
			t.Errorf("barrier %d in term %d, durable up to %d: %v, expected %v", c.barrier, c.term, c.durable, got, c.want)
		}
	}
	log.CompactTo(5) // or a snapshot up to there, in the place of the log
	for _, c := range []struct {
		term    Term
		barrier Index
		want    bool
	}{{4, 4, true}, {4, 5, true}, {4, 6, true}, {5, 4, false}, {3, 4, false}, {4, 7, false}} {
		if got := Restores(&log, c.term, 6, c.barrier); got != c.want {
			t.Errorf("log after 5, barrier %d in term %d: %v, expected %v", c.barrier, c.term, got, c.want)
		}
	}
}

func TestForgottenMatchCountsNoMore(t *testing.T) {
	tally := NewTally(Quorum{Voters: []NodeID{"a", "b", "c"}}, 1, 0)
	tally.Advance("a", 9)
	if commit, _ := tally.Advance("b", 5); commit != 5 {
		t.Fatalf("commit %d, expected 5", commit)
	}
	tally.Forget("b")
	if tally.Match("b") != 0 || tally.Commit() != 5 {
		t.Fatalf("match %d and commit %d, expected 0 and 5", tally.Match("b"), tally.Commit())
	}
	if commit, _ := tally.Advance("a", 12); commit != 5 {
		t.Fatalf("commit %d without b, expected 5", commit)
	}
}
