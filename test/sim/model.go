package sim

import (
	"errors"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors"
	fsmsession "github.com/protoraft/protoraft/fsm/session"
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
	turn    turn
	numbers map[number]int // of forwarded operations: the life of the process that gave it
}

// entry is what a log holds at an index. chain covers everything up to it, so that
// two logs which are equal there in chain are equal in all before.
type entry struct {
	term  uint64
	chain uint64
	kind  messages.EntryKind
	data  uint64
	tag   tag
}

type position struct{ index, term uint64 }

// groupModel is what is known of a group across all members and all time.
type groupModel struct {
	drifted   bool // a member's machine once has
	id        uint64
	members   []*memberModel // by node
	known     map[position]entry
	leaders   map[uint64]leadership // by term
	committed []committedEntry      // index i at i-1
	reference machine               // after everything any member has applied
	states    map[uint64]uint64     // machine state after an index
	views     map[uint64]uint64     // what a machine's view wrote, by the last command in it
	keys      [keysMax]keyModel
	values    map[uint64]appended // of applied commands, by value
	refused   map[uint64]*op      // answered as not applied
	ballots   map[ballotKey]string

	acknowledged uint64 // highest index of a write its client was told of
	sessions     sessionModel
	configs      map[uint64]*members // by digest of their entry
	unwritten    *members            // of logs without any: nil, and in tests what they say
	before       *heldBefore         // of a survivor that is to go on alone, until it does
}

// committedEntry is an entry and the term of the leader that committed it.
type committedEntry struct {
	entry
	in uint64
	by *members // who counted
}

// memberModel is one member: its log as it believes it is, and as its disk has it.
type memberModel struct {
	c *checks
	n *node
	g *groupModel

	log, disk   []entry // index i at i-1
	configs     []int   // indexes of the configurations in log
	asked, hard logstore.HardState
	note        string // as a messages.MemberNote
	maybe       *image // what the disk may have instead, after a write that failed

	memoryModel

	// Of this life.
	leads     uint64 // term it leads in, 0 for none
	termStart uint64 // first entry of that term
	commit    uint64 // highest it has acted on
	appliedI  uint64 // index of the last command applied
	reported  uint64 // applied index it has reported
	lastTime  int64
	loaded    uint64 // end of the log when it started
	failed    bool

	snapshots snapshotModel
	durable   durableModel
	drifts    bool // its machine's state is not what it should be, in every life until it is noticed

	office
}

// office is what turns are compared with; see check_turn.go.
type office struct {
	takesPart           bool          // it has begun
	begins              bool          // in this turn, or has
	change, knownChange uint64        // of term and vote: asked for, and known to be on disk
	everHeard           bool          // a leader, in this life, perhaps
	cautiousUntil       time.Duration // it may have heard one before it started
	heardAt, perhapsAt  time.Duration

	campaign        uint64 // latest that asked for pre-votes
	preVotes        map[campaign]uint64
	grantedTerm     uint64
	grantedCampaign uint64
	grantedAt       time.Duration
	grantedAlone    bool

	asleep bool // with its group

	// While it leads.
	contact      map[string]time.Duration
	round        uint64
	rounds       map[string]uint64
	queries      map[asking]asked
	handingOver  int
	since        time.Duration
	matches      map[string]uint64 // what peers have acknowledged
	tallied      uint64            // what that commits, said or not, in any leadership of this life
	losses       map[uint64]int    // of peers' memory, by the nonce of their life, and where its log ended
	handOverAt   time.Duration
	lackingSince time.Duration
	latestBeat   uint64 // generation of the latest timer that had Replicators asked

	given       []piece
	givenBytes  int
	admitted    bool
	toldFailed  bool    // that storage has
	breaks      failure // of its machine
	brokeInTurn bool
	leased      map[asking]time.Duration // with the Applier; until when each may be answered
	table       *fsmsession.Table

	applierEnded bool // its Raft has yet to hear so, or has
}

// image is what a disk holds of a member.
type image struct {
	log    []entry // with what was compacted
	hard   logstore.HardState
	note   string
	purged uint64 // what of it is compacted
}

func newChecks(w *World) *checks { return &checks{w: w, numbers: map[number]int{}} }

