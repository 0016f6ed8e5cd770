package actors

import (
	"fmt"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/fsm"
	"github.com/protoraft/protoraft/fsm/session"
	"github.com/protoraft/protoraft/messages"
)

// LogFound: Raft → Applier, local, to a machine that is fsm.Durable, before anything is
// restored or applied. Up to Last there is a log, or a snapshot that stands for it;
// where New, nothing was stored at all. Noted is the highest index that the machine has
// said to hold on its disk.
type LogFound struct {
	Last, Noted core.Index
	New         bool
}

// onLogFound refuses a machine that does not belong to this log, before it is touched.
// What it lacks otherwise is in the snapshot and the log.
func (a *applier) onLogFound(ctx actor.Context, m *LogFound) {
	switch {
	case m.New && a.ahead > 0:
		a.fail(ctx, fmt.Sprintf("state machine of group %d says it has applied %d, and the log is empty: the log was lost, or the machine is another group's", a.group, a.ahead))
	case a.ahead < m.Noted:
		a.fail(ctx, fmt.Sprintf("state machine of group %d went backwards: it says it has applied %d, and said %d in an earlier life, expected at least %d: its storage was lost, or is an older copy", a.group, a.ahead, m.Noted, m.Noted))
	case a.ahead > m.Last:
		a.fail(ctx, fmt.Sprintf("state machine of group %d says it has applied %d, and the log ends at %d, expected at least %d: the log went backwards, or the machine is another group's", a.group, a.ahead, m.Last, a.ahead))
	default:
		a.kept = a.ahead
	}
}

// askKept asks a machine with a disk of its own what it holds there. It must not have
// fallen, nor be above what it was given.
func (a *applier) askKept() error {
	m, ok := a.machine.(fsm.Durable)
	if !ok {
		return nil
	}
	index, err := m.AppliedIndex()
	kept := core.Index(index)
	switch {
	case err != nil:
		return fmt.Errorf("state machine of group %d does not know its applied index: %w", a.group, err)
	case kept < a.kept:
		return fmt.Errorf("state machine of group %d went backwards: it says it has applied %d, and said %d before, expected at least %d", a.group, kept, a.kept, a.kept)
	case kept > a.applied:
		return fmt.Errorf("state machine of group %d says it has applied %d, and was given entries up to %d only", a.group, kept, a.applied)
	}
	a.kept = kept
	return nil
}

// passOver takes an entry that the machine has by itself: only sessions and the
// configuration are not its own. What it replied nobody knows.
func (a *applier) passOver(index uint64, b *messages.Block, e messages.EntryView) error {
	a.applied = core.Index(index)
	a.hashes.partial = true
	switch e.Kind {
	case messages.EntryKind_SESSION:
		a.sessions.Open(sessionID(index, b.Incarnation), b.Time)
	case messages.EntryKind_CONFIGURATION:
		c, err := decodeConfiguration(e.Data)
		if err != nil {
			return fmt.Errorf("index %d: %w", index, err)
		}
		a.snapshots.configuration = configuration{core.Index(index), c}
	case messages.EntryKind_COMMAND, messages.EntryKind_NAMED_COMMAND:
		c, _, ok := sessionCommand(index, b.Time, &e)
		if ok && a.sessions.Admit(c).Decision == session.Apply {
			a.sessions.Lost()
		}
	}
	return nil
}

// reflected is the last entry that the machine's state has.
func (a *applier) reflected() core.Index { return max(a.applied, a.ahead) }
