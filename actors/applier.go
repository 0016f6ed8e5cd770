package actors

import (
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/hashicorp/go-hclog"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/fsm"
	"github.com/protoraft/protoraft/messages"
)

// Applier
//
//	owns   the state machine and its applied index
//	hears  ApplyCommitted, AnswerQueries, CaptureSnapshot, RestoreSnapshot and news of
//	       the leadership from its Raft, EntriesRead
//	says   Results to whoever asked, EntriesApplied, SnapshotFailed and ApplierFailed
//	       to its Raft, ReadEntries to the LogReader, SaveSnapshot to the Snapshotter
//
// Entries are applied in order, each once; what is not in memory is read from disk
// in pieces. A machine that fails stops its group: no entry is ever skipped.
type applier struct {
	raft, logReader *actor.PID
	group           uint64
	machine         fsm.StateMachine
	fetchBytes      int
	logger          hclog.Logger

	applied  core.Index
	reported core.Index
	work     []*ApplyCommitted // not finished
	fetching bool
	fetches  uint64     // numbers reads of the log
	fetchTo  core.Index // the last entry asked for

	queries  []PendingQuery // waiting for their index
	ready    []PendingQuery // whose index is applied
	answered int            // of ready
	settled  int            // queries done with since the last report
	term     core.Term      // of the leadership below
	leads    bool           // this member leads in term
	serving  bool           // and its machine has been told
	followed followed

	snapshots capturing

	replies replies
	entries []fsm.Entry // scratch
	waiters []Waiter    // of entries
	answers [][]byte
	failed  bool
}

type followed struct {
	term   core.Term
	leader core.NodeID
}

func (r *raft) applierProps(raftPID *actor.PID) *actor.Props {
	return r.rt.props(0, func() behavior {
		return &applier{
			raft: raftPID, logReader: r.links.LogReader, group: r.opts.Group, machine: r.opts.Machine,
			fetchBytes: r.opts.Limits.BlockBytes, logger: r.logger,
			snapshots: capturing{store: r.opts.Snapshots},
		}
	})
}

func (a *applier) started(actor.Context) {}

func (a *applier) receive(ctx actor.Context, message any, _ *actor.PID) {
	if a.failed {
		a.refuse(ctx, message)
		return
	}
	switch m := message.(type) {
	case *ApplyCommitted:
		a.work = append(a.work, m)
		a.proceed(ctx)
	case *EntriesRead:
		a.onEntriesRead(ctx, m)
	case *AnswerQueries:
		a.onAnswerQueries(m)
	case *CaptureSnapshot:
		a.onCaptureSnapshot(ctx, m)
	case *RestoreSnapshot:
		a.onRestoreSnapshot(ctx, m)
	case *LeadershipBegun:
		a.term, a.leads, a.serving = m.Term, true, false
	case *LeadershipEnded:
		a.onLeadershipEnded(m)
	case *LeaderFollowed:
		a.onLeaderFollowed(m)
	}
}

// endTurn sends the turn's answers, one message for each receiver.
func (a *applier) endTurn(ctx actor.Context) {
	a.replies.send(ctx)
	a.report(ctx)
}

func (a *applier) report(ctx actor.Context) {
	if a.applied != a.reported || a.settled > 0 {
		ctx.Send(a.raft, &EntriesApplied{Index: a.applied, Queries: a.settled, Bytes: a.snapshots.bytes})
		a.reported, a.settled, a.snapshots.bytes = a.applied, 0, 0
	}
}

// proceed applies what is at hand, and asks for what is missing before it.
func (a *applier) proceed(ctx actor.Context) {
	for len(a.work) > 0 && !a.fetching {
		w := a.work[0]
		for i := range w.Blocks {
			b := &w.Blocks[i]
			if b.FirstIndex > uint64(a.applied)+1 {
				a.fetch(ctx, core.Index(b.FirstIndex)-1)
				return
			}
			a.applyBlock(&b.Block, b.Waiters, w.Commit)
		}
		if a.applied < w.Commit {
			a.fetch(ctx, w.Commit)
			return
		}
		a.work[0] = nil
		a.work = a.work[1:]
	}
}

func (a *applier) fetch(ctx actor.Context, last core.Index) {
	a.fetching = true
	a.fetches++
	a.fetchTo = last
	ctx.Send(a.logReader, &ReadEntries{
		Group: a.group, First: a.applied + 1, Last: last, MaxBytes: a.fetchBytes,
		Session: a.fetches, ReplyTo: ctx.Self(),
	})
}

func (a *applier) onEntriesRead(ctx actor.Context, m *EntriesRead) {
	if !a.fetching || m.Session != a.fetches {
		return
	}
	a.fetching = false
	if m.Err != nil {
		a.fail(ctx, fmt.Sprintf("cannot read committed entries from %d on: %v", m.First, m.Err))
		return
	}
	for i := range m.Blocks {
		// Not beyond what was asked for: a truncation may be on its way to the disk,
		// and what follows there be no entries of the log any more.
		a.applyBlock(&m.Blocks[i], nil, a.fetchTo)
	}
	a.proceed(ctx)
}

