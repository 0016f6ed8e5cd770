package core

// Ballot counts the votes of one campaign, one for each member.
type Ballot struct {
	quorum Quorum
	votes  map[NodeID]bool
}

// NewBallot opens a campaign in which nobody has voted yet.
func NewBallot(q Quorum) *Ballot {
	return &Ballot{quorum: q, votes: make(map[NodeID]bool)}
}

// Record notes a member's answer. A second one changes nothing.
func (b *Ballot) Record(id NodeID, granted bool) {
	if _, voted := b.votes[id]; !voted && b.quorum.Contains(id) {
		b.votes[id] = granted
	}
}

// Won says whether a quorum has granted its vote.
func (b *Ballot) Won() bool {
	return b.quorum.Agrees(func(id NodeID) bool { return b.votes[id] })
}

// Lost says whether so many have refused that a quorum cannot come together.
func (b *Ballot) Lost() bool {
	return !b.quorum.Agrees(func(id NodeID) bool {
		granted, voted := b.votes[id]
		return granted || !voted
	})
}

// Voter is what decides a member's vote.
type Voter struct {
	Term Term
	Vote NodeID // in Term, empty for none
	Last Position
	// HearsLeader: a leader was heard within the minimum election timeout, or the
	// voter is a leader with a quorum. It protects that leader from members that
	// were cut off (thesis §4.2.3, §9.6).
	HearsLeader bool
	// Recovering: the voter has lost memory. It does not know whom it has voted for,
	// nor what it has acknowledged.
	Recovering bool
}

// Candidacy is what a candidate brings.
type Candidacy struct {
	Term      Term
	Candidate NodeID
	Last      Position
	Transfer  bool // the leader itself sent it
}

// GrantPreVote says whether the voter would vote for the candidate (thesis §9.6).
// Granting changes nothing, so several candidates may be granted.
func (v Voter) GrantPreVote(c Candidacy) bool {
	return !v.Recovering && c.Term > v.Term && !v.HearsLeader && c.Last.FreshAs(v.Last)
}

// HeedVote says whether a RequestVote is taken notice of at all. A voter that
// hears a leader does not, not even of its term: else a member that comes back
// from a partition deposes a leader that works.
func (v Voter) HeedVote(c Candidacy) bool {
	return c.Transfer || !v.HearsLeader
}

// GrantVote says whether the voter, being in the candidate's term, votes for it:
// one vote a term, first come, first served, and only for a log at least as fresh
// (paper §5.2, §5.4.1). The log is compared on a repeated request too.
func (v Voter) GrantVote(c Candidacy) bool {
	return !v.Recovering && c.Term == v.Term && (v.Vote == "" || v.Vote == c.Candidate) && c.Last.FreshAs(v.Last)
}
