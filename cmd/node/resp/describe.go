package resp

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tidwall/redcon"
)

// describe is COMMAND.
func describe(c *conn, dst []byte, args [][]byte) []byte {
	if len(args) == 1 {
		return appendSpecs(dst, c.proto, sortedCommands())
	}
	names := args[2:]
	switch strings.ToUpper(string(args[1])) {
	case "COUNT":
		if refusal := subcommand(args, 2); refusal != "" {
			return redcon.AppendError(dst, refusal)
		}
		return redcon.AppendInt(dst, int64(len(commands)))
	case "INFO":
		if len(names) == 0 {
			return appendSpecs(dst, c.proto, sortedCommands())
		}
		return appendSpecs(dst, c.proto, namedCommands(names))
	case "DOCS":
		specs := sortedCommands()
		if len(names) > 0 {
			specs = slices.DeleteFunc(namedCommands(names), func(s *commandSpec) bool { return s == nil })
		}
		return appendDocs(dst, c.proto, specs)
	case "LIST":
		if refusal := subcommand(args, 2); refusal != "" {
			return redcon.AppendError(dst, refusal)
		}
		dst = redcon.AppendArray(dst, len(commands))
		for _, s := range sortedCommands() {
			dst = redcon.AppendBulkString(dst, s.name)
		}
		return dst
	case "HELP":
		return help(dst, "COMMAND [<subcommand>], where it is one of:",
			"COUNT", "DOCS [<name> …]", "INFO [<name> …]", "LIST")
	default:
		return unknownSubcommand(dst, args)
	}
}

func sortedCommands() []*commandSpec {
	return slices.SortedFunc(maps.Values(commands), func(a, b *commandSpec) int { return cmp.Compare(a.name, b.name) })
}

// namedCommands has nil for a name that is unknown.
func namedCommands(names [][]byte) []*commandSpec {
	specs := make([]*commandSpec, len(names))
	for i, name := range names {
		specs[i] = commands[strings.ToUpper(string(name))]
	}
	return specs
}

func appendSpecs(dst []byte, proto int, specs []*commandSpec) []byte {
	dst = redcon.AppendArray(dst, len(specs))
	for _, s := range specs {
		if s == nil {
			dst = appendNull(dst, proto)
			continue
		}
		dst = redcon.AppendArray(dst, 10)
		dst = redcon.AppendBulkString(dst, s.name)
		dst = redcon.AppendInt(dst, int64(s.arity))
		flags := strings.Fields(s.flags)
		dst = appendSet(dst, proto, len(flags))
		for _, flag := range flags {
			dst = redcon.AppendString(dst, flag)
		}
		for _, at := range []int{s.first, s.last, s.step} {
			dst = redcon.AppendInt(dst, int64(at))
		}
		categories := []string{"@" + s.groupName()}
		dst = appendSet(dst, proto, len(categories))
		for _, category := range categories {
			dst = redcon.AppendString(dst, category)
		}
		dst = redcon.AppendArray(dst, 0) // tips
		dst = redcon.AppendArray(dst, 0) // key specifications
		dst = redcon.AppendArray(dst, 0) // subcommands
	}
	return dst
}

func (cmd *commandSpec) groupName() string { return cmp.Or(cmd.group, "string") }

func appendDocs(dst []byte, proto int, specs []*commandSpec) []byte {
	dst = appendMap(dst, proto, len(specs))
	for _, s := range specs {
		dst = redcon.AppendBulkString(dst, s.name)
		dst = appendMap(dst, proto, 3)
		dst = appendPair(dst, "summary", s.summary)
		dst = appendPair(dst, "since", "1.0.0")
		dst = appendPair(dst, "group", s.groupName())
	}
	return dst
}

// info is INFO: all sections, or those named.
func info(c *conn, dst []byte, args [][]byte) []byte {
	wanted := func(section string) bool {
		for _, a := range args[1:] {
			switch name := strings.ToLower(string(a)); name {
			case section, "default", "all", "everything":
				return true
			}
		}
		return len(args) == 1
	}
	var b strings.Builder
	for _, section := range c.server.infoSections() {
		if !wanted(strings.ToLower(section.name)) {
			continue
		}
		if b.Len() > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString("# " + section.name + "\r\n")
		for _, line := range section.lines {
			fmt.Fprintf(&b, "%s:%v\r\n", line.key, line.value)
		}
	}
	return appendText(dst, c.proto, b.String())
}

type infoSection struct {
	name  string
	lines []infoLine
}

type infoLine struct {
	key   string
	value any
}

func (s *Server) infoSections() []infoSection {
	st := s.status.Status()
	uptime := time.Since(s.started)
	return []infoSection{
		{"Server", []infoLine{
			{"redis_version", compatVersion}, {"redis_mode", "standalone"}, {"protoraft_version", s.options.Version},
			{"process_id", os.Getpid()}, {"uptime_in_seconds", int64(uptime.Seconds())}, {"uptime_in_days", int64(uptime.Hours() / 24)},
		}},
		{"Clients", []infoLine{
			{"connected_clients", s.clients()}, {"maxclients", s.options.ClientsMax},
		}},
		{"Persistence", []infoLine{
			{"loading", 0}, {"aof_enabled", 1},
		}},
		{"Stats", []infoLine{
			{"total_connections_received", s.connections.Load()}, {"total_commands_processed", s.commands.Load()},
		}},
		// Every node takes every command, so to a client each is a master.
		{"Replication", []infoLine{
			{"role", "master"}, {"connected_slaves", 0},
		}},
		{"Cluster", []infoLine{
			{"cluster_enabled", 0},
		}},
		{"Raft", []infoLine{
			{"raft_node", st.Node}, {"raft_group", st.Group}, {"raft_role", st.Role},
			{"raft_leader", st.Leader}, {"raft_leader_address", st.LeaderAddress}, {"raft_term", st.Term},
			{"raft_last_index", st.LastIndex}, {"raft_commit_index", st.CommitIndex},
			{"raft_applied_index", st.AppliedIndex}, {"raft_failure", strings.Join(strings.Fields(st.Failure), " ")},
			{"raft_disk_full", fmt.Sprint(st.DiskFull)},
		}},
	}
}
