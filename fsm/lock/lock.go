// Package lock is a replicated machine of named locks with fencing tokens.
//
// Whoever acquires a lock names itself (owner) and how long the lock is to last
// (TTL); it holds the lock until it releases it, or until the log's time has reached
// that end, unless it renews before. With the lock it gets a token, the index of the
// entry that granted it: a later holder of a lock has a higher token. Time alone is no
// protection, since a holder may be stopped for longer than its TTL and not know. So
// it shows the token to whatever the lock protects, which remembers the highest one it
// has seen and refuses lower ones.
//
// A lock that is held can be waited for, in the order of asking: Acquire with a wait
// keeps a place in the queue for that long, and to ask again keeps it on. A free lock
// goes to the first in the queue, when it asks. A place nobody keeps on is passed over.
//
// Replies are those of package kv, so that one front end shows both. What is refused
// is a reply of kind Error.
package lock

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/btree"

	"github.com/protoraft/protoraft/fsm"
	"github.com/protoraft/protoraft/fsm/kv"
)

// Limits. They are part of the replicated behaviour: a change needs a new operation,
// or members of different versions disagree.
const (
	MaxNameBytes  = 512
	MaxOwnerBytes = 256
	MaxTTL        = 24 * time.Hour // of a lock, and of a place in a queue
	MaxQueue      = 64             // places in one lock's queue
	MaxLocks      = 1 << 16        // held or waited for
	MaxWaiting    = 1 << 16        // places in all queues

	reapMax = 64 // locks that an entry removes, whose time is over
)

// ErrNotQuery is returned by Query for bytes that are not a query of this package.
var ErrNotQuery = errors.New("lock: not a query")

// Machine implements fsm.StateMachine and fsm.Querier. Make it with New.
type Machine struct {
	locks   *btree.Map[string, *state]
	ends    *btree.BTreeG[end]
	now     int64 // log time, ms since 1970
	waiting int   // places in all queues
}

var (
	_ fsm.StateMachine = (*Machine)(nil)
	_ fsm.Querier      = (*Machine)(nil)
)

// state is a lock that is held or waited for, or was until lately. It is never
// changed: views share it.
type state struct {
	owner string
	token uint64 // 0: not held
	until int64
	queue []place
}

type place struct {
	owner string
	until int64
}

// end is when nothing is left of a lock if nobody asks for it any more.
type end struct {
	at   int64
	name string
}

func (s *state) end() int64 {
	at := s.until
	for _, p := range s.queue {
		at = max(at, p.until)
	}
	return at
}

// New returns a machine where no lock is held.
func New() *Machine {
	less := func(a, b end) bool { return cmp.Or(cmp.Compare(a.at, b.at), strings.Compare(a.name, b.name)) < 0 }
	return &Machine{
		locks: btree.NewMap[string, *state](0),
		ends:  btree.NewBTreeGOptions(less, btree.Options{NoLocks: true}),
	}
}

// Apply executes a command. The error is always nil: a malformed command is refused
// by reply, the same on every member.
func (m *Machine) Apply(e fsm.Entry) ([]byte, error) {
	m.now = max(m.now, e.Time.UnixMilli())
	m.reap()
	var c command
	if err := c.decode(e.Data); err != nil {
		return refuse("malformed command: " + err.Error()), nil
	}
	if refusal := c.check(); refusal != "" {
		return refuse(refusal), nil
	}
	name := string(c.name)
	s := m.current(name)
	switch c.op {
	case opAcquire:
		return m.acquire(name, s, &c, max(e.Index, 1)), nil
	case opRenew:
		if s.token == 0 || s.token != c.token {
			return integer(0), nil
		}
		m.put(name, &state{s.owner, s.token, m.now + c.ttl, s.queue})
		return integer(1), nil
	case opRelease:
		if s.token == 0 || s.token != c.token {
			return integer(0), nil
		}
		m.put(name, &state{queue: s.queue})
		return integer(1), nil
	case opLeave:
		queue := s.without(string(c.owner))
		m.put(name, &state{s.owner, s.token, s.until, queue})
		return integer(int64(len(s.queue) - len(queue))), nil
	}
	return m.inspect(s, m.now), nil
}

