package actors

import (
	"fmt"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/messages"
)

// snapshotting is what a member knows of its snapshots. The files are its
// Snapshotter's.
type snapshotting struct {
	pid    *actor.PID    // the Snapshotter, nil while there is none: see raft.snapshotter
	newest core.Position // of the newest one that is durable and taken over

	policy   core.SnapshotPolicy // until the next one
	interval timer
	bytes    int    // of log applied since the last one
	over     bool   // the interval is
	taking   bool   // one is being taken
	ending   bool   // the Snapshotter is: there is no other yet
	failures uint8  // in a row, as far as they count
	made     uint32 // Snapshotters, for the names of their children

	asked   []*actor.PID // who wants one, and has to wait for the next
	waiting []*actor.PID // for the one being taken
	retryAt time.Duration
	spareAt time.Duration // the next one for want of room comes not before

	installing *installation
	outdated   bool // files from before the one installed last are there
}

// installation is a snapshot of the leader's that replaces the log.
type installation struct {
	term core.Term
	from *actor.PID // its SnapshotSender
	to   core.Index
}

const (
	snapshotRetry    = time.Second // after a failure, doubled with each one more
	snapshotRetryMax = time.Minute
	// snapshotFailures is how many failures in a row count.
	snapshotFailures = 10
	// snapshotAskersMax bounds who waits for a snapshot.
	snapshotAskersMax = 64
)

// startSnapshots has the first snapshot of this life come at a random point: groups that
// start together must not write together.
func (r *raft) startSnapshots(ctx actor.Context) {
	if r.opts.Snapshots == nil {
		return
	}
	r.snapshots.policy = r.opts.SnapshotPolicy.First(r.rand.Float64())
	if every := r.opts.SnapshotInterval; every > 0 {
		r.armSnapshot(ctx, time.Duration(r.rand.Int64N(int64(every)))+1)
	}
}

func (r *raft) armSnapshot(ctx actor.Context, wait time.Duration) {
	r.snapshots.interval.set(ctx, r.rt.Clock, wait, func(generation uint64) any {
		return &messages.SnapshotTimeout{Generation: generation}
	})
}

func (r *raft) onSnapshotTimeout(ctx actor.Context, m *messages.SnapshotTimeout) {
	if m.Generation != r.snapshots.interval.generation {
		return
	}
	r.snapshots.over = true
	r.armSnapshot(ctx, r.opts.SnapshotInterval)
}

func (r *raft) onTakeSnapshot(ctx actor.Context, sender *actor.PID) {
	s := &r.snapshots
	_, stopped := r.role.(standstill)
	switch {
	case sender == nil:
	case r.opts.Snapshots == nil:
		r.refuseSnapshot(ctx, "this member keeps no snapshots", sender)
	case stopped:
		r.refuseSnapshot(ctx, "the member is "+r.role.name(), sender)
	case len(s.asked) >= snapshotAskersMax:
		r.refuseSnapshot(ctx, fmt.Sprintf("%d wait for one already", len(s.asked)), sender)
	default:
		s.asked = append(s.asked, sender)
	}
}

func (r *raft) refuseSnapshot(ctx actor.Context, reason string, to ...*actor.PID) {
	for _, pid := range to {
		ctx.Send(pid, &messages.SnapshotRefused{Group: r.opts.Group, Reason: reason})
	}
}

