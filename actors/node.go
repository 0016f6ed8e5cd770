package actors

import (
	"cmp"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/hashicorp/go-hclog"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/messages"
)

// Node
//
//	owns   the registry of this process's members; parent of LogWriter, LogReader,
//	       Gateway and Pulse
//	hears  MemberStarted, MemberStopped, MemberFailed, LeaderChanged,
//	       ConfigurationChanged, StorageFailed, LogFull, LogHasRoom, DeleteGroup,
//	       BalanceTimeout, DescribeNode
//	says   AdmitMember, DeleteLog, ShareLeadership, the news of members to Gateway and Pulse, the news of the disk to every
//	       member,
//	       LeaderChanged and MemberFailed on the event stream, for whoever watches
type node struct {
	rt     *Runtime
	opts   NodeOptions
	logger hclog.Logger

	links   Links
	members map[uint64]*actor.PID
	storage string   // why it failed, empty while it works
	full    *LogFull // nil while the disk has room
	balance balance
}

// NodeOptions describe a process's node.
type NodeOptions struct {
	Store   logstore.Store // nil for a process without members
	Gateway GatewayOptions
	Pulse   PulseOptions // zero for members that send their heartbeats by themselves
	Balance BalanceOptions
	// StorageFailed is called once, from the Node's turn, when a write or sync has
	// failed. It must not block.
	StorageFailed func(reason string)
	// MemberStopped is called from the Node's turn when a member has ended. It must
	// not block.
	MemberStopped func(group uint64, pid *actor.PID)
	// MembersChanged is called from the Node's turn when a member here goes by another
	// configuration; nil for nobody. It must not block.
	MembersChanged func(m *ConfigurationChanged)
}

// NodeName is the Node's id in every process.
const NodeName = "protoraft"

// DescribeNode: any actor → Node, local; answered with NodeDescription.
type DescribeNode struct{}

// NodeDescription: Node → who asked, local. What a process has.
type NodeDescription struct {
	Links          Links
	Members        map[uint64]*actor.PID
	StorageFailure string // empty while storage works
	DiskFull       string // empty while there is room
}

// NodeProps describes a process's Node. Spawn it as NodeName.
func NodeProps(rt *Runtime, opts NodeOptions) *actor.Props {
	return rt.props(0, func() behavior {
		return &node{rt: rt, opts: opts, logger: rt.Logger.Named("node"), members: map[uint64]*actor.PID{}, balance: balance{leaders: map[uint64]core.NodeID{}}}
	})
}

func (n *node) started(ctx actor.Context) {
	n.links = Links{Node: ctx.Self(), Gateway: n.spawn(ctx, GatewayProps(n.rt, n.opts.Gateway), "gateway")}
	if n.opts.Store != nil {
		n.links.LogWriter = n.spawn(ctx, LogWriterProps(n.rt, n.opts.Store), "log-writer")
		n.links.LogReader = n.spawn(ctx, LogReaderProps(n.rt, n.opts.Store), "log-reader")
		if n.opts.Pulse != (PulseOptions{}) {
			n.links.Pulse, n.links.Rounds = n.spawn(ctx, PulseProps(n.rt, n.opts.Pulse), "pulse"), new(atomic.Int32)
		}
		n.armBalance(ctx)
	}
}

func (n *node) spawn(ctx actor.Context, props *actor.Props, name string) *actor.PID {
	pid, err := ctx.SpawnNamed(props, name)
	if err != nil {
		panic(fmt.Sprintf("spawn %s: %v", name, err)) // the name is this actor's own
	}
	return pid
}

func (n *node) receive(ctx actor.Context, message any, sender *actor.PID) {
	switch m := message.(type) {
	case *MemberStarted:
		n.onMemberStarted(ctx, m)
	case *MemberStopped:
		n.onMemberStopped(ctx, m)
	case *MemberFailed:
		ctx.ActorSystem().EventStream.Publish(m)
	case *LeaderChanged:
		n.noteLeader(m.Group, m.Leader)
		ctx.ActorSystem().EventStream.Publish(m)
	case *ConfigurationChanged:
		if n.opts.MembersChanged != nil {
			n.opts.MembersChanged(m)
		}
	case *messages.StorageFailed:
		n.onStorageFailed(ctx, m)
	case *LogFull:
		n.full = m
		n.tellMembers(ctx, m)
	case *LogHasRoom:
		n.full = nil
		n.tellMembers(ctx, m)
	case *BalanceTimeout:
		n.onBalanceTimeout(ctx, m)
	case *DeleteGroup:
		n.onDeleteGroup(ctx, m, sender)
	case *DescribeNode:
		n.onDescribeNode(ctx, sender)
	}
}

func (n *node) onMemberStarted(ctx actor.Context, m *MemberStarted) {
	if other := n.members[m.Group]; other != nil {
		ctx.Send(m.PID, &MemberRefused{Reason: fmt.Sprintf("group %d has a member on this node already: %s", m.Group, other.Id)})
		return
	}
	n.members[m.Group] = m.PID
	ctx.Send(n.links.Gateway, m)
	if n.links.Pulse != nil {
		ctx.Send(n.links.Pulse, m)
	}
	if n.storage != "" {
		ctx.Send(m.PID, &messages.StorageFailed{Reason: n.storage})
		return
	}
	if n.full != nil {
		ctx.Send(m.PID, n.full)
	}
	ctx.Request(n.links.LogWriter, &AdmitMember{Group: m.Group, PID: m.PID})
}

func (n *node) tellMembers(ctx actor.Context, news any) {
	for _, group := range sortedKeys(n.members) {
		ctx.Send(n.members[group], news)
	}
}

func (n *node) onMemberStopped(ctx actor.Context, m *MemberStopped) {
	if known := n.members[m.Group]; known == nil || !known.Equal(m.PID) {
		return // one that was refused
	}
	delete(n.members, m.Group)
	n.noteLeader(m.Group, "")
	ctx.Send(n.links.Gateway, m)
	if n.links.Pulse != nil {
		ctx.Send(n.links.Pulse, m)
	}
	if n.opts.MemberStopped != nil {
		n.opts.MemberStopped(m.Group, m.PID)
	}
}

// onStorageFailed stops every member: none of them can keep a promise any more.
func (n *node) onStorageFailed(ctx actor.Context, m *messages.StorageFailed) {
	if n.storage != "" {
		return
	}
	n.storage = m.Reason
	n.tellMembers(ctx, m)
	if n.opts.StorageFailed != nil {
		n.opts.StorageFailed(m.Reason)
	}
}

func (n *node) onDescribeNode(ctx actor.Context, sender *actor.PID) {
	if sender == nil {
		return
	}
	members := make(map[uint64]*actor.PID, len(n.members))
	for group, pid := range n.members {
		members[group] = pid
	}
	d := &NodeDescription{Links: n.links, Members: members, StorageFailure: n.storage}
	if n.full != nil {
		d.DiskFull = n.full.Reason
	}
	ctx.Send(sender, d)
}

func (n *node) endTurn(actor.Context)  {}
func (n *node) stopping(actor.Context) { n.balance.timer.cancel() }

// crashed: a Node that has lost its registry is no node. The process must end.
func (n *node) crashed(ctx actor.Context, reason any, stack []byte) {
	n.logger.Error("node crashed", "panic", reason, "stack", string(stack))
	n.onStorageFailed(ctx, &messages.StorageFailed{Reason: fmt.Sprintf("node crashed: %v", reason)})
}

// sortedKeys: in a simulation the order of everything that is said counts.
func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
