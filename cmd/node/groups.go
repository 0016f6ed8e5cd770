package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/protoraft/protoraft/cmd/node/web"
)

func groupsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "groups",
		Short: "List the groups of a running cluster, or make, stop, start and delete some",
		Long: `groups makes more Raft groups beside group 1, which holds the keys that are served, and
stops, starts and deletes them. Each node has to be told by itself: name all of them in
--http, and ask again where one was down. A group begins when all of its members' nodes
have been told.

Deleted groups leave a number, the incarnation: one that is made again is another group,
and nothing of the one before can be taken for its own.`,
		Example: `  node groups list --http 127.0.0.1:8001,127.0.0.1:8002,127.0.0.1:8003
  node groups create 7 --http 127.0.0.1:8001,127.0.0.1:8002,127.0.0.1:8003
  node groups delete 7 --http 127.0.0.1:8001,127.0.0.1:8002,127.0.0.1:8003`,
		Args: subcommandNeeded,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(listGroupsCommand(), createGroupCommand(),
		oneGroupCommand("stop", "Stop the nodes' members of a group; their logs stay"),
		oneGroupCommand("start", "Start the nodes' members of a group that was stopped"),
		oneGroupCommand("delete", "Delete a group on the nodes: nothing that it stored is left there"))
	return cmd
}

func listGroupsCommand() *cobra.Command {
	var f adminFlags
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "Show the groups that the nodes have, and the deleted ones",
		Example: "  node groups list\n  node groups list --http 127.0.0.1:8001 -o json",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			lists, err := f.groups(cmd.Context())
			if err != nil {
				return err
			}
			return printGroups(cmd.OutOrStdout(), lists, f.output)
		},
	}
	f.register(cmd, 5*time.Second, "how long to wait for each node's answer")
	return cmd
}

// groups asks every node.
func (f *adminFlags) groups(ctx context.Context) (lists []web.GroupList, err error) {
	for _, address := range f.addresses {
		var list web.GroupList
		call := adminCall{method: http.MethodGet, path: "groups", answer: &list, timeout: time.Duration(f.timeout)}
		if err := call.at(ctx, address); err != nil {
			return nil, err
		}
		lists = append(lists, list)
	}
	return lists, nil
}

type createFlags struct {
	adminFlags
	kind        string
	members     string
	witness     string // the id of one of them
	incarnation uint64
	join        bool
}

func createGroupCommand() *cobra.Command {
	var f createFlags
	cmd := &cobra.Command{
		Use:   "create GROUP",
		Short: "Make a group, with a member on each of the nodes",
		Long: `create has each of the nodes at --http start a member of a new group, now and whenever
it starts. Asked again it completes what was cut off. Its members are the cluster's, or
--members; with --join the nodes' members wait to be added to a group that exists.`,
		Example: `  node groups create 7 --http 127.0.0.1:8001,127.0.0.1:8002,127.0.0.1:8003`,
		RunE: func(cmd *cobra.Command, args []string) error {
			g, err := f.newGroup(args)
			if err != nil {
				return err
			}
			if err := f.settle(cmd.Context(), &g); err != nil {
				return err
			}
			return f.tellAll(cmd, "groups", g)
		},
	}
	f.register(cmd, 30*time.Second, "how long to wait for each node")
	cmd.Flags().StringVar(&f.kind, "kind", kvKind, "`kind` of its machine")
	cmd.Flags().StringVar(&f.members, "members", "", "`nodes` it begins with, as id=host:port,... (default: the cluster's voters, with its witness)")
	cmd.Flags().StringVar(&f.witness, "witness", "", "`id` of the node in --members that votes and has no data")
	cmd.Flags().Uint64Var(&f.incarnation, "incarnation", 0, "its `number` among those of this group (default: that of an unfinished creation, or the next)")
	cmd.Flags().BoolVar(&f.join, "join", false, "the group exists: wait to be added to it")
	return cmd
}

func (f *createFlags) newGroup(args []string) (g web.NewGroup, err error) {
	if err := f.check(); err != nil {
		return g, err
	}
	g = web.NewGroup{Kind: f.kind, Incarnation: f.incarnation, Join: f.join}
	if g.Group, err = parseGroup(args); err != nil {
		return g, err
	}
	if f.members != "" {
		if g.Members, err = parseNewMembers(strings.Split(f.members, ",")); err != nil {
			return g, err
		}
	}
	if f.witness == "" {
		return g, nil
	}
	i := slices.IndexFunc(g.Members, func(m web.Member) bool { return m.ID == f.witness })
	if i < 0 {
		return g, usage("--witness %q is not in --members, expected one of: %q", f.witness, f.members)
	}
	g.Members[i].Witness = true
	return g, nil
}

