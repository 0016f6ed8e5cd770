package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/protoraft/protoraft/cluster"
	"github.com/protoraft/protoraft/cmd/node/web"
)

// membersFlags are those of a change of members.
type membersFlags struct {
	adminFlags
	ifIndex uint64
	learner bool
	witness bool
}

func membersCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "members",
		Short: "List the members of a running cluster, or change them",
		Long: `members shows who belongs to the cluster, and changes it while it works: all of a
change happens or nothing. New voters catch up first; one that does not advance has
the change rolled back. A node to be added runs already, with 'node serve --join'.

Any node passes the request on to the leader. It must be asked on its own machine.`,
		Example: `  node members list --http 127.0.0.1:8001
  node members add n4=127.0.0.1:7004 --http 127.0.0.1:8001
  node members replace n1 n4=127.0.0.1:7004 --http 127.0.0.1:8002`,
		Args: subcommandNeeded,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(listMembersCommand(), addMembersCommand(), removeMembersCommand(), replaceMemberCommand(),
		promoteMembersCommand(), demoteMembersCommand(), moveMemberCommand(), abortChangeCommand())
	return cmd
}

func listMembersCommand() *cobra.Command {
	var f adminFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Show the members as the leader knows them, and a change under way",
		Example: `  node members list
  node members list --http 127.0.0.1:8001 -o json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			var m web.Members
			call := adminCall{method: http.MethodGet, path: "members", answer: &m, timeout: time.Duration(f.timeout)}
			if _, err := call.atAny(cmd.Context(), f.leaderFirst(cmd.Context())); err != nil {
				return err
			}
			return printMembers(cmd.OutOrStdout(), &m, f.output)
		},
	}
	f.register(cmd, 5*time.Second, "how long to wait for the leader's answer")
	return cmd
}

func addMembersCommand() *cobra.Command {
	var f membersFlags
	cmd := &cobra.Command{
		Use:   "add ID=HOST:PORT...",
		Short: "Add voters, learners with --learner, or a witness with --witness",
		Long: `add makes nodes that run with 'node serve --join' members. Voters catch up first, as
learners do with --learner, who stay such: they get the log and never vote. A witness,
with --witness, votes and has no data; its node runs with 'node serve --join --witness ID'.`,
		Example: `  node serve --id n4 --join --cluster-id 5be8… --data data/n4 \
      --cluster n1=127.0.0.1:7001,n2=127.0.0.1:7002,n3=127.0.0.1:7003,n4=127.0.0.1:7004
  node members add n4=127.0.0.1:7004
  node members add n5=127.0.0.1:7005 --learner --timeout 10m`,
		RunE: func(cmd *cobra.Command, args []string) error {
			added, err := parseNewMembers(args)
			if err != nil {
				return err
			}
			if f.learner && f.witness {
				return usage("--learner and --witness: expected one of them, a learner never votes")
			}
			if f.learner {
				return f.change(cmd, web.MembersChange{AddLearners: added})
			}
			return f.change(cmd, web.MembersChange{Add: f.witnesses(added)})
		},
	}
	f.register(cmd)
	cmd.Flags().BoolVar(&f.learner, "learner", false, "add them as learners, who never vote")
	f.registerWitness(cmd)
	return cmd
}

func (f *membersFlags) registerWitness(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.witness, "witness", false, "the new member is a witness: it votes and has no data")
}

func (f *membersFlags) witnesses(added []web.Member) []web.Member {
	for i := range added {
		added[i].Witness = f.witness
	}
	return added
}

func removeMembersCommand() *cobra.Command {
	cmd := byIDCommand("remove", "Remove members for good", "  node members remove n1\n  node members remove n4 n5 --if-index 17",
		func(c *web.MembersChange, ids []string) { c.Remove = ids })
	cmd.Long = `remove takes members out. Their ids do not come back: a node that returns gets a new
one, and an empty directory. A leader that is removed hands over. Stop the nodes
afterwards.`
	return cmd
}

func replaceMemberCommand() *cobra.Command {
	var f membersFlags
	cmd := &cobra.Command{
		Use:   "replace ID ID=HOST:PORT",
		Short: "Put a new voter in the place of a member, in one step",
		Long: `replace adds a voter, which catches up first, and removes a member in the same
step: the cluster never has fewer members than before, nor more.`,
		Example: `  node members replace n1 n4=127.0.0.1:7004`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usage("%d arguments, expected two: the id of the member to go and the new one as id=host:port", len(args))
			}
			added, err := parseNewMembers(args[1:])
			if err != nil {
				return err
			}
			return f.changeByID(cmd, args[:1], func(c *web.MembersChange) { c.Add, c.Remove = f.witnesses(added), args[:1] })
		},
	}
	f.register(cmd)
	f.registerWitness(cmd)
	return cmd
}

func promoteMembersCommand() *cobra.Command {
	return byIDCommand("promote", "Make learners voters", "  node members promote n5",
		func(c *web.MembersChange, ids []string) { c.Promote = ids })
}

func demoteMembersCommand() *cobra.Command {
	return byIDCommand("demote", "Make voters learners", "  node members demote n1",
		func(c *web.MembersChange, ids []string) { c.Demote = ids })
}

func moveMemberCommand() *cobra.Command {
	var f membersFlags
	cmd := &cobra.Command{
		Use:   "move ID=HOST:PORT",
		Short: "Change the address of a member, which keeps its id and its data",
		Long: `move has the cluster look for a member at another address. Its node is started there
with the flags and the data it had, and with --address: before or after. It counts as
down from this command until it runs there, so a majority of the others must be up; a
leader that moves goes on until it is stopped, or the others do without it.

Never run a node twice: stop it where it was before its data is used elsewhere.`,
		Example: `  node members move n3=127.0.0.1:7013
  node serve --address 127.0.0.1:7013 --id n3 --data data/n3 \
      --cluster n1=127.0.0.1:7001,n2=127.0.0.1:7002,n3=127.0.0.1:7003`,
		RunE: func(cmd *cobra.Command, args []string) error {
			moved, err := parseNewMembers(args)
			if err != nil {
				return err
			}
			return f.change(cmd, web.MembersChange{Move: moved})
		},
	}
	f.register(cmd)
	return cmd
}

// byIDCommand changes the members that its arguments name.
func byIDCommand(name, short, example string, set func(c *web.MembersChange, ids []string)) *cobra.Command {
	var f membersFlags
	cmd := &cobra.Command{
		Use:     name + " ID...",
		Short:   short,
		Example: example,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.changeByID(cmd, args, func(c *web.MembersChange) { set(c, args) })
		},
	}
	f.register(cmd)
	return cmd
}

func abortChangeCommand() *cobra.Command {
	var f adminFlags
	cmd := &cobra.Command{
		Use:     "abort",
		Short:   "Undo a change whose new voters still catch up",
		Example: `  node members abort`,
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			var m web.Members
			call := adminCall{method: http.MethodPost, path: "members/abort", answer: &m, timeout: time.Duration(f.timeout)}
			if _, err := call.atAny(cmd.Context(), f.leaderFirst(cmd.Context())); err != nil {
				return err
			}
			return printMembers(cmd.OutOrStdout(), &m, f.output)
		},
	}
	f.register(cmd, 30*time.Second, "how long to wait for the end")
	return cmd
}

func (f *membersFlags) register(cmd *cobra.Command) {
	f.adminFlags.register(cmd, 2*time.Minute, "how long to wait for the end of the change")
	cmd.Flags().Uint64Var(&f.ifIndex, "if-index", 0, "change only the members of this configuration `index`, as list shows it; 0: any")
}

// parseNewMembers reads members as id=host:port.
func parseNewMembers(args []string) (added []web.Member, err error) {
	if len(args) == 0 {
		return nil, usage("no member, expected each as id=host:port, such as n4=127.0.0.1:7004")
	}
	for _, arg := range args {
		m, err := parseMember(arg)
		if err != nil {
			return nil, usage("%v", err)
		}
		added = append(added, web.Member{ID: m.ID, Address: m.Address})
	}
	return added, nil
}

// changeByID is a change of members that are there.
func (f *membersFlags) changeByID(cmd *cobra.Command, ids []string, fill func(*web.MembersChange)) error {
	if len(ids) == 0 {
		return usage("no member, expected at least one id, as 'node members list' shows them")
	}
	for _, id := range ids {
		if cluster.CheckMemberID(id) != nil {
			return usage("%q is not the id of a member, expected one as 'node members list' shows them", id)
		}
	}
	var change web.MembersChange
	fill(&change)
	return f.change(cmd, change)
}

// change asks for it, shows how far it is, and prints the members at its end.
func (f *membersFlags) change(cmd *cobra.Command, change web.MembersChange) error {
	if err := f.check(); err != nil {
		return err
	}
	if wrong := change.Check(); wrong != "" {
		return usage("%s", wrong)
	}
	change.ExpectedIndex = f.ifIndex
	var m web.Members
	ctx, done := context.WithCancel(cmd.Context())
	addresses := f.leaderFirst(ctx)
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		if f.output == "table" {
			followChange(ctx, cmd.ErrOrStderr(), addresses)
		}
	}()
	call := adminCall{method: http.MethodPost, path: "members", body: &change, answer: &m, timeout: time.Duration(f.timeout)}
	_, err := call.atAny(ctx, addresses)
	done()
	<-shown
	if exitCode(err) == exitUnknown {
		return &exitError{exitUnknown, fmt.Errorf("%w: the change may go on, 'node members list' shows it and 'node members abort' undoes it while new voters catch up", err)}
	}
	if err != nil {
		return err
	}
	return printMembers(cmd.OutOrStdout(), &m, f.output)
}

// followEvery is between two looks at a change.
const followEvery = 250 * time.Millisecond

// followChange prints a line each time a change under way has got further. It is for
// the eye: a look that fails is passed over.
func followChange(ctx context.Context, out io.Writer, addresses []string) {
	ticker := time.NewTicker(followEvery)
	defer ticker.Stop()
	for last := ""; ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		var m web.Members
		call := adminCall{method: http.MethodGet, path: "members", answer: &m, timeout: time.Second}
		if _, err := call.atAny(ctx, addresses); err != nil || m.Change == nil {
			continue
		}
		if line := progress(m.Change); line != last {
			fmt.Fprintln(out, line)
			last = line
		}
	}
}

// progress says how far a change is.
func progress(c *web.Change) string {
	if len(c.Newcomers) == 0 {
		return c.Phase + ": " + memberNames(c.Voters)
	}
	parts := make([]string, len(c.Newcomers))
	for i, n := range c.Newcomers {
		switch {
		case n.CaughtUp:
			parts[i] = n.ID + " has caught up"
		default:
			parts[i] = fmt.Sprintf("%s has %d of %d entries, and %v to advance", n.ID, n.MatchIndex, n.LastIndex,
				(time.Duration(n.PatienceMS) * time.Millisecond).Round(time.Second))
		}
	}
	return c.Phase + ": " + strings.Join(parts, "; ")
}

func memberNames(members []web.Member) string {
	ids := make([]string, len(members))
	for i, m := range members {
		ids[i] = m.ID
	}
	return strings.Join(ids, ", ")
}

// printMembers prints a row a member, and who is to come.
func printMembers(out io.Writer, m *web.Members, format string) error {
	if format == "json" {
		return printJSON(out, m)
	}
	leader := ""
	if m.Leader != "" {
		leader = ", leader " + m.Leader
	}
	fmt.Fprintf(out, "cluster %s, configuration %d%s\n\n", m.Cluster, m.Index, leader)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NODE\tROLE\tADDRESS")
	for _, one := range m.Voters {
		role := "voter"
		if one.Witness {
			role = "witness"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", one.ID, role, one.Address)
	}
	for _, one := range m.Learners {
		fmt.Fprintf(w, "%s\tlearner\t%s\n", one.ID, one.Address)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(m.Removed) > 0 {
		fmt.Fprintf(out, "\nremoved, not to come back: %s\n", strings.Join(m.Removed, ", "))
	}
	if m.Change != nil {
		fmt.Fprintf(out, "\nchanging to voters %s%s; %s\n", memberNames(m.Change.Voters), learnersToBe(m.Change), progress(m.Change))
	}
	return nil
}

func learnersToBe(c *web.Change) string {
	if len(c.Learners) == 0 {
		return ""
	}
	return ", learners " + memberNames(c.Learners)
}
