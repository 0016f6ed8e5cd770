package kv_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

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
	switch rng.IntN(20) {
	case 13, 14, 15, 16, 17, 18:
		return drawVersioned(rng)
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

func drawLifetime(rng *rand.Rand) kv.Lifetime {
	switch rng.IntN(4) {
	case 0:
		return kv.Keep
	case 1: // about the time of the simulated clock and of the trials, and long before
		return kv.UntilMillis([]int64{1_700_000_050_000, 1_700_000_100_000, 5}[rng.IntN(3)])
	}
	return kv.ForMillis(rng.Int64N(3000))
}

func drawVersioned(rng *rand.Rand) []byte {
	key, value := drawKey(rng), drawValue(rng)
	switch rng.IntN(8) {
	case 0, 1:
		return kv.SetWith(key, value, kv.SetFlags(rng.IntN(8)), drawLifetime(rng))
	case 2:
		return kv.Expire(key, drawLifetime(rng), kv.ExpireFlags(rng.IntN(16)))
	case 3:
		return kv.GetEx(key, drawLifetime(rng))
	case 4:
		return kv.SetIfVersion(key, rng.Uint64N(20), value)
	case 5:
		return kv.SetIfValue(key, []byte("7"), []byte("8"))
	case 6:
		return kv.Next(key, rng.Int64N(5))
	}
	var commands [][]byte
	for range rng.IntN(4) {
		commands = append(commands, drawCommand(rng))
	}
	var watched []kv.Watched
	if rng.IntN(2) == 0 {
		watched = append(watched, kv.Watched{Key: key, Version: rng.Uint64N(3)})
	}
	return kv.Exec(watched, commands...)
}

func drawQuery(rng *rand.Rand) []byte {
	key := drawKey(rng)
	switch rng.IntN(12) {
	case 8:
		return kv.TTL(key, kv.TTLUnit(rng.IntN(4)))
	case 9:
		return kv.GetVersioned(key)
	case 10:
		return kv.AskedAt(kv.Get(key), time.UnixMilli(1_700_000_000_000+rng.Int64N(200_000)))
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
