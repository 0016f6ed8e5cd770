package cluster

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/fsm/counter"
	"github.com/protoraft/protoraft/messages"
)

// TestRefusedCommandIsNotSent: what a client that is being closed answers as not
// applied never reaches a member that is still there.
func TestRefusedCommandIsNotSent(t *testing.T) {
	n := startAlone(t, alone(t, filepath.Join(t.TempDir(), "data"), freeAddress(t)))
	pid, err := n.StartGroup(1, counter.New(counter.Hooks{}))
	if err != nil {
		t.Fatal(err)
	}
	add(t, n, 1, 5)
	n.Client().drain(false)
	_, err = n.Client().Propose(t.Context(), 1, counter.Add(1))
	if OutcomeOf(err) != NotApplied || !errors.Is(err, ErrStopped) {
		t.Fatalf("%v, expected not applied, stopped", err)
	}
	// Asked behind it, this sees the command if it was sent.
	query := &messages.Query{Group: 1, Request: 1, Query: counter.Read(), AfterWrites: true}
	results, err := ask[*messages.Results](t.Context(), n.System(), pid, query)
	if err != nil {
		t.Fatal(err)
	}
	if sum, err := counter.Parse(results.Items[0].Data); err != nil || sum != 5 {
		t.Fatalf("sum %d, %v, expected 5: the refused command was applied", sum, err)
	}
}

// TestMemberStartedAgainStaysKnown: the news of a member's end may come when another
// one of its name has begun, and more than once.
func TestMemberStartedAgainStaysKnown(t *testing.T) {
	var c Client
	first, again, other := actor.NewPID("a:1", "m"), actor.NewPID("a:1", "m"), actor.NewPID("a:1", "other")
	c.routes.learn(1, first, nil)
	c.routes.learn(1, again, nil)
	c.routes.learn(1, other, nil) // will be refused: the group has a member
	c.forget(1, first)
	if got := c.member(1); got != again {
		t.Fatalf("member %p, expected %p, which runs", got, again)
	}
	c.forget(1, again)
	c.forget(1, again)
	if got := c.member(1); got != nil {
		t.Fatalf("member %v, expected none", got)
	}
}
