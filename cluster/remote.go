package cluster

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/remote"
	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/protoraft/protoraft/cluster/link"
	"github.com/protoraft/protoraft/messages"
)

// Why a remote was not started.
var (
	ErrPortInUse     = errors.New("listen address is in use")
	ErrInsecure      = errors.New("without TLS the remote must be on loopback")
	ErrRemoteRunning = errors.New("actor system already has a remote")
)

// remoteOptions says where a process is and with whom it talks.
type remoteOptions struct {
	// Listen is the host:port to bind. Port 0 takes a free one.
	Listen string

	// Advertise is the host:port in every PID of this process, exactly as the other
	// nodes have it. Empty: what Listen became.
	Advertise string

	ClusterID string
	NodeID    string            // a client's is any id not in Members
	Members   map[string]string // node id → advertised address

	// Insecure allows addresses beyond loopback. There is no encryption and no proof
	// of identity: whoever reaches the port can pass for any node.
	Insecure bool

	// ConnectTimeout bounds one attempt to connect and thereby how old a message to
	// an absent peer can get before it is dropped. 0: 3 s.
	ConnectTimeout time.Duration

	// Silence is how long a peer of a direct link may show no sign of life. 0: no direct
	// links, neither to others nor from them.
	Silence time.Duration

	Logger hclog.Logger
}

const (
	defaultConnectTimeout = 3 * time.Second

	// Messages for one peer before its queue is enlarged; the stock remote makes
	// room for a million, 16 MB a peer.
	writerQueue = 1024

	// As in the measured data path: large enough for the Replicators' windows of
	// many groups, so that flow control never stops an append half-way.
	streamWindowBytes = 8 << 20
	connWindowBytes   = 16 << 20
	socketBufferBytes = 256 << 10

	// A peer that stops answering (frozen, cable pulled) is given up after both
	// together. gRPC allows no shorter interval.
	keepaliveInterval = 10 * time.Second
	keepaliveTimeout  = 3 * time.Second

	// Longest time for Stop: to let peers read what was sent, and for all of it.
	flushTimeout = time.Second
	stopTimeout  = 2 * time.Second
)

// remoteEndpoint is the process's door to the other nodes.
type remoteEndpoint struct {
	address string // in this process's PIDs
	guard   *guard

	system  *actor.ActorSystem
	remote  *remote.Remote
	links   *links
	direct  *link.Links // nil for none
	stopped atomic.Bool
	stop    sync.Once
	stopErr error

	// Proto.Actor's own way to a remote PID, behind the gate.
	resolve atomic.Pointer[actor.AddressResolver]
	gates   sync.Map // *gated of members, by address
}

// startRemote makes system reachable at o.Advertise. It must come before the first
// actor that others refer to: PIDs of actors spawned earlier carry no address, and
// what those send to other nodes is dropped. A system has one remote in its life.
//
// Proto.Actor silences gRPC's process-wide log as it starts; a program that wants
// that log must set it again afterwards.
func startRemote(system *actor.ActorSystem, o remoteOptions) (*remoteEndpoint, error) {
	if len(system.ProcessRegistry.RemoteHandlers) > 0 {
		return nil, fmt.Errorf("%w, at %s: start the node before any other remote", ErrRemoteRunning, system.Address())
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.ConnectTimeout == 0 {
		o.ConnectTimeout = defaultConnectTimeout
	}
	listen, err := bindable(o.Listen, o.Insecure)
	if err != nil {
		return nil, err
	}
	if err := o.settle(listen); err != nil {
		return nil, err
	}
	g := newGuard(guardOptions{
		ClusterID: o.ClusterID, NodeID: o.NodeID, Address: o.Advertise, Members: o.Members,
		Insecure: o.Insecure, Logger: o.Logger,
	})
	e := &remoteEndpoint{address: o.Advertise, guard: g, system: system, links: newLinks(g, o.ConnectTimeout, o.Logger)}
	if err := e.startDirect(o); err != nil {
		return nil, err
	}
	config, err := e.config(listen)
	if err != nil {
		e.closeDirect()
		return nil, err
	}
	// First in the list: it decides before Proto.Actor would dial.
	system.ProcessRegistry.RegisterAddressResolver(e.gate)
	if err := e.start(config); err != nil {
		system.ProcessRegistry.RemoteHandlers = nil
		e.closeDirect()
		return nil, err
	}
	o.Logger.Named("remote").Info("listening", "listen", listen, "address", e.address)
	return e, nil
}

// settle fills in the advertised address and checks that everyone is somewhere else.
func (o *remoteOptions) settle(listen string) error {
	if o.ClusterID == "" || o.NodeID == "" {
		return fmt.Errorf("cluster id %q, node id %q: expected both", o.ClusterID, o.NodeID)
	}
	listed, isMember := o.Members[o.NodeID]
	switch {
	case o.Advertise == "" && isMember:
		o.Advertise = listed
	case o.Advertise == "":
		o.Advertise = listen
	case isMember && o.Advertise != listed:
		return fmt.Errorf("advertised address %s: the cluster lists node %q at %s, expected the same string", o.Advertise, o.NodeID, listed)
	}
	at := map[string]string{o.Advertise: o.NodeID}
	for id, address := range o.Members {
		if _, _, err := net.SplitHostPort(address); err != nil {
			return fmt.Errorf("address %q of node %q: %w, expected host:port", address, id, err)
		}
		if other, taken := at[address]; taken && other != id {
			return fmt.Errorf("address %s belongs to both node %q and node %q, expected one node each", address, other, id)
		}
		at[address] = id
	}
	return nil
}

// bindable checks that address can be bound and returns it with the port that was
// found. remote.Start would panic where this returns an error.
func bindable(address string, insecure bool) (string, error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("listen address %q: %w, expected host:port", address, err)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", fmt.Errorf("listen address %q: port %q, expected 0 to 65535", address, port)
	}
	if !insecure && !isLoopback(address) {
		return "", fmt.Errorf("%w: listen address %s can be reached from other machines; bind 127.0.0.1, or allow it with --insecure", ErrInsecure, address)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return "", listenError(address, err)
	}
	bound := l.Addr().String()
	if err := l.Close(); err != nil {
		return "", fmt.Errorf("listen address %s: %w", address, err)
	}
	if port == "0" {
		return bound, nil
	}
	return address, nil
}

