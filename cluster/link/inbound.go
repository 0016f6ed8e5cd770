package link

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// Caller is who asks to be let in.
type Caller struct {
	Hello
	At  net.Addr
	TLS *tls.ConnectionState // nil without TLS
}

// Visitor takes the messages of one connection, in order, from one goroutine. An error
// ends the connection; the other end is told its text. target and sender are good until
// Take returns.
type Visitor interface {
	Take(kind Kind, target, sender []byte, message any) error
}

// seenBytes: after so many bytes without a ping the called one says that it reads.
const seenBytes = 128 << 10

// inbound is one connection from a peer.
type inbound struct {
	links *Links
	base  net.Conn // the socket
	conn  net.Conn // what is read: base, or TLS on it
	node  string
	limit time.Duration // it may be quiet for so long
	ended chan struct{} // closed when the last message was taken

	welcomed bool
	reads    atomic.Uint64
	seen     uint64 // reads when they were last looked at
	since    int64  // when they were last seen to have grown
}

// Serve takes a connection that Peek has told to be a link's, and returns when it has
// ended. It closes conn. In production it stands within gRPC's handshake: the port is
// the remote's.
func (ls *Links) Serve(conn net.Conn) {
	defer conn.Close()
	if !ls.hold(conn, &ls.unknown, ls.options.HandshakesMax) {
		return
	}
	defer ls.release(conn)
	c := &inbound{links: ls, base: conn, conn: conn, ended: make(chan struct{})}
	if err := c.serve(); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		ls.options.Logger.Debug("link from a peer ended", "peer", c.node, "at", conn.RemoteAddr(), "error", err)
	}
}

func (c *inbound) serve() (err error) {
	defer func() {
		if p := recover(); p != nil {
			c.links.options.Logger.Error("panic while reading a peer's link", "peer", c.node, "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic while reading: %v", p)
			if c.links.options.Panicked != nil {
				c.links.options.Panicked()
			}
		}
		if errors.Is(err, ErrFrame) && c.links.options.Malformed != nil {
			err = c.links.options.Malformed(Caller{Hello: Hello{Node: c.node}, At: c.base.RemoteAddr()}, err)
		}
		if err != nil && !errors.Is(err, io.EOF) {
			c.refuse(err)
		}
	}()
	o := &c.links.options
	if err := c.conn.SetDeadline(time.Now().Add(o.HandshakeTimeout)); err != nil {
		return err
	}
	visitor, err := c.greet()
	if err != nil {
		return err
	}
	c.links.replace(c)
	defer c.links.forget(c)
	if err := c.welcome(); err != nil {
		return err
	}
	if err := c.conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	return c.listen(visitor)
}

// greet reads who calls, and has that judged.
func (c *inbound) greet() (Visitor, error) {
	o := &c.links.options
	var magic [len(Magic)]byte
	if _, err := io.ReadFull(c.conn, magic[:]); err != nil {
		return nil, err
	}
	if string(magic[:]) != Magic {
		return nil, fmt.Errorf("%w: begins with % x, expected % x", ErrFrame, magic, Magic)
	}
	caller := Caller{At: c.conn.RemoteAddr()}
	if o.ServerTLS != nil {
		secured := tls.Server(c.conn, o.ServerTLS)
		if err := secured.Handshake(); err != nil {
			return nil, fmt.Errorf("TLS: %w", err)
		}
		state := secured.ConnectionState()
		c.conn, caller.TLS = secured, &state
	}
	// One frame and not a byte more: what follows has other limits.
	f, err := readOne(c.conn)
	if err != nil {
		return nil, err
	}
	if f.kind != kindHello {
		return nil, fmt.Errorf("%w: it began with kind %d, expected a hello", ErrFrame, f.kind)
	}
	if caller.Hello, err = decodeHello(f.body); err != nil {
		return nil, err
	}
	c.node = caller.Node
	c.limit = max(4*min(caller.Interval, intervalMax), o.HandshakeTimeout)
	return o.Admit(caller)
}

// readOne reads a frame of the handshake.
func readOne(from io.Reader) (frame, error) {
	var head [headerBytes]byte
	if _, err := io.ReadFull(from, head[:]); err != nil {
		return frame{}, inside(err)
	}
	h, err := parseHeader(head[:], helloBytesMax)
	if err != nil {
		return frame{}, err
	}
	b := make([]byte, h.size)
	if _, err := io.ReadFull(from, b); err != nil {
		return frame{}, inside(err)
	}
	ids := h.target + h.sender
	return frame{kind: h.kind, body: b[ids : ids+h.body]}, nil
}

func (c *inbound) welcome() error {
	c.welcomed = true
	b := appendHeader([]byte(Magic), header{kind: kindWelcome})
	_, err := c.conn.Write(b)
	return err
}

// refuse tells the other end why, if it still listens.
func (c *inbound) refuse(why error) {
	text := why.Error()
	text = text[:min(len(text), helloBytesMax/2)]
	var b []byte
	if !c.welcomed {
		b = []byte(Magic)
	}
	b = append(appendHeader(b, header{kind: kindRefusal, size: len(text), body: len(text)}), text...)
	_ = c.conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	_, _ = c.conn.Write(b)
}

// listen passes messages on until the connection ends.
func (c *inbound) listen(v Visitor) error {
	r := newFrameReader(c, MessageBytesMax)
	unseen := 0
	for {
		f, err := r.next()
		if err != nil {
			return err
		}
		unseen += headerBytes + len(f.target) + len(f.sender) + len(f.body) + len(f.attachment)
		if f.kind == kindPing {
			if len(f.body) != 8 {
				return fmt.Errorf("%w: ping of %d bytes, expected 8", ErrFrame, len(f.body))
			}
			unseen = 0
			err = c.pong(f.body)
		} else {
			err = c.take(v, &f)
		}
		if err == nil && unseen >= seenBytes {
			unseen = 0
			err = c.pong(stampBytes(0))
		}
		if err != nil {
			return err
		}
	}
}

func (c *inbound) take(v Visitor, f *frame) error {
	m, err := decode(f)
	if err != nil {
		return err
	}
	return v.Take(f.kind, f.target, f.sender, m)
}

func (c *inbound) pong(stamp []byte) error {
	if err := c.conn.SetWriteDeadline(time.Now().Add(c.links.options.HandshakeTimeout)); err != nil {
		return err
	}
	_, err := c.conn.Write(append(appendHeader(nil, header{kind: kindPong, size: len(stamp), body: len(stamp)}), stamp...))
	return err
}

// Read counts, so that a caller that went without a word is noticed.
func (c *inbound) Read(b []byte) (int, error) {
	n, err := c.conn.Read(b)
	c.reads.Add(1)
	return n, err
}

// check ends a connection on which nothing came for too long: its caller says
// something at every interval.
func (c *inbound) check(now int64) {
	if n := c.reads.Load(); n != c.seen || c.since == 0 {
		c.seen, c.since = n, now
		return
	}
	if time.Duration(now-c.since) >= c.limit {
		_ = c.base.Close() // serve notices
	}
}
