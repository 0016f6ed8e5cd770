package sim

import (
	"strconv"
	"strings"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors"
	"github.com/protoraft/protoraft/messages"
)

// A Replicator has a bounded number of messages and bytes in flight, uses the room it
// has, goes to where a refusal points, and is moved by nothing that an earlier session
// asked for. It has a snapshot sent where the log was cut, and sends nothing else
// meanwhile.

// sending is what is seen of one Replicator.
type sending struct {
	session  uint64 // 0 before anything was seen
	known    bool   // the peer's place, in this session
	inflight []piece
	bytes    int
	match    uint64
	next     uint64
	last     uint64 // of the leader's log
	reading  bool
	transfer bool // of a snapshot, in this session
	held     bool // the peer's disk is full

	// Of this turn.
	hint    uint64 // of the refusal heard
	refused bool
	asked   bool // how it does
	needs   bool // the log was cut: a snapshot
	reached bool // the peer has the snapshot
	moved   bool // to a new session
	current bool // something heard was not of an earlier session
}

func (s *sending) hear(t *turn) {
	s.refused, s.asked, s.moved, s.current, s.needs, s.reached = false, false, false, false, false, false
	term := t.box.term
	for _, item := range t.heard {
		_, inner, _ := actor.UnwrapEnvelope(item)
		switch m := inner.(type) {
		case *actors.ReplicateBlock:
			s.current = true
			s.last = m.Block.LastIndex()
		case *messages.CheckProgress:
			s.held = m.DiskFull
			s.current, s.asked = true, true
		case *messages.AppendAccepted:
			if m.Term == term && m.Session == s.session {
				s.current = true
				s.accepted(m.MatchIndex)
			}
		case *messages.AppendRejected:
			s.current = s.current || m.Term > term
			if m.Term == term && m.Session == s.session && m.PrevIndex > s.match && !s.refused {
				s.current, s.refused, s.hint = true, true, m.HintIndex
			}
		case *actors.EntriesRead:
			if m.Session == s.session {
				s.current = true
				s.reading = m.Err != nil
			}
		case *actors.EntriesCompacted:
			if m.Session == s.session {
				s.current, s.needs = true, true
			}
		case *actors.SnapshotDelivered:
			if m.Session == s.session && s.transfer {
				s.current, s.reached = true, true
			}
		}
	}
}

func (s *sending) accepted(match uint64) {
	s.match = max(s.match, match)
	n := 0
	for n < len(s.inflight) && s.inflight[n].last <= match {
		s.bytes -= s.inflight[n].bytes
		n++
	}
	s.inflight = s.inflight[n:]
	if !s.known {
		s.known, s.inflight, s.bytes, s.next = true, nil, 0, s.match+1
	}
	s.next = max(s.next, s.match+1)
}

// in takes notice of the session that a message carries.
func (s *sending) in(w *World, t *turn, session uint64, what string) {
	if session == s.session {
		return
	}
	moves := s.asked || s.refused || s.needs || s.reached
	if session < s.session || s.session != 0 && !moves && len(t.heard) > 0 {
		w.violate("an earlier session moves nothing", "%s of session %d from %s on %s after session %d", what, session, t.box.pid.Id, t.box.n.id, s.session)
	}
	s.moved = true
	s.session, s.known, s.inflight, s.bytes, s.reading, s.transfer = session, false, nil, 0, false, false
}

