package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/remote"
	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// links are the streams this node has opened, one for each address it sends to.
//
// Proto.Actor's writer opens a stream inside its actor's start, and when that
// fails sleeps 2 s and leaks the connection. So our stream interceptor hands it a
// link at once, which connects behind its back: the writer waits in its first
// send, at most connectTimeout, and a link that fails ends as an established
// stream would, which the writer cleans up after. The next message opens a new
// link. EndpointConnectedEvent therefore only says that a link was begun.
type links struct {
	guard          *guard
	connectTimeout time.Duration
	logger         hclog.Logger

	mu     sync.Mutex
	closed bool
	open   map[*remoteLink]struct{}
	idle   chan struct{} // closed when no link is open any more; made by allClosed
	peers  map[string]*peerState
}

// peerState is what is remembered of an address from one link to the next.
type peerState struct {
	refusedAt time.Time // a peer that refused us is not asked again at once
	down      bool      // that it cannot be reached was logged
	why       error     // it cannot be reached, nil while it can
	log       limiter
}

// After a refusal the cause must be removed by somebody; asking again at the rate
// of messages would only fill both logs.
const refusedPause = 500 * time.Millisecond

var errLinkClosed = status.Error(codes.Unavailable, "link closed on this side")

func newLinks(g *guard, connectTimeout time.Duration, logger hclog.Logger) *links {
	return &links{
		guard: g, connectTimeout: connectTimeout, logger: logger.Named("remote"),
		open: map[*remoteLink]struct{}{}, peers: map[string]*peerState{},
	}
}

// intercept is the dial side's stream interceptor.
func (ls *links) intercept(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, next grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	l := &remoteLink{
		links: ls, address: cc.Target(),
		connected: make(chan struct{}), drained: make(chan struct{}),
	}
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	l.dial = func() (grpc.ClientStream, error) {
		return next(ls.guard.introduce(l.ctx, l.address), desc, cc, method, append(opts, grpc.WaitForReady(true))...)
	}
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.open[l] = struct{}{}
	if ls.closed {
		l.cancel(errLinkClosed)
	}
	return l, nil
}

// drop ends the links to address, connected or not; the next message to it opens
// a new one.
func (ls *links) drop(address string) {
	ls.each(func(l *remoteLink) {
		if l.address == address {
			l.cancel(errLinkClosed)
		}
	})
}

// close ends every link and every later one.
func (ls *links) close() {
	ls.mu.Lock()
	ls.closed = true
	ls.mu.Unlock()
	ls.each(func(l *remoteLink) { l.cancel(errLinkClosed) })
}

func (ls *links) each(f func(*remoteLink)) {
	for _, l := range ls.all() {
		f(l)
	}
}

func (ls *links) all() []*remoteLink {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	all := make([]*remoteLink, 0, len(ls.open))
	for l := range ls.open {
		all = append(all, l)
	}
	return all
}

func (ls *links) forget(l *remoteLink) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	delete(ls.open, l)
	if ls.guard.rules.Load().ids[l.address] == "" {
		delete(ls.peers, l.address) // clients come and go, each with an address of its own
	}
	if ls.idle != nil && len(ls.open) == 0 {
		close(ls.idle)
		ls.idle = nil
	}
}

// allClosed tells when the writers have let go of every link.
func (ls *links) allClosed() <-chan struct{} {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	idle := make(chan struct{})
	if len(ls.open) == 0 {
		close(idle)
	} else {
		ls.idle = idle
	}
	return idle
}

// peer is called with mu held.
func (ls *links) peer(address string) *peerState {
	p := ls.peers[address]
	if p == nil {
		p = &peerState{}
		ls.peers[address] = p
	}
	return p
}

// pause is how long to wait before address is asked again.
func (ls *links) pause(address string) time.Duration {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return refusedPause - time.Since(ls.peer(address).refusedAt)
}

func (ls *links) noteConnected(address string) {
	ls.mu.Lock()
	p := ls.peer(address)
	p.down, p.refusedAt, p.why = false, time.Time{}, nil
	ls.mu.Unlock()
	if node := ls.guard.rules.Load().ids[address]; node != "" {
		ls.logger.Info("connected", "peer", node, "address", address)
	} else {
		ls.logger.Debug("connected", "client", address)
	}
}

// noteEnded logs why a link ended: once while a peer stays away, and now and then
// while it refuses this node.
func (ls *links) noteEnded(address string, err error) {
	if errors.Is(err, errLinkClosed) {
		return
	}
	ls.mu.Lock()
	p := ls.peer(address)
	again := p.down
	p.down, p.why = true, err
	refused := isRefusal(err)
	if refused {
		p.refusedAt = time.Now()
	}
	ls.mu.Unlock()

	node := ls.guard.rules.Load().ids[address]
	switch {
	case node == "" && !refused:
		ls.logger.Debug("client is gone", "address", address, "error", err)
	case refused:
		if n, ok := p.log.allow(refusalLogInterval); ok {
			ls.logger.Warn("refused by peer", "peer", node, "address", address, "why", status.Convert(err).Message(), "like_it_before", n)
		}
	case again:
		ls.logger.Debug("peer still unreachable", "peer", node, "address", address, "error", err)
	default:
		ls.logger.Warn("peer unreachable", "peer", node, "address", address, "error", err)
	}
}

// trouble says which nodes there is no link to, and why, by id.
func (ls *links) trouble() string {
	members := ls.guard.rules.Load().members
	ls.mu.Lock()
	defer ls.mu.Unlock()
	connecting := map[string]bool{}
	for l := range ls.open {
		select {
		case <-l.connected:
		default:
			connecting[l.address] = true
		}
	}
	var all []string
	for _, id := range slices.Sorted(maps.Keys(members)) {
		address := members[id]
		if address == "" {
			continue // another has it
		}
		why := "no connection yet"
		if err := ls.peer(address).why; err != nil {
			why = status.Convert(err).Message()
		} else if !connecting[address] {
			continue
		}
		all = append(all, fmt.Sprintf("%s at %s: %s", id, address, why))
	}
	return strings.Join(all, "; ")
}

