// Package kv is a replicated key-value machine: Redis strings and counters over
// a copy-on-write tree, with deadlines (expire.go), versions to compare with
// (version.go) and transactions (exec.go).
//
// Commands and queries are built by the functions of command.go (Set, IncrBy,
// Get, Scan, …) and answered with a Reply (reply.go). What the machine refuses
// (not an integer, too large, unknown operation) is a Reply too, with the text
// Redis uses. A query may also be proposed as a command: it is then answered
// from the state at its own place in the log.
//
// A snapshot costs O(1): the tree is shared, and from then on changed by copying
// the nodes that are touched.
package kv

import (
	"errors"
	"math"
	"strconv"

	"github.com/protoraft/protoraft/fsm"
)

// Limits. They are part of the replicated behaviour: a change needs a new opcode,
// or members of different versions disagree.
const (
	MaxKeyBytes     = 64 << 10
	MaxValueBytes   = 512 << 10
	MaxPatternBytes = 4 << 10 // of KEYS and SCAN MATCH

	// MaxReplyBytes bounds a reply of many values (MGET, KEYS). SCAN stops at half
	// of it and hands out a cursor.
	MaxReplyBytes = 2 << 20

	// MaxScanVisits bounds how many keys one SCAN looks at, whatever its COUNT.
	MaxScanVisits = 100_000
)

// ErrNotQuery is returned by Query for bytes that are not a query of this package.
var ErrNotQuery = errors.New("kv: not a query")

// Machine implements fsm.StateMachine and fsm.Querier. Make it with New.
type Machine struct {
	keys  keyspace
	index uint64 // of the entry at hand
	since uint64 // versions are kept from this entry on; 0: not yet

	cmd, inner command // decoded into again and again, so that a command costs no allocation
}

var (
	_ fsm.StateMachine = (*Machine)(nil)
	_ fsm.Querier      = (*Machine)(nil)
)

// New returns an empty machine.
func New() *Machine { return &Machine{keys: newKeyspace()} }

// Apply executes a command. The error is always nil: a malformed command is
// refused by reply, the same on every member. The reply may be shared with
// others and must not be changed.
func (m *Machine) Apply(e fsm.Entry) ([]byte, error) {
	m.index = e.Index
	m.keys.advance(e.Time.UnixMilli())
	if err := m.cmd.decode(e.Data); err != nil {
		m.keys.reap(reapMax)
		return errorReply("ERR malformed command: " + err.Error()), nil
	}
	m.keys.reap(reapMax + len(m.cmd.args))
	if m.cmd.op.isQuery() {
		if m.cmd.op.asksVersions() {
			m.begin()
		}
		return m.read(&m.cmd), nil
	}
	if m.cmd.op >= firstVersioned && m.cmd.op <= lastVersioned {
		m.begin()
	}
	return m.write(&m.cmd), nil
}

// Query answers a query. It returns ErrNotQuery for anything else.
func (m *Machine) Query(query []byte) ([]byte, error) {
	if err := m.cmd.decode(query); err != nil {
		return nil, errors.Join(ErrNotQuery, err)
	}
	if !m.cmd.op.isQuery() {
		return nil, ErrNotQuery
	}
	if m.needsLog(&m.cmd) {
		return replyNeedsLog, nil
	}
	return m.read(&m.cmd), nil
}

func (m *Machine) write(c *command) []byte {
	if refusal := c.checkSizes(); refusal != nil {
		return refusal
	}
	switch c.op {
	case opSet:
		return m.set(c)
	case opSetNX:
		return m.setNX(c)
	case opGetDel:
		return m.getDel(c)
	case opMSet:
		return m.mset(c)
	case opAppend:
		return m.append(c)
	case opDel:
		return m.del(c)
	case opIncrBy:
		return m.incrBy(c)
	case opIncrByFloat:
		return m.incrByFloat(c)
	case opSetRange:
		return m.setRange(c)
	case opFlushAll:
		m.keys.clear()
		return replyOK
	case opSetWith:
		return m.setWith(c)
	case opExpire:
		return m.expire(c)
	case opPersist:
		return m.persist(c)
	case opGetEx:
		return m.getEx(c)
	case opSetIfVersion:
		return m.setIfVersion(c)
	case opSetIfValue:
		return m.setIfValue(c)
	case opNext:
		return m.next(c)
	case opExec:
		return m.exec(c)
	}
	return errorReply("ERR unknown operation " + strconv.Itoa(int(c.op)) + ": a newer version wrote it")
}

// put sets a key for which find has returned found.
func (m *Machine) put(found *item, key, value []byte, deadline int64) {
	m.keys.store(found, key, cell{value, deadline, m.index})
}

// putNew sets a key and takes away its deadline.
func (m *Machine) putNew(key, value []byte) { m.put(m.keys.find(key), key, value, 0) }

// change sets a key and leaves its deadline.
func (m *Machine) change(found *item, key, value []byte) {
	deadline := int64(0)
	if found != nil {
		deadline = found.deadline
	}
	m.put(found, key, value, deadline)
}

