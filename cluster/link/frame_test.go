package link

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/protoraft/protoraft/messages"
)

// filled is a message with something in every plain field.
func filled(m proto.Message) proto.Message {
	r := m.ProtoReflect()
	fields := r.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if f.IsList() {
			continue
		}
		switch f.Kind() {
		case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
			r.Set(f, protoreflect.ValueOfUint64(uint64(1000+i)))
		case protoreflect.StringKind:
			r.Set(f, protoreflect.ValueOfString("s"))
		case protoreflect.BoolKind:
			r.Set(f, protoreflect.ValueOfBool(true))
		case protoreflect.BytesKind:
			r.Set(f, protoreflect.ValueOfBytes([]byte("b")))
		}
	}
	return m
}

// specimens are one of each kind, and of some more than one.
func specimens() []any {
	all := []any{
		&messages.AppendEntries{Group: 1},
		&messages.AppendEntries{Group: 1, Block: bytes.Repeat([]byte("x"), attachBytesMin-1)},
		&messages.AppendEntries{Group: 1, Block: bytes.Repeat([]byte("y"), attachBytesMin)},
		&messages.AppendEntries{Group: 1, Resets: []uint64{7}, Block: bytes.Repeat([]byte("z"), 3*scanBytes)},
		&messages.Results{Items: []messages.ResultItem{{Request: 1, Data: []byte("d"), Leader: "n1"}, {Request: 2, Reason: messages.Reason_BUSY}}},
		&messages.Results{Items: []messages.ResultItem{{Request: 1, Data: bytes.Repeat([]byte("d"), 2*scanBytes)}}},
	}
	for _, m := range Messages() {
		if _, ok := m.(*messages.ResultsFrame); !ok {
			all = append(all, filled(m))
		}
	}
	return all
}

// What a stream is cut into does not depend on how it arrives.
func TestFramesArriveAsTheyWere(t *testing.T) {
	var stream []byte
	all := specimens()
	for range 3 {
		for _, m := range all {
			stream = append(stream, encoded(t, "raft-1", "raft-1/x", m)...)
		}
	}
	for name, from := range map[string]io.Reader{
		"whole": bytes.NewReader(stream), "byte by byte": iotest.OneByteReader(bytes.NewReader(stream)),
		"in halves": iotest.HalfReader(bytes.NewReader(stream)), "end with data": iotest.DataErrReader(bytes.NewReader(stream)),
	} {
		r := newFrameReader(from, MessageBytesMax)
		for i := range 3 * len(all) {
			f, err := r.next()
			if err != nil {
				t.Fatalf("%s: frame %d: %v", name, i, err)
			}
			m, err := decode(&f)
			if err != nil || !same(m, all[i%len(all)]) || string(f.target) != "raft-1" || string(f.sender) != "raft-1/x" {
				t.Fatalf("%s: frame %d is %T to %s from %s, %v; expected %T", name, i, m, f.target, f.sender, err, all[i%len(all)])
			}
		}
		if _, err := r.next(); err != io.EOF {
			t.Errorf("%s: it ended with %v, expected io.EOF", name, err)
		}
	}
}

// A stream that breaks off inside a frame does not end as one that is over.
func TestFrameCutShort(t *testing.T) {
	whole := encoded(t, "raft-1", "s", &messages.AppendEntries{Group: 1, Leader: "n1", Block: make([]byte, 3000)})
	for n := 1; n < len(whole); n++ {
		r := newFrameReader(bytes.NewReader(whole[:n]), MessageBytesMax)
		if _, err := r.next(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("after %d of %d bytes: %v, expected io.ErrUnexpectedEOF", n, len(whole), err)
		}
	}
}

