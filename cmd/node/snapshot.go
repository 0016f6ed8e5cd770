package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/protoraft/protoraft/cmd/node/web"
)

// snapshotRow is one node's answer.
type snapshotRow struct {
	HTTP  string `json:"http"`
	Node  string `json:"node,omitempty"`
	Index uint64 `json:"index,omitempty"` // of the last entry in it
	Error string `json:"error,omitempty"`
}

// snapshotCommand has nodes take snapshots.
func snapshotCommand() *cobra.Command {
	var f adminFlags
	cmd := &cobra.Command{
		Use:   "snapshot",
		Short: "Have nodes take a snapshot and cut their logs",
		Long: `snapshot has every node at --http take a snapshot of its own, all at once, and cut
its log behind it. Nodes do so by themselves from time to time. When it returns, the
snapshots are durable. It is no backup: it stays in the node's directory.`,
		Example: `  node snapshot
  node snapshot --http 127.0.0.1:8001 -o json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			return snapshot(cmd.Context(), cmd.OutOrStdout(), &f)
		},
	}
	f.register(cmd, 5*time.Minute, "how long to wait for a node")
	return cmd
}

func snapshot(ctx context.Context, out io.Writer, f *adminFlags) error {
	rows, errs := make([]snapshotRow, len(f.addresses)), make([]error, len(f.addresses))
	done := make(chan int, len(rows))
	for i, address := range f.addresses {
		go func() {
			var s web.Snapshot
			call := adminCall{method: http.MethodPost, path: "snapshot", answer: &s, timeout: time.Duration(f.timeout)}
			errs[i] = call.at(ctx, address)
			rows[i] = snapshotRow{HTTP: address, Node: s.Node, Index: s.Index}
			if errs[i] != nil {
				rows[i].Error = oneLine(errs[i].Error())
			}
			done <- i
		}()
	}
	for range rows {
		<-done
	}
	if err := printSnapshots(out, rows, f.output); err != nil {
		return err
	}
	failed := slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	if len(failed) == 0 {
		return nil
	}
	worst := exitFailed
	for _, err := range failed {
		if code := exitCode(err); code != exitFailed {
			worst = code
		}
	}
	return &exitError{worst, fmt.Errorf("%d of %d nodes have taken no snapshot, as far as is known", len(failed), len(rows))}
}

func printSnapshots(out io.Writer, rows []snapshotRow, format string) error {
	if format == "json" {
		return printJSON(out, rows)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NODE\tINDEX\tHTTP\tERROR")
	for _, r := range rows {
		if r.Error != "" {
			fmt.Fprintf(w, "-\t-\t%s\t%s\n", r.HTTP, r.Error)
			continue
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t\n", r.Node, r.Index, r.HTTP)
	}
	return w.Flush()
}
