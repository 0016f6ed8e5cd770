package sim

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/actors"
	"github.com/protoraft/protoraft/logstore/snapshots"
	"github.com/protoraft/protoraft/messages"
)

// Snapshots: purged ≤ snapshot ≤ applied ≤ commit ≤ last. The log is cut only behind a
// snapshot that is durable, and by a member of its own accord only where its machine
// has applied. A snapshot is of what is committed: the state, entry and configuration
// of its index are those that a replay of the log gives there. It replaces a log only
// where that ends before it or has another entry there. Whoever answers that a snapshot
// was taken has it on disk, and a restart finds it.

// snapshotModel is what is known of a member's snapshots.
type snapshotModel struct {
	durable uint64 // index of the newest file that is whole and synced
	purged  uint64 // what is compacted on disk

	// Of this life.
	restoring uint64                   // the last one given to the machine
	restores  []*messages.SnapshotMeta // given to the machine and not taken yet
	receiving uint64                   // a transfer under way, 0 for none
	found     uint64                   // at the start
	joined    bool                     // by a snapshot, having had nothing
	resets    bool                     // the log begins anew after it, before the member takes part
}

// prefix is the log up to a committed index.
func (g *groupModel) prefix(to uint64) []entry {
	log := make([]entry, 0, to)
	for _, e := range g.committed[:min(to, uint64(len(g.committed)))] {
		log = append(log, e.entry)
	}
	return log
}

// compacted is what a disk's log had before it was cut.
func (m *memberModel) compacted(to, term uint64) ([]entry, error) {
	if to > uint64(len(m.g.committed)) {
		return nil, fmt.Errorf("the log begins after %d, committed are %d", to, len(m.g.committed))
	}
	if have := m.g.committed[to-1].term; have != term {
		return nil, fmt.Errorf("the log begins after %d of term %d, committed there is one of %d", to, term, have)
	}
	return m.g.prefix(to), nil
}

