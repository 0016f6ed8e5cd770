package actors

import (
	"fmt"
	"slices"
	"testing"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/messages"
)

// Of what waits for room, these have to keep their order or must not, whatever the
// store: what writes of a group say of each other.

func cut(group, to uint64) *CompactLog {
	return &CompactLog{Group: group, Incarnation: 1, To: core.Position{Index: core.Index(to), Term: 1}}
}

func reset(group, from, to uint64) *CompactLog {
	c := cut(group, to)
	c.TruncateFrom = core.Index(from)
	return c
}

// refuse has the store take nothing in which such an update is.
func (w *writing) refuse(such func(u *logstore.Update) bool) { w.store.refuses = such }

func anything(*logstore.Update) bool { return true }

func hasBlocks(u *logstore.Update) bool { return len(u.Blocks) > 0 }

// lastWrite says what the last write that was tried had in it.
func (w *writing) lastWrite() (out []string) {
	if len(w.store.writes) == 0 {
		return nil
	}
	for _, u := range w.store.writes[len(w.store.writes)-1] {
		switch {
		case u.HardState != nil:
			out = append(out, fmt.Sprint("vote ", u.HardState.Term))
		case u.TruncateFrom != 0 && u.CompactTo != 0:
			out = append(out, fmt.Sprint("reset to ", u.CompactTo))
		case u.CompactTo != 0:
			out = append(out, fmt.Sprint("cut to ", u.CompactTo))
		default:
			out = append(out, fmt.Sprint("entries from ", u.Blocks[0].FirstIndex))
		}
	}
	return out
}

func (w *writing) expectWrite(want ...string) {
	w.t.Helper()
	if got := w.lastWrite(); !slices.Equal(got, want) {
		w.t.Fatalf("written last %q, expected %q", got, want)
	}
}

func (w *writing) expectStored(group, term, first, last uint64) {
	w.t.Helper()
	if s, err := w.store.Load(group); err != nil || s.HardState.Term != term || s.FirstIndex != first || s.LastIndex != last {
		w.t.Fatalf("stored %+v, %v, expected term %d and entries %d to %d", s, err, term, first, last)
	}
}

// A term and vote that take the place of those that wait leave the note that came with
// them: what the member has written there is asked for once.
func TestNoteOutlivesTheVoteItCameWith(t *testing.T) {
	w := newWriting(t)
	m := w.members[0]
	w.refuse(anything)
	noted := w.vote(1, 3)
	noted.Note = []byte("a life")
	w.send(m, w.pid, noted)
	w.send(m, w.pid, w.vote(1, 4))
	w.refuse(nil)
	w.advance(retryFullAfter)
	if s, err := w.store.Load(1); err != nil || s.HardState.Term != 4 || string(s.Note) != "a life" {
		t.Fatalf("stored %+v, %v, expected term 4 and the note", s, err)
	}
}

// A compaction is not in the place of the term and vote that wait, nor are they in its.
func TestCompactionAndVoteBothWait(t *testing.T) {
	w := newWriting(t)
	m := w.members[0]
	w.send(m, w.pid, w.persist(0, 1, 1), w.persist(0, 1, 2))
	m.inbox = nil
	w.refuse(anything)
	w.send(m, w.pid, w.vote(1, 3), cut(1, 1))
	w.send(m, w.pid, w.vote(1, 4), cut(1, 2))
	w.refuse(nil)
	w.advance(retryFullAfter)
	w.expectWrite("vote 4", "cut to 2")
	if h := takeOne[*messages.HardStatePersisted](t, m); h.Change != 4 {
		t.Fatalf("%v, expected change 4", h)
	}
	if c := takeOne[*messages.LogCompacted](t, m); c.Index != 2 {
		t.Fatalf("%v, expected up to 2", c)
	}
	w.expectStored(1, 4, 3, 2)
}

// A compaction below the entries that wait need not wait for them; one that reaches
// them must.
func TestCompactionBeforeEntriesThatWait(t *testing.T) {
	w := newWriting(t)
	m := w.members[0]
	w.send(m, w.pid, w.persist(0, 1, 1), w.persist(0, 1, 2))
	m.inbox = nil
	w.refuse(hasBlocks)
	w.send(m, w.pid, w.persist(0, 1, 3))
	w.send(m, w.pid, cut(1, 2))
	if c := takeOne[*messages.LogCompacted](t, m); c.Index != 2 {
		t.Fatalf("%v, expected up to 2", c)
	}
	w.expectStored(1, 0, 3, 2)
	w.send(m, w.pid, cut(1, 3))
	expectNone[*messages.LogCompacted](t, m, "entry 3 waits")
	expectNone[*messages.EntriesPersisted](t, m, "there is no room")
	w.refuse(nil)
	w.advance(retryFullAfter)
	if e := takeOne[*messages.EntriesPersisted](t, m); e.LastIndex != 3 {
		t.Fatalf("%v, expected up to 3", e)
	}
	if c := takeOne[*messages.LogCompacted](t, m); c.Index != 3 {
		t.Fatalf("%v, expected up to 3", c)
	}
	w.expectStored(1, 0, 4, 3)
}

