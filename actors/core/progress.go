package core

// ProgressState says how a Replicator sends.
type ProgressState int

const (
	// Probe: the peer's position is not known; one append at a time.
	Probe ProgressState = iota
	// Replicate: appends follow each other without waiting, within the window.
	Replicate
	// Snapshot: the peer needs entries that are compacted. It is being sent a snapshot,
	// and no appends.
	Snapshot
)

func (s ProgressState) String() string {
	switch s {
	case Replicate:
		return "replicate"
	case Snapshot:
		return "snapshot"
	}
	return "probe"
}

// Window bounds what is sent and not answered.
type Window struct {
	Messages int
	Bytes    int
}

// Progress is a Replicator's knowledge of its peer.
type Progress struct {
	State   ProgressState
	Session uint64 // grows with every return to probing
	Match   Index  // the peer durably holds the log up to here
	Next    Index  // the next entry to send

	window   Window
	inflight []sent
	bytes    int
}

type sent struct {
	last  Index
	bytes int
}

// NewProgress begins by probing at next.
func NewProgress(next Index, w Window) Progress {
	return Progress{State: Probe, Session: 1, Next: next, window: w}
}

// CanSend says whether another append may leave.
func (p *Progress) CanSend() bool {
	if p.State == Snapshot {
		return false
	}
	if len(p.inflight) == 0 {
		return true // an append larger than the window must leave at some time
	}
	return p.State == Replicate && len(p.inflight) < p.window.Messages && p.bytes < p.window.Bytes
}

// Inflight is the number of appends sent and not answered.
func (p *Progress) Inflight() int { return len(p.inflight) }

// Sent notes that an append ending at last has left.
func (p *Progress) Sent(last Index, bytes int) {
	p.inflight = append(p.inflight, sent{last, bytes})
	p.bytes += bytes
	if p.State == Replicate {
		p.Next = last + 1
	}
}

// Accepted takes a peer's answer: it holds everything up to match. It says whether
// the answer was of this session; others change nothing.
func (p *Progress) Accepted(session uint64, match Index) bool {
	if session != p.Session {
		return false
	}
	p.Match = max(p.Match, match)
	n := 0
	for n < len(p.inflight) && p.inflight[n].last <= match {
		p.bytes -= p.inflight[n].bytes
		n++
	}
	p.inflight = p.inflight[:copy(p.inflight, p.inflight[n:])]
	if p.State == Probe {
		p.State = Replicate
		p.drop()
		p.Next = p.Match + 1
	}
	p.Next = max(p.Next, p.Match+1)
	return true
}

// Rejected takes a refusal of the append after prev: the peer's log may agree
// with the leader's up to hint at most. It says whether the refusal told anything.
func (p *Progress) Rejected(session uint64, prev, hint Index) bool {
	if session != p.Session || prev <= p.Match {
		return false
	}
	p.Restart()
	p.Next = max(p.Match, min(hint, prev-1)) + 1
	return true
}

// Restart goes back to probing after the last entry known to be there: what was in
// flight counts as lost. A probe that was lost tells nothing: the next one asks
// about the same place, not about the start of a log that may be there whole.
func (p *Progress) Restart() {
	if p.State == Replicate {
		p.Next = p.Match + 1
	}
	p.State = Probe
	p.Session++
	p.drop()
}

// BeginSnapshot: no append can reach the peer from here on.
func (p *Progress) BeginSnapshot() {
	p.State = Snapshot
	p.Session++
	p.drop()
}

// EndSnapshot probes after a snapshot up to index. That the peer holds it durably is
// for its answer to the probe to say.
func (p *Progress) EndSnapshot(index Index) {
	p.State = Probe
	p.Session++
	p.Next = max(p.Match, index) + 1
}

func (p *Progress) drop() {
	p.inflight = p.inflight[:0]
	p.bytes = 0
}