// applyBlock applies a block's entries above the applied index and up to commit.
func (a *applier) applyBlock(b *messages.Block, waiters []Waiter, commit core.Index) {
	if core.Index(b.LastIndex()) <= a.applied || core.Index(b.FirstIndex) > commit {
		return
	}
	if err := b.Verify(); err != nil {
		panic(fmt.Sprintf("block in memory damaged: %v", err))
	}
	when := time.Unix(0, b.Time).UTC()
	err := b.Entries(func(index uint64, e messages.EntryView) error {
		if core.Index(index) <= a.applied || core.Index(index) > commit {
			return nil
		}
		var w Waiter
		if i := index - b.FirstIndex; i < uint64(len(waiters)) {
			w = waiters[i]
		}
		if e.Kind == messages.EntryKind_COMMAND {
			a.entries = append(a.entries, fsm.Entry{
				Group: a.group, Index: index, Term: b.Term, Time: when,
				Data: e.Data, Session: e.Session, Sequence: e.Sequence,
			})
			a.waiters = append(a.waiters, w)
			return nil
		}
		if err := a.applyCommands(); err != nil {
			return err
		}
		return a.applyOther(index, core.Term(b.Term), e, w)
	})
	if err == nil {
		err = a.applyCommands()
	}
	if err != nil {
		panic(fmt.Sprintf("applying after index %d: %v", a.applied, err))
	}
	if core.Index(b.LastIndex()) == a.applied {
		a.snapshots.bytes += b.Len()
	}
	a.snapshots.term, a.snapshots.time = core.Term(b.Term), b.Time
	a.answerReached()
}

// applyCommands gives the machine the commands gathered so far.
func (a *applier) applyCommands() error {
	n := len(a.entries)
	if n == 0 {
		return nil
	}
	clear(a.answers)
	a.answers = append(a.answers[:0], make([][]byte, n)...)
	if batch, ok := a.machine.(fsm.BatchApplier); ok {
		if err := batch.ApplyBatch(a.entries, a.answers); err != nil {
			return err
		}
	} else {
		for i := range a.entries {
			reply, err := a.machine.Apply(a.entries[i])
			if err != nil {
				return fmt.Errorf("index %d: %w", a.entries[i].Index, err)
			}
			a.answers[i] = reply
		}
	}
	for i, w := range a.waiters {
		a.replies.add(w, messages.ResultItem{
			Outcome: messages.Outcome_APPLIED, Index: a.entries[i].Index, Data: a.answers[i],
		})
	}
	a.applied = core.Index(a.entries[n-1].Index)
	clear(a.entries)
	clear(a.waiters)
	a.entries, a.waiters = a.entries[:0], a.waiters[:0]
	return nil
}

// applyOther handles the entries that are Raft's own.
func (a *applier) applyOther(index uint64, term core.Term, e messages.EntryView, w Waiter) error {
	a.applied = core.Index(index)
	switch e.Kind {
	case messages.EntryKind_NOOP:
		a.startServing(term)
		a.replies.add(w, messages.ResultItem{Outcome: messages.Outcome_APPLIED, Index: index})
	case messages.EntryKind_QUERY:
		if w.To != nil {
			a.ready = append(a.ready, PendingQuery{Waiter: w, Query: e.Data, Index: a.applied})
			a.answerReady()
		}
	case messages.EntryKind_CONFIGURATION:
		return a.applyConfiguration(index, e.Data)
	default:
		return fmt.Errorf("index %d: entry of unknown kind %d: written by a newer version", index, e.Kind)
	}
	return nil
}

func (a *applier) applyConfiguration(index uint64, data []byte) error {
	c, err := decodeConfiguration(data)
	if err != nil {
		return fmt.Errorf("index %d: %w", index, err)
	}
	a.snapshots.configuration = configuration{core.Index(index), c}
	a.observeConfiguration(index, &c)
	return nil
}

func (a *applier) observeConfiguration(index uint64, c *core.Configuration) {
	observer, ok := a.machine.(fsm.ConfigurationObserver)
	if !ok || c.Changing() { // of a step on the way; the last one follows
		return
	}
	ids := make([]string, len(c.Members))
	for i, m := range c.Members {
		ids[i] = string(m.ID)
	}
	observer.ConfigurationCommitted(index, ids)
}

// startServing tells the machine that its member leads, at the first entry of the
// leader's own term: only then is its state complete.
func (a *applier) startServing(term core.Term) {
	if !a.leads || term != a.term || a.serving {
		return
	}
	a.serving = true
	if o, ok := a.machine.(fsm.LeaderObserver); ok {
		o.LeaderStart(uint64(term))
	}
}

func (a *applier) onLeadershipEnded(m *LeadershipEnded) {
	if m.Term != a.term {
		return
	}
	if o, ok := a.machine.(fsm.LeaderObserver); ok && a.serving {
		o.LeaderStop(uint64(m.Term))
	}
	a.leads, a.serving = false, false
	for _, q := range a.queries { // their entries may never come
		a.replies.add(q.Waiter, messages.ResultItem{
			Outcome: messages.Outcome_NOT_APPLIED, Reason: messages.Reason_LEADERSHIP_LOST,
		})
	}
	a.settled += len(a.queries)
	clear(a.queries)
	a.queries = a.queries[:0]
}