// turnSnapshots asks the Applier for a view where it is time, or somebody wants one.
// It is the Applier that knows what it has applied when it gets there.
func (r *raft) turnSnapshots(ctx actor.Context) {
	s := &r.snapshots
	if r.opts.Snapshots == nil || s.taking || r.restoring() {
		return
	}
	if _, stopped := r.role.(standstill); s.outdated && s.installing == nil && !stopped {
		s.outdated = false
		// It may be long before one is taken here. A process that ends before has them until then.
		r.dropSnapshots(ctx)
	}
	upTo := r.snapshotTo()
	if upTo <= s.newest.Index {
		// What was handed over may be applied and answered by now. Who has heard such an
		// answer wants it in the snapshot: the Applier's report decides.
		if r.opts.Witness || r.handed <= s.newest.Index {
			r.answerAsked(ctx)
		}
		return
	}
	due := r.now >= s.retryAt && s.policy.Due(upTo, s.newest.Index, s.bytes, s.over)
	if len(s.asked) == 0 && !due {
		return
	}
	files := r.snapshotter(ctx)
	if files == nil {
		return // until it has ended
	}
	s.taking, s.over, s.bytes = true, false, 0
	s.waiting, s.asked = s.asked, nil
	if r.opts.Witness {
		ctx.Send(files, r.bareSnapshot(upTo))
		return
	}
	ctx.Send(r.applier, &CaptureSnapshot{Incarnation: r.incarnation, Configurations: slices.Clone(r.configs)})
}

// snapshotForRoom: a full disk makes a snapshot due, for the log is cut behind it. It may
// fit where blocks do not, or the disk be another one.
func (r *raft) snapshotForRoom() {
	if s := &r.snapshots; r.now >= s.spareAt {
		s.over, s.spareAt = true, r.now+snapshotRetryMax
	}
}

// answerAsked: the newest snapshot has all there is.
func (r *raft) answerAsked(ctx actor.Context) {
	s := &r.snapshots
	if len(s.asked) == 0 {
		return
	}
	if s.newest.Index == 0 {
		r.refuseSnapshot(ctx, "nothing is applied yet", s.asked...)
	} else {
		r.tellTaken(ctx, s.newest, s.asked)
	}
	s.asked = nil
}

func (r *raft) tellTaken(ctx actor.Context, p core.Position, to []*actor.PID) {
	for _, pid := range to {
		ctx.Send(pid, &messages.SnapshotTaken{Group: r.opts.Group, Index: uint64(p.Index), Term: uint64(p.Term)})
	}
}

// restoring says whether the machine is still behind the newest snapshot.
func (r *raft) restoring() bool { return r.applied < r.snapshots.newest.Index }

// onSnapshotSaved cuts the log behind a snapshot that is durable. Not where the member has
// stopped while it was written: what it holds may be why, and the log and the snapshots
// before are what is left to go back to.
func (r *raft) onSnapshotSaved(ctx actor.Context, m *SnapshotSaved) {
	if _, stopped := r.role.(standstill); stopped {
		return
	}
	s, p := &r.snapshots, positionOf(m.Meta)
	s.taking, s.failures, s.retryAt = false, 0, 0
	s.policy = r.opts.SnapshotPolicy
	r.tellTaken(ctx, p, s.waiting)
	s.waiting = nil
	if p.Index <= s.newest.Index {
		return // one that was sent has overtaken it
	}
	s.newest = p
	r.compact(ctx)
}

// onSnapshotFailed: the group goes on without, and tries again after a while.
func (r *raft) onSnapshotFailed(ctx actor.Context, m *SnapshotFailed) {
	s := &r.snapshots
	r.logger.Warn("no snapshot taken", "term", r.term, "applied", r.applied, "reason", m.Reason)
	s.retryAt = r.now + min(snapshotRetry<<s.failures, snapshotRetryMax)
	s.failures = min(s.failures+1, snapshotFailures)
	s.taking, s.over = false, true
	r.refuseSnapshot(ctx, m.Reason, s.waiting...)
	s.waiting = nil
}

// endSnapshots tells who waits that the member ends.
func (r *raft) endSnapshots(ctx actor.Context, reason string) {
	s := &r.snapshots
	s.interval.cancel()
	r.refuseSnapshot(ctx, reason, append(s.asked, s.waiting...)...)
	s.asked, s.waiting = nil, nil
}

