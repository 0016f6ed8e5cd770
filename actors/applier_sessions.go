package actors

import (
	"time"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/fsm"
	"github.com/protoraft/protoraft/fsm/session"
	"github.com/protoraft/protoraft/messages"
)

// proposable says whether a client may have this put into the log. What the Applier
// could make nothing of is refused at the door.
func proposable(m *messages.Propose) bool {
	switch m.Kind {
	case messages.EntryKind_COMMAND:
		return m.Session == 0 || m.Sequence != 0
	case messages.EntryKind_SESSION:
		return len(m.Command) == 0
	case messages.EntryKind_NAMED_COMMAND:
		_, _, ok := messages.SplitNamed(m.Command)
		return ok && m.Session == 0 && m.Sequence != 0
	}
	return false
}

// A name that can be sent can be kept.
var _ [session.MaxNameBytes - messages.MaxNameBytes]struct{}

// sessionCommand reads the command of an entry that belongs to a session, and with it
// the part of its data that is for the machine. It is not ok where the entry can have
// been made by nobody who knows what a session is.
func sessionCommand(index uint64, when int64, e *messages.EntryView) (c session.Command, data []byte, ok bool) {
	c = session.Command{Session: e.Session, Sequence: e.Sequence, Acknowledged: e.Acknowledged, Index: index, Time: when}
	data, ok = e.Data, e.Session != 0
	if e.Kind == messages.EntryKind_NAMED_COMMAND {
		c.Name, data, ok = messages.SplitNamed(e.Data)
		ok = ok && e.Session == 0
	}
	return c, data, ok && e.Sequence != 0
}

// applyInSession gives the machine a command if its session has not seen it before. Only
// what the machine has not applied ever reaches it, also within a batch.
func (a *applier) applyInSession(index uint64, b *messages.Block, e *messages.EntryView, w Waiter, when time.Time) error {
	c, data, ok := sessionCommand(index, b.Time, e)
	if !ok { // no leader of this version writes it
		return a.answerUnapplied(index, w, messages.ResultItem{Outcome: messages.Outcome_NOT_APPLIED, Reason: messages.Reason_REFUSED})
	}
	v := a.sessions.Admit(c)
	if v.Decision == session.Behind {
		if err := a.applyCommands(); err != nil {
			return err
		}
		v = a.sessions.Admit(c)
	}
	if v.Decision == session.Apply {
		return a.applyCommand(&fsm.Entry{
			Group: a.group, Index: index, Term: b.Term, Time: when,
			Data: data, Session: v.Session, Sequence: e.Sequence,
		}, w)
	}
	return a.answerUnapplied(index, w, answerOf(v))
}

// answerUnapplied passes over an entry that is not for the machine.
func (a *applier) answerUnapplied(index uint64, w Waiter, item messages.ResultItem) error {
	if err := a.applyCommands(); err != nil {
		return err
	}
	a.applied = core.Index(index)
	a.replies.add(w, item)
	return nil
}

// answerOf is the answer to a command that is not applied now. Of one whose session
// has forgotten it nobody can tell whether an earlier try was applied.
func answerOf(v session.Verdict) messages.ResultItem {
	switch v.Decision {
	case session.Repeat:
		if v.Lost {
			return messages.ResultItem{Outcome: messages.Outcome_APPLIED, Reason: messages.Reason_REPLY_LOST, Index: v.Index}
		}
		return messages.ResultItem{Outcome: messages.Outcome_APPLIED, Index: v.Index, Data: v.Reply}
	case session.Full:
		return messages.ResultItem{Outcome: messages.Outcome_NOT_APPLIED, Reason: messages.Reason_BUSY}
	}
	return messages.ResultItem{Outcome: messages.Outcome_UNKNOWN, Reason: messages.Reason_SESSION_EXPIRED}
}
