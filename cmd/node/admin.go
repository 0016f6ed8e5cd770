package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/protoraft/protoraft/cluster"
	"github.com/protoraft/protoraft/cmd/node/web"
)

// webAdmin does what operators ask for over HTTP.
type webAdmin struct {
	webStatus
	insecure bool // members beyond this machine are allowed
}

func (a webAdmin) client() *cluster.Client { return a.node.Client() }

func (a webAdmin) Status(ctx context.Context) (web.AdminStatus, error) {
	st, err := a.node.Status(ctx)
	if err != nil {
		return web.AdminStatus{}, &web.Refusal{Code: http.StatusServiceUnavailable, Reason: "status_unavailable", Text: "status: " + err.Error()}
	}
	shown := web.AdminStatus{Status: a.status(st), StorageFailure: st.StorageFailure}
	for _, g := range st.Groups {
		shown.Groups = append(shown.Groups, web.AdminGroup{GroupStatus: webGroup(g), Membership: a.members(g.Membership)})
	}
	return shown, nil
}

func (a webAdmin) Members(ctx context.Context) (web.Members, error) {
	m, err := a.client().Members(ctx, kvGroup)
	return a.members(m), err
}

func (a webAdmin) ChangeMembers(ctx context.Context, change web.MembersChange) (web.Members, error) {
	if wrong := a.wrongWith(change); wrong != "" {
		return web.Members{}, &web.Refusal{Code: http.StatusBadRequest, Reason: "bad_change", Text: wrong}
	}
	m, err := a.client().ChangeMembers(ctx, kvGroup, cluster.MembersChange{
		ExpectedIndex: change.ExpectedIndex, Add: clusterMembers(change.Add), AddLearners: clusterMembers(change.AddLearners),
		Remove: change.Remove, Promote: change.Promote, Demote: change.Demote, Move: clusterMembers(change.Move),
	})
	return a.members(m), err
}

func (a webAdmin) wrongWith(change web.MembersChange) string {
	if wrong := change.Check(); wrong != "" {
		return wrong
	}
	return a.wrongWithMembers(slices.Concat(change.Add, change.AddLearners, change.Move))
}

func (a webAdmin) wrongWithMembers(members []web.Member) string {
	for _, m := range members {
		if !a.insecure && !isLoopback(m.Address) {
			return fmt.Sprintf("member %s at %s is on another machine and there is no TLS: expected an address on 127.0.0.1, or nodes that were started with --insecure", m.ID, m.Address)
		}
	}
	return ""
}

func (a webAdmin) AbortChange(ctx context.Context) (web.Members, error) {
	m, err := a.client().AbortChange(ctx, kvGroup)
	return a.members(m), err
}

// TransferLeadership is for the node that leads. Another says who does, before it
// tries: who asks may have the leader's address, this node has not.
func (a webAdmin) TransferLeadership(ctx context.Context, to string) (web.Leadership, error) {
	g, err := a.group(ctx)
	if err != nil {
		return web.Leadership{}, err
	}
	if g.Role != "leader" {
		leads := "no leader is known to it"
		if g.Leader != "" {
			leads = "node " + g.Leader + " leads"
		}
		return web.Leadership{}, &web.Refusal{
			Code: http.StatusConflict, Reason: "not_leader", Leader: g.Leader,
			Text: fmt.Sprintf("node %s does not lead, %s: expected to be asked of the leader's node", a.node.ID(), leads),
		}
	}
	if err := a.node.TransferLeadership(ctx, kvGroup, to); err != nil {
		return web.Leadership{}, err
	}
	if g, err = a.group(ctx); err != nil {
		return web.Leadership{}, err
	}
	return web.Leadership{Leader: g.Leader, Term: g.Term}, nil
}

func (a webAdmin) TakeSnapshot(ctx context.Context) (web.Snapshot, error) {
	index, err := a.node.TakeSnapshot(ctx, kvGroup)
	return web.Snapshot{Node: a.node.ID(), Index: index}, err
}

// group is this node's member of the key-value group.
func (a webAdmin) group(ctx context.Context) (cluster.GroupStatus, error) {
	st, err := a.node.Status(ctx)
	if err != nil {
		return cluster.GroupStatus{}, err
	}
	for _, g := range st.Groups {
		if g.Group == kvGroup {
			return g, nil
		}
	}
	return cluster.GroupStatus{}, fmt.Errorf("group %d: %w", kvGroup, cluster.ErrNoGroup)
}

func (a webAdmin) members(m cluster.Membership) web.Members {
	shown := web.Members{
		Cluster: a.node.ClusterID(), Leader: m.Leader, Index: m.Index,
		Voters: webMembers(m.Voters), Learners: webMembers(m.Learners), Removed: append([]string{}, m.Removed...),
	}
	if m.Change == nil {
		return shown
	}
	shown.Change = &web.Change{
		Phase: m.Change.Phase, Voters: webMembers(m.Change.Voters), Learners: webMembers(m.Change.Learners), Newcomers: []web.Newcomer{},
	}
	for _, n := range m.Change.Newcomers {
		shown.Change.Newcomers = append(shown.Change.Newcomers, web.Newcomer{
			ID: n.ID, MatchIndex: n.MatchIndex, LastIndex: n.MatchIndex + n.Lag, CaughtUp: n.CaughtUp, PatienceMS: n.Patience.Milliseconds(),
		})
	}
	return shown
}

// webMembers is never nil: JSON has a list, if an empty one.
func webMembers(members []cluster.Member) []web.Member {
	shown := make([]web.Member, len(members))
	for i, m := range members {
		shown[i] = web.Member{ID: m.ID, Address: m.Address, Priority: m.Priority, Witness: m.Witness}
	}
	return shown
}

func clusterMembers(members []web.Member) []cluster.Member {
	list := make([]cluster.Member, len(members))
	for i, m := range members {
		list[i] = cluster.Member{ID: m.ID, Address: m.Address, Priority: m.Priority, Witness: m.Witness}
	}
	return list
}
