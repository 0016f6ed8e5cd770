package cluster

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/messages"
)

// guard stands before Proto.Actor's remote port, which trusts whoever connects:
// unguarded, one packet crashes the process, stops any actor or makes the node
// dial a third party. The guard knows who is at the other end of each stream
// (identity.go) and lets through only listed message types to listed targets
// (guard_stream.go). What it refuses is counted and ends the stream.
type guard struct {
	cluster, node, address string
	listed                 atomic.Pointer[listing] // nil while no configuration here has this node at its address

	// known is each group's configuration here, *actors.ConfigurationChanged by its number.
	// There may be tens of thousands, so they are no part of the rules, which are copied at
	// each change.
	known sync.Map

	insecure bool
	logger   hclog.Logger

	mu     sync.Mutex // taken to change rules, known and listed
	rules  atomic.Pointer[rules]
	counts [reasons_]atomic.Uint64
	logs   [reasons_]limiter

	streams atomic.Int64
}

// memberTargets are the ids of this node's members. There may be tens of thousands, so
// they are no part of the rules, which are copied at each change.
type memberTargets struct{ ids sync.Map }

type guardOptions struct {
	ClusterID string
	NodeID    string            // may be absent from Members: then this process is a client
	Address   string            // as it stands in this node's PIDs
	Members   map[string]string // node id → advertised address
	Insecure  bool              // clients may be beyond loopback
	Logger    hclog.Logger
}

// class says what a message is for. A message passes when its type, its target
// and the caller's role have a class in common.
type class uint32

const (
	raftTraffic class = 1 << iota // Raft to Raft, and their Replicators and Snapshotters
	requests                      // ForwardRequests to a Gateway
	answers                       // ResultsFrame to a Gateway or a client

	fromPeer   = raftTraffic | requests | answers
	fromClient = requests
)

// rules are immutable; a change makes new ones, so that the check of each
// message takes no lock.
type rules struct {
	types    map[string]class
	targets  map[string]class
	prefixes map[string]class  // each ends in "/"
	members  map[string]string // node id → address, empty where another has that by now
	ids      map[string]string // address → node id, also where a member was before
	clients  map[string]int    // address → streams open from it
	raft     *memberTargets    // open to raftTraffic, with their children
}

func newGuard(o guardOptions) *guard {
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	g := &guard{
		cluster: o.ClusterID, node: o.NodeID, address: o.Address,
		insecure: o.Insecure, logger: o.Logger.Named("guard"),
	}
	r := &rules{
		types: wireTypes(), targets: map[string]class{}, prefixes: map[string]class{},
		members: maps.Clone(o.Members), ids: map[string]string{}, clients: map[string]int{}, raft: &memberTargets{},
	}
	for id, address := range r.members {
		r.ids[address] = id
	}
	g.rules.Store(r)
	return g
}

func wireTypes() map[string]class {
	types := map[string]class{}
	add := func(c class, all ...proto.Message) {
		for _, m := range all {
			types[string(proto.MessageName(m))] = c
		}
	}
	add(raftTraffic,
		&messages.RequestPreVote{}, &messages.PreVoteGranted{}, &messages.PreVoteRejected{},
		&messages.RequestVote{}, &messages.VoteGranted{}, &messages.VoteRejected{}, &messages.TimeoutNow{},
		&messages.AppendEntries{}, &messages.AppendAccepted{}, &messages.AppendRejected{},
		&messages.Heartbeat{}, &messages.HeartbeatAcked{}, &messages.Beats{}, &messages.Stir{},
		&messages.ConfirmReadIndex{}, &messages.ReadIndexConfirmed{}, &messages.StateDiverged{},
		&messages.OfferSnapshot{}, &messages.SnapshotChunk{}, &messages.SnapshotReceived{},
		&messages.SnapshotInstalled{}, &messages.SnapshotDeclined{}, &messages.MemberRemoved{},
		&messages.Greet{}, &messages.Greeted{}, &messages.LostMemoryShown{}, &messages.MemoryRestored{})
	add(requests, &messages.ForwardRequests{}, &messages.FindLeader{})
	add(answers, &messages.ResultsFrame{}, &messages.LeaderFound{})
	return types
}

