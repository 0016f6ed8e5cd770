// Lock shows why a lock has a token. Two workers write to a file store that a lock
// protects. The first is stopped for longer than its lock lasts, as a process is in a
// long pause, and does not notice; the second, who has waited, gets the lock and
// writes. When the first goes on, its token is old, and the store refuses it.
//
//	go run ./examples/lock
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

	"github.com/protoraft/protoraft/cluster"
	"github.com/protoraft/protoraft/fsm/kv"
	"github.com/protoraft/protoraft/fsm/lock"
)

const (
	group = 1
	name  = "report"
	ttl   = 500 * time.Millisecond
	poll  = 50 * time.Millisecond
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "lock:", err)
		os.Exit(1)
	}
}

// store is what the lock protects. It needs no clock and no cluster: it remembers the
// highest token it has seen.
type store struct {
	token uint64
	text  string
}

var errFenced = errors.New("the token is old: somebody else has had the lock since")

func (s *store) write(token uint64, text string) error {
	if token < s.token {
		return errFenced
	}
	s.token, s.text = token, text
	return nil
}

// worker is one owner of locks.
type worker struct {
	client *cluster.Client
	owner  string
}

// acquire waits in the queue until the lock is granted. To ask again keeps the place,
// and is safe after an unknown outcome: a holder gets its own token again.
func (w worker) acquire(ctx context.Context) (token uint64, err error) {
	for ctx.Err() == nil {
		reply, err := w.client.Propose(ctx, group, lock.Acquire(name, w.owner, ttl, 10*poll))
		if cluster.OutcomeOf(err) == cluster.Unknown {
			continue
		}
		if err != nil {
			return 0, err
		}
		if token, err = lock.ParseToken(reply); err != nil || token != 0 {
			return token, err
		}
		select {
		case <-time.After(poll):
		case <-ctx.Done():
		}
	}
	return 0, ctx.Err()
}

// release tells whether the lock was still held.
func (w worker) release(ctx context.Context, token uint64) (bool, error) {
	reply, err := w.client.Propose(ctx, group, lock.Release(name, token))
	if err != nil {
		return false, err
	}
	return lock.ParseDone(reply)
}

func run(ctx context.Context, out io.Writer) (err error) {
	client, stop, err := startCluster()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	slow, quick, report := worker{client, "slow"}, worker{client, "quick"}, &store{}

	first, err := slow.acquire(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "slow has the lock, token %d, and falls asleep\n", first)
	second, err := quick.acquire(ctx) // waits until the log's time has ended the first
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "quick has the lock, token %d\n", second)
	if err := inspect(ctx, client, out); err != nil {
		return err
	}
	if err := report.write(second, "by quick"); err != nil {
		return err
	}
	fmt.Fprintln(out, "slow wakes up and writes:", report.write(first, "by slow"))
	held, err := slow.release(ctx, first)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "the report is %q; slow still held the lock: %v\n", report.text, held)
	if held, err = quick.release(ctx, second); err != nil {
		return err
	}
	fmt.Fprintln(out, "quick still held the lock:", held)
	return nil
}

// inspect asks who holds the lock, without an entry unless an end is due.
func inspect(ctx context.Context, client *cluster.Client, out io.Writer) error {
	query := lock.Inspect(name, time.Now())
	reply, err := client.Query(ctx, group, query, cluster.Linearizable)
	if err == nil && kv.NeedsLog(reply) {
		reply, err = client.Propose(ctx, group, query)
	}
	if err != nil {
		return err
	}
	status, err := lock.ParseStatus(reply)
	if err == nil {
		fmt.Fprintf(out, "held by %q, token %d, %d waiting\n", status.Owner, status.Token, status.Waiting)
	}
	return err
}

// startCluster runs three nodes and returns a client of the first.
func startCluster() (_ *cluster.Client, stop func() error, err error) {
	dir, err := os.MkdirTemp("", "protoraft-lock-")
	if err != nil {
		return nil, nil, err
	}
	var nodes []*cluster.Node
	stop = func() (err error) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // all are to go: there is nobody to hand over to
		for _, n := range nodes {
			err = errors.Join(err, n.Shutdown(ctx))
		}
		return errors.Join(err, os.RemoveAll(dir))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, stop())
		}
	}()
	members, err := freeMembers()
	if err != nil {
		return nil, nil, err
	}
	for _, m := range members {
		node, err := cluster.Start(cluster.NewSystem(nil), cluster.Options{
			ID: m.ID, Members: members, DataDir: filepath.Join(dir, m.ID), ElectionTimeout: 300 * time.Millisecond,
		})
		if err != nil {
			return nil, nil, err
		}
		nodes = append(nodes, node)
		if _, err := node.StartGroup(group, lock.New()); err != nil {
			return nil, nil, err
		}
	}
	return nodes[0].Client(), stop, nil
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
