// Package core holds Raft's decisions as plain code: no actor, clock, chance,
// file or network. An actor asks, core answers, the actor acts.
//
// Rules cite the Raft paper (Ongaro, Ousterhout: In Search of an Understandable
// Consensus Algorithm, extended version) and Ongaro's thesis (Consensus: Bridging
// Theory and Practice).
package core

import "fmt"

// Term counts elections. It never goes back.
type Term uint64

// Index is an entry's place in the log. The first entry has index 1.
type Index uint64

// NodeID names a member of a group by the node it lives on.
type NodeID string

// Position is an entry's index and term: two logs that hold an entry at the same
// Position are equal up to it (Log Matching, paper §5.3).
type Position struct {
	Index Index
	Term  Term
}

func (p Position) String() string { return fmt.Sprintf("%d@%d", p.Index, p.Term) }

// FreshAs says whether a log ending at p is at least as up to date as one ending
// at q: the later term wins, the longer log where the terms are equal (§5.4.1).
func (p Position) FreshAs(q Position) bool {
	return p.Term > q.Term || p.Term == q.Term && p.Index >= q.Index
}
