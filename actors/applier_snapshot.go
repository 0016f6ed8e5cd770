package actors

import (
	"errors"
	"fmt"
	"io"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/fsm"
	"github.com/protoraft/protoraft/logstore/snapshots"
	"github.com/protoraft/protoraft/messages"
)

// capturing is what the Applier keeps for snapshots.
type capturing struct {
	store *snapshots.Store // nil for a member that keeps none
	last  *capture         // the last view given away

	// Of the last entry applied.
	term          core.Term
	time          int64
	configuration configuration // the last one applied
	bytes         int           // of log applied since the last report
}

// drop releases a view that no writer has taken.
func (c *capturing) drop() {
	if c.last != nil && c.last.claim() {
		c.last.release()
	}
	c.last = nil
}

// part is something of the Applier's that a snapshot holds, in a section of its own.
type part struct {
	name    string
	view    func() (fsm.View, error)
	restore func(io.Reader) error
	newer   bool // than the first files: one without it is whole
}

// Names of sections are in files: they never change.
const (
	sessionsSection = "sessions"
	machineSection  = "machine"
	comparedSection = "compared"
)

// parts are the sections of a snapshot, in the order of the file.
func (a *applier) parts() []part {
	sessions := func() (fsm.View, error) { return a.sessions.View(), nil }
	return []part{
		{name: sessionsSection, view: sessions, restore: a.sessions.Load},
		{name: machineSection, view: a.machine.Snapshot, restore: a.machine.Restore},
		{name: comparedSection, view: a.hashes.view, restore: a.hashes.load, newer: true},
	}
}

// onCaptureSnapshot takes a view of every part as of the last entry applied, in this
// turn: index and contents belong together.
func (a *applier) onCaptureSnapshot(ctx actor.Context, m *CaptureSnapshot) {
	if a.applied < a.ahead {
		ctx.Send(a.raft, &SnapshotFailed{Reason: fmt.Sprintf("the state machine is at %d, and its sessions are at %d on their way there", a.ahead, a.applied)})
		return
	}
	if err := a.askKept(); err != nil {
		a.fail(ctx, err.Error())
		return
	}
	a.report(ctx) // before anything is said of a snapshot up to there
	if a.snapshots.term == 0 {
		ctx.Send(a.raft, &SnapshotFailed{Reason: "nothing was applied since the start"})
		return
	}
	if c := activeAt(m.Configurations, a.applied); c.index > a.snapshots.configuration.index {
		a.snapshots.configuration = c
	}
	c := &capture{}
	for _, p := range a.parts() {
		view, err := a.view(p)
		if err != nil {
			c.release()
			ctx.Send(a.raft, &SnapshotFailed{Reason: fmt.Sprintf("no view of section %q at %d: %v", p.name, a.applied, err)})
			return
		}
		c.sections = append(c.sections, section{p.name, view})
	}
	a.snapshots.drop() // one that never came to a writer
	a.snapshots.last = c
	ctx.Send(a.snapshotter(), &SaveSnapshot{Capture: c, Meta: &messages.SnapshotMeta{
		Group: a.group, Incarnation: m.Incarnation, Index: uint64(a.applied), Term: uint64(a.snapshots.term),
		Configuration:      describeConfiguration(&a.snapshots.configuration.Configuration),
		ConfigurationIndex: uint64(a.snapshots.configuration.index), Time: a.snapshots.time,
		Machine: fsm.SnapshotFormatOf(a.machine),
	}})
}

// view costs a part that panics the snapshot, not the group: it has changed nothing.
func (a *applier) view(p part) (view fsm.View, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	if view, err = p.view(); err == nil && view == nil {
		err = errors.New("the state machine has given none")
	}
	return view, err
}

// activeAt is the last configuration at or below an index. The Raft knows them all; a
// machine that keeps its own state has not seen those from before its start.
func activeAt(all []configuration, applied core.Index) (active configuration) {
	for _, c := range all {
		if c.index <= applied {
			active = c
		}
	}
	return active
}

func (a *applier) snapshotter() *actor.PID {
	return actor.NewPID(a.raft.Address, a.raft.Id+"/"+snapshotterName)
}

// onRestoreSnapshot puts a snapshot's state in the place of what was applied. It comes
// in order with the entries: what was handed over before it and is not applied yet is
// within it. Who waits for such an entry is not told what the machine answered, for
// nobody here knows.
func (a *applier) onRestoreSnapshot(ctx actor.Context, m *RestoreSnapshot) {
	if core.Index(m.Meta.Index) <= a.applied {
		return
	}
	for _, w := range a.work {
		for i := range w.Blocks {
			a.abandon(&w.Blocks[i], messages.Reason_LEADERSHIP_LOST)
		}
	}
	a.work = nil
	a.fetching = false
	a.fetches++ // what the LogReader still answers is of no use
	if err := a.restore(m.Meta); err != nil {
		a.fail(ctx, fmt.Sprintf("cannot restore the snapshot at %d: %v", m.Meta.Index, err))
		return
	}
	a.logger.Info("state restored from a snapshot", "index", m.Meta.Index, "applied", a.applied)
	a.applied = core.Index(m.Meta.Index)
	a.hashes.applied = a.applied
	a.snapshots.term, a.snapshots.time = core.Term(m.Meta.Term), m.Meta.Time
	a.answerReached(ctx)
}

func (a *applier) restore(meta *messages.SnapshotMeta) (err error) {
	c, err := configurationOf(meta.Configuration)
	if err != nil {
		return err
	}
	if err := fsm.CheckSnapshotFormat(meta.Machine, fsm.SnapshotFormatOf(a.machine)); err != nil {
		return err
	}
	file, err := a.snapshots.store.Open(meta.Group, meta.Index)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	a.hashes.partial = true // unless the file says more
	ahead := core.Index(meta.Index) <= a.ahead
	for _, p := range a.parts() {
		if ahead && p.name != sessionsSection {
			continue // the machine has this by itself, and more
		}
		if err := p.restoreFrom(file); err != nil {
			return fmt.Errorf("section %q: %w", p.name, err)
		}
	}
	a.snapshots.configuration = configuration{core.Index(meta.ConfigurationIndex), c}
	if !ahead {
		a.observeConfiguration(meta.ConfigurationIndex, &c)
	}
	return nil
}

func (p *part) restoreFrom(file *snapshots.Reader) error {
	section, found, err := file.Section(p.name)
	switch {
	case err != nil:
		return err
	case found:
		return p.restore(section)
	case p.newer:
		return nil
	}
	return errors.New("there is none")
}
