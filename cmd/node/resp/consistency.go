package resp

import (
	"strings"

	"github.com/protoraft/protoraft/cluster"
	"github.com/tidwall/redcon"
)

// RAFT.CONSISTENCY level [argument] is for the connection's reads from then on. A read
// that is not linearizable need not see the writes before it, also those of its own
// connection: RAFT.INDEX tells the index for at-least.
var consistencyCommands = []commandSpec{
	{name: "raft.consistency", arity: -1, flags: "fast", group: "connection", alone: true, local: setConsistency,
		summary: "Chooses how fresh the connection's reads are, or tells it: " + cluster.ConsistencyNames + "."},
	{name: "raft.index", arity: 1, flags: "fast", group: "connection", alone: true, local: lastIndex,
		summary: "Returns the highest index that a command of the connection was applied or read at."},
}

func setConsistency(c *conn, dst []byte, args [][]byte) []byte {
	argument := ""
	switch len(args) {
	case 1:
		return redcon.AppendBulkString(dst, c.consistency.String())
	case 2:
	case 3:
		argument = string(args[2])
	default:
		return redcon.AppendError(dst, wrongArity("raft.consistency"))
	}
	level, err := cluster.ParseConsistency(strings.ToLower(string(args[1])), argument)
	if err != nil {
		return fail(dst, "ERR %v", err)
	}
	c.consistency = level
	return ok(dst)
}

func lastIndex(c *conn, dst []byte, _ [][]byte) []byte {
	c.settleAll()
	return redcon.AppendInt(dst, int64(c.index))
}

// indexed is a Pending that tells the index, too.
type indexed interface {
	WaitIndex() (reply []byte, index uint64, err error)
}

func waitIndex(op Pending) (reply []byte, index uint64, err error) {
	if at, ok := op.(indexed); ok {
		return at.WaitIndex()
	}
	reply, err = op.Wait()
	return reply, 0, err
}
