package machine

import (
	"github.com/protoraft/protoraft/fsm/kv"
	"github.com/protoraft/protoraft/fsm/lock"
)

// Describe shows a command or query to people. Of each string at most limit bytes are
// shown; below 1 all are.
func Describe(data []byte, limit int) string {
	if len(data) > 0 && data[0] == lockByte {
		return "LOCK " + lock.Describe(data[1:], limit)
	}
	return kv.Describe(data, limit)
}
