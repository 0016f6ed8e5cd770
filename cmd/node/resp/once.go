package resp

import (
	"strconv"

	"github.com/protoraft/protoraft/cluster"
	"github.com/tidwall/redcon"
)

// RAFT.ONCE id sequence command …: the command is applied at most once for each id and
// sequence, however often and through whichever node it is sent; a repeat gets the
// first reply. So a client may send it again whatever happened to the first try.
var onceCommands = []commandSpec{
	{name: "raft.once", arity: -4, flags: "write denyoom", group: "generic", once: true, alone: true,
		summary: "Applies a command once for each id and sequence: RAFT.ONCE id sequence command …"},
}

// onceKey says which command it is.
type onceKey struct {
	id       string
	sequence uint64
}

const (
	errOnceID       = "ERR RAFT.ONCE: an id has 1 to "
	errOnceSequence = "ERR RAFT.ONCE: the sequence is not an integer from 1"
	errOnceCommand  = "ERR RAFT.ONCE: only commands that read or change data can be repeated"
)

func (c *conn) submitOnce(args [][]byte) {
	id, command := args[1], args[3:]
	sequence, err := strconv.ParseUint(string(args[2]), 10, 64)
	cmd, refusal := lookup(command)
	switch {
	case len(id) == 0 || len(id) > cluster.MaxSessionIDBytes:
		refusal = errOnceID + strconv.Itoa(cluster.MaxSessionIDBytes) + " bytes"
	case err != nil || sequence == 0:
		refusal = errOnceSequence
	case refusal == "" && (cmd.local != nil || cmd.run != nil || cmd.once):
		refusal = errOnceCommand
	}
	if refusal != "" {
		c.answer(redcon.AppendError(nil, refusal))
		return
	}
	c.submitData(cmd, command, &onceKey{string(id), sequence})
}
