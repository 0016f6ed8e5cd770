package cluster

import (
	"fmt"
	"strconv"
	"time"

	"github.com/protoraft/protoraft/messages"
)

// consistencyNames are the levels that need no argument.
var consistencyNames = []struct {
	name  string
	level Consistency
}{
	{"linearizable", Linearizable}, {"lease", Lease}, {"member", OnMember}, {"log", ThroughLog}, {"stale", Stale},
}

const (
	nameAtLeast = "at-least"
	nameWithin  = "within"
)

// ConsistencyNames lists what ParseConsistency takes, for texts.
const ConsistencyNames = "linearizable, lease, member, log, stale, at-least INDEX or within DURATION"

// ParseConsistency reads a level by its name: linearizable, lease, member, log or stale
// with an empty argument, at-least with an index (AtLeast), or within with a duration
// such as 2s (Within).
func ParseConsistency(name, argument string) (Consistency, error) {
	switch name {
	case nameAtLeast:
		index, err := strconv.ParseUint(argument, 10, 64)
		if err != nil {
			return Consistency{}, fmt.Errorf("consistency %s %.40q, expected an index: a number from 0", name, argument)
		}
		return AtLeast(index), nil
	case nameWithin:
		age, err := time.ParseDuration(argument)
		if err != nil || age < 0 {
			return Consistency{}, fmt.Errorf("consistency %s %.40q, expected a duration, such as 2s or 500ms", name, argument)
		}
		return Within(age), nil
	}
	for _, n := range consistencyNames {
		switch {
		case n.name != name:
		case argument != "":
			return Consistency{}, fmt.Errorf("consistency %s %.40q, expected no argument", name, argument)
		default:
			return n.level, nil
		}
	}
	return Consistency{}, fmt.Errorf("consistency %.40q is unknown, expected %s", name, ConsistencyNames)
}

// String is the level as ParseConsistency reads it, with a space before the argument.
func (c Consistency) String() string {
	switch c.level {
	case messages.Consistency_AT_LEAST:
		return nameAtLeast + " " + strconv.FormatUint(c.index, 10)
	case messages.Consistency_WITHIN:
		return nameWithin + " " + c.maxAge.String()
	}
	for _, n := range consistencyNames {
		if n.level == c {
			return n.name
		}
	}
	return "unknown"
}

// Current says whether an answer of this level reflects every operation acknowledged
// before the query was asked; of Lease, where clocks are as good as they are trusted to
// be.
func (c Consistency) Current() bool {
	switch c.level {
	case messages.Consistency_STALE, messages.Consistency_AT_LEAST, messages.Consistency_WITHIN:
		return false
	}
	return true
}
