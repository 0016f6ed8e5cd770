package kv

import "math"

// Versions. Every change stamps a key with the index of its entry. Machines that were
// restored from a snapshot of an older program do not know the stamps of before, so
// what a version is must not depend on them: the group counts versions from the first
// entry on that needs something of the kind (since), and whatever was changed before
// it has that entry's index for a version. Until then snapshots are written in the
// older format.

// begin makes the group keep versions, from this entry on.
func (m *Machine) begin() {
	if m.since == 0 {
		m.since = max(m.index, 1)
	}
}

// version is 0 where there is no key.
func (m *Machine) version(key []byte) uint64 {
	if it := m.keys.find(key); it != nil {
		return max(it.version, m.since)
	}
	return 0
}

// GetVersioned queries a value and its version: the index of the entry that changed
// the key last. Reply: an array of the version, 0 where there is no key, and the
// value or nil. Ask for NeedsLog of the answer.
func GetVersioned(key []byte) []byte { return (&command{op: opGetVersioned, key: key}).encode() }

// Versions queries the versions of keys, 0 where there is none. Reply: an array of
// integers. Ask for NeedsLog of the answer.
func Versions(keys ...[]byte) []byte { return (&command{op: opVersions, args: keys}).encode() }

// SetIfVersion stores value under key if the key has that version; 0: if there is no
// key. A deadline stays. Reply: the new version, or nil.
func SetIfVersion(key []byte, version uint64, value []byte) []byte {
	return (&command{op: opSetIfVersion, key: key, value: value, cursor: version}).encode()
}

// SetIfValue stores value under key if the key holds old. A deadline stays. Reply:
// the new version, or nil.
func SetIfValue(key, old, value []byte) []byte {
	return (&command{op: opSetIfValue, key: key, value: value, args: [][]byte{old}}).encode()
}

// Next hands out count ids, at least 1, and never one again: those from its reply on.
// The first is 1. The last one handed out is the value of key, an ordinary integer:
// whoever removes or sets the key has the ids begin elsewhere.
func Next(key []byte, count int64) []byte {
	return (&command{op: opNext, key: key, number: count}).encode()
}

func (m *Machine) getVersioned(c *command) []byte {
	value, exists := m.keys.get(c.key)
	items := appendItem(nil, intReply(int64(m.version(c.key))))
	return arrayReply(appendItem(items, bulkOrNil(value, exists)))
}

func (m *Machine) versions(c *command) []byte {
	var items []byte
	for _, key := range c.args {
		items = appendItem(items, intReply(int64(m.version(key))))
	}
	return arrayReply(items)
}

func (m *Machine) setIfVersion(c *command) []byte {
	if m.version(c.key) != c.cursor {
		return replyNil
	}
	m.change(m.keys.find(c.key), c.key, clone(c.value))
	return intReply(int64(m.version(c.key)))
}

func (m *Machine) setIfValue(c *command) []byte {
	if len(c.args) != 1 {
		return replySyntax
	}
	found := m.keys.find(c.key)
	if found == nil || string(found.value) != string(c.args[0]) {
		return replyNil
	}
	m.change(found, c.key, clone(c.value))
	return intReply(int64(m.version(c.key)))
}

func (m *Machine) next(c *command) []byte {
	if c.number < 1 {
		return errorReply("ERR value is out of range, must be positive")
	}
	found, last := m.keys.find(c.key), int64(0)
	if found != nil {
		var ok bool
		if last, ok = ParseInt(found.value); !ok {
			return replyNotInteger
		}
	}
	if last > math.MaxInt64-c.number {
		return replyOverflow
	}
	m.storeInt(found, c.key, last+c.number)
	return intReply(last + 1)
}
