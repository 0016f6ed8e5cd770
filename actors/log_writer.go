package actors

import (
	"errors"
	"fmt"
	"slices"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/hashicorp/go-hclog"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/messages"
)

// LogWriter
//
//	owns   what is written to the log device; one for all groups of a process
//	hears  PersistHardState, PersistEntries, CompactLog, DeleteLog, AdmitMember,
//	       RetryWrite
//	says   HardStatePersisted, EntriesPersisted, LogCompacted, LogDeleted, MemberAdmitted,
//	       StorageFailed; LogFull and LogHasRoom to the Node
//
// A turn makes one write and one sync for everything that was waiting. While it
// syncs, the next turn's work gathers in the mailbox: that is all the batching
// there is, and there is never more than one sync in flight.
//
// After a failed write or sync it never acknowledges anything again. A full disk is no
// failure, as nothing was written: log_full.go keeps it and tries again.
type logWriter struct {
	store  logstore.Store
	clock  Clock
	logger hclog.Logger

	updates []logstore.Update
	facts   []fact
	full    *fullLog // nil while the disk has room
	failed  string
}

// fact is what to say, and to whom, once the turn's write is durable. The facts that
// write are in the order of the updates.
type fact struct {
	group   uint64
	to      *actor.PID
	message any
	writes  bool
}

// logWriterYields: giving way once before taking what waits lets the members that
// the last turn woke join this one.
const logWriterYields = 1

// LogWriterProps describes a process's LogWriter.
func LogWriterProps(rt *Runtime, store logstore.Store) *actor.Props {
	return rt.props(logWriterYields, func() behavior {
		return &logWriter{store: store, clock: rt.Clock, logger: rt.Logger.Named("log")}
	})
}

func (w *logWriter) started(actor.Context) {}

func (w *logWriter) receive(ctx actor.Context, message any, sender *actor.PID) {
	if w.failed != "" {
		if sender != nil {
			ctx.Send(sender, &messages.StorageFailed{Reason: w.failed})
		}
		return
	}
	switch m := message.(type) {
	case *PersistHardState:
		w.onPersistHardState(m, sender)
	case *PersistEntries:
		w.onPersistEntries(m, sender)
	case *CompactLog:
		w.onCompactLog(m, sender)
	case *DeleteLog:
		w.onDeleteLog(m, sender)
	case *AdmitMember:
		// What an earlier life of the member had under way is written before it, and
		// reported before it: the member is still starting then, and takes no notice.
		w.facts = append(w.facts, fact{m.Group, m.PID, &MemberAdmitted{}, false})
	case *RetryWrite:
		w.onRetryWrite(ctx, m)
	}
}

func (w *logWriter) onPersistHardState(m *PersistHardState, sender *actor.PID) {
	w.updates = append(w.updates, logstore.Update{
		Group: m.Group, Incarnation: m.Incarnation, HardState: &m.State, Note: m.Note,
	})
	w.facts = append(w.facts, fact{m.Group, sender, &messages.HardStatePersisted{
		Group: m.Group, Incarnation: m.Incarnation, Change: m.Change,
	}, true})
}

func (w *logWriter) onPersistEntries(m *PersistEntries, sender *actor.PID) {
	w.updates = append(w.updates, logstore.Update{
		Group: m.Group, Incarnation: m.Incarnation,
		ResetFrom: uint64(m.ResetFrom), TruncateFrom: uint64(m.TruncateFrom),
		Blocks: []messages.Block{m.Block},
	})
	w.facts = append(w.facts, fact{m.Group, sender, &messages.EntriesPersisted{
		Group: m.Group, Incarnation: m.Incarnation, Term: uint64(m.Term),
		Generation: m.Generation, LastIndex: m.Block.LastIndex(),
	}, true})
}

