package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"github.com/protoraft/protoraft/cluster"
	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/engine"
)

// serveFlags is the command line of serve.
type serveFlags struct {
	id, cluster, data  string
	address            string // of this node when it has moved, else empty
	listen, resp, http string
	election           duration
	heartbeat          duration
	balance            duration
	noSleep            bool
	level              logLevel
	logJSON            bool
	insecure           bool
	link               onOff
	snapshots          snapshotFlags
	join               bool
	clusterID          string // of --cluster, where it is not derived from that
	witness            string // the id of one of them
	logEngine          string // empty for whichever keeps the log that is there
	followStdin        bool   // end when stdin does: whoever started us is gone

	members []cluster.Member // parsed from cluster
}

func serveCommand() *cobra.Command {
	f := serveFlags{election: duration(time.Second), level: logLevel(hclog.Info), link: true}
	cmd := &cobra.Command{
		Use:   "serve --id ID --cluster ID=HOST:PORT,... --data DIR",
		Short: "Run one node of a cluster",
		Long: `serve runs one node. Every node of a cluster gets the same --cluster and a data
directory of its own; to start a node again, give it the same flags, also when the
members have changed since: who belongs to a cluster that has begun is in its log.

SIGTERM or Ctrl-C: the node says it is not ready, hands leadership over, answers
what it has taken in, and exits with 0. A second signal ends it at once.`,
		Example: `  node serve --id n1 --data data/n1 --resp 127.0.0.1:6379 --http 127.0.0.1:8001 \
      --cluster n1=127.0.0.1:7001,n2=127.0.0.1:7002,n3=127.0.0.1:7003

  # one node by itself
  node serve --id n1 --cluster n1=127.0.0.1:7001 --data data/n1 --resp 127.0.0.1:6379

  # a fourth node that waits to be added: see 'node members add --help'
  node serve --id n4 --join --cluster-id 5be8… --data data/n4 --http 127.0.0.1:8004 \
      --cluster n1=127.0.0.1:7001,n2=127.0.0.1:7002,n3=127.0.0.1:7003,n4=127.0.0.1:7004

  # at another address, after 'node members move' or before it
  node serve --address 127.0.0.1:7011 --id n1 --data data/n1 \
      --cluster n1=127.0.0.1:7001,n2=127.0.0.1:7002,n3=127.0.0.1:7003

  # in a container: others reach it by name, it binds every interface
  node serve --id n1 --data /data --listen :7001 --resp :6379 --http :8001 --insecure \
      --cluster n1=node-1:7001,n2=node-2:7001,n3=node-3:7001`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			return serve(&f, cmd.InOrStdin(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.id, "id", "", "this node's `id` in --cluster")
	flags.StringVar(&f.cluster, "cluster", "", "all `nodes` as id=host:port,..., as they reach each other")
	flags.BoolVar(&f.join, "join", false, "begin without a log and wait to be added to a cluster that runs")
	flags.StringVar(&f.witness, "witness", "", "`id` of the node in --cluster that votes and has no data; the same on every node")
	flags.StringVar(&f.clusterID, "cluster-id", "", "`name` of the cluster, as its nodes tell it (default: derived from --cluster)")
	flags.StringVar(&f.data, "data", "", "`directory` of this node's log; made if it does not exist")
	flags.StringVar(&f.resp, "resp", "", "`address` for Redis clients; none: not served")
	flags.StringVar(&f.http, "http", "", "`address` for HTTP; none: not served")
	flags.StringVar(&f.address, "address", "", "`address` at which the others reach this node, when it has moved from its place in --cluster")
	flags.StringVar(&f.listen, "listen", "", "`address` to bind for other nodes (default: --address, or this node's in --cluster)")
	flags.Var(&f.election, "election-timeout", "least time without a leader before a node stands for election")
	flags.Var(&f.heartbeat, "heartbeat", "how often a leader shows itself (default: a tenth of --election-timeout)")
	flags.Var(&f.link, "link", "whether Raft's messages go by direct links to nodes that have them, too, or all by the remote")
	flags.Var(&f.balance, "balance", "how often a node that leads more groups than another hands one over (default: never)")
	flags.BoolVar(&f.noSleep, "no-sleep", false, "groups in which nothing happens do not sleep; the same on every node")
	f.snapshots.register(flags)
	flags.StringVar(&f.logEngine, "log-engine", "", "what keeps the log: goleveldb or journal (default: what keeps the one there is, "+engine.Default+" for a new one)")
	flags.Var(&f.level, "log-level", "trace, debug, info, warn or error")
	flags.BoolVar(&f.logJSON, "log-json", false, "log lines are JSON")
	flags.BoolVar(&f.insecure, "insecure", false, "allow addresses beyond this machine: traffic is readable, peers are not verified")
	flags.BoolVar(&f.followStdin, "follow-stdin", false, "exit when standard input ends")
	if err := flags.MarkHidden("follow-stdin"); err != nil {
		panic(err) // the flag is the line above
	}
	return cmd
}

// check validates what can be known without touching anything.
func (f *serveFlags) check() (err error) {
	if f.members, err = parseMembers(f.cluster); err != nil {
		return err
	}
	me, known := findMember(f.members, f.id)
	switch {
	case f.id == "":
		return usage("--id is missing, expected one of the nodes in --cluster: %s", memberIDs(f.members))
	case !known:
		return usage("--id %q is not in --cluster, expected one of: %s", f.id, memberIDs(f.members))
	case f.join && f.clusterID == "":
		return usage("--join without --cluster-id, expected the id of the cluster to join, as 'node members list' shows it")
	case f.join && len(f.members) == 1:
		return usage("--join with no node in --cluster but %s itself, expected those of the cluster to join, too", f.id)
	case !markWitness(f.members, f.witness):
		return usage("--witness %q is not in --cluster, expected one of: %s", f.witness, memberIDs(f.members))
	case f.witness != "" && !f.join && len(f.members) < 3:
		return usage("--witness %s of %d nodes, expected at least two beside it: a witness has no data", f.witness, len(f.members))
	case f.data == "":
		return usage("--data is missing, expected a directory for this node alone, such as data/%s", f.id)
	}
	if f.heartbeat == 0 {
		f.heartbeat = f.election / 10
	}
	if f.election < 3*f.heartbeat || f.heartbeat < duration(time.Millisecond) {
		return usage("--election-timeout %v with --heartbeat %v, expected an election timeout of at least three heartbeats, and those of at least 1ms", &f.election, &f.heartbeat)
	}
	if err := checkLogEngine(f.logEngine); err != nil {
		return err
	}
	if err := f.snapshots.check(); err != nil {
		return err
	}
	return f.checkAddresses(me)
}

// checkLogEngine refuses the name of an engine that there is not.
func checkLogEngine(name string) error {
	if engine.Check(name) != nil {
		return usage("--log-engine %q, expected one of %s", name, strings.Join(engine.Names(), ", "))
	}
	return nil
}

// markWitness marks the witness among the members, if there is to be one, and says
// whether it is one of them.
func markWitness(members []cluster.Member, id string) bool {
	i := slices.IndexFunc(members, func(m cluster.Member) bool { return m.ID == id })
	if i >= 0 {
		members[i].Witness = true
	}
	return i >= 0 || id == ""
}

func (f *serveFlags) checkAddresses(me cluster.Member) error {
	self := "--cluster: node " + me.ID
	if f.address != "" {
		if err := cluster.CheckMember(cluster.Member{ID: me.ID, Address: f.address}); err != nil {
			return usage("--address: %v", err)
		}
		if err := checkLoopback("--address", f.address); err != nil && !f.insecure {
			return err
		}
		me.Address, self = f.address, "--address"
	}
	if !f.insecure {
		for _, m := range f.members {
			if err := checkLoopback("--cluster: node "+m.ID+" at", m.Address); err != nil {
				return err
			}
		}
	}
	taken := map[string]string{me.Address: self}
	for _, a := range []struct {
		flag, address string
		portMin       uint64
	}{{"--listen", f.listen, 1}, {"--resp", f.resp, 0}, {"--http", f.http, 0}} {
		if a.address == "" {
			continue
		}
		if err := checkAddress(a.flag, a.address, a.portMin); err != nil {
			return err
		}
		if !f.insecure {
			if err := checkLoopback(a.flag, a.address); err != nil {
				return err
			}
		}
		if other := taken[a.address]; other != "" && a.flag != "--listen" {
			return usage("%s %s is the address of %s, too, expected one of its own", a.flag, a.address, other)
		}
		taken[a.address] = a.flag
	}
	return nil
}

func (f *serveFlags) logger(out io.Writer) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Level: hclog.Level(f.level), JSONFormat: f.logJSON, Output: out}).With("node", f.id)
}

