package sim

import (
	"errors"
	"github.com/protoraft/protoraft/actors"
	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/messages"
)

// checks watches a world from outside: messages as they are posted and sent, the
// store's writes, the machines' entries, the answers. It keeps what it needs to
// check each rule by what has changed.
type checks struct {
	w       *World
	groups  []*groupModel // group g at g-1
	history history
}

// entry is what a log holds at an index. chain covers everything up to it, so that
// two logs which are equal there in chain are equal in all before.
type entry struct {
	term  uint64
	chain uint64
	kind  messages.EntryKind
	data  uint64
}

type position struct{ index, term uint64 }

// groupModel is what is known of a group across all members and all time.
type groupModel struct {
	id        uint64
	members   []*memberModel // by node
	known     map[position]entry
	leaders   map[uint64]leadership // by term
	committed []committedEntry      // index i at i-1
	reference machine               // after everything any member has applied
	states    map[uint64]uint64     // machine state after an index
	keys      [keysMax]keyModel
	values    map[uint64]appended // of applied commands, by value
	refused   map[uint64]*op      // answered as not applied

	acknowledged uint64 // highest index of a write its client was told of
}

// committedEntry is an entry and the term of the leader that committed it.
type committedEntry struct {
	entry
	in uint64
}

// memberModel is one member: its log as it believes it is, and as its disk has it.
type memberModel struct {
	c *checks
	n *node
	g *groupModel

	log, disk   []entry // index i at i-1
	asked, hard logstore.HardState
	maybe       *image // what the disk may have instead, after a write that failed

	// Of this life.
	leads     uint64 // term it leads in, 0 for none
	termStart uint64 // first entry of that term
	commit    uint64 // highest it has acted on
	appliedI  uint64 // index of the last command applied
	reported  uint64 // applied index it has reported
	lastTime  int64
	loaded    uint64 // end of the log when it started
	failed    bool
}

// image is what a disk holds of a member.
type image struct {
	log  []entry
	hard logstore.HardState
}

func newChecks(w *World) *checks { return &checks{w: w} }

func (c *checks) begin() {
	c.history.begin(c)
	for id := uint64(1); id <= uint64(c.w.setup.groups); id++ {
		g := &groupModel{
			id: id, known: map[position]entry{}, leaders: map[uint64]leadership{},
			states: map[uint64]uint64{}, values: map[uint64]appended{}, refused: map[uint64]*op{},
		}
		for _, n := range c.w.nodes {
			g.members = append(g.members, &memberModel{c: c, n: n, g: g})
		}
		c.groups = append(c.groups, g)
	}
}

func (c *checks) group(id uint64) *groupModel { return c.groups[id-1] }

func (c *checks) member(n *node, group uint64) *memberModel {
	return c.group(group).members[n.number]
}

// posted sees every message between actors of one process.
func (c *checks) posted(b *stepMailbox, message any) {
	switch m := message.(type) {
	case *actors.PersistHardState:
		c.member(b.n, m.Group).onPersistHardState(m)
	case *actors.PersistEntries:
		c.member(b.n, m.Group).onPersistEntries(m)
	case *actors.LeadershipBegun:
		c.member(b.n, b.group).onLeadershipBegun(uint64(m.Term))
	case *actors.LeadershipEnded:
		c.member(b.n, b.group).leads = 0
	case *actors.ApplyCommitted:
		c.member(b.n, b.group).onApplyCommitted(uint64(m.Commit))
	case *actors.EntriesApplied:
		c.member(b.n, b.group).onEntriesApplied(uint64(m.Index))
	case *actors.MemberFailed:
		c.member(b.n, m.Group).onMemberFailed(m.Reason)
	}
}

