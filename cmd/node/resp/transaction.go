package resp

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/protoraft/protoraft/cluster"
	"github.com/protoraft/protoraft/fsm/kv"
	"github.com/tidwall/redcon"
)

// A transaction is gathered here and executed by one entry of the log. What a client
// watches is kept here, too: keys and the versions they had, which the entry compares.

var transactionCommands = []commandSpec{
	{name: "multi", arity: 1, flags: "noscript loading stale fast", group: "transactions", summary: "Begins a transaction.", run: (*conn).multi},
	{name: "exec", arity: 1, flags: "noscript loading stale", group: "transactions", summary: "Executes the commands of a transaction.", run: (*conn).exec},
	{name: "discard", arity: 1, flags: "noscript loading stale fast", group: "transactions", summary: "Gives a transaction up.", run: (*conn).discard},
	{name: "watch", arity: -2, flags: "noscript loading stale fast", first: 1, last: -1, step: 1, group: "transactions",
		summary: "Has the next transaction executed only if keys stay as they are.", run: (*conn).watch},
	{name: "unwatch", arity: 1, flags: "noscript loading stale fast", group: "transactions", summary: "Forgets the keys watched.",
		local: func(c *conn, dst []byte, _ [][]byte) []byte {
			c.watched = nil
			return ok(dst)
		}},
}

// transactionBytesMax leaves room for what an entry has around its commands.
const transactionBytesMax = cluster.MaxCommandBytes - 1<<10

// Watched keys may take half of a transaction.
const watchedBytesMax = transactionBytesMax / 2

const errNotInTransaction = "ERR Command not allowed inside a transaction"

// transaction is what came after MULTI.
type transaction struct {
	steps  []step
	data   [][]byte // of the steps the machine executes
	bytes  int
	locals bool // some steps are executed here
	broken bool // a command was refused: EXEC will be
}

// step is a queued command: one of the machine's, unless it has a reply already or is
// executed here.
type step struct {
	reply []byte
	cmd   *commandSpec
	args  [][]byte
}

func (c *conn) fail(format string, args ...any) { c.answer(fail(nil, format, args...)) }

func (c *conn) multi([][]byte) {
	if c.tx != nil {
		c.fail("ERR MULTI calls can not be nested")
		return
	}
	c.tx = &transaction{}
	c.answer(ok(nil))
}

func (c *conn) discard([][]byte) {
	if c.tx == nil {
		c.fail("ERR DISCARD without MULTI")
		return
	}
	c.tx, c.watched = nil, nil
	c.answer(ok(nil))
}

// enqueue keeps a command for EXEC. One that its arguments speak against is answered
// there, as in Redis.
func (c *conn) enqueue(cmd *commandSpec, args [][]byte) {
	if cmd.alone {
		c.refuse(errNotInTransaction)
		return
	}
	s, size := step{}, 0
	if cmd.local != nil {
		s.cmd = cmd
		for _, a := range args {
			s.args = append(s.args, bytes.Clone(a))
			size += len(a)
		}
	} else {
		data, refusal := cmd.dataOf(args)
		if refusal != "" {
			s.reply = redcon.AppendError(nil, refusal)
		}
		size = len(data) + 8
		if refusal == "" {
			c.tx.data = append(c.tx.data, data)
		}
	}
	c.tx.bytes += size
	switch {
	case c.tx.bytes+c.watchedBytes() > transactionBytesMax:
		c.refuse(fmt.Sprintf("ERR transaction is too large: more than %d bytes", transactionBytesMax))
	case len(c.tx.steps) == kv.MaxExecCommands:
		c.refuse(fmt.Sprintf("ERR transaction is too large: more than %d commands", kv.MaxExecCommands))
	default:
		c.tx.locals = c.tx.locals || s.cmd != nil
		c.tx.steps = append(c.tx.steps, s)
		c.answer(redcon.AppendString(nil, "QUEUED"))
	}
}

