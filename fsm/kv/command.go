package kv

import (
	"encoding/binary"
	"fmt"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// A command or query is the protobuf message
//
//	message Command {
//	  uint32 op = 1;
//	  bytes key = 2;           // SCAN: the type asked for
//	  bytes value = 3;         // KEYS, SCAN: the pattern; EXEC: per key watched its
//	                           // length, key and version
//	  sint64 number = 4;       // increment, offset, first position, COUNT, lifetime in ms
//	  sint64 end = 5;          // last position
//	  uint32 flags = 6;
//	  repeated bytes args = 7; // keys; MSET: key, value, key, value, …; EXEC: commands;
//	                           // the value asked for
//	  uint64 cursor = 8;       // SCAN; the version asked for
//	  uint64 asked = 9;        // of a query: the asker's clock, ms since 1970
//	}
//
// written and read by hand. Numbers of fields and operations never change their
// meaning; a field or operation not known is refused, never ignored, because a
// member that ignored it would leave the others behind unnoticed.
type command struct {
	op     op
	key    []byte
	value  []byte
	number int64
	end    int64
	flags  uint64
	args   [][]byte
	cursor uint64
	asked  uint64
}

type op uint64

// Operations. Those that change state are below firstQuery.
const (
	opSet         op = 1
	opSetNX       op = 2
	opGetDel      op = 3
	opMSet        op = 4
	opAppend      op = 5
	opDel         op = 6
	opIncrBy      op = 7
	opIncrByFloat op = 8
	opSetRange    op = 9
	opFlushAll    op = 10

	firstVersioned op = 11 // those up to lastVersioned make the group keep versions
	opSetWith      op = 11
	opExpire       op = 12
	opPersist      op = 13
	opGetEx        op = 14
	opSetIfVersion op = 15
	opSetIfValue   op = 16
	opNext         op = 17
	opExec         op = 18
	lastVersioned  op = 18

	firstQuery op = 64
	opGet      op = 64
	opMGet     op = 65
	opStrLen   op = 66
	opExists   op = 67
	opType     op = 68
	opGetRange op = 69
	opKeys     op = 70
	opScan     op = 71
	opDBSize   op = 72

	opTTL          op = 73
	opVersions     op = 74
	opGetVersioned op = 75

	queryEnd op = 128
)

func (o op) isQuery() bool { return o >= firstQuery && o < queryEnd }

// asksVersions tells whether a query's answer depends on versions.
func (o op) asksVersions() bool { return o == opVersions || o == opGetVersioned }

// SetFlags are the conditions of Set.
type SetFlags uint64

const (
	SetNX  SetFlags = 1 << iota // only if the key is absent
	SetXX                       // only if it exists
	SetGet                      // answer the old value instead of OK or nil
)

const (
	scanMatch = 1 << iota
	scanType
)

// Tags of the fields: number<<3 | wire type.
const (
	tagOp     = 1 << 3
	tagKey    = 2<<3 | 2
	tagValue  = 3<<3 | 2
	tagNumber = 4 << 3
	tagEnd    = 5 << 3
	tagFlags  = 6 << 3
	tagArg    = 7<<3 | 2
	tagCursor = 8 << 3
	tagAsked  = 9 << 3
)

// Set stores value under key. Reply: OK; nil where the condition failed; with
// SetGet the old value or nil.
func Set(key, value []byte, flags SetFlags) []byte {
	return (&command{op: opSet, key: key, value: value, flags: uint64(flags)}).encode()
}

// SetIfAbsent stores value under key if there is none. Reply: 1 or 0.
func SetIfAbsent(key, value []byte) []byte {
	return (&command{op: opSetNX, key: key, value: value}).encode()
}

// GetDel removes key. Reply: its value, or nil.
func GetDel(key []byte) []byte { return (&command{op: opGetDel, key: key}).encode() }

// MSet stores keys and values, alternating, at once. Reply: OK.
func MSet(pairs ...[]byte) []byte { return (&command{op: opMSet, args: pairs}).encode() }

// Append adds to the end of a value. Reply: the new length.
func Append(key, value []byte) []byte {
	return (&command{op: opAppend, key: key, value: value}).encode()
}

// Del removes keys. Reply: how many there were.
func Del(keys ...[]byte) []byte { return (&command{op: opDel, args: keys}).encode() }

// IncrBy adds to an integer, 0 where absent. Reply: the sum.
func IncrBy(key []byte, delta int64) []byte {
	return (&command{op: opIncrBy, key: key, number: delta}).encode()
}

// IncrByFloat adds to a decimal number, 0 where absent. Reply: the sum as text.
func IncrByFloat(key, increment []byte) []byte {
	return (&command{op: opIncrByFloat, key: key, value: increment}).encode()
}

// SetRange overwrites a value from offset on, filling up with zeros. Reply: the
// new length.
func SetRange(key []byte, offset int64, value []byte) []byte {
	return (&command{op: opSetRange, key: key, number: offset, value: value}).encode()
}

// FlushAll removes every key. Reply: OK.
func FlushAll() []byte { return (&command{op: opFlushAll}).encode() }

// Get queries a value. Reply: the value or nil.
func Get(key []byte) []byte { return (&command{op: opGet, key: key}).encode() }

// MGet queries values. Reply: an array of values and nils.
func MGet(keys ...[]byte) []byte { return (&command{op: opMGet, args: keys}).encode() }

// StrLen queries a value's length in bytes. Reply: the length, 0 where absent.
func StrLen(key []byte) []byte { return (&command{op: opStrLen, key: key}).encode() }

// Exists queries how many of keys exist, one named twice counting twice.
func Exists(keys ...[]byte) []byte { return (&command{op: opExists, args: keys}).encode() }

// Type queries a key's type. Reply: the status string or none.
func Type(key []byte) []byte { return (&command{op: opType, key: key}).encode() }

// GetRange queries the bytes from start to end, both included; negative positions
// count from the end. Reply: the bytes, empty where there are none.
func GetRange(key []byte, start, end int64) []byte {
	return (&command{op: opGetRange, key: key, number: start, end: end}).encode()
}

// Keys queries all keys that match pattern. Reply: an array, in no useful order.
func Keys(pattern []byte) []byte { return (&command{op: opKeys, value: pattern}).encode() }

// ScanOptions narrow a Scan.
type ScanOptions struct {
	Match []byte // nil: every key
	Type  []byte // nil: every type
	Count int64  // how many keys to look at, 0: 10
}

// Scan queries some keys, from cursor on; 0 begins. Reply: an array of the cursor
// to go on with, as text, "0" at the end, and an array of keys.
func Scan(cursor uint64, o ScanOptions) []byte {
	c := &command{op: opScan, cursor: cursor, number: o.Count, key: o.Type, value: o.Match}
	if o.Count == 0 {
		c.number = 10
	}
	if o.Match != nil {
		c.flags |= scanMatch
	}
	if o.Type != nil {
		c.flags |= scanType
	}
	return c.encode()
}

// DBSize queries how many keys there are.
func DBSize() []byte { return (&command{op: opDBSize}).encode() }

func (c *command) encode() []byte {
	size := 32 + len(c.key) + len(c.value)
	for _, a := range c.args {
		size += 1 + protowire.SizeBytes(len(a))
	}
	b := binary.AppendUvarint(append(make([]byte, 0, size), tagOp), uint64(c.op))
	if len(c.key) > 0 {
		b = protowire.AppendBytes(append(b, tagKey), c.key)
	}
	if len(c.value) > 0 {
		b = protowire.AppendBytes(append(b, tagValue), c.value)
	}
	if c.number != 0 {
		b = binary.AppendVarint(append(b, tagNumber), c.number)
	}
	if c.end != 0 {
		b = binary.AppendVarint(append(b, tagEnd), c.end)
	}
	if c.flags != 0 {
		b = binary.AppendUvarint(append(b, tagFlags), c.flags)
	}
	for _, a := range c.args {
		b = protowire.AppendBytes(append(b, tagArg), a)
	}
	if c.cursor != 0 {
		b = binary.AppendUvarint(append(b, tagCursor), c.cursor)
	}
	if c.asked != 0 {
		b = binary.AppendUvarint(append(b, tagAsked), c.asked)
	}
	return b
}

// decode reads b into c, aliasing it.
func (c *command) decode(b []byte) error {
	*c = command{args: c.args[:0]}
	for len(b) > 0 {
		tag := b[0]
		v, n := binary.Uvarint(b[1:])
		if n <= 0 {
			return fmt.Errorf("field with tag %#x: no varint", tag)
		}
		b = b[1+n:]
		if tag&7 == 2 {
			if v > uint64(len(b)) {
				return fmt.Errorf("field with tag %#x: %d bytes announced, %d left", tag, v, len(b))
			}
			if err := c.setBytes(tag, b[:v:v]); err != nil {
				return err
			}
			b = b[v:]
			continue
		}
		if err := c.setNumber(tag, v); err != nil {
			return err
		}
	}
	if c.op == 0 {
		return fmt.Errorf("no operation")
	}
	return nil
}

func (c *command) setBytes(tag byte, v []byte) error {
	switch tag {
	case tagKey:
		c.key = v
	case tagValue:
		c.value = v
	case tagArg:
		c.args = append(c.args, v)
	default:
		return fmt.Errorf("unknown tag %#x", tag)
	}
	return nil
}

func (c *command) setNumber(tag byte, v uint64) error {
	switch tag {
	case tagOp:
		c.op = op(v)
	case tagNumber:
		c.number = protowire.DecodeZigZag(v)
	case tagEnd:
		c.end = protowire.DecodeZigZag(v)
	case tagFlags:
		c.flags = v
	case tagCursor:
		c.cursor = v
	case tagAsked:
		c.asked = v
	default:
		return fmt.Errorf("unknown tag %#x", tag)
	}
	return nil
}

// checkSizes returns the refusal of a command with a key, value or pattern that
// is too large, or nil.
func (c *command) checkSizes() []byte {
	if c.op == opExec { // its commands are checked one by one
		return nil
	}
	if len(c.key) > MaxKeyBytes {
		return tooLarge("key", len(c.key), MaxKeyBytes)
	}
	if limit := c.maxValue(); len(c.value) > limit {
		return tooLarge("value", len(c.value), limit)
	}
	for i, a := range c.args {
		if c.op == opMSet && i%2 == 1 || c.op == opSetIfValue {
			if len(a) > MaxValueBytes {
				return tooLarge("value", len(a), MaxValueBytes)
			}
		} else if len(a) > MaxKeyBytes {
			return tooLarge("key", len(a), MaxKeyBytes)
		}
	}
	return nil
}

func (c *command) maxValue() int {
	if c.op == opKeys || c.op == opScan {
		return MaxPatternBytes
	}
	return MaxValueBytes
}

func tooLarge(what string, size, limit int) []byte {
	return errorReply("ERR " + what + " is too large: " + strconv.Itoa(size) + " bytes, at most " + strconv.Itoa(limit))
}
