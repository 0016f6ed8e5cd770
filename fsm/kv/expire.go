package kv

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"time"

	"github.com/tidwall/btree"
)

// Keys expire by log time: a key is no more, for everybody, from the first entry on
// whose log time has reached its deadline. So every member agrees, and reads stay
// linearizable: expiry is a change of state with a place in the log like any other.
//
// A group without writes has a log time that stands still. A query therefore tells
// the asker's clock (AskedAt): where that has passed a deadline which the log's time
// has not, the query is not answered but must be proposed as a command (NeedsLog).
// Its entry carries the leader's time, which decides.
//
// What has expired is out of sight at once and removed by entries that follow, a
// bounded number by each.
const reapMax = 64 // a command adds one deadline at most, so the backlog shrinks

// due is a key's deadline.
type due struct {
	at  int64
	key string
}

func newDeadlines() *btree.BTreeG[due] {
	less := func(a, b due) bool {
		return cmp.Or(cmp.Compare(a.at, b.at), strings.Compare(a.key, b.key)) < 0
	}
	return btree.NewBTreeGOptions(less, btree.Options{NoLocks: true})
}

// alive tells whether there is an item that has not expired.
func (it *item) alive(now int64) bool { return it != nil && (it.deadline == 0 || now < it.deadline) }

// reschedule changes a key's deadline; 0 is none.
func (k *keyspace) reschedule(key string, old, deadline int64) {
	if old == deadline {
		return
	}
	if old != 0 {
		k.deadlines.Delete(due{old, key})
	}
	if deadline != 0 {
		k.deadlines.Set(due{deadline, key})
	}
}

// advance moves the log time, which never goes back.
func (k *keyspace) advance(now int64) { k.now = max(k.now, now) }

// reap removes keys that have expired, at most so many.
func (k *keyspace) reap(limit int) {
	for ; limit > 0; limit-- {
		first, ok := k.deadlines.Min()
		if !ok || first.at > k.now {
			return
		}
		k.delete([]byte(first.key))
	}
}

// expired counts the keys that have expired and are still in the tree.
func (k *keyspace) expired() (n int) {
	k.deadlines.Scan(func(d due) bool {
		if d.at > k.now {
			return false
		}
		n++
		return true
	})
	return n
}

// dueBy tells whether a key has a deadline that the log's time has not reached, and
// the asker's clock has.
func (k *keyspace) dueBy(asked int64, key []byte) bool {
	it := k.find(key)
	return it != nil && it.deadline != 0 && it.deadline <= asked
}

// anyDueBy is dueBy for all keys.
func (k *keyspace) anyDueBy(asked int64) (found bool) {
	if asked <= k.now {
		return false
	}
	k.deadlines.Ascend(due{at: k.now + 1}, func(d due) bool {
		found = d.at <= asked
		return false
	})
	return found
}

// Lifetime is when a value ends. The zero value: never.
type Lifetime struct {
	kind uint64 // 0 or one of the flags below
	ms   int64
}

const (
	lifeKeep     = 8 // flags of SetWith, GetEx and Expire
	lifeFor      = 16
	lifeUntil    = 32
	lifeForever  = 64 // of GetEx: the deadline is taken away
	lifeMask     = lifeKeep | lifeFor | lifeUntil | lifeForever
	setCondition = uint64(SetNX | SetXX | SetGet)
)

// Forever is the Lifetime without a deadline.
var Forever = Lifetime{}

// Keep is the Lifetime that the key has already.
var Keep = Lifetime{kind: lifeKeep}

// For lasts so long from the log time of its entry on, rounded up to milliseconds.
func For(d time.Duration) Lifetime {
	return ForMillis(int64((d + time.Millisecond - 1) / time.Millisecond))
}

// ForMillis is For with milliseconds.
func ForMillis(ms int64) Lifetime { return Lifetime{lifeFor, ms} }

