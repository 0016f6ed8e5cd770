package resp

import (
	"strconv"
	"strings"

	"github.com/protoraft/protoraft/fsm/kv"
)

// commandSpec is a command as COMMAND describes it, and how it is executed:
// either here (local, run), or by the machine (build makes its command or query).
type commandSpec struct {
	name              string
	arity             int // with the name; negative: at least
	flags, group      string
	first, last, step int // where the keys stand; last -1: to the end
	summary           string

	local     func(c *conn, dst []byte, args [][]byte) []byte
	run       func(c *conn, args [][]byte) // answers by itself, in MULTI, too
	build     func(args [][]byte) (data []byte, refusal string)
	alone     bool // of the locks: not in a transaction, nor asked by a clock added here
	immediate bool // executed though it comes after MULTI
	once      bool // see once.go

	read   bool // build makes a query
	weight int  // of the reply, see admit
}

const (
	errSyntax     = "ERR syntax error"
	errNotInteger = "ERR value is not an integer or out of range"
)

const longestName = 16

var commands = make(map[string]*commandSpec)

func init() {
	for _, list := range [][]commandSpec{dataCommands, expireCommands, versionCommands, lockCommands, transactionCommands, onceCommands, consistencyCommands, sessionCommands} {
		for i := range list {
			commands[strings.ToUpper(list[i].name)] = &list[i]
		}
	}
}

// Replies up to kv.MaxValueBytes weigh one, lists as much as they may be longer.
const (
	weightValue = 1
	weightList  = kv.MaxReplyBytes / kv.MaxValueBytes
)

var dataCommands = []commandSpec{
	{name: "get", arity: 2, flags: "readonly fast", first: 1, last: 1, step: 1, read: true, weight: weightValue,
		summary: "Returns a value.", build: keyOnly(kv.Get)},
	{name: "set", arity: -3, flags: "write denyoom", first: 1, last: 1, step: 1, weight: weightValue,
		summary: "Sets a value: NX, XX, GET, EX, PX, EXAT, PXAT, KEEPTTL.", build: buildSet},
	{name: "setnx", arity: 3, flags: "write denyoom fast", first: 1, last: 1, step: 1,
		summary: "Sets a value where there is none.", build: keyValue(kv.SetIfAbsent)},
	{name: "getset", arity: 3, flags: "write denyoom fast", first: 1, last: 1, step: 1, weight: weightValue,
		summary: "Sets a value and returns the old one.", build: keyValue(func(key, value []byte) []byte {
			return kv.Set(key, value, kv.SetGet)
		})},
	{name: "getdel", arity: 2, flags: "write fast", first: 1, last: 1, step: 1, weight: weightValue,
		summary: "Removes a key and returns its value.", build: keyOnly(kv.GetDel)},
	{name: "mget", arity: -2, flags: "readonly fast", first: 1, last: -1, step: 1, read: true, weight: weightList,
		summary: "Returns several values.", build: allKeys(kv.MGet)},
	{name: "mset", arity: -3, flags: "write denyoom", first: 1, last: -1, step: 2,
		summary: "Sets several values at once.", build: buildMSet},
	{name: "append", arity: 3, flags: "write denyoom fast", first: 1, last: 1, step: 1,
		summary: "Adds to the end of a value.", build: keyValue(kv.Append)},
	{name: "strlen", arity: 2, flags: "readonly fast", first: 1, last: 1, step: 1, read: true,
		summary: "Returns a value's length.", build: keyOnly(kv.StrLen)},
	{name: "del", arity: -2, flags: "write", first: 1, last: -1, step: 1,
		summary: "Removes keys.", build: allKeys(kv.Del)},
	{name: "exists", arity: -2, flags: "readonly fast", first: 1, last: -1, step: 1, read: true,
		summary: "Counts the keys that exist.", build: allKeys(kv.Exists)},
	{name: "type", arity: 2, flags: "readonly fast", first: 1, last: 1, step: 1, read: true, group: "generic",
		summary: "Returns a key's type.", build: keyOnly(kv.Type)},
	{name: "incr", arity: 2, flags: "write denyoom fast", first: 1, last: 1, step: 1,
		summary: "Adds 1.", build: keyOnly(func(key []byte) []byte { return kv.IncrBy(key, 1) })},
	{name: "decr", arity: 2, flags: "write denyoom fast", first: 1, last: 1, step: 1,
		summary: "Subtracts 1.", build: keyOnly(func(key []byte) []byte { return kv.IncrBy(key, -1) })},
	{name: "incrby", arity: 3, flags: "write denyoom fast", first: 1, last: 1, step: 1,
		summary: "Adds an integer.", build: buildIncrBy},
	{name: "decrby", arity: 3, flags: "write denyoom fast", first: 1, last: 1, step: 1,
		summary: "Subtracts an integer.", build: buildDecrBy},
	{name: "incrbyfloat", arity: 3, flags: "write denyoom fast", first: 1, last: 1, step: 1,
		summary: "Adds a decimal number.", build: keyValue(kv.IncrByFloat)},
	{name: "getrange", arity: 4, flags: "readonly", first: 1, last: 1, step: 1, read: true, weight: weightValue,
		summary: "Returns part of a value.", build: buildGetRange},
	{name: "setrange", arity: 4, flags: "write denyoom", first: 1, last: 1, step: 1,
		summary: "Overwrites part of a value.", build: buildSetRange},
	{name: "keys", arity: 2, flags: "readonly", read: true, weight: weightList, group: "generic",
		summary: "Lists the keys that match a pattern.", build: func(args [][]byte) ([]byte, string) {
			return kv.Keys(args[1]), ""
		}},
	{name: "scan", arity: -2, flags: "readonly", read: true, weight: weightList, group: "generic",
		summary: "Lists some keys: MATCH, COUNT, TYPE.", build: buildScan},
	{name: "dbsize", arity: 1, flags: "readonly fast", read: true, group: "server",
		summary: "Counts the keys.", build: func([][]byte) ([]byte, string) { return kv.DBSize(), "" }},
	{name: "flushall", arity: -1, flags: "write", group: "server",
		summary: "Removes every key.", build: buildFlushAll},
}

