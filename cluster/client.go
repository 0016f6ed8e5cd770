package cluster

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/hashicorp/go-hclog"

	"github.com/protoraft/protoraft/actors"
	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/messages"
)

// Consistency says how fresh a query's answer must be, and who may give it.
type Consistency struct {
	level  messages.Consistency
	index  uint64
	maxAge time.Duration
}

var (
	// Linearizable: the answer reflects every operation that was acknowledged before
	// the query was asked, by a round of the leader's heartbeats (ReadIndex, thesis
	// §6.4). Costs a round trip to a quorum, shared by all queries of a turn.
	Linearizable = Consistency{level: messages.Consistency_LINEARIZABLE}
	// ThroughLog: as Linearizable, by way of an entry of the log (thesis §6.3). Costs
	// what a write costs.
	ThroughLog = Consistency{level: messages.Consistency_THROUGH_LOG}
	// Lease: as Linearizable where no clock's rate is wrong by more than
	// Options.ClockDrift. The leader answers at once for as long as voters have promised
	// to elect nobody else, counted from when it asked them (thesis §6.4.1), and not
	// while it hands over; else the query takes a round.
	Lease = Consistency{level: messages.Consistency_LEASE}
	// OnMember: as Linearizable, answered by this node's own member, also a follower or
	// a learner, which asks its leader what is committed: the leader is spared the
	// query itself.
	OnMember = Consistency{level: messages.Consistency_MEMBER}
	// Stale: what this node's member has applied, which may be old without limit.
	Stale = Consistency{level: messages.Consistency_STALE}
)

// AtLeast: what this node's member has applied, once that reaches index. With the
// index that a write was acknowledged at (Call.WaitIndex), a query sees that write on
// whatever node it is asked. One that does not come in time is ErrTimeout.
func AtLeast(index uint64) Consistency {
	return Consistency{level: messages.Consistency_AT_LEAST, index: index}
}

// Within: what this node's member has applied, if that was all that was committed at
// some moment no longer than age before the query came; else it asks its leader as
// OnMember does.
func Within(age time.Duration) Consistency {
	return Consistency{level: messages.Consistency_WITHIN, maxAge: max(age, 0)}
}

// Client proposes commands and asks queries. It finds the leader by itself and waits
// while there is none. It is safe for concurrent use.
//
// Its commands belong to a session, one for each group, opened with the first of them:
// each is applied at most once however often it is sent, so a Client sends it again
// while its time lasts, also when nobody knows what became of it. With NoSessions it
// sends again only what was surely not applied.
//
// Every error is an *Error: its Outcome says whether the operation was applied.
type Client struct {
	system  *actor.ActorSystem
	gateway *actor.PID
	self    *actor.PID
	calls   *callTable

	noSessions bool
	sessions   sync.Map // of *clientSession, by group

	routes routes

	closeOnce sync.Once
	onClose   func()
}

var clientIDs atomic.Uint64

// gatewayGrace lets the Gateway be the first to say that the time is up: it knows
// whether the operation was ever sent.
const gatewayGrace = 200 * time.Millisecond

func newClient(system *actor.ActorSystem, gateway *actor.PID, timeout time.Duration) (*Client, error) {
	c := &Client{system: system, gateway: gateway, calls: newCallTable(timeout + gatewayGrace)}
	pid, ok := system.ProcessRegistry.Add(c.calls, fmt.Sprintf("%s-client-%d", actors.NodeName, clientIDs.Add(1)))
	if !ok {
		c.calls.close()
		return nil, fmt.Errorf("cluster: process name %s is taken", pid.Id)
	}
	c.self = pid
	return c, nil
}

// Propose has a command applied by the group's state machine and returns its reply.
// When it returns nil, the command is durable on a majority of the group's members
// and applied. A command is at most MaxCommandBytes long. The reply must not be changed:
// a member in this process keeps the same bytes, to answer the command alike again and to
// write them into snapshots.
//
// Commands proposed one after the other are applied in that order; concurrent ones
// in any. When ctx ends first, the outcome is NotApplied if the command was not sent,
// else as a rule Unknown.
func (c *Client) Propose(ctx context.Context, group uint64, command []byte) ([]byte, error) {
	return c.StartPropose(group, command).WaitContext(ctx)
}

// Query asks the group's state machine. A query changes nothing: its errors are
// NotApplied, and it may always be asked again.
func (c *Client) Query(ctx context.Context, group uint64, query []byte, consistency Consistency) ([]byte, error) {
	return c.StartQuery(group, query, consistency, false).WaitContext(ctx)
}

