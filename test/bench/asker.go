package main

import "slices"

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

// starter is a member of a library that can begin an operation and wait for its end
// elsewhere. Each wait is called once.
type starter interface {
	Start(group int, command []byte) (wait func() error)
	StartRead(group int) (wait func() error)
}

// goroutines is how many keep the operations of a process in flight, where the library
// can have one goroutine begin several, but at least one for each group.
const goroutines = 4

// askersOf gives each goroutine that drives a group its asker, and says how many
// operations it keeps in flight. A library whose calls only return with the answer needs
// a goroutine for each.
func askersOf(m member, group, inFlight, goroutines int) (makers []func() asker, window int) {
	n := min(inFlight, goroutines)
	switch m := m.(type) {
	case pipeliner:
		return slices.Repeat([]func() asker{func() asker { return m.Asker(group) }}, n), inFlight / n
	case starter:
		return slices.Repeat([]func() asker{func() asker { return &starting{member: m, group: group} }}, n), inFlight / n
	}
	return callers(m, group, inFlight), 1
}

func callers(m member, group, n int) []func() asker {
	return slices.Repeat([]func() asker{func() asker { return &calling{member: m, group: group} }}, n)
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
	waits  []func() error // in a ring, from next on
	next   int
}

func (s *starting) Write(command []byte) { s.add(s.member.Start(s.group, command)) }
func (s *starting) Read()                { s.add(s.member.StartRead(s.group)) }

func (s *starting) add(wait func() error) { s.waits = append(s.waits, wait) }

func (s *starting) Next() error {
	wait := s.waits[s.next]
	s.waits[s.next] = nil
	if s.next++; s.next == len(s.waits) || s.next >= 1024 {
		s.waits, s.next = s.waits[:copy(s.waits, s.waits[s.next:])], 0
	}
	return wait()
}

func (s *starting) Ready() int { return 0 }
