package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/protoraft/protoraft/test/linearizability"
)

// session is a client's way to one node.
type session interface {
	do(op linearizability.Operation) (linearizability.Result, error)
	close()
}

const (
	respClients = 6
	webClients  = linearizability.ClientsMax - respClients
	stay        = 25 // operations before a client goes to another node
	retryPause  = 10 * time.Millisecond
)

// load is clients that work on a cluster until stopped, and what they saw.
type load struct {
	t       testing.TB
	nodes   []*node
	timeout time.Duration // of the clients
	history *linearizability.History

	registers, counters, lists *linearizability.Keys

	mu     sync.Mutex
	doubts map[string]int // reasons of unknown outcomes

	acked    atomic.Int64 // writes
	poke     chan struct{}
	stop     chan struct{}
	stopOnce sync.Once
	clients  sync.WaitGroup
}

func newLoad(t testing.TB, nodes []*node, timeout time.Duration) *load {
	l := &load{
		t: t, nodes: nodes, timeout: timeout, history: linearizability.NewHistory(),
		registers: linearizability.NewKeys("register-", 8),
		counters:  linearizability.NewKeys("counter-", 3),
		lists:     linearizability.NewKeys("list-", 3),
		doubts:    make(map[string]int),
		poke:      make(chan struct{}, 1), stop: make(chan struct{}),
	}
	t.Cleanup(l.end)
	return l
}

// startLoad has clients of both kinds work on these nodes.
func startLoad(t testing.TB, nodes []*node, timeout time.Duration) *load {
	l := newLoad(t, nodes, timeout)
	for id := range respClients + webClients {
		l.clients.Go(func() { l.work(id) })
	}
	return l
}

func (l *load) end() {
	l.stopOnce.Do(func() { close(l.stop) })
	l.clients.Wait()
}

func (l *load) stopped() bool {
	select {
	case <-l.stop:
		return true
	default:
		return false
	}
}

// work is one client: it stays with a node for a while, or until that fails it.
func (l *load) work(id int) {
	client, r := l.history.Client(), rand.New(rand.NewPCG(rand.Uint64(), uint64(id)))
	open, choose := l.openRESP, l.chooseRESP
	if id >= respClients {
		open, choose = l.openWeb, l.chooseWeb
	}
	for n := 0; !l.stopped(); {
		s := open(l.nodes[r.IntN(len(l.nodes))])
		for range stay {
			op, keys := choose(r, fmt.Sprintf("%d.%d;", id, n))
			n++
			if err := l.run(client, s, op, keys); err != nil || l.stopped() {
				break
			}
		}
		s.close()
	}
}

func (l *load) openRESP(n *node) session { return &respSession{address: n.resp, timeout: l.timeout} }
func (l *load) openWeb(n *node) session  { return newWebSession(n.http, l.timeout) }

// run executes and records an operation. It returns an error when the client
// should go elsewhere.
func (l *load) run(client *linearizability.Client, s session, op linearizability.Operation, keys *linearizability.Keys) error {
	var err error
	result := client.Do(op, func() (result linearizability.Result) {
		result, err = s.do(op)
		return result
	})
	write := op.Kind != linearizability.Get
	var bad complaint
	if write && result.Outcome == linearizability.Unknown {
		l.doubt(err)
	}
	switch {
	case errors.As(err, &bad):
		l.t.Errorf("%v %s: %v", op.Kind, op.Key, bad)
	case write && result.Outcome == linearizability.Unknown && keys != nil:
		keys.Unknown(op.Key)
	case write && result.Outcome == linearizability.Applied:
		l.acked.Add(1)
		select {
		case l.poke <- struct{}{}:
		default:
		}
	}
	if err != nil { // whatever ails it, let it breathe
		pause := time.NewTimer(retryPause)
		defer pause.Stop()
		select {
		case <-pause.C:
		case <-l.stop:
		}
	}
	return err
}

// doubt counts why outcomes are unknown.
func (l *load) doubt(err error) {
	reason := err.Error()
	var lost *net.OpError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		reason = "the client's patience ended"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &lost):
		reason = "connection lost"
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.doubts[reason]++
}

// choose draws an operation. A value is unique in the test.
func (l *load) chooseRESP(r *rand.Rand, value string) (linearizability.Operation, *linearizability.Keys) {
	op := linearizability.Operation{Value: value}
	switch dice := r.IntN(100); {
	case dice < 40:
		op.Key = l.registers.Pick(r)
		op.Kind = [...]linearizability.Kind{
			linearizability.Get, linearizability.Get, linearizability.Get, linearizability.Put, linearizability.Put,
			linearizability.Swap, linearizability.PutNew, linearizability.Delete,
		}[r.IntN(8)]
		return op, l.registers
	case dice < 65:
		op.Key, op.Kind = l.counters.Pick(r), linearizability.Get
		if r.IntN(3) > 0 {
			op.Kind, op.Delta = linearizability.Incr, 1+r.Int64N(9)
		}
		return op, l.counters
	case dice < 85:
		op.Key, op.Kind = l.lists.Pick(r), linearizability.Get
		if r.IntN(3) > 0 {
			op.Kind = linearizability.Append
		}
		return op, l.lists
	default: // a key that is written once
		op.Key, op.Kind = "once-"+value, linearizability.Put
		return op, nil
	}
}

func (l *load) chooseWeb(r *rand.Rand, value string) (linearizability.Operation, *linearizability.Keys) {
	op := linearizability.Operation{Key: l.registers.Pick(r), Value: value}
	op.Kind = [...]linearizability.Kind{
		linearizability.Get, linearizability.Get, linearizability.Put, linearizability.Put, linearizability.Delete,
	}[r.IntN(5)]
	return op, l.registers
}

// awaitAcks waits until n more writes have been acknowledged.
func (l *load) awaitAcks(n int64) {
	l.t.Helper()
	target := l.acked.Load() + n
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for l.acked.Load() < target {
		select {
		case <-l.poke:
		case <-deadline.C:
			l.t.Fatalf("%d of %d writes acknowledged within %v", l.acked.Load()-target+n, n, patience)
		}
	}
}

// probe writes through every one of these nodes at once, again and again, and
// returns when the first write is acknowledged.
func (l *load) probe(nodes []*node, name string) {
	l.t.Helper()
	done := make(chan struct{})
	var first sync.Once
	for _, n := range nodes {
		client, s := l.history.Client(), &respSession{address: n.resp}
		l.clients.Go(func() {
			defer s.close()
			for try := 0; !l.stopped(); try++ {
				select {
				case <-done:
					return
				default:
				}
				op := linearizability.Operation{
					Kind: linearizability.Put, Key: fmt.Sprintf("once-probe-%s-%s-%d", name, n.id, try), Value: "probe",
				}
				if l.run(client, s, op, nil) == nil {
					first.Do(func() { close(done) })
					return
				}
			}
		})
	}
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	select {
	case <-done:
	case <-deadline.C:
		l.t.Fatalf("no write acknowledged within %v of %s", patience, name)
	}
}

// firstAck is how long after from it took until a write begun after it was
// acknowledged.
func (l *load) firstAck(from int64) time.Duration {
	first := int64(linearizability.Never)
	for _, op := range l.history.Operations() {
		if op.Kind != linearizability.Get && op.Outcome == linearizability.Applied && op.Start >= from {
			first = min(first, op.End)
		}
	}
	return time.Duration(first - from)
}