func (a *applier) onLeaderFollowed(m *LeaderFollowed) {
	o, ok := a.machine.(fsm.FollowObserver)
	if !ok {
		return
	}
	if a.followed.leader != "" {
		o.StopFollowing(string(a.followed.leader), uint64(a.followed.term))
	}
	a.followed = followed{m.Term, m.Leader}
	if m.Leader != "" {
		o.StartFollowing(string(m.Leader), uint64(m.Term))
	}
}

func (a *applier) onAnswerQueries(m *AnswerQueries) {
	a.queries = append(a.queries, m.Queries...)
	a.answerReached()
}

// answerReached answers the queries whose index has been reached.
func (a *applier) answerReached() {
	kept := 0
	for _, q := range a.queries {
		if q.Index > a.applied {
			a.queries[kept] = q
			kept++
			continue
		}
		a.ready = append(a.ready, q)
	}
	a.settled += len(a.queries) - kept
	clear(a.queries[kept:])
	a.queries = a.queries[:kept]
	a.answerReady()
}

// answerReady answers one query after the other. When the machine panics, the one
// at hand and those behind it are still there for stop to answer.
func (a *applier) answerReady() {
	for ; a.answered < len(a.ready); a.answered++ {
		a.answer(a.ready[a.answered])
	}
	clear(a.ready)
	a.ready, a.answered = a.ready[:0], 0
}

func (a *applier) answer(q PendingQuery) {
	item := messages.ResultItem{Outcome: messages.Outcome_APPLIED, Index: uint64(a.applied)}
	machine, ok := a.machine.(fsm.Querier)
	if !ok {
		item.Outcome, item.Reason = messages.Outcome_NOT_APPLIED, messages.Reason_REFUSED
		item.Data = []byte("the state machine answers no queries")
		a.replies.add(q.Waiter, item)
		return
	}
	answer, err := machine.Query(q.Query)
	if err != nil {
		item.Outcome, item.Reason, answer = messages.Outcome_NOT_APPLIED, messages.Reason_REFUSED, []byte(err.Error())
	}
	item.Data = answer
	a.replies.add(q.Waiter, item)
}

func (a *applier) stopping(ctx actor.Context) {
	a.stop(ctx)
	a.snapshots.drop()
}

// crashed: a panic in the machine is its failure, with the stack in the log.
func (a *applier) crashed(ctx actor.Context, reason any, stack []byte) {
	a.logger.Error("state machine failed", "applied", a.applied, "panic", reason, "stack", string(stack))
	a.fail(ctx, fmt.Sprintf("state machine failed after index %d: %v", a.applied, reason))
}

// fail tells the Raft first: who hears of the end here and asks again finds the member
// stopped.
func (a *applier) fail(ctx actor.Context, reason string) {
	ctx.Send(a.raft, &ApplierFailed{Reason: reason})
	a.stop(ctx)
}

// stop answers everybody who still waits here. A command at hand may have been
// applied by the machine; a query has changed nothing.
func (a *applier) stop(ctx actor.Context) {
	a.failed = true
	for _, w := range a.waiters {
		a.replies.add(w, messages.ResultItem{Outcome: messages.Outcome_UNKNOWN, Reason: messages.Reason_STOPPED})
	}
	for _, w := range a.work {
		for i := range w.Blocks {
			a.abandon(&w.Blocks[i], messages.Reason_STOPPED)
		}
	}
	for _, q := range append(a.ready[a.answered:], a.queries...) {
		a.replies.add(q.Waiter, messages.ResultItem{Outcome: messages.Outcome_NOT_APPLIED, Reason: messages.Reason_STOPPED})
	}
	a.entries, a.waiters, a.work, a.ready, a.queries = nil, nil, nil, nil, nil
	a.replies.send(ctx)
}

// abandon answers the waiters of a block that were not answered yet.
func (a *applier) abandon(b *CommittedBlock, why messages.Reason) {
	for i, w := range b.Waiters {
		index := core.Index(b.FirstIndex) + core.Index(i)
		if index > a.applied+core.Index(len(a.waiters)) {
			a.replies.add(w, messages.ResultItem{Outcome: messages.Outcome_UNKNOWN, Reason: why})
		}
	}
}

// refuse answers what arrives after the end.
func (a *applier) refuse(ctx actor.Context, message any) {
	switch m := message.(type) {
	case *ApplyCommitted:
		for i := range m.Blocks {
			a.abandon(&m.Blocks[i], messages.Reason_STOPPED)
		}
	case *CaptureSnapshot:
		ctx.Send(a.raft, &SnapshotFailed{Reason: "the state machine has stopped"})
	case *AnswerQueries:
		for _, q := range m.Queries {
			a.replies.add(q.Waiter, messages.ResultItem{Outcome: messages.Outcome_NOT_APPLIED, Reason: messages.Reason_STOPPED})
		}
	}
}
