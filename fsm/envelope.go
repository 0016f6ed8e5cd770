package fsm

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// Commands, queries and replies of an actor travel as google.protobuf.Any, which
// every protobuf library can write: field 1 names the message's type behind a '/',
// field 2 holds its bytes. A refusal is an Any without a type; its field 2 is the
// reason.
const (
	typeField  protowire.Number = 1
	valueField protowire.Number = 2
	typePrefix                  = "type.googleapis.com/"
)

// RefusedError is what Decode returns for a command or query that was refused.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return "refused: " + e.Reason }

// Encode makes the bytes of a command, query or reply. Equal messages make equal
// bytes as long as they hold no unknown fields.
func Encode(m proto.Message) ([]byte, error) {
	if m == nil {
		return nil, errors.New("fsm: no message, expected one to encode")
	}
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("fsm: %s cannot be encoded: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	name := typePrefix + string(m.ProtoReflect().Descriptor().FullName())
	b := make([]byte, 0, len(name)+len(value)+8)
	b = protowire.AppendString(protowire.AppendTag(b, typeField, protowire.BytesType), name)
	if len(value) > 0 {
		b = protowire.AppendBytes(protowire.AppendTag(b, valueField, protowire.BytesType), value)
	}
	return b, nil
}

// Decode reads what an actor has replied, or anything else that Encode has made of a
// type linked into this program. A refusal is a *RefusedError. The message shares no
// bytes with b.
func Decode(b []byte) (proto.Message, error) {
	name, value, err := openEnvelope(b)
	if err != nil {
		return nil, err
	}
	if name == "" {
		return nil, &RefusedError{string(value)}
	}
	t, err := protoregistry.GlobalTypes.FindMessageByName(name)
	if err != nil {
		return nil, fmt.Errorf("fsm: a message of type %s, which is not linked into this program", name)
	}
	m := t.New().Interface()
	if err := proto.Unmarshal(value, m); err != nil {
		return nil, fmt.Errorf("fsm: damaged %s: %w", name, err)
	}
	return m, nil
}

// refusal encodes a reason. It is part of replies, so it must not name anything that
// differs between replicas.
func refusal(reason string) []byte {
	return protowire.AppendString(protowire.AppendTag(nil, valueField, protowire.BytesType), reason)
}

var errNoEnvelope = errors.New("fsm: not a google.protobuf.Any")

// openEnvelope returns the type and the bytes of what is in an Any.
func openEnvelope(b []byte) (name protoreflect.FullName, value []byte, err error) {
	if len(b) == 0 {
		return "", nil, errNoEnvelope
	}
	for len(b) > 0 {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 || kind != protowire.BytesType {
			return "", nil, errNoEnvelope
		}
		data, size := protowire.ConsumeBytes(b[n:])
		if size < 0 {
			return "", nil, errNoEnvelope
		}
		switch b = b[n+size:]; field {
		case typeField:
			name = protoreflect.FullName(data[strings.LastIndexByte(string(data), '/')+1:])
		case valueField:
			value = data
		default:
			return "", nil, errNoEnvelope
		}
	}
	return name, value, nil
}

// catalogue is the types an actor takes.
type catalogue map[protoreflect.FullName]protoreflect.MessageType

func (c catalogue) add(messages []proto.Message) {
	for _, m := range messages {
		c[m.ProtoReflect().Descriptor().FullName()] = m.ProtoReflect().Type()
	}
}

// decode returns the message within an envelope, or why it is refused: in words that
// are the same on every replica, whatever the version of its protobuf library.
func (c catalogue) decode(what string, b []byte) (m proto.Message, why string) {
	name, value, err := openEnvelope(b)
	if err != nil {
		return nil, fmt.Sprintf("a %s that is no google.protobuf.Any", what)
	}
	t, ok := c[name]
	if !ok {
		return nil, fmt.Sprintf("no %s of type %q is known here", what, name)
	}
	m = t.New().Interface()
	if proto.Unmarshal(value, m) != nil {
		return nil, fmt.Sprintf("a damaged %s of type %s", what, name)
	}
	return m, ""
}
