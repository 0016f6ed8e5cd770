package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Options of a node's links. Introduce, Admit and Silence are needed.
type Options struct {
	// Introduce is what this node says to whoever is at address; Interval is filled in.
	Introduce func(address string) Hello
	// Admit judges who calls. An error is told to the caller and ends the connection.
	Admit func(Caller) (Visitor, error)
	// Malformed, Panicked: a frame that does not decode was read, a panic recovered; nil
	// for nobody to be told. What Malformed returns is told to the caller.
	Malformed func(Caller, error) error
	Panicked  func()

	// Silence is how long a peer may show no sign of life: an election timeout.
	Silence time.Duration
	// ConnectTimeout bounds an attempt to connect, its handshake included, and
	// HandshakeTimeout what a caller has for its hello. 0: 3 s and 5 s.
	ConnectTimeout, HandshakeTimeout time.Duration
	// QueueBytes and QueueMessages bound what waits for one peer's socket. 0: 16 MiB and
	// 16,384.
	QueueBytes, QueueMessages int
	// HandshakesMax bounds the links whose caller is not known yet, and SilentMax the
	// connections on which nothing came at all. 0: 256 and 1,024.
	HandshakesMax, SilentMax int

	// ServerTLS and ClientTLS, for the peer at an address, have links encrypted; both or
	// none. They must ask for and verify the other side's certificate.
	ServerTLS *tls.Config
	ClientTLS func(address string) *tls.Config

	// Dial opens a connection; nil for TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)

	Logger hclog.Logger
}

// checksPerSilence is how often within Options.Silence a peer is looked at. One look asks
// it for a sign, and the first that finds half the silence gone by gives it up: at most
// three quarters of it after the peer fell silent, seven eighths where a look was late.
const checksPerSilence = 8

// intervalMax is the longest that a caller may go without a word.
const intervalMax = time.Minute

func (o *Options) fill() error {
	switch {
	case o.Introduce == nil || o.Admit == nil:
		return fmt.Errorf("link: Introduce and Admit are needed")
	case o.Silence <= 0:
		return fmt.Errorf("link: Silence %v, expected more than 0", o.Silence)
	case (o.ServerTLS == nil) != (o.ClientTLS == nil):
		return fmt.Errorf("link: TLS on one side only, expected both or none")
	}
	for _, d := range []struct {
		v         *time.Duration
		otherwise time.Duration
	}{{&o.ConnectTimeout, 3 * time.Second}, {&o.HandshakeTimeout, 5 * time.Second}} {
		if *d.v == 0 {
			*d.v = d.otherwise
		}
	}
	for _, n := range []struct {
		v         *int
		otherwise int
	}{{&o.QueueBytes, 16 << 20}, {&o.QueueMessages, 1 << 14}, {&o.HandshakesMax, 256}, {&o.SilentMax, 1 << 10}} {
		if *n.v == 0 {
			*n.v = n.otherwise
		}
	}
	if o.Dial == nil {
		o.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", address)
		}
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	return nil
}

// Links are a node's, to its peers and from them.
type Links struct {
	options Options
	began   time.Time
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	peers   map[string]*Peer    // by address
	inbound map[string]*inbound // by node
	silent  int                 // connections on which nothing came yet
	unknown int                 // links whose caller is not known yet
	open    map[net.Conn]*int   // that came in, and which of these counts them; nil for none
	served  sync.WaitGroup
	stamp   uint64
}

// New begins to look after links; Close ends that.
func New(o Options) (*Links, error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	ls := &Links{
		options: o, began: time.Now(),
		peers: map[string]*Peer{}, inbound: map[string]*inbound{}, open: map[net.Conn]*int{},
	}
	ls.ctx, ls.cancel = context.WithCancel(context.Background())
	ls.running.Go(ls.watch)
	return ls, nil
}

// now counts nanoseconds since the links began, by a clock that never goes back; never 0.
func (ls *Links) now() int64 { return int64(time.Since(ls.began)) + 1 }

func (ls *Links) interval() time.Duration {
	return max(ls.options.Silence/checksPerSilence, time.Millisecond)
}