// settle fills in what all nodes have to be told alike.
func (f *createFlags) settle(ctx context.Context, g *web.NewGroup) error {
	if g.Incarnation == 0 {
		lists, err := f.groups(ctx)
		if err != nil {
			return err
		}
		g.Incarnation = nextIncarnation(lists, g.Group)
	}
	if len(g.Members) > 0 {
		return nil
	}
	var m web.Members
	call := adminCall{method: http.MethodGet, path: "members", answer: &m, timeout: time.Duration(f.timeout)}
	if _, err := call.atAny(ctx, f.addresses); err != nil {
		return err
	}
	g.Members = m.Voters
	return nil
}

// nextIncarnation is that of the group where it exists somewhere, else the one after the
// last that was deleted.
func nextIncarnation(lists []web.GroupList, group uint64) uint64 {
	last, exists := uint64(0), uint64(0)
	for _, list := range lists {
		for _, g := range list.Groups {
			switch {
			case g.Group != group:
			case g.State == "deleted":
				last = max(last, g.Incarnation)
			default:
				exists = max(exists, g.Incarnation)
			}
		}
	}
	if exists > last {
		return exists
	}
	return last + 1
}

// oneGroupCommand does one thing with one group on every node.
func oneGroupCommand(name, short string) *cobra.Command {
	var f adminFlags
	cmd := &cobra.Command{
		Use:     name + " GROUP",
		Short:   short,
		Example: "  node groups " + name + " 7 --http 127.0.0.1:8001,127.0.0.1:8002,127.0.0.1:8003",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return err
			}
			group, err := parseGroup(args)
			if err != nil {
				return err
			}
			return f.tellAll(cmd, "groups/"+name, map[string]uint64{"group": group})
		},
	}
	f.register(cmd, 30*time.Second, "how long to wait for each node")
	return cmd
}

func parseGroup(args []string) (uint64, error) {
	if len(args) != 1 {
		return 0, usage("%d arguments, expected one: the group's number", len(args))
	}
	group, err := strconv.ParseUint(args[0], 10, 64)
	if err != nil || group == 0 {
		return 0, usage("group %.40q, expected a number from 1 on", args[0])
	}
	return group, nil
}

// told is what became of telling one node.
type told struct {
	HTTP  string     `json:"http"` // the node's address
	Group *web.Group `json:"group,omitempty"`
	Error string     `json:"error,omitempty"`
}

// tellAll tells one node after the other, also when some fail, and says what each did. The
// exit code is that of the first failure.
func (f *adminFlags) tellAll(cmd *cobra.Command, path string, body any) error {
	var all []told
	var errs []string
	code := exitOK
	for _, address := range f.addresses {
		one := told{HTTP: address, Group: &web.Group{}}
		call := adminCall{method: http.MethodPost, path: path, body: body, answer: one.Group, timeout: time.Duration(f.timeout)}
		if err := call.at(cmd.Context(), address); err != nil {
			errs = append(errs, address+": "+err.Error())
			if code == exitOK {
				code = exitCode(err)
			}
			one.Group, one.Error = nil, err.Error()
		}
		all = append(all, one)
	}
	if err := printTold(cmd.OutOrStdout(), all, f.output); err != nil || len(errs) == 0 {
		return err
	}
	return &exitError{code, errors.New(strings.Join(errs, "; "))}
}

func printTold(out io.Writer, all []told, format string) error {
	if format == "json" {
		return printJSON(out, all)
	}
	for _, one := range all {
		if g := one.Group; g != nil {
			if _, err := fmt.Fprintf(out, "%s: group %d, incarnation %d: %s\n", one.HTTP, g.Group, g.Incarnation, g.State); err != nil {
				return err
			}
		}
	}
	return nil
}

func printGroups(out io.Writer, lists []web.GroupList, format string) error {
	if format == "json" {
		return printJSON(out, lists)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NODE\tGROUP\tINCARNATION\tKIND\tSTATE\tMEMBERS")
	for _, list := range lists {
		for _, g := range list.Groups {
			fmt.Fprintf(w, "%s\t%d\t%s\n", list.Node, g.Group, describeGroup(&g))
		}
	}
	return w.Flush()
}

// describeGroup is a group's line after its number. One that the program starts by itself
// has no incarnation, kind and members to show.
func describeGroup(g *web.Group) string {
	state, incarnation, kind, ids := g.State, "-", "-", []string{}
	if g.Failure != "" {
		state += " (" + g.Failure + ")"
	}
	if g.Incarnation > 0 {
		incarnation = strconv.FormatUint(g.Incarnation, 10)
	}
	if g.Kind != "" {
		kind = g.Kind
	}
	for _, m := range g.Members {
		ids = append(ids, m.ID)
	}
	if len(ids) == 0 {
		ids = append(ids, "-")
	}
	return strings.Join([]string{incarnation, kind, state, strings.Join(ids, ",")}, "\t")
}
