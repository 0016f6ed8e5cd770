package kv_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/protoraft/protoraft/fsm"
	"github.com/protoraft/protoraft/fsm/fsmtest"
	"github.com/protoraft/protoraft/fsm/kv"
)

// TestContract tries the machine alone and replicated under faults.
func TestContract(t *testing.T) {
	fsmtest.Run(t, fsmtest.Kit{
		New:     func() fsm.StateMachine { return kv.New() },
		Command: drawCommand,
		Query:   drawQuery,
	})
}

func drawKey(rng *rand.Rand) []byte { return fmt.Appendf(nil, "key%d", rng.IntN(8)) }

// drawValue draws numbers as often as text, so that increments find both.
func drawValue(rng *rand.Rand) []byte {
	if rng.IntN(2) == 0 {
		return fmt.Append(nil, rng.Int64N(1000)-500)
	}
	value := make([]byte, rng.IntN(40))
	for i := range value {
		value[i] = byte(rng.IntN(256))
	}
	return value
}

func drawCommand(rng *rand.Rand) []byte {
	key, value := drawKey(rng), drawValue(rng)
	switch rng.IntN(14) {
	case 0, 1, 2:
		return kv.Set(key, value, kv.SetFlags(rng.IntN(8)))
	case 3:
		return kv.SetIfAbsent(key, value)
	case 4:
		return kv.GetDel(key)
	case 5:
		return kv.MSet(key, value, drawKey(rng), drawValue(rng))
	case 6:
		return kv.Append(key, value)
	case 7:
		return kv.Del(key, drawKey(rng))
	case 8:
		return kv.IncrBy(key, rng.Int64N(100)-50)
	case 9:
		return kv.IncrByFloat(key, []byte("1.5"))
	case 10:
		return kv.SetRange(key, rng.Int64N(50), value)
	case 11: // a query may be proposed
		return drawQuery(rng)
	case 12:
		return value // nonsense, mostly
	}
	if rng.IntN(10) == 0 {
		return kv.FlushAll()
	}
	return kv.Set(key, value, 0)
}

func drawQuery(rng *rand.Rand) []byte {
	key := drawKey(rng)
	switch rng.IntN(9) {
	case 0:
		return kv.Get(key)
	case 1:
		return kv.MGet(key, drawKey(rng))
	case 2:
		return kv.StrLen(key)
	case 3:
		return kv.Exists(key, drawKey(rng))
	case 4:
		return kv.GetRange(key, rng.Int64N(20)-10, rng.Int64N(20)-10)
	case 5:
		return kv.Keys([]byte("key[1-4]"))
	case 6:
		return kv.Scan(0, kv.ScanOptions{Count: 1 + rng.Int64N(5)})
	case 7:
		return kv.DBSize()
	}
	return drawValue(rng)
}
