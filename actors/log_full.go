package actors

import (
	"errors"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/messages"
)

// retryFullAfter is how often a LogWriter looks whether its full disk has room again.
const retryFullAfter = 100 * time.Millisecond

// fullLog is what a LogWriter keeps while its disk is full, in the order it came. It is
// bounded by those it comes from: a leader has a few blocks outstanding and takes no more
// commands, a follower's leader has a window, and of terms and votes only the last
// counts.
type fullLog struct {
	kept  []keptWrite
	retry timer
}

// keptWrite is an update that did not fit, and what to say when it is durable. Where
// writes is false there is only something to say, after what is before it.
type keptWrite struct {
	update logstore.Update
	writes bool
	fact   fact
	early  bool // a compaction that need not wait for what is before it
}

func (k *keptWrite) hardState() bool { return k.writes && k.update.HardState != nil }
func (k *keptWrite) deletes() bool   { return k.writes && k.update.Delete }

// urgent: it keeps its order among its like, and needs no room to speak of. What a group
// writes that is made anew must not go before the deletion of the one before it.
func (k *keptWrite) urgent() bool { return k.hardState() || k.deletes() }

// compacts says whether it cuts the log behind a snapshot, and resets, whether it puts a
// snapshot in the place of the log.
func (k *keptWrite) compacts() bool { return k.writes && k.update.CompactTo != 0 }
func (k *keptWrite) resets() bool   { return k.compacts() && k.update.TruncateFrom != 0 }

func (k *keptWrite) sameMember(o *keptWrite) bool {
	return k.update.Group == o.update.Group && k.update.Incarnation == o.update.Incarnation
}

// leaves says whether k means the same before o as after it: a compaction below the
// entries that o brings or cuts off.
func (k *keptWrite) leaves(o *keptWrite) bool {
	switch {
	case !o.writes || k.update.Group != o.update.Group || o.hardState():
		return true
	case o.deletes() || !k.sameMember(o) || k.resets() || o.compacts():
		return false
	}
	for i := range o.update.Blocks {
		if o.update.Blocks[i].FirstIndex <= k.update.CompactTo {
			return false
		}
	}
	return o.update.TruncateFrom == 0 || o.update.TruncateFrom > k.update.CompactTo
}

// becomeFull keeps what this turn could not write.
func (w *logWriter) becomeFull(ctx actor.Context, err error) {
	w.logger.Warn("disk full: nothing but terms, votes and compactions is written until there is room", "error", err)
	w.full = &fullLog{}
	ctx.Send(ctx.Parent(), &LogFull{Reason: err.Error()})
	w.turnFull(ctx)
}

// turnFull keeps what came in this turn behind what is kept, except for terms, votes and
// compactions, for which there may be room.
func (w *logWriter) turnFull(ctx actor.Context) {
	next := 0
	for _, f := range w.facts {
		k := keptWrite{fact: f, writes: f.writes}
		if f.writes {
			k.update = w.updates[next]
			next++
		}
		w.full.keep(k)
	}
	w.clear()
	w.writeSmall(ctx)
}

// keep takes one more. A term and vote replace those of their member that wait: what
// was asked for before them has no meaning any more, but for the note that came with it. The same goes for a compaction that
// reaches further, for whatever of a log waits when a snapshot takes its place, and for all
// that waits of a group that is deleted.
func (l *fullLog) keep(k keptWrite) {
	gone := func(o *keptWrite) bool {
		switch {
		case k.deletes():
			return k.fact.group == o.fact.group
		case !o.writes || o.deletes() || !k.sameMember(o):
			return false
		case k.hardState() || o.hardState():
			return k.hardState() && o.hardState()
		default:
			return k.resets() || k.compacts() && o.compacts() && !o.resets()
		}
	}
	l.takeOut(gone, func(o *keptWrite) {
		if k.hardState() && k.update.Note == nil {
			k.update.Note = o.update.Note
		}
	})
	l.kept = append(l.kept, k)
}

// writeSmall writes what may find room on a full disk, before entries that were to be
// written first: terms and votes, of a member that has said nothing of those entries yet
// and may lose them, and compactions, which give room back.
func (w *logWriter) writeSmall(ctx actor.Context) {
	w.writeEarly(ctx, (*keptWrite).urgent)
	if w.failed == "" {
		w.full.findEarly()
		w.writeEarly(ctx, func(k *keptWrite) bool { return k.early })
	}
	if w.failed == "" {
		w.sayWhatIsFree(ctx)
		w.armRetry(ctx)
	}
}

