package cluster

import (
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/hashicorp/go-hclog"

	"github.com/protoraft/protoraft/messages"
)

// yes is a member that has applied whatever it is asked, at once.
type yes struct{ calls *callTable }

func (y yes) SendUserMessage(_ *actor.PID, message any) {
	m := actor.UnwrapEnvelopeMessage(message).(*messages.Propose)
	y.calls.SendUserMessage(nil, &messages.Results{Items: []messages.ResultItem{
		{Request: m.Request, Outcome: messages.Outcome_APPLIED, Index: 1},
	}})
}

func (yes) SendSystemMessage(*actor.PID, any) {}
func (yes) Stop(*actor.PID)                   {}

// BenchmarkClientPropose is what a command costs its client, without anybody having to
// wait: one allocation is the answer's.
func BenchmarkClientPropose(b *testing.B) {
	for name, noSessions := range map[string]bool{"session": false, "none": true} {
		b.Run(name, func(b *testing.B) {
			system := NewSystem(hclog.NewNullLogger())
			gateway := actor.NewPID(system.ProcessRegistry.Address, "nobody")
			c, err := newClient(system, gateway, time.Minute)
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			member, ok := system.ProcessRegistry.Add(yes{c.calls}, "yes")
			if !ok {
				b.Fatal("the name is taken")
			}
			c.routes.learn(1, member, nil)
			c.noSessions = noSessions
			command := make([]byte, 16)
			for b.Loop() {
				if _, err := c.StartPropose(1, command).Wait(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
