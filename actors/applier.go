package actors

import (
	"fmt"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/fsm"
	"github.com/protoraft/protoraft/fsm/session"
	"github.com/protoraft/protoraft/messages"
)

// Applier
//
//	owns   the state machine, its clients' sessions and its applied index
//	hears  ApplyCommitted, AnswerQueries, CaptureSnapshot, RestoreSnapshot, LogFound,
//	       MemberHalted and news of the leadership from its Raft, EntriesRead, MachineWoken
//	says   Results to whoever asked, EntriesApplied, SnapshotFailed and ApplierFailed
//	       to its Raft, ReadEntries to the LogReader, SaveSnapshot to the Snapshotter
//
// Entries are applied in order, each once; what is not in memory is read from disk
// in pieces. A machine that fails stops its group: no entry is ever skipped.
type applier struct {
	raft, logReader *actor.PID
	group           uint64
	machine         fsm.StateMachine
	sessions        *session.Table
	opts            *MemberOptions
	logger          *memberLog
	clock           Clock

	applied  core.Index
	reported core.Index
	ahead    core.Index        // what the machine had by itself when it started
	kept     core.Index        // the last it has said to hold on its own disk
	noted    core.Index        // of that, what the Raft was told
	work     []*ApplyCommitted // not finished
	fetches  uint64            // numbers reads of the log
	fetchTo  core.Index        // the last entry asked for

	queries  []PendingQuery // waiting for their index
	ready    []PendingQuery // whose index is applied
	answered int            // of ready
	settled  int            // queries done with since the last report
	round    core.Round     // of those heard last, since then
	released int            // of them, by lease
	leased   []leasedAnswer // read, and void if the lease has ended meanwhile
	term     core.Term      // of the leadership below
	followed followed

	leads       bool // this member leads in term
	serving     bool // and its machine has been told
	fetching    bool
	failed      bool
	failureTold bool // to the machine

	snapshots capturing

	replies replies
	batches fsm.BatchApplier // the machine, where it prefers commands together
	entries []fsm.Entry      // gathered for it
	waiters []Waiter         // of entries
	answers [][]byte

	hashes hashes
}

type followed struct {
	term   core.Term
	leader core.NodeID
}

func (r *raft) applierProps(raftPID *actor.PID) *actor.Props {
	if r.opts.Witness {
		return r.witnessProps(raftPID)
	}
	return r.rt.props(0, func() behavior {
		batches, _ := r.opts.Machine.(fsm.BatchApplier)
		return &applier{
			batches: batches,
			raft:    raftPID, logReader: r.links.LogReader, group: r.opts.Group, machine: r.opts.Machine,
			sessions: r.opts.sessions(), opts: &r.opts, logger: r.logger, clock: r.rt.Clock,
			hashes: newHashes(r.opts.Machine), snapshots: capturing{store: r.opts.Snapshots},
		}
	})
}

func (a *applier) started(ctx actor.Context) { a.startMachine(ctx) }

