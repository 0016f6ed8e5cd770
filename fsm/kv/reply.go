package kv

import (
	"encoding/binary"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// A reply is the protobuf message
//
//	message Reply {
//	  oneof value {
//	    bool nil = 1;
//	    sint64 int = 2;
//	    bytes bulk = 3;
//	    string status = 4;
//	    string error = 5;
//	    Array array = 6;
//	  }
//	}
//	message Array { repeated Reply items = 1; }
type Reply struct {
	Kind  ReplyKind
	Int   int64   // of an integer
	Bytes []byte  // of a bulk string, status or error
	Items []Reply // of an array
}

// ReplyKind says what a Reply is.
type ReplyKind byte

const (
	Nil    ReplyKind = 1
	Int    ReplyKind = 2
	Bulk   ReplyKind = 3
	Status ReplyKind = 4
	Error  ReplyKind = 5
	Array  ReplyKind = 6
)

const (
	tagNil       = 1 << 3
	tagInt       = 2 << 3
	tagBulk      = 3<<3 | 2
	tagStatus    = 4<<3 | 2
	tagError     = 5<<3 | 2
	tagArray     = 6<<3 | 2
	tagItem      = 1<<3 | 2
	maxReplyNest = 4
)

// ErrMalformedReply is wrapped by every error of ParseReply.
var ErrMalformedReply = errors.New("kv: malformed reply")

// Replies given so often that they are made once. They are shared: never changed.
var (
	replyNil        = []byte{tagNil, 1}
	replyOK         = statusReply("OK")
	replyString     = statusReply("string")
	replyNone       = statusReply("none")
	replyZero       = intReply(0)
	replyOne        = intReply(1)
	replyEmpty      = bulkReply(nil)
	replySyntax     = errorReply("ERR syntax error")
	replyNotInteger = errorReply("ERR value is not an integer or out of range")
	replyOverflow   = errorReply("ERR increment or decrement would overflow")
	replyTooLong    = errorReply("ERR string exceeds maximum allowed size (524288 bytes)")

	replyNeedsLog        = errorReply("LOGTIME the answer depends on the time of the log: propose the query as a command")
	replyTransactionFull = errorReply("ERR reply is too large: those of a transaction have at most 1572864 bytes of values")
)

func intReply(n int64) []byte {
	return binary.AppendVarint(append(make([]byte, 0, 11), tagInt), n)
}

func bulkReply(b []byte) []byte {
	return protowire.AppendBytes(append(make([]byte, 0, len(b)+6), tagBulk), b)
}

func bulkOrNil(b []byte, exists bool) []byte {
	if !exists {
		return replyNil
	}
	return bulkReply(b)
}

func statusReply(s string) []byte { return protowire.AppendString([]byte{tagStatus}, s) }
func errorReply(s string) []byte  { return protowire.AppendString([]byte{tagError}, s) }

// arrayReply makes an array of encoded items.
func arrayReply(items []byte) []byte {
	return protowire.AppendBytes(append(make([]byte, 0, len(items)+6), tagArray), items)
}

// appendItem appends an encoded reply as an array's element.
func appendItem(items, reply []byte) []byte {
	return protowire.AppendBytes(append(items, tagItem), reply)
}

// Encode is the inverse of ParseReply.
func (r Reply) Encode() []byte {
	switch r.Kind {
	case Int:
		return intReply(r.Int)
	case Bulk:
		return bulkReply(r.Bytes)
	case Status:
		return statusReply(string(r.Bytes))
	case Error:
		return errorReply(string(r.Bytes))
	case Array:
		var items []byte
		for _, it := range r.Items {
			items = appendItem(items, it.Encode())
		}
		return arrayReply(items)
	default:
		return replyNil
	}
}

// Err returns the error a Reply of kind Error carries, and nil for any other.
func (r Reply) Err() error {
	if r.Kind != Error {
		return nil
	}
	return errors.New(string(r.Bytes))
}

// ParseReply reads what Apply or Query answered. The Reply aliases b.
func ParseReply(b []byte) (Reply, error) { return parseReply(b, 0) }

func parseReply(b []byte, depth int) (Reply, error) {
	if len(b) < 2 || depth > maxReplyNest {
		return Reply{}, fmt.Errorf("%w: %d bytes, nested %d deep", ErrMalformedReply, len(b), depth)
	}
	tag := b[0]
	v, n := binary.Uvarint(b[1:])
	if n <= 0 {
		return Reply{}, fmt.Errorf("%w: no varint after tag %#x", ErrMalformedReply, tag)
	}
	rest := b[1+n:]
	switch tag {
	case tagNil, tagInt:
		if len(rest) != 0 {
			return Reply{}, fmt.Errorf("%w: %d bytes after a number", ErrMalformedReply, len(rest))
		}
		if tag == tagNil {
			return Reply{Kind: Nil}, nil
		}
		return Reply{Kind: Int, Int: protowire.DecodeZigZag(v)}, nil
	case tagBulk, tagStatus, tagError, tagArray:
		if v != uint64(len(rest)) {
			return Reply{}, fmt.Errorf("%w: %d bytes announced, %d there", ErrMalformedReply, v, len(rest))
		}
		if tag == tagArray {
			return parseArray(rest, depth)
		}
		return Reply{Kind: ReplyKind(tag >> 3), Bytes: rest}, nil
	}
	return Reply{}, fmt.Errorf("%w: unknown tag %#x", ErrMalformedReply, tag)
}

func parseArray(b []byte, depth int) (Reply, error) {
	items := make([]Reply, 0, min(len(b)/4, 64))
	for len(b) > 0 {
		if b[0] != tagItem {
			return Reply{}, fmt.Errorf("%w: tag %#x in an array", ErrMalformedReply, b[0])
		}
		body, n := protowire.ConsumeBytes(b[1:])
		if n < 0 {
			return Reply{}, fmt.Errorf("%w: array cut short", ErrMalformedReply)
		}
		it, err := parseReply(body, depth+1)
		if err != nil {
			return Reply{}, err
		}
		items = append(items, it)
		b = b[1+n:]
	}
	return Reply{Kind: Array, Items: items}, nil
}
