// Kv goes the road from one node to three in one file: the same key-value machine
// on a node alone, then replicated, with the three ways to be sure of what was read,
// measured side by side.
//
//	go run ./examples/kv
//
// The three nodes live in this one process, each with its own actor system, port and
// directory. Between processes nothing changes but where Start is called; see
// examples/counter. Everything is removed at the end.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/protoraft/protoraft/cluster"
	"github.com/protoraft/protoraft/fsm/kv"
)

const (
	group  = 1
	warmUp = 50 // operations before the clock runs
)

func main() {
	var times int
	cmd := &cobra.Command{
		Use: "kv", Short: "A replicated map, and three ways to read it", Args: cobra.NoArgs, SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if times < 1 {
				return fmt.Errorf("--times %d, expected at least 1", times)
			}
			return tour(cmd.Context(), cmd.OutOrStdout(), times)
		},
	}
	cmd.Flags().IntVar(&times, "times", 500, "operations measured of each kind, one after the other")
	if cmd.ExecuteContext(context.Background()) != nil { // it has printed the error
		os.Exit(1)
	}
}

func tour(ctx context.Context, out io.Writer, times int) (err error) {
	dir, err := os.MkdirTemp("", "protoraft-kv-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	for _, nodes := range []int{1, 3} {
		if err := replicate(ctx, out, filepath.Join(dir, fmt.Sprint(nodes)), nodes, times); err != nil {
			return fmt.Errorf("%d nodes: %w", nodes, err)
		}
	}
	fmt.Fprint(out, promises)
	return nil
}

// replicate runs the map on that many nodes and measures what the leader's client sees.
func replicate(ctx context.Context, out io.Writer, dir string, count, times int) (err error) {
	members, err := freeMembers(count)
	if err != nil {
		return err
	}
	var nodes []*cluster.Node
	defer func() {
		for _, n := range nodes {
			err = errors.Join(err, stop(ctx, n))
		}
	}()
	for _, m := range members {
		node, err := cluster.Start(cluster.NewSystem(nil), cluster.Options{
			ID: m.ID, Members: members, DataDir: filepath.Join(dir, m.ID), ElectionTimeout: 300 * time.Millisecond,
		})
		if err != nil {
			return err
		}
		nodes = append(nodes, node)
		// The same line with one node and with many: that is all there is to replication.
		if _, err := node.StartGroup(group, kv.New()); err != nil {
			return err
		}
	}
	leader, err := nodes[0].Client().Leader(ctx, group)
	if err != nil {
		return err
	}
	i := slices.Index(members, leader)
	if i < 0 {
		return fmt.Errorf("leader %v, expected one of %v", leader, members)
	}
	if err := fill(ctx, nodes); err != nil {
		return err
	}
	return measure(ctx, out, nodes[i].Client(), fmt.Sprintf("nodes: %d, asked on the leader, %s", count, leader.ID), times)
}

// fill writes on one node and reads on another: any of them takes any operation.
func fill(ctx context.Context, nodes []*cluster.Node) error {
	first, last := nodes[0].Client(), nodes[len(nodes)-1].Client()
	if _, err := first.Propose(ctx, group, kv.Set([]byte("greeting"), []byte("hello"), 0)); err != nil {
		return err
	}
	answer, err := last.Query(ctx, group, kv.Get([]byte("greeting")), cluster.Linearizable)
	return expect(answer, err, "hello")
}

// A way to learn the value of key "n", which the state machine holds as text.
type way struct {
	name string
	read func(ctx context.Context, client *cluster.Client) (reply []byte, err error)
}

var n = []byte("n")

// The first one changes the key and learns the value by that; the others ask.
var ways = []way{
	{"reply after apply (a write)", func(ctx context.Context, client *cluster.Client) ([]byte, error) {
		return client.Propose(ctx, group, kv.IncrBy(n, 1))
	}},
	{"read through the log", func(ctx context.Context, client *cluster.Client) ([]byte, error) {
		return client.Query(ctx, group, kv.Get(n), cluster.ThroughLog)
	}},
	{"wait for apply at the read index", func(ctx context.Context, client *cluster.Client) ([]byte, error) {
		return client.Query(ctx, group, kv.Get(n), cluster.Linearizable)
	}},
}

const promises = `
reply after apply                 what the write's own Apply returned: the state right after it, free with a write
read through the log              sees all that was acknowledged before it: it is applied in its place among the writes, and costs what they cost
wait for apply at the read index  sees the same without an entry: the leader notes its commit index, has a quorum confirm that it still leads, and answers once applied up to there
`

// measure writes, then reads in both ways what was written, over and over.
func measure(ctx context.Context, out io.Writer, client *cluster.Client, title string, times int) error {
	took := make([][]time.Duration, len(ways))
	for round := range warmUp + times {
		for i, w := range ways {
			start := time.Now()
			reply, err := w.read(ctx, client)
			d := time.Since(start)
			if err := expect(reply, err, fmt.Sprint(round+1)); err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			if round >= warmUp {
				took[i] = append(took[i], d)
			}
		}
	}
	fmt.Fprintf(out, "\n%s, %d of each, one after the other:\n", title, times)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "way\tp50\tp99\tmax")
	for i, w := range ways {
		slices.Sort(took[i])
		at := func(q float64) time.Duration { return took[i][int(q*float64(times-1))].Round(time.Microsecond) }
		fmt.Fprintf(table, "%s\t%v\t%v\t%v\n", w.name, at(0.5), at(0.99), at(1))
	}
	return table.Flush()
}

// expect wants the value in a reply, be it a number or a string.
func expect(reply []byte, err error, want string) error {
	if err != nil {
		return err
	}
	r, err := kv.ParseReply(reply)
	if err != nil {
		return err
	}
	got := string(r.Bytes)
	if r.Kind == kv.Int {
		got = fmt.Sprint(r.Int)
	}
	if r.Err() != nil || got != want {
		return fmt.Errorf("answered %q, expected %q", got, want)
	}
	return nil
}

// freeMembers finds that many free ports. A cluster in earnest has fixed ones.
func freeMembers(count int) ([]cluster.Member, error) {
	var all []cluster.Member
	for i := range count {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // together, or the next would get the same one
		all = append(all, cluster.Member{ID: fmt.Sprintf("n%d", i+1), Address: l.Addr().String()})
	}
	return all, nil
}

// stop shuts a node down. All are to go, so there is nobody to hand over to.
func stop(ctx context.Context, node *cluster.Node) error {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	return node.Shutdown(ctx)
}
