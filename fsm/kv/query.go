package kv

import (
	"encoding/binary"
	"math"
	"strconv"
	"strings"
)

func (m *Machine) read(c *command) []byte {
	if refusal := c.checkSizes(); refusal != nil {
		return refusal
	}
	switch c.op {
	case opGet:
		return bulkOrNil(m.keys.get(c.key))
	case opMGet:
		return m.mget(c)
	case opStrLen:
		value, _ := m.keys.get(c.key)
		return intReply(int64(len(value)))
	case opExists:
		return m.exists(c)
	case opType:
		if _, exists := m.keys.get(c.key); exists {
			return replyString
		}
		return replyNone
	case opGetRange:
		return m.getRange(c)
	case opKeys:
		return m.listKeys(c)
	case opScan:
		return m.scan(c)
	case opDBSize:
		return intReply(int64(m.keys.len()))
	case opTTL:
		return m.ttl(c)
	case opVersions:
		return m.versions(c)
	case opGetVersioned:
		return m.getVersioned(c)
	}
	return errorReply("ERR unknown query " + strconv.Itoa(int(c.op)))
}

// needsLog tells whether a query can only be answered by an entry; see NeedsLog.
func (m *Machine) needsLog(c *command) bool {
	if c.op.asksVersions() && m.since == 0 {
		return true
	}
	asked := int64(min(c.asked, math.MaxInt64))
	if asked <= m.keys.now || m.keys.deadlines.Len() == 0 {
		return false
	}
	switch c.op {
	case opKeys, opScan, opDBSize:
		return m.keys.anyDueBy(asked)
	case opMGet, opExists, opVersions:
		for _, key := range c.args {
			if m.keys.dueBy(asked, key) {
				return true
			}
		}
		return false
	}
	return m.keys.dueBy(asked, c.key)
}

func (m *Machine) mget(c *command) []byte {
	var items []byte
	for _, key := range c.args {
		value, exists := m.keys.get(key)
		if len(items)+len(value) > MaxReplyBytes {
			return errorReply("ERR reply is too large: more than " + strconv.Itoa(MaxReplyBytes) + " bytes; ask for fewer keys")
		}
		if exists {
			items = appendItemBulk(items, value)
		} else {
			items = appendItem(items, replyNil)
		}
	}
	return arrayReply(items)
}

func (m *Machine) exists(c *command) []byte {
	n := int64(0)
	for _, key := range c.args {
		if _, exists := m.keys.get(key); exists {
			n++
		}
	}
	return intReply(n)
}

// getRange counts from the end for negative positions, both inclusive.
func (m *Machine) getRange(c *command) []byte {
	value, _ := m.keys.get(c.key)
	n, start, end := int64(len(value)), c.number, c.end
	if start < 0 && end < 0 && start > end {
		return replyEmpty
	}
	if start < 0 {
		start = max(start+n, 0)
	}
	if end < 0 {
		end = max(end+n, 0)
	}
	end = min(end, n-1)
	if n == 0 || start > end {
		return replyEmpty
	}
	return bulkReply(value[start : end+1])
}

func (m *Machine) listKeys(c *command) []byte {
	var items []byte
	full := false
	m.keys.ascend(0, func(_ uint64, it *item) bool {
		if Match(c.value, it.key) {
			items = appendItemBulk(items, it.key)
			full = len(items) > MaxReplyBytes
		}
		return !full
	})
	if full {
		return errorReply("ERR reply is too large: more than " + strconv.Itoa(MaxReplyBytes) + " bytes; use SCAN")
	}
	return arrayReply(items)
}

// scan walks the tree in the order of the keys' hashes. The cursor is the hash to
// go on from, so it needs no state here, means the same on every member, and a
// key that is present from the first call to the last is met exactly once,
// whatever comes and goes around it. A call never ends between keys of one
// hash; apart from those, it visits COUNT keys at most. Hashes have 63 bits, so
// that a cursor fits clients that keep it as a signed number.
func (m *Machine) scan(c *command) []byte {
	if c.number < 1 {
		return replySyntax
	}
	limit := min(c.number, MaxScanVisits)
	all := c.flags&scanMatch == 0
	typed := c.flags&scanType == 0 || strings.EqualFold(string(c.key), "string")
	var items []byte
	visited, next, last := int64(0), uint64(0), uint64(0)
	if c.cursor <= maxHash { // beyond it there is nothing left
		m.keys.ascend(c.cursor, func(hash uint64, it *item) bool {
			if hash != last && (visited >= limit || len(items) > MaxReplyBytes/2) {
				next = hash
				return false
			}
			last = hash
			visited++
			if typed && (all || Match(c.value, it.key)) {
				items = appendItemBulk(items, it.key)
			}
			return true
		})
	}
	cursor := strconv.AppendUint(nil, next, 10)
	return arrayReply(appendItem(appendItemBulk(nil, cursor), arrayReply(items)))
}

// appendItemBulk appends a bulk string as an array's element.
func appendItemBulk[T string | []byte](items []byte, s T) []byte {
	var head [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(head[:], uint64(len(s)))
	items = append(items, tagItem)
	items = binary.AppendUvarint(items, uint64(1+n+len(s)))
	items = append(items, tagBulk)
	items = append(items, head[:n]...)
	return append(items, s...)
}
