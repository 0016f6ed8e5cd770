package actors

import (
	"errors"
	"fmt"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/hashicorp/go-hclog"

	"github.com/protoraft/protoraft/logstore/snapshots"
)

// SnapshotWriter
//
//	owns   the writing of one snapshot
//	hears  nothing: what it is to write it has from its birth
//	says   SnapshotWritten or SnapshotNotWritten to its Snapshotter
//
// It writes in its one turn, while the machine goes on, and is ended then. The views are
// released whatever becomes of it.
type snapshotWriter struct {
	snapshotter *actor.PID
	store       *snapshots.Store
	save        *SaveSnapshot
	logger      hclog.Logger
	file        *snapshots.Writer
	claimed     bool
}

func snapshotWriterProps(rt *Runtime, snapshotterPID *actor.PID, store *snapshots.Store, save *SaveSnapshot, logger hclog.Logger) *actor.Props {
	w := &snapshotWriter{snapshotter: snapshotterPID, store: store, save: save, logger: logger}
	return rt.props(0, func() behavior { return w })
}

func (w *snapshotWriter) started(ctx actor.Context) {
	if !w.save.Capture.claim() {
		w.end(ctx, errors.New("the member stops"))
		return
	}
	w.claimed = true
	w.end(ctx, w.write())
}

// write makes the file durable: whole, or not there at all.
func (w *snapshotWriter) write() (err error) {
	if w.file, err = w.store.Create(w.save.Meta); err != nil {
		return err
	}
	for _, s := range w.save.Capture.sections {
		to, err := w.file.Section(s.name)
		if err == nil {
			_, err = s.view.WriteTo(to)
		}
		if err != nil {
			return fmt.Errorf("section %q: %w", s.name, err)
		}
	}
	_, err = w.file.Commit()
	return err
}

func (w *snapshotWriter) end(ctx actor.Context, err error) {
	w.release()
	if err != nil {
		ctx.Send(w.snapshotter, &SnapshotNotWritten{Reason: fmt.Sprintf("snapshot at %d: %v", w.save.Meta.Index, err)})
	} else {
		ctx.Send(w.snapshotter, &SnapshotWritten{Meta: w.save.Meta})
	}
}

// release frees the views and what is left of a file that was not finished.
func (w *snapshotWriter) release() {
	if w.claimed {
		w.claimed = false
		w.save.Capture.release()
	}
	if w.file != nil {
		w.file.Abort()
		w.file = nil
	}
}

func (w *snapshotWriter) receive(actor.Context, any, *actor.PID) {}
func (w *snapshotWriter) endTurn(actor.Context)                  {}
func (w *snapshotWriter) stopping(actor.Context)                 { w.release() }

// crashed: a panic in a machine's view costs the snapshot.
func (w *snapshotWriter) crashed(ctx actor.Context, reason any, stack []byte) {
	w.logger.Error("the view of the state machine failed", "panic", reason, "stack", string(stack))
	w.end(ctx, fmt.Errorf("the view panicked: %v", reason))
}