// config is Proto.Actor's, tuned. WithDialOptions replaces the stock options, so
// the credentials stand here, too.
func (e *remoteEndpoint) config(listen string) (*remote.Config, error) {
	host, portText, err := net.SplitHostPort(listen)
	if err != nil {
		return nil, err
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return nil, err
	}
	if ip := net.ParseIP(host); ip != nil && ip.To4() == nil {
		host = "[" + host + "]" // Config joins host and port with a bare colon
	}
	c := remote.Configure(host, port,
		remote.WithAdvertisedHost(e.address),
		remote.WithEndpointWriterBatchSize(writerBatch),
		remote.WithEndpointWriterQueueSize(writerQueue),
		remote.WithServerOptions(append(e.guard.serverOptions(), e.portOptions()...)...),
		remote.WithDialOptions(e.links.dialOptions()...),
	)
	// A link never fails to open (links.go), so the writer never gets to sleep
	// between attempts; at 0 it would not make the first.
	c.MaxRetryCount = 1
	return c, nil
}

func (g *guard) serverOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.StreamInterceptor(g.serve),
		grpc.UnaryInterceptor(g.refuseUnary),
		grpc.MaxRecvMsgSize(frameBytesMax),
		grpc.MaxHeaderListSize(16 << 10),
		grpc.MaxConcurrentStreams(16),
		grpc.ConnectionTimeout(helloTimeout),
		grpc.WaitForHandlers(true), // Stop must not return while a stream is read
		grpc.InitialWindowSize(streamWindowBytes),
		grpc.InitialConnWindowSize(connWindowBytes),
		grpc.ReadBufferSize(socketBufferBytes),
		grpc.WriteBufferSize(socketBufferBytes),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveInterval, Timeout: keepaliveTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveInterval / 2, PermitWithoutStream: true}),
	}
}

func (ls *links) dialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithStreamInterceptor(ls.intercept),
		grpc.WithNoProxy(), // HTTPS_PROXY is not meant for traffic between nodes
		// With WaitForReady: a peer that comes back is found within MaxDelay.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 250 * time.Millisecond},
			MinConnectTimeout: time.Second,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64 << 10)), // peers answer only the hello
		grpc.WithInitialWindowSize(streamWindowBytes),
		grpc.WithInitialConnWindowSize(connWindowBytes),
		grpc.WithReadBufferSize(socketBufferBytes),
		grpc.WithWriteBufferSize(socketBufferBytes),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveInterval, Timeout: keepaliveTimeout}),
	}
}

// start runs remote.Start and makes an error of its panics: between the check of
// the port and now another process may have taken it.
func (e *remoteEndpoint) start(config *remote.Config) (err error) {
	defer func() {
		if p := recover(); p != nil {
			cause, ok := p.(error)
			if !ok {
				cause = fmt.Errorf("%v", p)
			}
			err = listenError(config.Address(), cause)
		}
	}()
	e.remote = remote.NewRemote(e.system, config)
	e.remote.Start()
	handlers := e.system.ProcessRegistry.RemoteHandlers
	e.resolve.Store(&handlers[len(handlers)-1])
	return nil
}

