// Command node runs protoraft: one node of a cluster that keeps a replicated
// key-value machine, a demonstration of a whole cluster, and tools for both.
package main

import (
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run executes the command line and returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	root := rootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteC()
	return report(stderr, cmd.CommandPath(), err)
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "node",
		Short: "A replicated key-value store on Raft: every role, replicator and log writer an actor",
		Long: `node runs protoraft: Raft made of actors, here with a key-value machine that
speaks RESP (redis-cli, any Redis client) and HTTP.

Exit codes: 0 done; 1 not applied, or failed; 2 wrong usage; 3 unreachable, or no
leader; 4 outcome unknown.`,
		Example: `  node demo                  three nodes on this machine, and a tour
  node serve --help          what a real node needs
  node status                what the demo's nodes say of themselves
  node members list          who belongs to its cluster`,
		Args:              subcommandNeeded,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage("%w", err) })
	root.AddCommand(serveCommand(), demoCommand(), statusCommand(), versionCommand(),
		membersCommand(), groupsCommand(), transferCommand(), snapshotCommand(), logCommand(),
		backupCommand(), restoreCommand(), resetPeersCommand())
	return root
}

// subcommandNeeded names the commands there are when another was asked for.
func subcommandNeeded(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, sub := range cmd.Commands() {
		if !sub.Hidden && sub.Name() != "help" {
			names = append(names, sub.Name())
		}
	}
	return usage("unknown command %q, expected %s or --help", args[0], strings.Join(names, ", "))
}

// noArguments is for commands that take flags only.
func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage("unexpected argument %q, expected flags only", args[0])
	}
	return nil
}