// compact cuts the log behind the newest snapshot, which is durable, and has older
// files removed.
func (r *raft) compact(ctx actor.Context) {
	if r.restoring() {
		return
	}
	if to, ok := core.CompactTo(r.tail.shape.Before().Index, r.snapshots.newest.Index, r.applied, r.opts.KeepEntries); ok {
		r.tail.compactTo(to)
		p := r.tail.shape.Before()
		r.logger.Debug("compacting the log", "to", p, "snapshot", r.snapshots.newest)
		ctx.Request(r.links.LogWriter, &CompactLog{Group: r.opts.Group, Incarnation: r.incarnation, To: p})
	}
	r.forgetConfigurations(r.snapshots.newest.Index)
	r.dropSnapshots(ctx)
}

// dropSnapshots has the files before the newest one removed, which the Applier has reached:
// it opens none of them any more. Where a Snapshotter is just ending they stay until the
// next one is taken or installed.
func (r *raft) dropSnapshots(ctx actor.Context) {
	if files := r.snapshotter(ctx); files != nil {
		ctx.Send(files, &DropSnapshots{Below: r.snapshots.newest.Index})
	}
}

// forgetConfigurations drops those before the last one that is not above to: nothing at or
// below that is ever truncated, and the Applier is there.
func (r *raft) forgetConfigurations(to core.Index) {
	n := 0
	for n+1 < len(r.configs) && r.configs[n+1].index <= to {
		n++
	}
	if n > 0 {
		r.configs = slices.Clone(r.configs[n:])
	}
}

// onOfferSnapshot answers in every role; inTerm has made this member a follower of
// who offers.
func (r *raft) onOfferSnapshot(ctx actor.Context, m *messages.OfferSnapshot, sender *actor.PID) {
	switch meta := m.Meta; {
	case meta == nil || meta.Group != r.opts.Group || meta.Index == 0:
		r.logger.Error("snapshot refused: it is of another group or of nothing", "leader", m.Leader, "meta", meta)
	case r.installs(meta.Index):
		r.snapshots.installing.term, r.snapshots.installing.from = r.term, sender // told when it is done
	case core.Index(meta.Index) <= r.commit:
		r.tellInstalled(ctx, sender, core.Index(meta.Index))
	case r.opts.Snapshots == nil:
		r.answer(ctx, sender, &messages.SnapshotDeclined{
			Group: r.opts.Group, From: string(r.opts.Node), Index: meta.Index, Reason: "this member keeps no snapshots",
		})
	case r.opts.Witness != bare(m):
		r.answer(ctx, sender, &messages.SnapshotDeclined{
			Group: r.opts.Group, From: string(r.opts.Node), Index: meta.Index, Reason: r.misfit(),
		})
	default:
		if files := r.snapshotter(ctx); files != nil { // else it is offered again
			ctx.Send(files, &ReceiveSnapshot{Offer: m, From: sender})
		}
	}
}

func (r *raft) installs(index uint64) bool {
	i := r.snapshots.installing
	return i != nil && uint64(i.to) == index
}

func (r *raft) tellInstalled(ctx actor.Context, to *actor.PID, index core.Index) {
	r.answer(ctx, to, &messages.SnapshotInstalled{
		Group: r.opts.Group, Term: uint64(r.term), From: string(r.opts.Node), Index: uint64(index),
	})
}

// onInstallSnapshot decides what becomes of a snapshot that the leader has sent.
func (r *raft) onInstallSnapshot(ctx actor.Context, m *InstallSnapshot) {
	p := positionOf(m.Meta)
	if m.Term != r.term { // whoever leads now offers what is needed
		r.settle(ctx, m.Meta, false)
		return
	}
	switch core.DecideInstall(&r.tail.shape, r.commit, p) {
	case core.InstallIgnored:
		r.settle(ctx, m.Meta, false)
		r.tellInstalled(ctx, m.From, p.Index)
	case core.InstallCommitted:
		r.commitTo(p.Index)
		r.settle(ctx, m.Meta, false)
		r.tellInstalled(ctx, m.From, p.Index)
	case core.InstallReset:
		if err := r.install(ctx, m); err != nil {
			r.fail(ctx, fmt.Sprintf("cannot install the snapshot at %v: %v", p, err))
		}
	}
}

