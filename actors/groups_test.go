package actors

import (
	"testing"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/messages"
)

// What a full disk keeps of a group that is deleted is not written any more, and what the
// group says that takes its place is not written before the deletion.
func TestDeletionTakesThePlaceOfWhatWaits(t *testing.T) {
	w := newWriting(t)
	m := w.members[0]
	w.send(m, w.pid, w.persist(0, 1, 1))
	m.inbox = nil
	w.refuse(anything)
	w.send(m, w.pid, w.persist(0, 2, 1))
	w.send(m, w.pid, w.persist(0, 1, 2), w.vote(1, 3))
	w.send(m, w.pid, &DeleteLog{Group: 1})
	again := w.vote(1, 9)
	again.Incarnation = 2
	w.send(m, w.pid, again)
	expectNone[*LogDeleted](t, m, "there is no room")
	// There is room for what is small alone, and the entries of another group are first.
	w.refuse(hasBlocks)
	w.advance(retryFullAfter)
	w.refuse(nil)
	w.advance(retryFullAfter)
	takeOne[*LogDeleted](t, m)
	if h := takeOne[*messages.HardStatePersisted](t, m); h.Incarnation != 2 {
		t.Fatalf("%v, expected that of the second incarnation alone", h)
	}
	if e := takeOne[*messages.EntriesPersisted](t, m); e.Group != 2 {
		t.Fatalf("%v, expected those of the other group alone", e)
	}
	if s, err := w.store.Load(1); err != nil || s.HardState.Term != 9 || s.LastIndex != 0 {
		t.Fatalf("stored %+v, %v; expected term 9 and no entry", s, err)
	}
}

// A group is deleted only when it has no member here.
func TestGroupWithAMemberIsNotDeleted(t *testing.T) {
	w := newWorld(t)
	store := &deletingStore{}
	node := w.spawn(NodeProps(w.rt, NodeOptions{Store: store}), NodeName)
	asker, member := w.probe("asker"), w.probe("member")
	w.tell(node, &MemberStarted{Group: 1, PID: member.pid})
	w.send(asker, node, &DeleteGroup{Group: 1})
	if k := takeOne[*GroupKept](t, asker); k.Group != 1 || store.deleted > 0 {
		t.Fatalf("%v, %d deletions", k, store.deleted)
	}
	w.tell(node, &MemberStopped{Group: 1, PID: member.pid})
	w.send(asker, node, &DeleteGroup{Group: 1})
	takeOne[*LogDeleted](t, asker)
	if store.deleted != 1 {
		t.Fatalf("%d deletions", store.deleted)
	}
}

type deletingStore struct {
	logstore.Store
	deleted int
}

func (s *deletingStore) Write(updates []logstore.Update) error {
	for _, u := range updates {
		if u.Delete {
			s.deleted++
		}
	}
	return nil
}

// Operations that wait for a group that is deleted are answered at once: those that were
// sent nowhere as not applied, a command that is with a leader as unknown.
func TestDeletedGroupAnswersWhoWaits(t *testing.T) {
	d := newDoor(t, GatewayOptions{})
	d.leader(2, "n2")
	d.propose(1)
	d.expectForwarded("n2", "1")
	d.tell(d.pid, &GroupDeleted{Group: 1})
	expectResults(t, d.client, "1 UNKNOWN NO_GROUP")
	d.propose(2)
	expectResults(t, d.client, "2 NOT_APPLIED NO_GROUP")
}

// The terms and sessions of an incarnation are nobody's of another one.
func TestIncarnationsShareNothing(t *testing.T) {
	for i := uint64(1); i < 5; i++ {
		last := incarnationStart(i) + 1<<(incarnationBits-1)
		if next := incarnationStart(i + 1); next <= last || sessionID(1, i+1) <= sessionID(1<<30, i) || MemberName(7, i) == MemberName(7, i+1) {
			t.Errorf("incarnation %d begins at %d, the one before reaches %d", i+1, next, last)
		}
	}
	if MemberName(7, 0) != "raft-7" || MemberName(7, 1) != "raft-7" {
		t.Error("the first incarnation has another name than groups had before there were any")
	}
}