// lookup finds the command and checks its number of arguments.
func lookup(args [][]byte) (*commandSpec, string) {
	var upper [longestName]byte
	if len(args[0]) <= longestName {
		n := 0
		for _, ch := range args[0] {
			if ch >= 'a' && ch <= 'z' {
				ch -= 'a' - 'A'
			}
			upper[n] = ch
			n++
		}
		if cmd := commands[string(upper[:n])]; cmd != nil {
			if len(args) == cmd.arity || cmd.arity < 0 && len(args) >= -cmd.arity {
				return cmd, ""
			}
			return nil, wrongArity(cmd.name)
		}
	}
	return nil, unknownCommand(args)
}

func wrongArity(name string) string {
	return "ERR wrong number of arguments for '" + name + "' command"
}

// unknownCommand is Redis's text, which shows how the arguments begin.
func unknownCommand(args [][]byte) string {
	var shown strings.Builder
	for _, a := range args[1:] {
		if shown.Len() >= 128 {
			break
		}
		shown.WriteString("'" + clip(a, 128-shown.Len()) + "' ")
	}
	return "ERR unknown command '" + clip(args[0], 128) + "', with args beginning with: " + shown.String()
}

// clip shortens s, and ends it at a zero byte as C does.
func clip(s []byte, n int) string {
	text := string(s[:min(len(s), n)])
	text, _, _ = strings.Cut(text, "\x00")
	return text
}

// eachKey calls f for every key among args.
func (cmd *commandSpec) eachKey(args [][]byte, f func(key []byte)) {
	if cmd.step == 0 {
		return
	}
	last := cmd.last
	if last < 0 {
		last += len(args)
	}
	for i := cmd.first; i <= last && i < len(args); i += cmd.step {
		f(args[i])
	}
}

func (cmd *commandSpec) checkKeys(args [][]byte) (refusal string) {
	cmd.eachKey(args, func(key []byte) {
		if len(key) > kv.MaxKeyBytes {
			refusal = keyTooLarge(key)
		}
	})
	return refusal
}

