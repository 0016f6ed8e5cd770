package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/protoraft/protoraft/cluster"
	"github.com/protoraft/protoraft/fsm"
)

// protoraftMember runs this library as an embedding program would: default options,
// the node's own client.
type protoraftMember struct {
	node     *cluster.Node
	client   *cluster.Client
	machines []countingMachine
}

// countingMachine tells how many commands it has applied, to any goroutine.
type countingMachine interface {
	fsm.StateMachine
	count() uint64
}

func protoraftWith(logEngine string, sessions bool) func(memberConfig) (member, error) {
	return func(c memberConfig) (member, error) { return newProtoraft(c, logEngine, sessions) }
}

func newProtoraft(c memberConfig, logEngine string, sessions bool) (member, error) {
	logger := hclog.New(&hclog.LoggerOptions{Name: "bench", Level: hclog.Warn})
	options := cluster.Options{
		ID: memberName(c.ID), DataDir: c.Dir, LogEngine: logEngine, Logger: logger,
		ElectionTimeout: c.Spec.Election, NoSessions: !sessions,
	}
	for id := 1; id <= members; id++ {
		options.Members = append(options.Members, cluster.Member{ID: memberName(id), Address: c.addr(id, 0)})
	}
	node, err := cluster.Start(cluster.NewSystem(logger), options)
	if err != nil {
		return nil, err
	}
	m := &protoraftMember{node: node, client: node.Client()}
	for g := range c.Spec.Groups {
		var machine countingMachine = &protoraftMachine{}
		if c.Spec.State {
			machine = newSlotMachine(c.Spec.Payload)
		}
		if _, err := node.StartGroup(uint64(g+1), machine); err != nil {
			return nil, err
		}
		m.machines = append(m.machines, machine)
	}
	return m, nil
}

func memberName(id int) string { return "n" + strconv.Itoa(id) }

// statusTimeout is for a node of very many groups, each of which is asked.
const statusTimeout = 5 * time.Second

func (m *protoraftMember) Leads() (led []int) {
	ctx, cancel := context.WithTimeout(context.Background(), statusTimeout)
	defer cancel()
	status, err := m.node.Status(ctx)
	if err != nil {
		return nil
	}
	for _, g := range status.Groups {
		if g.Role == "leader" {
			led = append(led, int(g.Group)-1)
		}
	}
	return led
}

func (m *protoraftMember) Give(group, to int) error {
	ctx, cancel := context.WithTimeout(context.Background(), statusTimeout)
	defer cancel()
	if err := m.node.TransferLeadership(ctx, uint64(group+1), memberName(to)); err != nil {
		return fmt.Errorf("%w: %w", errNotGiven, err)
	}
	return nil
}

func (m *protoraftMember) Propose(group int, command []byte) error {
	_, err := m.client.Propose(context.Background(), uint64(group+1), command)
	return err
}

func (m *protoraftMember) Start(group int, command []byte) begun {
	return protoraftBegun{m.client.StartPropose(uint64(group+1), command)}
}

type protoraftBegun struct{ *cluster.Call }

func (b protoraftBegun) Wait() error {
	_, err := b.Call.Wait()
	return err
}

func (m *protoraftMember) Asker(group int) asker {
	return pipeline{m.client.NewPipeline(uint64(group + 1))}
}

// pipeline sends together what was begun between two waits.
type pipeline struct{ *cluster.Pipeline }

func (p pipeline) Write(command []byte) { p.Propose(command) }
func (p pipeline) Read()                { p.Query(nil, cluster.Linearizable, false) }

func (p pipeline) Next() error {
	_, _, err := p.Pipeline.Next()
	return err
}

func (m *protoraftMember) StartRead(group int) begun {
	return protoraftBegun{m.client.StartQuery(uint64(group+1), nil, cluster.Linearizable, false)}
}

func (m *protoraftMember) Read(group int) error {
	_, err := m.client.Query(context.Background(), uint64(group+1), nil, cluster.Linearizable)
	return err
}

func (m *protoraftMember) Applied(group int) uint64 { return m.machines[group].count() }

func protoraftBusy(err error) bool { return errors.Is(err, cluster.ErrBusy) }

// protoraftMachine counts.
type protoraftMachine struct{ applied atomic.Uint64 }

func (m *protoraftMachine) count() uint64 { return m.applied.Load() }

func (m *protoraftMachine) Apply(fsm.Entry) ([]byte, error) {
	m.applied.Add(1)
	return nil, nil
}

func (m *protoraftMachine) Query([]byte) ([]byte, error) {
	return binary.LittleEndian.AppendUint64(nil, m.count()), nil
}

func (m *protoraftMachine) Snapshot() (fsm.View, error) {
	return protoraftView(m.count()), nil
}

func (m *protoraftMachine) Restore(r io.Reader) error {
	var n uint64
	if err := binary.Read(r, binary.LittleEndian, &n); err != nil {
		return err
	}
	m.applied.Store(n)
	return nil
}

type protoraftView uint64

func (v protoraftView) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(binary.LittleEndian.AppendUint64(nil, uint64(v)))
	return int64(n), err
}

func (v protoraftView) Release() {}
