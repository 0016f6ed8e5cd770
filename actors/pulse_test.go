package actors

import (
	"fmt"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/messages"
)

// beating is a Pulse amid probes: members of this node, and Pulses of others.
type beating struct {
	*world
	pid     *actor.PID
	members map[string]*probe
}

func newBeating(t *testing.T, members ...string) *beating {
	b := &beating{world: newWorld(t), members: map[string]*probe{}}
	b.pid = b.spawn(PulseProps(b.rt, PulseOptions{Interval: heartbeat, Timeout: electionTimeout}), PulseName)
	for i, name := range members {
		b.members[name] = b.probe(name)
		b.tell(b.pid, &MemberStarted{Group: uint64(i + 1), PID: b.members[name].pid})
	}
	return b
}

func (b *beating) pulseOf(node string) *probe { return b.at(node+":1", PulseName) }

// beats has members say something to a node in one turn.
func (b *beating) beats(node string, what ...*SendBeat) []*messages.Beats {
	b.t.Helper()
	for _, m := range what {
		m.To = actor.NewPID(node+":1", m.To.Id)
		b.system.Root.Send(b.pid, m)
	}
	b.settle()
	return take[*messages.Beats](b.pulseOf(node))
}

func beatOf(group uint64) *SendBeat {
	return &SendBeat{To: actor.NewPID("", MemberName(group, 1)), Message: &messages.Heartbeat{Group: group, Term: 2, Leader: "n1", Round: group}}
}

// What all groups have for a node in a turn goes in one message, each under its name.
func TestBeatsOfAllGroupsGoInOneMessage(t *testing.T) {
	b := newBeating(t)
	var all []*SendBeat
	for group := uint64(1); group <= 100; group++ {
		all = append(all, beatOf(group))
	}
	all = append(all, &SendBeat{To: actor.NewPID("", "raft-7"), Message: &messages.HeartbeatAcked{Group: 7, Term: 3, Round: 9}})
	got := b.beats("n2", all...)
	if len(got) != 1 || len(got[0].Beats) != 101 {
		t.Fatalf("%d messages, expected one with all beats", len(got))
	}
	for i, one := range got[0].Beats[:100] {
		if h := one.GetHeartbeat(); h.GetRound() != uint64(i+1) || one.Member != fmt.Sprintf("raft-%d", h.Group) {
			t.Fatalf("beat %d is %v", i, one)
		}
	}
	if a := got[0].Beats[100].GetAcked(); a.GetRound() != 9 {
		t.Errorf("the answer is %v", a)
	}
}

// A message stays small, whatever the number of groups: what comes behind it must not wait.
func TestManyBeatsGoInSeveralMessages(t *testing.T) {
	b := newBeating(t)
	var all []*SendBeat
	for group := uint64(1); group <= 5000; group++ {
		all = append(all, beatOf(group))
	}
	got := b.beats("n2", all...)
	next := uint64(1)
	for _, m := range got {
		for _, one := range m.Beats {
			if one.GetHeartbeat().Group != next {
				t.Fatalf("beat of group %d, expected %d", one.GetHeartbeat().Group, next)
			}
			next++
		}
	}
	if next != 5001 || len(got) < 2 || len(got) > 10 {
		t.Errorf("%d beats in %d messages, expected 5000 in a few", next-1, len(got))
	}
}

// A beat reaches the member it was sent to, as from its peer; one for a member that is not
// here any more, or is of another incarnation, reaches nobody.
func TestBeatsReachTheMemberOfThatName(t *testing.T) {
	b := newBeating(t, "raft-1", "raft-2.2")
	arrive := func() {
		b.send(b.pulseOf("n2"), b.pid, &messages.Beats{Life: 1, Beats: []*messages.Beat{
			{Member: "raft-1", Beat: &messages.Beat_Heartbeat{Heartbeat: &messages.Heartbeat{Group: 1, Term: 4}}},
			{Member: "raft-2", Beat: &messages.Beat_Heartbeat{Heartbeat: &messages.Heartbeat{Group: 2, Term: 5}}},
			{Member: "raft-3", Beat: &messages.Beat_Acked{Acked: &messages.HeartbeatAcked{Group: 3}}},
			{Member: "raft-1"}, nil,
		}})
	}
	arrive()
	got := takeLetters[*messages.Heartbeat](b.members["raft-1"])
	if len(got) != 1 || got[0].from.Address != "n2:1" || got[0].from.Id != "raft-1" {
		t.Fatalf("raft-1 has %v, expected one heartbeat from its peer on n2", got)
	}
	expectNone[*messages.Heartbeat](t, b.members["raft-2.2"], "it was for another incarnation")
	b.tell(b.pid, &MemberStopped{Group: 1, PID: b.members["raft-1"].pid})
	arrive()
	expectNone[*messages.Heartbeat](t, b.members["raft-1"], "it has stopped")
}

// Leaders of a node beat at the same moments, also after one that was late, and never
// twice within half an interval.
func TestLeadersBeatTogether(t *testing.T) {
	pulse := &actor.PID{}
	for now, want := range map[int]int{0: 50, 10: 40, 25: 25, 26: 74, 49: 51, 50: 50, 60: 40, 199: 51} {
		r := &raft{links: &Links{Pulse: pulse}, opts: MemberOptions{HeartbeatInterval: heartbeat}}
		r.now = heartbeat / 50 * time.Duration(now)
		if got := r.untilBeat(); got != heartbeat/50*time.Duration(want) {
			t.Errorf("at %v the next beat is in %v, expected %d/50 of an interval", r.now, got, want)
		}
	}
}
