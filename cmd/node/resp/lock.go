package resp

import (
	"strconv"
	"time"

	"github.com/protoraft/protoraft/cmd/node/machine"
	"github.com/protoraft/protoraft/fsm/kv"
	"github.com/protoraft/protoraft/fsm/lock"
)

// Commands for locks, which Redis does not have. Their names are no keys: one may be
// the name of a key, too.
var lockCommands = []commandSpec{
	{name: "lock.try", arity: 4, flags: "write fast", group: "lock", alone: true,
		summary: "Acquires a lock for so many milliseconds and returns its token, or nil: name, owner, milliseconds.", build: buildTry},
	{name: "lock.acquire", arity: 5, flags: "write fast", group: "lock", alone: true,
		summary: "As LOCK.TRY; nil keeps a place in the queue for so many milliseconds: name, owner, milliseconds, milliseconds to wait.", build: buildAcquire},
	{name: "lock.renew", arity: 4, flags: "write fast", group: "lock", alone: true,
		summary: "Has a lock last for so many milliseconds from now on: name, token, milliseconds.", build: buildRenew},
	{name: "lock.release", arity: 3, flags: "write fast", group: "lock", alone: true,
		summary: "Gives a lock back: name, token.", build: buildRelease},
	{name: "lock.leave", arity: 3, flags: "write fast", group: "lock", alone: true,
		summary: "Gives a place in the queue up: name, owner.", build: buildLeave},
	{name: "lock.inspect", arity: 2, flags: "readonly fast", group: "lock", alone: true, read: true,
		summary: "Returns a lock's owner, token, milliseconds left and how many wait; nil where nobody holds or waits.", build: buildInspect},
}

// milliseconds reads a time of a lock. The machine knows what is too long.
func milliseconds(arg []byte) (time.Duration, string) {
	n, ok := kv.ParseInt(arg)
	if !ok {
		return 0, errNotInteger
	}
	if limit := 2 * lock.MaxTTL.Milliseconds(); n > limit || n < -limit {
		return 0, "ERR a time of " + strconv.FormatInt(n, 10) + " ms, expected at most " + strconv.FormatInt(lock.MaxTTL.Milliseconds(), 10)
	}
	return time.Duration(n) * time.Millisecond, ""
}

func token(arg []byte) (uint64, string) {
	n, err := strconv.ParseUint(string(arg), 10, 63)
	if err != nil {
		return 0, "ERR token is not an integer or out of range"
	}
	return n, ""
}

func buildTry(args [][]byte) ([]byte, string) {
	ttl, refusal := milliseconds(args[3])
	return machine.Lock(lock.Acquire(string(args[1]), string(args[2]), ttl, 0)), refusal
}

func buildAcquire(args [][]byte) ([]byte, string) {
	ttl, refusal := milliseconds(args[3])
	if refusal != "" {
		return nil, refusal
	}
	wait, refusal := milliseconds(args[4])
	return machine.Lock(lock.Acquire(string(args[1]), string(args[2]), ttl, wait)), refusal
}

func buildRenew(args [][]byte) ([]byte, string) {
	held, refusal := token(args[2])
	if refusal != "" {
		return nil, refusal
	}
	ttl, refusal := milliseconds(args[3])
	return machine.Lock(lock.Renew(string(args[1]), held, ttl)), refusal
}

func buildRelease(args [][]byte) ([]byte, string) {
	held, refusal := token(args[2])
	return machine.Lock(lock.Release(string(args[1]), held)), refusal
}

func buildLeave(args [][]byte) ([]byte, string) {
	return machine.Lock(lock.Leave(string(args[1]), string(args[2]))), ""
}

func buildInspect(args [][]byte) ([]byte, string) {
	return machine.Lock(lock.Inspect(string(args[1]), time.Now())), ""
}
