package link

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/protoraft/protoraft/messages"
)

// A second link from a node ends the first, and what the first had brought comes first.
func TestOneLinkFromEachNode(t *testing.T) {
	checkLeaks(t)
	b := startNode(t, "b")
	first := greeted(t, b)
	const n = 500
	for i := range uint64(n) {
		first.say(encoded(t, "raft-1", "", heartbeat(i)))
	}
	second := greeted(t, b)
	second.say(encoded(t, "raft-1", "", heartbeat(n)))
	last := -1
	for last < n {
		round := int(b.next(t).message.(*messages.Heartbeat).Round)
		if round <= last {
			t.Fatalf("round %d after %d", round, last)
		}
		last = round
	}
	if _, err := io.Copy(io.Discard, first); err != nil && !errors.Is(err, net.ErrClosed) && !strings.Contains(err.Error(), "reset") {
		t.Errorf("the first link ended with %v", err)
	}
}

// Whoever says nothing is cut off in time, and only so many may say nothing.
func TestHalfOpenConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	b := startNode(t, "b", func(o *Options) { o.HandshakesMax, o.HandshakeTimeout = 2, 2*time.Second })
	silent := []*raw{call(t, b).say([]byte(Magic)), call(t, b).say([]byte(Magic)[:1])}
	until(t, "both are held", func() bool { b.Links.mu.Lock(); defer b.Links.mu.Unlock(); return b.unknown == 2 })
	third := call(t, b).say(helloFrame(t, goodHello()))
	if _, err := third.Read(make([]byte, 1)); err == nil {
		t.Error("a third was served while two had not said who they are")
	}
	for i, r := range silent {
		if _, err := io.Copy(io.Discard, r); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("silent caller %d: %v, expected to be cut off", i, err)
		}
	}
	until(t, "they are forgotten", func() bool { b.Links.mu.Lock(); defer b.Links.mu.Unlock(); return b.unknown == 0 })
	greeted(t, b)
}

// Connections on which nothing is said at all are bounded, and end with the links.
func TestSilentConnectionsAreBounded(t *testing.T) {
	checkLeaks(t)
	b := startNode(t, "b", func(o *Options) { o.SilentMax = 2 })
	held := func(n int) func() bool {
		return func() bool {
			b.Links.mu.Lock()
			defer b.Links.mu.Unlock()
			return b.silent == n
		}
	}
	first, second := call(t, b), call(t, b)
	until(t, "both are held", held(2))
	third := call(t, b).say(helloFrame(t, goodHello()))
	if _, err := third.Read(make([]byte, 1)); err == nil {
		t.Error("a third was looked at while two had said nothing")
	}
	first.Close()
	until(t, "one is forgotten", held(1))
	greeted(t, b)
	b.close()
	if _, err := second.Read(make([]byte, 1)); err == nil {
		t.Error("a silent connection outlived Close")
	}
}

// A caller that was let in and then says nothing for long is cut off.
func TestQuietCallerIsCutOff(t *testing.T) {
	t.Parallel()
	b := startNode(t, "b", func(o *Options) { o.Silence, o.HandshakeTimeout = time.Second, 2*time.Second })
	h := goodHello()
	h.Interval = 100 * time.Millisecond
	r := call(t, b).say(helloFrame(t, h))
	r.hear()
	if _, err := io.Copy(io.Discard, r); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("%v, expected the end", err)
	}
}

