package actors

import (
	"errors"
	"fmt"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/hashicorp/go-hclog"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/messages"
)

// LogReader
//
//	owns   nothing: it reads the log device beside the LogWriter
//	hears  LoadGroup, ReadEntries
//	says   GroupLoaded, EntriesRead
//
// It serves starting members, slow followers and replay, so that none of them
// waits in the Raft actor or behind a sync. Who asks has one question outstanding.
type logReader struct {
	store  logstore.Store
	logger hclog.Logger
}

// LogReaderProps describes a process's LogReader.
func LogReaderProps(rt *Runtime, store logstore.Store) *actor.Props {
	return rt.props(0, func() behavior {
		return &logReader{store: store, logger: rt.Logger.Named("log")}
	})
}

func (r *logReader) started(actor.Context) {}

func (r *logReader) receive(ctx actor.Context, message any, sender *actor.PID) {
	switch m := message.(type) {
	case *LoadGroup:
		r.onLoadGroup(ctx, m, sender)
	case *ReadEntries:
		r.onReadEntries(ctx, m)
	}
}

// onLoadGroup reads all that is whole of a group.
func (r *logReader) onLoadGroup(ctx actor.Context, m *LoadGroup, sender *actor.PID) {
	loaded := &GroupLoaded{}
	loaded.State, loaded.Err = r.store.Load(m.Group)
	if errors.Is(loaded.Err, logstore.ErrCorrupt) {
		r.logger.Error("damaged log, reading what is whole of it", "group", m.Group, "error", loaded.Err)
		loaded.State, loaded.Damage, loaded.Err = r.store.Salvage(m.Group)
	}
	ctx.Send(sender, loaded)
}

func (r *logReader) onReadEntries(ctx actor.Context, m *ReadEntries) {
	blocks, err := r.store.Read(m.Group, uint64(m.First), uint64(m.Last), m.MaxBytes)
	if n := len(blocks); err == nil && blocks[n-1].LastIndex() > uint64(m.Last) {
		// A truncation may be on its way to the disk: what follows there may be no
		// entries of the log any more.
		blocks[n-1], err = blocks[n-1].Prefix(uint64(m.Last))
	}
	ctx.Send(m.ReplyTo, &EntriesRead{
		First: m.First, PrevTerm: m.PrevTerm, Blocks: blocks, Session: m.Session, Err: err,
	})
}

func (r *logReader) endTurn(actor.Context)  {}
func (r *logReader) stopping(actor.Context) {}

// crashed: a store that panics is no store to go on with.
func (r *logReader) crashed(ctx actor.Context, reason any, stack []byte) {
	r.logger.Error("log reader crashed", "panic", reason, "stack", string(stack))
	ctx.Send(ctx.Parent(), &messages.StorageFailed{Reason: fmt.Sprintf("log reader crashed: %v", reason)})
}
