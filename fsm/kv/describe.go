package kv

import (
	"fmt"
	"strconv"
	"strings"
)

var opNames = map[op]string{
	opSet: "SET", opSetNX: "SETNX", opGetDel: "GETDEL", opMSet: "MSET", opAppend: "APPEND", opDel: "DEL",
	opIncrBy: "INCRBY", opIncrByFloat: "INCRBYFLOAT", opSetRange: "SETRANGE", opFlushAll: "FLUSHALL",
	opSetWith: "SETWITH", opExpire: "EXPIRE", opPersist: "PERSIST", opGetEx: "GETEX",
	opSetIfVersion: "SETIFVERSION", opSetIfValue: "SETIFVALUE", opNext: "NEXT", opExec: "EXEC",
	opGet: "GET", opMGet: "MGET", opStrLen: "STRLEN", opExists: "EXISTS", opType: "TYPE", opGetRange: "GETRANGE",
	opKeys: "KEYS", opScan: "SCAN", opDBSize: "DBSIZE", opTTL: "TTL", opVersions: "VERSIONS", opGetVersioned: "GETVERSIONED",
}

// Describe shows a command or query to people: the operation, the key, and the other
// fields that are set, by their names above. Of each string at most limit bytes are
// shown; below 1 all are.
func Describe(data []byte, limit int) string {
	var c command
	if err := c.decode(data); err != nil {
		return fmt.Sprintf("not a command of this version: %v", err)
	}
	var b strings.Builder
	name, known := opNames[c.op]
	if !known {
		name = "OP" + strconv.FormatUint(uint64(c.op), 10)
	}
	b.WriteString(name)
	if len(c.key) > 0 {
		b.WriteString(" " + Quote(c.key, limit))
	}
	if c.op == opExec {
		c.describeExec(&b, limit)
		return b.String()
	}
	if len(c.value) > 0 {
		b.WriteString(" " + Quote(c.value, limit))
	}
	for _, a := range c.args {
		b.WriteString(" " + Quote(a, limit))
	}
	for _, field := range []struct {
		name string
		text string
	}{
		{"number", signed(c.number)}, {"end", signed(c.end)}, {"flags", unsigned(c.flags)},
		{"cursor", unsigned(c.cursor)}, {"asked", unsigned(c.asked)},
	} {
		if field.text != "0" {
			b.WriteString(" " + field.name + "=" + field.text)
		}
	}
	return b.String()
}

func (c *command) describeExec(b *strings.Builder, limit int) {
	if len(c.value) > 0 {
		fmt.Fprintf(b, " watching %d bytes", len(c.value))
	}
	b.WriteString(" {")
	for i, one := range c.args {
		if i > 0 {
			b.WriteString("; ")
		}
		var inner command
		if err := inner.decode(one); err == nil && inner.op == opExec {
			b.WriteString("EXEC") // refused when it is applied
			continue
		}
		b.WriteString(Describe(one, limit))
	}
	b.WriteString("}")
}

func signed(n int64) string    { return strconv.FormatInt(n, 10) }
func unsigned(n uint64) string { return strconv.FormatUint(n, 10) }

// Quote shows bytes as a Go string, at most limit of them; below 1 all.
func Quote(s []byte, limit int) string {
	if limit > 0 && len(s) > limit {
		return fmt.Sprintf("%q… (%d bytes)", s[:limit], len(s))
	}
	return strconv.Quote(string(s))
}
