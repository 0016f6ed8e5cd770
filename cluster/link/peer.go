package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// Peer is the way to one node. It outlives its connections.
type Peer struct {
	links   *Links
	address string
	up      atomic.Pointer[outbound]
	tryAt   atomic.Int64 // when to connect next at the earliest

	sent, lost, opened atomic.Uint64

	mu      sync.Mutex
	dialing bool
	fails   int // in a row
	told    bool
	why     error
	dropLog time.Time
	unsaid  int
}

// Send gives a message to the link. False says that it must go another way: the link
// does not carry its kind, or there is none for now. True is no promise that it arrives.
// It never waits.
func (p *Peer) Send(target, sender *actor.PID, message any) bool {
	kind := kindOf(message)
	if kind == 0 {
		return false
	}
	c := p.up.Load()
	if c == nil {
		p.connect()
		return false
	}
	body, attachment, err := wireForm(message)
	if err != nil {
		p.dropped(err)
		return true
	}
	return c.send(kind, target.GetId(), sender.GetId(), body, attachment)
}

// connect begins to connect, unless that is being done or was in vain just now.
func (p *Peer) connect() {
	if p.links.now() < p.tryAt.Load() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dialing || p.links.now() < p.tryAt.Load() || !p.links.run(p.dial) {
		return
	}
	p.dialing = true
}

// run starts a goroutine that Close waits for.
func (ls *Links) run(f func()) bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.closed {
		return false
	}
	ls.running.Go(f)
	return true
}

// Pauses between attempts: short where nobody listens, who may be back at once; long
// where somebody does who speaks no link or wants none.
const (
	pauseMin        = 50 * time.Millisecond
	pauseMax        = 500 * time.Millisecond
	refusedPauseMin = time.Second
	refusedPauseMax = 30 * time.Second

	// A link that lasted so long was no failure.
	lastedMin = time.Second
)

// ErrNotSpoken: whoever is at the address speaks no link, or not this version.
var ErrNotSpoken = errors.New("the peer speaks no direct link")

// Refusal is why a peer ended a link, in its own words.
type Refusal struct{ Text string }

func (r *Refusal) Error() string { return "refused by the peer: " + r.Text }

func refusalOf(text []byte) error { return &Refusal{string(text)} }

// dial opens one connection and stays with it until it ends.
func (p *Peer) dial() {
	c, reader, err := p.open()
	if err == nil {
		p.settled(c)
		var both sync.WaitGroup
		both.Go(c.write)
		both.Go(func() { c.read(reader) })
		both.Wait()
		err = c.why
	}
	p.ended(c, err)
}

func (p *Peer) open() (*outbound, *frameReader, error) {
	ctx, cancel := context.WithTimeout(p.links.ctx, p.links.options.ConnectTimeout)
	defer cancel()
	base, err := p.links.options.Dial(ctx, p.address)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { base.Close() })
	conn, reader, err := p.greet(ctx, base)
	if err == nil && !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		base.Close()
		return nil, nil, err
	}
	return newOutbound(p, base, conn), reader, nil
}

// greet says who calls and hears whether that is welcome.
func (p *Peer) greet(ctx context.Context, conn net.Conn) (net.Conn, *frameReader, error) {
	o := &p.links.options
	hello := o.Introduce(p.address)
	hello.Interval = p.links.interval()
	body, err := hello.encode()
	if err != nil {
		return nil, nil, err
	}
	frame := append(appendHeader(nil, header{kind: kindHello, size: len(body), body: len(body)}), body...)
	if o.ClientTLS == nil {
		frame = append([]byte(Magic), frame...)
	} else {
		if _, err := conn.Write([]byte(Magic)); err != nil {
			return nil, nil, err
		}
		secured := tls.Client(conn, o.ClientTLS(p.address))
		if err := secured.HandshakeContext(ctx); err != nil {
			return nil, nil, fmt.Errorf("TLS: %w", err)
		}
		conn = secured
	}
	if _, err := conn.Write(frame); err != nil {
		return nil, nil, err
	}
	var magic [len(Magic)]byte
	if _, err := io.ReadFull(conn, magic[:]); err != nil {
		return nil, nil, unspoken(err)
	}
	if string(magic[:]) != Magic {
		return nil, nil, fmt.Errorf("%w: it answered with % x", ErrNotSpoken, magic)
	}
	reader := newFrameReader(conn, controlBytesMax)
	f, err := reader.next()
	switch {
	case err != nil:
		return nil, nil, err
	case f.kind == kindRefusal:
		return nil, nil, refusalOf(f.body)
	case f.kind != kindWelcome:
		return nil, nil, fmt.Errorf("%w: it answered with kind %d, expected a welcome", ErrFrame, f.kind)
	}
	return conn, reader, nil
}

