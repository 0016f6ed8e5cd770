package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver"
	etcderrors "go.etcd.io/etcd/server/v3/etcdserver/errors"
)

// etcdMember runs an embedded etcd server and calls it in process, past its gRPC
// door: no other library here is asked through a socket. A command is the value of
// one of a few keys, since etcd brings its own machine.
type etcdMember struct {
	server *etcdserver.EtcdServer
}

const (
	etcdKeys  = 1024
	etcdStart = 20 * time.Second
	etcdQuota = 8 << 30 // bytes its database may grow to: the most it recommends
)

func newEtcd(c memberConfig) (member, error) {
	config := embed.NewConfig()
	config.Name = memberName(c.ID)
	config.Dir = filepath.Join(c.Dir, "etcd")
	config.LogLevel = "error"
	config.LogOutputs = []string{"stderr"}
	config.QuotaBackendBytes = etcdQuota
	if e := c.Spec.Election; e > 0 {
		config.ElectionMs, config.TickMs = uint(e.Milliseconds()), uint((e / heartbeatsPerElection).Milliseconds())
	}
	peer, door := url.URL{Scheme: "http", Host: c.addr(c.ID, 0)}, url.URL{Scheme: "http", Host: c.addr(c.ID, 1)}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{door}, []url.URL{door}
	var cluster []string
	for id := 1; id <= members; id++ {
		cluster = append(cluster, memberName(id)+"=http://"+c.addr(id, 0))
	}
	config.InitialCluster = strings.Join(cluster, ",")
	e, err := embed.StartEtcd(config)
	if err != nil {
		return nil, err
	}
	select {
	case <-e.Server.ReadyNotify():
		return &etcdMember{server: e.Server}, nil
	case err := <-e.Err():
		return nil, err
	case <-time.After(etcdStart):
		return nil, fmt.Errorf("etcd was not ready within %v", etcdStart)
	}
}

func (m *etcdMember) Leads() []int {
	if m.server.Leader() == m.server.MemberID() {
		return []int{0}
	}
	return nil
}

// Propose needs no bound of its own: the server answers every request within 7 s.
func (m *etcdMember) Propose(_ int, command []byte) error {
	key := []byte{0, 0}
	if len(command) > 1 {
		key[0], key[1] = command[0], command[1]%(etcdKeys>>8)
	}
	_, err := m.server.Put(context.Background(), &etcdserverpb.PutRequest{Key: key, Value: command})
	return err
}

func (m *etcdMember) Read(int) error {
	_, err := m.server.Range(context.Background(), &etcdserverpb.RangeRequest{Key: []byte{0, 0}})
	return err
}

// Applied counts revisions: every command makes one, and nothing else does.
func (m *etcdMember) Applied(int) uint64 { return uint64(m.server.KV().Rev() - 1) }

func etcdBusy(err error) bool { return errors.Is(err, etcderrors.ErrTooManyRequests) }
