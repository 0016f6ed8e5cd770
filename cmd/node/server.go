package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/protoraft/protoraft/cluster"
	"github.com/protoraft/protoraft/cmd/node/machine"
	"github.com/protoraft/protoraft/cmd/node/resp"
	"github.com/protoraft/protoraft/cmd/node/web"
	"github.com/protoraft/protoraft/fsm"
)

// server is a node with its front ends.
type server struct {
	logger   hclog.Logger
	node     *cluster.Node
	resp     *resp.Server // nil where not served
	http     *http.Server // nil where not served
	draining atomic.Bool
	broken   chan error // a front end ended that nobody has stopped
}

// startServer binds the front ends' addresses, starts the node and serves. After
// an error nothing is left running.
func startServer(f *serveFlags, logger hclog.Logger) (_ *server, err error) {
	var open []net.Listener
	defer func() {
		if err != nil {
			for _, l := range open {
				_ = l.Close()
			}
		}
	}()
	bind := func(flag, address string) (net.Listener, error) {
		if address == "" {
			return nil, nil
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			return nil, listenError(flag, address, err)
		}
		open = append(open, l)
		return l, nil
	}
	respListener, err := bind("--resp", f.resp)
	if err != nil {
		return nil, err
	}
	httpListener, err := bind("--http", f.http)
	if err != nil {
		return nil, err
	}
	s := &server{logger: logger, broken: make(chan error, 2)}
	if s.node, err = startNode(f, logger); err != nil {
		return nil, err
	}
	s.serveRESP(respListener)
	s.serveHTTP(httpListener, f.insecure)
	return s, nil
}

func listenError(flag, address string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s: %w: %s (another process has it)", flag, cluster.ErrPortInUse, address)
	}
	return fmt.Errorf("%s %s: %w", flag, address, err)
}

func startNode(f *serveFlags, logger hclog.Logger) (*cluster.Node, error) {
	o := cluster.Options{
		ID: f.id, Members: f.members, DataDir: f.data, Address: f.address, Listen: f.listen, Insecure: f.insecure, NoDirectLinks: !bool(f.link),
		ElectionTimeout: time.Duration(f.election), HeartbeatInterval: time.Duration(f.heartbeat), Logger: logger,
		Join: f.join, ClusterID: f.clusterID, LogEngine: f.logEngine, Machines: machines(),
		BalanceEvery: time.Duration(f.balance),
		// A connection's commands are applied in its order, which one sent again would
		// leave. Clients of RESP and HTTP have sessions of their own, by name.
		NoSessions: true,
	}
	f.snapshots.fill(&o)
	if f.noSleep {
		o.SleepAfter = -1
	}
	node, err := cluster.Start(cluster.NewSystem(logger), o)
	if err != nil {
		return nil, err
	}
	logger.Info("node started", "version", currentBuild().Version, "cluster", node.ClusterID(), "members", len(f.members), "data", f.data)
	var state fsm.StateMachine = machine.New()
	if f.id == f.witness {
		state = nil
	}
	if _, err := node.StartGroup(kvGroup, state); err != nil {
		return nil, errors.Join(err, within(abandonTimeout, node.Shutdown))
	}
	return node, nil
}

func (s *server) serveRESP(l net.Listener) {
	if l == nil {
		return
	}
	s.resp = resp.New(respBackend{s.node.Client()}, &respStatus{node: s.node}, resp.Options{
		Logger: s.logger.Named("resp"), Version: currentBuild().Version,
	})
	s.logger.Info("serving RESP", "address", l.Addr())
	go func() {
		if err := s.resp.Serve(l); err != nil {
			s.broken <- fmt.Errorf("--resp %s: %w", l.Addr(), err)
		}
	}()
}

func (s *server) serveHTTP(l net.Listener, insecure bool) {
	if l == nil {
		return
	}
	status := webStatus{s.node, currentBuild().Version}
	handler := web.New(webBackend{s.node.Client()}, status, web.Options{Admin: webAdmin{status, insecure}})
	s.http = web.NewServer(s.untilDraining(handler))
	s.http.ErrorLog = s.logger.Named("http").StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug})
	s.logger.Info("serving HTTP", "address", l.Addr())
	go func() {
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.broken <- fmt.Errorf("--http %s: %w", l.Addr(), err)
		}
	}()
}

// untilDraining answers /readyz itself once the node is about to go: whoever
// spreads the load should stop sending before the port closes.
func (s *server) untilDraining(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" || !s.draining.Load() {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte(`{"error":"not ready: the node is stopping","outcome":"not_applied","reason":"stopping"}` + "\n"))
	})
}

// stop leaves in good order: not ready any more, leadership handed over while the
// front ends still forward, then the front ends drained, then the node.
func (s *server) stop() error {
	s.draining.Store(true)
	s.handOver()
	if err := s.closeFrontEnds(drainTimeout); err != nil {
		s.logger.Warn("clients were cut off", "error", err)
	}
	return within(handOverTimeout, s.node.Shutdown)
}

// handOver is a courtesy; without it the others wait for an election timeout.
func (s *server) handOver() {
	ctx, cancel := context.WithTimeout(context.Background(), handOverTimeout)
	defer cancel()
	st, err := s.node.Status(ctx)
	if err != nil {
		return
	}
	for _, g := range st.Groups {
		if g.Role != "leader" || len(g.Members()) < 2 {
			continue
		}
		if err := s.node.TransferLeadership(ctx, g.Group, ""); err != nil {
			s.logger.Warn("leadership not handed over", "group", g.Group, "error", err)
		}
	}
}

// closeFrontEnds lets RESP clients finish first, so that /readyz answers meanwhile.
func (s *server) closeFrontEnds(limit time.Duration) error {
	var errs []error
	if s.resp != nil {
		errs = append(errs, within(limit, s.resp.Shutdown))
	}
	if s.http != nil {
		err := within(limit, s.http.Shutdown)
		if err != nil {
			_ = s.http.Close()
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// abandon ends a node whose disk has failed. Clients hear what is known of their
// commands if that takes no time; closing the log may hang with the disk.
func (s *server) abandon() {
	s.draining.Store(true)
	_ = s.closeFrontEnds(abandonTimeout)
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_ = within(abandonTimeout, s.node.Shutdown)
	}()
	timer := time.NewTimer(abandonTimeout)
	defer timer.Stop()
	select {
	case <-closed:
	case <-timer.C:
	}
}
