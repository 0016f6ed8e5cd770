package resp

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/protoraft/protoraft/cluster"
	"github.com/protoraft/protoraft/fsm/kv"
	"github.com/tidwall/redcon"
)

const (
	flushBytes = 64 << 10 // replies gathered before they are sent anyway

	// Replies that may be large are admitted by weight, a unit for up to
	// kv.MaxValueBytes. A connection begins with replyWeightStart and doubles while
	// they turn out small.
	replyWeightStart = 64
	replyWeightMin   = 4
	smallReplyBytes  = 4 << 10

	lingerTime  = 200 * time.Millisecond
	lingerBytes = 1 << 20
)

var errDraining = errors.New("resp: shutting down")

// conn is one client. All of it but drain runs in one goroutine.
type conn struct {
	server *Server
	net    net.Conn
	id     int64
	since  time.Time

	proto           int
	name            string
	libName, libVer string
	closing         bool         // after the replies that are due
	broken          bool         // the client is gone: nothing is written any more
	tx              *transaction // after MULTI
	watched         []kv.Watched
	consistency     cluster.Consistency // of reads
	index           uint64              // the highest that a command was applied or read at

	pipe              Pipeline
	in                reader
	out               []byte
	queue             []pending // submitted, in order; the first head are done
	head              int
	writes, reads     int // of the queue's rest, under way
	weight, weightMax int
	asked             time.Time // what reads are asked by until something is waited for; zero: to be looked up
	writeBy           time.Time // the deadline of writing

	mu       sync.Mutex
	draining bool
}

// pending is a command whose reply is due.
type pending struct {
	here   bool // answered here, with local, and not by the pipe
	local  []byte
	proto  int
	query  []byte // of a read, else nil
	key    []byte // the one key a read looks at; nil: perhaps any
	weight int
	tx     *transaction // of an EXEC
}

func (p *pending) isRead() bool { return p.query != nil }

func newConn(s *Server, nc net.Conn, id int64) *conn {
	return &conn{
		server: s, net: nc, id: id, since: time.Now(), proto: 2, consistency: cluster.Linearizable, weightMax: replyWeightStart,
		pipe: s.backend.Pipeline(),
		in:   reader{argBytesMax: s.options.ArgBytesMax, requestBytesMax: s.options.RequestBytesMax},
	}
}

func (c *conn) serve() {
	defer c.net.Close()
	err := c.loop()
	c.settleAll()
	var bad protocolError
	if errors.As(err, &bad) {
		c.server.options.Logger.Debug("resp: closing", "client", c.net.RemoteAddr(), "error", bad)
		c.out = redcon.AppendError(c.out, "ERR "+bad.Error())
	}
	c.flush()
	if !c.broken && (bad != "" || c.closing || errors.Is(err, errDraining)) {
		c.linger()
	}
}

func (c *conn) loop() error {
	for !c.closing && !c.broken {
		req, err := c.in.next()
		switch {
		case err == nil:
			c.submit(req)
		case errors.Is(err, errMore):
			// Arguments alias the buffer that is about to be refilled, and a client that
			// waits for replies sends nothing more: settle everything first.
			c.settleAll()
			c.flush()
			if err := c.receive(); err != nil {
				return err
			}
		default:
			return err
		}
	}
	return nil
}

// receive reads what has arrived, waiting for at least a byte.
func (c *conn) receive() error {
	c.mu.Lock()
	if c.draining {
		c.mu.Unlock()
		return errDraining
	}
	if idle := c.server.options.IdleTimeout; idle > 0 {
		_ = c.net.SetReadDeadline(time.Now().Add(idle))
	}
	c.mu.Unlock()
	n, err := c.net.Read(c.in.room())
	c.asked = time.Time{}
	c.in.filled(n)
	if n > 0 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining {
		return errDraining
	}
	return err
}

// drain makes the connection close once it has answered what it has received.
func (c *conn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draining = true
	_ = c.net.SetReadDeadline(time.Unix(1, 0)) // ends a Read that waits
}

// linger closes the sending side and reads on for a moment. A socket closed with
// bytes unread is reset, and the reset may overtake the replies.
func (c *conn) linger() {
	half, ok := c.net.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	_ = c.net.SetReadDeadline(time.Now().Add(lingerTime))
	_, _ = io.CopyN(io.Discard, c.net, lingerBytes)
}

// submit starts one command.
func (c *conn) submit(req request) {
	c.server.commands.Add(1)
	if req.refused != "" {
		c.refuse("ERR " + req.refused)
		return
	}
	if len(req.args) == 0 {
		return
	}
	cmd, refusal := lookup(req.args)
	switch {
	case refusal != "":
		c.refuse(refusal)
	case cmd.run != nil:
		cmd.run(c, req.args)
	case c.tx != nil && !cmd.immediate:
		c.enqueue(cmd, req.args)
	case cmd.local != nil:
		c.answer(cmd.local(c, nil, req.args))
	case cmd.once:
		c.submitOnce(req.args)
	default:
		c.submitData(cmd, req.args, nil)
	}
}

