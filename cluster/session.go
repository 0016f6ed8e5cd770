package cluster

import (
	"slices"
	"sync"
	"time"

	"github.com/protoraft/protoraft/messages"
)

// clientSession is a Client's session with a group.
type clientSession struct {
	client *Client
	group  uint64

	mu       sync.Mutex
	id       uint64 // 0 until it is known
	open     bool   // what waited for it has been sent
	ended    bool   // no command is begun in it any more
	lastUsed int64  // by the table's coarse clock
	low      uint64 // the lowest sequence that is not settled
	settled  []bool // of low and those above it
	waiting  []pendingStart

	turnedAway turnedAway
}

// pendingStart is a command begun before its session was open, or a query that must
// see those before it.
type pendingStart struct {
	call  *Call
	id    uint64 // of the call
	query *messages.Query
}

const (
	// sessionIdle is after how long without a command a session is not trusted to be
	// there: well below the hour the group keeps it.
	sessionIdle = 10 * time.Minute
	// sessionWindow is the most sequences that are not settled, from the lowest: below
	// what the group keeps the answers of.
	sessionWindow = 1 << 15
)

// startInSession begins a command in the client's session with the group.
func (c *Client) startInSession(call *Call, group uint64, command []byte) {
	if call.state.Load() != call.id {
		return // refused: the client ends
	}
	for s := c.session(group); ; s = c.session(group) {
		if s.busy() {
			call.refuse(messages.Reason_BUSY)
			return
		}
		if s.start(call, command) {
			return
		}
	}
}

// session finds the session with the group, or begins one.
func (c *Client) session(group uint64) *clientSession {
	if s, ok := c.sessions.Load(group); ok {
		return s.(*clientSession)
	}
	s, known := c.sessions.LoadOrStore(group, &clientSession{client: c, group: group, low: 1})
	if !known {
		go s.(*clientSession).begin()
	}
	return s.(*clientSession)
}

// start gives the command the next sequence and sends it, now or when the session is
// open. It does not in a session that has ended.
func (s *clientSession) start(call *Call, command []byte) bool {
	s.mu.Lock()
	if !s.usable() {
		s.mu.Unlock()
		return false
	}
	if !s.enter(call, command) {
		s.mu.Unlock()
		call.refuse(messages.Reason_BUSY)
		return true
	}
	id := call.id
	if !s.open {
		s.waiting = append(s.waiting, pendingStart{call: call, id: id})
		s.mu.Unlock()
		return true
	}
	session, low := s.id, s.low
	s.mu.Unlock()
	call.sendTry(id, session, low)
	return true
}

// usable says whether a command may be begun in the session, and ends one that was not
// used for long. It needs the lock.
func (s *clientSession) usable() bool {
	now := s.client.calls.now.Load()
	if s.open && len(s.settled) == 0 && now-s.lastUsed > int64(sessionIdle) {
		s.ended = true
	}
	if s.ended {
		s.client.sessions.CompareAndDelete(s.group, s)
		return false
	}
	return true
}

// enter gives the command the next sequence, where there is room for it and it was not given
// up meanwhile. It needs the lock.
func (s *clientSession) enter(call *Call, command []byte) bool {
	if len(s.settled) >= sessionWindow {
		return false
	}
	call.tries.begin(call.id, tried{
		client: s.client, group: s.group, kind: messages.EntryKind_COMMAND, command: command,
		session: s, sequence: s.low + uint64(len(s.settled)),
	})
	// One that was given up before it had its sequence does not say that it is settled.
	waits := call.state.Load() == call.id
	s.settled = append(s.settled, !waits)
	s.lastUsed = s.client.calls.now.Load()
	return waits
}

// startAll begins the commands among items, each of which is the message of the call in
// its place, and returns what of them may be sent now: all that is not refused, where the
// session is open.
func (c *Client) startAll(group uint64, calls []*Call, items []any) []any {
	if !slices.ContainsFunc(items, isCommand) {
		return c.startQueries(calls, items)
	}
	for s := c.session(group); ; s = c.session(group) {
		if send, begun := s.startAll(calls, items); begun {
			return send
		}
	}
}

func isCommand(item any) bool {
	_, ok := item.(*messages.Propose)
	return ok
}

