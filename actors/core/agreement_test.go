package core

import (
	"fmt"
	"testing"
)

// at is a checkpoint with a number for the state.
func at(i Index, state uint64) Checkpoint { return Checkpoint{Index: i, State: state} }

func TestCheckpointsKeepFewerTheOlderTheyAre(t *testing.T) {
	var s Checkpoints
	const last = 1 << 20
	for i := Index(CheckpointEvery); i <= last; i += CheckpointEvery {
		s.Add(Checkpoint{Index: i, Replies: uint64(i)})
	}
	for i := Index(last); i > last-10*CheckpointEvery; i -= CheckpointEvery {
		if c, ok := s.At(i); !ok || c.Replies != uint64(i) {
			t.Fatalf("the checkpoint at %d is %v", i, c)
		}
	}
	for _, i := range []Index{last / 2, last / 4, 3 * last / 4, last - 1<<14} {
		if _, ok := s.At(i); !ok {
			t.Errorf("the rare one at %d is gone", i)
		}
	}
	for _, i := range []Index{0, CheckpointEvery, last/2 + CheckpointEvery, last + CheckpointEvery} {
		if c, ok := s.At(i); ok {
			t.Errorf("at %d there is %v, expected nothing", i, c)
		}
	}
}

// The reports of n2, n3, … against the leader n1, whose state is 1 at every index.
func TestJudge(t *testing.T) {
	type reports map[NodeID]Checkpoint
	three, four, five := electorate(3), electorate(4), electorate(5)
	for name, c := range map[string]struct {
		q       Quorum
		reports reports
		want    string
	}{
		"all equal":                     {three, reports{"n2": at(64, 1), "n3": at(64, 1)}, "[] false false"},
		"one differs":                   {three, reports{"n2": at(64, 1), "n3": at(64, 2)}, "[n3] false false"},
		"one differs, another is later": {three, reports{"n2": at(128, 1), "n3": at(64, 2)}, "[n3] false false"},
		"one differs, another not yet":  {three, reports{"n2": at(64, 1), "n3": at(128, 2)}, "[] false false"},
		"one differs, another silent":   {three, reports{"n3": at(64, 2)}, "[] false false"},
		"the leader differs":            {three, reports{"n2": at(64, 2), "n3": at(64, 2)}, "[] true false"},
		"at different indexes":          {three, reports{"n2": at(64, 2), "n3": at(128, 2)}, "[] false false"},
		"each for himself":              {three, reports{"n2": at(64, 2), "n3": at(64, 3)}, "[] false true"},
		"two of two":                    {electorate(2), reports{"n2": at(64, 2)}, "[] false true"},
		"halves":                        {four, reports{"n2": at(64, 1), "n3": at(64, 2), "n4": at(64, 2)}, "[] false true"},
		"halves, one to be heard":       {four, reports{"n3": at(64, 2), "n4": at(64, 2)}, "[] false false"},
		"two of five":                   {five, reports{"n2": at(64, 1), "n3": at(64, 1), "n4": at(64, 2), "n5": at(64, 3)}, "[n4 n5] false false"},
		"three of five":                 {five, reports{"n3": at(64, 2), "n4": at(64, 2), "n5": at(64, 2)}, "[] true false"},
		"a learner":                     {three, reports{"n2": at(64, 1), "n9": at(64, 2)}, "[n9] false false"},
		"learners have no say":          {three, reports{"n8": at(64, 2), "n9": at(64, 2)}, "[] false false"},
		"joint, one half":               {Quorum{Voters: []NodeID{"n1", "n2", "n3"}, Outgoing: []NodeID{"n1", "n4", "n5"}}, reports{"n2": at(64, 1), "n3": at(64, 2)}, "[] false false"},
		"joint, both halves":            {Quorum{Voters: []NodeID{"n1", "n2", "n3"}, Outgoing: []NodeID{"n1", "n4", "n5"}}, reports{"n2": at(64, 1), "n3": at(64, 2), "n5": at(64, 1)}, "[n3] false false"},
		"nothing to compare":            {three, reports{"n2": {Index: 64, Replies: 9}, "n3": {Index: 64, Replies: 8}}, "[] false false"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, early := range []bool{false, true} { // the reports come before the leader gets there itself
				own := &Checkpoints{}
				a := NewAgreement(own)
				reach := func() {
					for i := Index(64); i <= 192; i += 64 {
						own.Add(at(i, 1))
						a.Reached(at(i, 1))
					}
				}
				if !early {
					reach()
				}
				for id, r := range c.reports {
					a.Reported(id, r)
					a.Reported(id, r) // again: nothing is lost or counted twice
				}
				if early {
					reach()
				}
				v := a.Judge(c.q, "n1")
				if got := fmt.Sprint(v.Wrong, v.SelfWrong, v.Split); got != c.want {
					t.Errorf("early %v: %s, expected %s", early, got, c.want)
				}
			}
		})
	}
}

func electorate(n int) (q Quorum) {
	for i := range n {
		q.Voters = append(q.Voters, NodeID(fmt.Sprintf("n%d", i+1)))
	}
	return q
}

// Replies and states are compared each for itself: a member may know only one.
func TestCheckpointsCompareWhatBothKnow(t *testing.T) {
	for _, c := range []struct {
		a, b              Checkpoint
		differs, compared bool
	}{
		{Checkpoint{64, 5, 0}, Checkpoint{64, 5, 0}, false, true},
		{Checkpoint{64, 5, 0}, Checkpoint{64, 6, 0}, true, true},
		{Checkpoint{64, 5, 7}, Checkpoint{64, 0, 7}, false, true},
		{Checkpoint{64, 5, 7}, Checkpoint{64, 5, 8}, true, true},
		{Checkpoint{64, 5, 0}, Checkpoint{64, 0, 8}, false, false},
	} {
		if differs, compared := c.a.differs(c.b); differs != c.differs || compared != c.compared {
			t.Errorf("%v and %v: %v %v", c.a, c.b, differs, compared)
		}
	}
}

// A member that was wrong, has started again and is right now is wrong no more.
func TestStartedAgainIsComparedAnew(t *testing.T) {
	for name, later := range map[string][]Checkpoint{
		"equal at the same index": {at(128, 1)},
		"equal later":             {at(192, 1)},
		"reports from the start":  {at(64, 1)},
	} {
		own := &Checkpoints{}
		a := NewAgreement(own)
		for i := Index(64); i <= 192; i += 64 {
			own.Add(at(i, 1))
		}
		a.Reported("n2", at(192, 1))
		if !a.Reported("n3", at(128, 2)) || len(a.Judge(electorate(3), "n1").Wrong) != 1 {
			t.Fatalf("%s: n3 is not wrong before", name)
		}
		for _, c := range later {
			if a.Reported("n3", c); len(a.Judge(electorate(3), "n1").Wrong) != 0 {
				t.Errorf("%s: n3 is still wrong", name)
			}
		}
	}
}
