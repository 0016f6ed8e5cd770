package sim

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/fsm"
)

// Alone is a host for a machine that no member has: one actor system for all of them.
// Nobody is woken there.
func Alone() fsm.Host {
	return alone{aloneSystem(), fmt.Sprintf("alone-%d", aloneCount.Add(1))}
}

var (
	aloneCount  atomic.Uint64
	aloneSystem = sync.OnceValue(func() *actor.ActorSystem {
		return actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
			return slog.New(slog.DiscardHandler)
		}))
	})
)

type alone struct {
	system *actor.ActorSystem
	name   string
}

func (a alone) SpawnNamed(props *actor.Props, name string) (*actor.PID, error) {
	return a.system.Root.SpawnNamed(props, a.name+"/"+name)
}

func (a alone) ActorSystem() *actor.ActorSystem { return a.system }
func (a alone) Wake()                           {}

// startGuest gives a guest that needs one a host.
func startGuest(guest fsm.StateMachine, h fsm.Host) error {
	if m, ok := guest.(fsm.Hosted); ok {
		return m.Start(h)
	}
	return nil
}

func stopGuest(guest fsm.StateMachine) {
	if m, ok := guest.(fsm.Hosted); ok {
		m.Stop()
	}
}

// Start implements fsm.Hosted.
func (h *hosted) Start(host fsm.Host) error { return startGuest(h.guest, host) }

// Wake implements fsm.Hosted.
func (h *hosted) Wake() {
	if m, ok := h.guest.(fsm.Hosted); ok {
		m.Wake()
	}
}

// Stop implements fsm.Hosted.
func (h *hosted) Stop() { stopGuest(h.guest) }

// forgetGuests takes the actors of guests out of a system whose process has crashed:
// the world's mailboxes do not know them.
func (n *node) forgetGuests() {
	if n.w.guests == nil {
		return
	}
	registry := n.host.system.ProcessRegistry
	for _, bucket := range registry.LocalPIDs.LocalPIDs {
		for id := range bucket.Items() {
			if strings.HasPrefix(id, "raft-") {
				registry.Remove(actor.NewPID(n.address, id))
			}
		}
	}
}