func (r *raft) settle(ctx actor.Context, meta *messages.SnapshotMeta, adopted bool) {
	if files := r.snapshots.pid; files != nil {
		ctx.Send(files, &SnapshotSettled{Meta: meta, Adopted: adopted})
	}
}

// install puts a snapshot in the place of the log. Its file is durable: a crash from
// here on ends with the same log, see DecideStart. The Applier comes before the disk,
// so that it never looks for entries that are gone.
func (r *raft) install(ctx actor.Context, m *InstallSnapshot) error {
	p := positionOf(m.Meta)
	r.logger.Info("installing a snapshot", "term", r.term, "snapshot", p, "last", r.tail.last(), "commit", r.commit)
	if err := r.adopt(ctx, m.Meta); err != nil {
		return err
	}
	if f, ok := r.role.(*follower); ok {
		f.acks = nil // of a log that is no more: the leader sends again
	}
	r.snapshots.installing, r.snapshots.outdated = &installation{m.Term, m.From, p.Index}, true
	r.resetLog(ctx, m.Meta)
	r.settle(ctx, m.Meta, true)
	return nil
}

// adopt takes over what a snapshot says is committed, and the machine's state.
func (r *raft) adopt(ctx actor.Context, meta *messages.SnapshotMeta) error {
	c, err := configurationOf(meta.Configuration)
	if err == nil {
		err = r.checkWitness(&c)
	}
	if err != nil {
		return fmt.Errorf("configuration at %d: %w", meta.ConfigurationIndex, err)
	}
	// Who waits for what was handed over is the Applier's to answer.
	r.release(ctx, r.tail.takeWaiters(r.handed), messages.Outcome_UNKNOWN, messages.Reason_LEADERSHIP_LOST)
	p := positionOf(meta)
	r.configs = []configuration{{core.Index(meta.ConfigurationIndex), c}}
	r.configurationChanged(ctx)
	r.snapshots.newest, r.snapshots.bytes, r.snapshots.over = p, 0, false
	r.commitTo(p.Index)
	r.handed = max(r.handed, p.Index)
	ctx.Send(r.applier, &RestoreSnapshot{Meta: meta})
	return nil
}

// resetLog begins the log anew after a snapshot, in mind and on disk.
func (r *raft) resetLog(ctx actor.Context, meta *messages.SnapshotMeta) {
	p, first := positionOf(meta), r.tail.shape.First()
	if r.memory.resetFrom != 0 && r.tail.last().Index < first {
		first = 0 // nothing is left to truncate once what is damaged is gone
	}
	r.tail.reset(p, meta.Time)
	ctx.Request(r.links.LogWriter, &CompactLog{
		Group: r.opts.Group, Incarnation: r.incarnation, ResetFrom: r.memory.resetFrom, TruncateFrom: first, To: p,
	})
	r.memory.resetFrom = 0
}

// onLogCompacted: what a reset was for can be told.
func (r *raft) onLogCompacted(ctx actor.Context, m *messages.LogCompacted) {
	if m.Incarnation != r.incarnation {
		return
	}
	if s, ok := r.role.(*starting); ok {
		s.onLogReset(ctx, core.Index(m.Index))
		return
	}
	i := r.snapshots.installing
	if i == nil || core.Index(m.Index) < i.to {
		return
	}
	r.snapshots.installing = nil
	r.logger.Info("snapshot installed", "term", r.term, "index", i.to)
	if i.term == r.term {
		r.tellInstalled(ctx, i.from, i.to)
	}
}

func positionOf(m *messages.SnapshotMeta) core.Position {
	return core.Position{Index: core.Index(m.Index), Term: core.Term(m.Term)}
}

// configurationOf refuses a configuration of nobody: a member would take part in a
// group it knows nothing of.
func configurationOf(m *messages.Configuration) (core.Configuration, error) {
	c := coreConfiguration(m)
	if len(c.Members) == 0 {
		return c, fmt.Errorf("it has no members")
	}
	return c, nil
}