// allowTarget lets messages of the given classes through to the actor id.
// Allowing it again replaces the classes.
func (g *guard) allowTarget(id string, c class) {
	g.change(func(r *rules) { r.targets = with(r.targets, id, c) })
}

// allowPrefix lets messages through to every actor whose id begins with prefix:
// the children of one actor, "raft-1/". It panics when prefix does not end in "/".
func (g *guard) allowPrefix(prefix string, c class) {
	if !strings.HasSuffix(prefix, "/") {
		panic(fmt.Sprintf("cluster: prefix %q of allowed actors must end in \"/\"", prefix))
	}
	g.change(func(r *rules) { r.prefixes = with(r.prefixes, prefix, c) })
}

// allowMember lets Raft's messages through to the member of that id and its children,
// until it is dismissed.
func (g *guard) allowMember(id string) { g.rules.Load().raft.ids.Store(id, struct{}{}) }
func (g *guard) dismiss(id string)     { g.rules.Load().raft.ids.Delete(id) }

// admit lists a member at its address, because a configuration or the cluster's own
// word says so; the last word on an id or an address counts. Nobody is ever taken from
// the list but by who has its address now: a node that was removed while it was away
// must be able to learn of it.
func (g *guard) admit(id, address string) {
	if r := g.rules.Load(); r.members[id] == address && r.ids[address] == id || (id == g.node) != (address == g.address) {
		return
	}
	g.change(func(r *rules) { r.list(id, address) })
	g.logger.Info("member listed", "member", id, "address", address)
}

// reachable tells whether this node may send to address: a member's, or that of
// a client whose stream is open. Anything else would make the node dial whatever
// address a message named, or, for an alias of its own, forward to itself for ever.
func (g *guard) reachable(address string) bool {
	r := g.rules.Load()
	return r.ids[address] != "" || r.clients[address] > 0
}

func (g *guard) change(f func(*rules)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := *g.rules.Load()
	f(&r)
	g.rules.Store(&r)
}

func (g *guard) countClient(address string, by int) {
	g.change(func(r *rules) {
		if n := r.clients[address] + by; n > 0 {
			r.clients = with(r.clients, address, n)
		} else {
			r.clients = without(r.clients, address)
		}
	})
}

// classOf is what the target may receive, 0 when it is not listed.
func (r *rules) classOf(target string) class {
	c := r.targets[target]
	member, _, _ := strings.Cut(target, "/")
	if _, known := r.raft.ids.Load(member); known {
		c |= raftTraffic
	}
	for i := 0; i < len(target); i++ {
		if target[i] == '/' {
			c |= r.prefixes[target[:i+1]]
		}
	}
	return c
}

func with[V any](m map[string]V, key string, v V) map[string]V {
	m = maps.Clone(m)
	m[key] = v
	return m
}

func without[V any](m map[string]V, key string) map[string]V {
	m = maps.Clone(m)
	delete(m, key)
	return m
}

// reason is why something was refused.
type reason int

const (
	refusedUnary reason = iota
	refusedIdentity
	refusedProtocol
	refusedHello
	refusedStreams
	refusedType
	refusedTarget
	refusedSender
	refusedEnvelope
	refusedSize
	refusedPayload
	handlerPanicked
	unrouted
	unsent
	reasons_
)

// GuardStats counts what a node's guard kept out since it started. All but
// the last two ended a stream or a call.
type GuardStats struct {
	Unary    uint64 // calls of any kind but the stream of messages
	Identity uint64 // wrong or no cluster, node or address
	Protocol uint64 // peers whose protocol version does not overlap ours
	Hello    uint64 // streams that did not begin with a hello, once, in time
	Streams  uint64 // streams beyond the limit
	Type     uint64 // message types not listed, or not for a client
	Target   uint64 // other nodes' actors, or actors not open to the message
	Sender   uint64 // senders elsewhere than the stream's own node
	Envelope uint64 // indices out of range, foreign serializers, impossible batches
	Size     uint64 // frames above the limit
	Payload  uint64 // frames or messages that do not decode
	Panics   uint64 // panics recovered while handling a stream
	Unrouted uint64 // messages of peers to actors not running here, dropped
	Unsent   uint64 // messages of this node that a peer would have refused, dropped
}

