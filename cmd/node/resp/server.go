// Package resp serves a replicated kv machine to Redis clients: RESP2, RESP3,
// pipelines.
//
// The commands in a connection's buffer are one batch: submitted together without
// waiting for each other, and answered in order, in one write. A read sees the writes
// before it on the connection and not those after it. Under way are at most
// Options.InflightMax commands of a connection, which fit a buffer of 64 KiB (larger where
// one of them is); until all are answered no more is read. Every node takes every command.
package resp

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Options tune a Server. The zero value is ready for use.
type Options struct {
	Logger  hclog.Logger // nil: none
	Version string       // of this program, for INFO

	ClientsMax int // connections at a time; 0: 10,000

	// RequestBytesMax bounds the arguments of one command together. 0: 1 MiB.
	RequestBytesMax int
	// ArgBytesMax bounds one argument. 0: 512 KiB, the largest value.
	ArgBytesMax int
	// InflightMax bounds a connection's commands under way. 0: 1,024.
	InflightMax int

	IdleTimeout  time.Duration // closes a connection that sends nothing; 0: never
	WriteTimeout time.Duration // closes one that does not read its replies for 3/4 of it or more; 0: 1 minute
}

func (o *Options) fill() {
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	setDefault(&o.Version, "dev")
	setDefault(&o.ClientsMax, 10_000)
	setDefault(&o.RequestBytesMax, 1<<20)
	setDefault(&o.ArgBytesMax, 512<<10)
	setDefault(&o.InflightMax, 1024)
	setDefault(&o.WriteTimeout, time.Minute)
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// Server is a RESP front end. Make it with New, and run Serve.
type Server struct {
	backend Backend
	status  StatusSource
	options Options
	started time.Time

	connections atomic.Int64 // ever; the last client id
	commands    atomic.Int64

	mu       sync.Mutex
	listener net.Listener
	conns    map[*conn]struct{}
	closing  bool
	done     sync.WaitGroup // one per connection
	stop     chan struct{}  // closed when Shutdown begins
}

// New returns a server that is not listening yet.
func New(backend Backend, status StatusSource, options Options) *Server {
	options.fill()
	return &Server{
		backend: backend, status: status, options: options, started: time.Now(),
		conns: make(map[*conn]struct{}), stop: make(chan struct{}),
	}
}

// Serve accepts connections on l until Shutdown, and then returns nil. It closes l.
// Any other end of the listener is returned as an error.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return nil
	}
	s.listener = l
	s.mu.Unlock()
	pause := time.Duration(0)
	for {
		nc, err := l.Accept()
		if err == nil {
			pause = 0
			s.open(nc)
			continue
		}
		if s.stopped() {
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		// Out of descriptors, most likely: others will close some.
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		s.options.Logger.Warn("resp: accept failed", "error", err, "retry_in", pause)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-s.stop:
			timer.Stop()
			return nil
		}
	}
}

func (s *Server) stopped() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

func (s *Server) open(nc net.Conn) {
	c := newConn(s, nc, s.connections.Add(1))
	s.mu.Lock()
	full := len(s.conns) >= s.options.ClientsMax
	if full || s.closing {
		s.mu.Unlock()
		if full {
			_ = nc.SetWriteDeadline(time.Now().Add(time.Second))
			_, _ = nc.Write([]byte("-ERR max number of clients reached\r\n"))
		}
		_ = nc.Close()
		return
	}
	s.conns[c] = struct{}{}
	s.done.Add(1)
	s.mu.Unlock()
	go func() {
		defer s.done.Done()
		c.serve()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
}

func (s *Server) clients() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// Shutdown stops accepting, lets every connection answer the commands it has
// received, and closes it. When ctx ends first, connections are cut and ctx's
// error is returned. It may be called more than once.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	if !s.closing {
		s.closing = true
		close(s.stop)
	}
	if s.listener != nil {
		_ = s.listener.Close()
	}
	for c := range s.conns {
		c.drain()
	}
	s.mu.Unlock()

	finished := make(chan struct{})
	go func() {
		s.done.Wait()
		close(finished)
	}()
	select {
	case <-finished:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	for c := range s.conns {
		_ = c.net.Close()
	}
	s.mu.Unlock()
	return ctx.Err()
}
