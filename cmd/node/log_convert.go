package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/protoraft/protoraft/cluster"
	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/engine"
)

func convertCommand() *cobra.Command {
	to := ""
	cmd := &cobra.Command{
		Use:   "convert DIR --to ENGINE",
		Short: "Have a node's log be kept by another engine",
		Long: `convert writes the log in the data directory DIR anew, kept by another engine: terms,
votes and entries stay what they are, snapshots are not touched. The node must not run.
It needs room for the log a second time; the old one is removed when the new one is
whole, durable and compared with it. Cut off at any moment, it leaves the one or the
other: run it again, or start the node.

One node after the other can be converted while the others go on; the engine of a node
is nobody else's business. A damaged log is refused: start the node, which has it
repaired by the others, and convert it then. A version of node that knows no journal
refuses the directory of one as written by a newer version; converted to goleveldb, it is
opened.`,
		Example: `  node log convert data/n1 --to journal`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("%d arguments, expected one: the data directory of a node that does not run", len(args))
			}
			if to == "" || engine.Check(to) != nil {
				return usage("--to %q, expected one of %s", to, strings.Join(engine.Names(), ", "))
			}
			return convert(cmd.OutOrStdout(), args[0], to)
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "`engine` that is to keep the log: "+strings.Join(engine.Names(), " or "))
	return cmd
}

func convert(out io.Writer, dir, to string) error {
	c, err := cluster.ConvertLog(cluster.ConvertOptions{DataDir: dir, LogEngine: to})
	switch {
	case errors.Is(err, logstore.ErrCorrupt):
		return fmt.Errorf("DIR: %w; start the node, so that the others repair it", err)
	case err != nil:
		return fmt.Errorf("DIR: %w", err)
	case c.From == c.To:
		_, err = fmt.Fprintf(out, "the log of node %s is kept by %s already, nothing was done\n", c.NodeID, c.To)
	default:
		_, err = fmt.Fprintf(out, "the log of node %s was kept by %s and is kept by %s now: %d entries in %d groups\n", c.NodeID, c.From, c.To, c.Entries, c.Groups)
	}
	return err
}
