package main

// asker begins operations on a group for one goroutine, and tells what became of them
// in the order they were begun in.
type asker interface {
	Write(command []byte)
	Read()
	// Next waits for the oldest operation it has not told of.
	Next() error
	// Ready counts operations that Next can tell of at once, or 0 where it cannot know.
	Ready() int
}

// pipeliner is a member of a library that has askers of its own.
type pipeliner interface {
	Asker(group int) asker
}

// starter is a member of a library that can begin an operation and tell of its end later.
type starter interface {
	Start(group int, command []byte) begun
	StartRead(group int) begun
}

// begun is an operation under way.
type begun interface {
	// Decided says whether Wait returns at once.
	Decided() bool
	// Wait is called once.
	Wait() error
}

// goroutines is how many keep the operations of a process in flight, where the library
// can have one goroutine begin several, but at least one for each group.
const goroutines = 4

// askersOf says what each goroutine that drives a group asks by, and how many operations
// it keeps in flight. A library whose calls only return with the answer needs a goroutine
// for each.
func askersOf(m member, group, inFlight, most int, calls bool) (asks func() asker, windows []int) {
	asks = func() asker { return &calling{member: m, group: group} }
	n := inFlight
	if pipelines, ok := m.(pipeliner); ok && !calls {
		asks, n = func() asker { return pipelines.Asker(group) }, most
	} else if starts, ok := m.(starter); ok && !calls {
		asks, n = func() asker { return &starting{member: starts, group: group} }, most
	}
	windows = make([]int, min(n, inFlight))
	for i := range inFlight {
		windows[i%len(windows)]++
	}
	return asks, windows
}

// calling asks by calls that return with the answer: one operation at a time.
type calling struct {
	member member
	group  int
	err    error
}

func (c *calling) Write(command []byte) { c.err = c.member.Propose(c.group, command) }
func (c *calling) Read()                { c.err = c.member.Read(c.group) }
func (c *calling) Next() error          { return c.err }
func (c *calling) Ready() int           { return 0 }

// starting asks by calls that return at once.
type starting struct {
	member starter
	group  int
	queue  fifo[begun]
}

func (s *starting) Write(command []byte) { s.queue.push(s.member.Start(s.group, command)) }
func (s *starting) Read()                { s.queue.push(s.member.StartRead(s.group)) }
func (s *starting) Next() error          { return s.queue.pop().Wait() }

func (s *starting) Ready() (n int) {
	for n < s.queue.len() && s.queue.at(n).Decided() {
		n++
	}
	return n
}

// fifo hands out first what came first.
type fifo[T any] struct {
	items []T
	head  int // those before were handed out
}

func (q *fifo[T]) push(item T) { q.items = append(q.items, item) }
func (q *fifo[T]) len() int    { return len(q.items) - q.head }
func (q *fifo[T]) at(i int) T  { return q.items[q.head+i] }

func (q *fifo[T]) pop() T {
	item := q.items[q.head]
	if q.head++; 2*q.head >= len(q.items) {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	return item
}
