package cluster

import (
	"errors"
	"strings"
	"testing"
)

// TestClusterIDTellsWhatEntryOneSays: nodes that would begin their logs differently have
// ids that differ, and the order in which members are listed makes none.
func TestClusterIDTellsWhatEntryOneSays(t *testing.T) {
	a, b := Member{ID: "a", Address: "127.0.0.1:1"}, Member{ID: "b", Address: "127.0.0.1:2"}
	first, lower := a, a
	first.Priority, lower.Priority = 1, -1
	plain := deriveClusterID([]Member{a, b})
	if plain != "57eb5d2b82b9961a" {
		t.Errorf("id %s, expected 57eb5d2b82b9961a: clusters that exist have it", plain)
	}
	if again := deriveClusterID([]Member{b, a}); again != plain {
		t.Errorf("ids %s and %s of the same members", plain, again)
	}
	of := map[string]string{plain: "none"}
	for name, members := range map[string][]Member{"1": {first, b}, "-1": {lower, b}} {
		id := deriveClusterID(members)
		if other := of[id]; other != "" {
			t.Errorf("id %s for a's priorities %s and %s", id, other, name)
		}
		of[id] = name
	}
}

func TestCheckMember(t *testing.T) {
	for _, test := range []struct {
		m    Member
		says string // empty: nothing is wrong
	}{
		{Member{ID: "n1", Address: "127.0.0.1:7001"}, ""},
		{Member{ID: "n1", Address: "[::1]:7001", Priority: 1<<31 - 1}, ""},
		{Member{ID: "n1", Address: "host:65535", Priority: -1 << 31}, ""},
		{Member{Address: "host:1"}, "without spaces"},
		{Member{ID: "a\rb", Address: "host:1"}, "without spaces"},
		{Member{ID: "a=b", Address: "host:1"}, "'='"},
		{Member{ID: "n1", Address: "host"}, "host:port"},
		{Member{ID: "n1", Address: ":1"}, "no host"},
		{Member{ID: "n1", Address: "host:0"}, "1 to 65535"},
		{Member{ID: "n1", Address: "host:65536"}, "1 to 65535"},
		{Member{ID: "n1", Address: "host:http"}, "1 to 65535"},
		{Member{ID: "n1", Address: "host:1", Priority: 1 << 31}, "priority 2147483648, expected -2147483648 to 2147483647"},
		{Member{ID: "n1", Address: "host:1", Priority: -1<<31 - 1}, "priority -2147483649"},
	} {
		err := CheckMember(test.m)
		if (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%+v: %v, expected %q", test.m, err, test.says)
		}
	}
}

// TestImpossibleMemberIsNotAdded: what the wire cannot carry is refused before it is sent.
func TestImpossibleMemberIsNotAdded(t *testing.T) {
	var c Client // it has nobody to send anything to
	for _, change := range []MembersChange{
		{Add: []Member{{ID: "n4", Address: "host:1", Priority: 1 << 31}}},
		{AddLearners: []Member{{ID: "n4", Address: "host"}}},
	} {
		_, err := c.ChangeMembers(t.Context(), 1, change)
		if !errors.Is(err, ErrMembersKept) || OutcomeOf(err) != NotApplied || !strings.Contains(err.Error(), "member n4") {
			t.Errorf("%+v: %v, expected members kept, for n4", change, err)
		}
	}
}
