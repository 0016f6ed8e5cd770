package actors

import (
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/fsm"
	"github.com/protoraft/protoraft/fsm/session"
	"github.com/protoraft/protoraft/logstore/snapshots"
	"github.com/protoraft/protoraft/logstore/vfs"
	"github.com/protoraft/protoraft/messages"
)

// recorderView is the recorder's state, a line an entry.
type recorderView struct {
	text     string
	onWrite  func()
	released int
}

func (r *recorder) Snapshot() (fsm.View, error) {
	if r.viewErr != nil {
		return nil, r.viewErr
	}
	v := &recorderView{text: strings.Join(r.applied, "\n"), onWrite: r.onWrite}
	r.views = append(r.views, v)
	return v, nil
}

func (v *recorderView) WriteTo(w io.Writer) (int64, error) {
	if v.onWrite != nil {
		v.onWrite()
	}
	n, err := io.WriteString(w, v.text)
	return int64(n), err
}

func (v *recorderView) Release() { v.released++ }

func (r *recorder) Restore(from io.Reader) error {
	text, err := io.ReadAll(from)
	if r.applied = nil; len(text) > 0 {
		r.applied = strings.Split(string(text), "\n")
	}
	return err
}

func snapshotStore(t *testing.T, disk vfs.FS) *snapshots.Store {
	t.Helper()
	s, err := snapshots.Open(disk, "/snapshots")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func memDisk() *vfs.Mem { return vfs.NewMem(rand.New(rand.NewPCG(1, 1))) }

// keeping has a member keep snapshots, taken after every so many entries.
func (m *member) keeping(entries, keep core.Index) *vfs.Mem {
	m.t.Helper()
	disk := memDisk()
	m.opts.Snapshots = snapshotStore(m.t, disk)
	m.opts.SnapshotPolicy = core.SnapshotPolicy{Entries: entries}
	m.opts.KeepEntries = keep
	return disk
}

// file is a snapshot as a leader has it.
type file struct {
	info  snapshots.Info
	bytes []byte
}

// snapshotMeta is of a group of three that applied up to p.
func snapshotMeta(index, term uint64, ids ...core.NodeID) *messages.SnapshotMeta {
	if len(ids) == 0 {
		ids = []core.NodeID{"n1", "n2", "n3"}
	}
	c := members(ids...)
	return &messages.SnapshotMeta{
		Group: 1, Incarnation: 1, Index: index, Term: term,
		Configuration: describeConfiguration(&c), ConfigurationIndex: 1, Time: 1000,
	}
}

// write puts a snapshot of these lines into a store.
func write(t *testing.T, s *snapshots.Store, meta *messages.SnapshotMeta, lines ...string) file {
	t.Helper()
	w, err := s.Create(proto.Clone(meta).(*messages.SnapshotMeta))
	if err != nil {
		t.Fatal(err)
	}
	section, err := w.Section(sessionsSection)
	if err == nil {
		_, err = session.New(session.DefaultLimits()).View().WriteTo(section)
	}
	if err == nil {
		section, err = w.Section(machineSection)
	}
	if err == nil {
		_, err = io.WriteString(section, strings.Join(lines, "\n"))
	}
	if err != nil {
		t.Fatal(err)
	}
	info, err := w.Commit()
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Open(1, meta.Index)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	f := file{info, make([]byte, info.Size)}
	if _, err := r.ReadAt(f.bytes, 0); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	return f
}

// elsewhere is a snapshot on another node's disk.
func elsewhere(t *testing.T, meta *messages.SnapshotMeta, lines ...string) file {
	t.Helper()
	return write(t, snapshotStore(t, memDisk()), meta, lines...)
}

// sender is n2's SnapshotSender.
func (m *member) snapshotSender() *probe { return m.at("n2:1", m.pid.Id+"/snapshotter/to-n1") }

func (m *member) offer(f file, term uint64) {
	m.t.Helper()
	m.send(m.snapshotSender(), m.pid, &messages.OfferSnapshot{
		Group: 1, Term: term, Leader: "n2", Meta: f.info.Meta, Size: uint64(f.info.Size), Checksum: f.info.Checksum,
	})
}

func (m *member) chunk(f file, from, to int) {
	m.t.Helper()
	m.send(m.snapshotSender(), actor.NewPID(selfAddress, m.pid.Id+"/"+snapshotterName), &messages.SnapshotChunk{
		Group: 1, Index: f.info.Meta.Index, Checksum: f.info.Checksum, Offset: uint64(from), Data: f.bytes[from:to],
	})
}

// expectOffset is what the receiver says it has.
func (m *member) expectOffset(want int) {
	m.t.Helper()
	if r := takeOne[*messages.SnapshotReceived](m.t, m.snapshotSender()); r.Offset != uint64(want) {
		m.t.Fatalf("received up to %d, expected %d", r.Offset, want)
	}
}

func (m *member) expectSnapshot(first, snapshot, commit, applied, last uint64) {
	m.t.Helper()
	s := m.status()
	if s.FirstIndex != first || s.SnapshotIndex != snapshot || s.CommitIndex != commit || s.AppliedIndex != applied || s.LastIndex != last {
		m.t.Fatalf("first %d, snapshot %d, commit %d, applied %d, last %d, expected %d, %d, %d, %d, %d (%s)",
			s.FirstIndex, s.SnapshotIndex, s.CommitIndex, s.AppliedIndex, s.LastIndex, first, snapshot, commit, applied, last, s.Failure)
	}
}

// compactions are the CompactLog that wait at the disk.
func (m *member) compactions() (out []*CompactLog) {
	for _, l := range m.writer.pending {
		if c, ok := l.message.(*CompactLog); ok {
			out = append(out, c)
		}
	}
	return out
}
