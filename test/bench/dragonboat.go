package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/client"
	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/logger"
	"github.com/lni/dragonboat/v4/plugin/tan"
	"github.com/lni/dragonboat/v4/statemachine"
)

// dragonboatMember runs dragonboat v4 with its tan log. Proposals go through the
// asynchronous calls: the synchronous ones add a context and a timer each.
type dragonboatMember struct {
	host     *dragonboat.NodeHost
	id       uint64
	sessions []*client.Session
	machines []*dragonboatMachine
}

func newDragonboat(c memberConfig) (member, error) {
	for _, name := range []string{"raft", "rsm", "transport", "grpc", "dragonboat", "logdb", "raftpb", "config", "tan"} {
		logger.GetLogger(name).SetLevel(logger.ERROR)
	}
	hostConfig := config.NodeHostConfig{
		NodeHostDir: c.Dir, WALDir: c.Dir,
		RTTMillisecond: 20, // election timeout 400 ms, heartbeats every 40 ms
		RaftAddress:    c.addr(c.ID, 0),
	}
	electionTicks, heartbeatTicks := uint64(20), uint64(2)
	if e := c.Spec.Election; e > 0 {
		hostConfig.RTTMillisecond = uint64((e / heartbeatsPerElection).Milliseconds())
		electionTicks, heartbeatTicks = heartbeatsPerElection, 1
	}
	hostConfig.Expert.LogDBFactory = tan.Factory
	host, err := dragonboat.NewNodeHost(hostConfig)
	if err != nil {
		return nil, err
	}
	replicas := map[uint64]string{}
	for id := 1; id <= members; id++ {
		replicas[uint64(id)] = c.addr(id, 0)
	}
	m := &dragonboatMember{host: host, id: uint64(c.ID)}
	for g := range c.Spec.Groups {
		machine := &dragonboatMachine{}
		shard := uint64(g + 1)
		err := host.StartReplica(replicas, false,
			func(uint64, uint64) statemachine.IStateMachine { return machine },
			config.Config{
				ReplicaID: uint64(c.ID), ShardID: shard,
				ElectionRTT: electionTicks, HeartbeatRTT: heartbeatTicks, CheckQuorum: true, PreVote: true,
			})
		if err != nil {
			return nil, err
		}
		m.sessions = append(m.sessions, host.GetNoOPSession(shard))
		m.machines = append(m.machines, machine)
	}
	return m, nil
}

func (m *dragonboatMember) Leads() (led []int) {
	for g := range m.machines {
		leader, _, known, err := m.host.GetLeaderID(uint64(g + 1))
		if err == nil && known && leader == m.id {
			led = append(led, g)
		}
	}
	return led
}

func (m *dragonboatMember) Give(group, to int) error {
	if err := m.host.RequestLeaderTransfer(uint64(group+1), uint64(to)); err != nil {
		return fmt.Errorf("%w: %w", errNotGiven, err)
	}
	return nil
}

func (m *dragonboatMember) Propose(group int, command []byte) error {
	return m.Start(group, command).Wait()
}

func (m *dragonboatMember) Start(group int, command []byte) begun {
	state, err := m.host.Propose(m.sessions[group], command, opTimeout)
	if err != nil {
		return dragonboatRefused{err}
	}
	return dragonboatBegun{state}
}

type dragonboatRefused struct{ err error }

func (r dragonboatRefused) Decided() bool { return true }
func (r dragonboatRefused) Wait() error   { return r.err }

type dragonboatBegun struct{ state *dragonboat.RequestState }

func (b dragonboatBegun) Decided() bool { return len(b.state.ResultC()) > 0 }

func (b dragonboatBegun) Wait() error {
	defer b.state.Release()
	if r := <-b.state.ResultC(); !r.Completed() {
		return fmt.Errorf("not completed: timeout %v, rejected %v, dropped %v, terminated %v", r.Timeout(), r.Rejected(), r.Dropped(), r.Terminated())
	}
	return nil
}

func (m *dragonboatMember) Read(group int) error { return m.StartRead(group).Wait() }

func (m *dragonboatMember) StartRead(group int) begun {
	state, err := m.host.ReadIndex(uint64(group+1), opTimeout)
	if err != nil {
		return dragonboatRefused{err}
	}
	return dragonboatRead{dragonboatBegun{state}, m.host}
}

type dragonboatRead struct {
	dragonboatBegun
	host *dragonboat.NodeHost
}

func (r dragonboatRead) Wait() error {
	defer r.state.Release()
	if r := <-r.state.ResultC(); !r.Completed() {
		return fmt.Errorf("read not completed: timeout %v, dropped %v", r.Timeout(), r.Dropped())
	}
	_, err := r.host.ReadLocalNode(r.state, nil)
	return err
}

func (m *dragonboatMember) Applied(group int) uint64 { return m.machines[group].applied.Load() }

func dragonboatBusy(err error) bool { return errors.Is(err, dragonboat.ErrSystemBusy) }

// dragonboatMachine counts.
type dragonboatMachine struct{ applied atomic.Uint64 }

func (m *dragonboatMachine) Update(statemachine.Entry) (statemachine.Result, error) {
	return statemachine.Result{Value: m.applied.Add(1)}, nil
}

func (m *dragonboatMachine) Lookup(any) (any, error) { return m.applied.Load(), nil }

func (m *dragonboatMachine) SaveSnapshot(w io.Writer, _ statemachine.ISnapshotFileCollection, _ <-chan struct{}) error {
	return binary.Write(w, binary.LittleEndian, m.applied.Load())
}

func (m *dragonboatMachine) RecoverFromSnapshot(r io.Reader, _ []statemachine.SnapshotFile, _ <-chan struct{}) error {
	var n uint64
	if err := binary.Read(r, binary.LittleEndian, &n); err != nil {
		return err
	}
	m.applied.Store(n)
	return nil
}

func (m *dragonboatMachine) Close() error { return nil }