// sent sees every message from one process to another, before the network has it.
func (c *checks) sent(from, to *node, message any) {
	switch m := message.(type) {
	case *messages.AppendEntries:
		c.member(from, m.Group).leaderSays("AppendEntries", m.Term, m.Commit)
	case *messages.Heartbeat:
		c.member(from, m.Group).leaderSays("Heartbeat", m.Term, m.Commit)
	case *messages.RequestVote:
		c.member(from, m.Group).saysVote("RequestVote", m.Term, m.Candidate)
	case *messages.VoteGranted:
		c.member(from, m.Group).saysVote("VoteGranted", m.Term, to.id)
	case *messages.AppendAccepted:
		c.member(from, m.Group).saysDurable(m.Term, m.MatchIndex)
	case *messages.AppendRejected:
		c.w.cover.add("append rejected")
		c.member(from, m.Group).saysTerm("AppendRejected", m.Term)
	case *messages.HeartbeatAcked:
		c.member(from, m.Group).saysTerm("HeartbeatAcked", m.Term)
	case *messages.VoteRejected:
		c.member(from, m.Group).saysTerm("VoteRejected", m.Term)
	case *messages.TimeoutNow:
		c.w.cover.add("order to stand")
	case *messages.ForwardRequests:
		c.w.cover.add("proposal forwarded")
	}
}

// writing is called before the store writes, wrote after it.
func (c *checks) writing(n *node, updates []logstore.Update) {
	for i := range updates {
		m := c.member(n, updates[i].Group)
		if m.maybe == nil {
			m.maybe = &image{m.disk, m.hard}
		}
		m.maybe.apply(m, &updates[i])
	}
}

func (c *checks) wrote(n *node, err error) {
	for _, g := range c.groups {
		m := g.members[n.number]
		switch {
		case m.maybe == nil:
		case err == nil:
			m.becomesDurable(*m.maybe)
			m.maybe = nil
		case errors.Is(err, logstore.ErrFull):
			m.maybe = nil // surely not written
		}
	}
}

// apply folds an update into an image. What it shares with the image before is
// never overwritten.
func (im *image) apply(m *memberModel, u *logstore.Update) {
	if u.HardState != nil {
		im.hard = *u.HardState
	}
	if u.TruncateFrom != 0 && u.TruncateFrom <= uint64(len(im.log)) {
		im.log = im.log[: u.TruncateFrom-1 : u.TruncateFrom-1]
	}
	for i := range u.Blocks {
		b := &u.Blocks[i]
		for index := b.FirstIndex; index <= b.LastIndex(); index++ {
			im.log = append(im.log, m.g.known[position{index, b.Term}])
		}
	}
}

// booted sees what a process finds on its disk.
func (c *checks) booted(n *node, store logstore.Store) {
	for _, g := range c.groups {
		m := g.members[n.number]
		found, err := m.read(store)
		if err != nil {
			c.w.violate("a disk that works can be read", "%s, group %d: %v", n.id, g.id, err)
			return
		}
		m.recovered(found)
		m.log, m.asked = found.log[:len(found.log):len(found.log)], found.hard
		m.asked.Term = max(m.asked.Term, lastTerm(m.log))
		if m.asked.Term != found.hard.Term {
			m.asked.Vote = ""
		}
		m.loaded = uint64(len(m.log))
		m.leads, m.commit, m.appliedI, m.reported, m.lastTime, m.failed = 0, 0, 0, 0, 0, false
	}
}

func (c *checks) crashed(n *node) {
	for _, g := range c.groups {
		g.members[n.number].leads = 0
	}
}

func lastTerm(log []entry) uint64 {
	if len(log) == 0 {
		return 0
	}
	return log[len(log)-1].term
}

// extend adds a block's entries to a log, with their chain.
func extend(log []entry, b *messages.Block) ([]entry, error) {
	err := b.Entries(func(_ uint64, e messages.EntryView) error {
		next := entry{term: b.Term, kind: e.Kind, data: digest(e.Data)}
		previous := uint64(0)
		if len(log) > 0 {
			previous = log[len(log)-1].chain
		}
		next.chain = mix(mix(mix(previous, next.term), uint64(next.kind)), next.data)
		log = append(log, next)
		return nil
	})
	return log, err
}
