package cluster

import (
	"strings"
	"testing"
	"time"

	"github.com/protoraft/protoraft/actors"
	"github.com/protoraft/protoraft/fsm"
	"github.com/protoraft/protoraft/fsm/counter"
	"github.com/protoraft/protoraft/messages"
)

// hashed is a counter that keeps a hash of its state, one node's another one.
type hashed struct {
	*counter.Machine
	sum   uint64
	drift uint64
}

func (h *hashed) Apply(e fsm.Entry) ([]byte, error) {
	h.sum++
	return h.Machine.Apply(e)
}

func (h *hashed) StateHash() uint64 { return h.sum + 1 + h.drift }

// TestDivergedNodeStopsItsGroup: over real links, the one node whose state differs is
// found, stops and is named; the group goes on.
func TestDivergedNodeStopsItsGroup(t *testing.T) {
	c := newTrio(t)
	failed := make(chan actors.MemberFailed, 3)
	for i := range c.nodes {
		n := c.start(i)
		n.system.EventStream.Subscribe(func(e any) {
			if m, ok := e.(*actors.MemberFailed); ok {
				failed <- *m
			}
		})
		h := &hashed{Machine: counter.New(counter.Hooks{})}
		if i == 2 {
			h.drift = 1 << 40
		}
		if _, err := n.StartGroup(1, h); err != nil {
			t.Fatal(err)
		}
	}
	// The one that stops may lead: what it had taken is unknown then, and nothing else is.
	propose := func() error {
		_, err := c.nodes[0].Client().Propose(t.Context(), 1, counter.Add(1))
		if err != nil && OutcomeOf(err) == Applied {
			t.Fatalf("an error, and applied: %v", err)
		}
		return err
	}
	var reason string
	for end := time.Now().Add(patience); reason == ""; {
		select {
		case m := <-failed:
			reason = m.Reason
		default:
			if err := propose(); time.Now().After(end) {
				t.Fatalf("nobody has stopped, the last proposal: %v", err)
			}
		}
	}
	if !strings.HasPrefix(reason, "state diverged: after entry ") {
		t.Fatalf("failed: %s", reason)
	}
	for end := time.Now().Add(patience); ; {
		err := propose()
		if err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the others do not go on: %v", err)
		}
	}
	for i, n := range c.nodes {
		s, err := n.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if g := s.Groups[0]; (g.Role == "failed") != (i == 2) {
			t.Errorf("%s is %s: %q, expected only n3 to have stopped", n.ID(), g.Role, g.Failure)
		}
	}
}

// TestStatusTellsWhoDiffers: what a leader knows of its peers' machines reaches whoever
// asks.
func TestStatusTellsWhoDiffers(t *testing.T) {
	g := groupStatus(&messages.GroupStatus{
		Leader: "n1", Peers: []*messages.PeerStatus{{Id: "n3", ComparedIndex: 64, DivergedIndex: 128}},
		Configuration: &messages.Configuration{Members: []*messages.Member{
			{Id: "n2", Address: "b:1", Role: messages.Role_LEARNER}, {Id: "n1", Address: "a:1"}, {Id: "n3", Address: "c:1"},
		}},
	})
	if p := g.Peers[0]; p.ComparedIndex != 64 || p.DivergedIndex != 128 {
		t.Errorf("%+v, expected equal at 64 and differing at 128", p)
	}
	if g.LeaderAddress != "a:1" {
		t.Errorf("leader at %q, expected a:1", g.LeaderAddress)
	}
	expectIDs(t, "members", g.Members(), "n1", "n2", "n3")
}