func isRefusal(err error) bool {
	switch status.Code(err) {
	case codes.PermissionDenied, codes.FailedPrecondition, codes.InvalidArgument, codes.ResourceExhausted, codes.Unimplemented, codes.Unauthenticated:
		return true
	}
	return false
}

// remoteLink is one stream as Proto.Actor's writer sees it. SendMsg and CloseSend are
// called by the writer, RecvMsg by its one reader; each end of a link is reported
// once, by an error from RecvMsg.
type remoteLink struct {
	links   *links
	address string
	ctx     context.Context
	cancel  context.CancelCauseFunc
	dial    func() (grpc.ClientStream, error)

	connected chan struct{} // closed when stream is set
	stream    grpc.ClientStream

	greeted  bool // the reader has had its answer to the hello
	leaving  bool // the peer said it stops
	draining atomic.Bool
	drained  chan struct{} // closed when the peer has read everything
}

// SendMsg sends one of the writer's batches, in as many frames as it needs.
func (l *remoteLink) SendMsg(m any) error {
	rm, ok := m.(*remote.RemoteMessage)
	if !ok {
		return status.Errorf(codes.Internal, "link: message of type %T, expected a RemoteMessage", m)
	}
	if rm.GetConnectRequest() != nil {
		go l.connect(rm)
		return nil
	}
	select {
	case <-l.connected:
	case <-l.ctx.Done():
		return context.Cause(l.ctx)
	}
	batches, last := l.links.guard.outgoing(rm.GetMessageBatch())
	for _, b := range batches {
		if err := l.stream.SendMsg(&remote.RemoteMessage{MessageType: &remote.RemoteMessage_MessageBatch{MessageBatch: b}}); err != nil {
			return err // RecvMsg has the stream's own error
		}
	}
	if last {
		l.draining.Store(true)
		return l.stream.CloseSend()
	}
	return nil
}

// connect opens the stream and exchanges the hello. The time allowed covers all
// of it: a peer that accepts connections but is frozen must not hold the writer.
func (l *remoteLink) connect(hello *remote.RemoteMessage) {
	timer := time.AfterFunc(l.links.connectTimeout, func() {
		l.cancel(status.Errorf(codes.DeadlineExceeded, "no connection within %v", l.links.connectTimeout))
	})
	defer timer.Stop()
	stream, err := l.greet(hello)
	if err == nil && l.ctx.Err() != nil {
		err = context.Cause(l.ctx)
	}
	if err != nil {
		if cause := context.Cause(l.ctx); cause != nil {
			err = cause
		}
		l.links.noteEnded(l.address, err)
		l.cancel(err)
		return
	}
	l.stream = stream
	l.links.noteConnected(l.address)
	close(l.connected)
}

func (l *remoteLink) greet(hello *remote.RemoteMessage) (grpc.ClientStream, error) {
	if pause := l.links.pause(l.address); pause > 0 {
		timer := time.NewTimer(pause)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-l.ctx.Done():
			return nil, context.Cause(l.ctx)
		}
	}
	stream, err := l.dial()
	if err != nil {
		return nil, err
	}
	answer := new(remote.RemoteMessage)
	if err := stream.SendMsg(hello); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	// After io.EOF, too: only reading tells why the peer ended the stream.
	if err := stream.RecvMsg(answer); err != nil {
		return nil, err
	}
	if answer.GetConnectResponse() == nil {
		return nil, fmt.Errorf("peer answered the hello with %s", nameOf(answer))
	}
	return stream, nil
}

// RecvMsg answers the hello at once, then reads until the link ends.
func (l *remoteLink) RecvMsg(m any) error {
	if !l.greeted {
		l.greeted = true
		m.(*remote.RemoteMessage).MessageType = &remote.RemoteMessage_ConnectResponse{ConnectResponse: &remote.ConnectResponse{}}
		return nil
	}
	if l.leaving {
		// The writer ends its endpoint on the peer's farewell; an error as well
		// would end the one that has taken its place. io.EOF is passed over.
		l.finish(io.EOF)
		return io.EOF
	}
	select {
	case <-l.connected:
	case <-l.ctx.Done():
		return context.Cause(l.ctx) // logged by connect
	}
	err := l.stream.RecvMsg(m)
	if err == nil {
		l.leaving = true
		return nil
	}
	return l.finish(err)
}

// finish settles why an established link ended. It never says io.EOF, which the
// writer would pass over, keeping an endpoint whose messages go nowhere.
func (l *remoteLink) finish(err error) error {
	if l.draining.Load() {
		close(l.drained)
	}
	switch {
	case context.Cause(l.ctx) != nil:
		err = context.Cause(l.ctx)
	case l.draining.Load():
		err = errLinkClosed
	case errors.Is(err, io.EOF):
		err = status.Error(codes.Unavailable, "peer ended the stream")
	}
	l.links.noteEnded(l.address, err)
	l.cancel(err)
	return err
}

// CloseSend is the writer's last call, just before it closes the connection.
func (l *remoteLink) CloseSend() error {
	l.cancel(errLinkClosed)
	l.links.forget(l)
	return nil
}

func (l *remoteLink) Header() (metadata.MD, error) { return metadata.MD{}, nil }
func (l *remoteLink) Trailer() metadata.MD         { return metadata.MD{} }
func (l *remoteLink) Context() context.Context     { return l.ctx }
