package main

import (
	"context"
	"sync"
	"time"

	"github.com/protoraft/protoraft/cluster"
	"github.com/protoraft/protoraft/cmd/node/resp"
	"github.com/protoraft/protoraft/cmd/node/web"
)

// kvGroup is the group that holds the keys and locks.
const kvGroup = 1

// respBackend gives the RESP front end's commands to the cluster.
type respBackend struct{ client *cluster.Client }

func (b respBackend) Propose(command []byte) resp.Pending {
	return b.client.StartPropose(kvGroup, command)
}

func (b respBackend) Pipeline() resp.Pipeline { return b.client.NewPipeline(kvGroup) }

// webBackend does so for HTTP, which also shows indexes.
type webBackend struct{ client *cluster.Client }

func (b webBackend) Propose(command []byte) web.Pending {
	return &indexedCall{call: b.client.StartPropose(kvGroup, command)}
}

func (b webBackend) ProposeOnce(id string, sequence uint64, command []byte) web.Pending {
	return &indexedCall{call: b.client.StartProposeOnce(kvGroup, id, sequence, command)}
}

func (b webBackend) Query(query []byte, consistency cluster.Consistency, afterWrites bool) web.Pending {
	return &indexedCall{call: b.client.StartQuery(kvGroup, query, consistency, afterWrites)}
}

// indexedCall keeps the index when the call itself has gone back to its client.
type indexedCall struct {
	call  *cluster.Call
	index uint64
}

func (c *indexedCall) Wait() (reply []byte, err error) {
	reply, c.index, err = c.call.WaitIndex()
	return reply, err
}

func (c *indexedCall) Index() uint64 { return c.index }

// statusMaxAge is how old a status may be that INFO shows: clients ask for it often.
const statusMaxAge = 100 * time.Millisecond

// statusTimeout bounds a question to the actors of this process.
const statusTimeout = time.Second

// respStatus shows the node to RESP clients.
type respStatus struct {
	node *cluster.Node

	mu    sync.Mutex
	taken time.Time
	last  resp.Status
}

// Status asks nobody outside this process.
func (s *respStatus) Status() resp.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.taken) < statusMaxAge {
		return s.last
	}
	ctx, cancel := context.WithTimeout(context.Background(), statusTimeout)
	defer cancel()
	s.last = resp.Status{Node: s.node.ID(), Group: kvGroup}
	st, err := s.node.Status(ctx)
	if err != nil {
		s.last.Failure = err.Error()
	}
	for _, g := range st.Groups {
		if g.Group == kvGroup {
			s.last.Role, s.last.Leader, s.last.LeaderAddress = g.Role, g.Leader, g.LeaderAddress
			s.last.Term, s.last.LastIndex = g.Term, g.LastIndex
			s.last.CommitIndex, s.last.AppliedIndex = g.CommitIndex, g.AppliedIndex
			s.last.Failure, s.last.DiskFull = g.Failure, g.DiskFull
		}
	}
	s.taken = time.Now()
	return s.last
}

// webStatus shows the node over HTTP.
type webStatus struct {
	node    *cluster.Node
	version string
}

func (s webStatus) Status(ctx context.Context) (web.Status, error) {
	st, err := s.node.Status(ctx)
	if err != nil {
		return web.Status{}, err
	}
	return s.status(st), nil
}

func (s webStatus) status(st cluster.Status) web.Status {
	shown := web.Status{Node: st.ID, Cluster: st.ClusterID, Version: s.version}
	for _, g := range st.Groups {
		shown.Groups = append(shown.Groups, webGroup(g))
	}
	for _, l := range s.node.Links() {
		shown.Links = append(shown.Links, web.LinkStatus(l))
	}
	return shown
}

func webGroup(g cluster.GroupStatus) web.GroupStatus {
	shown := web.GroupStatus{
		Group: g.Group, Role: g.Role, Term: g.Term, Leader: g.Leader, LeaderAddress: g.LeaderAddress,
		FirstIndex: g.FirstIndex, LastIndex: g.LastIndex, DurableIndex: g.DurableIndex,
		CommitIndex: g.CommitIndex, AppliedIndex: g.AppliedIndex, SnapshotIndex: g.SnapshotIndex, Failure: g.Failure, DiskFull: g.DiskFull, Asleep: g.Asleep,
		Recovering: g.Recovering, Awaits: g.Awaits,
	}
	for _, m := range g.Members() {
		shown.Members = append(shown.Members, m.ID)
	}
	for _, p := range g.Peers {
		shown.Peers = append(shown.Peers, web.PeerStatus{
			Node: p.ID, State: p.State, MatchIndex: p.MatchIndex, NextIndex: p.NextIndex,
			Inflight: p.Inflight, Active: p.Active, DiskFull: p.DiskFull,
			SnapshotSent: p.SnapshotSent, SnapshotSize: p.SnapshotSize,
			ComparedIndex: p.ComparedIndex, DivergedIndex: p.DivergedIndex,
		})
	}
	return shown
}
