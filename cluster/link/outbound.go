package link

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/protobuf/proto"
)

const (
	// inlineRounds is how often a sender writes what others have queued while it wrote,
	// before the connection's own goroutine takes over.
	inlineRounds = 2

	// burst is how soon after a write the next one is the writer's, who lets others who are
	// about to send go first: where many groups answer at once, they share a write.
	burst = 100 * time.Microsecond

	// writeBytes is the most that one write with one deadline takes.
	writeBytes = 256 << 10
)

// outbound is one connection to a peer, from its welcome to its end.
//
// Who sends a message encodes it into the queue and, where nobody is writing or has just
// written, writes: as much as the socket takes without waiting. What is left is the
// writer's, which may wait. So an idle link costs no switch of goroutines, a busy one few
// writes, and a full socket nobody's time but the writer's.
type outbound struct {
	peer   *Peer
	base   net.Conn        // the socket
	conn   net.Conn        // what is written: base, or TLS on it
	raw    syscall.RawConn // nil: only the writer writes
	plain  io.Writer
	opened time.Time

	mu      sync.Mutex
	filling *queue
	spare   *queue
	left    [][]byte // of what was begun and the socket did not take, before all in filling
	begun   *queue   // whose memory left is
	writing bool
	wrote   int64 // when a write was begun without waiting, or all was written; see Links.now
	closed  bool
	why     error

	wake chan struct{} // to the writer; has room for one
	done chan struct{} // closed with the connection

	pinged atomic.Int64 // when the ping left that is not answered, 0 for none; see Links.now
	sign   atomic.Int64 // when the peer last said something
	flush  atomic.Pointer[flushMark]
}

// flushMark waits for the pong that says that the peer has read everything before.
type flushMark struct {
	stamp  uint64
	passed chan struct{}
}

func newOutbound(p *Peer, base, conn net.Conn) *outbound {
	c := &outbound{
		peer: p, base: base, conn: conn, raw: rawConn(conn), opened: time.Now(),
		filling: &queue{}, spare: &queue{},
		wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
	if _, ok := conn.(*tls.Conn); ok {
		c.plain = bufio.NewWriterSize(conn, scanBytes) // few records, not one for each piece
	}
	c.sign.Store(p.links.now())
	return c
}

// send queues a message and sees to it that it is written. It says whether the message
// is the link's business: dropped or not, it must not go another way. What the link has
// no room for, or cannot carry, is dropped.
func (c *outbound) send(kind Kind, target, sender string, body proto.Message, attachment []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	o := &c.peer.links.options
	if c.filling.messages >= o.QueueMessages || c.filling.bytes+len(attachment) > o.QueueBytes {
		c.peer.dropped(errQueueFull)
		return true
	}
	if err := c.filling.add(kind, target, sender, body, attachment); err != nil {
		c.peer.dropped(fmt.Errorf("%s: %w", proto.MessageName(body), err))
		return true
	}
	c.peer.sent.Add(1)
	c.start()
	return true
}

var errQueueFull = errors.New("the queue is full")

// start writes, or has it written; mu is held.
func (c *outbound) start() {
	if c.writing {
		return
	}
	c.writing = true
	now := c.peer.links.now()
	if c.raw == nil || time.Duration(now-c.wrote) < burst {
		c.wakeWriter()
		return
	}
	c.wrote = now
	for range inlineRounds {
		if c.left != nil || c.filling.empty() {
			break
		}
		q := c.take()
		c.mu.Unlock()
		left, err := writeNow(c.raw, q.pieces)
		c.mu.Lock()
		switch {
		case err != nil:
			c.end(err)
			return
		case len(left) > 0:
			c.left, c.begun = left, q
		default:
			c.release(q)
		}
	}
	if c.left == nil && c.filling.empty() {
		c.writing = false
		return
	}
	c.wakeWriter()
}

func (c *outbound) wakeWriter() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// take gives what is queued to be written; mu is held.
func (c *outbound) take() *queue {
	q := c.filling
	q.close()
	c.filling, c.spare = c.spare, nil
	if c.filling == nil {
		c.filling = &queue{}
	}
	return q
}

func (c *outbound) release(q *queue) {
	q.reset()
	c.spare = q
}

// write is the connection's own goroutine.
func (c *outbound) write() {
	for {
		select {
		case <-c.wake:
		case <-c.done:
			return
		}
		runtime.Gosched() // to who runs, and is about to send
		if !c.writeAll() {
			return
		}
	}
}

// writeAll writes until nothing is queued, waiting where it must.
func (c *outbound) writeAll() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.closed {
		pieces, q := c.left, c.begun
		c.left, c.begun = nil, nil
		if pieces == nil {
			if c.filling.empty() {
				// Senders write without waiting, and fail where a deadline has passed.
				_ = c.conn.SetWriteDeadline(time.Time{})
				c.writing, c.wrote = false, c.peer.links.now()
				return true
			}
			q = c.take()
			pieces = q.pieces
		}
		c.mu.Unlock()
		err := c.writeSlowly(pieces)
		c.mu.Lock()
		if err != nil {
			c.end(err)
			return false
		}
		c.release(q)
	}
	return false
}