// A compaction does not go before a rewrite of entries that it covers.
func TestCompactionDoesNotOvertakeARewrite(t *testing.T) {
	w := newWriting(t)
	m := w.members[0]
	w.send(m, w.pid, w.persist(0, 1, 1), w.persist(0, 1, 2), w.persist(0, 1, 3))
	m.inbox = nil
	w.refuse(hasBlocks)
	again := w.persist(0, 1, 2)
	again.TruncateFrom = 2
	w.send(m, w.pid, again)
	w.send(m, w.pid, cut(1, 2))
	expectNone[*messages.LogCompacted](t, m, "entry 2 is another now")
	w.expectStored(1, 0, 1, 3)
	w.refuse(nil)
	w.advance(retryFullAfter)
	w.expectStored(1, 0, 3, 2)
}

// A snapshot in the place of the log makes what waits of that log pointless: it is
// dropped, and not reported. What waits of other members is not, nor the term and vote.
func TestResetDropsWhatWaitsOfTheLog(t *testing.T) {
	w := newWriting(t)
	m, other := w.members[0], w.members[1]
	w.send(m, w.pid, w.persist(0, 1, 1))
	m.inbox = nil
	w.refuse(anything)
	w.send(m, w.pid, w.persist(0, 1, 2), w.vote(1, 3), cut(1, 1))
	w.send(other, w.pid, w.persist(1, 2, 1))
	w.send(m, w.pid, reset(1, 1, 9))
	w.refuse(hasBlocks)
	w.advance(retryFullAfter)
	if c := takeOne[*messages.LogCompacted](t, m); c.Index != 9 {
		t.Fatalf("%v, expected the reset to 9", c)
	}
	takeOne[*messages.HardStatePersisted](t, m)
	expectNone[*messages.EntriesPersisted](t, m, "the log is another")
	w.expectStored(1, 3, 10, 9)
	w.refuse(nil)
	w.send(m, w.pid, &PersistEntries{Group: 1, Incarnation: 1, Term: 3, Generation: 5, Block: block(1, 3, 10, 1, "x")})
	w.advance(retryFullAfter)
	takeOne[*messages.EntriesPersisted](t, other)
	if e := takeOne[*messages.EntriesPersisted](t, m); e.LastIndex != 10 {
		t.Fatalf("%v, expected up to 10", e)
	}
	w.expectStored(1, 3, 10, 10)
}

// What a log says that came after a reset waits behind it.
func TestEntriesAfterAResetThatWaits(t *testing.T) {
	w := newWriting(t)
	m := w.members[0]
	w.send(m, w.pid, w.persist(0, 1, 1))
	m.inbox = nil
	w.refuse(anything)
	w.send(m, w.pid, reset(1, 1, 9))
	w.send(m, w.pid, &PersistEntries{Group: 1, Incarnation: 1, Term: 1, Block: block(1, 1, 10, 1, "x")})
	w.send(m, w.pid, cut(1, 10))
	w.refuse(nil)
	w.advance(retryFullAfter)
	w.expectWrite("reset to 9", "entries from 10", "cut to 10")
	w.expectStored(1, 0, 11, 10)
}

// A retry that finds no room for entries writes votes and compactions all the same,
// where there was none for them before.
func TestRetryWithoutRoomForEntries(t *testing.T) {
	w := newWriting(t)
	m := w.members[0]
	w.send(m, w.pid, w.persist(0, 1, 1), w.persist(0, 1, 2))
	m.inbox = nil
	w.refuse(anything)
	w.send(m, w.pid, w.persist(0, 1, 3), w.vote(1, 7), cut(1, 2))
	expectNone[*messages.HardStatePersisted](t, m, "there is no room for anything")
	expectNone[*messages.LogCompacted](t, m, "there is no room for anything")
	w.refuse(hasBlocks)
	w.advance(retryFullAfter)
	takeOne[*messages.HardStatePersisted](t, m)
	takeOne[*messages.LogCompacted](t, m)
	expectNone[*messages.EntriesPersisted](t, m, "there is no room for entries")
	w.expectStored(1, 7, 3, 2)
	w.expectNode("full")
	w.refuse(nil)
	w.advance(retryFullAfter)
	takeOne[*messages.EntriesPersisted](t, m)
	w.expectStored(1, 7, 3, 3)
	w.expectNode("room")
}

// As much is written at a time as there is room for.
func TestRetryWritesWhatFits(t *testing.T) {
	w := newWriting(t)
	m := w.members[0]
	w.refuse(anything)
	for index := uint64(1); index <= 7; index++ {
		w.send(m, w.pid, w.persist(0, 1, index))
	}
	w.refuse(func(u *logstore.Update) bool { return hasBlocks(u) && u.Blocks[0].FirstIndex > 5 })
	w.advance(retryFullAfter)
	if e := take[*messages.EntriesPersisted](m); len(e) != 5 || e[4].LastIndex != 5 {
		t.Fatalf("reported %v, expected up to 5", e)
	}
	w.expectStored(1, 0, 1, 5)
	w.expectNode("full")
	w.refuse(nil)
	w.advance(retryFullAfter)
	if e := take[*messages.EntriesPersisted](m); len(e) != 2 || e[1].LastIndex != 7 {
		t.Fatalf("reported %v, expected 6 and 7", e)
	}
	w.expectNode("room")
}
