package messages

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Every field but the block is there, also one that is added one day.
func TestAppendEntriesWithoutBlock(t *testing.T) {
	m := &AppendEntries{}
	r := m.ProtoReflect()
	fields := r.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		one := func() protoreflect.Value {
			switch f.Kind() {
			case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
				return protoreflect.ValueOfUint64(uint64(i + 1))
			case protoreflect.StringKind:
				return protoreflect.ValueOfString("s")
			case protoreflect.BytesKind:
				return protoreflect.ValueOfBytes([]byte("b"))
			case protoreflect.BoolKind:
				return protoreflect.ValueOfBool(true)
			}
			t.Fatalf("field %s of kind %v: teach this test to fill it", f.Name(), f.Kind())
			return protoreflect.Value{}
		}
		if f.IsList() {
			r.Mutable(f).List().Append(one())
		} else {
			r.Set(f, one())
		}
	}
	got := m.WithoutBlock()
	want := proto.Clone(m).(*AppendEntries)
	want.Block = nil
	if !proto.Equal(got, want) {
		t.Errorf("got %v, expected %v", got, want)
	}
}
