package main

import (
	"encoding/binary"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
)

// hashicorpMember runs hashicorp/raft over raft-wal, one instance a group, each
// with a port of its own: the library has no notion of groups.
type hashicorpMember struct {
	groups   []*raft.Raft
	machines []*hashicorpMachine
}

func newHashicorp(c memberConfig) (member, error) {
	m := &hashicorpMember{}
	for g := range c.Spec.Groups {
		machine := &hashicorpMachine{}
		r, err := openHashicorp(c, g, machine)
		if err != nil {
			return nil, err
		}
		m.groups = append(m.groups, r)
		m.machines = append(m.machines, machine)
	}
	return m, nil
}

func openHashicorp(c memberConfig, group int, machine raft.FSM) (*raft.Raft, error) {
	dir := filepath.Join(c.Dir, strconv.Itoa(group))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	store, err := wal.Open(dir) // both the log and the stable store
	if err != nil {
		return nil, err
	}
	cache, err := raft.NewLogCache(8192, store)
	if err != nil {
		return nil, err
	}
	address, err := net.ResolveTCPAddr("tcp", c.addr(c.ID, group))
	if err != nil {
		return nil, err
	}
	transport, err := raft.NewTCPTransport(address.String(), address, members, 2*opTimeout, io.Discard)
	if err != nil {
		return nil, err
	}
	config := raft.DefaultConfig()
	config.LocalID = raft.ServerID(strconv.Itoa(c.ID))
	config.BatchApplyCh = true // gather proposals, as many as an append may carry
	config.MaxAppendEntries = 1024
	config.Logger = hclog.NewNullLogger()
	config.SnapshotThreshold = math.MaxUint64
	r, err := raft.NewRaft(config, machine, cache, store, raft.NewDiscardSnapshotStore(), transport)
	if err != nil {
		return nil, err
	}
	var servers []raft.Server
	for id := 1; id <= members; id++ {
		servers = append(servers, raft.Server{
			ID: raft.ServerID(strconv.Itoa(id)), Address: raft.ServerAddress(c.addr(id, group)),
		})
	}
	return r, r.BootstrapCluster(raft.Configuration{Servers: servers}).Error()
}

func (m *hashicorpMember) Leads(group int) bool { return m.groups[group].State() == raft.Leader }

func (m *hashicorpMember) Propose(group int, command []byte) error {
	return m.groups[group].Apply(command, opTimeout).Error()
}

// Read confirms leadership with a round of heartbeats and reads the local state:
// what the library offers, though it does not wait for the apply of what was
// committed before.
func (m *hashicorpMember) Read(group int) error {
	if err := m.groups[group].VerifyLeader().Error(); err != nil {
		return err
	}
	m.machines[group].applied.Load()
	return nil
}

func (m *hashicorpMember) Applied(group int) uint64 { return m.machines[group].applied.Load() }

// hashicorpMachine counts, by whole batches.
type hashicorpMachine struct{ applied atomic.Uint64 }

func (m *hashicorpMachine) Apply(*raft.Log) any { return m.applied.Add(1) }

func (m *hashicorpMachine) ApplyBatch(logs []*raft.Log) []any {
	replies := make([]any, len(logs))
	for i, l := range logs {
		if l.Type == raft.LogCommand {
			replies[i] = m.applied.Add(1)
		}
	}
	return replies
}

func (m *hashicorpMachine) Snapshot() (raft.FSMSnapshot, error) {
	return hashicorpSnapshot(m.applied.Load()), nil
}

func (m *hashicorpMachine) Restore(r io.ReadCloser) error {
	var n uint64
	if err := binary.Read(r, binary.LittleEndian, &n); err != nil {
		return err
	}
	m.applied.Store(n)
	return nil
}

type hashicorpSnapshot uint64

func (s hashicorpSnapshot) Persist(sink raft.SnapshotSink) error {
	if err := binary.Write(sink, binary.LittleEndian, uint64(s)); err != nil {
		sink.Cancel()
		return err
	}
	return sink.Close()
}

func (s hashicorpSnapshot) Release() {}
