package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/protoraft/protoraft/cluster"
	"github.com/protoraft/protoraft/cmd/node/web"
)

// What webAdmin does against the day when nodes are lost.
var _ web.Recovery = webAdmin{}

func (a webAdmin) Backup(ctx context.Context, newest bool) (web.Backup, error) {
	b, err := a.node.Backup(ctx, kvGroup, newest)
	if err != nil {
		return web.Backup{}, err
	}
	info := b.Info()
	return web.Backup{ReadCloser: b, Name: fmt.Sprintf("%s-%d-%d.backup", info.Cluster, info.Group, info.Index), Size: info.Size}, nil
}

func (a webAdmin) ResetPeers(ctx context.Context, acceptLoss bool) (web.PeersReset, error) {
	r, err := a.node.ResetPeers(ctx, kvGroup, cluster.AcceptLoss(acceptLoss))
	if errors.Is(err, cluster.ErrMembersKept) {
		return web.PeersReset{}, &web.Refusal{Code: http.StatusConflict, Reason: "members_kept", Text: err.Error()}
	}
	return web.PeersReset{
		Node: a.node.ID(), Term: r.Term, Index: r.Index, CommitIndex: r.CommitIndex, LastIndex: r.LastIndex, Removed: append([]string{}, r.Removed...),
	}, err
}