// refuse answers a command that breaks the transaction it is in, if any. What was
// gathered is let go of.
func (c *conn) refuse(text string) {
	if c.tx != nil {
		*c.tx = transaction{broken: true}
	}
	c.answer(redcon.AppendError(nil, text))
}

func (c *conn) exec([][]byte) {
	tx, watched := c.tx, c.watched
	if tx == nil {
		c.fail("ERR EXEC without MULTI")
		return
	}
	c.tx, c.watched = nil, nil
	if tx.broken {
		c.fail("EXECABORT Transaction discarded because of previous errors.")
		return
	}
	if len(tx.data) == 0 && len(watched) == 0 {
		c.settleAll() // the steps executed here come after what was before them
		c.out = c.appendSteps(c.out, tx, nil)
		return
	}
	c.admit(weightList)
	c.settleConflicts(nil)
	c.pipe.Propose(kv.Exec(watched, tx.data...))
	c.begun(pending{proto: c.proto, weight: weightList, tx: tx})
	if tx.locals {
		c.settleAll()
	}
}

// appendExec appends what the machine replied to a transaction.
func (c *conn) appendExec(dst, reply []byte, p *pending) []byte {
	r, err := kv.ParseReply(reply)
	switch {
	case err != nil:
		return redcon.AppendError(dst, "ERR "+err.Error())
	case r.Kind == kv.Nil && p.proto == 2:
		return append(dst, "*-1\r\n"...)
	case r.Kind != kv.Array:
		return appendValue(dst, &r, p.proto)
	}
	return c.appendSteps(dst, p.tx, r.Items)
}

func (c *conn) appendSteps(dst []byte, tx *transaction, replies []kv.Reply) []byte {
	dst = redcon.AppendArray(dst, len(tx.steps))
	for _, s := range tx.steps {
		switch {
		case s.reply != nil:
			dst = append(dst, s.reply...)
		case s.cmd != nil:
			dst = s.cmd.local(c, dst, s.args)
		case len(replies) == 0:
			dst = redcon.AppendError(dst, "ERR the transaction has fewer replies than commands")
		default:
			dst = appendValue(dst, &replies[0], c.proto)
			replies = replies[1:]
		}
	}
	return dst
}

func (c *conn) watchedBytes() (n int) {
	for _, w := range c.watched {
		n += len(w.Key) + 16
	}
	return n
}

// watch asks for the versions at once: commands before it are done, and those after
// it have not begun.
func (c *conn) watch(args [][]byte) {
	if c.tx != nil {
		c.fail("ERR WATCH inside MULTI is not allowed")
		return
	}
	var keys [][]byte
	size := c.watchedBytes()
	for _, key := range args[1:] {
		if len(key) > kv.MaxKeyBytes {
			c.fail("%s", keyTooLarge(key))
			return
		}
		same := func(k []byte) bool { return bytes.Equal(k, key) }
		if !c.watches(key) && !slices.ContainsFunc(keys, same) {
			keys = append(keys, bytes.Clone(key))
			size += len(key) + 16
		}
	}
	if size > watchedBytesMax {
		c.fail("ERR too many keys are watched: more than %d bytes", watchedBytesMax)
		return
	}
	c.settleAll()
	query := kv.AskedAt(kv.Versions(keys...), time.Now())
	c.pipe.Query(query, cluster.Linearizable, false)
	raw, _, err := c.next(query)
	if err != nil {
		c.answer(appendFailure(nil, err, true))
		return
	}
	r, err := kv.ParseReply(raw)
	if err == nil && r.Err() == nil && len(r.Items) != len(keys) {
		err = fmt.Errorf("%d versions of %d keys", len(r.Items), len(keys))
	}
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		c.fail("ERR %v", err)
		return
	}
	for i, key := range keys {
		c.watched = append(c.watched, kv.Watched{Key: key, Version: uint64(r.Items[i].Int)})
	}
	c.answer(ok(nil))
}

func (c *conn) watches(key []byte) bool {
	for _, w := range c.watched {
		if bytes.Equal(w.Key, key) {
			return true
		}
	}
	return false
}
