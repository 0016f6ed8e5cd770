// Package linearizability records what the clients of a key-value store saw, and
// checks that one store, doing one operation at a time, could have shown it.
//
// Two nets: porcupine, which is exact but gives up on keys with many concurrent or
// unknown operations, and rules that take linear time and never give up, but see
// less. A history passes when porcupine decides every key, and both accept it.
//
// Values that are stored should be unique within a key: a value that is read then
// names the operation that wrote it.
package linearizability

import (
	"fmt"
	"math"
	"sync"
	"time"
)

// Kind is what an operation does to its key.
type Kind int

const (
	Get            Kind = iota // → Text, Found
	Put                        // stores Value
	PutNew                     // stores Value where there is none → Number 1 or 0
	Swap                       // stores Value → the old one in Text, Found
	CompareAndSwap             // stores Value where Old is stored → Number 1 or 0
	Delete                     // → Number 1 or 0
	Append                     // adds Value at the end → Number, the new length in bytes
	Incr                       // adds Delta to an integer → Number, the sum
)

var kindNames = [...]string{"get", "put", "put new", "swap", "cas", "delete", "append", "incr"}

func (k Kind) String() string { return kindNames[k] }

// Outcome is what the client knows of the operation.
type Outcome int

const (
	Unknown    Outcome = iota // it may have been applied, or may be at any later time
	Applied                   // it was applied between Start and End
	NotApplied                // it was not applied and never will be
)

func (o Outcome) String() string { return [...]string{"unknown", "applied", "not applied"}[o] }

// Result is what came back. All but Outcome has a meaning only when it is Applied.
type Result struct {
	Outcome Outcome
	Text    string
	Found   bool // there was a value; Text is it
	Number  int64
}

// Never is the End of an operation whose outcome is unknown.
const Never = math.MaxInt64

// Operation is one operation on one key.
type Operation struct {
	Client int
	Key    string
	Kind   Kind
	Value  string
	Old    string
	Delta  int64
	Result
	Start, End int64 // nanoseconds of the history's clock
}

func (op Operation) String() string {
	end := "never"
	if op.End != Never {
		end = time.Duration(op.End).String()
	}
	s := fmt.Sprintf("client %d [%v, %s] %v %s", op.Client, time.Duration(op.Start), end, op.Kind, op.Key)
	switch op.Kind {
	case CompareAndSwap:
		s += fmt.Sprintf(" %q for %q", op.Value, op.Old)
	case Put, PutNew, Swap, Append:
		s += fmt.Sprintf(" %q", op.Value)
	case Incr:
		s += fmt.Sprintf(" by %d", op.Delta)
	}
	if op.Outcome != Applied {
		return s + ": " + op.Outcome.String()
	}
	switch op.Kind {
	case Get, Swap:
		if !op.Found {
			return s + " → none"
		}
		return s + fmt.Sprintf(" → %q", op.Text)
	case Put:
		return s + " → ok"
	default:
		return s + fmt.Sprintf(" → %d", op.Number)
	}
}

// writes tells whether the operation can change its key.
func (op *Operation) writes() bool { return op.Kind != Get }

// History collects operations. All its clients share one monotonic clock.
type History struct {
	base time.Time

	mu      sync.Mutex
	clients int
	ops     []Operation
}

// NewHistory returns an empty history whose clock begins now.
func NewHistory() *History { return &History{base: time.Now()} }

// Now reads the history's clock.
func (h *History) Now() int64 { return int64(time.Since(h.base)) }

// Client returns a new client. It does one operation at a time.
func (h *History) Client() *Client {
	c := &Client{history: h}
	c.renew()
	return c
}

// Operations returns what was recorded so far, in the order of Start. Operations
// under way are among them, as Unknown.
func (h *History) Operations() []Operation {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]Operation(nil), h.ops...)
}

// Client records the operations of one client.
type Client struct {
	history *History
	id      int
}

func (c *Client) renew() {
	c.history.mu.Lock()
	defer c.history.mu.Unlock()
	c.history.clients++
	c.id = c.history.clients
}

// Do has run do the operation, records it and returns what run did. An operation
// whose outcome is unknown never ends, so the client goes on as another.
func (c *Client) Do(op Operation, run func() Result) Result {
	at := c.begin(op)
	result := run()
	c.end(at, result)
	return result
}

func (c *Client) begin(op Operation) int {
	h := c.history
	h.mu.Lock()
	defer h.mu.Unlock()
	op.Client, op.Result, op.Start, op.End = c.id, Result{}, h.Now(), Never
	h.ops = append(h.ops, op)
	return len(h.ops) - 1
}

func (c *Client) end(at int, result Result) {
	h := c.history
	if result.Outcome == Unknown {
		c.renew()
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops[at].Result, h.ops[at].End = result, h.Now()
}