func (m *Machine) set(c *command) []byte {
	if c.flags&^setCondition != 0 || c.flags&uint64(SetNX) != 0 && c.flags&uint64(SetXX) != 0 {
		return replySyntax
	}
	return m.setIf(m.keys.find(c.key), c, SetFlags(c.flags), 0)
}

// setIf sets a key where its conditions hold.
func (m *Machine) setIf(found *item, c *command, conditions SetFlags, deadline int64) []byte {
	reply := replyOK
	if conditions&SetGet != 0 {
		reply = replyNil
		if found != nil {
			reply = bulkReply(found.value)
		}
	}
	if conditions&SetNX != 0 && found != nil || conditions&SetXX != 0 && found == nil {
		if conditions&SetGet == 0 {
			return replyNil
		}
		return reply
	}
	if deadline != 0 && deadline <= m.keys.now {
		m.keys.delete(c.key)
	} else {
		m.put(found, c.key, clone(c.value), deadline)
	}
	return reply
}

func (m *Machine) setNX(c *command) []byte {
	if _, exists := m.keys.get(c.key); exists {
		return replyZero
	}
	m.putNew(c.key, clone(c.value))
	return replyOne
}

func (m *Machine) getDel(c *command) []byte {
	old, exists := m.keys.get(c.key)
	if exists {
		m.keys.delete(c.key)
	}
	return bulkOrNil(old, exists)
}

func (m *Machine) mset(c *command) []byte {
	if len(c.args) == 0 || len(c.args)%2 != 0 {
		return errorReply("ERR wrong number of arguments for 'mset' command")
	}
	for i := 0; i < len(c.args); i += 2 {
		m.putNew(c.args[i], clone(c.args[i+1]))
	}
	return replyOK
}

func (m *Machine) append(c *command) []byte {
	found := m.keys.find(c.key)
	var old []byte
	if found != nil {
		old = found.value
	}
	if len(old)+len(c.value) > MaxValueBytes {
		return replyTooLong
	}
	// In place where there is room: views hold the shorter slice and never look
	// beyond it, and no two values share an array.
	grown := append(old, c.value...)
	m.change(found, c.key, grown)
	return intReply(int64(len(grown)))
}

func (m *Machine) del(c *command) []byte {
	n := int64(0)
	for _, key := range c.args {
		if m.keys.delete(key) {
			n++
		}
	}
	return intReply(n)
}

func (m *Machine) incrBy(c *command) []byte {
	found := m.keys.find(c.key)
	n := int64(0)
	if found != nil {
		var ok bool
		if n, ok = ParseInt(found.value); !ok {
			return replyNotInteger
		}
	}
	d := c.number
	if d > 0 && n > math.MaxInt64-d || d < 0 && n < math.MinInt64-d {
		return replyOverflow
	}
	n += d
	m.storeInt(found, c.key, n)
	return intReply(n)
}

func (m *Machine) storeInt(found *item, key []byte, n int64) {
	m.change(found, key, strconv.AppendInt(make([]byte, 0, 20), n, 10))
}

func (m *Machine) incrByFloat(c *command) []byte {
	found, old := m.keys.find(c.key), []byte("0")
	if found != nil {
		old = found.value
	}
	sum, err := addFloats(old, c.value)
	if err != nil {
		return errorReply("ERR " + err.Error())
	}
	m.change(found, c.key, sum)
	return bulkReply(sum)
}

func (m *Machine) setRange(c *command) []byte {
	if c.number < 0 {
		return errorReply("ERR offset is out of range")
	}
	found := m.keys.find(c.key)
	var old []byte
	if found != nil {
		old = found.value
	}
	if len(c.value) == 0 {
		return intReply(int64(len(old)))
	}
	if c.number > MaxValueBytes || int(c.number)+len(c.value) > MaxValueBytes {
		return replyTooLong
	}
	end := int(c.number) + len(c.value)
	changed := make([]byte, max(end, len(old)))
	copy(changed, old)
	copy(changed[c.number:], c.value)
	m.change(found, c.key, changed)
	return intReply(int64(len(changed)))
}

// clone copies out of an entry, whose bytes are only lent. It leaves no spare room.
func clone(b []byte) []byte {
	c := make([]byte, len(b))
	copy(c, b)
	return c
}

// ParseInt reads a signed 64-bit decimal as strictly as Redis does: no space, no
// plus sign, no leading zero, no "-0".
func ParseInt(b []byte) (int64, bool) {
	digits, negative := b, false
	if len(b) > 0 && b[0] == '-' {
		digits, negative = b[1:], true
	}
	if len(digits) == 0 || len(digits) > 19 || digits[0] == '0' && (negative || len(digits) > 1) {
		return 0, false
	}
	n := uint64(0)
	for _, d := range digits {
		if d < '0' || d > '9' {
			return 0, false
		}
		n = n*10 + uint64(d-'0')
	}
	switch {
	case negative && n <= 1<<63:
		return -int64(n), true
	case !negative && n <= math.MaxInt64:
		return int64(n), true
	default:
		return 0, false
	}
}
