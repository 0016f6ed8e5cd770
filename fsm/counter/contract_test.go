package counter_test

import (
	"math/rand/v2"
	"testing"

	"github.com/protoraft/protoraft/fsm"
	"github.com/protoraft/protoraft/fsm/counter"
	"github.com/protoraft/protoraft/fsm/fsmtest"
)

// TestContract tries the machine alone and replicated under faults.
func TestContract(t *testing.T) {
	fsmtest.Run(t, fsmtest.Kit{
		New: func() fsm.StateMachine { return counter.New(counter.Hooks{}) },
		Command: func(rng *rand.Rand) []byte {
			switch rng.IntN(10) {
			case 0: // out of range sooner or later
				return counter.Add(rng.Int64() - rng.Int64())
			case 1:
				return []byte("nonsense")[:rng.IntN(9)]
			}
			return counter.Add(rng.Int64N(2000) - 1000)
		},
		Query: func(rng *rand.Rand) []byte {
			if rng.IntN(5) == 0 {
				return []byte("nonsense")
			}
			return counter.Read()
		},
	})
}