func (g *guard) stats() GuardStats {
	n := func(r reason) uint64 { return g.counts[r].Load() }
	return GuardStats{
		Unary: n(refusedUnary), Identity: n(refusedIdentity), Protocol: n(refusedProtocol),
		Hello: n(refusedHello), Streams: n(refusedStreams), Type: n(refusedType), Target: n(refusedTarget),
		Sender: n(refusedSender), Envelope: n(refusedEnvelope), Size: n(refusedSize),
		Payload: n(refusedPayload), Panics: n(handlerPanicked), Unrouted: n(unrouted), Unsent: n(unsent),
	}
}

// refusal ends a stream; the other end gets it as the stream's status.
type refusal struct {
	reason reason
	code   codes.Code
	text   string
}

func (r *refusal) Error() string              { return r.text }
func (r *refusal) GRPCStatus() *status.Status { return status.New(r.code, r.text) }

func refuse(r reason, format string, args ...any) error {
	code := codes.PermissionDenied
	switch r {
	case refusedUnary:
		code = codes.Unimplemented
	case refusedProtocol:
		code = codes.FailedPrecondition
	case refusedHello, refusedEnvelope, refusedPayload:
		code = codes.InvalidArgument
	case refusedSize, refusedStreams:
		code = codes.ResourceExhausted
	case handlerPanicked:
		code = codes.Internal
	}
	return &refusal{reason: r, code: code, text: fmt.Sprintf(format, args...)}
}

// serve is the server's stream interceptor: everything about one stream, from
// the first byte to the status that ends it.
func (g *guard) serve(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	var from caller
	defer func() {
		if p := recover(); p != nil {
			g.logger.Error("panic while handling a peer's stream", "from", from, "panic", p, "stack", string(debug.Stack()))
			err = refuse(handlerPanicked, "panic while handling the stream: %v", p)
		}
		err = g.settle(ss, from, err)
	}()
	if g.streams.Add(1) > streamsMax {
		g.streams.Add(-1)
		return refuse(refusedStreams, "%d streams are open, no more are accepted", streamsMax)
	}
	defer g.streams.Add(-1)

	if from, err = g.identify(ss.Context()); err != nil {
		return err
	}
	hello, err := g.awaitHello(ss, from)
	if err != nil {
		return err
	}
	if from.role == clientRole {
		g.countClient(from.address, 1)
		defer g.countClient(from.address, -1)
	}
	g.logger.Debug("accepted", "from", from)
	return next(srv, &guardedStream{ServerStream: ss, guard: g, from: from, hello: hello})
}

// settle counts and logs how a stream ended and names the reason to the other end.
func (g *guard) settle(ss grpc.ServerStream, from caller, err error) error {
	if err == nil {
		return nil
	}
	var r *refusal
	if !errors.As(err, &r) {
		if r = explain(err); r == nil {
			return err // the connection ended
		}
	}
	g.note(r, from, peerOf(ss.Context()))
	return r
}

// explain turns an error that Proto.Actor or gRPC met while reading into a
// refusal, or nil when the other end has just gone. Of a frame gRPC itself refused
// the other end has gRPC's own words.
func explain(err error) *refusal {
	st, isStatus := status.FromError(err)
	switch {
	case !isStatus:
		return &refusal{refusedPayload, codes.InvalidArgument, fmt.Sprintf("message does not decode: %v", err)}
	case st.Code() == codes.ResourceExhausted:
		return &refusal{refusedSize, codes.ResourceExhausted, fmt.Sprintf("frame above %d bytes: %s", frameBytesMax, st.Message())}
	case st.Code() == codes.Internal || st.Code() == codes.Unimplemented:
		return &refusal{refusedPayload, codes.InvalidArgument, "frame does not decode: " + st.Message()}
	default:
		return nil
	}
}

const refusalLogInterval = 5 * time.Second

func (g *guard) note(r *refusal, from caller, at net.Addr) {
	g.counts[r.reason].Add(1)
	if suppressed, ok := g.logs[r.reason].allow(refusalLogInterval); ok {
		g.logger.Warn("refused", "why", r.text, "from", from, "at", at, "like_it_before", suppressed)
	}
}
