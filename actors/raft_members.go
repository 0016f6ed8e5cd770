package actors

import (
	"slices"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/messages"
)

// What a member does about its group's configuration in every role. A leader changes
// it: leader_members.go.

// config is the active configuration; one without members where there is none yet.
func (r *raft) config() *core.Configuration {
	if n := len(r.configs); n > 0 {
		return &r.configs[n-1].Configuration
	}
	return &core.Configuration{}
}

// configIndex is the entry of the active configuration, 0 for none.
func (r *raft) configIndex() core.Index {
	if n := len(r.configs); n > 0 {
		return r.configs[n-1].index
	}
	return 0
}

// configurationChanged follows an append or a truncation.
func (r *raft) configurationChanged(ctx actor.Context) {
	r.connect(ctx)
	r.sayWhereListed(ctx)
	r.greetNewPeers(ctx)
	changed := r.changedTo(r.configIndex(), r.config())
	ctx.Send(r.links.Node, changed)
	ctx.Send(r.links.Gateway, changed)
	switch {
	case r.leader == "":
	case r.leaderAddress(ctx, r.leader) != r.leaderAt:
		r.announceLeader(ctx, r.leader) // whoever waits for it can be served only now
	default:
		// The Gateway goes by this member only while it belongs to the group: perhaps
		// from now on, and with an older view of who leads.
		ctx.Request(r.links.Gateway, r.leaderChanged(r.leader))
	}
}

func (r *raft) changedTo(index core.Index, c *core.Configuration) *ConfigurationChanged {
	return &ConfigurationChanged{Group: r.opts.Group, Index: index, Everyone: c.Everyone(), Removed: c.Removed}
}

// connect keeps one PID for each other member. It is made once: a PID remembers
// its way.
func (r *raft) connect(ctx actor.Context) {
	for _, m := range r.config().Everyone() {
		if known, ok := r.peers.find(m.ID); m.ID != r.opts.Node && (!ok || known.Address != m.Address) {
			r.peers.set(m.ID, peerAt(m.Address, ctx.Self()))
		}
	}
}

// eachPeer visits whoever else receives the log, in the order of the configuration.
func (r *raft) eachPeer(f func(id core.NodeID, pid *actor.PID)) {
	for _, m := range r.config().Everyone() {
		if m.ID != r.opts.Node {
			f(m.ID, r.peers.get(m.ID))
		}
	}
}

// eachVoter visits the others that have a voice.
func (r *raft) eachVoter(f func(id core.NodeID, pid *actor.PID)) {
	q := r.config().Quorum()
	r.eachPeer(func(id core.NodeID, pid *actor.PID) {
		if q.Contains(id) {
			f(id, pid)
		}
	})
}

// mayStand says whether this member may stand for election. It needs its memory whole.
func (r *raft) mayStand() bool {
	var before *core.Configuration
	if n := len(r.configs); n > 1 {
		before = &r.configs[n-2].Configuration
	}
	return r.removed == 0 && !r.memory.recovering && core.MayStand(r.opts.Node, r.config(), before, r.commit >= r.configIndex())
}

// isRemoved says whether a committed configuration has done without this member.
func (r *raft) isRemoved() bool {
	return r.removed > 0 || r.commit >= r.configIndex() && slices.Contains(r.config().Removed, r.opts.Node)
}

// roleName is what a member is to those who look at it.
func (r *raft) roleName() string {
	if _, follows := r.role.(*follower); follows {
		if r.isRemoved() {
			return "removed"
		}
		if m, ok := r.config().Find(r.opts.Node); ok && m.Role == core.RoleLearner {
			return "learner"
		}
		if r.opts.Witness {
			return "witness"
		}
	}
	return r.role.name()
}

// tellRemoved answers a candidate that is no member any more, and may not know it: it
// would ask for ever. Only what is committed is certain.
func (r *raft) tellRemoved(ctx actor.Context, candidate core.NodeID, sender *actor.PID) bool {
	if r.commit < r.configIndex() || !slices.Contains(r.config().Removed, candidate) {
		return false
	}
	if sender != nil {
		r.sendRemoved(ctx, candidate, sender)
	}
	return true
}

func (r *raft) sendRemoved(ctx actor.Context, id core.NodeID, to *actor.PID) {
	ctx.Send(to, &messages.MemberRemoved{
		Group: r.opts.Group, Member: string(id), Index: uint64(r.configIndex()), Resets: r.config().Resets,
	})
}

// onMemberRemoved: from now on this member only listens, should anybody speak to it.
func (r *raft) onMemberRemoved(ctx actor.Context, m *messages.MemberRemoved) {
	_, stopped := r.role.(standstill)
	if stopped || core.NodeID(m.Member) != r.opts.Node || r.removed > 0 {
		return
	}
	r.removed = core.Index(m.Index)
	r.logger.Warn("removed from the group", "term", r.term, "index", m.Index)
	if _, follows := r.role.(*follower); !follows {
		r.becomeFollower(ctx, r.term, "")
	}
}

// leaderAddress is empty for a leader that the configuration does not know, or not any
// more: nothing can be sent there.
func (r *raft) leaderAddress(ctx actor.Context, id core.NodeID) string {
	if id == r.opts.Node {
		return ctx.Self().Address
	}
	m, _ := r.config().Find(id)
	if m.Address == ctx.Self().Address {
		return "" // another has it by now: this node
	}
	return m.Address
}

func encodeConfiguration(c *core.Configuration) ([]byte, error) {
	return proto.MarshalOptions{Deterministic: true}.Marshal(describeConfiguration(c))
}

func decodeConfiguration(data []byte) (core.Configuration, error) {
	var m messages.Configuration
	if err := proto.Unmarshal(data, &m); err != nil {
		return core.Configuration{}, err
	}
	return coreConfiguration(&m), nil
}

func coreConfiguration(m *messages.Configuration) core.Configuration {
	return core.Configuration{
		Members: membersOf(m.GetMembers()), Outgoing: idsOf(m.GetOutgoing()),
		Leaving: membersOf(m.GetLeaving()), Next: membersOf(m.GetNext()), Removed: idsOf(m.GetRemoved()),
		Resets: m.GetResets(),
	}
}

func describeConfiguration(c *core.Configuration) *messages.Configuration {
	return &messages.Configuration{
		Members: describeMembers(c.Members), Outgoing: stringsOf(c.Outgoing),
		Leaving: describeMembers(c.Leaving), Next: describeMembers(c.Next), Removed: stringsOf(c.Removed),
		Resets: c.Resets,
	}
}

func membersOf(members []*messages.Member) (out []core.Member) {
	for _, m := range members {
		out = append(out, core.Member{ID: core.NodeID(m.GetId()), Address: m.GetAddress(), Role: core.Role(m.GetRole()), Priority: int(m.GetPriority())})
	}
	return out
}

// sharedMembers returns the list that is known already where it is the same: nobody changes
// one, and the groups of a node mostly have the same members.
func sharedMembers(members, known []core.Member) []core.Member {
	if slices.Equal(members, known) {
		return known
	}
	return members
}

func describeMembers(members []core.Member) (out []*messages.Member) {
	for _, m := range members {
		out = append(out, &messages.Member{Id: string(m.ID), Address: m.Address, Role: messages.Role(m.Role), Priority: int32(m.Priority)})
	}
	return out
}

func idsOf(ids []string) (out []core.NodeID) {
	for _, id := range ids {
		out = append(out, core.NodeID(id))
	}
	return out
}

func stringsOf(ids []core.NodeID) (out []string) {
	for _, id := range ids {
		out = append(out, string(id))
	}
	return out
}