// Until lasts until the log time reaches t, to the millisecond.
func Until(t time.Time) Lifetime { return UntilMillis(t.UnixMilli()) }

// UntilMillis is Until with milliseconds since 1970.
func UntilMillis(ms int64) Lifetime { return Lifetime{lifeUntil, ms} }

// SetWith is Set with a Lifetime. A deadline in the past removes the key.
func SetWith(key, value []byte, flags SetFlags, l Lifetime) []byte {
	if l == Forever {
		return Set(key, value, flags)
	}
	return (&command{op: opSetWith, key: key, value: value, flags: uint64(flags) | l.kind, number: l.ms}).encode()
}

// ExpireFlags are the conditions of Expire.
type ExpireFlags uint64

const (
	ExpireNX ExpireFlags = 1 << iota // only where there is no deadline
	ExpireXX                         // only where there is one
	ExpireGT                         // only a later one; a key without a deadline counts as ending last
	ExpireLT                         // only an earlier one

	expireConditions = uint64(ExpireNX | ExpireXX | ExpireGT | ExpireLT)
	expireLifeShift  = 4 // of lifeFor and lifeUntil among the flags of Expire
)

// Expire sets the deadline of a key, by For or Until; one in the past removes the
// key. Reply: 1, or 0 where there is no key or the condition failed.
func Expire(key []byte, l Lifetime, flags ExpireFlags) []byte {
	return (&command{op: opExpire, key: key, number: l.ms, flags: uint64(flags) | l.kind<<expireLifeShift}).encode()
}

// Persist takes a key's deadline away. Reply: 1, or 0 where there was none.
func Persist(key []byte) []byte { return (&command{op: opPersist, key: key}).encode() }

// GetEx reads a value and sets its deadline: Keep leaves it, Forever takes it away.
// Reply: the value or nil.
func GetEx(key []byte, l Lifetime) []byte {
	if l == Forever {
		l.kind = lifeForever
	}
	return (&command{op: opGetEx, key: key, number: l.ms, flags: l.kind}).encode()
}

// TTLUnit says what TTL answers.
type TTLUnit uint64

const (
	TTLSeconds  TTLUnit = iota // what is left, rounded to seconds
	TTLMillis                  // what is left, in milliseconds
	TTLUnix                    // the deadline in seconds since 1970, rounded
	TTLUnixMill                // the deadline in milliseconds since 1970
)

// TTL queries a key's deadline. Reply: an integer in that unit, -1 for a key without
// a deadline, -2 where there is no key.
func TTL(key []byte, unit TTLUnit) []byte {
	return (&command{op: opTTL, key: key, flags: uint64(unit)}).encode()
}

// AskedAt adds the asker's clock to a query, which is not to be used by itself any more:
// as append does. Ask for NeedsLog of the answer.
func AskedAt(query []byte, now time.Time) []byte {
	return binary.AppendUvarint(append(query, tagAsked), uint64(max(now.UnixMilli(), 0)))
}

// NeedsLog tells whether an answer says that the query must be proposed as a
// command: a deadline it depends on has passed by the asker's clock and not yet by
// the log's, or it asks for versions in a group that has not begun to keep them.
func NeedsLog(answer []byte) bool { return bytes.Equal(answer, replyNeedsLog) }

// ReplyNeedsLog is such an answer, for machines with deadlines of their own.
func ReplyNeedsLog() []byte { return replyNeedsLog }

var errLifetime = errors.New("invalid expire time")

// deadline returns when a lifetime that begins now ends.
func (k *keyspace) deadline(kind uint64, ms int64) (int64, error) {
	switch kind {
	case lifeFor:
		if ms > math.MaxInt64-k.now {
			return 0, errLifetime
		}
		return k.now + ms, nil
	case lifeUntil:
		return ms, nil
	}
	return 0, errLifetime
}

func refuseLifetime(name string) []byte {
	return errorReply("ERR invalid expire time in '" + name + "' command")
}

