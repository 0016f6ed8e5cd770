package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// Where the demo's nodes are, from n1 on, unless the ports are taken.
const (
	demoNodePort = 7001
	demoRESPPort = 6379
	demoHTTPPort = 8001
)

const (
	demoNodesMax        = 9
	demoElectionTimeout = time.Second
)

// defaultHTTP is where status looks: at the demo's nodes.
func defaultHTTP() string {
	addresses := make([]string, 3)
	for i := range addresses {
		addresses[i] = loopback(demoHTTPPort + i)
	}
	return strings.Join(addresses, ",")
}

// demoFlags is the command line of demo.
type demoFlags struct {
	once     bool
	nodes    int
	nodesSet bool // by the user
	dir      string
	nodePort int
	respPort int
	httpPort int
}

func demoCommand() *cobra.Command {
	f := demoFlags{nodes: 3, nodePort: demoNodePort, respPort: demoRESPPort, httpPort: demoHTTPPort}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Start a cluster on this machine and show that it survives",
		Long: `demo starts nodes as processes of their own, on loopback and with durable data,
and takes you on a tour: it writes, kills the leader with SIGKILL, waits for the
next one, reads every acknowledged write back, and restarts the dead node. Every
time it prints is measured. The nodes stay up until Ctrl-C.`,
		Example: `  node demo
  node demo --once                    exit after the tour, with 1 if a step failed
  node demo --nodes 5 --dir ./demo    keep the data; a later demo goes on with it`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.nodesSet = cmd.Flags().Changed("nodes")
			if err := f.check(); err != nil {
				return err
			}
			return runDemo(&f, cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVar(&f.once, "once", false, "exit after the tour")
	flags.IntVar(&f.nodes, "nodes", f.nodes, "how `many` nodes")
	flags.StringVar(&f.dir, "dir", "", "`directory` to keep data and logs in (default: a temporary one)")
	flags.IntVar(&f.nodePort, "node-port", f.nodePort, "`port` of n1 for the other nodes; these take those that follow, 0 any")
	flags.IntVar(&f.respPort, "resp-port", f.respPort, "`port` of n1 for Redis clients; the others take those that follow, 0 any")
	flags.IntVar(&f.httpPort, "http-port", f.httpPort, "`port` of n1 for HTTP; the others take those that follow, 0 any")
	return cmd
}

func (f *demoFlags) check() error {
	if f.nodes < 1 || f.nodes > demoNodesMax {
		return usage("--nodes %d, expected 1 to %d", f.nodes, demoNodesMax)
	}
	for _, p := range []struct {
		flag string
		port int
	}{{"--node-port", f.nodePort}, {"--resp-port", f.respPort}, {"--http-port", f.httpPort}} {
		if p.port < 0 || p.port > 65535 {
			return usage("%s %d, expected 0 to 65535", p.flag, p.port)
		}
	}
	return nil
}

func runDemo(f *demoFlags, out io.Writer) (err error) {
	// Linux ends the children of a thread with the thread: this one must stay.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal need not wait for a good end

	dir, err := openDemoDir(f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.close()) }()
	d, err := newDemo(f, dir, out)
	if err != nil {
		return err
	}
	defer d.stop()
	d.printHeader()
	if err := d.tour(ctx); err != nil {
		if ctx.Err() != nil {
			return errors.New("interrupted before the tour was over")
		}
		d.printTails()
		return err
	}
	if f.once {
		return nil
	}
	d.printInvitation()
	d.watch(ctx) // from here on a signal is the regular end
	fmt.Fprintln(out, "\n  Stopping.")
	return nil
}
