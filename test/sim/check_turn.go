package sim

import (
	"strings"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors"
	"github.com/protoraft/protoraft/messages"
)

// What an actor hears in a turn and what it says in it are seen together, so that a
// decision can be compared with the paper's rule for it, when it is made and not when
// its harm is done. check_vote.go, check_leader.go, check_read.go and check_sender.go
// do so; here is what they share.

// role of an actor, told from its name.
type actorKind int

const (
	otherActor actorKind = iota
	memberActor
	replicatorActor
	applierActor
	snapshotActor // the Snapshotter and its children
)

func kindOf(id string) actorKind {
	_, child, isChild := strings.Cut(id, "/")
	switch {
	case groupOf(id) == 0:
		return otherActor
	case !isChild:
		return memberActor
	case strings.HasPrefix(child, "snapshotter"):
		return snapshotActor
	case strings.Contains(child, "-"): // peer, term and count
		return replicatorActor
	}
	return applierActor
}

// turn is the one under way.
type turn struct {
	box   *stepMailbox
	m     *memberModel // of a member or a child of it, else nil
	heard []any        // still in their envelopes
	now   time.Duration

	// Of a member, when its turn began.
	before hardState
	takesPart,
	atOnce, // what it says leaves at once: its term and vote are on disk, and it knows
	hears, // a leader, lately, or it is one
	mayHear bool // the same as far as can be told
	leads     uint64
	members   *members // that it went by
	lastIndex int
	said      []said
	checked   int // Replicators that were asked how they do
	stopped   bool
	poisoned  bool
	mute      bool // its storage has failed before
}

// said is an answer or a request that left in the turn.
type said struct {
	to      *node
	message any
}

type hardState struct {
	term uint64
	vote string
}

func (c *checks) turnBegins(b *stepMailbox, heard []any) {
	t := &c.turn
	said := t.said[:0]
	*t = turn{box: b, heard: heard, said: said, now: clock{b.n, b.life}.Now(), mute: b.n.storageLost()}
	if b.group == 0 {
		return
	}
	m := c.member(b.n, b.group)
	t.m = m
	switch b.kind {
	case memberActor:
		t.before = hardState{m.asked.Term, m.asked.Vote}
		t.takesPart = m.takesPart && !m.failed
		t.atOnce, t.leads, t.lastIndex = m.atOnce(), m.leads, len(m.log)
		t.members = m.current()
		t.hears = m.leads != 0 || m.hearsLeader(m.heardAt, t.now)
		t.mayHear = t.hears || m.asleep || m.hearsLeader(m.perhapsAt, t.now)
		m.hear(t)
	case replicatorActor:
		b.sends.hear(t)
	}
}

// turnEnds is not told of a turn in which the process died.
func (c *checks) turnEnds(b *stepMailbox) {
	t := &c.turn
	if t.box != b {
		return
	}
	if b.stopped {
		t.box = nil
		return
	}
	defer func() { t.box = nil }()
	if !b.n.up || b.n.dying || b.life != b.n.life || b.n.disk.Crashed() {
		return
	}
	if t.poisoned {
		t.checkPanic(b)
		return
	}
	switch b.kind {
	case memberActor:
		t.m.endTurn(t)
	case replicatorActor:
		b.sends.endTurn(t)
	case applierActor:
		if t.m.brokeInTurn && !t.stopped && !t.m.applierEnded {
			c.w.violate("a machine that fails stops its group", "group %d: the machine of %s has failed and the Applier goes on", t.m.g.id, b.n.id)
		}
		t.m.brokeInTurn = false
	}
}

// own says whether it is the member's own turn.
func (t *turn) own(m *memberModel) bool {
	return t.box != nil && t.m == m && t.box.kind == memberActor
}

// says notes what leaves.
func (t *turn) says(to *node, message any) {
	if t.box != nil {
		t.said = append(t.said, said{to, message})
	}
}

// find says whether f says so of a message heard; it stops there.
func (t *turn) find(f func(message any) bool) bool {
	for _, item := range t.heard {
		if _, inner, _ := actor.UnwrapEnvelope(item); f(inner) {
			return true
		}
	}
	return false
}

// checkPanic: of an actor that panics all that is promised is kept (a member's group
// stops, a Replicator is started again, what broke storage is the process's end).
func (t *turn) checkPanic(b *stepMailbox) {
	w := b.n.w
	switch {
	case b.kind == memberActor && t.takesPart && !t.m.failed,
		b.kind == applierActor && !t.m.applierEnded && !t.m.failed,
		b.stores && !t.stopped && !t.mute:
		w.violate("a panic ends what it must", "%s on %s has panicked and goes on", b.pid.Id, b.n.id)
	}
}

