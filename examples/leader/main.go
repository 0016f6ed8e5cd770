// Leader has one actor run in a cluster of three nodes, and no more than one: on the
// node that leads. When that node stops, the actor starts on the next.
//
//	go run ./examples/leader
//
// The three nodes live in this process; examples/counter shows them in three.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/cluster"
	"github.com/protoraft/protoraft/fsm/counter"
)

const group = 1

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "leader:", err)
		os.Exit(1)
	}
}

// run goes through three leaders.
func run(ctx context.Context, out io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "protoraft-leader-")
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
			err = errors.Join(err, shutdown(n))
		}
	}()
	work := make(chan worked, 100)
	for _, m := range members {
		if nodes[m.ID], err = startNode(m.ID, dir, members, work); err != nil {
			delete(nodes, m.ID)
			return err
		}
	}
	// The outside world accepts work of the newest term only: a leader that was cut off
	// learns late that it is none any more, and its actor works on until then.
	var newest worked
	for round := range 3 {
		timeout := time.After(20 * time.Second)
		for begun := newest.term; newest.term == begun; {
			select {
			case w := <-work:
				if w.term > newest.term {
					newest = w
				}
			case <-timeout:
				return fmt.Errorf("no node has taken over from %q within 20 s", newest.node)
			}
		}
		fmt.Fprintf(out, "the actor works on %s, since term %d\n", newest.node, newest.term)
		if round == 2 {
			return nil
		}
		// It comes back, so that there is a majority for the next round.
		if err := shutdown(nodes[newest.node]); err != nil {
			return err
		}
		delete(nodes, newest.node)
		fmt.Fprintf(out, "%s is stopped\n", newest.node)
		node, err := startNode(newest.node, dir, members, work)
		if err != nil {
			return err
		}
		nodes[newest.node] = node
	}
	return nil
}

// worked is what the actor tells the outside world.
type worked struct {
	node string
	term uint64
}

// lead and follow come from the state machine: this node leads from now on, or no
// longer. They come in order, and lead only when all before this term is applied.
type lead struct{ term uint64 }
type follow struct{ term uint64 }

// keeper runs on every node, and the singleton below it where the node leads.
type keeper struct {
	node      string
	work      chan<- worked
	singleton *actor.PID
}

func (k *keeper) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *lead:
		k.stop(ctx)
		k.singleton = ctx.Spawn(actor.PropsFromProducer(func() actor.Actor {
			return &singleton{worked{k.node, m.term}, k.work}
		}))
	case *follow:
		k.stop(ctx)
	}
}

func (k *keeper) stop(ctx actor.Context) {
	if k.singleton != nil {
		ctx.Stop(k.singleton)
		k.singleton = nil
	}
}

// singleton is whatever there must be one of: a scheduler, say. It shows the term it
// works in with everything it does.
type singleton struct {
	me   worked
	work chan<- worked
}

func (s *singleton) Receive(ctx actor.Context) {
	if _, ok := ctx.Message().(*actor.Started); ok {
		s.work <- s.me
	}
}

// startNode starts a node whose machine tells a keeper when it leads. The hooks run
// where entries are applied: they send and do not wait.
func startNode(id, dir string, members []cluster.Member, work chan<- worked) (*cluster.Node, error) {
	system := cluster.NewSystem(nil)
	node, err := cluster.Start(system, cluster.Options{
		ID: id, Members: members, DataDir: filepath.Join(dir, id), ElectionTimeout: 300 * time.Millisecond,
	})
	if err != nil {
		return nil, err
	}
	k := system.Root.Spawn(actor.PropsFromProducer(func() actor.Actor { return &keeper{node: id, work: work} }))
	machine := counter.New(counter.Hooks{
		LeaderStart: func(term uint64) { system.Root.Send(k, &lead{term}) },
		LeaderStop:  func(term uint64) { system.Root.Send(k, &follow{term}) },
	})
	if _, err := node.StartGroup(group, machine); err != nil {
		return nil, errors.Join(err, shutdown(node))
	}
	return node, nil
}

// shutdown stops a node at once, without handing its leadership over.
func shutdown(node *cluster.Node) error {
	ctx, cancel := context.WithCancel(context.Background())
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