// Leader returns the node that leads the group as last heard of, or waits, up to the
// request timeout, while none is known. It is for people to read: by the time it
// returns another node may lead.
func (c *Client) Leader(ctx context.Context, group uint64) (Member, error) {
	if pid := c.member(group); pid != nil {
		// A member just spawned has told the Gateway of its group once it answers.
		if _, err := ask[*messages.GroupStatus](ctx, c.system, pid, &messages.DescribeGroup{}); err != nil {
			return Member{}, c.calls.errorOf(unanswered(queryBit, messages.Reason_STOPPED))
		}
	}
	future := c.system.Root.RequestFuture(c.gateway, &messages.FindLeader{Group: group}, c.calls.timeout)
	answered := make(chan any, 1)
	go func() {
		answer, err := future.Result()
		if err != nil {
			answer = err
		}
		answered <- answer
	}()
	var answer any
	select {
	case answer = <-answered:
	case <-ctx.Done():
	}
	switch m := answer.(type) {
	case *messages.LeaderFound:
		return Member{ID: m.Leader, Address: m.Address}, nil
	case *messages.Results:
		return Member{}, c.calls.errorOf(m.Items[0])
	default: // the client was closed, or the time is up
		return Member{}, c.calls.errorOf(unanswered(queryBit, messages.Reason_TIMED_OUT))
	}
}

// StartPropose begins a Propose and returns at once; Wait for the Call gives the
// outcome. Commands started one after the other are applied in that order, except one
// that had to be sent again, which may come behind those started after it: where that
// matters, Wait before starting the next, or use a client with NoSessions. The command
// must not be changed afterwards. One that is refused, as ErrBusy for one, may come back
// decided.
func (c *Client) StartPropose(group uint64, command []byte) *Call {
	call := c.calls.begin(false)
	switch {
	case len(command) > MaxCommandBytes:
		call.refuse(messages.Reason_TOO_LARGE)
	case !c.noSessions:
		c.startInSession(call, group, command)
	case c.turnsAway(group):
		call.refuse(messages.Reason_BUSY)
	default:
		c.send(call, group, &messages.Propose{Group: group, Request: call.id, Command: command})
	}
	return call
}

// StartProposeOnce begins a command that its caller may propose again, through any
// node, until it knows the outcome: the same id and sequence are applied once, and
// answered alike. An id is 1 to MaxSessionIDBytes bytes long, of the caller's choice
// and nobody else's, and begins with sequence 1, to be answered before higher ones are
// proposed. The group keeps the answers of an id's highest 128 sequences for an hour
// after its last use, by log time. What it has forgotten fails with ErrSessionExpired;
// only sequence 1 then looks new, so it must not be proposed again after so long.
func (c *Client) StartProposeOnce(group uint64, id string, sequence uint64, command []byte) *Call {
	call := c.calls.begin(false)
	switch {
	case len(command) > MaxCommandBytes-MaxSessionIDBytes-1:
		call.refuse(messages.Reason_TOO_LARGE)
	case len(id) == 0 || len(id) > MaxSessionIDBytes || sequence == 0:
		call.refuse(messages.Reason_REFUSED)
	default:
		c.startNamed(call, group, id, sequence, command)
	}
	return call
}

// StartQuery begins a Query. With afterWrites its answer also reflects every command
// that this goroutine started before on this Client, answered or not, except one that
// has to be sent again.
func (c *Client) StartQuery(group uint64, query []byte, consistency Consistency, afterWrites bool) *Call {
	call := c.calls.begin(true)
	q := &messages.Query{
		Group: group, Request: call.id, Query: query,
		Consistency: consistency.level, MinIndex: consistency.index, MaxAge: int64(consistency.maxAge),
		AfterWrites: afterWrites,
	}
	if !afterWrites || !c.behindStarts(call, q) {
		c.send(call, group, q)
	}
	return call
}

// send gives an operation to the member of this process, which leads or knows the
// way, or to the Gateway; not one that was refused: nothing may come of it.
func (c *Client) send(call *Call, group uint64, message any) {
	if call.state.Load() == call.id {
		c.post(group, message)
	}
}

func (c *Client) post(group uint64, message any) {
	c.system.Root.RequestWithCustomSender(c.firstHop(group), message, c.self)
}