func keyTooLarge(key []byte) string {
	return "ERR key is too large: " + strconv.Itoa(len(key)) + " bytes, at most " + strconv.Itoa(kv.MaxKeyBytes)
}

// dataOf makes the command or query for the machine, or says why it is refused.
func (cmd *commandSpec) dataOf(args [][]byte) (data []byte, refusal string) {
	if refusal = cmd.checkKeys(args); refusal != "" {
		return nil, refusal
	}
	return cmd.build(args)
}

// onlyKey is the key of a command that has exactly one, nil of any other. An
// empty key is not nil.
func (cmd *commandSpec) onlyKey(args [][]byte) []byte {
	if cmd.step == 0 || cmd.last < 0 && len(args) > cmd.first+cmd.step {
		return nil
	}
	return args[cmd.first]
}

// weightOf is the weight of the reply. A SET without options replies OK.
func (cmd *commandSpec) weightOf(args [][]byte) int {
	if cmd.name == "set" && len(args) == -cmd.arity {
		return 0
	}
	return cmd.weight
}

func keyOnly(make func(key []byte) []byte) func([][]byte) ([]byte, string) {
	return func(args [][]byte) ([]byte, string) { return make(args[1]), "" }
}

func keyValue(make func(key, value []byte) []byte) func([][]byte) ([]byte, string) {
	return func(args [][]byte) ([]byte, string) { return make(args[1], args[2]), "" }
}

func allKeys(make func(keys ...[]byte) []byte) func([][]byte) ([]byte, string) {
	return func(args [][]byte) ([]byte, string) { return make(args[1:]...), "" }
}

func buildMSet(args [][]byte) ([]byte, string) {
	if len(args)%2 == 0 {
		return nil, wrongArity("mset")
	}
	return kv.MSet(args[1:]...), ""
}

func buildIncrBy(args [][]byte) ([]byte, string) {
	n, ok := kv.ParseInt(args[2])
	if !ok {
		return nil, errNotInteger
	}
	return kv.IncrBy(args[1], n), ""
}

func buildDecrBy(args [][]byte) ([]byte, string) {
	n, ok := kv.ParseInt(args[2])
	if !ok {
		return nil, errNotInteger
	}
	if n == -n && n != 0 { // the lowest has no opposite
		return nil, "ERR decrement would overflow"
	}
	return kv.IncrBy(args[1], -n), ""
}

func buildGetRange(args [][]byte) ([]byte, string) {
	start, ok1 := kv.ParseInt(args[2])
	end, ok2 := kv.ParseInt(args[3])
	if !ok1 || !ok2 {
		return nil, errNotInteger
	}
	return kv.GetRange(args[1], start, end), ""
}

func buildSetRange(args [][]byte) ([]byte, string) {
	offset, ok := kv.ParseInt(args[2])
	if !ok {
		return nil, errNotInteger
	}
	if offset < 0 {
		return nil, "ERR offset is out of range"
	}
	return kv.SetRange(args[1], offset, args[3]), ""
}

func buildScan(args [][]byte) ([]byte, string) {
	cursor, err := strconv.ParseUint(string(args[1]), 10, 64)
	if err != nil {
		return nil, "ERR invalid cursor"
	}
	var o kv.ScanOptions
	for i := 2; i < len(args); i += 2 {
		if i+1 == len(args) {
			return nil, errSyntax
		}
		value := args[i+1]
		switch strings.ToUpper(string(args[i])) {
		case "MATCH":
			o.Match = value
		case "TYPE":
			o.Type = value
		case "COUNT":
			n, ok := kv.ParseInt(value)
			if !ok {
				return nil, errNotInteger
			}
			if n < 1 {
				return nil, errSyntax
			}
			o.Count = n
		default:
			return nil, errSyntax
		}
	}
	return kv.Scan(cursor, o), ""
}

func buildFlushAll(args [][]byte) ([]byte, string) {
	if len(args) > 2 || len(args) == 2 && !strings.EqualFold(string(args[1]), "sync") && !strings.EqualFold(string(args[1]), "async") {
		return nil, errSyntax
	}
	return kv.FlushAll(), ""
}
