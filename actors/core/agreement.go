package core

import (
	"math/bits"
	"slices"
)

// Checkpoint is a number for what a member's state machine has come to after the
// entry at Index. Equal machines have equal numbers. A number of 0 is not known and
// compared with nothing.
type Checkpoint struct {
	Index   Index
	Replies uint64 // over every reply up to Index
	State   uint64 // of the state at Index
}

// CheckpointEvery: checkpoints are taken after entries whose index it divides.
const CheckpointEvery = 64

// differs says whether two checkpoints at one index cannot be of equal machines, and
// compared whether they share anything that could tell.
func (c Checkpoint) differs(o Checkpoint) (differs, compared bool) {
	for _, p := range [][2]uint64{{c.Replies, o.Replies}, {c.State, o.State}} {
		if p[0] != 0 && p[1] != 0 {
			compared = true
			differs = differs || p[0] != p[1]
		}
	}
	return differs, compared
}

// Differs says whether two checkpoints at one index cannot be of equal machines.
func (c Checkpoint) Differs(o Checkpoint) bool {
	differs, _ := c.differs(o)
	return differs
}

// Rank grows with how rare an index is among checkpoints: of those since its last
// report a member picks the rarest, so that members who report at different times
// still report the same ones.
func (c Checkpoint) Rank() int { return bits.TrailingZeros64(uint64(c.Index)) }

// Checkpoints keeps the own ones for comparison: the last few of each rank, and so
// the fewer the older they are, over millions of entries in some kilobytes.
type Checkpoints struct {
	last  Index
	ranks map[int]*[ranked]Checkpoint
}

const ranked = 16

// Add notes a checkpoint. They come in the order of their indexes.
func (s *Checkpoints) Add(c Checkpoint) {
	if s.ranks == nil {
		s.ranks = make(map[int]*[ranked]Checkpoint)
	}
	if s.ranks[c.Rank()] == nil {
		s.ranks[c.Rank()] = new([ranked]Checkpoint)
	}
	*s.slot(c.Index) = c
	s.last = c.Index
}

// slot is the place of an index among those of its rank, which are two steps apart.
func (s *Checkpoints) slot(i Index) *Checkpoint {
	rank := Checkpoint{Index: i}.Rank()
	ring := s.ranks[rank]
	if ring == nil {
		return nil
	}
	return &ring[uint64(i)>>(rank+1)%ranked]
}

// At returns the checkpoint at an index, where it is still kept.
func (s *Checkpoints) At(i Index) (Checkpoint, bool) {
	if c := s.slot(i); i != 0 && c != nil && c.Index == i {
		return *c, true
	}
	return Checkpoint{}, false
}

// Agreement is a leader's count of whose state machine is where its own is.
type Agreement struct {
	own   *Checkpoints
	peers map[NodeID]*compared
}

type compared struct {
	last    Index        // reported
	early   Checkpoint   // reported before the leader got there itself
	agreed  Index        // the last at which it was equal
	differs []Checkpoint // what it reported where it was not, lowest index first
}

// differsMax bounds what is kept of a peer that differs at every turn.
const differsMax = 32

// NewAgreement begins to compare with the own checkpoints.
func NewAgreement(own *Checkpoints) *Agreement {
	return &Agreement{own: own, peers: make(map[NodeID]*compared)}
}

// Reported notes a peer's checkpoint, and Reached one of the leader's own that is in
// Checkpoints by now. They return whether any peer is known to differ: then Judge.
func (a *Agreement) Reported(id NodeID, c Checkpoint) bool {
	p := a.peers[id]
	if p == nil || c.Index < p.last { // a member that goes back has started again
		p = &compared{}
		a.peers[id] = p
	}
	p.last = c.Index
	if mine, ok := a.own.At(c.Index); ok {
		p.compare(c, mine)
	} else if c.Index > a.own.last && p.early.Index <= a.own.last {
		p.early = c
	}
	return a.anyDiffers()
}

// Forget drops what a peer has reported: it is told to stop, and what it reports from
// then on decides anew, or else its next life would be judged by this one.
func (a *Agreement) Forget(id NodeID) { delete(a.peers, id) }

