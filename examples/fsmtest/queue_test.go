package queue_test

import (
	"math/rand/v2"
	"testing"

	queue "github.com/protoraft/protoraft/examples/fsmtest"
	"github.com/protoraft/protoraft/fsm"
	"github.com/protoraft/protoraft/fsm/fsmtest"
)

// TestQueue is all it takes: how to make the machine, and what to ask of it.
func TestQueue(t *testing.T) {
	fsmtest.Run(t, fsmtest.Kit{
		New: func() fsm.StateMachine { return queue.New() },
		Command: func(rng *rand.Rand) []byte {
			switch rng.IntN(10) {
			case 0:
				return []byte("nonsense") // refused on every replica alike
			case 1, 2, 3, 4:
				return queue.Pop()
			}
			item := make([]byte, rng.IntN(200))
			for i := range item {
				item[i] = byte(rng.Uint32())
			}
			return queue.Push(item)
		},
		Query: func(*rand.Rand) []byte { return queue.Peek() },
	})
}