// setWith is SET with a deadline or KEEPTTL.
func (m *Machine) setWith(c *command) []byte {
	kind, conditions := c.flags&lifeMask, SetFlags(c.flags&setCondition)
	if c.flags&^(lifeMask|setCondition) != 0 || conditions&SetNX != 0 && conditions&SetXX != 0 {
		return replySyntax
	}
	found := m.keys.find(c.key)
	deadline := int64(0)
	if kind == lifeKeep {
		if found != nil {
			deadline = found.deadline
		}
	} else {
		var err error
		if deadline, err = m.keys.deadline(kind, c.number); err != nil || c.number <= 0 {
			return refuseLifetime("set")
		}
	}
	return m.setIf(found, c, conditions, deadline)
}

// settle gives an item another deadline, or removes it if that has passed.
func (m *Machine) settle(it *item, key []byte, deadline int64) {
	if deadline != 0 && deadline <= m.keys.now {
		m.keys.delete(key)
		return
	}
	m.put(it, key, it.value, deadline)
}

func (m *Machine) expire(c *command) []byte {
	conditions := ExpireFlags(c.flags & expireConditions)
	kind := c.flags >> expireLifeShift
	others := conditions &^ ExpireNX
	if conditions&ExpireNX != 0 && others != 0 || conditions&ExpireGT != 0 && conditions&ExpireLT != 0 {
		return replySyntax
	}
	deadline, err := m.keys.deadline(kind, c.number)
	if err != nil {
		return refuseLifetime("expire")
	}
	// Whatever lies before the log's time removes the key; 0 would mean no deadline.
	deadline = max(deadline, 1)
	it := m.keys.find(c.key)
	switch {
	case it == nil,
		conditions&ExpireNX != 0 && it.deadline != 0,
		conditions&ExpireXX != 0 && it.deadline == 0,
		conditions&ExpireGT != 0 && (it.deadline == 0 || deadline <= it.deadline),
		conditions&ExpireLT != 0 && it.deadline != 0 && deadline >= it.deadline:
		return replyZero
	}
	if deadline <= m.keys.now {
		m.keys.delete(c.key)
		return replyOne
	}
	m.put(it, c.key, it.value, deadline)
	return replyOne
}

func (m *Machine) persist(c *command) []byte {
	it := m.keys.find(c.key)
	if it == nil || it.deadline == 0 {
		return replyZero
	}
	m.put(it, c.key, it.value, 0)
	return replyOne
}

func (m *Machine) getEx(c *command) []byte {
	deadline := int64(0)
	switch c.flags {
	case lifeKeep, lifeForever:
	case lifeFor, lifeUntil:
		var err error
		if deadline, err = m.keys.deadline(c.flags, c.number); err != nil || c.number <= 0 {
			return refuseLifetime("getex")
		}
	default:
		return replySyntax
	}
	it := m.keys.find(c.key)
	if it == nil {
		return replyNil
	}
	reply := bulkReply(it.value)
	if c.flags != lifeKeep && deadline != it.deadline {
		m.settle(it, c.key, deadline)
	}
	return reply
}

// ttl counts from the asker's clock where that is ahead.
func (m *Machine) ttl(c *command) []byte {
	it := m.keys.find(c.key)
	switch {
	case it == nil:
		return intReply(-2)
	case it.deadline == 0:
		return intReply(-1)
	}
	left := it.deadline - max(m.keys.now, int64(min(c.asked, math.MaxInt64)))
	switch TTLUnit(c.flags) {
	case TTLSeconds:
		return intReply(seconds(left))
	case TTLMillis:
		return intReply(left)
	case TTLUnix:
		return intReply(seconds(it.deadline))
	case TTLUnixMill:
		return intReply(it.deadline)
	}
	return replySyntax
}

// seconds rounds as Redis does.
func seconds(ms int64) int64 {
	if ms > math.MaxInt64-500 {
		return ms / 1000
	}
	return (ms + 500) / 1000
}
