package resp

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/protoraft/protoraft/cluster"
	"github.com/protoraft/protoraft/fsm/kv"
	"github.com/tidwall/redcon"
)

// compatVersion is the Redis whose texts and handshake are spoken here. Client
// libraries choose commands by it.
const compatVersion = "7.0.15"

var sessionCommands = []commandSpec{
	{name: "ping", arity: -1, flags: "fast", group: "connection", summary: "Answers.", local: ping},
	{name: "echo", arity: 2, flags: "fast", group: "connection", summary: "Returns its argument.",
		local: func(_ *conn, dst []byte, args [][]byte) []byte { return redcon.AppendBulk(dst, args[1]) }},
	{name: "quit", arity: -1, immediate: true, flags: "fast", group: "connection", summary: "Closes the connection.", local: quit},
	{name: "reset", arity: 1, immediate: true, flags: "fast", group: "connection", summary: "Makes the connection as new.", local: reset},
	{name: "select", arity: 2, flags: "fast", group: "connection", summary: "Chooses the database: there is 0.", local: selectDB},
	{name: "auth", arity: -2, flags: "fast", group: "connection", summary: "Accepts the user default: there are no passwords.", local: auth},
	{name: "hello", arity: -1, flags: "fast", group: "connection", summary: "Chooses RESP2 or RESP3.", local: hello},
	{name: "client", arity: -2, group: "connection", summary: "Describes this connection.", local: client},
	{name: "command", arity: -1, group: "server", summary: "Describes commands.", local: describe},
	{name: "info", arity: -1, group: "server", summary: "Describes this node.", local: info},
	{name: "config", arity: -2, flags: "admin", group: "server", summary: "Shows settings.", local: config},
	// What a browser or curl sends first, and what follows it.
	{name: "post", arity: -1, immediate: true, group: "connection", summary: "Closes the connection of an HTTP client.", local: refuseHTTP},
	{name: "host:", arity: -1, immediate: true, group: "connection", summary: "Closes the connection of an HTTP client.", local: refuseHTTP},
}

func ok(dst []byte) []byte { return redcon.AppendOK(dst) }

func fail(dst []byte, format string, args ...any) []byte {
	return redcon.AppendError(dst, fmt.Sprintf(format, args...))
}

func ping(_ *conn, dst []byte, args [][]byte) []byte {
	switch len(args) {
	case 1:
		return redcon.AppendString(dst, "PONG")
	case 2:
		return redcon.AppendBulk(dst, args[1])
	default:
		return redcon.AppendError(dst, wrongArity("ping"))
	}
}

func quit(c *conn, dst []byte, _ [][]byte) []byte {
	c.closing = true
	return ok(dst)
}

func refuseHTTP(c *conn, dst []byte, _ [][]byte) []byte {
	c.closing = true
	return fail(dst, "ERR this port speaks RESP, not HTTP")
}

func reset(c *conn, dst []byte, _ [][]byte) []byte {
	c.proto, c.name, c.tx, c.watched, c.consistency = 2, "", nil, nil, cluster.Linearizable
	return redcon.AppendString(dst, "RESET")
}

func selectDB(_ *conn, dst []byte, args [][]byte) []byte {
	switch n, isInt := kv.ParseInt(args[1]); {
	case !isInt:
		return redcon.AppendError(dst, errNotInteger)
	case n != 0:
		return fail(dst, "ERR DB index is out of range")
	default:
		return ok(dst)
	}
}

const errWrongPass = "WRONGPASS invalid username-password pair or user is disabled."

func auth(_ *conn, dst []byte, args [][]byte) []byte {
	switch {
	case len(args) > 3:
		return redcon.AppendError(dst, errSyntax)
	case len(args) == 2:
		return fail(dst, "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?")
	case string(args[1]) != "default":
		return redcon.AppendError(dst, errWrongPass)
	default:
		return ok(dst)
	}
}

// hello changes nothing unless all of it is right.
func hello(c *conn, dst []byte, args [][]byte) []byte {
	proto, name := c.proto, c.name
	if len(args) > 1 {
		n, isInt := kv.ParseInt(args[1])
		if !isInt {
			return fail(dst, "ERR Protocol version is not an integer or out of range")
		}
		if n != 2 && n != 3 {
			return fail(dst, "NOPROTO unsupported protocol version")
		}
		proto = int(n)
	}
	for i := 2; i < len(args); {
		left := len(args) - i - 1
		switch option := strings.ToUpper(string(args[i])); {
		case option == "AUTH" && left >= 2:
			if string(args[i+1]) != "default" {
				return redcon.AppendError(dst, errWrongPass)
			}
			i += 3
		case option == "SETNAME" && left >= 1:
			if !validName(args[i+1]) {
				return redcon.AppendError(dst, errBadName)
			}
			name = string(args[i+1])
			i += 2
		default:
			return fail(dst, "ERR Syntax error in HELLO option '%s'", clip(args[i], 128))
		}
	}
	c.proto, c.name = proto, name
	dst = appendMap(dst, c.proto, 7)
	dst = appendPair(dst, "server", "redis")
	dst = appendPair(dst, "version", compatVersion)
	dst = redcon.AppendInt(redcon.AppendBulkString(dst, "proto"), int64(c.proto))
	dst = redcon.AppendInt(redcon.AppendBulkString(dst, "id"), c.id)
	dst = appendPair(dst, "mode", "standalone")
	dst = appendPair(dst, "role", "master") // every node takes every command
	return redcon.AppendArray(redcon.AppendBulkString(dst, "modules"), 0)
}

