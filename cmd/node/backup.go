package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/protoraft/protoraft/cluster"
	"github.com/protoraft/protoraft/cmd/node/web"
)

func backupCommand() *cobra.Command {
	var f adminFlags
	newest := false
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write a backup of a running cluster to a file, or look at one",
		Long: `backup writes the state of a running cluster to FILE, which must not exist. It asks the
leader's node where that is among --http, else the one that has applied most: what was
acknowledged before is in a leader's backup. The nodes must be on this machine.

The file has checksums of all its bytes. They are checked before it gets its name.`,
		Example: `  node backup monday.backup
  node backup monday.backup --http 127.0.0.1:8001 --newest
  node backup inspect monday.backup
  node restore monday.backup --dir restored --cluster n1=127.0.0.1:7101`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("%d arguments, expected one: the file to write", len(args))
			}
			if err := f.check(); err != nil {
				return err
			}
			info, err := backUp(cmd.Context(), &f, args[0], newest)
			if err != nil {
				return err
			}
			return printBackup(cmd.OutOrStdout(), args[0], &info, f.output)
		},
	}
	f.register(cmd, 5*time.Minute, "how long to wait for the snapshot, before its first byte")
	cmd.Flags().BoolVar(&newest, "newest", false, "the newest snapshot that the node has, rather than one taken now")
	cmd.AddCommand(inspectCommand())
	return cmd
}

func inspectCommand() *cobra.Command {
	output := "table"
	cmd := &cobra.Command{
		Use:     "inspect FILE",
		Short:   "Check a backup and show what it is of",
		Example: `  node backup inspect monday.backup -o json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("%d arguments, expected one: the backup", len(args))
			}
			if err := checkOutput(output, "table"); err != nil {
				return err
			}
			info, err := cluster.InspectBackup(args[0])
			if err != nil {
				return err
			}
			return printBackup(cmd.OutOrStdout(), args[0], &info, output)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", output, "`format`: table or json")
	return cmd
}

// backUp writes to a file beside, and gives that its name when all of it is checked and
// durable.
func backUp(ctx context.Context, f *adminFlags, file string, newest bool) (info cluster.BackupInfo, err error) {
	if _, err := os.Lstat(file); err == nil {
		return info, usage("%s exists, expected a name that is free: nothing is overwritten", file)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return info, err
	}
	address, err := bestSource(ctx, f)
	if err != nil {
		return info, err
	}
	temp, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*.unfinished")
	if err != nil {
		return info, err
	}
	defer func() {
		if removeErr := os.Remove(temp.Name()); removeErr != nil && !errors.Is(removeErr, fs.ErrNotExist) {
			err = errors.Join(err, removeErr)
		}
	}()
	call := adminCall{
		method: http.MethodGet, path: "backup", query: url.Values{"newest": {strconv.FormatBool(newest)}},
		file: temp, timeout: time.Duration(f.timeout),
	}
	if err = call.at(ctx, address); err == nil {
		err = temp.Sync()
	}
	if err = errors.Join(err, temp.Close()); err != nil {
		return info, err
	}
	if info, err = cluster.InspectBackup(temp.Name()); err != nil {
		return info, fmt.Errorf("what %s has sent: %w", address, err)
	}
	// A link fails where the name is taken by now; a rename would overwrite, and is for
	// file systems that have no links.
	if err := os.Link(temp.Name(), file); errors.Is(err, fs.ErrExist) {
		return info, err
	} else if err != nil {
		if err := os.Rename(temp.Name(), file); err != nil {
			return info, err
		}
	}
	return info, syncDirectory(filepath.Dir(file))
}

func syncDirectory(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// bestSource is the address of the node that leads, else of the one that has applied most.
func bestSource(ctx context.Context, f *adminFlags) (best string, err error) {
	var errs []error
	var most uint64
	for _, address := range f.addresses {
		var s web.AdminStatus
		call := adminCall{method: http.MethodGet, path: "status", answer: &s, timeout: 2 * time.Second}
		if err := call.at(ctx, address); err != nil {
			errs = append(errs, err)
			continue
		}
		for _, g := range s.Groups {
			if g.Role == "leader" {
				return address, nil
			}
			applied := g.AppliedIndex
			if g.Role == "witness" {
				applied = 0 // it has no state to back up
			}
			if best == "" || applied > most {
				best, most = address, applied
			}
		}
	}
	switch {
	case best != "":
		return best, nil
	case len(errs) == 1:
		return "", errs[0]
	}
	return "", &exitError{exitUnreachable, errors.Join(errs...)}
}

// backupRow is a backup as JSON.
type backupRow struct {
	File     string             `json:"file"`
	Cluster  string             `json:"cluster"`
	Node     string             `json:"node"`
	Taken    time.Time          `json:"taken"`
	Group    uint64             `json:"group"`
	Index    uint64             `json:"index"`
	Term     uint64             `json:"term"`
	LogTime  *time.Time         `json:"log_time,omitempty"`
	Voters   []web.Member       `json:"voters"`
	Learners []web.Member       `json:"learners"`
	Machine  string             `json:"machine,omitempty"`
	Size     int64              `json:"size"`
	Checksum string             `json:"checksum"`
	Sections []backupSectionRow `json:"sections"`
}

type backupSectionRow struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
}

func printBackup(out io.Writer, file string, i *cluster.BackupInfo, format string) error {
	row := backupRow{
		File: file, Cluster: i.Cluster, Node: i.Node, Taken: i.Taken.UTC(), Group: i.Group, Index: i.Index, Term: i.Term,
		Voters: webMembers(i.Voters), Learners: webMembers(i.Learners), Machine: i.Machine, Size: i.Size,
		Checksum: fmt.Sprintf("%016x", i.Checksum), Sections: []backupSectionRow{},
	}
	if !i.LogTime.IsZero() {
		at := i.LogTime.UTC()
		row.LogTime = &at
	}
	for _, s := range i.Sections {
		row.Sections = append(row.Sections, backupSectionRow(s))
	}
	if format == "json" {
		return printJSON(out, row)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "file\t%s, %d bytes, whole: checksum %s\n", row.File, row.Size, row.Checksum)
	fmt.Fprintf(w, "cluster\t%s\n", row.Cluster)
	fmt.Fprintf(w, "taken\t%s, of node %s\n", row.Taken.Format(time.RFC3339), row.Node)
	fmt.Fprintf(w, "group\t%d, up to entry %d of term %d\n", row.Group, row.Index, row.Term)
	if row.LogTime != nil {
		fmt.Fprintf(w, "log time\t%s\n", row.LogTime.Format(time.RFC3339Nano))
	}
	for _, m := range row.Voters {
		fmt.Fprintf(w, "voter\t%s=%s\n", m.ID, m.Address)
	}
	for _, m := range row.Learners {
		fmt.Fprintf(w, "learner\t%s=%s\n", m.ID, m.Address)
	}
	fmt.Fprintf(w, "machine\t%s\n", row.Machine)
	for _, s := range row.Sections {
		fmt.Fprintf(w, "section\t%s, %d bytes\n", s.Name, s.Bytes)
	}
	return w.Flush()
}