func (w *logWriter) onCompactLog(m *CompactLog, sender *actor.PID) {
	w.updates = append(w.updates, logstore.Update{
		Group: m.Group, Incarnation: m.Incarnation,
		ResetFrom: uint64(m.ResetFrom), TruncateFrom: uint64(m.TruncateFrom),
		CompactTo: uint64(m.To.Index), CompactTerm: uint64(m.To.Term),
	})
	w.facts = append(w.facts, fact{m.Group, sender, &messages.LogCompacted{
		Group: m.Group, Incarnation: m.Incarnation, Index: uint64(m.To.Index),
	}, true})
}

func (w *logWriter) endTurn(ctx actor.Context) {
	if w.full != nil && len(w.facts) > 0 {
		w.turnFull(ctx)
		return
	}
	var err error
	if len(w.updates) > 0 {
		err = w.store.Write(w.updates)
	}
	switch {
	case err == nil:
		for _, f := range w.facts {
			ctx.Send(f.to, f.message)
		}
	case errors.Is(err, logstore.ErrFull):
		w.becomeFull(ctx, err)
		return
	case ofOneGroup(err):
		w.writeGroups(ctx)
	default:
		w.fail(ctx, err.Error())
	}
	w.clear()
}

// ofOneGroup: the store wrote nothing and has not failed; one group's update cannot be.
func ofOneGroup(err error) bool {
	return errors.Is(err, logstore.ErrInvalid) || errors.Is(err, logstore.ErrCorrupt)
}

// writeGroups writes a turn that was refused group by group, so that only the group at
// fault stops.
func (w *logWriter) writeGroups(ctx actor.Context) {
	updates := map[uint64][]logstore.Update{}
	for _, u := range w.updates {
		updates[u.Group] = append(updates[u.Group], u)
	}
	refused, waits, full := map[uint64]string{}, map[uint64]bool{}, error(nil)
	for _, group := range sortedKeys(updates) {
		err := w.store.Write(updates[group])
		switch {
		case err == nil:
		case errors.Is(err, logstore.ErrFull):
			waits[group], full = true, err
		case ofOneGroup(err):
			w.logger.Error("write refused, the group stops", "group", group, "error", err)
			refused[group] = err.Error()
		default:
			w.fail(ctx, err.Error())
			return
		}
	}
	w.updates = slices.DeleteFunc(w.updates, func(u logstore.Update) bool { return !waits[u.Group] })
	w.facts = slices.DeleteFunc(w.facts, func(f fact) bool {
		reason, bad := refused[f.group]
		switch {
		case bad:
			ctx.Send(f.to, &messages.StorageFailed{Reason: reason})
		case !waits[f.group]:
			ctx.Send(f.to, f.message)
		}
		return !waits[f.group]
	})
	if full != nil {
		w.becomeFull(ctx, full)
	}
}

func (w *logWriter) clear() {
	clear(w.updates)
	w.updates = w.updates[:0]
	clear(w.facts)
	w.facts = w.facts[:0]
}

// fail stops the writer for good: after a failed sync the page cache proves
// nothing, so a retry that succeeds would prove nothing either.
func (w *logWriter) fail(ctx actor.Context, reason string) {
	w.failed = reason
	w.logger.Error("storage failed, nothing more will be written", "error", reason)
	failed := &messages.StorageFailed{Reason: reason}
	if w.full != nil {
		w.full.retry.cancel()
		for i := range w.full.kept {
			ctx.Send(w.full.kept[i].fact.to, failed)
		}
		w.full = nil
	}
	for _, f := range w.facts {
		ctx.Send(f.to, failed)
	}
	w.clear()
	ctx.Send(ctx.Parent(), failed)
}

func (w *logWriter) stopping(actor.Context) {
	if w.full != nil {
		w.full.retry.cancel()
	}
}

func (w *logWriter) crashed(ctx actor.Context, reason any, stack []byte) {
	w.logger.Error("log writer crashed", "panic", reason, "stack", string(stack))
	w.fail(ctx, fmt.Sprintf("log writer crashed: %v", reason))
}