// submitData starts a command of the machine; with once it is a part of a session, in
// which a read is a command like any other, to be answered alike when it is repeated.
func (c *conn) submitData(cmd *commandSpec, args [][]byte, once *onceKey) {
	data, refusal := cmd.dataOf(args)
	if refusal != "" {
		c.answer(redcon.AppendError(nil, refusal))
		return
	}
	p := pending{proto: c.proto, key: cmd.onlyKey(args), weight: cmd.weightOf(args)}
	c.admit(p.weight)
	switch {
	case once != nil:
		c.settleConflicts(p.key)
		c.pipe.ProposeOnce(once.id, once.sequence, data)
	case cmd.read:
		if !cmd.alone && c.consistency.Current() { // else by no clock: a value may be old anyway
			data = kv.AskedAt(data, c.now())
		}
		p.query = data
		c.pipe.Query(data, c.consistency, c.writes > 0)
	default:
		c.settleConflicts(p.key)
		c.pipe.Propose(data)
	}
	c.begun(p)
}

// begun queues what was given to the pipe.
func (c *conn) begun(p pending) {
	if p.isRead() {
		c.reads++
	} else {
		c.writes++
	}
	c.weight += p.weight
	c.queue = append(c.queue, p)
}

// now is a time after the command at hand was received.
func (c *conn) now() time.Time {
	if c.asked.IsZero() {
		c.asked = time.Now()
	}
	return c.asked
}

// admit waits until there is room for another command under way.
func (c *conn) admit(weight int) {
	for len(c.queue)-c.head >= c.server.options.InflightMax ||
		c.weight > 0 && c.weight+weight > c.weightMax {
		c.settleOne()
	}
}

// settleConflicts waits for the reads under way that a write of key would change
// the answer of: a read is answered from a state at or after its start, which
// would otherwise be free to include the write. A nil key may be any.
func (c *conn) settleConflicts(key []byte) {
	if c.reads == 0 {
		return
	}
	last := -1
	for i := c.head; i < len(c.queue); i++ {
		p := &c.queue[i]
		if p.isRead() && (key == nil || p.key == nil || bytes.Equal(key, p.key)) {
			last = i - c.head
		}
	}
	for ; last >= 0; last-- {
		c.settleOne()
	}
}

// answer queues a reply that is known already.
func (c *conn) answer(reply []byte) {
	if c.head == len(c.queue) {
		c.send(reply)
		return
	}
	for len(c.queue)-c.head >= c.server.options.InflightMax {
		c.settleOne()
	}
	c.queue = append(c.queue, pending{here: true, local: reply})
}

func (c *conn) settleAll() {
	for c.head < len(c.queue) {
		c.settleOne()
	}
}

// settleOne waits for the oldest command and writes its reply.
func (c *conn) settleOne() {
	p := c.queue[c.head]
	c.queue[c.head] = pending{}
	if c.head++; c.head == len(c.queue) {
		c.queue, c.head = c.queue[:0], 0
	} else if c.head >= 1024 && 2*c.head >= len(c.queue) {
		c.queue, c.head = append(c.queue[:0], c.queue[c.head:]...), 0
	}
	if p.here {
		c.send(p.local)
		return
	}
	reply, index, err := c.next(p.query)
	c.index = max(c.index, index)
	c.weight -= p.weight
	if p.isRead() {
		c.reads--
	} else {
		c.writes--
	}
	if p.weight > 0 {
		c.adapt(len(reply))
	}
	switch {
	case err != nil:
		c.out = appendFailure(c.out, err, p.isRead())
	case p.tx != nil:
		c.out = c.appendExec(c.out, reply, &p)
	default:
		c.out = appendReply(c.out, reply, p.proto)
	}
	if len(c.out) >= flushBytes {
		c.flush()
	}
}

// next waits for the oldest command. A query whose answer depends on the time of the log
// is asked again by way of an entry.
func (c *conn) next(query []byte) (reply []byte, index uint64, err error) {
	c.asked = time.Time{}
	reply, index, err = c.pipe.Next()
	if err == nil && query != nil && kv.NeedsLog(reply) {
		return waitIndex(c.server.backend.Propose(query))
	}
	return reply, index, err
}

// adapt opens or narrows how many large replies may be under way.
func (c *conn) adapt(size int) {
	if size <= smallReplyBytes {
		c.weightMax = min(c.weightMax+1, c.server.options.InflightMax)
	} else {
		c.weightMax = max(c.weightMax*kv.MaxValueBytes/(kv.MaxValueBytes+size), replyWeightMin)
	}
}

func (c *conn) send(reply []byte) {
	c.out = append(c.out, reply...)
	if len(c.out) >= flushBytes {
		c.flush()
	}
}

func (c *conn) flush() {
	if len(c.out) == 0 {
		return
	}
	if !c.broken {
		// Set anew for every write it would cost as much as a small reply.
		if now, limit := time.Now(), c.server.options.WriteTimeout; c.writeBy.Sub(now) < limit-limit/4 {
			c.writeBy = now.Add(limit)
			_ = c.net.SetWriteDeadline(c.writeBy)
		}
		if _, err := c.net.Write(c.out); err != nil {
			c.broken = true
		}
	}
	if cap(c.out) > 2*flushBytes {
		c.out = nil
	} else {
		c.out = c.out[:0]
	}
}