// atOnce says whether everything the member asked its disk for is durable, and the
// member has heard so: until then it holds back what it says.
func (m *memberModel) atOnce() bool { return m.change == m.knownChange }

// hearsLeader says whether the member has heard a leader, at last then, within an election
// timeout, or may have before it started again. What its term is by now does not matter:
// that leader may not have heard of it, and hold a lease.
func (m *memberModel) hearsLeader(at, now time.Duration) bool {
	return now < m.cautiousUntil || m.everHeard && now-at < m.c.w.setup.electionTimeout
}

// hear takes notes before a turn.
func (m *memberModel) hear(t *turn) {
	for _, item := range t.heard {
		_, inner, sender := actor.UnwrapEnvelope(item)
		switch message := inner.(type) {
		case *messages.HeartbeatAcked:
			m.hearsOfLoss(message.Term, message.Recovering)
			if message.Recovering == 0 {
				m.onContact(t, message.Term, message.From, message.Round)
			}
		case *messages.PeerAdvanced:
			if message.Recovering != 0 {
				m.hearsOfLoss(message.Term, message.Recovering)
				continue
			}
			m.onContact(t, message.Term, message.Peer, 0)
			if m.leads != 0 && message.Term == m.leads {
				m.matches[message.Peer] = max(m.matches[message.Peer], message.MatchIndex)
				m.tally(message.MatchIndex)
			}
		case *messages.PreVoteGranted:
			m.onPreVoteGranted(message)
		case *messages.StandForElection:
			m.grantedAlone = false // it stands on demand, whomever it has voted for
		case *messages.Query:
			m.onQuery(t, message, sender)
		case *actors.Operations:
			for _, op := range message.Items {
				if q, ok := op.(*messages.Query); ok {
					m.onQuery(t, q, sender)
				}
			}
		case *actors.ReturnedOperation:
			if q, ok := message.Message.(*messages.Query); ok {
				m.onQuery(t, q, message.Asker)
			}
		case *messages.TransferLeadership:
			if m.leads != 0 && sender != nil {
				m.handingOver++
				m.handOverAt = t.now
			}
		}
	}
}

// endTurn compares what a member did with what it had to.
func (m *memberModel) endTurn(t *turn) {
	defer m.noteTurn(t)
	if !t.takesPart || m.failed {
		return
	}
	m.checkTermTaken(t)
	m.checkOlderLeaderTold(t)
	m.checkVote(t)
	m.checkProtected(t)
	m.checkOffice(t)
}

// noteTurn keeps what later turns need.
func (m *memberModel) noteTurn(t *turn) {
	part := t.takesPart
	for _, item := range t.heard {
		_, inner, _ := actor.UnwrapEnvelope(item)
		switch message := inner.(type) {
		case *messages.HardStatePersisted:
			m.knownChange = max(m.knownChange, message.Change)
		case *messages.AppendEntries:
			m.heardLeader(t, part, message.Term)
		case *messages.Heartbeat:
			m.heardLeader(t, part, message.Term)
		case *messages.OfferSnapshot:
			m.heardLeader(t, part, message.Term)
		case *actors.GroupLoaded:
			stored := len(message.State.Runs) > 0 || message.State.FirstIndex > 1 || m.snapshots.found > 0
			if s := &m.c.w.setup; stored && s.clockDrift > 0 && m.c.w.script == nil {
				m.cautiousUntil = t.now + s.electionTimeout
			}
		}
	}
	m.takesPart = m.takesPart || m.begins
}

// heardLeader notes what was said by a leader of the member's term. Where the turn has
// brought a later one too, or is the one in which the member began to take part, it
// depends on which came first.
func (m *memberModel) heardLeader(t *turn, part bool, term uint64) {
	if !part && !m.begins || term < t.before.term {
		return
	}
	if !m.everHeard {
		m.everHeard, m.heardAt = true, t.now-m.c.w.setup.electionTimeout
	}
	if m.perhapsAt = t.now; part && term == m.asked.Term {
		m.heardAt = t.now
	}
}

// storageLost says whether the process has already lost its storage: what panics then
// has nothing left to say.
func (n *node) storageLost() bool {
	return n.storageDown || n.store != nil && n.store.failed || n.felled
}