// watch looks for those who have fallen silent.
func (ls *Links) watch() {
	tick := time.NewTicker(ls.interval())
	defer tick.Stop()
	last, excused := ls.now(), false
	for {
		select {
		case <-tick.C:
		case <-ls.ctx.Done():
			return
		}
		now := ls.now()
		// A process that was stopped itself has signs of life to read first.
		excused, last = !excused && time.Duration(now-last) > 2*ls.interval(), now
		if excused {
			continue
		}
		ls.mu.Lock()
		peers := make([]*Peer, 0, len(ls.peers))
		for _, p := range ls.peers {
			peers = append(peers, p)
		}
		for _, c := range ls.inbound {
			c.check(now)
		}
		ls.mu.Unlock()
		for _, p := range peers {
			if c := p.up.Load(); c != nil {
				c.check(now, ls.nextStamp(), ls.options.Silence/2)
			}
		}
	}
}

func (ls *Links) nextStamp() uint64 {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.stamp++
	return ls.stamp
}

// Peer is the way to address; it connects when something is first sent.
func (ls *Links) Peer(address string) *Peer {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	p := ls.peers[address]
	if p == nil {
		p = &Peer{links: ls, address: address}
		ls.peers[address] = p
	}
	return p
}

// hold counts a connection that came in, unless there are too many of its like.
func (ls *Links) hold(conn net.Conn, count *int, most int) bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.closed || *count >= most {
		return false
	}
	*count++
	ls.open[conn] = count
	ls.served.Add(1)
	return true
}

// known ends the time in which a connection counts; mu is held.
func (ls *Links) known(conn net.Conn) {
	if count := ls.open[conn]; count != nil {
		*count--
		ls.open[conn] = nil
	}
}

// Peek waits for the first byte of a connection and says whether a link begins with it.
// The connection it returns has that byte still to be read. Close ends the wait.
func (ls *Links) Peek(conn net.Conn) (net.Conn, bool, error) {
	if !ls.hold(conn, &ls.silent, ls.options.SilentMax) {
		return conn, false, errTooMany
	}
	defer ls.release(conn)
	return peek(conn)
}

var errTooMany = errors.New("too many connections on which nothing was said")

func (ls *Links) release(conn net.Conn) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.known(conn)
	delete(ls.open, conn)
	ls.served.Done()
}

// replace makes c the one link from its node. Its predecessor is ended and read out
// first: what it brought comes before what c brings.
func (ls *Links) replace(c *inbound) {
	for {
		ls.mu.Lock()
		earlier := ls.inbound[c.node]
		if earlier == nil {
			ls.known(c.base)
			ls.inbound[c.node] = c
			ls.mu.Unlock()
			return
		}
		ls.mu.Unlock()
		_ = earlier.base.Close() // its reader notices
		<-earlier.ended
	}
}

func (ls *Links) forget(c *inbound) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	delete(ls.inbound, c.node)
	close(c.ended)
}

// Flush waits until every peer has read what was sent to it before, or ctx ends.
func (ls *Links) Flush(ctx context.Context) {
	var marks []*flushMark
	var conns []*outbound
	for _, p := range ls.all() {
		if c := p.up.Load(); c != nil {
			m := &flushMark{stamp: ls.nextStamp(), passed: make(chan struct{})}
			c.flush.Store(m)
			c.ping(m.stamp)
			marks, conns = append(marks, m), append(conns, c)
		}
	}
	for i, m := range marks {
		select {
		case <-m.passed:
		case <-conns[i].done:
		case <-ctx.Done():
			return
		}
	}
}

func (ls *Links) all() []*Peer {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	all := make([]*Peer, 0, len(ls.peers))
	for _, p := range ls.peers {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *Peer) int { return strings.Compare(a.address, b.address) })
	return all
}

// Close ends every link, and returns when the last message from a peer was taken.
func (ls *Links) Close() {
	ls.mu.Lock()
	ls.closed = true
	for conn := range ls.open {
		_ = conn.Close() // Serve notices
	}
	ls.mu.Unlock()
	ls.cancel()
	for _, p := range ls.all() {
		if c := p.up.Load(); c != nil {
			c.close(errClosed)
		}
	}
	ls.served.Wait()
	ls.running.Wait()
}

// Drop ends the link to address; the next message opens a new one.
func (ls *Links) Drop(address string) {
	if c := ls.Peer(address).up.Load(); c != nil {
		c.close(errClosed)
	}
}

// Status is what is known of the link to one peer.
type Status struct {
	Address string
	Up      bool
	Why     string // it is not up: the last error, empty before the first try
	Sent    uint64 // messages given to a link
	Dropped uint64 // of them or instead of them: for want of room, or too large
	Links   uint64 // that were opened
}

// Status tells of every peer that something was sent to, by address.
func (ls *Links) Status() []Status {
	var all []Status
	for _, p := range ls.all() {
		all = append(all, p.status())
	}
	return all
}