// unspoken: a remote without a link ends the connection at once.
func unspoken(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
		return fmt.Errorf("%w: it hung up", ErrNotSpoken)
	}
	return err
}

// settled makes the connection the link.
func (p *Peer) settled(c *outbound) {
	p.mu.Lock()
	p.told, p.why = false, nil
	p.mu.Unlock()
	p.opened.Add(1)
	p.links.options.Logger.Info("direct link", "peer", p.peerName(), "address", p.address)
	p.up.Store(c)
	if p.links.ctx.Err() != nil { // Close did not see it
		c.close(errClosed)
	}
}

func (p *Peer) peerName() string { return p.links.options.Introduce(p.address).ToNode }

// ended notes why there is no link, and when to try again. It is logged once while
// there is none.
func (p *Peer) ended(c *outbound, err error) {
	p.up.Store(nil)
	p.mu.Lock()
	p.dialing, p.why = false, err
	var refusal *Refusal
	unwanted := errors.Is(err, ErrNotSpoken) || errors.As(err, &refusal)
	least, most := pauseMin, pauseMax
	if unwanted {
		least, most = refusedPauseMin, refusedPauseMax
	}
	if c != nil && time.Since(c.opened) >= lastedMin {
		p.fails = 0
	}
	pause := min(least<<min(p.fails, 10), most)
	p.fails++
	told := p.told
	p.told = true
	p.mu.Unlock()
	p.tryAt.Store(p.links.now() + int64(pause))

	log := p.links.options.Logger
	switch {
	case errors.Is(err, errClosed) || p.links.ctx.Err() != nil:
	case told:
		log.Debug("still no direct link", "peer", p.peerName(), "address", p.address, "error", err)
	case c == nil && errors.Is(err, ErrNotSpoken):
		log.Info("no direct link, going by the remote", "peer", p.peerName(), "address", p.address, "why", err)
	case errors.As(err, &refusal):
		log.Warn("no direct link, going by the remote", "peer", p.peerName(), "address", p.address, "why", err)
	case c == nil:
		log.Debug("no direct link, going by the remote", "peer", p.peerName(), "address", p.address, "why", err) // the remote says so, too
	default:
		log.Warn("direct link ended, going by the remote", "peer", p.peerName(), "address", p.address, "why", err)
	}
}

const dropLogInterval = 5 * time.Second

// dropped counts a message that was the link's and is lost here.
func (p *Peer) dropped(why error) {
	p.lost.Add(1)
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); now.Sub(p.dropLog) >= dropLogInterval {
		p.links.options.Logger.Warn("message dropped", "why", why, "peer", p.peerName(), "address", p.address, "like_it_before", p.unsaid)
		p.dropLog, p.unsaid = now, 0
		return
	}
	p.unsaid++
}

func (p *Peer) status() Status {
	s := Status{Address: p.address, Up: p.up.Load() != nil, Sent: p.sent.Load(), Dropped: p.lost.Load(), Links: p.opened.Load()}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !s.Up && p.why != nil {
		s.Why = p.why.Error()
		if errors.Is(p.why, os.ErrDeadlineExceeded) {
			s.Why = fmt.Sprintf("it does not answer: %v", p.why)
		}
	}
	return s
}
