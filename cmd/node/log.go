package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/protoraft/protoraft/cluster"
	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/engine"
	"github.com/protoraft/protoraft/logstore/snapshots"
	"github.com/protoraft/protoraft/logstore/vfs"
)

func logCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "log",
		Short:   "Look at the log of a node that does not run, or convert it",
		Example: `  node log dump data/n1`,
		Args:    subcommandNeeded,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(dumpCommand(), convertCommand())
	return cmd
}

// dumpFlags are those of log dump.
type dumpFlags struct {
	from, to uint64
	group    uint64
	output   string
	full     bool
}

// shownBytes is how much of a key or value is shown unless all is asked for.
const shownBytes = 40

func dumpCommand() *cobra.Command {
	f := dumpFlags{output: "text"}
	cmd := &cobra.Command{
		Use:   "dump DIR",
		Short: "Print a node's log, and check all of it",
		Long: `dump prints the log in the data directory DIR entry by entry, and checks every record,
block and snapshot, also those it does not print. What is damaged is named with its
place; what can be read all the same is printed. It exits with 1 where anything is.

The node must not run: a log that is being written is refused. Nothing in DIR is
changed, also where a node that starts would cut an interrupted write off.

With -o json every line is an object whose type is directory, group, entry, damage,
snapshot or end.`,
		Example: `  node log dump data/n1
  node log dump data/n1 --from 1000 --to 1010 --full
  node log dump data/n1 -o json | jq 'select(.type == "damage")'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(args); err != nil {
				return err
			}
			return dump(cmd.OutOrStdout(), args[0], &f)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.Uint64Var(&f.from, "from", 0, "first `index` to print (default: where the log begins)")
	flags.Uint64Var(&f.to, "to", 0, "last `index` to print (default: where it ends)")
	flags.Uint64Var(&f.group, "group", 0, "print this `group` only (default: all)")
	flags.BoolVar(&f.full, "full", false, fmt.Sprintf("print keys and values whole, not their first %d bytes", shownBytes))
	flags.StringVarP(&f.output, "output", "o", f.output, "`format`: text or json")
	return cmd
}

func (f *dumpFlags) check(args []string) error {
	switch {
	case len(args) != 1:
		return usage("%d arguments, expected one: the data directory of a node that does not run", len(args))
	case f.to != 0 && f.to < f.from:
		return usage("--from %d --to %d, expected --to at or above --from", f.from, f.to)
	}
	return checkOutput(f.output, "text")
}

func (f *dumpFlags) shows(index uint64) bool {
	return index >= f.from && (f.to == 0 || index <= f.to)
}

// dump prints and checks. Its error says how much is damaged.
func dump(out io.Writer, path string, f *dumpFlags) (err error) {
	dir, err := cluster.InspectDataDir(path)
	if err != nil {
		return fmt.Errorf("DIR: %w", err)
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	lines := bufio.NewWriterSize(out, 64<<10)
	defer func() { err = errors.Join(err, lines.Flush()) }()
	p := newDumpPrinter(lines, f)
	p.directory(dir)
	if err := dumpLog(p, dir.LogDir, f); err != nil {
		return err
	}
	if err := dumpSnapshots(p, dir.SnapshotsDir, f); err != nil {
		return err
	}
	if err := p.end(); err != nil {
		return err
	}
	if p.damaged > 0 {
		return fmt.Errorf("DIR %s: places damaged: %d, as printed", path, p.damaged)
	}
	return nil
}

func dumpLog(p *dumpPrinter, dir string, f *dumpFlags) (err error) {
	log, err := engine.Inspect(vfs.OS{}, dir)
	if err != nil {
		return fmt.Errorf("DIR: %w", err)
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	p.damages(log.Damage())
	ids, damage := log.Groups()
	p.damages(damage)
	for _, id := range ids {
		if f.group != 0 && id != f.group {
			continue
		}
		info := log.Group(id)
		p.group(id, &info)
		p.damages(info.Damage)
		if err := log.Blocks(id, &info, func(r logstore.Record) error { return p.record(id, r) }); err != nil {
			return err
		}
	}
	return p.failure
}

// dumpSnapshots checks every snapshot to its end.
func dumpSnapshots(p *dumpPrinter, dir string, f *dumpFlags) error {
	if dir == "" {
		return nil
	}
	names, err := filepath.Glob(filepath.Join(dir, "*", "*.snapshot"))
	if err != nil {
		return err
	}
	for _, name := range names {
		r, err := snapshots.OpenFile(vfs.OS{}, name)
		if err == nil {
			meta := r.Meta()
			err = r.Verify()
			_ = r.Close() // it was only read
			if err == nil && (f.group == 0 || meta.GetGroup() == f.group) {
				p.snapshot(name, meta, r.Info().Size)
			}
		}
		switch {
		case errors.Is(err, logstore.ErrCorrupt):
			p.damages([]error{err})
		case err != nil:
			return fmt.Errorf("DIR: %w", err)
		}
	}
	return p.failure
}
