package main

import (
	"errors"
	"slices"
	"testing"
)

// calls is a member that can only be called, begins one that can also begin.
type calls struct{ member }
type begins struct{ calls }

func (begins) Start(int, []byte) begun { return nil }
func (begins) StartRead(int) begun     { return nil }

// What is asked for is in flight, however many goroutines share it.
func TestAskersShareWhatIsInFlight(t *testing.T) {
	for _, c := range []struct {
		member         member
		inFlight, most int
		calls          bool
		want           []int
	}{
		{calls{}, 3, 4, false, []int{1, 1, 1}},
		{begins{}, 1, 4, false, []int{1}},
		{begins{}, 10, 4, false, []int{3, 3, 2, 2}},
		{begins{}, 5, 1, false, []int{5}},
		{begins{}, 3, 1, true, []int{1, 1, 1}},
	} {
		if _, windows := askersOf(c.member, 0, c.inFlight, c.most, c.calls); !slices.Equal(windows, c.want) {
			t.Errorf("%d by %d of %T, calls %v: %v, expected %v", c.inFlight, c.most, c.member, c.calls, windows, c.want)
		}
	}
}

// kept is an operation whose end is known.
type kept struct {
	err     error
	decided bool
}

func (k kept) Decided() bool { return k.decided }
func (k kept) Wait() error   { return k.err }

func TestStartingTellsInOrder(t *testing.T) {
	first, second := errors.New("first"), errors.New("second")
	var s starting
	for range 3 {
		s.queue.push(kept{first, true})
		s.queue.push(kept{second, true})
		s.queue.push(kept{nil, false})
		if n := s.Ready(); n != 2 {
			t.Fatalf("%d ready, expected 2", n)
		}
		for _, want := range []error{first, second, nil} {
			if err := s.Next(); err != want {
				t.Fatalf("%v, expected %v", err, want)
			}
		}
	}
}
