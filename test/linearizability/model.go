package linearizability

import (
	"strconv"

	"github.com/anishathalye/porcupine"
)

// digest stands for a string in states: comparing and appending take constant time,
// where the strings of a list that grows would be copied at every step.
type digest struct {
	length     int
	sum, power uint64 // of a polynomial modulo 2^64; power is digestBase^length
}

const digestBase = 0x9e3779b97f4a7c15

func digestOf(s string) digest {
	d := digest{length: len(s), power: 1}
	for i := range len(s) {
		d.sum = d.sum*digestBase + uint64(s[i]) + 1
		d.power *= digestBase
	}
	return d
}

func (d digest) plus(e digest) digest {
	return digest{length: d.length + e.length, sum: d.sum*e.power + e.sum, power: d.power * e.power}
}

// step is an operation as the models take it.
type step struct {
	kind       Kind
	known      bool // the outcome is: the rest is what came back
	value, old digest
	delta      int64
	found      bool
	text       digest
	integer    bool // text is one
	textNumber int64
	number     int64
}

func stepOf(op *Operation) *step {
	s := &step{
		kind: op.Kind, known: op.Outcome == Applied, value: digestOf(op.Value), old: digestOf(op.Old),
		delta: op.Delta, found: op.Found, text: digestOf(op.Text), number: op.Number,
	}
	n, err := strconv.ParseInt(op.Text, 10, 64)
	s.integer, s.textNumber = err == nil, n
	return s
}

// textState is a key that holds a string, or nothing.
type textState struct {
	exists bool
	value  digest
}

// textModel is a key for every kind but Incr: a register, or a list that grows.
var textModel = porcupine.Model{
	Init: func() any { return textState{value: digestOf("")} },
	Step: func(state, input, _ any) (bool, any) { return stepText(state.(textState), input.(*step)) },
	Hash: func(state any) uint64 {
		s := state.(textState)
		if !s.exists {
			return 0
		}
		return s.value.sum ^ uint64(s.value.length)<<1 ^ 1
	},
}

func stepText(s textState, in *step) (bool, any) {
	stored := textState{exists: true, value: in.value}
	switch in.kind {
	case Get:
		return in.sees(s), s
	case Put:
		return true, stored
	case Swap:
		return !in.known || in.sees(s), stored
	case PutNew:
		return in.conditional(s, !s.exists, stored)
	case CompareAndSwap:
		return in.conditional(s, s.exists && s.value == in.old, stored)
	case Delete:
		return in.conditional(s, s.exists, textState{value: digestOf("")})
	case Append:
		grown := textState{exists: true, value: s.value.plus(in.value)}
		return !in.known || in.number == int64(grown.value.length), grown
	default:
		return false, s
	}
}

func (in *step) sees(s textState) bool {
	return in.found == s.exists && (!s.exists || in.text == s.value)
}

// conditional is an operation that answers 1 where it had an effect, and 0 where
// the condition did not hold.
func (in *step) conditional(s textState, holds bool, after textState) (bool, any) {
	answer := int64(0)
	if holds {
		s, answer = after, 1
	}
	return !in.known || in.number == answer, s
}

// counterState is a key that holds an integer, or nothing.
type counterState struct {
	exists bool
	n      int64
}

// counterModel is a key for Incr, Get and Delete.
var counterModel = porcupine.Model{
	Init: func() any { return counterState{} },
	Step: func(state, input, _ any) (bool, any) { return stepCounter(state.(counterState), input.(*step)) },
	Hash: func(state any) uint64 { return uint64(state.(counterState).n) * digestBase },
}

func stepCounter(s counterState, in *step) (bool, any) {
	switch in.kind {
	case Get:
		return in.found == s.exists && (!s.exists || in.integer && in.textNumber == s.n), s
	case Incr:
		s = counterState{exists: true, n: s.n + in.delta}
		return !in.known || in.number == s.n, s
	case Delete:
		answer := int64(0)
		if s.exists {
			answer = 1
		}
		return !in.known || in.number == answer, counterState{}
	default:
		return false, s
	}
}