// serve runs the node until a signal, or until it cannot go on.
func serve(f *serveFlags, stdin io.Reader, stderr io.Writer) error {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	defer signal.Stop(signals)
	logger := f.logger(stderr)
	if f.followStdin {
		go func() {
			_, _ = io.Copy(io.Discard, stdin)
			logger.Error("whoever started this node is gone, stopping at once")
			os.Exit(exitFailed)
		}()
	}
	s, err := startServer(f, logger)
	if err != nil {
		return f.explain(err)
	}
	select {
	case sig := <-signals:
		s.draining.Store(true) // before it is said: who reads it may ask /readyz at once
		logger.Info("stopping", "signal", sig)
		go func() {
			sig := <-signals
			logger.Error("second signal, stopping at once", "signal", sig)
			os.Exit(exitFailed)
		}()
		if err := s.stop(); err != nil {
			return fmt.Errorf("stopping: %w", err)
		}
		logger.Info("stopped")
		return nil
	case <-s.node.Failed():
		logger.Error("STORAGE FAILED: this node stops now; nothing it acknowledged is lost", "error", s.node.Err())
		s.abandon()
		return fmt.Errorf("--data %s: %w", f.data, s.node.Err())
	case err := <-s.broken:
		logger.Error("a front end has stopped", "error", err)
		return errors.Join(err, s.stop())
	}
}