// Each bad frame ends its link with one refusal that says why, and nothing else: the
// next caller is served.
func TestBadFramesEndTheLink(t *testing.T) {
	checkLeaks(t)
	b := startNode(t, "b")
	good := encoded(t, "raft-1", "s", heartbeat(1))
	change := func(at int, v ...byte) []byte {
		c := bytes.Clone(good)
		copy(c[at:], v)
		return c
	}
	for _, c := range []struct {
		name   string
		b      []byte
		saying string
	}{
		{"length of 2^32-1", change(0, 255, 255, 255, 255), "at most"},
		{"reserved byte", change(5, 1), "zeros"},
		{"unknown kind", change(4, 200), "no message"},
		{"second hello", helloFrame(t, goodHello())[len(Magic):], "no message"},
		{"pong", append(appendHeader(nil, header{kind: kindPong, size: 8, body: 8}), stampBytes(1)...), "no message"},
		{"ping without stamp", appendHeader(nil, header{kind: kindPing}), "ping of 0 bytes"},
		{"garbage in the body", append(appendHeader(nil, header{kind: 19, size: 2, body: 2}), 255, 255), "does not decode"},
		{"attached to what has none", append(appendHeader(nil, header{kind: 19, size: 2}), 1, 2), "has none"},
		{"what the visitor refuses", encoded(t, "t", "", &messages.Heartbeat{Leader: "refuse"}), "planted refusal"},
		{"what makes it panic", encoded(t, "t", "", &messages.Heartbeat{Leader: "panic"}), "panic"},
	} {
		r := greeted(t, b)
		r.say(good).say(c.b)
		if l := b.next(t); !same(l.message, heartbeat(1)) {
			t.Errorf("%s: %v came before, expected what was sent before", c.name, l.message)
		}
		f, err := readOne(r)
		if err != nil || f.kind != kindRefusal || !strings.Contains(string(f.body), c.saying) {
			t.Errorf("%s: heard kind %d %q, %v, expected a refusal saying %q", c.name, f.kind, f.body, err, c.saying)
		}
		if _, err := io.Copy(io.Discard, r); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%s: then %v, expected the end", c.name, err)
		}
		if len(b.got) != 0 {
			t.Errorf("%s: %v came through", c.name, (<-b.got).message)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.faults) != 8 {
		t.Errorf("told of %d malformed frames, expected 8: %v", len(b.faults), b.faults)
	}
	if b.panics != 1 {
		t.Errorf("%d panics told, expected 1", b.panics)
	}
	if n := b.logged.count("planted refusal"); n != 1 {
		t.Errorf("%d lines about one refusal", n)
	}
}

// Handshakes that are cut short at every byte, or garbage, harm nobody.
func TestBadHandshakes(t *testing.T) {
	checkLeaks(t)
	b := startNode(t, "b", func(o *Options) { o.HandshakeTimeout = 5 * time.Second })
	good := helloFrame(t, goodHello())
	for n := 1; n < len(good); n++ {
		r := call(t, b).say(good[:n])
		if err := r.Conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, r); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Fatalf("cut at %d: %v, expected the end", n, err)
		}
	}
	for name, first := range map[string][]byte{
		"another version":   append([]byte("\xd7PR\x02"), good[len(Magic):]...),
		"a message first":   append([]byte(Magic), encoded(t, "t", "", heartbeat(1))...),
		"a hello too large": binary.LittleEndian.AppendUint32([]byte(Magic), helloBytesMax+1),
		"garbage":           append([]byte(Magic), bytes.Repeat([]byte{0xa5}, 100)...),
	} {
		r := call(t, b).say(first).say(make([]byte, headerBytes))
		answer, err := io.ReadAll(r)
		if err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%s: %v", name, err)
		}
		if bytes.Contains(answer, appendHeader(nil, header{kind: kindWelcome})) {
			t.Errorf("%s: was welcomed", name)
		}
	}
	greeted(t, b)
}

// FuzzServe gives a connection any bytes at all, behind nothing or behind a good hello:
// it ends, and nothing panics.
func FuzzServe(f *testing.F) {
	hello := helloFrame(f, goodHello())
	f.Add(true, encoded(f, "raft-1", "s", &messages.AppendEntries{Group: 1, Block: []byte("b")}))
	f.Add(true, append(appendHeader(nil, header{kind: kindPing, size: 8, body: 8}), stampBytes(1)...))
	f.Add(false, hello)
	f.Add(false, hello[:20])
	b := startNode(f, "b", func(o *Options) { o.Malformed = nil })
	go func() {
		for range b.got { // whatever comes through is as good as another
		}
	}()
	f.Fuzz(func(t *testing.T, greeted bool, bytes []byte) {
		here, there := net.Pipe()
		var said sync.WaitGroup
		said.Go(func() {
			if greeted {
				_, _ = there.Write(hello)
			}
			_, _ = there.Write(bytes)
			_ = there.Close()
		})
		go func() { _, _ = io.Copy(io.Discard, there) }()
		b.Serve(here)
		said.Wait()
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.panics > 0 && !strings.Contains(string(bytes), "panic") {
			t.Fatal("it panicked")
		}
		b.panics = 0
	})
}
