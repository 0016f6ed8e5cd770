package cluster

import (
	"sync/atomic"

	"github.com/protoraft/protoraft/actors"
	"github.com/protoraft/protoraft/messages"
)

// Pipeline is operations of one goroutine on a group, told the outcomes of in the order
// they were added in. What is added is gathered, and sent as one message by Send, by
// Next, or when enough of it has come together: that costs the group's member, and who
// waits, far less than as many calls.
//
// Commands are applied in the order they were added in, except one that had to be sent
// again, as with Client.StartPropose. Next must be called for everything that was added:
// until then it holds its place in the Client, and nothing bounds how much that is. Errors
// are as of Client.Propose and Client.Query. A Pipeline is not safe for concurrent use.
type Pipeline struct {
	client *Client
	group  uint64

	gathered  []any // *messages.Propose and *messages.Query, in order
	bytes     int   // of them
	last      int   // how many were sent last: as many may come next
	proposals []messages.Propose
	queries   []messages.Query

	flights []*flight // in order; the first head have nothing left to tell
	head    int
	spare   *flight // for the next Send
}

// What is gathered is sent when it is one of these: a member's turn should begin before
// a long pipeline is read to its end.
const (
	pipelineSendCount = 128
	pipelineSendBytes = 256 << 10
)

// flight is what was sent together, or a call that was started by itself: that has no
// done.
type flight struct {
	calls []*Call
	told  int           // of calls
	left  atomic.Int64  // calls that are not settled
	done  chan struct{} // one token when none is left
	over  bool          // the token was taken
}

// NewPipeline begins a Pipeline for the group.
func (c *Client) NewPipeline(group uint64) *Pipeline { return &Pipeline{client: c, group: group} }

// Propose adds a command: see Client.Propose. It must not be changed afterwards.
func (p *Pipeline) Propose(command []byte) {
	if len(command) > MaxCommandBytes {
		p.addStarted(func() *Call { return p.client.StartPropose(p.group, command) })
		return
	}
	m := nextOf(&p.proposals, p.last)
	m.Group, m.Command = p.group, command
	p.add(m, len(command))
}

// ProposeOnce adds a command that is applied once: see Client.StartProposeOnce.
func (p *Pipeline) ProposeOnce(id string, sequence uint64, command []byte) {
	p.addStarted(func() *Call { return p.client.StartProposeOnce(p.group, id, sequence, command) })
}

// Query adds a query: see Client.StartQuery. With afterWrites its answer also reflects
// every command added before.
func (p *Pipeline) Query(query []byte, consistency Consistency, afterWrites bool) {
	m := nextOf(&p.queries, p.last)
	m.Group, m.Query, m.AfterWrites = p.group, query, afterWrites
	m.Consistency, m.MinIndex, m.MaxAge = consistency.level, consistency.index, int64(consistency.maxAge)
	p.add(m, len(query))
}

// nextOf hands out messages that are allocated several at a time, anew for each Send:
// a message keeps alive what it was sent with, and nothing else.
func nextOf[M any](chunk *[]M, expected int) *M {
	if len(*chunk) == cap(*chunk) {
		*chunk = make([]M, 0, max(1, min(expected, 32)))
	}
	n := len(*chunk)
	*chunk = (*chunk)[:n+1]
	return &(*chunk)[n]
}

func (p *Pipeline) add(m any, bytes int) {
	if p.gathered == nil {
		p.gathered = make([]any, 0, max(1, p.last))
	}
	p.gathered = append(p.gathered, m)
	p.bytes += bytes
	if len(p.gathered) >= pipelineSendCount || p.bytes >= pipelineSendBytes {
		p.Send()
	}
}

// addStarted adds a call that is sent by itself, behind what was gathered.
func (p *Pipeline) addStarted(start func() *Call) {
	p.Send()
	p.flights = append(p.flights, &flight{calls: []*Call{start()}})
}

