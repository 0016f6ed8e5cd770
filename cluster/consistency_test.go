package cluster

import (
	"strings"
	"testing"
	"time"
)

func TestConsistencyByName(t *testing.T) {
	for _, test := range []struct {
		name, argument string
		want           Consistency
		current        bool
	}{
		{"linearizable", "", Linearizable, true},
		{"lease", "", Lease, true},
		{"member", "", OnMember, true},
		{"log", "", ThroughLog, true},
		{"stale", "", Stale, false},
		{"at-least", "12", AtLeast(12), false},
		{"at-least", "0", AtLeast(0), false},
		{"within", "2s", Within(2 * time.Second), false},
	} {
		got, err := ParseConsistency(test.name, test.argument)
		if err != nil || got != test.want || got.Current() != test.current {
			t.Errorf("%s %s: %v, current %v, %v", test.name, test.argument, got, got.Current(), err)
		}
		if text := strings.TrimSpace(test.name + " " + test.argument); got.String() != text {
			t.Errorf("%s is written %q", text, got.String())
		}
	}
	for _, test := range []struct{ name, argument, want string }{
		{"", "", "expected linearizable"},
		{"fresh", "", "at-least INDEX"},
		{"Stale", "", "unknown"},
		{"stale", "1", "no argument"},
		{"at-least", "", "expected an index"},
		{"at-least", "-1", "expected an index"},
		{"within", "2", "such as 2s"},
		{"within", "-2s", "expected a duration"},
	} {
		if _, err := ParseConsistency(test.name, test.argument); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q %q: %v, expected %q", test.name, test.argument, err, test.want)
		}
	}
}