func (s *sending) sends(w *World, t *turn, m *messages.AppendEntries) {
	s.in(w, t, m.Session, "AppendEntries")
	s.checkMoved(w, t, "AppendEntries")
	if s.transfer {
		w.violate("nothing is sent beside a snapshot", "%s on %s appends after %d", t.box.pid.Id, t.box.n.id, m.PrevIndex)
	}
	window := w.setup.limits.Window
	if len(s.inflight) > 0 && (!s.known || len(s.inflight) >= window.Messages || s.bytes >= window.Bytes) {
		w.violate("bounded in flight", "%s on %s sends with %d messages of %d bytes in flight, the window is %+v", t.box.pid.Id, t.box.n.id, len(s.inflight), s.bytes, window)
	}
	last := m.PrevIndex
	if len(m.Block) > 0 {
		b, err := messages.OpenBlock(m.Block)
		if err != nil {
			w.violate("everything sent can be decoded", "AppendEntries from %s on %s: %v", t.box.pid.Id, t.box.n.id, err)
			return
		}
		if b.FirstIndex != m.PrevIndex+1 || b.PrevTerm != m.PrevTerm {
			w.violate("an append names the entry before it", "%s on %s sends %d on after %d of term %d", t.box.pid.Id, t.box.n.id, b.FirstIndex, m.PrevIndex, m.PrevTerm)
		}
		last = b.LastIndex()
	}
	s.inflight = append(s.inflight, piece{last, len(m.Block)})
	s.bytes += len(m.Block)
	if s.known {
		s.next = last + 1
	}
}

func (s *sending) fetches(w *World, t *turn, m *actors.FetchEntries) {
	s.in(w, t, m.Session, "FetchEntries")
	s.checkMoved(w, t, "FetchEntries")
	if s.refused && s.moved && !s.asked && uint64(m.First) > max(s.match, s.hint)+1 {
		w.violate("a refusal says where to go", "%s on %s asks for %d on, the peer's hint is %d", t.box.pid.Id, t.box.n.id, m.First, s.hint)
	}
	s.reading = true
}

func (s *sending) sendsSnapshot(w *World, t *turn, m *actors.SendSnapshot) {
	s.in(w, t, m.Session, "SendSnapshot")
	s.checkMoved(w, t, "SendSnapshot")
	if !s.needs {
		w.violate("snapshots are for who needs them", "%s on %s has one sent, and was not told that the log is cut", t.box.pid.Id, t.box.n.id)
	}
	s.transfer = true
}

// reads: the LogReader gives nothing beyond what it was asked for, where a truncation
// may be on its way.
func (t *turn) reads(m *actors.EntriesRead) {
	if t.box == nil || t.box.kind != otherActor || len(m.Blocks) == 0 {
		return
	}
	last := m.Blocks[len(m.Blocks)-1].LastIndex()
	asked, beyond := false, true
	t.find(func(message any) bool {
		if r, ok := message.(*actors.ReadEntries); ok && r.Session == m.Session && r.First == m.First {
			asked, beyond = true, beyond && last > uint64(r.Last)
		}
		return false
	})
	if asked && beyond {
		t.box.n.w.violate("nothing is read beyond what was asked for", "%s reads up to %d", t.box.n.id, last)
	}
}

func (s *sending) checkMoved(w *World, t *turn, what string) {
	if len(t.heard) > 0 && s.session != 0 && !s.current {
		w.violate("an earlier session moves nothing", "%s from %s on %s in a turn that heard only of earlier sessions", what, t.box.pid.Id, t.box.n.id)
	}
}

func (s *sending) endTurn(t *turn) {
	w := t.box.n.w
	window := w.setup.limits.Window
	if s.known && !s.held && !s.reading && s.next <= s.last && len(t.heard) > 0 &&
		(len(s.inflight) == 0 || len(s.inflight) < window.Messages && s.bytes < window.Bytes) {
		w.violate("room in the window is used", "%s on %s waits with %d messages of %d bytes in flight, the window is %+v, next %d of %d",
			t.box.pid.Id, t.box.n.id, len(s.inflight), s.bytes, window, s.next, s.last)
	}
}

// replicatorTerm reads the term from a Replicator's name, 0 from any other.
func replicatorTerm(id string) uint64 {
	rest, ok := cutLast(id)
	if !ok {
		return 0
	}
	at := strings.LastIndexByte(rest, '-')
	term, err := strconv.ParseUint(rest[at+1:], 10, 64)
	if err != nil {
		return 0
	}
	return term
}

func cutLast(id string) (before string, ok bool) {
	at := strings.LastIndexByte(id, '-')
	return id[:max(at, 0)], at > 0
}
