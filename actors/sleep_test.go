package actors

import (
	"testing"
	"time"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/messages"
)

const sleepAfter = 4 * electionTimeout

// restful is a member of three, with a Pulse.
func restful(t *testing.T, change ...func(*member)) *member {
	t.Helper()
	m := newMember(t, 3)
	m.pulse = m.probe(PulseName)
	m.opts.SleepAfter = sleepAfter
	for _, f := range change {
		f(m)
	}
	return m
}

// beats are the heartbeats that the member has handed to its Pulse for a peer.
func (m *member) beats(id core.NodeID) (beats []*messages.Heartbeat) {
	m.t.Helper()
	rest := m.pulse.inbox[:0]
	for _, l := range m.pulse.inbox {
		if b, ok := l.message.(*SendBeat); ok && b.To.Address == string(id)+":1" {
			if h, ok := b.Message.(*messages.Heartbeat); ok {
				beats = append(beats, h)
				continue
			}
		}
		rest = append(rest, l)
	}
	m.pulse.inbox = rest
	return beats
}

// ackBeats has peers answer what they were told, and say that they sleep where they were
// asked to.
func (m *member) ackBeats(asleep bool, ids ...core.NodeID) {
	m.t.Helper()
	for _, id := range ids {
		for _, h := range m.beats(id) {
			a := &messages.HeartbeatAcked{Group: 1, Term: h.Term, From: string(id), Round: h.Round}
			if asleep {
				a.Asleep = h.Sleep
			}
			m.send(m.peer(id), m.pid, a)
		}
	}
}

// pass lets time pass while peers answer.
func (m *member) pass(d time.Duration, asleep bool, ids ...core.NodeID) {
	m.t.Helper()
	for end := m.clock.now + d; m.clock.now < end; {
		m.advance(heartbeat)
		m.ackBeats(asleep, ids...)
	}
}

// resting is a leader whose group is about to sleep: nothing has happened for long enough,
// and both peers have everything.
func restingLeader(t *testing.T, change ...func(*member)) *member {
	t.Helper()
	m := restful(t, change...).begin().elect()
	m.accept("n2")
	m.accept("n3")
	return m
}

func sleepingLeader(t *testing.T, change ...func(*member)) *member {
	t.Helper()
	m := restingLeader(t, change...)
	m.pass(2*sleepAfter, true, "n2", "n3")
	m.expectAsleep(true)
	m.forget()
	return m
}

func (m *member) expectAsleep(want bool) {
	m.t.Helper()
	if s := m.status(); s.Asleep != want {
		m.t.Fatalf("asleep: %v, expected %v: %v", s.Asleep, want, s)
	}
}

// A group sleeps when there has been nothing to do for so long and everybody agrees: then
// no timer is set, nothing is sent and no Replicator is left.
func TestIdleGroupSleeps(t *testing.T) {
	m := sleepingLeader(t)
	f := takeOne[*FellAsleep](t, m.pulse)
	if f.On != "" || f.Term != 2 || len(f.Peers) != 2 || f.Peers[0] != "n2:1" {
		t.Fatalf("told the Pulse %+v", f)
	}
	if n := m.clock.pending(); n != 0 {
		t.Errorf("%d timers are set", n)
	}
	m.pulse.inbox = nil
	m.advance(100 * electionTimeout)
	if len(m.pulse.inbox) > 0 || len(m.peer("n2").inbox) > 0 {
		t.Errorf("says %v and %v in its sleep", m.pulse.inbox, m.peer("n2").inbox)
	}
	m.expectRole("leader", 2)
	m.expectAsleep(true) // to be looked at wakes nobody
}

