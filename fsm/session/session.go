// Package session makes retries of commands harmless: a group's table of client
// sessions, which says of every command whether it was applied before and what the
// machine replied then (thesis §6.3).
//
// The table is part of the replicated state. It has no clock, no randomness and no
// order of a map in it: equal logs make equal tables, byte for byte, however the log
// was cut into batches.
//
// A session is either opened by an entry of its own, and has that entry's index for
// an id, which no other session ever has; or it has a name of its client's choice and
// begins with the first command of that name, whose sequence is 1. The difference is
// what can be said when the table has forgotten it: a command of an opened session is
// refused for ever, one of a name is refused unless its sequence is 1.
package session

import (
	"fmt"
	"time"
)

// MaxNameBytes is the longest name of a session.
const MaxNameBytes = 128

// Limits bound a table. They are part of the replicated behaviour: members with
// different limits disagree.
type Limits struct {
	// Opened is the most sessions opened by an entry; the one unused for longest gives
	// way to a new one.
	Opened int
	// Named is the most sessions with a name. A new one is refused while there are so
	// many: none gives way before its time, because its first command would then look
	// new.
	Named int
	// Idle is how much log time a session may be unused before it is forgotten.
	Idle time.Duration
	// Window is how many answers an opened session keeps which its client has not
	// acknowledged, NamedWindow how many a named one keeps. Where there are more, those
	// of the lowest sequences are forgotten, and their commands refused.
	Window, NamedWindow int
	// ReplyBytes is the longest reply that is kept. A repeat of a command with a longer
	// one is refused.
	ReplyBytes int
	// Bytes is the size of all answers kept, each with overhead. Above it the oldest
	// are forgotten.
	Bytes int
	// Lossy is for a machine that is not given the whole log again at a start: what it
	// replied to the rest nobody knows any more. Replies then decide nothing, so that
	// members which know different ones decide alike: they do not count for Bytes, a
	// repeat of a command whose reply is lost is a Repeat all the same, and none is in a
	// snapshot. Those that are known are kept in memory, up to Bytes of their own.
	Lossy bool
}

// answerOverhead is what an answer weighs beside its reply, about.
const answerOverhead = 128

// DefaultLimits hold some 100 MB at the most, and no more than a client uses as a rule.
func DefaultLimits() Limits {
	return Limits{
		Opened: 1 << 16, Named: 1 << 18, Idle: time.Hour,
		Window: 1 << 16, NamedWindow: 128, ReplyBytes: 1 << 20, Bytes: 128 << 20,
	}
}

// Validate names the first limit that cannot be.
func (l *Limits) Validate() error {
	switch {
	case l.Opened <= 0 || l.Named <= 0 || l.Idle <= 0 || l.Window <= 0 || l.NamedWindow <= 0 || l.ReplyBytes < 0:
		return fmt.Errorf("session limits %+v: expected every limit above 0", *l)
	case l.Bytes < l.ReplyBytes+answerOverhead:
		return fmt.Errorf("session limits: Bytes %d, expected at least ReplyBytes + %d, %d", l.Bytes, answerOverhead, l.ReplyBytes+answerOverhead)
	}
	return nil
}

// Command is what the table needs to know of an entry.
type Command struct {
	Session      uint64 // id of an opened session, 0 where it has a name
	Name         []byte // of 1 to MaxNameBytes bytes; only lent
	Sequence     uint64 // from 1
	Acknowledged uint64 // the client waits for no answer below; 0 says nothing
	Index        uint64 // of the entry
	Time         int64  // log time, nanoseconds since 1970
}

// Decision is what is to be done with a command.
type Decision int

const (
	// Apply: it is new. Applied must be told its reply, in order.
	Apply Decision = iota
	// Repeat: it was applied at Verdict.Index with Verdict.Reply, unless that is Lost.
	Repeat
	// Expired: its session is not known, or its answer was forgotten. It may have been
	// applied before and must not be applied now.
	Expired
	// Full: its name is new, and there are too many names. It was not applied.
	Full
	// Behind: say it again when Applied was called for every command admitted before.
	// Nothing has changed.
	Behind
)

func (d Decision) String() string {
	return [...]string{"apply", "repeat", "expired", "full", "behind"}[d]
}

// Verdict is a decision and, for a Repeat, the first answer.
type Verdict struct {
	Decision
	Session uint64 // the session's number, also of one with a name: the index it began at
	Index   uint64
	Reply   []byte // shared, and not to be changed
	Lost    bool   // the reply is: of a Repeat of a Lossy table
}
