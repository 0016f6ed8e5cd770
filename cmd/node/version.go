package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/protoraft/protoraft/cluster"
)

// build is what this binary is.
type build struct {
	Version string          `json:"version"`
	Commit  string          `json:"commit,omitempty"`
	Go      string          `json:"go"`
	OS      string          `json:"os"`
	Arch    string          `json:"arch"`
	Formats cluster.Formats `json:"formats"`
}

func currentBuild() build {
	b := build{Version: "(devel)", Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH, Formats: cluster.CurrentFormats()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if info.Main.Version != "" {
		b.Version = info.Main.Version
	}
	modified := false
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.modified":
			modified = s.Value == "true"
		}
	}
	if modified && b.Commit != "" {
		b.Commit += " (modified)"
	}
	return b
}

func versionCommand() *cobra.Command {
	output := "text"
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version of this binary and of what it writes",
		Example: `  node version
  node version -o json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return printVersion(cmd, output) },
	}
	cmd.Flags().StringVarP(&output, "output", "o", output, "`format`: text or json")
	return cmd
}

func printVersion(cmd *cobra.Command, output string) error {
	b := currentBuild()
	out := cmd.OutOrStdout()
	if err := checkOutput(output, "text"); err != nil {
		return err
	}
	if output == "json" {
		return json.NewEncoder(out).Encode(b)
	}
	commit := b.Commit
	if commit == "" {
		commit = "unknown (not built from a repository)"
	}
	_, err := fmt.Fprintf(out, "protoraft %s\ncommit    %s\ngo        %s %s/%s\nformats   data directory %d, log %d, journal %d, protocol %d\n",
		b.Version, commit, b.Go, b.OS, b.Arch, b.Formats.DataDir, b.Formats.Log, b.Formats.Journal, b.Formats.Protocol)
	return err
}
