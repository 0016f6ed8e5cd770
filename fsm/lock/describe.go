package lock

import (
	"fmt"
	"time"

	"github.com/protoraft/protoraft/fsm/kv"
)

var opNames = map[uint64]string{opAcquire: "ACQUIRE", opRenew: "RENEW", opRelease: "RELEASE", opLeave: "LEAVE", opInspect: "INSPECT"}

// Describe shows a command or query to people. Of each name at most limit bytes are
// shown; below 1 all are.
func Describe(data []byte, limit int) string {
	var c command
	if err := c.decode(data); err != nil {
		return fmt.Sprintf("not a command of this version: %v", err)
	}
	name, known := opNames[c.op]
	if !known {
		name = fmt.Sprint("OP", c.op)
	}
	text := name + " " + kv.Quote(c.name, limit)
	if len(c.owner) > 0 {
		text += " owner=" + kv.Quote(c.owner, limit)
	}
	if c.token != 0 {
		text += fmt.Sprintf(" token=%d", c.token)
	}
	if c.ttl != 0 {
		text += fmt.Sprintf(" ttl=%v", time.Duration(c.ttl)*time.Millisecond)
	}
	if c.wait != 0 {
		text += fmt.Sprintf(" wait=%v", time.Duration(c.wait)*time.Millisecond)
	}
	return text
}