// A block has memory of its own, no larger than itself: it stays in the log's tail when
// what came with it is long gone. A large one is not copied on its way out.
func TestBlocksOutliveTheirBuffers(t *testing.T) {
	small, large := bytes.Repeat([]byte("s"), 100), bytes.Repeat([]byte("l"), 200_000)
	q := &queue{}
	for _, b := range [][]byte{small, large, small} {
		if err := q.add(kindAppend, "t", "", &messages.AppendEntries{Group: 1}, b); err != nil {
			t.Fatal(err)
		}
	}
	q.close()
	if len(q.pieces) != 3 || &q.pieces[1][0] != &large[0] {
		t.Fatalf("%d pieces, expected 3, the second the block where its sender has it", len(q.pieces))
	}
	r := newFrameReader(bytes.NewReader(bytes.Join(q.pieces, nil)), MessageBytesMax)
	var got [][]byte
	for range 3 {
		f, err := r.next()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, f.attachment)
	}
	clear(r.buf)
	for i, want := range [][]byte{small, large, small} {
		if !bytes.Equal(got[i], want) {
			t.Errorf("block %d changed when the reader's buffer did", i)
		}
		if cap(got[i]) > len(want)+len(want)/4+64 {
			t.Errorf("block %d of %d bytes holds %d", i, len(want), cap(got[i]))
		}
	}
}

func TestHeaderLimits(t *testing.T) {
	head := func(change func(b []byte)) []byte {
		b := appendHeader(nil, header{kind: 19, size: 100, target: 6, sender: 4, body: 90})
		change(b)
		return b
	}
	u16 := func(at int, v uint16) func([]byte) {
		return func(b []byte) { binary.LittleEndian.PutUint16(b[at:], v) }
	}
	u32 := func(at int, v uint32) func([]byte) {
		return func(b []byte) { binary.LittleEndian.PutUint32(b[at:], v) }
	}
	for _, c := range []struct {
		name   string
		b      []byte
		saying string
	}{
		{"in order", head(func([]byte) {}), ""},
		{"largest", head(u32(0, MessageBytesMax)), ""},
		{"one too large", head(u32(0, MessageBytesMax+1)), "at most"},
		{"2^32-1", head(u32(0, 1<<32-1)), "at most"},
		{"target too long", head(u16(6, IDBytesMax+1)), "ids of"},
		{"sender too long", head(u16(8, 1<<16-1)), "ids of"},
		{"body beyond the frame", head(u32(12, 91)), "parts of"},
		{"body of 2^32-1", head(u32(12, 1<<32-1)), "parts of"},
		{"reserved byte 5", head(func(b []byte) { b[5] = 1 }), "zeros"},
		{"reserved bytes 10", head(u16(10, 1<<8)), "zeros"},
	} {
		_, err := parseHeader(c.b, MessageBytesMax)
		if (err == nil) != (c.saying == "") || err != nil && (!errors.Is(err, ErrFrame) || !strings.Contains(err.Error(), c.saying)) {
			t.Errorf("%s: %v, expected an error saying %q", c.name, err, c.saying)
		}
	}
}

// What cannot be carried leaves no trace in the queue.
func TestQueueRefuses(t *testing.T) {
	q := &queue{}
	add := func(target string, block int) error {
		return q.add(kindAppend, target, "", &messages.AppendEntries{Group: 1}, make([]byte, block))
	}
	if err := add("t", 10); err != nil {
		t.Fatal(err)
	}
	before := q.bytes
	if add("t", MessageBytesMax) == nil || add(strings.Repeat("t", IDBytesMax+1), 1) == nil {
		t.Error("took a message that its receiver would refuse")
	}
	if err := add("t", messages.MaxBlockBytes); err != nil {
		t.Errorf("the largest block there is: %v", err)
	}
	q.close()
	all := bytes.Join(q.pieces, nil)
	if len(all) != q.bytes || q.messages != 2 {
		t.Errorf("%d bytes in %d messages are counted, there are %d, of which %d before", q.bytes, q.messages, len(all), before)
	}
	q.reset()
	if !q.empty() || q.messages != 0 || len(q.pieces) != 0 {
		t.Error("not empty after reset")
	}
}

func TestDecodeRefuses(t *testing.T) {
	inBody, err := proto.Marshal(&messages.AppendEntries{Block: []byte("b")})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		f      frame
		saying string
	}{
		{frame{kind: 0}, "no message"},
		{frame{kind: kindPing}, "no message"},
		{frame{kind: 255}, "no message"},
		{frame{kind: 19, body: []byte{0xff, 0xff}}, "does not decode"},
		{frame{kind: 19, attachment: []byte("a")}, "which has none"},
		{frame{kind: kindAppend, body: inBody, attachment: []byte("a")}, "expected it attached"},
		{frame{kind: kindResults, body: []byte{0x0a, 0x05}}, "does not decode"},
	} {
		if _, err := decode(&c.f); !errors.Is(err, ErrFrame) || !strings.Contains(err.Error(), c.saying) {
			t.Errorf("kind %d: %v, expected an error saying %q", c.f.kind, err, c.saying)
		}
	}
}

