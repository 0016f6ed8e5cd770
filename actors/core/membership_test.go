package core

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func ids(names ...string) []NodeID {
	var out []NodeID
	for _, n := range names {
		out = append(out, NodeID(n))
	}
	return out
}

// everySubset visits all subsets of set.
func everySubset(set []NodeID, visit func(map[NodeID]bool)) {
	for bits := range 1 << len(set) {
		m := map[NodeID]bool{}
		for i, id := range set {
			if bits>>i&1 == 1 {
				m[id] = true
			}
		}
		visit(m)
	}
}

func majorityOf(set []NodeID, yes map[NodeID]bool) bool {
	n := 0
	for _, id := range set {
		if yes[id] {
			n++
		}
	}
	return 2*n > len(set)
}

func randomQuorum(r *rand.Rand) Quorum {
	all := ids("a", "b", "c", "d", "e", "f")
	pick := func() (out []NodeID) {
		for _, id := range all {
			if r.IntN(2) == 0 {
				out = append(out, id)
			}
		}
		return out
	}
	q := Quorum{Voters: pick()}
	if r.IntN(2) == 0 {
		q.Outgoing = pick()
	}
	return q
}

// Majorities of one, two, even and odd sets, and of both halves of a joint
// configuration, by brute force; nobody's quorum never agrees.
func TestQuorumAgreesByBruteForce(t *testing.T) {
	for seed := range uint64(300) {
		q := randomQuorum(newRand(seed))
		everySubset(ids("a", "b", "c", "d", "e", "f"), func(yes map[NodeID]bool) {
			want := len(q.Voters) > 0 && majorityOf(q.Voters, yes) &&
				(len(q.Outgoing) == 0 || majorityOf(q.Outgoing, yes))
			if got := q.Agrees(func(id NodeID) bool { return yes[id] }); got != want {
				t.Fatalf("%v with %v: %v, expected %v", q, yes, got, want)
			}
		})
	}
}

func TestMajorityOfEverySize(t *testing.T) {
	all := ids("1", "2", "3", "4", "5", "6", "7", "8", "9")
	for n, want := range []int{1: 1, 2: 2, 3: 2, 4: 3, 5: 3, 6: 4, 7: 4, 8: 5, 9: 5} {
		if n == 0 {
			continue
		}
		q := Quorum{Voters: all[:n]}
		for k := range n + 1 {
			got := q.Agrees(func(id NodeID) bool { return slices.Index(all, id) < k })
			if got != (k >= want) {
				t.Errorf("%d of %d agree: %v", k, n, got)
			}
		}
	}
}

// Two quorums of one configuration always share a member, and a joint one shares
// members with both of its halves.
func TestQuorumsIntersect(t *testing.T) {
	q := Quorum{Voters: ids("a", "b", "c", "d"), Outgoing: ids("c", "d", "e")}
	all := ids("a", "b", "c", "d", "e")
	agrees := func(q Quorum, m map[NodeID]bool) bool { return q.Agrees(func(id NodeID) bool { return m[id] }) }
	everySubset(all, func(joint map[NodeID]bool) {
		if !agrees(q, joint) {
			return
		}
		for _, half := range []Quorum{{Voters: q.Voters}, {Voters: q.Outgoing}, q} {
			everySubset(all, func(other map[NodeID]bool) {
				if agrees(half, other) && !share(joint, other) {
					t.Fatalf("%v and %v decide apart", joint, other)
				}
			})
		}
	})
}

func share(a, b map[NodeID]bool) bool {
	for id := range a {
		if b[id] {
			return true
		}
	}
	return false
}

// Reached is the highest value v for which the members at or above v agree.
func TestReachedByBruteForce(t *testing.T) {
	for seed := range uint64(5_000) {
		r := newRand(seed)
		q := randomQuorum(r)
		at := map[NodeID]Index{}
		for _, id := range ids("a", "b", "c", "d", "e", "f") {
			at[id] = Index(r.IntN(6))
		}
		var want Index
		for v := range Index(7) {
			if q.Agrees(func(id NodeID) bool { return at[id] >= v }) {
				want = v
			}
		}
		if got := Reached(q, func(id NodeID) Index { return at[id] }); got != want {
			t.Fatalf("%v at %v: %d, expected %d", q, at, got, want)
		}
	}
}

func TestReachedOfManyMembers(t *testing.T) {
	var q Quorum
	at := map[NodeID]Index{}
	for i := range 11 { // more than there is room for without allocating
		id := NodeID(rune('a' + i))
		q.Voters = append(q.Voters, id)
		at[id] = Index(i)
	}
	if got := Reached(q, func(id NodeID) Index { return at[id] }); got != 5 {
		t.Fatalf("%d, expected 5: six of eleven are at or above it", got)
	}
}

func TestConfigurationCountsVotersAndNeverLearners(t *testing.T) {
	c := Configuration{
		Members:  []Member{{ID: "a"}, {ID: "b", Role: RoleLearner}, {ID: "c", Role: RoleWitness}, {ID: "d"}},
		Outgoing: ids("a", "e"),
	}
	if got := c.Voters(); !slices.Equal(got, ids("a", "c", "d")) {
		t.Errorf("voters %v", got)
	}
	q := c.Quorum()
	for _, id := range ids("a", "c", "d", "e") {
		if !q.Contains(id) {
			t.Errorf("%s has no voice", id)
		}
	}
	for _, id := range ids("b", "x") {
		if q.Contains(id) {
			t.Errorf("%s has a voice", id)
		}
	}
	q.Outgoing[0] = "z"
	if c.Outgoing[0] != "a" {
		t.Error("a Quorum shares memory with its Configuration")
	}
	if m, ok := c.Member("c"); !ok || m.Role != RoleWitness {
		t.Errorf("member c: %v, %v", m, ok)
	}
	if _, ok := c.Member("e"); ok {
		t.Error("e is outgoing only, not a member")
	}
}

func TestPriorities(t *testing.T) {
	c := Configuration{Members: []Member{
		{ID: "a", Priority: 5}, {ID: "b"}, {ID: "c", Priority: 2}, {ID: "d", Priority: 5},
		{ID: "never", Priority: -1}, {ID: "learner", Role: RoleLearner, Priority: 9}, {ID: "witness", Role: RoleWitness},
	}, Outgoing: ids("a", "old")}
	for id, want := range map[NodeID]int{"a": 0, "d": 0, "c": 1, "b": 2, "never": 6} {
		if got := c.Precedence(id); got != want {
			t.Errorf("%s leaves %d timeouts to others, expected %d", id, got, want)
		}
	}
	for id, want := range map[NodeID]bool{"a": true, "b": true, "old": true, "never": false, "learner": false, "witness": false, "stranger": false} {
		if got := c.MayLead(id); got != want {
			t.Errorf("%s may lead: %v, expected %v", id, got, want)
		}
		if got := c.MayStand(id); got != (want || id == "never") {
			t.Errorf("%s may stand: %v", id, got)
		}
	}
}
