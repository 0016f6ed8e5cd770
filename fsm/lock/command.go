package lock

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/protoraft/protoraft/fsm/kv"
)

// A command or query is the protobuf message
//
//	message Command {
//	  uint32 op = 1;
//	  bytes name = 2;
//	  bytes owner = 3;
//	  uint64 token = 4;
//	  sint64 ttl = 5;   // milliseconds
//	  sint64 wait = 6;  // milliseconds
//	  uint64 asked = 7; // of a query: the asker's clock, ms since 1970
//	}
//
// Numbers of fields and operations never change their meaning; one that is not known
// is refused, never ignored.
type command struct {
	op          uint64
	name, owner []byte
	token       uint64
	ttl, wait   int64
	asked       uint64
}

const (
	opAcquire = 1
	opRenew   = 2
	opRelease = 3
	opLeave   = 4
	opInspect = 5

	tagOp    = 1 << 3
	tagName  = 2<<3 | 2
	tagOwner = 3<<3 | 2
	tagToken = 4 << 3
	tagTTL   = 5 << 3
	tagWait  = 6 << 3
	tagAsked = 7 << 3
)

// Acquire asks for a lock for ttl, from the entry's log time on. Where somebody else
// holds it or comes first, a wait above 0 keeps a place in the queue for that long.
// Both count in milliseconds, rounded up. Reply: the token, or nil. An owner who holds
// the lock already gets the same token, and its TTL begins anew: so it is safe to
// repeat, and owners must be named apart, those within one process too.
func Acquire(name, owner string, ttl, wait time.Duration) []byte {
	return (&command{op: opAcquire, name: []byte(name), owner: []byte(owner), ttl: millis(ttl), wait: millis(wait)}).encode()
}

// Renew has the lock last for ttl from the entry's log time on. Reply: 1, or 0 where
// the lock is no longer held under that token.
func Renew(name string, token uint64, ttl time.Duration) []byte {
	return (&command{op: opRenew, name: []byte(name), token: token, ttl: millis(ttl)}).encode()
}

// Release gives the lock back. Reply: as Renew's.
func Release(name string, token uint64) []byte {
	return (&command{op: opRelease, name: []byte(name), token: token}).encode()
}

// Leave gives a place in the queue up. Reply: 1, or 0 where there was none.
func Leave(name, owner string) []byte {
	return (&command{op: opLeave, name: []byte(name), owner: []byte(owner)}).encode()
}

// Inspect queries a lock by the asker's clock. Where kv.NeedsLog says so of the
// answer, propose the query as a command. ParseStatus reads the reply.
func Inspect(name string, now time.Time) []byte {
	return (&command{op: opInspect, name: []byte(name), asked: uint64(max(now.UnixMilli(), 0))}).encode()
}

// Status is what Inspect tells.
type Status struct {
	Owner   string        // of the holder, where Token is not 0
	Token   uint64        // 0: nobody holds the lock
	Left    time.Duration // until it ends, unless it is renewed
	Waiting int           // places in the queue
}

// ParseToken reads the reply to Acquire: 0 where the lock was not granted. A refusal is
// returned as an error.
func ParseToken(reply []byte) (uint64, error) {
	r, err := kv.ParseReply(reply)
	switch {
	case err != nil:
		return 0, err
	case r.Err() != nil:
		return 0, r.Err()
	case r.Kind == kv.Nil:
		return 0, nil
	case r.Kind == kv.Int:
		return uint64(r.Int), nil
	}
	return 0, fmt.Errorf("lock: a reply of kind %d, expected a token", r.Kind)
}

// ParseDone reads the reply to Renew, Release or Leave.
func ParseDone(reply []byte) (bool, error) {
	n, err := ParseToken(reply)
	return n == 1, err
}

// ParseStatus reads the reply to Inspect.
func ParseStatus(reply []byte) (Status, error) {
	r, err := kv.ParseReply(reply)
	switch {
	case err != nil:
		return Status{}, err
	case r.Err() != nil:
		return Status{}, r.Err()
	case r.Kind == kv.Nil:
		return Status{}, nil
	case r.Kind != kv.Array || len(r.Items) != 4:
		return Status{}, fmt.Errorf("lock: a reply of kind %d with %d items, expected a lock's status", r.Kind, len(r.Items))
	}
	return Status{
		Owner: string(r.Items[0].Bytes), Token: uint64(r.Items[1].Int),
		Left: time.Duration(r.Items[2].Int) * time.Millisecond, Waiting: int(r.Items[3].Int),
	}, nil
}

func millis(d time.Duration) int64 {
	ms := int64(d / time.Millisecond)
	if d%time.Millisecond > 0 {
		ms++
	}
	return ms
}

func (c *command) encode() []byte {
	b := binary.AppendUvarint([]byte{tagOp}, c.op)
	b = protowire.AppendBytes(append(b, tagName), c.name)
	if len(c.owner) > 0 {
		b = protowire.AppendBytes(append(b, tagOwner), c.owner)
	}
	if c.token != 0 {
		b = binary.AppendUvarint(append(b, tagToken), c.token)
	}
	if c.ttl != 0 {
		b = binary.AppendVarint(append(b, tagTTL), c.ttl)
	}
	if c.wait != 0 {
		b = binary.AppendVarint(append(b, tagWait), c.wait)
	}
	if c.asked != 0 {
		b = binary.AppendUvarint(append(b, tagAsked), c.asked)
	}
	return b
}

func (c *command) decode(b []byte) error {
	for len(b) > 0 {
		tag := b[0]
		v, n := binary.Uvarint(b[1:])
		if n <= 0 {
			return fmt.Errorf("field with tag %#x: no varint", tag)
		}
		b = b[1+n:]
		switch tag {
		case tagOp:
			c.op = v
		case tagToken:
			c.token = v
		case tagAsked:
			c.asked = v
		case tagTTL:
			c.ttl = protowire.DecodeZigZag(v)
		case tagWait:
			c.wait = protowire.DecodeZigZag(v)
		case tagName, tagOwner:
			if v > uint64(len(b)) {
				return fmt.Errorf("field with tag %#x: %d bytes announced, %d left", tag, v, len(b))
			}
			if tag == tagName {
				c.name = b[:v]
			} else {
				c.owner = b[:v]
			}
			b = b[v:]
		default:
			return fmt.Errorf("unknown tag %#x", tag)
		}
	}
	if c.op == 0 {
		return errors.New("no operation")
	}
	return nil
}

// check tells why a command is refused.
func (c *command) check() string {
	owned := c.op == opAcquire || c.op == opLeave
	timed := c.op == opAcquire || c.op == opRenew
	switch {
	case c.op > opInspect:
		return fmt.Sprintf("unknown operation %d: a newer version wrote it", c.op)
	case len(c.name) == 0 || len(c.name) > MaxNameBytes:
		return fmt.Sprintf("a lock's name has %d bytes, expected 1 to %d", len(c.name), MaxNameBytes)
	case owned && (len(c.owner) == 0 || len(c.owner) > MaxOwnerBytes):
		return fmt.Sprintf("an owner's name has %d bytes, expected 1 to %d", len(c.owner), MaxOwnerBytes)
	case timed && (c.ttl < 1 || c.ttl > MaxTTL.Milliseconds()):
		return fmt.Sprintf("a TTL of %d ms, expected 1 to %d", c.ttl, MaxTTL.Milliseconds())
	case c.wait < 0 || c.wait > MaxTTL.Milliseconds():
		return fmt.Sprintf("a wait of %d ms, expected 0 to %d", c.wait, MaxTTL.Milliseconds())
	}
	return ""
}