func (a *applier) receive(ctx actor.Context, message any, _ *actor.PID) {
	switch m := message.(type) {
	case *MachineWoken:
		a.onMachineWoken()
		return
	case *MemberHalted:
		a.onMemberHalted(ctx, m)
		return
	}
	if a.failed {
		a.refuse(ctx, message)
		return
	}
	switch m := message.(type) {
	case *ApplyCommitted:
		if m.Commit > a.applied {
			a.work = append(a.work, m)
			a.proceed(ctx)
		}
	case *LogFound:
		a.onLogFound(ctx, m)
	case *EntriesRead:
		a.onEntriesRead(ctx, m)
	case *AnswerQueries:
		a.onAnswerQueries(ctx, m)
	case *ExpireQueries:
		a.onExpireQueries(m)
	case *CaptureSnapshot:
		a.onCaptureSnapshot(ctx, m)
	case *RestoreSnapshot:
		a.onRestoreSnapshot(ctx, m)
	case *LeadershipBegun:
		a.stopFollowing()
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
	if a.applied != a.reported || a.settled > 0 || a.round != 0 || a.kept != a.noted {
		ctx.Send(a.raft, &EntriesApplied{
			Index: a.applied, Queries: a.settled, Leased: a.released, Round: a.round, Bytes: a.snapshots.bytes,
			Checkpoints: a.hashes.take(), Machine: a.kept,
		})
		a.reported, a.noted, a.settled, a.released, a.round, a.snapshots.bytes = a.applied, a.kept, 0, 0, 0, 0
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
			a.applyBlock(ctx, &b.Block, b.Waiters, w.Commit)
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
		Group: a.group, First: a.applied + 1, Last: last, MaxBytes: a.opts.Limits.BlockBytes,
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
		a.applyBlock(ctx, &m.Blocks[i], nil, a.fetchTo)
	}
	a.proceed(ctx)
}

// applyBlock applies a block's entries above the applied index and up to commit.
func (a *applier) applyBlock(ctx actor.Context, b *messages.Block, waiters []Waiter, commit core.Index) {
	if core.Index(b.LastIndex()) <= a.applied || core.Index(b.FirstIndex) > commit {
		return
	}
	a.replies.expected = len(waiters)
	a.hashes.resume(a.applied)
	if err := b.Verify(); err != nil {
		panic(fmt.Sprintf("block in memory damaged: %v", err))
	}
	when := time.Unix(0, b.Time).UTC()
	err := b.Entries(func(index uint64, e messages.EntryView) error {
		if core.Index(index) <= a.applied || core.Index(index) > commit {
			return nil
		}
		if core.Index(index) <= a.ahead {
			return a.passOver(index, b, e)
		}
		var w Waiter
		if i := index - b.FirstIndex; i < uint64(len(waiters)) {
			w = waiters[i]
		}
		if e.Kind == messages.EntryKind_COMMAND && e.Session == 0 {
			return a.applyCommand(&fsm.Entry{
				Group: a.group, Index: index, Term: b.Term, Time: when,
				Data: e.Data,
			}, w)
		}
		if e.Kind == messages.EntryKind_COMMAND || e.Kind == messages.EntryKind_NAMED_COMMAND {
			return a.applyInSession(index, b, &e, w, when)
		}
		if err := a.applyCommands(); err != nil {
			return err
		}
		return a.applyOther(ctx, index, b, e, w)
	})
	if err == nil {
		err = a.applyCommands()
	}
	if err != nil {
		panic(fmt.Sprintf("applying after index %d: %v", a.applied, err))
	}
	a.hashes.applied = a.applied
	if core.Index(b.LastIndex()) == a.applied {
		a.snapshots.bytes += b.Len()
	}
	a.snapshots.term, a.snapshots.time = core.Term(b.Term), b.Time
	a.answerReached(ctx)
}

// applyCommand gives the machine a command: at once, or with those behind it where it
// prefers that.
func (a *applier) applyCommand(e *fsm.Entry, w Waiter) error {
	if a.batches != nil {
		a.waiters = append(a.waiters, w)
		a.entries = append(a.entries, *e)
		if a.hashes.mustStop(e.Index) {
			return a.applyCommands()
		}
		return nil
	}
	reply, err := a.machine.Apply(*e)
	if err != nil {
		return fmt.Errorf("index %d: %w", e.Index, err)
	}
	a.replied(e, w, reply)
	return nil
}

// applyCommands gives the machine the commands gathered so far.
func (a *applier) applyCommands() error {
	n := len(a.entries)
	if n == 0 {
		return nil
	}
	clear(a.answers)
	a.answers = append(a.answers[:0], make([][]byte, n)...)
	if err := a.batches.ApplyBatch(a.entries, a.answers); err != nil {
		return err
	}
	waiters := a.waiters
	a.waiters = a.waiters[:0] // from here on those count whose entry is applied
	for i, w := range waiters {
		a.replied(&a.entries[i], w, a.answers[i])
	}
	clear(a.entries)
	clear(waiters)
	a.entries = a.entries[:0]
	return nil
}

// replied takes the machine's reply to a command.
func (a *applier) replied(e *fsm.Entry, w Waiter, reply []byte) {
	a.hashes.replied(e.Index, reply) // which may ask the machine, and fail
	a.applied = core.Index(e.Index)
	if w.To != nil {
		a.replies.add(w, messages.ResultItem{Outcome: messages.Outcome_APPLIED, Index: e.Index, Data: reply})
	}
	if e.Session != 0 {
		a.sessions.Applied(reply)
	}
}

// applyOther handles the entries that are Raft's own.
func (a *applier) applyOther(ctx actor.Context, index uint64, b *messages.Block, e messages.EntryView, w Waiter) error {
	a.applied = core.Index(index)
	a.hashes.passed(index)
	switch e.Kind {
	case messages.EntryKind_NOOP:
		a.startServing(core.Term(b.Term))
		a.replies.add(w, messages.ResultItem{Outcome: messages.Outcome_APPLIED, Index: index})
	case messages.EntryKind_SESSION:
		id := sessionID(index, b.Incarnation)
		a.sessions.Open(id, b.Time)
		a.replies.add(w, messages.ResultItem{Outcome: messages.Outcome_APPLIED, Index: id})
	case messages.EntryKind_QUERY:
		if w.To != nil {
			a.ready = append(a.ready, PendingQuery{Waiter: w, Query: e.Data, Index: a.applied})
			a.answerReady(ctx)
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
	c.Members = sharedMembers(c.Members, a.opts.founders())
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
		a.release(&q)
		a.replies.add(q.Waiter, messages.ResultItem{
			Outcome: messages.Outcome_NOT_APPLIED, Reason: messages.Reason_LEADERSHIP_LOST,
		})
	}
	a.settled += len(a.queries)
	clear(a.queries)
	a.queries = a.queries[:0]
}

func (a *applier) onLeaderFollowed(m *LeaderFollowed) {
	a.stopFollowing()
	if m.Leader == "" {
		return
	}
	a.followed = followed{m.Term, m.Leader}
	if o, ok := a.machine.(fsm.FollowObserver); ok {
		o.StartFollowing(string(m.Leader), uint64(m.Term))
	}
}

// onAnswerQueries: what is asked for is applied as a rule, and answered at once.
func (a *applier) onAnswerQueries(ctx actor.Context, m *AnswerQueries) {
	if m.Round != 0 {
		a.round = m.Round
	}
	for i := range m.Queries {
		if m.Queries[i].Index > a.applied {
			a.queries = append(a.queries, m.Queries[i])
			continue
		}
		a.ready = append(a.ready, m.Queries[i])
		a.settled++
	}
	a.answerReady(ctx)
}

// onExpireQueries answers the queries whose index has not come in time.
func (a *applier) onExpireQueries(m *ExpireQueries) {
	n := len(a.queries)
	a.queries = slices.DeleteFunc(a.queries, func(q PendingQuery) bool {
		late := q.Deadline < m.Now
		if late {
			a.release(&q)
			a.replies.add(q.Waiter, messages.ResultItem{
				Outcome: messages.Outcome_NOT_APPLIED, Reason: messages.Reason_TIMED_OUT, Index: uint64(a.applied),
			})
		}
		return late
	})
	a.settled += n - len(a.queries)
}

// answerReached answers the queries whose index has been reached.
func (a *applier) answerReached(ctx actor.Context) {
	if len(a.queries) == 0 {
		return
	}
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
	a.answerReady(ctx)
}

// answerReady answers one query after the other. When the machine panics, the one
// at hand and those behind it are still there for stop to answer.
func (a *applier) answerReady(ctx actor.Context) {
	a.replies.expected = len(a.ready)
	for ; a.answered < len(a.ready); a.answered++ {
		q := &a.ready[a.answered]
		item := a.answer(q)
		if q.LeaseUntil != 0 {
			a.leased = append(a.leased, leasedAnswer{*q, item})
			continue
		}
		a.replies.add(q.Waiter, item)
	}
	clear(a.ready)
	a.ready, a.answered = a.ready[:0], 0
	a.answerLeased(ctx)
}

// release notes that a query will not be answered by its lease.
func (a *applier) release(q *PendingQuery) {
	if q.LeaseUntil != 0 {
		a.released++
	}
}

type leasedAnswer struct {
	query PendingQuery
	item  messages.ResultItem
}

// answerLeased looks at the clock after the state was read: this process may have
// stood still meanwhile. While the lease held nobody else can have led.
func (a *applier) answerLeased(ctx actor.Context) {
	if len(a.leased) == 0 {
		return
	}
	now := a.clock.Elapsed()
	a.released += len(a.leased)
	var late []PendingQuery
	for _, l := range a.leased {
		if now < l.query.LeaseUntil {
			a.replies.add(l.query.Waiter, l.item)
			continue
		}
		l.query.LeaseUntil = 0
		late = append(late, l.query)
	}
	clear(a.leased)
	a.leased = a.leased[:0]
	if len(late) > 0 {
		ctx.Send(a.raft, &LeaseRanOut{Queries: late})
	}
}

func (a *applier) answer(q *PendingQuery) messages.ResultItem {
	item := messages.ResultItem{Outcome: messages.Outcome_APPLIED, Index: uint64(a.reflected())}
	machine, ok := a.machine.(fsm.Querier)
	if !ok {
		item.Outcome, item.Reason = messages.Outcome_NOT_APPLIED, messages.Reason_REFUSED
		item.Data = []byte("the state machine answers no queries")
		return item
	}
	answer, err := machine.Query(q.Query)
	if err != nil {
		item.Outcome, item.Reason, answer = messages.Outcome_NOT_APPLIED, messages.Reason_REFUSED, []byte(err.Error())
	}
	item.Data = answer
	return item
}

func (a *applier) stopping(ctx actor.Context) {
	a.stop(ctx)
	a.stopMachine()
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
	a.tellFailure(reason)
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
	for _, l := range a.leased {
		a.queries = append(a.queries, l.query)
	}
	for _, q := range append(a.ready[a.answered:], a.queries...) {
		a.replies.add(q.Waiter, messages.ResultItem{Outcome: messages.Outcome_NOT_APPLIED, Reason: messages.Reason_STOPPED})
	}
	a.entries, a.waiters, a.work, a.ready, a.queries, a.leased = nil, nil, nil, nil, nil, nil
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