// findEarly looks for compactions that need not wait.
func (l *fullLog) findEarly() {
	for i := range l.kept {
		k := &l.kept[i]
		k.early = k.compacts() && !slices.ContainsFunc(l.kept[:i], func(o keptWrite) bool { return !k.leaves(&o) })
	}
}

// writeEarly writes those that are picked in one go, and reports them.
func (w *logWriter) writeEarly(ctx actor.Context, picked func(*keptWrite) bool) {
	var updates []logstore.Update
	for i := range w.full.kept {
		if k := &w.full.kept[i]; picked(k) {
			updates = append(updates, k.update)
		}
	}
	if len(updates) == 0 {
		return
	}
	switch err := w.store.Write(updates); {
	case err == nil:
		w.full.takeOut(picked, func(k *keptWrite) { ctx.Send(k.fact.to, k.fact.message) })
	case errors.Is(err, logstore.ErrFull), ofOneGroup(err): // retry finds out which
	default:
		w.fail(ctx, err.Error())
	}
}

// takeOut removes what is done, in order.
func (l *fullLog) takeOut(done func(*keptWrite) bool, then func(*keptWrite)) {
	rest := l.kept[:0]
	for i := range l.kept {
		if k := l.kept[i]; done(&k) {
			then(&k)
		} else {
			rest = append(rest, k)
		}
	}
	clear(l.kept[len(rest):])
	l.kept = rest
}

// sayWhatIsFree says what waits for nothing that is kept of its group.
func (w *logWriter) sayWhatIsFree(ctx actor.Context) {
	waits := map[uint64]bool{}
	w.full.takeOut(func(k *keptWrite) bool {
		waits[k.fact.group] = waits[k.fact.group] || k.writes
		return !waits[k.fact.group]
	}, func(k *keptWrite) { ctx.Send(k.fact.to, k.fact.message) })
}

func (w *logWriter) armRetry(ctx actor.Context) {
	if w.full.retry.stop == nil {
		w.full.retry.set(ctx, w.clock, retryFullAfter, func(generation uint64) any { return &RetryWrite{Generation: generation} })
	}
}

// onRetryWrite writes what is kept, in order, as much of it at a time as there is room for.
func (w *logWriter) onRetryWrite(ctx actor.Context, m *RetryWrite) {
	if w.full == nil || m.Generation != w.full.retry.generation {
		return
	}
	w.full.retry.stop = nil
	for n := len(w.full.kept); len(w.full.kept) > 0; {
		n = max(min(n, len(w.full.kept)), 1)
		switch err := w.store.Write(w.full.updates(n)); {
		case err == nil:
			w.report(ctx, n)
			n *= 2
		case n > 1 && (errors.Is(err, logstore.ErrFull) || ofOneGroup(err)):
			n /= 2
		case errors.Is(err, logstore.ErrFull):
			w.writeSmall(ctx)
			return
		case ofOneGroup(err):
			w.refuseGroup(ctx, w.full.kept[0].fact.group, err)
		default:
			w.fail(ctx, err.Error())
			return
		}
	}
	w.full = nil
	w.logger.Info("the disk has room again, everything that waited is written")
	ctx.Send(ctx.Parent(), &LogHasRoom{})
}

// updates returns those of the first n that are kept.
func (l *fullLog) updates(n int) []logstore.Update {
	var out []logstore.Update
	for i := range l.kept[:n] {
		if k := &l.kept[i]; k.writes {
			out = append(out, k.update)
		}
	}
	return out
}

// report says that the first n are durable.
func (w *logWriter) report(ctx actor.Context, n int) {
	i := 0
	w.full.takeOut(func(*keptWrite) bool { i++; return i <= n }, func(k *keptWrite) { ctx.Send(k.fact.to, k.fact.message) })
}

// refuseGroup stops a group of which an update cannot be: nothing more of it is written.
func (w *logWriter) refuseGroup(ctx actor.Context, group uint64, err error) {
	w.logger.Error("write refused, the group stops", "group", group, "error", err)
	w.full.takeOut(func(k *keptWrite) bool { return k.fact.group == group }, func(k *keptWrite) {
		ctx.Send(k.fact.to, &messages.StorageFailed{Reason: err.Error()})
	})
}
