package actors

import (
	"errors"
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
}

func (k *keptWrite) hardStateOnly() bool { return k.writes && len(k.update.Blocks) == 0 }

// becomeFull keeps what this turn could not write.
func (w *logWriter) becomeFull(ctx actor.Context, err error) {
	w.logger.Warn("disk full: nothing but terms and votes is written until there is room", "error", err)
	w.full = &fullLog{}
	ctx.Send(ctx.Parent(), &LogFull{Reason: err.Error()})
	w.turnFull(ctx)
}

// turnFull keeps what came in this turn behind what is kept, except for terms and votes,
// for which there may be room.
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
	if w.writeHardStates(ctx); w.failed == "" {
		w.sayWhatIsFree(ctx)
		w.armRetry(ctx)
	}
}

// keep takes one more. A term and vote replace those of their member that wait: what
// was asked for before them has no meaning any more.
func (l *fullLog) keep(k keptWrite) {
	for i := range l.kept {
		if o := &l.kept[i]; k.hardStateOnly() && o.hardStateOnly() && o.update.Group == k.update.Group && o.update.Incarnation == k.update.Incarnation {
			*o = k
			return
		}
	}
	l.kept = append(l.kept, k)
}

// writeHardStates writes terms and votes before entries that were to be written first. A
// member that votes has said nothing of those entries yet, and may lose them.
func (w *logWriter) writeHardStates(ctx actor.Context) {
	var updates []logstore.Update
	for i := range w.full.kept {
		if k := &w.full.kept[i]; k.hardStateOnly() {
			updates = append(updates, k.update)
		}
	}
	if len(updates) == 0 {
		return
	}
	switch err := w.store.Write(updates); {
	case err == nil:
		w.full.takeOut(func(k *keptWrite) bool { return k.hardStateOnly() }, func(k *keptWrite) { ctx.Send(k.fact.to, k.fact.message) })
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
			w.armRetry(ctx)
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