// The numbers are on the wire.
func TestKindsAreStable(t *testing.T) {
	want := map[Kind]string{
		16: "AppendEntries", 17: "AppendAccepted", 18: "AppendRejected", 19: "Heartbeat", 20: "HeartbeatAcked",
		21: "RequestPreVote", 22: "PreVoteGranted", 23: "PreVoteRejected", 24: "RequestVote", 25: "VoteGranted",
		26: "VoteRejected", 27: "TimeoutNow", 28: "ConfirmReadIndex", 29: "ReadIndexConfirmed", 30: "ResultsFrame",
		31: "Beats", 32: "Stir",
	}
	got := Messages()
	for k, m := range got {
		if name := string(m.ProtoReflect().Descriptor().Name()); want[k] != name {
			t.Errorf("kind %d is %s, expected %q", k, name, want[k])
		}
		message := any(m)
		if _, ok := m.(*messages.ResultsFrame); ok {
			message = &messages.Results{}
		}
		if kindOf(message) != k {
			t.Errorf("%T is sent as kind %d, expected %d", message, kindOf(message), k)
		}
	}
	if len(got) != len(want) || kindOf(&messages.SnapshotChunk{}) != 0 || kindOf("text") != 0 {
		t.Errorf("%d kinds, expected %d and nothing else", len(got), len(want))
	}
}

func TestHello(t *testing.T) {
	h := goodHello()
	b, err := h.encode()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := decodeHello(append(b, "said by a later version"...)); err != nil || got != h {
		t.Errorf("got %+v, %v, expected %+v", got, err, h)
	}
	for n := range b {
		if _, err := decodeHello(b[:n]); !errors.Is(err, ErrFrame) {
			t.Errorf("cut at %d: %v, expected ErrFrame", n, err)
		}
	}
	h.Node = strings.Repeat("n", helloStringMax+1)
	if _, err := h.encode(); err == nil {
		t.Error("encoded a name that nobody accepts")
	}
	if _, err := (Hello{Version: 1 << 16}).encode(); err == nil {
		t.Error("encoded a version that does not fit")
	}
}

func FuzzFrames(f *testing.F) {
	for _, m := range specimens() {
		if b := encoded(f, "raft-1", "s", m); len(b) < 4096 {
			f.Add(b)
		}
	}
	f.Add(appendHeader(nil, header{kind: kindAppend, size: MessageBytesMax, target: IDBytesMax, body: 1}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := newFrameReader(iotest.OneByteReader(bytes.NewReader(b)), 1<<20)
		whole := newFrameReader(bytes.NewReader(b), 1<<20)
		for {
			one, err := r.next()
			two, err2 := whole.next()
			if (err == nil) != (err2 == nil) {
				t.Fatalf("%v byte by byte, %v at once", err, err2)
			}
			if err != nil {
				return
			}
			if one.kind != two.kind || !bytes.Equal(one.body, two.body) || !bytes.Equal(one.attachment, two.attachment) ||
				!bytes.Equal(one.target, two.target) || !bytes.Equal(one.sender, two.sender) {
				t.Fatal("a frame depends on how it arrives")
			}
			m, err := decode(&one)
			if err != nil {
				continue
			}
			again := encoded(t, string(one.target), string(one.sender), m)
			back, err := newFrameReader(bytes.NewReader(again), MessageBytesMax).next()
			if err != nil {
				t.Fatalf("what was read cannot be written and read again: %v", err)
			}
			if m2, err := decode(&back); err != nil || !same(m, m2) {
				t.Fatalf("%v became %v, %v", m, m2, err)
			}
		}
	})
}

func FuzzHello(f *testing.F) {
	b, err := goodHello().encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := decodeHello(b)
		if err != nil {
			return
		}
		again, err := h.encode()
		if err != nil || !bytes.HasPrefix(b, again) {
			t.Errorf("%x became %+v, which is %x, %v", b, h, again, err)
		}
	})
}
