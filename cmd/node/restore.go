package main

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/protoraft/protoraft/cluster"
	"github.com/protoraft/protoraft/cmd/node/machine"
)

// restoreFlags are those of restore.
type restoreFlags struct {
	cluster, clusterID string
	id, dir, output    string
	witness            string // the id of one of them

	members []cluster.Member // parsed from cluster
}

// restoreRow is a node that can be started.
type restoreRow struct {
	Node    string `json:"node"`
	Address string `json:"address"`
	Data    string `json:"data"`
	Cluster string `json:"cluster_id"`
	Start   string `json:"start"`
}

func restoreCommand() *cobra.Command {
	f := restoreFlags{output: "table"}
	cmd := &cobra.Command{
		Use:   "restore FILE --dir DIR --cluster ID=HOST:PORT,...",
		Short: "Make the nodes of a new cluster from a backup",
		Long: `restore makes data directories of the nodes of a new cluster, DIR/ID for each, that
begin with the state in FILE: keys, locks and clients' sessions. The new cluster has an
id of its own. Nodes of the old one are refused by it, and so are their directories.

To make each directory on its own machine, run restore there with the same FILE and
--cluster, with --id, and with the --cluster-id that the first one has printed or you
have chosen: it must be new, and the same for all of them. Do not make a directory a
second time for a cluster that has begun: its node would have forgotten its votes.

Nothing that exists is overwritten. FILE is checked before anything is made.`,
		Example: `  node restore monday.backup --dir restored \
      --cluster n1=127.0.0.1:7101,n2=127.0.0.1:7102,n3=127.0.0.1:7103
  node restore monday.backup --dir /data --id n2 --cluster-id 5be8c0ffee5be8aa \
      --cluster n1=10.0.0.1:7001,n2=10.0.0.2:7001,n3=10.0.0.3:7001`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(args); err != nil {
				return err
			}
			return restore(cmd.OutOrStdout(), &f, args[0])
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.dir, "dir", "", "`directory` in which each node's is made")
	flags.StringVar(&f.cluster, "cluster", "", "all `nodes` of the new cluster as id=host:port,...")
	flags.StringVar(&f.id, "id", "", "make that of the node of this `id` only")
	flags.StringVar(&f.witness, "witness", "", "`id` of the node in --cluster that votes and has no data; the same for all of them")
	flags.StringVar(&f.clusterID, "cluster-id", "", "`name` of the new cluster (default: drawn at random)")
	flags.StringVarP(&f.output, "output", "o", f.output, "`format`: table or json")
	return cmd
}

func (f *restoreFlags) check(args []string) (err error) {
	if len(args) != 1 {
		return usage("%d arguments, expected one: the backup", len(args))
	}
	if f.members, err = parseMembers(f.cluster); err != nil {
		return err
	}
	_, known := findMember(f.members, f.id)
	switch {
	case f.dir == "":
		return usage("--dir is missing, expected a directory for the nodes' directories")
	case !markWitness(f.members, f.witness):
		return usage("--witness %q is not in --cluster, expected one of: %s", f.witness, memberIDs(f.members))
	case f.witness != "" && len(f.members) < 3:
		return usage("--witness %s of %d nodes, expected at least two beside it: a witness has no data", f.witness, len(f.members))
	case f.id != "" && !known:
		return usage("--id %q is not in --cluster, expected one of: %s", f.id, memberIDs(f.members))
	case f.id != "" && f.clusterID == "":
		return usage("--id without --cluster-id, expected the id that all nodes of the new cluster are to have")
	}
	if f.clusterID == "" {
		f.clusterID = cluster.NewClusterID()
	}
	return checkOutput(f.output, "table")
}

func restore(out io.Writer, f *restoreFlags, file string) error {
	rows, more := []restoreRow{}, ""
	if slices.ContainsFunc(f.members, func(m cluster.Member) bool { return !isLoopback(m.Address) }) {
		more = " --insecure"
	}
	if f.witness != "" {
		more += " --witness " + f.witness
	}
	for _, m := range f.members {
		if f.id != "" && f.id != m.ID {
			continue
		}
		row := restoreRow{Node: m.ID, Address: m.Address, Data: filepath.Join(f.dir, m.ID), Cluster: f.clusterID}
		err := cluster.Restore(cluster.RestoreOptions{
			Backups: []string{file}, ClusterID: f.clusterID, Members: f.members, ID: m.ID, DataDir: row.Data, Machine: machine.Format,
		})
		if err != nil {
			return restoreFailed(err, rows)
		}
		row.Start = fmt.Sprintf("node serve --id %s --data %s --cluster-id %s --cluster %s%s", m.ID, row.Data, f.clusterID, f.cluster, more)
		rows = append(rows, row)
	}
	return printRestored(out, rows, f.output)
}

// restoreFailed says what is there already: it is of no use to a next attempt.
func restoreFailed(err error, made []restoreRow) error {
	for _, row := range made {
		err = fmt.Errorf("%w; %s was made before and is of no use now, remove it", err, row.Data)
	}
	return err
}

func printRestored(out io.Writer, rows []restoreRow, format string) error {
	if format == "json" {
		return printJSON(out, rows)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NODE\tDATA\tCLUSTER")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%s\t%s\n", r.Node, r.Data, r.Cluster)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, r := range rows {
		if _, err := fmt.Fprintln(out, r.Start); err != nil {
			return err
		}
	}
	return nil
}
