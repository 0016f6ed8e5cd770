package actors

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/messages"
)

// Leaders spread over nodes. A node sees who leads each group that has a member here. Every
// so often, where it leads more than one of them than another does, it asks one of the
// leaders here to hand over; the group itself knows who may lead it and who keeps up. One
// at a time: by the next round everybody knows of it, so that two nodes do not go on
// handing each other what the other has just given away.

// BalanceOptions say how often a node gives a group away; zero for never.
type BalanceOptions struct {
	Every time.Duration
	Node  core.NodeID
}

// balance is the Node's part.
type balance struct {
	leaders map[uint64]core.NodeID
	last    uint64 // the group asked last
	timer   timer
}

// BalanceTimeout: Clock → Node, local. Look whether another node leads fewer groups.
// Stale when Generation is not the timer's.
type BalanceTimeout struct {
	Generation uint64
}

// ShareLeadership: Node → Raft, local. So many groups each node leads, as seen here: hand
// over to one that leads fewer, if it may lead and keeps up.
type ShareLeadership struct {
	Leads map[core.NodeID]int
}

func (n *node) armBalance(ctx actor.Context) {
	if every := n.opts.Balance.Every; every > 0 {
		n.balance.timer.set(ctx, n.rt.Clock, every, func(generation uint64) any { return &BalanceTimeout{Generation: generation} })
	}
}

// noteLeader keeps who leads what.
func (n *node) noteLeader(group uint64, leader core.NodeID) {
	switch {
	case n.opts.Balance.Every <= 0:
	case leader == "":
		delete(n.balance.leaders, group)
	default:
		n.balance.leaders[group] = leader
	}
}

func (n *node) onBalanceTimeout(ctx actor.Context, m *BalanceTimeout) {
	if m.Generation != n.balance.timer.generation {
		return
	}
	n.armBalance(ctx)
	leads := map[core.NodeID]int{}
	next, first := uint64(0), uint64(0)
	for group, leader := range n.balance.leaders {
		leads[leader]++
		if leader != n.opts.Balance.Node || n.members[group] == nil {
			continue
		}
		if group > n.balance.last && (next == 0 || group < next) {
			next = group
		}
		if first == 0 || group < first {
			first = group
		}
	}
	if next == 0 {
		next = first
	}
	if n.balance.last = next; leads[n.opts.Balance.Node] > 1 {
		ctx.Send(n.members[next], &ShareLeadership{Leads: leads})
	}
}

// onShareLeadership hands over by the usual way, and wakes nobody where it helps nobody.
func (r *raft) onShareLeadership(ctx actor.Context, m *ShareLeadership) {
	l, leads := r.role.(*leader)
	if !leads || l.transfer != nil || !l.tally.Settled() {
		return
	}
	fit := func(id core.NodeID) bool { return r.sleep.asleep || l.suits(id) > 0 }
	to, ok := core.Relief(l.config(), l.opts.Node, m.Leads, fit)
	if !ok {
		return
	}
	transfer := &messages.TransferLeadership{Group: r.opts.Group, To: string(to)}
	r.stir(ctx, transfer)
	l.onTransferLeadership(ctx, transfer, nil)
}