// Reached: see Reported.
func (a *Agreement) Reached(mine Checkpoint) bool {
	for _, p := range a.peers {
		if p.early.Index == mine.Index {
			p.compare(p.early, mine)
		}
	}
	return a.anyDiffers()
}

func (p *compared) compare(c, mine Checkpoint) {
	switch differs, ok := c.differs(mine); {
	case !ok:
	case !differs:
		p.agreed = max(p.agreed, c.Index)
		// One that has started again has come to the right state this time.
		p.differs = slices.DeleteFunc(p.differs, func(d Checkpoint) bool { return d.Index <= c.Index })
	case len(p.differs) < differsMax && !slices.Contains(p.differs, c):
		p.differs = append(p.differs, c)
		slices.SortFunc(p.differs, func(x, y Checkpoint) int { return int(x.Index) - int(y.Index) })
	}
}

func (a *Agreement) anyDiffers() bool {
	for _, p := range a.peers {
		if len(p.differs) > 0 {
			return true
		}
	}
	return false
}

// InDoubt says whether a peer is known to differ, and not whose state is wrong. Whoever
// was judged is forgotten, or the leader has stopped.
func (a *Agreement) InDoubt() bool { return a.anyDiffers() }

// Compared is the last index at which a peer was seen to be equal, and the first at
// which it was not; 0 for none.
func (a *Agreement) Compared(id NodeID) (agreed, differs Index) {
	p := a.peers[id]
	if p == nil {
		return 0, 0
	}
	if len(p.differs) > 0 {
		differs = p.differs[0].Index
	}
	return p.agreed, differs
}

// Verdict says who is wrong.
type Verdict struct {
	// Wrong are the peers that differ from a majority which the leader is part of.
	Wrong []NodeID
	// SelfWrong: a majority has come to another state than the leader, and to the same
	// one, at At.
	SelfWrong bool
	// Split: everybody who holds a state has been heard, and no state is a majority's.
	Split bool
	At    Index // where it shows, for SelfWrong and Split
}

// Judge decides by majority of those who vote and hold a state. While it might still
// turn out either way, nobody is wrong.
func (a *Agreement) Judge(q Quorum, self NodeID) (v Verdict) {
	for _, id := range sorted(a.peers) {
		if _, at := a.Compared(id); at != 0 && q.Agrees(func(other NodeID) bool { return a.with(other, self, at) }) {
			v.Wrong = append(v.Wrong, id)
		}
	}
	if len(v.Wrong) > 0 {
		return v
	}
	for _, at := range a.indexes() {
		if a.outvoted(q, at) {
			return Verdict{SelfWrong: true, At: at}
		}
		if a.decided(q, self, at) {
			return Verdict{Split: true, At: at}
		}
	}
	return v
}

// with says whether a member is known to have been where the leader was at an index.
func (a *Agreement) with(id, self NodeID, at Index) bool {
	p := a.peers[id]
	return id == self || p != nil && len(p.differs) == 0 && p.agreed >= at
}

// outvoted says whether a majority is in one state at an index, and not in the
// leader's.
func (a *Agreement) outvoted(q Quorum, at Index) bool {
	for _, p := range a.peers {
		of, ok := p.at(at)
		if !ok {
			continue
		}
		same := func(id NodeID) bool {
			other, ok := a.peers[id]
			if !ok {
				return false
			}
			c, ok := other.at(at)
			return ok && c == of
		}
		if q.Agrees(same) {
			return true
		}
	}
	return false
}

// decided says whether everybody has shown at an index whether it is with the leader.
func (a *Agreement) decided(q Quorum, self NodeID, at Index) bool {
	for _, id := range slices.Concat(q.Voters, q.Outgoing) {
		if a.with(id, self, at) {
			continue
		}
		p := a.peers[id]
		if p == nil {
			return false
		}
		if _, ok := p.at(at); !ok {
			return false
		}
	}
	return true
}

func (p *compared) at(i Index) (Checkpoint, bool) {
	for _, c := range p.differs {
		if c.Index == i {
			return c, true
		}
	}
	return Checkpoint{}, false
}

// indexes are those at which anybody differs, in order.
func (a *Agreement) indexes() (all []Index) {
	for _, p := range a.peers {
		for _, c := range p.differs {
			all = append(all, c.Index)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func sorted(peers map[NodeID]*compared) (ids []NodeID) {
	for id := range peers {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}