// startQueries returns which of the queries need not wait for a session to open.
func (c *Client) startQueries(calls []*Call, items []any) []any {
	send := items[:0]
	for i, item := range items {
		if q := item.(*messages.Query); !q.AfterWrites || !c.behindStarts(calls[i], q) {
			send = append(send, item)
		}
	}
	return send
}

func (s *clientSession) startAll(calls []*Call, items []any) (send []any, begun bool) {
	busy := s.busy()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.usable() {
		return nil, false
	}
	send = items[:0]
	for i, call := range calls {
		switch m := items[i].(type) {
		case *messages.Propose:
			if busy || !s.enter(call, m.Command) {
				call.refuse(messages.Reason_BUSY)
				continue
			}
			if s.open {
				m.Session, m.Sequence, m.Acknowledged = s.id, call.tries.sequence, s.low
				call.tries.sentFirst()
				break
			}
			s.waiting = append(s.waiting, pendingStart{call: call, id: call.id})
			continue
		case *messages.Query:
			if !s.open && m.AfterWrites {
				s.waiting = append(s.waiting, pendingStart{call: call, id: call.id, query: m})
				continue
			}
		}
		send = append(send, items[i])
	}
	clear(items[len(send):])
	return send, true
}

// behindStarts puts a query behind the commands that wait for their session, if any.
func (c *Client) behindStarts(call *Call, q *messages.Query) bool {
	known, ok := c.sessions.Load(q.Group)
	if !ok {
		return false
	}
	s := known.(*clientSession)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open || s.ended {
		return false
	}
	s.waiting = append(s.waiting, pendingStart{call: call, id: q.Request, query: q})
	return true
}

// stand is the session's id, and the lowest sequence it waits for.
func (s *clientSession) stand() (id, acknowledged uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id, s.low
}

// finished is told that a command's call is settled, with whatever outcome.
func (s *clientSession) finished(sequence uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sequence < s.low {
		return // it was found to be settled when it came
	}
	s.settled[sequence-s.low] = true
	n := 0
	for n < len(s.settled) && s.settled[n] {
		n++
	}
	s.low += uint64(n)
	s.settled = s.settled[n:]
}

// expired: the group has forgotten the session. Commands under way in it are answered
// as unknown, and never sent in another.
func (s *clientSession) expired() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.client.sessions.CompareAndDelete(s.group, s)
}

// begin has the group open the session. It does no harm to open one twice: the one
// whose answer got lost is never used.
func (s *clientSession) begin() {
	c := s.client
	for n := 1; ; n++ {
		call := c.calls.begin(false)
		c.send(call, s.group, &messages.Propose{Group: s.group, Request: call.id, Kind: messages.EntryKind_SESSION})
		item := call.take()
		if item.Outcome == messages.Outcome_APPLIED {
			s.opened(item.Index)
			return
		}
		if !worthAnother(&item) || !s.wanted() || !c.calls.pause(time.Duration(retryAfter(n))) {
			s.failed(item)
			return
		}
	}
}

// wanted says whether a call waits for the session that is not settled.
func (s *clientSession) wanted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.waiting {
		if w.call.state.Load() == w.id {
			return true
		}
	}
	return false
}

// opened sends what has waited, in order and before anything that comes meanwhile.
func (s *clientSession) opened(id uint64) {
	for {
		s.mu.Lock()
		waiting, low := s.waiting, s.low
		s.id, s.waiting = id, nil
		s.open = len(waiting) == 0
		s.mu.Unlock()
		if len(waiting) == 0 {
			return
		}
		for _, w := range waiting {
			if w.query != nil {
				s.client.post(s.group, w.query)
			} else {
				w.call.sendTry(w.id, id, low)
			}
		}
	}
}

// failed: the session could not be opened, so none of its commands was sent.
func (s *clientSession) failed(item messages.ResultItem) {
	s.mu.Lock()
	s.ended = true
	waiting := s.waiting
	s.waiting = nil
	s.mu.Unlock()
	s.client.sessions.CompareAndDelete(s.group, s)
	item.Outcome = messages.Outcome_NOT_APPLIED
	for _, w := range waiting {
		own := item
		w.call.tries.end(w.id, &own)
		w.call.settle(w.id, &own)
	}
}
