package sim

import (
	"bytes"

	fsmsession "github.com/protoraft/protoraft/fsm/session"
	"github.com/protoraft/protoraft/messages"
)

// Sessions: a command is applied at most once and each answered try gets the same reply
// (that is what "applied once" and "acknowledged means applied" say of a try, too); a
// machine is given all commands but those which the sessions of the log hold back, and
// those never; equal logs make equal tables.
//
// The model replays the committed log, one entry after the other. Members apply it in
// batches of their own, in this life and the next.
type sessionModel struct {
	table   *fsmsession.Table
	at      uint64          // entries decided
	passed  map[uint64]bool // commands that are not for the machine
	digests map[uint64]uint64
}

// tag is what an entry says of its session.
type tag struct {
	name                            string
	session, sequence, acknowledged uint64
	time                            int64
}

func tagOf(when int64, e messages.EntryView) tag {
	t := tag{session: e.Session, sequence: e.Sequence, acknowledged: e.Acknowledged, time: when}
	if name, _, ok := messages.SplitNamed(e.Data); ok && e.Kind == messages.EntryKind_NAMED_COMMAND {
		t.name = string(name)
	}
	return t
}

// machineData is the part of an entry's data that is for the machine.
func machineData(e messages.EntryView) []byte {
	if e.Kind == messages.EntryKind_NAMED_COMMAND {
		_, data, _ := messages.SplitNamed(e.Data)
		return data
	}
	return e.Data
}

func (e *entry) command() bool {
	return e.kind == messages.EntryKind_COMMAND || e.kind == messages.EntryKind_NAMED_COMMAND
}

func (e *entry) inSession() bool { return e.tag.name != "" || e.tag.session != 0 }

func newSessionModel(l fsmsession.Limits) sessionModel {
	return sessionModel{table: fsmsession.New(l), passed: map[uint64]bool{}, digests: map[uint64]uint64{}}
}

func (m *memberModel) newTable(l fsmsession.Limits) *fsmsession.Table {
	m.table = fsmsession.New(l)
	return m.table
}

// decide replays one entry, and says whether it is a command for the machine.
func (s *sessionModel) decide(m *memberModel) bool {
	s.at++
	e := &m.g.committed[s.at-1]
	if e.kind == messages.EntryKind_SESSION {
		s.table.Open(s.at, e.tag.time)
		return false
	}
	if !e.command() || !e.inSession() {
		return e.command()
	}
	c := fsmsession.Command{
		Session: e.tag.session, Sequence: e.tag.sequence, Acknowledged: e.tag.acknowledged, Index: s.at, Time: e.tag.time,
	}
	if e.tag.name != "" {
		c.Name = []byte(e.tag.name)
	}
	switch v := s.table.Admit(c); {
	case v.Decision == fsmsession.Apply:
		return true
	case v.Decision == fsmsession.Repeat && e.tag.name != "":
		m.c.w.cover.add("repeat of a command with a name answered by the table")
	case v.Decision == fsmsession.Repeat:
		m.c.w.cover.add("repeat answered by the table")
	case v.Decision == fsmsession.Expired:
		m.c.w.cover.add("repeat refused")
	}
	s.passed[s.at] = true
	return false
}

// decided replays the log up to an entry that a machine is given, which must be the
// first one since that is for a machine.
func (s *sessionModel) decided(m *memberModel, index uint64) bool {
	for s.at < index {
		if forMachine := s.decide(m); forMachine != (s.at == index) {
			m.c.w.violate("sessions hold back repeats only", "group %d: %s applies %d; the sessions say of %d that it is for the machine: %v", m.g.id, m.n.id, index, s.at, forMachine)
			return false
		}
	}
	if s.passed[index] {
		m.c.w.violate("applied once", "group %d: %s applies %d, which its session holds back", m.g.id, m.n.id, index)
		return false
	}
	return true
}

// forMachine says whether an entry is one that a machine is given. Those before it are
// decided already, or are none.
func (s *sessionModel) forMachine(m *memberModel, index uint64) bool {
	for s.at < index {
		if s.decide(m) {
			return true
		}
	}
	return m.g.committed[index-1].command() && !s.passed[index]
}

// compare looks at a member's table after the entry it reports.
func (s *sessionModel) compare(m *memberModel, index uint64) {
	w := m.c.w
	if m.table == nil || w.failure != nil || index > uint64(len(m.g.committed)) {
		return
	}
	for s.at < index {
		if s.decide(m) {
			w.violate("sessions hold back repeats only", "group %d: %s passes over %d", m.g.id, m.n.id, s.at)
			return
		}
	}
	want, known := s.digests[index]
	if !known && s.at == index {
		want, known = tableDigest(s.table), true
		s.digests[index] = want
	}
	if known && tableDigest(m.table) != want {
		w.violate("equal logs make equal tables", "group %d: the sessions of %s after %d are others than the log makes", m.g.id, m.n.id, index)
	}
}

// tableDigest is a number for what a table's snapshot writes.
func tableDigest(t *fsmsession.Table) uint64 {
	var b bytes.Buffer
	v := t.View()
	defer v.Release()
	if _, err := v.WriteTo(&b); err != nil {
		panic(err) // a buffer takes everything
	}
	return digest(b.Bytes())
}