// Query answers Inspect. It returns ErrNotQuery for anything else.
func (m *Machine) Query(query []byte) ([]byte, error) {
	var c command
	if err := c.decode(query); err != nil {
		return nil, errors.Join(ErrNotQuery, err)
	}
	if c.op != opInspect {
		return nil, fmt.Errorf("%w: operation %d", ErrNotQuery, c.op)
	}
	if refusal := c.check(); refusal != "" {
		return refuse(refusal), nil
	}
	s := m.current(string(c.name))
	asked := max(int64(min(c.asked, 1<<62)), m.now)
	// An end that only the asker's clock has reached is for the log to decide.
	if s.token != 0 && s.until <= asked || slices.ContainsFunc(s.queue, func(p place) bool { return p.until <= asked }) {
		return kv.ReplyNeedsLog(), nil
	}
	return m.inspect(s, asked), nil
}

// current is the lock without what the log's time has ended, never nil.
func (m *Machine) current(name string) *state {
	s, ok := m.locks.Get(name)
	if !ok {
		return &state{}
	}
	now := &state{}
	if m.now < s.until {
		now.owner, now.token, now.until = s.owner, s.token, s.until
	}
	for _, p := range s.queue {
		if m.now < p.until {
			now.queue = append(now.queue, p)
		}
	}
	return now
}

func (s *state) place(owner string) int {
	return slices.IndexFunc(s.queue, func(p place) bool { return p.owner == owner })
}

// without is the queue without an owner's place.
func (s *state) without(owner string) []place {
	return slices.DeleteFunc(slices.Clone(s.queue), func(p place) bool { return p.owner == owner })
}

// put replaces a lock, or removes it when nothing is left of it.
func (m *Machine) put(name string, s *state) {
	if old, ok := m.locks.Get(name); ok {
		m.ends.Delete(end{old.end(), name})
		m.waiting -= len(old.queue)
	}
	if s.token == 0 && len(s.queue) == 0 {
		m.locks.Delete(name)
		return
	}
	m.locks.Set(name, s)
	m.ends.Set(end{s.end(), name})
	m.waiting += len(s.queue)
}

// reap removes locks of which nothing is left.
func (m *Machine) reap() {
	for range reapMax {
		first, ok := m.ends.Min()
		if !ok || first.at > m.now {
			return
		}
		m.put(first.name, &state{})
	}
}

func (m *Machine) acquire(name string, s *state, c *command, index uint64) []byte {
	owner, at := string(c.owner), s.place(string(c.owner))
	switch {
	case s.token != 0 && s.owner == owner: // asked again, its answer may have been lost
		m.put(name, &state{owner, s.token, max(s.until, m.now+c.ttl), s.queue})
		return integer(int64(s.token))
	case s.token == 0 && (len(s.queue) == 0 || at == 0):
		if refusal := m.full(name, 0); refusal != "" {
			return refuse(refusal)
		}
		m.put(name, &state{owner, index, m.now + c.ttl, s.without(owner)})
		return integer(int64(index))
	case c.wait == 0:
		return nothing
	}
	queue := slices.Clone(s.queue)
	if at >= 0 {
		queue[at].until = m.now + c.wait
	} else {
		if len(queue) == MaxQueue {
			return refuse("the queue is full: " + strconv.Itoa(MaxQueue) + " wait for this lock")
		}
		if refusal := m.full(name, 1); refusal != "" {
			return refuse(refusal)
		}
		queue = append(queue, place{owner, m.now + c.wait})
	}
	m.put(name, &state{s.owner, s.token, s.until, queue})
	return nothing
}

// full tells why there is no room for a lock, or for another place in a queue.
func (m *Machine) full(name string, places int) string {
	if _, known := m.locks.Get(name); !known && m.locks.Len() >= MaxLocks {
		return "too many locks: " + strconv.Itoa(MaxLocks) + " are held or waited for"
	}
	if places > 0 && m.waiting >= MaxWaiting {
		return "too many wait: " + strconv.Itoa(MaxWaiting) + " for all locks together"
	}
	return ""
}

func (m *Machine) inspect(s *state, now int64) []byte {
	if s.token == 0 && len(s.queue) == 0 {
		return nothing
	}
	owner := kv.Reply{Kind: kv.Nil}
	left := int64(0)
	if s.token != 0 {
		owner = kv.Reply{Kind: kv.Bulk, Bytes: []byte(s.owner)}
		left = s.until - now
	}
	return kv.Reply{Kind: kv.Array, Items: []kv.Reply{
		owner, {Kind: kv.Int, Int: int64(s.token)}, {Kind: kv.Int, Int: left}, {Kind: kv.Int, Int: int64(len(s.queue))},
	}}.Encode()
}

var nothing = kv.Reply{Kind: kv.Nil}.Encode()

func integer(n int64) []byte { return kv.Reply{Kind: kv.Int, Int: n}.Encode() }

func refuse(text string) []byte {
	return kv.Reply{Kind: kv.Error, Bytes: []byte("ERR " + text)}.Encode()
}
