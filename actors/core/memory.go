package core

import "fmt"

// A member that has lost some of what it had on disk may break what it has promised:
// it votes twice in a term, or elects a leader that lacks what it has acknowledged.
// docs/design/0014-lost-memory.md says why the rules below keep it from both.

// Life is one run of a member. Its number grows with every start that took part; two
// starts from the same image of a disk have the same number and another nonce.
type Life struct {
	Number, Nonce uint64
}

// Follows says whether one who shows l may have all that it had when known was heard
// of it.
func (l Life) Follows(known Life) bool { return l == known || l.Number > known.Number }

// Greeting is what a member says of itself when it starts.
type Greeting struct {
	Life       Life
	Last       Index // the end of its durable log
	Founding   bool  // it has nothing stored and may begin a new group
	Recovering bool  // it knows that it has lost memory
}

// Acquaintance is what a member knows of one that greets.
type Acquaintance struct {
	Met     bool
	Known   Life  // the latest one, where Met
	Match   Index // what it has acknowledged to this member, which leads; else 0
	History bool  // this member's group has begun
	// Forgetful: this member is recovering itself. What it does not know proves nothing.
	Forgetful bool
}

// Judgement answers a Greeting.
type Judgement int

const (
	Unsure   Judgement = iota // heard, and nothing that could be said would count
	Whole                     // nothing is known that it has lost
	LostLife                  // a later life of it is known, or another of the same number
	LostLog                   // it has acknowledged more than it holds
	LostAll                   // it comes with nothing to a group that has begun
)

// Judge says whether a member that greets has lost memory, as far as is known here.
func (a Acquaintance) Judge(g Greeting) Judgement {
	switch {
	case a.Met && !g.Life.Follows(a.Known):
		return LostLife
	case g.Recovering:
		return Whole // it knows
	case a.Forgetful:
		return Unsure
	case g.Founding && a.History && !(a.Met && g.Life == a.Known):
		return LostAll
	case a.Match > g.Last && g.Life != a.Known:
		return LostLog
	}
	return Whole
}

// MayBegin says whether a member that starts may take part, when these have answered
// that nothing is missing, or that they do not know (Unsure). A quorum must say the
// first; nothing can be done without one anyway. A new group, founding, begins only
// when every member has answered every other one: then each knows a life of each, and
// one that comes with nothing can be a new one only if nobody knows it.
func MayBegin(c *Configuration, self NodeID, founding bool, answer func(NodeID) (Judgement, bool)) bool {
	for _, m := range c.Members {
		if _, heard := answer(m.ID); founding && !heard && m.ID != self {
			return false
		}
	}
	return c.Quorum().Agrees(func(id NodeID) bool {
		judgement, _ := answer(id)
		return id == self || judgement == Whole
	})
}

// Recovery is a leader's view of a member that has lost memory. It counts again when
// it holds an entry that the leader appended after it had heard of the loss, and that
// a quorum has committed without it.
type Recovery struct {
	Nonce   uint64 // of the member's life
	Barrier Index
	Match   Index
}

// Done says whether the member may take part again.
func (r *Recovery) Done(commit Index) bool { return commit >= r.Barrier && r.Match >= r.Barrier }

// Restores says whether a member may believe its leader of this term that it has
// recovered: it holds the barrier, which is of that term, durably. A snapshot that
// ends beyond it with an entry of that term is of the same leader's log, and holds it.
func Restores(log *LogShape, term Term, durable, barrier Index) bool {
	before := log.Before()
	return barrier <= durable && (log.Has(Position{barrier, term}) || barrier < before.Index && before.Term == term)
}

func (l Life) String() string { return fmt.Sprintf("%d-%08x", l.Number, uint32(l.Nonce)) }
