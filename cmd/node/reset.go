package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/protoraft/protoraft/cmd/node/web"
)

// resetPeersCommand is for the day on which a majority is lost for ever.
func resetPeersCommand() *cobra.Command {
	var f adminFlags
	accept := false
	cmd := &cobra.Command{
		Use:   "reset-peers --http HOST:PORT --accept-loss",
		Short: "Lost majority: have one surviving node go on alone",
		Long: `reset-peers has the one node at --http go on alone, from what it holds, when a majority
of the nodes is lost for ever. It is refused while the node hears a leader.

What may be lost: everything that the others have committed and this node does not
hold, writes that clients were told are done among it. Of several nodes that are left
choose the one whose log ends last: 'node status' shows the terms and indexes. Without
--accept-loss nothing happens but that the node says where its log stands.

The other nodes are removed for good, dead or alive. The node, and those added to it
later, heed them no more, and tell them so when they come by; but a majority of them
that still runs where this node cannot reach it goes on with its own history, and
serves its clients. Make sure that none does, and wipe their directories. Then add new
nodes, under new ids, with 'node serve --join' and 'node members add'.`,
		Example: `  node reset-peers --http 127.0.0.1:8002
  node reset-peers --http 127.0.0.1:8002 --accept-loss`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			if !cmd.Flags().Changed("http") || len(f.addresses) != 1 {
				return usage("--http names %d nodes, expected the one that is to go on alone, named expressly", len(f.addresses))
			}
			var r web.PeersReset
			call := adminCall{method: http.MethodPost, path: "reset-peers", body: map[string]bool{"accept_loss": accept}, answer: &r, timeout: time.Duration(f.timeout)}
			if err := call.at(cmd.Context(), f.addresses[0]); err != nil {
				return err
			}
			return printReset(cmd.OutOrStdout(), &r, f.output)
		},
	}
	f.register(cmd, 10*time.Second, "how long to wait for the node's disk")
	cmd.Flags().BoolVar(&accept, "accept-loss", false, "what only the lost nodes hold may be lost")
	return cmd
}

func printReset(out io.Writer, r *web.PeersReset, format string) error {
	if format == "json" {
		return printJSON(out, r)
	}
	also := "nothing: its log ended there"
	if r.LastIndex > r.CommitIndex {
		also = fmt.Sprintf("entries %d to %d, whether or not they were", r.CommitIndex+1, r.LastIndex)
	}
	_, err := fmt.Fprintf(out, `node %s goes on alone, in term %d, since entry %d
  kept                     all that was known to be committed: entries 1 to %d
  committed by this        %s
  lost, where there was    what only others have committed above %d
  removed for good         %s
`, r.Node, r.Term, r.Index, r.CommitIndex, also, r.CommitIndex, strings.Join(r.Removed, ", "))
	return err
}