func appendPair(dst []byte, key, value string) []byte {
	return redcon.AppendBulkString(redcon.AppendBulkString(dst, key), value)
}

const errBadName = "ERR Client names cannot contain spaces, newlines or special characters."

func validName(name []byte) bool {
	for _, ch := range name {
		if ch < '!' || ch > '~' {
			return false
		}
	}
	return true
}

// subcommand checks the number of arguments, with command and subcommand, and
// returns the refusal of a wrong one.
func subcommand(args [][]byte, want int) string {
	if len(args) == want {
		return ""
	}
	return wrongArity(strings.ToLower(string(args[0]) + "|" + string(args[1])))
}

func unknownSubcommand(dst []byte, args [][]byte) []byte {
	return fail(dst, "ERR unknown subcommand '%s'. Try %s HELP.", clip(args[1], 128), strings.ToUpper(string(args[0])))
}

func help(dst []byte, lines ...string) []byte {
	dst = redcon.AppendArray(dst, len(lines))
	for _, l := range lines {
		dst = redcon.AppendString(dst, l)
	}
	return dst
}

func client(c *conn, dst []byte, args [][]byte) []byte {
	want := 2
	sub := strings.ToUpper(string(args[1]))
	switch sub {
	case "SETNAME":
		want = 3
	case "SETINFO":
		want = 4
	case "ID", "INFO", "GETNAME", "LIST", "HELP":
	default:
		return unknownSubcommand(dst, args)
	}
	if refusal := subcommand(args, want); refusal != "" {
		return redcon.AppendError(dst, refusal)
	}
	switch sub {
	case "SETNAME":
		if !validName(args[2]) {
			return redcon.AppendError(dst, errBadName)
		}
		c.name = string(args[2])
		return ok(dst)
	case "SETINFO":
		return c.setInfo(dst, args)
	case "ID":
		return redcon.AppendInt(dst, c.id)
	case "GETNAME":
		if c.name == "" {
			return appendNull(dst, c.proto)
		}
		return redcon.AppendBulkString(dst, c.name)
	case "HELP":
		return help(dst, "CLIENT <subcommand>, where it is one of:",
			"GETNAME, SETNAME <name>", "ID", "INFO, LIST: this connection", "SETINFO LIB-NAME|LIB-VER <value>")
	default:
		return appendText(dst, c.proto, c.describe()+"\n")
	}
}

func (c *conn) setInfo(dst []byte, args [][]byte) []byte {
	option := strings.ToLower(string(args[2]))
	if option != "lib-name" && option != "lib-ver" {
		return fail(dst, "ERR Unrecognized option '%s'", clip(args[2], 128))
	}
	if !validName(args[3]) {
		return fail(dst, "ERR %s cannot contain spaces, newlines or special characters.", option)
	}
	if option == "lib-name" {
		c.libName = string(args[3])
	} else {
		c.libVer = string(args[3])
	}
	return ok(dst)
}

func (c *conn) describe() string {
	return fmt.Sprintf("id=%d addr=%s laddr=%s name=%s age=%d db=0 user=default lib-name=%s lib-ver=%s resp=%d",
		c.id, c.net.RemoteAddr(), c.net.LocalAddr(), c.name, int(time.Since(c.since).Seconds()), c.libName, c.libVer, c.proto)
}

// settings is what CONFIG GET shows: what clients and benchmarks ask for.
func (s *Server) settings() [][2]string {
	return [][2]string{
		{"appendonly", "yes"}, // every acknowledged write is on disk
		{"appendfsync", "always"},
		{"databases", "1"},
		{"maxclients", strconv.Itoa(s.options.ClientsMax)},
		{"maxmemory", "0"},
		{"proto-max-bulk-len", strconv.Itoa(s.options.ArgBytesMax)},
		{"save", ""},
		{"timeout", strconv.Itoa(int(s.options.IdleTimeout.Seconds()))},
	}
}

func config(c *conn, dst []byte, args [][]byte) []byte {
	switch sub := strings.ToUpper(string(args[1])); {
	case sub == "GET" && len(args) > 2:
		return c.configGet(dst, args[2:])
	case sub == "GET":
		return redcon.AppendError(dst, wrongArity("config|get"))
	case sub == "SET":
		return fail(dst, "ERR CONFIG SET is not supported: settings are flags of the node")
	case sub == "HELP":
		return help(dst, "CONFIG <subcommand>, where it is:", "GET <pattern> [<pattern> …]")
	default:
		return unknownSubcommand(dst, args)
	}
}

func (c *conn) configGet(dst []byte, patterns [][]byte) []byte {
	var found [][2]string
	for _, setting := range c.server.settings() {
		for _, pattern := range patterns {
			if kv.Match([]byte(strings.ToLower(string(pattern))), setting[0]) {
				found = append(found, setting)
				break
			}
		}
	}
	dst = appendMap(dst, c.proto, len(found))
	for _, setting := range found {
		dst = appendPair(dst, setting[0], setting[1])
	}
	return dst
}
