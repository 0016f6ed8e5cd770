package main

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"github.com/protoraft/protoraft/cluster"
	"github.com/protoraft/protoraft/fsm/counter"
)

func serverCommand(addresses *[]string) *cobra.Command {
	var id, dir string
	var patience time.Duration
	cmd := &cobra.Command{
		Use:     "server --id N",
		Short:   "Run one of the three servers, until Ctrl-C",
		Example: "  counter server --id 1",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return serve(id, filepath.Join(dir, id), members(*addresses), patience)
		},
	}
	cmd.Flags().StringVar(&id, "id", "", "which server this is: 1, 2 or 3")
	cmd.Flags().StringVar(&dir, "dir", filepath.Join(os.TempDir(), "protoraft-counter"), "where the servers keep their logs, each in a directory of its own")
	cmd.Flags().DurationVar(&patience, "election-timeout", time.Second, "how long servers wait for a leader that is silent before they elect another")
	if err := cmd.MarkFlagRequired("id"); err != nil {
		panic(err)
	}
	return cmd
}

func serve(id, dir string, members []cluster.Member, patience time.Duration) error {
	interrupt, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	logger := hclog.New(&hclog.LoggerOptions{Name: "server-" + id, Level: hclog.Info})

	// A node is this process's place in the cluster …
	node, err := cluster.Start(cluster.NewSystem(logger), cluster.Options{
		ID: id, Members: members, DataDir: dir, ElectionTimeout: patience, Logger: logger,
	})
	if err != nil {
		return err
	}
	// … and a member its place in one group, with a machine that the log is applied to.
	machine := counter.New(counter.Hooks{
		LeaderStart: func(term uint64) { logger.Info("this server leads now", "term", term) },
		LeaderStop:  func(term uint64) { logger.Info("this server no longer leads", "term", term) },
	})
	if _, err := node.StartGroup(group, machine); err != nil {
		return err
	}
	logger.Info("counter server started", "dir", dir)

	select {
	case <-interrupt.Done():
		stop() // a second Ctrl-C ends the process at once
		logger.Info("shutting down")
	case <-node.Failed():
		logger.Error("the disk failed", "error", node.Err())
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := node.Shutdown(ctx); err != nil {
		return err
	}
	return node.Err()
}