// Send begins what was gathered. It does not wait.
func (p *Pipeline) Send() {
	items := p.gathered
	if len(items) == 0 {
		return
	}
	f := p.spare
	if f == nil {
		f = &flight{done: make(chan struct{}, 1)}
	}
	p.flights = append(p.flights, f)
	p.gathered, p.bytes, p.last, p.proposals, p.queries, p.spare = nil, 0, len(items), nil, nil, nil
	if !p.client.calls.beginAll(f, items) {
		return // all were refused
	}
	switch {
	case !p.client.noSessions:
		items = p.client.startAll(p.group, f.calls, items)
	case p.client.turnsAway(p.group):
		items = refuseCommands(f.calls, items)
	}
	switch len(items) {
	case 0: // all wait for their session, or were refused
	case 1:
		p.client.post(p.group, items[0])
	default:
		p.client.post(p.group, &actors.Operations{Items: items})
	}
}

// refuseCommands returns the queries of items; the commands would be turned away.
func refuseCommands(calls []*Call, items []any) []any {
	queries := items[:0]
	for i, item := range items {
		if isCommand(item) {
			calls[i].refuse(messages.Reason_BUSY)
		} else {
			queries = append(queries, item)
		}
	}
	return queries
}

// Ready counts the operations that Next can tell of without waiting. What was sent
// together counts when all of it is decided, and what was not sent yet does not count.
func (p *Pipeline) Ready() (n int) {
	for _, f := range p.flights[p.head:] {
		if !f.settledAll() {
			break
		}
		n += len(f.calls) - f.told
	}
	return n
}

// Next waits for the oldest operation that it has not told of, and returns what
// Call.WaitIndex does. It panics where there is none.
func (p *Pipeline) Next() (reply []byte, index uint64, err error) {
	p.Send()
	f := p.flights[p.head]
	c := f.calls[f.told]
	if f.done == nil {
		p.dropFlight()
		return c.WaitIndex()
	}
	if !f.over {
		<-f.done
		f.over = true
	}
	reply, index, err = c.outcome()
	if f.told++; f.told == len(f.calls) {
		p.client.calls.releaseAll(f.calls)
		clear(f.calls)
		f.calls, f.told, f.over = f.calls[:0], 0, false
		p.spare = f
		p.dropFlight()
	}
	return reply, index, err
}

func (p *Pipeline) dropFlight() {
	p.flights[p.head] = nil
	if p.head++; p.head == len(p.flights) {
		p.flights, p.head = p.flights[:0], 0
	} else if p.head >= 64 && 2*p.head >= len(p.flights) {
		n := copy(p.flights, p.flights[p.head:])
		clear(p.flights[n:])
		p.flights, p.head = p.flights[:n], 0
	}
}

func (f *flight) settledAll() bool {
	if f.done == nil {
		return f.calls[0].Decided()
	}
	return f.over || len(f.done) > 0
}

// settled counts a call of the flight.
func (f *flight) settled() {
	if f.left.Add(-1) == 0 {
		f.done <- struct{}{}
	}
}

// beginAll opens a call for each of items, and gives them their ids. It says whether
// they may be sent: else all come back decided.
func (t *callTable) beginAll(f *flight, items []any) (open bool) {
	f.left.Store(int64(len(items)))
	t.mu.Lock()
	for range items {
		f.calls = append(f.calls, t.take())
	}
	refused := t.refused
	t.mu.Unlock()
	for i, c := range f.calls {
		switch m := items[i].(type) {
		case *messages.Propose:
			c.open(false, f)
			m.Request = c.id
		case *messages.Query:
			c.open(true, f)
			m.Request = c.id
		}
		if refused {
			c.refuse(messages.Reason_STOPPED)
		}
	}
	return !refused
}

func (t *callTable) releaseAll(calls []*Call) {
	for _, c := range calls {
		c.tries.forget()
	}
	t.mu.Lock()
	for _, c := range calls {
		t.give(c)
	}
	t.mu.Unlock()
}
