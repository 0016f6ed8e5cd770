package cluster

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/messages"
)

// registrar is what a client asks in place of a leader: it loses orders to undo a change,
// and tells of the members what the test has put down, the last of it again and again.
type registrar struct {
	system *actor.ActorSystem

	mu       sync.Mutex
	statuses []*messages.GroupStatus
	aborts   int
	told     chan struct{} // a token for each status told
}

func (r *registrar) SendUserMessage(_ *actor.PID, message any) {
	_, inner, sender := actor.UnwrapEnvelope(message)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch m := inner.(type) {
	case *messages.AbortChange:
		r.aborts++
	case *messages.ListMembers:
		data, err := proto.Marshal(r.statuses[0])
		if err != nil {
			panic(err)
		}
		if len(r.statuses) > 1 {
			r.statuses = r.statuses[1:]
		}
		item := messages.ResultItem{Request: m.Request, Outcome: messages.Outcome_APPLIED, Data: data}
		r.system.Root.Send(sender, &messages.Results{Items: []messages.ResultItem{item}})
		select {
		case r.told <- struct{}{}:
		default:
		}
	}
}

func (r *registrar) SendSystemMessage(*actor.PID, any) {}
func (r *registrar) Stop(*actor.PID)                   {}

func newRegistrar(t *testing.T, statuses ...*messages.GroupStatus) (*registrar, *Client) {
	t.Helper()
	r := &registrar{system: NewSystem(nil), statuses: statuses, told: make(chan struct{}, 8)}
	pid, _ := r.system.ProcessRegistry.Add(r, "registrar")
	c, err := newClient(r.system, pid, time.Millisecond) // beside gatewayGrace
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		r.system.Shutdown()
	})
	return r, c
}

// TestLostAnswerToAnAbort: what became of the change is looked at until that is certain.
func TestLostAnswerToAnAbort(t *testing.T) {
	settled := func(index uint64, ids ...string) *messages.GroupStatus {
		c := &messages.Configuration{}
		for _, id := range ids {
			c.Members = append(c.Members, &messages.Member{Id: id, Address: id + ":1"})
		}
		return &messages.GroupStatus{Configuration: c, ConfigurationIndex: index, CommitIndex: index}
	}
	changing := settled(5, "n1", "n2", "n3")
	changing.Change = &messages.ChangeStatus{Phase: "catching up"}
	uncommitted := settled(7, "n1", "n2", "n3")
	uncommitted.CommitIndex = 6
	for _, test := range []struct {
		name   string
		after  []*messages.GroupStatus
		undone bool
	}{
		{"undone", []*messages.GroupStatus{changing, uncommitted, settled(7, "n1", "n2", "n3")}, true},
		{"gone through", []*messages.GroupStatus{changing, settled(9, "n1", "n2", "n3", "n4")}, false},
		{"told by who leads no more", []*messages.GroupStatus{settled(2, "n1", "n2", "n3")}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, c := newRegistrar(t, append([]*messages.GroupStatus{changing}, test.after...)...)
			m, err := c.AbortChange(t.Context(), 1)
			switch {
			case test.undone && (err != nil || m.Index != 7 || len(m.Voters) != 3):
				t.Errorf("%+v, %v, expected the members of index 7", m, err)
			case !test.undone && (!errors.Is(err, ErrTimeout) || OutcomeOf(err) != Unknown):
				t.Errorf("%+v, %v, expected an unknown outcome", m, err)
			}
			if r.aborts != 1 {
				t.Errorf("%d orders to undo it, expected one: a later one may meet another change", r.aborts)
			}
		})
	}

	t.Run("ctx ends first", func(t *testing.T) {
		r, c := newRegistrar(t, changing)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			for range 3 { // before the order, and twice behind it
				<-r.told
			}
			cancel()
		}()
		if _, err := c.AbortChange(ctx, 1); OutcomeOf(err) != Unknown || !errors.Is(err, ErrTimeout) {
			t.Errorf("%v, expected an unknown outcome", err)
		}
	})
}