// firstHop is where an operation on a group goes first.
func (c *Client) firstHop(group uint64) *actor.PID {
	if to := c.member(group); to != nil {
		return to
	}
	return c.gateway
}

// Close ends the client; calls that still wait are answered ErrStopped. A node's
// client is closed by the node.
func (c *Client) Close() {
	c.closeOnce.Do(func() {
		c.system.ProcessRegistry.Remove(c.self)
		c.calls.close()
		if c.onClose != nil {
			c.onClose()
		}
	})
}

// drain lets calls under way finish, for a short while.
func (c *Client) drain(wait bool) {
	c.calls.refuse()
	if wait {
		c.calls.awaitIdle(drainTimeout)
	}
}

const drainTimeout = 2 * time.Second

// member is nil where the group has none in this process.
func (c *Client) member(group uint64) *actor.PID { return c.routes.find(group).pid }

func (c *Client) members() (pids []*actor.PID) {
	for _, group := range c.groups() {
		if pid := c.member(group); pid != nil { // it may just have ended
			pids = append(pids, pid)
		}
	}
	return pids
}

// groups are those that have a member in this process, in order.
func (c *Client) groups() []uint64 { return c.routes.groups() }

func (c *Client) forget(group uint64, pid *actor.PID) { c.routes.forget(group, pid) }

// ClientOptions are for a process that is no node.
type ClientOptions struct {
	// Members are the cluster's nodes, as they were given to Start.
	Members []Member

	// ClusterID as the nodes have it. Default: derived from Members.
	ClusterID string

	// Listen is the host:port the nodes answer to. Default: a free port on loopback.
	Listen string

	// Insecure allows addresses beyond loopback.
	Insecure bool

	// RequestTimeout is how long Propose and Query wait for their outcome. A command of
	// unknown outcome is sent again for up to as long once more, but with NoSessions.
	// Default 5 s.
	RequestTimeout time.Duration

	// NoSessions has commands belong to no session: one of unknown outcome is not sent
	// again.
	NoSessions bool

	Logger hclog.Logger
}

// Dial makes the process a client of a cluster. The system must not have a remote.
// It does not wait for the cluster: operations do, up to their timeout, and the
// Detail of their errors then says which nodes could not be reached, and why.
func Dial(system *actor.ActorSystem, o ClientOptions) (_ *Client, err error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	var suffix [4]byte
	if _, err := rand.Read(suffix[:]); err != nil {
		return nil, err
	}
	remote, err := startRemote(system, remoteOptions{
		Listen: o.Listen, ClusterID: o.ClusterID, NodeID: "client-" + hex.EncodeToString(suffix[:]),
		Members: addressBook(o.Members), Insecure: o.Insecure, Logger: o.Logger,
	})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, remote.Stop(false))
		}
	}()
	remote.guard.allowTarget(actors.GatewayName, answers)
	runtime, stopRuntime := actors.NewRuntime(o.Logger)
	gateway := actors.GatewayOptions{RequestTimeout: o.RequestTimeout, Waiting: waitingMax, WaitingBytes: waitingBytesMax}
	gateway.Found = func(member core.NodeID, address string) { remote.guard.admit(string(member), address) }
	for _, m := range o.Members {
		gateway.Servers = append(gateway.Servers, m.Address)
	}
	pid, links, err := spawnNode(system, actors.NodeProps(runtime, actors.NodeOptions{Gateway: gateway}))
	if err != nil {
		return nil, err
	}
	c, err := newClient(system, links.Gateway, o.RequestTimeout)
	if err != nil {
		return nil, err
	}
	c.noSessions = o.NoSessions
	c.calls.trouble = remote.links.trouble
	c.onClose = func() {
		if err := system.Root.PoisonFuture(pid).Wait(); err != nil {
			o.Logger.Warn("client did not stop in time", "error", err)
		}
		if err := remote.Stop(false); err != nil {
			o.Logger.Warn("remote did not stop", "error", err)
		}
		stopRuntime()
	}
	return c, nil
}

func (o *ClientOptions) fill() error {
	if err := checkMembers(o.Members); err != nil {
		return err
	}
	if o.ClusterID == "" {
		o.ClusterID = deriveClusterID(o.Members)
	}
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	if o.RequestTimeout == 0 {
		o.RequestTimeout = defaultRequestTimeout
	}
	if o.RequestTimeout < 0 {
		return fmt.Errorf("cluster: ClientOptions.RequestTimeout %v, expected more than 0", o.RequestTimeout)
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	return nil
}
