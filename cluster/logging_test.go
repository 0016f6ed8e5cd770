package cluster

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/hashicorp/go-hclog"
)

func TestLogLevels(t *testing.T) {
	for _, c := range []struct {
		level   slog.Level
		message string
		want    hclog.Level
	}{
		{slog.LevelInfo, "actor system started", hclog.Debug},
		{slog.LevelDebug, "id", hclog.Trace},
		{slog.LevelWarn, "something", hclog.Warn},
		{slog.LevelError, "unknown system message", hclog.Error},
		{slog.LevelInfo, "[DeadLetter]", hclog.Trace},
		{slog.LevelError, "EndpointWriter lost connection", hclog.Debug},
		{slog.LevelInfo, "[ACTOR] Recovering", hclog.Error},
	} {
		if got := levelOf(c.level, c.message); got != c.want {
			t.Errorf("%v %q is logged as %v, expected %v", c.level, c.message, got, c.want)
		}
	}
}

func TestLogAttributes(t *testing.T) {
	var out bytes.Buffer
	l := slog.New(newSlogHandler(hclog.New(&hclog.LoggerOptions{Output: &out, Level: hclog.Trace, DisableTime: true})))
	l.With("a", 1).WithGroup("g").With("b", 2).Error("text", "c", 3, slog.Group("h", "d", 4), "e", errors.New("why"))
	if got, want := out.String(), "[ERROR] actor: text: a=1 g.b=2 g.c=3 g.h.d=4 g.e=why\n"; got != want {
		t.Errorf("logged %q, expected %q", got, want)
	}
}

// At the usual level a system that starts and loses a message says nothing; an
// actor's panic is an error.
func TestNewSystemIsQuiet(t *testing.T) {
	var out lockedBuffer
	system := NewSystem(hclog.New(&hclog.LoggerOptions{Output: &out, Level: hclog.Info}))
	system.Root.Send(system.NewLocalPID("nobody"), heartbeat())
	if out.String() != "" {
		t.Errorf("logged %q, expected silence", out.String())
	}
	again := make(chan struct{})
	props := actor.PropsFromFunc(func(ctx actor.Context) {
		switch m := ctx.Message().(type) {
		case string:
			panic(m)
		case int:
			close(again)
		}
	})
	pid := system.Root.Spawn(props)
	system.Root.Send(pid, "boom")
	system.Root.Send(pid, 1)
	<-again
	if s := out.String(); !strings.Contains(s, "[ERROR]") || !strings.Contains(s, "boom") {
		t.Errorf("logged %q, expected the panic as an error", s)
	}
	NewSystem(nil)
}

// The registry of a new system has fewer maps than Proto.Actor's, and everything that was
// in it.
func TestNewSystemKnowsItsOwn(t *testing.T) {
	system := NewSystem(nil)
	if n := len(system.ProcessRegistry.LocalPIDs.LocalPIDs); n != registryBuckets {
		t.Errorf("%d maps, expected %d", n, registryBuckets)
	}
	ids := map[string]bool{}
	for _, bucket := range actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		return slog.New(slog.DiscardHandler)
	})).ProcessRegistry.LocalPIDs.LocalPIDs {
		for id := range bucket.Items() {
			ids[id] = true
		}
	}
	if len(ids) == 0 {
		t.Fatal("a system has nothing of its own")
	}
	for id := range ids {
		if _, found := system.ProcessRegistry.GetLocal(id); !found {
			t.Errorf("%s is not found", id)
		}
	}
}
