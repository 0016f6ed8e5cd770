package actors

import (
	"testing"
	"time"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/messages"
)

// sleep has members fall asleep: those that follow rely on node n2.
func (b *beating) sleepOn(node string, names ...string) {
	b.t.Helper()
	for _, name := range names {
		b.tell(b.pid, &FellAsleep{PID: b.members[name].pid, Term: 4, On: node + ":1"})
	}
}

func (b *beating) hears(node string, life uint64, named ...string) {
	b.t.Helper()
	m := &messages.Beats{Life: life}
	for _, name := range named {
		m.Asleep = append(m.Asleep, &messages.Sleeper{Member: name, Term: 4})
	}
	b.send(b.pulseOf(node), b.pid, m)
}

// pass lets time pass while a node is heard, and names who it is said to.
func (b *beating) pass(d time.Duration, node string, life uint64, named ...string) {
	b.t.Helper()
	for end := b.clock.now + d; b.clock.now < end; {
		b.advance(heartbeat)
		b.hears(node, life, named...)
	}
}

func (b *beating) expectRoused(names ...string) {
	b.t.Helper()
	want := map[string]bool{}
	for _, name := range names {
		want[name] = true
	}
	for name, p := range b.members {
		if roused := take[*Roused](p); (len(roused) > 0) != want[name] || len(roused) > 1 {
			b.t.Fatalf("%s was roused %d times: %v", name, len(roused), roused)
		}
	}
}

// Those whose leader's node falls silent are roused when an election timeout has passed,
// and not before; those of other nodes sleep on.
func TestSilentNodeRousesWhoRelyOnIt(t *testing.T) {
	b := newBeating(t, "raft-1", "raft-2", "raft-3")
	b.hears("n2", 5)
	b.sleepOn("n2", "raft-1", "raft-2")
	b.sleepOn("n3", "raft-3")
	b.advance(electionTimeout / 2)
	b.hears("n2", 5)
	b.hears("n3", 6)
	b.pass(electionTimeout/2, "n3", 6)
	b.expectRoused()
	b.pass(electionTimeout/2+heartbeat, "n3", 6)
	b.expectRoused("raft-1", "raft-2")
	b.pass(3*electionTimeout, "n3", 6)
	b.expectRoused()
}

// Another process of the node leads nothing, however quickly it has come.
func TestRestartedNodeRousesWhoRelyOnIt(t *testing.T) {
	b := newBeating(t, "raft-1", "raft-2")
	b.hears("n2", 5)
	b.sleepOn("n2", "raft-1")
	b.sleepOn("n3", "raft-2")
	b.hears("n2", 5)
	b.hears("n3", 6)
	b.expectRoused()
	b.hears("n2", 7)
	b.expectRoused("raft-1")
}

// One that its leader's node does not name any more is roused, though the node lives; one
// that is named, in its term, is not.
func TestWhoIsNotNamedIsRoused(t *testing.T) {
	b := newBeating(t, "raft-1", "raft-2", "raft-3")
	b.sleepOn("n2", "raft-1", "raft-2")
	b.tell(b.pid, &FellAsleep{PID: b.members["raft-3"].pid, Term: 3, On: "n2:1"})
	b.pass((vouchPatience-vouchTicks)*heartbeat, "n2", 5, "raft-1", "raft-3")
	b.expectRoused()
	b.pass(3*vouchTicks*heartbeat, "n2", 5, "raft-1", "raft-3")
	b.expectRoused("raft-2", "raft-3")
	b.pass(2*vouchPatience*heartbeat, "n2", 5, "raft-1")
	b.expectRoused()
}

