// Bank moves money between accounts, from many clients at once, while the node that
// leads is stopped and another takes over: whatever happens to a transfer, the total
// is what it was.
//
//	go run ./examples/bank
//
// bank.go is a state machine of one's own, and bank_test.go tries it under faults.
// The three nodes live in this process; examples/counter shows them in three.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/protoraft/protoraft/cluster"
)

const (
	group    = 1
	accounts = 50
	each     = 100
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bank:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "protoraft-bank-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	members, err := freeMembers()
	if err != nil {
		return err
	}
	nodes := map[string]*cluster.Node{}
	defer func() {
		for _, n := range nodes {
			err = errors.Join(err, stop(ctx, n))
		}
	}()
	start := func(id string) (err error) {
		nodes[id], err = startNode(id, dir, members)
		return err
	}
	for _, m := range members {
		if err := start(m.ID); err != nil {
			delete(nodes, m.ID)
			return err
		}
	}
	// A client of its own, as another process would have: it outlives any node.
	client, err := cluster.Dial(cluster.NewSystem(nil), cluster.ClientOptions{Members: members})
	if err != nil {
		return err
	}
	defer client.Close()
	for i := range accounts {
		if _, err := client.Propose(ctx, group, Open(fmt.Sprint(i), each)); err != nil {
			return err
		}
	}

	var bank clients
	bank.start(ctx, client)
	bank.await(1000)
	leader, err := client.Leader(ctx, group)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s leads, and is stopped while 8 clients move money\n", leader.ID)
	if err := stop(ctx, nodes[leader.ID]); err != nil {
		return err
	}
	delete(nodes, leader.ID)
	bank.await(2000)
	if err := start(leader.ID); err != nil {
		delete(nodes, leader.ID)
		return err
	}
	bank.await(3000)
	if err := bank.stop(); err != nil {
		return err
	}
	fmt.Fprintf(out, "transfers: %d acknowledged, %d of unknown outcome\n", bank.done.Load(), bank.unknown.Load())
	for _, m := range members {
		total, err := nodes[m.ID].Client().Query(ctx, group, Total(), cluster.Linearizable)
		if err != nil {
			return err
		}
		if string(total) != fmt.Sprint(accounts*each) {
			return fmt.Errorf("%s holds %s, expected %d", m.ID, total, accounts*each)
		}
		fmt.Fprintf(out, "asked on %s the bank holds %s, as at the beginning\n", m.ID, total)
	}
	return nil
}

// clients move money until they are stopped.
type clients struct {
	done, unknown atomic.Int64
	cancel        context.CancelFunc
	running       sync.WaitGroup
	failed        chan error
	moved         chan struct{} // told of transfers, as far as anybody listens
}

func (c *clients) start(ctx context.Context, client *cluster.Client) {
	ctx, c.cancel = context.WithCancel(ctx)
	c.failed, c.moved = make(chan error, 8), make(chan struct{}, 1)
	for range 8 {
		c.running.Go(func() {
			for ctx.Err() == nil {
				move := Move(fmt.Sprint(rand.IntN(accounts)), fmt.Sprint(rand.IntN(accounts)), rand.Uint64N(30))
				_, err := client.Propose(context.WithoutCancel(ctx), group, move)
				switch cluster.OutcomeOf(err) {
				case cluster.Applied:
					c.done.Add(1)
				case cluster.Unknown: // nobody knows, and to move it again could be twice
					c.unknown.Add(1)
				default:
					c.failed <- err
				}
				select {
				case c.moved <- struct{}{}:
				default:
				}
				if cluster.OutcomeOf(err) == cluster.NotApplied {
					return
				}
			}
		})
	}
}

// await waits until so many transfers are acknowledged, or a client has failed.
func (c *clients) await(n int64) {
	for c.done.Load() < n && len(c.failed) == 0 {
		<-c.moved
	}
}

func (c *clients) stop() error {
	c.cancel()
	c.running.Wait()
	select {
	case err := <-c.failed:
		return err
	default:
		return nil
	}
}

func startNode(id, dir string, members []cluster.Member) (*cluster.Node, error) {
	node, err := cluster.Start(cluster.NewSystem(nil), cluster.Options{
		ID: id, Members: members, DataDir: filepath.Join(dir, id), ElectionTimeout: 300 * time.Millisecond,
	})
	if err != nil {
		return nil, err
	}
	if _, err := node.StartGroup(group, New()); err != nil {
		return nil, errors.Join(err, stop(context.Background(), node))
	}
	return node, nil
}

// stop shuts a node down at once, without handing its leadership over.
func stop(ctx context.Context, node *cluster.Node) error {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	return node.Shutdown(ctx)
}

// freeMembers finds three free ports. A cluster in earnest has fixed ones.
func freeMembers() ([]cluster.Member, error) {
	var all []cluster.Member
	for i := range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // together, or the next would get the same one
		all = append(all, cluster.Member{ID: fmt.Sprintf("n%d", i+1), Address: l.Addr().String()})
	}
	return all, nil
}
