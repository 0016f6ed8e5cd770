package kv

import (
	"encoding/binary"
	"errors"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// Limits of a transaction. Its replies fit MaxReplyBytes: half a megabyte is for the
// short ones, of at most execShortBytes each, and for tags and lengths; the rest is for
// those with values.
const (
	// MaxExecCommands is how many commands a transaction takes.
	MaxExecCommands = 4096

	execShortBytes = 120
	execValueBytes = MaxReplyBytes - MaxExecCommands*(execShortBytes+8)
)

// Watched is a key and the version it must still have.
type Watched struct {
	Key     []byte
	Version uint64 // as Versions answered
}

// Exec executes commands and queries one after the other in one entry: nothing comes
// between, and all or none of them are executed. Where a watched key has changed
// since, none is. Reply: an array of their replies, or nil.
//
// As in Redis a command that is refused does not keep the others from being executed.
// One whose reply, with those before it, would not fit 1.5 MiB is refused.
func Exec(watched []Watched, commands ...[]byte) []byte {
	var w []byte
	for _, one := range watched {
		w = protowire.AppendBytes(w, one.Key)
		w = binary.AppendUvarint(w, one.Version)
	}
	return (&command{op: opExec, value: w, args: commands}).encode()
}

func (m *Machine) exec(c *command) []byte {
	if len(c.args) > MaxExecCommands {
		return errorReply("ERR a transaction of " + strconv.Itoa(len(c.args)) + " commands, at most " + strconv.Itoa(MaxExecCommands))
	}
	same, err := m.unchanged(c.value)
	switch {
	case err != nil:
		return errorReply("ERR malformed command: " + err.Error())
	case !same:
		return replyNil
	}
	var items []byte
	left := execValueBytes
	for _, data := range c.args {
		reply := m.execOne(data, left)
		if len(reply) > execShortBytes {
			left -= len(reply)
		}
		items = appendItem(items, reply)
	}
	return arrayReply(items)
}

// unchanged tells whether the keys watched have their versions.
func (m *Machine) unchanged(watched []byte) (bool, error) {
	same := true
	for len(watched) > 0 {
		key, n := protowire.ConsumeBytes(watched)
		if n < 0 {
			return false, errors.New("a watched key is cut short")
		}
		version, v := binary.Uvarint(watched[n:])
		if v <= 0 {
			return false, errors.New("a watched key has no version")
		}
		same = same && m.version(key) == version
		watched = watched[n+v:]
	}
	return same, nil
}

// execOne executes a command of a transaction, if its reply has at most so many bytes
// or is short.
func (m *Machine) execOne(data []byte, left int) []byte {
	c := &m.inner
	if err := c.decode(data); err != nil {
		return errorReply("ERR malformed command: " + err.Error())
	}
	if c.op == opExec {
		return errorReply("ERR MULTI calls can not be nested")
	}
	if !c.op.isQuery() {
		if m.replyMax(c) > left {
			return replyTransactionFull
		}
		return m.write(c)
	}
	if reply := m.read(c); len(reply) <= max(left, execShortBytes) {
		return reply
	}
	return replyTransactionFull
}

// replyMax bounds a command's reply; 0 for a short one.
func (m *Machine) replyMax(c *command) int {
	switch c.op {
	case opSet, opSetWith, opGetDel, opGetEx:
		if value, _ := m.keys.get(c.key); len(value) > execShortBytes/2 {
			return len(value) + execShortBytes
		}
	case opIncrByFloat:
		return floatDigitsMax + execShortBytes
	}
	return 0
}