// Whoever does not agree keeps the group awake: one that does not answer, one that has
// something to do, one that lacks an entry, one that agreed to another attempt.
func TestGroupSleepsOnlyWhenEverybodyDoes(t *testing.T) {
	for name, f := range map[string]func(m *member){
		"one says nothing": func(m *member) { m.pass(2*sleepAfter, true, "n2") },
		"one does not sleep": func(m *member) {
			for range 2 * int(sleepAfter/heartbeat) {
				m.advance(heartbeat)
				m.ackBeats(true, "n2")
				m.ackBeats(false, "n3")
			}
		},
		"one lacks an entry": func(m *member) {
			m.propose("x")
			m.sync()
			m.accept("n2")
			m.pass(2*sleepAfter, true, "n2", "n3")
		},
		"one agreed to an earlier attempt": func(m *member) {
			m.pass(sleepAfter, false, "n2", "n3")
			m.send(m.peer("n2"), m.pid, &messages.Stir{Group: 1, Term: 2, From: "n2"})
			for range 2 * int(sleepAfter/heartbeat) {
				m.advance(heartbeat)
				m.ackBeats(true, "n2")
				m.ackBeats(false, "n3")
				m.send(m.peer("n3"), m.pid, &messages.HeartbeatAcked{Group: 1, Term: 2, From: "n3", Asleep: 1})
			}
		},
		"there is a read now and then": func(m *member) {
			for i := range uint64(4) {
				m.pass(sleepAfter/2, true, "n2", "n3")
				m.query(i+1, "q")
			}
		},
		"its disk is full": func(m *member) {
			m.tell(m.pid, &LogFull{Reason: "full"})
			m.pass(2*sleepAfter, true, "n2", "n3")
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := restingLeader(t)
			f(m)
			m.expectAsleep(false)
			m.expectRole("leader", 2)
		})
	}
}

// A leader wakes where it lives: it shows itself at once, and leads on without an
// election, though nobody has answered it for long.
func TestLeaderWakesWithoutAnElection(t *testing.T) {
	m := sleepingLeader(t)
	m.advance(50 * electionTimeout)
	m.propose("x")
	m.expectAsleep(false)
	takeOne[*WokeUp](t, m.pulse)
	if b := m.beats("n2"); len(b) == 0 || b[0].Sleep != 0 || b[0].Term != 2 {
		t.Fatalf("beats %v, expected a plain one at once", b)
	}
	m.advance(electionTimeout / 2) // answers take their time
	m.expectRole("leader", 2)
	m.sync()
	m.accept("n2")
	expectResults(t, m.client, "1 APPLIED")
	m.pass(2*electionTimeout, false, "n2", "n3")
	m.expectRole("leader", 2)
}

// One that wakes and is answered by nobody gives up as any leader does.
func TestWokenLeaderNeedsItsQuorum(t *testing.T) {
	m := sleepingLeader(t)
	m.propose("x")
	m.advance(2 * electionTimeout)
	m.expectRole("follower", 2)
}

// No lease outlives sleep, however short it was.
func TestNoLeaseIsBelievedAcrossSleep(t *testing.T) {
	m := restingLeader(t, func(m *member) { m.opts.ClockDrift = 0.01 })
	for !m.status().Asleep {
		m.pass(heartbeat, true, "n2", "n3")
	}
	m.forget() // the last round was confirmed just now
	m.leaseRead(1)
	expectResults(t, m.client)
	m.ackRound("n2", m.round("n2"))
	expectResults(t, m.client, "1 APPLIED")
}