// Whoever is named, and does not sleep, is told.
func TestWhoIsAwakeIsTold(t *testing.T) {
	b := newBeating(t, "raft-1", "raft-2", "raft-3", "raft-4")
	b.sleepOn("n2", "raft-1")
	b.sleepOn("n3", "raft-3")
	b.tell(b.pid, &FellAsleep{PID: b.members["raft-4"].pid, Term: 4, Peers: []string{"n2:1"}})
	b.hears("n2", 5, "raft-1", "raft-2", "raft-3", "raft-4", "raft-9")
	for name, p := range b.members {
		switch told := take[*LeaderAsleep](p); {
		case name == "raft-2" && (len(told) != 1 || *told[0] != LeaderAsleep{Term: 4, At: "n2:1"}), name != "raft-2" && len(told) > 0:
			t.Errorf("%s is told %v", name, told)
		}
	}
}

// Who leads asleep is spoken for: each interval, and by name once in a round.
func TestNodeSpeaksForWhoLeadsAsleep(t *testing.T) {
	b := newBeating(t, "raft-1", "raft-2")
	b.tell(b.pid, &FellAsleep{PID: b.members["raft-1"].pid, Term: 4, Peers: []string{"n2:1", "n3:1"}})
	b.tell(b.pid, &FellAsleep{PID: b.members["raft-2"].pid, Term: core.Term(5), Peers: []string{"n2:1"}})
	b.advance(2 * vouchTicks * heartbeat)
	for node, want := range map[string]string{"n2": "raft-1 raft-2", "n3": "raft-1"} {
		got := take[*messages.Beats](b.pulseOf(node))
		if len(got) != 2*vouchTicks {
			t.Errorf("%s heard %d times in %d intervals", node, len(got), 2*vouchTicks)
		}
		names := map[string]int{}
		for _, m := range got {
			for _, s := range m.Asleep {
				names[s.Member]++
			}
		}
		if names["raft-1"] < 2 || want == "raft-1" && names["raft-2"] > 0 || want != "raft-1" && names["raft-2"] < 2 {
			t.Errorf("%s heard of %v, expected of %s at least twice", node, names, want)
		}
	}
	b.tell(b.pid, &WokeUp{PID: b.members["raft-1"].pid}, &MemberStopped{Group: 2, PID: b.members["raft-2"].pid})
	b.advance(2 * heartbeat)
	for _, node := range []string{"n2", "n3"} {
		expectNone[*messages.Beats](t, b.pulseOf(node), "nobody sleeps here any more")
	}
	if n := b.clock.pending(); n != 0 {
		t.Errorf("%d timers are set", n)
	}
}

// Who has woken is not roused, and need not be spoken for.
func TestWhoHasWokenIsForgotten(t *testing.T) {
	b := newBeating(t, "raft-1")
	b.sleepOn("n2", "raft-1")
	b.tell(b.pid, &WokeUp{PID: b.members["raft-1"].pid})
	b.advance(10 * electionTimeout)
	b.expectRoused()
}

// A process that was held up itself has heard nobody: once that is no reason to rouse.
func TestHeldUpNodeBlamesNobody(t *testing.T) {
	b := newBeating(t, "raft-1")
	b.sleepOn("n2", "raft-1")
	b.hears("n2", 5)
	b.clock.now += 10 * electionTimeout
	b.advance(0)
	b.expectRoused()
	b.pass(electionTimeout, "n2", 5)
	b.expectRoused()
	b.advance(electionTimeout + heartbeat)
	b.expectRoused("raft-1")
}

// A Pulse that crashes knows nothing of sleepers any more: all of them are roused.
func TestCrashedPulseRousesEverybody(t *testing.T) {
	b := newBeating(t, "raft-1", "raft-2", "raft-3")
	b.sleepOn("n2", "raft-1")
	b.tell(b.pid, &FellAsleep{PID: b.members["raft-2"].pid, Term: 4, Peers: []string{"n2:1"}})
	b.tell(b.pid, (*SendBeat)(nil))
	b.expectRoused("raft-1", "raft-2")
	b.advance(10 * electionTimeout)
	b.expectRoused()
	expectNone[*messages.Beats](t, b.pulseOf("n2"), "nobody sleeps")
}