// writeSlowly gives every writeBytes the time that a peer may be silent.
func (c *outbound) writeSlowly(pieces [][]byte) error {
	for len(pieces) > 0 {
		if err := c.conn.SetWriteDeadline(time.Now().Add(c.peer.links.options.Silence)); err != nil {
			return err
		}
		if c.plain != nil {
			n := min(len(pieces[0]), writeBytes)
			if _, err := c.plain.Write(pieces[0][:n]); err != nil {
				return err
			}
			pieces = behind(pieces, n)
			continue
		}
		some := net.Buffers(upTo(pieces, writeBytes))
		n, err := some.WriteTo(c.conn)
		if err != nil {
			return err
		}
		pieces = behind(pieces, int(n))
	}
	if b, ok := c.plain.(*bufio.Writer); ok {
		return b.Flush()
	}
	return nil
}

// upTo is a copy of the first pieces with no more than n bytes together, the last of
// them cut. net.Buffers consumes what it is given.
func upTo(pieces [][]byte, n int) (some [][]byte) {
	for _, p := range pieces {
		if len(p) >= n {
			return append(some, p[:n])
		}
		some = append(some, p)
		n -= len(p)
	}
	return some
}

// behind is pieces without their first n bytes. It changes pieces.
func behind(pieces [][]byte, n int) [][]byte {
	for len(pieces) > 0 && n >= len(pieces[0]) {
		n -= len(pieces[0])
		pieces = pieces[1:]
	}
	if n > 0 {
		pieces[0] = pieces[0][n:]
	}
	return pieces
}

// read hears the peer's pongs until the connection ends. It is a goroutine of its own.
func (c *outbound) read(r *frameReader) {
	for {
		f, err := r.next()
		if err == nil {
			err = c.hear(&f)
		}
		if err != nil {
			c.close(err)
			return
		}
	}
}

func (c *outbound) hear(f *frame) error {
	switch {
	case f.kind == kindRefusal:
		return refusalOf(f.body)
	case f.kind != kindPong || len(f.body) != 8:
		return fmt.Errorf("%w: kind %d of %d bytes, expected a pong", ErrFrame, f.kind, len(f.body))
	}
	c.sign.Store(c.peer.links.now())
	stamp := binary.LittleEndian.Uint64(f.body)
	if stamp == 0 {
		return nil // only says that what was sent is being read
	}
	c.pinged.Store(0)
	if m := c.flush.Load(); m != nil && m.stamp == stamp && c.flush.CompareAndSwap(m, nil) {
		close(m.passed)
	}
	return nil
}

// ping asks for a sign of life; stamp is not 0.
func (c *outbound) ping(stamp uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.pinged.CompareAndSwap(0, c.peer.links.now())
		c.filling.control(kindPing, stampBytes(stamp))
		c.start()
	}
}

// check gives a peer up that was silent for too long, and else asks it for a sign.
func (c *outbound) check(now int64, stamp uint64, patience time.Duration) {
	pinged := c.pinged.Load()
	if pinged == 0 {
		c.ping(stamp)
		return
	}
	if silent := time.Duration(now - max(pinged, c.sign.Load())); silent >= patience {
		c.close(fmt.Errorf("%w for %v", errSilent, silent.Round(time.Millisecond)))
	}
}

var (
	errSilent = errors.New("no sign of life")
	errClosed = errors.New("closed on this side")
)

func (c *outbound) close(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end(why)
}

// end closes the connection once, with all that is queued; mu is held.
func (c *outbound) end(why error) {
	if c.closed {
		return
	}
	c.closed, c.why = true, why
	c.filling, c.spare, c.left, c.begun = &queue{}, nil, nil, nil
	close(c.done)
	_ = c.base.Close() // there is nothing to be done about a connection that does not close
}