// explain names the flag behind an error of starting.
func (f *serveFlags) explain(err error) error {
	at := "--cluster: node " + f.id
	if f.address != "" {
		at = "--address"
	}
	if f.listen != "" {
		at = "--listen"
	}
	var network *net.OpError
	var file *fs.PathError
	switch {
	case errors.Is(err, cluster.ErrLogEngine):
		return fmt.Errorf("--log-engine: %w; 'node log convert' converts it", err)
	case errors.Is(err, cluster.ErrInsecure):
		return usage("%s: %w", at, err)
	case errors.Is(err, cluster.ErrPortInUse), errors.As(err, &network):
		return fmt.Errorf("%s: %w", at, err)
	case errors.As(err, &file):
		return fmt.Errorf("--data: %w", err)
	}
	for _, e := range []error{
		cluster.ErrDataDirLocked, cluster.ErrDataDirNotADir, cluster.ErrDataDirLogLost, cluster.ErrForeignDataDir, cluster.ErrNewerDataDir,
		cluster.ErrDataDirIdentity, cluster.ErrDataDirOfCluster, cluster.ErrDataDirOfNode,
		logstore.ErrCorrupt, logstore.ErrNewerFormat,
	} {
		if errors.Is(err, e) {
			return fmt.Errorf("--data: %w", err)
		}
	}
	return err
}

// Times that stopping may take. Two hand-overs, two front ends to drain and the
// node's own few seconds stay below the 30 that service managers commonly allow.
const (
	handOverTimeout = 4 * time.Second
	drainTimeout    = 6 * time.Second // a client's operation takes up to 5
	abandonTimeout  = time.Second
)

func within(limit time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return f(ctx)
}