// isAddressInUse looks at the text as well: remote.Start does not wrap the cause.
func isAddressInUse(err error) bool {
	return errors.Is(err, syscall.EADDRINUSE) || strings.Contains(err.Error(), syscall.EADDRINUSE.Error())
}

func listenError(address string, err error) error {
	if isAddressInUse(err) {
		return fmt.Errorf("%w: %s (another process has it): %w", ErrPortInUse, address, err)
	}
	return fmt.Errorf("cannot listen on %s: %w", address, err)
}

// drop ends the stream to address, connected or not. The next message to it opens
// a new one.
func (e *remoteEndpoint) drop(address string) {
	e.links.drop(address)
	if e.direct != nil {
		e.direct.Drop(address)
	}
}

// Stop closes the port and every stream; nothing is sent or received when it
// returns, within about 2 s. With graceful set it first lets connected peers read
// what was sent to them before, for up to 1 s. Messages sent from now on are dead
// letters. It may be called more than once.
//
// It does not call remote.Shutdown(true), which waits 10 s for an absent peer and
// races with actors that still send; the two idle actors that are left go with
// the system.
func (e *remoteEndpoint) Stop(graceful bool) error {
	e.stop.Do(func() { e.stopErr = e.shutDown(graceful) })
	return e.stopErr
}

func (e *remoteEndpoint) shutDown(graceful bool) error {
	deadline := time.After(stopTimeout)
	e.stopped.Store(true)
	if graceful {
		e.flush()
	}
	e.links.close()
	e.closeDirect()
	served := make(chan struct{})
	go func() {
		defer close(served)
		e.remote.Shutdown(false)
	}()
	select {
	case <-served:
	case <-deadline:
		return fmt.Errorf("remote at %s: streams still being read %v after it was stopped", e.address, stopTimeout)
	}
	select {
	case <-e.links.allClosed():
		return nil
	case <-deadline:
		return fmt.Errorf("remote at %s: connections still open %v after it was stopped", e.address, stopTimeout)
	}
}

// flush lets connected peers read what was sent to them before: by direct links, and by
// the remote, where it sends a last mark behind everything queued and waits until the
// peer has read up to it.
func (e *remoteEndpoint) flush() {
	var direct sync.WaitGroup
	direct.Go(e.flushDirect)
	defer direct.Wait()
	timeout := time.NewTimer(flushTimeout)
	defer timeout.Stop()
	all := e.links.all()
	for _, l := range all {
		select {
		case <-l.connected:
			pid := actor.NewPID(l.address, flushTarget)
			if p, ok := (*e.resolve.Load())(pid); ok {
				p.SendUserMessage(pid, &messages.CheckProgress{})
			}
		default:
			l.cancel(errLinkClosed) // what waits for an absent peer is lost
		}
	}
	for _, l := range all {
		select {
		case <-l.drained:
		case <-l.ctx.Done():
		case <-timeout.C:
			return
		}
	}
}

// gate is asked first for the process behind a PID that is not local. Proto.Actor's goes by
// the PID that comes with each message, so that one does for all actors of a member.
func (e *remoteEndpoint) gate(pid *actor.PID) (actor.Process, bool) {
	resolve := e.resolve.Load()
	if resolve == nil {
		return e.system.DeadLetter, true
	}
	if known, ok := e.gates.Load(pid.Address); ok {
		return known.(*gated), true
	}
	process, ok := (*resolve)(pid)
	g := &gated{endpoint: e, process: process}
	if ok && e.guard.rules.Load().ids[pid.Address] != "" { // clients come and go
		e.gates.Store(pid.Address, g)
	}
	return g, ok
}

// gated is the way to the actors of one address. PIDs remember their process, so each send
// asks anew whether the address may be sent to.
type gated struct {
	endpoint *remoteEndpoint
	process  actor.Process
	direct   atomic.Pointer[link.Peer] // nil until it is used
}

func (p *gated) open(pid *actor.PID) bool {
	return !p.endpoint.stopped.Load() && p.endpoint.guard.reachable(pid.Address)
}

func (p *gated) SendUserMessage(pid *actor.PID, message any) {
	if p.open(pid) {
		if !p.sendDirect(pid, message) {
			p.process.SendUserMessage(pid, message)
		}
	} else {
		p.endpoint.system.DeadLetter.SendUserMessage(pid, message)
	}
}

func (p *gated) SendSystemMessage(pid *actor.PID, message any) {
	if p.open(pid) {
		p.process.SendSystemMessage(pid, message)
	} else {
		p.endpoint.system.DeadLetter.SendSystemMessage(pid, message)
	}
}

func (p *gated) Stop(pid *actor.PID) {
	if p.open(pid) {
		p.process.Stop(pid)
	}
}
