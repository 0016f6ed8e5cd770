package main

import (
	"encoding/binary"
	"errors"
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

// hashicorpMember runs hashicorp/raft over raft-wal. It has no notion of groups.
type hashicorpMember struct {
	raft    *raft.Raft
	machine *hashicorpMachine
}

func newHashicorp(c memberConfig) (member, error) {
	machine := &hashicorpMachine{}
	r, err := openHashicorp(c, machine)
	return &hashicorpMember{raft: r, machine: machine}, err
}

func openHashicorp(c memberConfig, machine raft.FSM) (*raft.Raft, error) {
	dir := filepath.Join(c.Dir, "raft")
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
	address, err := net.ResolveTCPAddr("tcp", c.addr(c.ID, 0))
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
	if e := c.Spec.Election; e > 0 {
		config.HeartbeatTimeout, config.ElectionTimeout, config.LeaderLeaseTimeout = e, e, e/2
	}
	known, err := raft.HasExistingState(cache, store, raft.NewDiscardSnapshotStore())
	if err != nil {
		return nil, err
	}
	r, err := raft.NewRaft(config, machine, cache, store, raft.NewDiscardSnapshotStore(), transport)
	if err != nil {
		return nil, err
	}
	if known {
		return r, nil // this member was here before
	}
	var servers []raft.Server
	for id := 1; id <= members; id++ {
		servers = append(servers, raft.Server{
			ID: raft.ServerID(strconv.Itoa(id)), Address: raft.ServerAddress(c.addr(id, 0)),
		})
	}
	err = r.BootstrapCluster(raft.Configuration{Servers: servers}).Error()
	if errors.Is(err, raft.ErrCantBootstrap) {
		err = nil // another member was quicker, and has been heard of
	}
	return r, err
}

func (m *hashicorpMember) Leads() []int {
	if m.raft.State() == raft.Leader {
		return []int{0}
	}
	return nil
}

func (m *hashicorpMember) Propose(_ int, command []byte) error {
	return m.raft.Apply(command, opTimeout).Error()
}

// Read confirms leadership with a round of heartbeats and reads the local state:
// what the library offers, though it does not wait for the apply of what was
// committed before.
func (m *hashicorpMember) Read(int) error {
	if err := m.raft.VerifyLeader().Error(); err != nil {
		return err
	}
	m.machine.applied.Load()
	return nil
}

func (m *hashicorpMember) Asker(int) asker { return &hashicorpFutures{member: m} }

// hashicorpFutures asks by the library's futures, which cannot be asked whether they are
// decided.
type hashicorpFutures struct {
	member *hashicorpMember
	queue  fifo[raft.Future]
}

func (f *hashicorpFutures) Write(command []byte) {
	f.queue.push(f.member.raft.Apply(command, opTimeout))
}
func (f *hashicorpFutures) Read() { f.queue.push(f.member.raft.VerifyLeader()) }

func (f *hashicorpFutures) Next() error {
	err := f.queue.pop().Error()
	f.member.machine.applied.Load() // what a read would look at
	return err
}

func (f *hashicorpFutures) Ready() int { return 0 }

func (m *hashicorpMember) Applied(int) uint64 { return m.machine.applied.Load() }

// hashicorpBusy: the library has no word for it; a command that found no place among
// those that wait, for as long as it was given, is what comes nearest.
func hashicorpBusy(err error) bool { return errors.Is(err, raft.ErrEnqueueTimeout) }

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
