package core

// Round numbers a leader's rounds of heartbeats, unique within its term.
type Round uint64

// Reads confirms that a leader still led when a round was begun (ReadIndex, thesis
// §6.4). A read waits for a round begun after it came in; answers to earlier
// rounds prove nothing about it.
type Reads struct {
	quorum Quorum
	self   NodeID
	begun  Round
	acked  map[NodeID]Round
}

// NewReads begins a leadership.
func NewReads(q Quorum, self NodeID) *Reads {
	return &Reads{quorum: q, self: self, acked: make(map[NodeID]Round)}
}

// SetQuorum confirms by another configuration from here on.
func (r *Reads) SetQuorum(q Quorum) { r.quorum = q }

// Begin opens a round and returns its number.
func (r *Reads) Begin() Round {
	r.begun++
	return r.begun
}

// Begun is the latest round opened. Every heartbeat carries it.
func (r *Reads) Begun() Round { return r.begun }

// Acked notes a member's answer to a round. An answer to a round that was never
// begun is ignored.
func (r *Reads) Acked(id NodeID, round Round) {
	if round <= r.begun && round > r.acked[id] {
		r.acked[id] = round
	}
}

// Confirmed is the latest round that a quorum has answered. The leader answers
// itself.
func (r *Reads) Confirmed() Round {
	return Reached(r.quorum, func(id NodeID) Round {
		if id == r.self {
			return r.begun
		}
		return r.acked[id]
	})
}
