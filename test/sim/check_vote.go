package sim

import (
	"slices"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors"
	"github.com/protoraft/protoraft/messages"
)

// Votes are given as the paper says (figure 2, RequestVote; thesis §9.6 for
// pre-votes): by term, by the vote already given, by whose log is as fresh, and not
// against a leader that is heard; none is refused without such a reason. A member
// raises its term when a majority would vote for it or its leader says so, and takes
// up every higher term it hears of. Who leads has a majority's votes, its own among
// them, on disk. A leader of an older term is told of the newer one.

// fresh says whether a log that ends at last of term may lead those that end
// like log (paper §5.4.1).
func fresh(term, last uint64, log []entry) bool {
	own := lastTerm(log)
	return term > own || term == own && last >= uint64(len(log))
}

type ballotKey struct {
	term   uint64
	member int
}

// voted notes the vote that a disk has, for good.
func (m *memberModel) voted() {
	if m.hard.Vote != "" {
		m.g.ballots[ballotKey{m.hard.Term, m.n.number}] = m.hard.Vote
	}
}

// checkElected: a leader has the durable votes of a quorum of its configuration, and
// has voted for itself, whether it has a voice there or not.
func (m *memberModel) checkElected(term uint64) {
	votes := func(id string) bool {
		o := m.g.byID(id)
		return o != nil && m.g.ballots[ballotKey{term, o.n.number}] == m.n.id
	}
	if !m.current().decide(votes) || !votes(m.n.id) {
		m.c.w.violate("elected by a quorum", "group %d: %s leads term %d of %v, its own vote is on disk: %v",
			m.g.id, m.n.id, term, m.current(), votes(m.n.id))
		return
	}
	m.coverElected()
}

// campaign is one round of pre-votes.
type campaign struct{ number, term uint64 }

func (m *memberModel) onPreVoteGranted(p *messages.PreVoteGranted) {
	if o, err := m.c.w.nodeNamed(p.From); err == nil && !o.outsider {
		if m.preVotes == nil {
			m.preVotes = map[campaign]uint64{}
		}
		m.preVotes[campaign{p.Campaign, p.Term}] |= 1 << o.number
	}
}

// stands: the member votes for itself in a new term.
func (m *memberModel) stands(term uint64) {
	t := &m.c.turn
	if !t.own(m) {
		return
	}
	if t.find(func(message any) bool {
		order, ok := message.(*messages.TimeoutNow)
		return ok && order.Term+1 == term
	}) || t.resets() {
		return
	}
	for c, who := range m.preVotes {
		granted := func(id string) bool {
			o := m.g.byID(id)
			return o == m || o != nil && who&(1<<o.n.number) != 0
		}
		if c.term == term && c.number >= m.campaign && m.current().decide(granted) {
			clear(m.preVotes)
			return
		}
	}
	if !m.current().decide(func(id string) bool { return id == m.n.id }) {
		m.c.w.violate("no term is raised without a majority's pre-votes", "group %d: %s stands in term %d", m.g.id, m.n.id, term)
	}
}

// votesFor: the member gives its vote to another. Its log is as it was when it decided.
func (m *memberModel) votesFor(term uint64, candidate string) {
	t := &m.c.turn
	if !t.own(m) || t.find(func(message any) bool { _, restored := message.(*messages.MemoryRestored); return restored }) {
		return // it keeps its word to the leader that has restored it
	}
	m.checkFresh(t, term, candidate)
	m.grantedAt, m.grantedTerm, m.grantedCampaign = t.now, term, m.campaign
	// Only then is no pre-vote of before on its way that was not seen.
	m.grantedAlone = t.atOnce && len(t.heard) == 1
}

// checkFresh: a vote, or another copy of it, goes to a log as fresh as the voter's.
func (m *memberModel) checkFresh(t *turn, term uint64, candidate string) {
	asked, fit := false, false
	t.find(func(message any) bool {
		if r, ok := message.(*messages.RequestVote); ok && r.Candidate == candidate && r.Term == term {
			asked = true
			fit = fit || fresh(r.LastTerm, r.LastIndex, m.log)
		}
		return false
	})
	if asked && !fit {
		m.c.w.violate("votes go to logs as fresh", "group %d: %s votes for %s in term %d, and its own log is fresher", m.g.id, m.n.id, candidate, term)
	}
}

// saysVoteNow checks a grant that leaves in the turn in which it was decided.
func (m *memberModel) saysVoteNow(term uint64, candidate string) {
	if t := &m.c.turn; t.own(m) && t.atOnce && m.atOnce() {
		m.checkFresh(t, term, candidate)
	}
}

// saysPreVote checks the answer to a request for a pre-vote; granted or not, it has a
// reason.
func (m *memberModel) saysPreVote(to *node, number uint64, granted bool) {
	t := &m.c.turn
	if !t.own(m) || !t.atOnce || !m.atOnce() || len(t.heard) != 1 {
		return
	}
	t.find(func(message any) bool {
		r, ok := message.(*messages.RequestPreVote)
		if !ok || r.Candidate != to.id || r.Campaign != number {
			return false
		}
		fit := !m.recovers && r.Term > m.asked.Term && fresh(r.LastTerm, r.LastIndex, m.log)
		if granted && (!fit || t.hears) || !granted && fit && !t.mayHear {
			m.c.w.violate("pre-votes have a reason", "group %d: %s, in term %d, hears a leader: %v, answers %s in term %d: %v",
				m.g.id, m.n.id, m.asked.Term, t.hears, to.id, r.Term, granted)
		}
		return true
	})
}

