package actors

import (
	"testing"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/messages"
)

func keepsSnapshots(m *member) { m.keeping(0, 0) }

// drowsy is a group of one that keeps snapshots, and sleeps when it may.
func drowsy(t *testing.T) *member {
	t.Helper()
	m := newMember(t, 1)
	m.pulse, m.opts.SleepAfter = m.probe(PulseName), sleepAfter
	keepsSnapshots(m)
	m.begin()
	m.tell(m.pid, &GatewayCaughtUp{Term: 2})
	m.commits("a")
	return m
}

func (m *member) fallsAsleep() {
	m.t.Helper()
	m.advance(2 * sleepAfter)
	m.expectAsleep(true)
}

func (m *member) expectSnapshotter(want bool) {
	m.t.Helper()
	if _, found := m.system.ProcessRegistry.GetLocal(m.pid.Id + "/" + snapshotterName); found != want {
		m.t.Fatalf("a Snapshotter: %v, expected %v", found, want)
	}
}

// A member that sleeps has no Snapshotter, but for the moment in which it takes a snapshot,
// and removes the one before.
func TestSleepingMemberHasNoSnapshotter(t *testing.T) {
	m := drowsy(t)
	m.expectSnapshotter(true)
	for range 2 {
		m.fallsAsleep()
		m.expectSnapshotter(false)
		asker := m.askSnapshot()
		m.sync()
		last := m.status().LastIndex
		if s := takeOne[*messages.SnapshotTaken](t, asker); s.Index != last {
			t.Fatalf("taken at %d, expected %d", s.Index, last)
		}
		m.expectSnapshot(last+1, last, last, last, last)
		m.expectAsleep(true)
		m.expectSnapshotter(false)
		infos, err := m.opts.Snapshots.List(1)
		if err != nil || len(infos) != 1 || infos[0].Meta.Index != last {
			t.Fatalf("files %v, %v, expected the one at %d", infos, err, last)
		}
		m.commits("b")
		m.expectAsleep(false)
	}
}

// Two Snapshotters never have the files at once: a snapshot that is due while one is still
// ending waits for the other.
func TestSnapshotterBeginsWhenTheOneBeforeHasEnded(t *testing.T) {
	m := drowsy(t)
	pid := actor.NewPID(selfAddress, m.pid.Id+"/"+snapshotterName)
	m.tellSystem(pid, &actor.SuspendMailbox{})
	m.fallsAsleep()
	m.expectSnapshotter(true)
	asker := m.askSnapshot()
	if n := len(m.machine.views); n > 0 {
		t.Fatalf("%d views are taken, expected none yet", n)
	}
	m.tellSystem(pid, &actor.ResumeMailbox{})
	m.sync()
	takeOne[*messages.SnapshotTaken](t, asker)
	m.expectSnapshotter(false)
}

// What is sent by a Snapshotter's child is answered to a name that no later one has.
func TestWokenLeaderSendsItsSnapshot(t *testing.T) {
	m := sleepingLeader(t, keepsSnapshots)
	takeOne[*messages.SnapshotTaken](t, m.askSnapshot())
	m.sync()
	replicator := m.probe("replicator")
	before := ""
	for session := range uint64(2) {
		m.expectSnapshotter(false)
		m.send(m.peer("n3"), m.pid, &messages.Stir{Group: 1, Term: 2, From: "n3"})
		m.send(replicator, m.pid, &FetchEntries{Term: 2, First: 1, Session: session})
		e := takeOne[*EntriesCompacted](t, replicator)
		m.forget()
		m.send(replicator, e.Snapshotter, &SendSnapshot{Term: 2, Peer: "n2", To: m.peer("n2").pid, Session: session})
		offers := takeLetters[*messages.OfferSnapshot](m.peer("n2"))
		if len(offers) != 1 || offers[0].from.Id == before {
			t.Fatalf("offers %v, expected one from another than %q", offers, before)
		}
		before = offers[0].from.Id
		m.accept("n2")
		m.accept("n3")
		m.pass(2*sleepAfter, true, "n2", "n3")
		m.expectAsleep(true)
	}
}

// A follower that is offered one in its sleep takes it.
func TestSleepingFollowerTakesASnapshot(t *testing.T) {
	m := sleepingFollower(t, keepsSnapshots)
	m.expectSnapshotter(false)
	f := elsewhere(t, snapshotMeta(9, 2), "a", "b")
	m.deliver(f, 2)
	m.sync()
	m.expectSnapshot(10, 9, 9, 9, 9)
}
