package main

import (
	"context"
	"fmt"

	"github.com/protoraft/protoraft/cluster"
	"github.com/protoraft/protoraft/cmd/node/machine"
	"github.com/protoraft/protoraft/cmd/node/web"
	"github.com/protoraft/protoraft/fsm"
)

// What webAdmin does with groups that are made at run time.
var _ web.Groups = webAdmin{}

// kvKind is the kind of machine that this binary has.
const kvKind = "kv"

func machines() map[string]cluster.MachineFactory {
	return map[string]cluster.MachineFactory{kvKind: func(uint64) (fsm.StateMachine, error) { return machine.New(), nil }}
}

func (a webAdmin) Groups(context.Context) (web.GroupList, error) {
	list := web.GroupList{Node: a.node.ID(), Groups: []web.Group{}}
	for _, g := range a.node.Groups() {
		list.Groups = append(list.Groups, shownGroup(g))
	}
	return list, nil
}

func shownGroup(g cluster.GroupInfo) web.Group {
	shown := web.Group{Group: g.Group, Incarnation: g.Incarnation, Kind: g.Kind, State: string(g.State), Join: g.Join, Failure: g.Failure}
	if len(g.Members) > 0 {
		shown.Members = webMembers(g.Members)
	}
	return shown
}

// groupAfter is the group as it is when something was done with it.
func (a webAdmin) groupAfter(group uint64, err error) (web.Group, error) {
	if err != nil {
		return web.Group{}, err
	}
	for _, g := range a.node.Groups() {
		if g.Group == group {
			return shownGroup(g), nil
		}
	}
	return web.Group{}, fmt.Errorf("group %d: %w", group, cluster.ErrNoGroup)
}

func (a webAdmin) CreateGroup(ctx context.Context, g web.NewGroup) (web.Group, error) {
	if wrong := a.wrongWithMembers(g.Members); wrong != "" {
		return web.Group{}, fmt.Errorf("%w: %s", cluster.ErrGroupSpec, wrong)
	}
	return a.groupAfter(g.Group, a.node.CreateGroup(ctx, cluster.GroupSpec{
		Group: g.Group, Kind: g.Kind, Incarnation: g.Incarnation, Members: clusterMembers(g.Members), Join: g.Join,
	}))
}

func (a webAdmin) StopGroup(ctx context.Context, group uint64) (web.Group, error) {
	return a.groupAfter(group, a.node.StopGroup(ctx, group))
}

func (a webAdmin) StartGroup(_ context.Context, group uint64) (web.Group, error) {
	return a.groupAfter(group, a.node.ResumeGroup(group))
}

func (a webAdmin) DeleteGroup(ctx context.Context, group uint64) (web.Group, error) {
	return a.groupAfter(group, a.node.DeleteGroup(ctx, group))
}