// A sleeping leader whose office ends tells its peers while it can.
func TestLeaderThatEndsInItsSleepWakesItsPeers(t *testing.T) {
	for name, end := range map[string]func(m *member){
		"its machine fails": func(m *member) { m.tell(m.pid, &ApplierFailed{Reason: "broken"}) },
		"it is stopped":     func(m *member) { m.system.Root.Stop(m.pid); m.settle() },
		"its disk fails":    func(m *member) { m.tell(m.pid, &messages.StorageFailed{Reason: "EIO"}) },
		"a later term": func(m *member) {
			m.send(m.peer("n3"), m.pid, &messages.HeartbeatAcked{Group: 1, Term: 9, From: "n3"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := sleepingLeader(t)
			peer := m.peer("n2")
			end(m)
			if len(take[*WokeUp](m.pulse)) != 1 {
				t.Error("the Pulse still speaks for it")
			}
			if b := m.beats("n2"); len(b) == 0 && len(take[*messages.TimeoutNow](peer)) == 0 {
				t.Error("its peers sleep on")
			}
		})
	}
}

// sleepingFollower follows n2 of term 2 in its sleep.
func sleepingFollower(t *testing.T, change ...func(*member)) *member {
	t.Helper()
	m := restful(t, change...).begin()
	m.append(2, 1, 1, 1, block(1, 2, 2, 1, "a"))
	m.sync()
	m.send(m.peer("n2"), m.pid, &messages.Heartbeat{Group: 1, Term: 2, Leader: "n2", Commit: 2})
	m.askedToSleep(2)
	m.expectAsleep(true)
	m.forget()
	return m
}

// askedToSleep has the leader ask, as attempt 7, and returns what was answered.
func (m *member) askedToSleep(commit uint64) uint64 {
	m.t.Helper()
	m.pulse.inbox = nil
	m.send(m.peer("n2"), m.pid, &messages.Heartbeat{Group: 1, Term: 2, Leader: "n2", Commit: commit, Sleep: 7})
	for _, b := range take[*SendBeat](m.pulse) {
		if a, ok := b.Message.(*messages.HeartbeatAcked); ok {
			return a.Asleep
		}
	}
	m.t.Fatal("no answer")
	return 0
}

// A follower sleeps at once when it is asked to, says so, and again when it is asked
// again; it does not stand as long as it is not roused.
func TestFollowerSleeps(t *testing.T) {
	m := sleepingFollower(t)
	if a := m.askedToSleep(2); a != 7 {
		t.Errorf("asked again it agrees to %d, expected 7", a)
	}
	if n := m.clock.pending(); n != 0 {
		t.Errorf("%d timers are set", n)
	}
	m.advance(100 * electionTimeout)
	m.expectRole("follower", 2)
}

// One that has not everything, or has something to do, stays awake and says so.
func TestFollowerStaysAwake(t *testing.T) {
	for name, f := range map[string]func(m *member){
		"an entry is not committed": func(m *member) { m.append(2, 2, 2, 2, block(1, 2, 3, 2, "b")); m.sync() },
		"an entry is not on disk":   func(m *member) { m.append(2, 2, 2, 3, block(1, 2, 3, 2, "b")) },
		"a read is under way": func(m *member) {
			m.send(m.client, m.pid, &messages.Query{Group: 1, Request: 1, Consistency: messages.Consistency_MEMBER})
		},
		"its disk is full": func(m *member) { m.tell(m.pid, &LogFull{Reason: "full"}) },
	} {
		t.Run(name, func(t *testing.T) {
			m := restful(t).begin()
			m.append(2, 1, 1, 2, block(1, 2, 2, 1, "a"))
			m.sync()
			f(m)
			if a := m.askedToSleep(2); a != 0 {
				t.Errorf("it agrees to attempt %d", a)
			}
			m.expectAsleep(false)
		})
	}
}

// A follower that has less than the leader says it has does not sleep.
func TestFollowerThatLagsStaysAwake(t *testing.T) {
	m := restful(t).begin()
	m.append(2, 1, 1, 2, block(1, 2, 2, 1, "a"))
	m.sync()
	if a := m.askedToSleep(3); a != 0 {
		t.Errorf("it agrees to attempt %d, and lacks entry 3", a)
	}
}

// Who is woken by anybody else than its leader asks that to wake, protects it as if it
// had been heard, and stands only when it stays silent.
func TestWokenFollowerAsksItsLeader(t *testing.T) {
	m := sleepingFollower(t)
	m.advance(10 * electionTimeout)
	m.askVote("n3", 3, 2, 2)
	expectNone[*messages.VoteGranted](t, m.peer("n3"), "its leader's node lives")
	m.expectAsleep(false)
	takeOne[*WokeUp](t, m.pulse)
	if s := takeOne[*messages.Stir](t, m.peer("n2")); s.Term != 2 || s.From != "n1" {
		t.Errorf("%v", s)
	}
	m.advance(electionTimeout - 1)
	expectNone[*messages.RequestPreVote](t, m.peer("n2"), "its leader has time to show itself")
	m.advance(electionTimeout + 1)
	if len(take[*messages.RequestPreVote](m.peer("n2"))) == 0 {
		t.Error("it does not stand, and nobody leads")
	}
}

// Who is roused does not know its leader alive: it asks it to show itself, stands after an
// election timeout, and votes for others before.
func TestRousedFollowerElects(t *testing.T) {
	m := sleepingFollower(t)
	m.advance(10 * electionTimeout)
	m.tell(m.pid, &Roused{Term: 1, Reason: "of an earlier term"})
	m.expectAsleep(true)
	m.tell(m.pid, &Roused{Term: 2, Reason: "silent"})
	m.expectAsleep(false)
	if s := takeOne[*messages.Stir](t, m.peer("n2")); s.Term != 2 || s.From != "n1" {
		t.Fatal(s)
	}
	m.advance(2 * electionTimeout)
	if len(take[*messages.RequestPreVote](m.peer("n3"))) == 0 {
		t.Error("it does not stand")
	}
	other := sleepingFollower(t)
	other.advance(10 * electionTimeout)
	other.tell(other.pid, &Roused{Term: 2, Reason: "silent"})
	other.askVote("n3", 3, 2, 2)
	other.sync()
	takeOne[*messages.VoteGranted](t, other.peer("n3"))
}

// What a follower has promised by its last answer it keeps, also when it is roused.
func TestRousedFollowerKeepsItsPromise(t *testing.T) {
	m := sleepingFollower(t)
	m.advance(electionTimeout / 2)
	m.tell(m.pid, &Roused{Term: 2, Reason: "another process"})
	m.askVote("n3", 3, 2, 2)
	m.sync()
	expectNone[*messages.VoteGranted](t, m.peer("n3"), "its leader may hold a lease")
}

// A plain heartbeat wakes, and nobody need be asked.
func TestHeartbeatWakes(t *testing.T) {
	m := sleepingFollower(t)
	m.send(m.peer("n2"), m.pid, &messages.Heartbeat{Group: 1, Term: 2, Leader: "n2", Commit: 2})
	m.expectAsleep(false)
	expectNone[*messages.Stir](t, m.peer("n2"), "it is awake")
}

// Who is awake asks a leader to show itself that takes it to sleep, wherever that is; not
// each time it is told, and not one that has been followed by another.
func TestWhoIsAwakeAsksItsLeader(t *testing.T) {
	for role, begin := range map[string]func() *member{
		"follower": func() *member { return restful(t).begin() },
		"starting": func() *member { return restful(t).stored(1, "").arrive() },
	} {
		m := begin()
		m.sync()
		s := m.status()
		if s.Role != role {
			t.Fatalf("%v, expected one that is %s", s, role)
		}
		for _, told := range []struct {
			after time.Duration
			term  uint64
			asks  bool
		}{{0, s.Term - 1, false}, {0, s.Term + 1, true}, {electionTimeout / 2, s.Term + 1, false}, {electionTimeout, s.Term + 1, true}} {
			m.clock.now += told.after
			m.tell(m.pid, &LeaderAsleep{Term: core.Term(told.term), At: "n9:7"})
			m.sync()
			switch asked := take[*messages.Stir](m.at("n9:7", m.pid.Id)); {
			case (len(asked) == 1) != told.asks:
				t.Errorf("%s, told of term %d after %v: %v", role, told.term, told.after, asked)
			case told.asks && (asked[0].Term != told.term || asked[0].From != "n1" || asked[0].Group != 1):
				t.Errorf("%s: %v", role, asked[0])
			}
		}
	}
	m := sleepingFollower(t)
	m.tell(m.pid, &LeaderAsleep{Term: 2, At: "n2:1"})
	m.sync()
	expectNone[*messages.Stir](t, m.peer("n2"), "it sleeps")
}

// A group of one sleeps by itself.
func TestGroupOfOneSleeps(t *testing.T) {
	m := newMember(t, 1)
	m.pulse, m.opts.SleepAfter = m.probe(PulseName), sleepAfter
	m.begin()
	m.tell(m.pid, &GatewayCaughtUp{Term: 2})
	m.advance(2 * sleepAfter)
	m.expectAsleep(true)
	m.propose("x")
	m.sync()
	expectResults(t, m.client, "1 APPLIED")
	m.expectAsleep(false)
}