// asksPreVote: who hears a leader does not stand, nor who has just granted a vote.
func (m *memberModel) asksPreVote(p *messages.RequestPreVote) {
	t := &m.c.turn
	if !t.own(m) {
		return
	}
	onDemand := t.find(func(message any) bool {
		_, demanded := message.(*messages.StandForElection)
		return demanded // of one that led when the turn began, perhaps
	})
	if !onDemand && t.atOnce && m.atOnce() && t.hears && p.Campaign > m.campaign {
		m.c.w.violate("who hears a leader does not stand", "group %d: %s asks for pre-votes in term %d", m.g.id, m.n.id, p.Term)
	}
	if m.grantedAlone && m.grantedTerm == m.asked.Term && p.Campaign > m.grantedCampaign &&
		t.now-m.grantedAt < m.c.w.setup.electionTimeout && m.c.w.script == nil {
		m.c.w.violate("who grants a vote gives time", "group %d: %s asks for pre-votes %v after it has voted in term %d",
			m.g.id, m.n.id, t.now-m.grantedAt, m.grantedTerm)
	}
	m.campaign = max(m.campaign, p.Campaign)
}

// checkVote compares a turn of one RequestVote with the rule.
func (m *memberModel) checkVote(t *turn) {
	if len(t.heard) != 1 || t.mayHear {
		return
	}
	_, inner, _ := actor.UnwrapEnvelope(t.heard[0])
	r, ok := inner.(*messages.RequestVote)
	if !ok {
		return
	}
	want := t.before
	if r.Term > want.term {
		want = hardState{r.Term, ""}
	}
	if !m.recovers && r.Term == want.term && (want.vote == "" || want.vote == r.Candidate) && fresh(r.LastTerm, r.LastIndex, m.log) {
		want.vote = r.Candidate
	}
	got := hardState{m.asked.Term, m.asked.Vote}
	if got == t.before && slices.Contains(m.current().removed(), r.Candidate) {
		return // told of its removal, once that is committed
	}
	if got != want {
		m.c.w.violate("votes have a reason", "group %d: %s, asked by %s in term %d, has %+v after %+v, expected %+v",
			m.g.id, m.n.id, r.Candidate, r.Term, got, t.before, want)
	}
}

// checkProtected: a leader that is heard is deposed by nobody's wish to lead.
func (m *memberModel) checkProtected(t *turn) {
	if !t.hears || m.asked.Term <= t.before.term {
		return
	}
	why := t.find(func(message any) bool {
		switch r := message.(type) {
		case *messages.RequestVote:
			return r.Transfer
		case *messages.TimeoutNow, *messages.HeartbeatTimeout, *messages.AppendEntries, *messages.Heartbeat, *messages.OfferSnapshot,
			*messages.HeartbeatAcked, *messages.VoteGranted, *messages.VoteRejected, *messages.PreVoteRejected, *messages.HigherTermSeen:
			return true
		}
		return false
	})
	if !why {
		m.c.w.violate("a leader that is heard is not deposed", "group %d: %s goes from term %d to %d", m.g.id, m.n.id, t.before.term, m.asked.Term)
	}
}

// checkTermTaken: who hears of a higher term is in it (paper §5.1).
func (m *memberModel) checkTermTaken(t *turn) {
	t.find(func(message any) bool {
		term := uint64(0)
		switch r := message.(type) {
		case *messages.AppendEntries:
			term = r.Term
		case *messages.Heartbeat:
			term = r.Term
		case *messages.OfferSnapshot:
			term = r.Term
		case *messages.HeartbeatAcked:
			term = r.Term
		case *messages.VoteGranted:
			term = r.Term
		case *messages.VoteRejected:
			term = r.Term
		case *messages.PreVoteRejected:
			term = r.Term
		case *messages.HigherTermSeen:
			term = r.Term
		}
		if term > m.asked.Term {
			m.c.w.violate("higher terms are taken up", "group %d: %s hears of term %d in %T and stays in %d", m.g.id, m.n.id, term, message, m.asked.Term)
			return true
		}
		return false
	})
}

// checkOlderLeaderTold: a leader of an older term hears of this one.
func (m *memberModel) checkOlderLeaderTold(t *turn) {
	if !t.atOnce || !m.atOnce() {
		return
	}
	for _, item := range t.heard {
		_, inner, sender := actor.UnwrapEnvelope(item)
		term := t.before.term
		switch r := inner.(type) {
		case *messages.AppendEntries:
			term = r.Term
		case *messages.Heartbeat:
			term = r.Term
		case *messages.OfferSnapshot:
			term = r.Term
		}
		if term >= t.before.term || sender == nil {
			continue
		}
		told := false
		for _, s := range t.said {
			switch answer := s.message.(type) {
			case *messages.AppendRejected:
				told = told || s.to == m.n.nodeAt(sender.Address) && answer.Term > term
			case *messages.HeartbeatAcked:
				told = told || s.to == m.n.nodeAt(sender.Address) && answer.Term > term
			case *messages.SnapshotDeclined:
				told = told || s.to == m.n.nodeAt(sender.Address) && answer.Term > term
			}
		}
		if !told {
			m.c.w.violate("an older leader is told", "group %d: %s, in term %d, says nothing to %s, which leads term %d", m.g.id, m.n.id, t.before.term, sender.Address, term)
			return
		}
	}
}

// asksHardState sees term and vote change as the member asks its disk for it.
func (m *memberModel) asksHardState(p *actors.PersistHardState) {
	m.change = p.Change
	m.notes(p.Note)
	switch vote := p.State.Vote; {
	case !m.takesPart || vote == "" || m.asked.Term == p.State.Term && m.asked.Vote == vote:
	case vote == m.n.id:
		m.stands(p.State.Term)
	default:
		m.votesFor(p.State.Term, vote)
	}
}