func (c *checks) begin() {
	c.history.begin(c)
	for id := uint64(1); id <= uint64(c.w.setup.groups); id++ {
		g := &groupModel{
			id: id, known: map[position]entry{}, leaders: map[uint64]leadership{},
			sessions: newSessionModel(c.w.setup.sessions),
			states:   map[uint64]uint64{}, views: map[uint64]uint64{}, values: map[uint64]appended{}, refused: map[uint64]*op{},
			ballots: map[ballotKey]string{}, configs: map[uint64]*members{},
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
	c.w.cover.posted(message)
	switch m := message.(type) {
	case *actors.PersistHardState:
		c.member(b.n, m.Group).asksHardState(m)
		c.member(b.n, m.Group).onPersistHardState(m)
	case *actors.FellAsleep:
		c.member(b.n, groupOf(m.PID.Id)).fallsAsleep(m)
	case *actors.WokeUp:
		c.member(b.n, groupOf(m.PID.Id)).wakes()
	case *actors.SendBeat:
		if to := b.n.nodeAt(m.To.Address); to != nil {
			c.sent(b.n, to, m.To.Id, m.Message)
		}
	case *actors.PersistEntries:
		c.member(b.n, m.Group).appendsAsLeader()
		c.member(b.n, m.Group).onPersistEntries(m)
	case *actors.LeadershipBegun:
		c.member(b.n, b.group).onLeadershipBegun(uint64(m.Term))
	case *actors.LeadershipEnded:
		c.member(b.n, b.group).leads = 0
	case *actors.ApplyCommitted:
		c.member(b.n, b.group).onApplyCommitted(uint64(m.Commit))
		c.member(b.n, b.group).givesApplier(m)
	case *actors.EntriesApplied:
		c.member(b.n, b.group).onEntriesApplied(uint64(m.Index))
		c.member(b.n, b.group).tookUpTo(uint64(m.Index))
	case *actors.CompactLog:
		c.member(b.n, m.Group).onCompactLog(m)
	case *actors.SnapshotWritten:
		c.member(b.n, b.group).onSnapshotDurable("taken", m.Meta)
	case *actors.InstallSnapshot:
		c.member(b.n, b.group).onSnapshotDurable("received", m.Meta)
	case *actors.ReceiveSnapshot:
		c.member(b.n, b.group).onReceiveSnapshot(m)
	case *actors.SnapshotSettled:
		c.member(b.n, b.group).onSnapshotSettled(m)
	case *actors.RestoreSnapshot:
		c.member(b.n, b.group).onRestoreSnapshot(m.Meta)
	case *actors.AnswerQueries:
		c.member(b.n, b.group).givesLeased(m)
		c.member(b.n, b.group).answersQueries(m)
	case *actors.LeaseRanOut:
		c.member(b.n, b.group).ranOut(m)
	case *messages.Results:
		c.turn.answers(b.pid, m)
	case *actors.ApplierFailed:
		c.turn.stopped = true
		c.member(b.n, b.group).applierEnded = true
	case *actors.AdmitMember:
		c.member(b.n, m.Group).admitted = true
	case *messages.StorageFailed:
		c.turn.stopped = true
		if b.group > 0 {
			c.member(b.n, b.group).toldFailed = true
		}
	case *messages.CheckProgress:
		if b.toldFull != m.DiskFull {
			b.toldFull = m.DiskFull // said at once, besides the beats
			break
		}
		c.member(b.n, b.group).checksProgress(b)
	case *actors.EntriesRead:
		c.turn.reads(m)
	case *actors.FetchEntries:
		if box := c.turn.box; box != nil && box.kind == replicatorActor {
			box.sends.fetches(c.w, &c.turn, m)
		}
	case *actors.SendSnapshot:
		if box := c.turn.box; box != nil && box.kind == replicatorActor {
			box.sends.sendsSnapshot(c.w, &c.turn, m)
		}
	case *messages.PeerAdvanced:
		if box := c.turn.box; box != nil && box.kind == replicatorActor {
			box.sends.checkMoved(c.w, &c.turn, "PeerAdvanced")
		}
	case *actors.MemberFailed:
		c.member(b.n, m.Group).onMemberFailed(m.Reason)
	}
}

// sent sees every message from one process to another, before the network has it.
func (c *checks) sent(from, to *node, name string, message any) {
	switch m := message.(type) {
	case *messages.Results:
		c.turn.answers(actor.NewPID(to.address, name), m)
	case *messages.AppendEntries:
		c.member(from, m.Group).leaderSays("AppendEntries", m.Term, m.Commit)
		if box := c.turn.box; box != nil && box.kind == replicatorActor {
			box.sends.sends(c.w, &c.turn, m)
		}
	case *messages.Heartbeat:
		c.member(from, m.Group).leaderSays("Heartbeat", m.Term, m.Commit)
		c.member(from, m.Group).beats(m)
	case *messages.RequestPreVote:
		c.member(from, m.Group).asksPreVote(m)
	case *messages.PreVoteGranted:
		c.member(from, m.Group).saysPreVote(to, m.Campaign, true)
	case *messages.PreVoteRejected:
		c.member(from, m.Group).saysPreVote(to, m.Campaign, false)
	case *messages.RequestVote:
		c.member(from, m.Group).saysVote("RequestVote", m.Term, m.Candidate)
	case *messages.VoteGranted:
		c.member(from, m.Group).saysVote("VoteGranted", m.Term, to.id)
		c.member(from, m.Group).saysVoteNow(m.Term, to.id)
	case *messages.AppendAccepted:
		c.member(from, m.Group).counts("AppendAccepted", m.Recovering)
		c.member(from, m.Group).saysDurable(m.Term, m.MatchIndex)
		c.member(from, m.Group).saysTo(name, m.Term)
	case *messages.AppendRejected:
		c.w.cover.add("append rejected")
		c.member(from, m.Group).saysTerm("AppendRejected", m.Term)
		c.turn.says(to, m)
	case *messages.StateDiverged:
		c.w.cover.add("order to stop for a diverged state")
		c.member(from, m.Group).saysTerm("StateDiverged", m.Term)
	case *messages.HeartbeatAcked:
		c.member(from, m.Group).counts("HeartbeatAcked", m.Recovering)
		c.member(from, m.Group).saysTerm("HeartbeatAcked", m.Term)
		c.turn.says(to, m)
	case *messages.VoteRejected:
		c.member(from, m.Group).saysTerm("VoteRejected", m.Term)
	case *messages.SnapshotDeclined:
		c.turn.says(to, m)
	case *messages.TimeoutNow:
		c.w.cover.add("order to stand")
		c.member(from, m.Group).tellsToStand(to)
		c.turn.says(to, m)
	case *messages.ForwardRequests:
		c.w.cover.add("proposal forwarded")
		c.forwards(from, m)
	case *messages.MemoryRestored:
		c.member(from, m.Group).restores(to, m)
	case *messages.MemberRemoved:
		c.w.cover.add("members: a former member is told")
	}
}

// writing is called before the store writes, wrote after it.
func (c *checks) writing(n *node, updates []logstore.Update) {
	for i := range updates {
		m := c.member(n, updates[i].Group)
		if m.maybe == nil {
			m.maybe = &image{m.disk, m.hard, m.note, m.snapshots.purged}
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
	if u.Note != nil {
		im.note = string(u.Note)
	}
	if u.ResetFrom != 0 {
		im.log = im.log[: u.ResetFrom-1 : u.ResetFrom-1]
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
	if u.CompactTo > im.purged {
		im.purged = u.CompactTo
		if u.CompactTo > uint64(len(im.log)) {
			im.log = m.g.prefix(u.CompactTo)
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
		if m.lossy {
			m.snapshots.durable = 0
		}
		m.recovered(found)
		m.lastLife = takenFor(found.note)
		m.recovers = m.lastLife.Recovering
		m.log, m.asked = found.log[:len(found.log):len(found.log)], found.hard
		m.asked.Term = max(m.asked.Term, lastTerm(m.log))
		if m.asked.Term != found.hard.Term {
			m.asked.Vote = ""
		}
		m.loaded = uint64(len(m.log))
		m.findConfigs(1)
		m.leads, m.commit, m.appliedI, m.reported, m.lastTime, m.failed = 0, 0, 0, 0, 0, false
		m.snapshotsFound()
		m.office = office{}
	}
}

func (c *checks) crashed(n *node) {
	for _, g := range c.groups {
		g.members[n.number].snapshotsCrashed()
		if m := g.members[n.number]; m.leads != 0 && len(m.current().Outgoing) > 0 {
			c.w.cover.add("members: leader crashes while joint")
		}
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
		next := entry{term: b.Term, kind: e.Kind, data: digest(machineData(e)), tag: tagOf(b.Time, e)}
		previous := uint64(0)
		if len(log) > 0 {
			previous = log[len(log)-1].chain
		}
		next.chain = mix(mix(mix(previous, next.term), uint64(next.kind)), next.data)
		if next.tag.sequence != 0 {
			next.chain = mix(mix(next.chain, next.tag.session), next.tag.sequence)
		}
		log = append(log, next)
		return nil
	})
	return log, err
}
