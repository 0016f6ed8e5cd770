package fsmtest

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/protoraft/protoraft/fsm"
)

// sums is an actor that has a helper do its sums.
type sums struct {
	fault  fault
	sum    wrapperspb.Int64Value
	helper *actor.PID
}

func (s *sums) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		s.helper = ctx.Spawn(actor.PropsFromFunc(s.help))
		if s.fault == countsInstances {
			s.sum.Value = int64(instances.Add(1))
		}
	case *wrapperspb.Int64Value:
		if s.fault == refusesByError && m.Value == 7 {
			return
		}
		ctx.Forward(s.helper)
	case *emptypb.Empty:
		ctx.Respond(&s.sum)
	case *fsm.SaveSnapshot:
		ctx.Respond(&s.sum)
	case *fsm.LoadSnapshot:
		var b strings.Builder
		buffer := make([]byte, 64)
		for n, err := m.Reader.Read(buffer); ; n, err = m.Reader.Read(buffer) {
			b.Write(buffer[:n])
			if err != nil {
				break
			}
		}
		if err := proto.Unmarshal([]byte(b.String()), &s.sum); err != nil {
			ctx.Respond(err)
			return
		}
		ctx.Respond(nil)
	}
}

func (s *sums) help(ctx actor.Context) {
	if m, ok := ctx.Message().(*wrapperspb.Int64Value); ok {
		s.sum.Value += m.Value
		ctx.Respond(&s.sum)
	}
}

func actorKit(f fault) Kit {
	encode := func(m proto.Message) []byte {
		b, err := fsm.Encode(m)
		if err != nil {
			panic(err)
		}
		return b
	}
	return Kit{
		New: func() fsm.StateMachine {
			return fsm.FromProps(actor.PropsFromProducer(func() actor.Actor { return &sums{fault: f} }),
				fsm.Commands(&wrapperspb.Int64Value{}), fsm.Queries(&emptypb.Empty{}))
		},
		Command: func(rng *rand.Rand) []byte { return encode(wrapperspb.Int64(rng.Int64N(20) - 5)) },
		Query:   func(*rand.Rand) []byte { return encode(&emptypb.Empty{}) },
		Seeds:   20, Worlds: 4,
	}.filled()
}

func TestSoundActorPasses(t *testing.T) { Run(t, actorKit(none)) }

// What an actor does wrong is caught as with any machine, alone and in a cluster.
func TestFaultsOfActorsAreCaught(t *testing.T) {
	for f, says := range map[fault]string{countsInstances: "answered with", refusesByError: "was not answered"} {
		k := actorKit(f)
		if err := k.try(rules[0], 1); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, expected something with %q", f, err, says)
		}
		if _, err := k.replicate(1); err == nil {
			t.Errorf("%q: a cluster did not catch it", f)
		}
	}
}