// onSnapshotDurable: a file is said to be whole and durable.
func (m *memberModel) onSnapshotDurable(how string, meta *messages.SnapshotMeta) {
	w, g := m.c.w, m.g
	w.cover.add("snapshot " + how)
	if how == "received" {
		m.snapshots.receiving = 0
	}
	if meta.Index == 0 || meta.Index > uint64(len(g.committed)) {
		w.violate("a snapshot holds what is committed", "group %d: %s has one up to %d, committed are %d", g.id, m.n.id, meta.Index, len(g.committed))
		return
	}
	if e := g.committed[meta.Index-1]; e.term != meta.Term {
		w.violate("a snapshot holds what is committed", "group %d: %s has one up to %d of term %d, committed there is one of %d", g.id, m.n.id, meta.Index, meta.Term, e.term)
		return
	}
	i := meta.Index
	for i > 0 && g.committed[i-1].kind != messages.EntryKind_CONFIGURATION {
		i--
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(meta.Configuration)
	if err != nil || i == 0 || meta.ConfigurationIndex != i || digest(data) != g.committed[i-1].data {
		w.violate("a snapshot has the configuration of its index", "group %d: %s has one up to %d with configuration %d, %v, expected all of that of %d",
			g.id, m.n.id, meta.Index, meta.ConfigurationIndex, meta.Configuration, i)
		return
	}
	if c := g.configs[g.committed[i-1].data]; c.changing() {
		w.cover.add("snapshot " + how + " of a change under way")
	}
	m.snapshots.durable = max(m.snapshots.durable, meta.Index)
}

func (m *memberModel) onSnapshotTaken(t *messages.SnapshotTaken) {
	w := m.c.w
	w.cover.add("snapshot on request")
	if t.Index > m.snapshots.durable {
		w.violate("persisted before reply", "group %d: %s says that a snapshot up to %d was taken, its disk has one up to %d", m.g.id, m.n.id, t.Index, m.snapshots.durable)
	}
}

func (m *memberModel) onReceiveSnapshot(r *actors.ReceiveSnapshot) {
	if m.snapshots.receiving == r.Offer.Meta.Index {
		m.c.w.cover.add("snapshot received in pieces")
	}
	m.snapshots.receiving = r.Offer.Meta.Index
}

func (m *memberModel) onSnapshotSettled(s *actors.SnapshotSettled) {
	if s.Adopted {
		m.c.w.cover.add("snapshot installed")
	} else {
		m.c.w.cover.add("snapshot of no use")
	}
}

// onCompactLog: the member cuts its log, or puts a snapshot in its place.
func (m *memberModel) onCompactLog(c *actors.CompactLog) {
	w, g, to := m.c.w, m.g, uint64(c.To.Index)
	switch {
	case to > m.snapshots.durable:
		w.violate("compaction behind a durable snapshot", "group %d: %s compacts up to %d, its disk has a snapshot up to %d", g.id, m.n.id, to, m.snapshots.durable)
	case to > uint64(len(g.committed)) || g.committed[to-1].term != uint64(c.To.Term):
		w.violate("compaction of what is committed", "group %d: %s compacts up to %v, committed are %d", g.id, m.n.id, c.To, len(g.committed))
	case c.TruncateFrom == 0 && c.ResetFrom == 0:
		w.cover.add("log compacted")
		m.checkSpared(to)
		if to > m.reported || to > uint64(len(m.log)) {
			w.violate("compaction of what is applied", "group %d: %s compacts up to %d, it has applied %d", g.id, m.n.id, to, m.reported)
		}
	default:
		m.onLogReset(to)
	}
}

func (m *memberModel) onLogReset(to uint64) {
	w, g := m.c.w, m.g
	switch {
	case m.leads != 0:
		w.violate("leader append-only", "group %d: %s, leader of term %d, replaces its log by a snapshot", g.id, m.n.id, m.leads)
	case to <= uint64(len(m.log)) && m.log[to-1].chain == g.committed[to-1].chain:
		w.violate("a log that has the snapshot's entry stays", "group %d: %s replaces its log of %d by a snapshot up to %d", g.id, m.n.id, len(m.log), to)
	}
	if to == m.snapshots.found && m.reported == 0 {
		w.cover.add("log begun anew at the start")
	}
	m.checkRested(to)
	m.snapshots.joined = len(m.log) == 0
	m.log = g.prefix(to)
	if term := lastTerm(m.log); term > m.asked.Term {
		// At a start: the snapshot came to the disk before the term it was sent in.
		m.asked.Term, m.asked.Vote = term, ""
	}
	m.loaded = min(m.loaded, to)
	m.findConfigs(1)
}

// onRestoreSnapshot: the member acts on the snapshot's index as committed, and hands
// its state to the machine.
func (m *memberModel) onRestoreSnapshot(meta *messages.SnapshotMeta) {
	if meta.Index > m.snapshots.durable || meta.Index <= m.commit {
		m.c.w.violate("index order", "group %d: %s restores a snapshot up to %d, durable is %d, commit %d", m.g.id, m.n.id, meta.Index, m.snapshots.durable, m.commit)
	}
	m.snapshots.restoring = meta.Index
	m.commit = max(m.commit, meta.Index)
	m.snapshots.restores = append(m.snapshots.restores, meta)
}

// lastCommand is the last entry at or below an index that any machine was given: not
// every command is, sessions hold back repeats.
func (g *groupModel) lastCommand(i uint64) uint64 {
	for i > 0 {
		if _, given := g.states[i]; given {
			break
		}
		i--
	}
	return i
}

// viewed: the machine has given a view, which writes these bytes.
func (m *memberModel) viewed(sum uint64) {
	i := m.g.lastCommand(m.appliedI)
	if first, known := m.g.views[i]; !known {
		m.g.views[i] = sum
	} else if first != sum {
		m.c.w.violate("snapshot equivalence", "group %d: the view of %s after %d writes other bytes than another member's", m.g.id, m.n.id, m.appliedI)
	}
}

// restored: the machine has taken a snapshot's state over. It is the state that
// applying the log up to there gives.
func (m *memberModel) restored(state, sum uint64) {
	w, g := m.c.w, m.g
	for len(m.snapshots.restores) > 0 && m.snapshots.restores[0].Index <= m.durable.ahead {
		m.snapshots.restores = m.snapshots.restores[1:] // of what the machine has by itself
	}
	if len(m.snapshots.restores) == 0 {
		w.violate("snapshot equivalence", "group %d: %s restores a state it was not given", g.id, m.n.id)
		return
	}
	meta := m.snapshots.restores[0]
	m.snapshots.restores = m.snapshots.restores[1:]
	i := g.lastCommand(meta.Index)
	want := uint64(0)
	if i > 0 {
		want = g.states[i]
	}
	if view, ok := g.views[i]; state != want || !ok || view != sum {
		w.violate("snapshot equivalence", "group %d: %s restores a snapshot up to %d that is not the state there", g.id, m.n.id, meta.Index)
	}
	m.appliedI = meta.Index
	m.lastTime = max(m.lastTime, meta.Time)
}

// snapshotOrder: what a member says of its snapshots is in order.
func (m *memberModel) snapshotOrder(s *messages.GroupStatus) bool {
	restoring := s.AppliedIndex < m.snapshots.restoring
	return s.FirstIndex >= 1 && s.FirstIndex-1 <= s.SnapshotIndex && s.SnapshotIndex <= m.snapshots.durable &&
		s.SnapshotIndex <= s.CommitIndex && (restoring || s.SnapshotIndex <= s.AppliedIndex)
}

func (m *memberModel) snapshotsCrashed() {
	if m.snapshots.receiving != 0 {
		m.c.w.cover.add("install interrupted by a crash")
	}
}

// snapshotsFound looks what a restart finds: at least what was said to be durable.
func (m *memberModel) snapshotsFound() {
	w := m.c.w
	newest, err := m.newestSnapshot()
	switch {
	case err != nil:
		w.violate("a disk that works can be read", "%s, group %d: %v", m.n.id, m.g.id, err)
	case newest < m.snapshots.durable:
		w.violate("what is durable survives", "group %d: %s finds a snapshot up to %d, its disk had one up to %d", m.g.id, m.n.id, newest, m.snapshots.durable)
	}
	if newest > 0 {
		w.cover.add("restart from a snapshot")
	}
	m.snapshots.durable, m.snapshots.found = newest, newest
	m.snapshots.resets = newest > uint64(len(m.log)) || newest > 0 && m.log[newest-1].chain != m.g.committed[newest-1].chain
	m.snapshots.restoring, m.snapshots.receiving, m.snapshots.restores = 0, 0, nil
}

func (m *memberModel) newestSnapshot() (uint64, error) {
	infos, err := m.n.snapshots.List(m.g.id)
	if err != nil || len(infos) == 0 {
		return 0, err
	}
	info := infos[0]
	if info.Damage != nil {
		return 0, info.Damage
	}
	return info.Meta.Index, m.whole(info)
}

func (m *memberModel) whole(info snapshots.Info) error {
	r, err := m.n.snapshots.Open(m.g.id, info.Meta.Index)
	if err != nil {
		return err
	}
	return errors.Join(r.Verify(), m.checkSections(r), r.Close())
}
