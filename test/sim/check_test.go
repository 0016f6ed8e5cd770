package sim

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/actors"
	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/fsm"
	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/messages"
)

// bad is a world of three members that a test does something forbidden in.
type bad struct {
	w       *World
	c       *checks
	g       *groupModel
	a, b, d *memberModel
}

func newBad() bad {
	w := NewScript(3, 1).w
	w.script = nil // rules about time count
	w.setup.electionTimeout, w.setup.heartbeat = time.Second, 100*time.Millisecond
	g := w.checks.groups[0]
	g.unwritten = all(w.nodes)
	for _, n := range w.everyone {
		n.up, n.rate = true, 1
	}
	return bad{w, w.checks, g, g.members[0], g.members[1], g.members[2]}
}

// all is a configuration of voters.
func all(nodes []*node) *members {
	c := &members{Configuration: &messages.Configuration{}}
	for _, n := range nodes {
		c.Members = append(c.Members, &messages.Member{Id: n.id, Address: n.address})
		c.voters = append(c.voters, n.id)
	}
	return c
}

// hears begins a turn of a's actor in which it hears messages; end ends it.
func (x bad) hears(heard ...any) { x.turn(memberActor, &stepMailbox{}, heard...) }

func (x bad) turn(kind actorKind, b *stepMailbox, heard ...any) *stepMailbox {
	b.n, b.group, b.kind, b.pid = x.a.n, 1, kind, actor.NewPID("n1:7000", "raft-1")
	for i, m := range heard {
		heard[i] = &actor.MessageEnvelope{Message: m, Sender: actor.NewPID("n2:7000", "raft-1")}
	}
	x.c.turnBegins(b, heard)
	return b
}

func (x bad) end() { x.c.turnEnds(x.c.turn.box) }

// follows makes a member one that takes part in a term.
func (x bad) follows(m *memberModel, term uint64) {
	m.takesPart, m.asked.Term, m.hard.Term = true, term, term
}

// leads makes a the leader of a term, elected as it must be.
func (x bad) leads(term uint64) {
	for _, m := range x.g.members {
		x.follows(m, term)
		x.g.ballots[ballotKey{term, m.n.number}] = x.a.n.id
	}
	x.hears()
	x.a.onLeadershipBegun(term)
	x.end()
}

// leadsOn makes a the leader of a term, who alone has its first entry; before it there are
// n of term 1, on all disks.
func (x bad) leadsOn(term uint64, n int) {
	x.leads(term)
	x.a.log = append(entries(1, n), entries(term, 1)...)
	for _, m := range x.g.members {
		m.disk = entries(1, n)
	}
	x.a.termStart = uint64(n) + 1
}

// later lets time pass on every clock.
func (x bad) later(d time.Duration) { x.w.now += d }

func entries(term uint64, n int) (log []entry) {
	for i := range n {
		log = append(log, entry{term: term, chain: mix(term, uint64(i)), kind: messages.EntryKind_NOOP})
	}
	return log
}

func block(term, first, prev uint64, data string) messages.Block {
	w := messages.NewBlockWriter(messages.BlockHeader{Group: 1, Incarnation: 1, Term: term, FirstIndex: first, PrevTerm: prev}, messages.EntryBytes(len(data)))
	w.Add(messages.EntryView{Kind: messages.EntryKind_COMMAND, Data: []byte(data)})
	return w.Finish()
}

func (x bad) asks(n *node, kind opKind) *op {
	o := (&client{w: x.w, group: 1}).newOp(n, kind, 0)
	return o
}

// brokenByMembers shows the checks of what members hear, say and write what they must
// not let pass, by rule.
var brokenByMembers = map[string][]func(x bad){
	"term and vote never go back": {
		func(x bad) {
			x.follows(x.a, 3)
			x.a.onPersistHardState(&actors.PersistHardState{Group: 1, State: logstore.HardState{Term: 2}})
		},
		func(x bad) {
			x.a.hard = logstore.HardState{Term: 2, Vote: "n2"}
			x.a.becomesDurable(image{hard: logstore.HardState{Term: 2, Vote: "n3"}})
		},
	},
	"persisted before reply": {
		func(x bad) {
			x.c.sent(x.a.n, x.b.n, "raft-1", &messages.RequestVote{Group: 1, Term: 2, Candidate: "n1"})
		},
		func(x bad) { x.c.sent(x.a.n, x.b.n, "raft-1", &messages.HeartbeatAcked{Group: 1, Term: 2}) },
		func(x bad) {
			x.follows(x.a, 2)
			x.c.sent(x.a.n, x.b.n, "", &messages.AppendAccepted{Group: 1, Term: 2, MatchIndex: 1})
		},
	},
	"election safety": {
		func(x bad) { x.g.leaders[2] = leadership{x.b.n, 0}; x.a.onLeadershipBegun(2) },
		func(x bad) { x.c.sent(x.a.n, x.b.n, "raft-1", &messages.Heartbeat{Group: 1, Term: 2}) },
	},
	"elected by a quorum": {
		func(x bad) { x.a.onLeadershipBegun(2) },
		func(x bad) {
			x.g.ballots[ballotKey{2, 1}], x.g.ballots[ballotKey{2, 2}] = "n1", "n1"
			x.a.onLeadershipBegun(2) // its own vote is not on its disk
		},
		func(x bad) { // by the one half of a joint configuration
			x.g.unwritten.Outgoing = []string{"n7", "n8"}
			x.leads(2)
		},
	},
	"log matching": {func(x bad) {
		x.a.onPersistEntries(&actors.PersistEntries{Group: 1, Block: block(1, 1, 0, "x")})
		x.b.onPersistEntries(&actors.PersistEntries{Group: 1, Block: block(1, 1, 0, "y")})
	}},
	"leader append-only":     {func(x bad) { x.leads(2); x.a.truncated(1) }},
	"committed entries stay": {func(x bad) { x.a.commit = 3; x.a.truncated(2) }},
	"index order": {
		func(x bad) { x.a.commit = 3; x.a.onApplyCommitted(3) },
		func(x bad) { x.a.onEntriesApplied(1) },
		func(x bad) { x.a.claim("test", 1, 1) },
		func(x bad) { x.a.onPersistEntries(&actors.PersistEntries{Group: 1, Block: block(1, 2, 0, "x")}) },
	},
	"commit quorum": {func(x bad) { x.a.log, x.a.disk = entries(1, 1), entries(1, 1); x.a.claim("test", 1, 1) }},
	"commit of the own term": {
		func(x bad) { x.leadsOn(2, 1); x.a.claim("test", 2, 1) },
		func(x bad) { // what its peers acknowledge of an earlier term commits nothing
			x.leadsOn(2, 1)
			x.hears(&messages.PeerAdvanced{Term: 2, Peer: "n2", MatchIndex: 1}, &messages.PeerAdvanced{Term: 2, Peer: "n3", MatchIndex: 1})
			x.a.claim("test", 2, 1)
		},
		func(x bad) { // it goes beyond what it had committed when it led before
			x.leadsOn(1, 0)
			x.a.log = entries(1, 1)
			x.hears(&messages.PeerAdvanced{Term: 1, Peer: "n2", MatchIndex: 1}, &messages.PeerAdvanced{Term: 1, Peer: "n3", MatchIndex: 1})
			x.end()
			x.leadsOn(2, 2)
			x.a.claim("test", 2, 1)
			if x.w.failure != nil { // what it had committed it may say
				x.w.failure = nil
				return
			}
			x.a.claim("test", 2, 2)
		},
	},
	"leader completeness": {func(x bad) { x.g.committed = []committedEntry{{entry: entries(1, 1)[0], in: 1}}; x.leads(2) }},
	"state machine safety": {
		func(x bad) {
			x.a.commit, x.g.committed = 1, []committedEntry{{entry: entries(1, 1)[0], in: 1}}
			x.a.applied(fsm.Entry{Index: 1, Term: 1, Data: []byte("x")}, 0)
		},
	},
	"log time never goes back": {func(x bad) {
		e := entry{term: 1, kind: messages.EntryKind_COMMAND, data: digest([]byte("x"))}
		x.a.commit, x.a.lastTime, x.g.committed = 1, 2, []committedEntry{{entry: e, in: 1}}
		x.a.applied(fsm.Entry{Index: 1, Term: 1, Data: []byte("x"), Time: time.Unix(0, 1)}, 0)
	}},
	"what is durable survives":          {func(x bad) { x.a.disk = entries(1, 1); x.a.recovered(image{}) }},
	"members do not fail by themselves": {func(x bad) { x.a.onMemberFailed("a whim") }},
	"exactly one answer": {
		func(x bad) { x.c.history.answered(x.a.n, &messages.ResultItem{Request: 7}) },
		func(x bad) { x.asks(x.a.n, opRead); x.c.history.finish() },
	},
	"not applied means never": {func(x bad) {
		o := x.asks(x.a.n, opAppend)
		x.c.history.answered(x.a.n, &messages.ResultItem{Request: o.request, Outcome: messages.Outcome_NOT_APPLIED})
		x.c.history.applied(x.g, fsm.Entry{Index: 1, Data: o.command.encode(0)})
	}},
	"applied once": {func(x bad) {
		e := fsm.Entry{Index: 1, Data: x.asks(x.a.n, opAppend).command.encode(0)}
		x.c.history.applied(x.g, e)
		x.c.history.applied(x.g, e)
	}},
	"only what clients sent is applied": {func(x bad) { x.c.history.applied(x.g, fsm.Entry{Index: 1, Data: []byte("x")}) }},
	"acknowledged means applied": {func(x bad) {
		o := x.asks(x.a.n, opAppend)
		x.c.history.answered(x.a.n, &messages.ResultItem{Request: o.request, Outcome: messages.Outcome_APPLIED, Data: (&result{}).encode()})
	}},
	"linearizable": {func(x bad) {
		o := x.asks(x.a.n, opRead)
		r := result{list: list{length: 1}}
		x.c.history.answered(x.a.n, &messages.ResultItem{Request: o.request, Outcome: messages.Outcome_APPLIED, Data: r.encode()})
	}},
	"a read after writes sees them": {func(x bad) {
		write, read := x.asks(x.a.n, opAppend), x.asks(x.a.n, opRead)
		read.after = write
		for _, o := range []*op{write, read} {
			o.answers, o.outcome = 1, messages.Outcome_APPLIED
		}
		write.result.length = 1
		x.c.history.finish()
	}},
	"what is said is so": {
		func(x bad) { x.a.described(&messages.GroupStatus{Group: 1, Role: "leader", FirstIndex: 1}) },
		func(x bad) { x.a.described(&messages.GroupStatus{Group: 1, Role: "follower", FirstIndex: 1, Term: 9}) },
	},
	"a reset keeps what is held": {
		func(x bad) { x.a.wasReset(&messages.PeersReset{Group: 1, Index: 9, LastIndex: 8}) },
		func(x bad) {
			x.a.log = entries(1, 1)
			x.g.before = &heldBefore{commit: 1, chain: x.a.log[0].chain + 1}
			x.g.checkKept(x.a, &messages.PeersReset{Group: 1, CommitIndex: 1}, x.g.before)
		},
	},
	"no stray message": {func(x bad) { (&probe{x.w}).hear(x.a.n, "what?") }},
	"bounded queues": {func(x bad) {
		x.w.setup.limits.ApplyBacklogBytes = 1
		x.a.givesApplier(&actors.ApplyCommitted{Commit: 2, Blocks: []actors.CommittedBlock{{Block: block(1, 1, 0, "x")}, {Block: block(1, 2, 1, "x")}}})
	}},
	"storage fails only where a fault was injected": {func(x bad) { x.a.n.storageFailed("a whim") }},
	"failed storage stops every member":             {func(x bad) { x.a.admitted = true; x.a.n.fault.strike("EIO"); x.a.n.storageFailed("EIO") }},
	"failed storage is not written again": {func(x bad) {
		s := &watchedStore{n: x.a.n, failed: true}
		defer func() { _ = recover() }() // there is nothing to write to
		_ = s.Write(nil)
	}},
	"no panic and no stray message": {func(x bad) { _, _ = logSpy{x.w, x.a.n}.Write([]byte("unexpected message")) }},

	"votes go to logs as fresh": {func(x bad) {
		x.follows(x.a, 1)
		x.a.log = entries(1, 2)
		x.hears(&messages.RequestVote{Group: 1, Term: 2, Candidate: "n2", LastIndex: 1, LastTerm: 1})
		x.a.asksHardState(&actors.PersistHardState{Change: 1, State: logstore.HardState{Term: 2, Vote: "n2"}})
	}},
	"votes have a reason": {func(x bad) { // the vote is kept back
		x.follows(x.a, 1)
		x.hears(&messages.RequestVote{Group: 1, Term: 2, Candidate: "n2"})
		x.end()
	}},
	"pre-votes have a reason": {
		func(x bad) {
			x.follows(x.a, 2)
			x.hears(&messages.RequestPreVote{Group: 1, Term: 2, Candidate: "n2", Campaign: 1})
			x.c.sent(x.a.n, x.b.n, "raft-1", &messages.PreVoteGranted{Group: 1, Term: 2, Campaign: 1})
		},
		func(x bad) {
			x.follows(x.a, 2)
			x.hears(&messages.RequestPreVote{Group: 1, Term: 3, Candidate: "n2", Campaign: 1})
			x.c.sent(x.a.n, x.b.n, "raft-1", &messages.PreVoteRejected{Group: 1, Term: 2, Campaign: 1})
		},
	},
	"no term is raised without a majority's pre-votes": {func(x bad) {
		x.follows(x.a, 1)
		x.hears(&messages.ElectionTimeout{})
		x.a.asksHardState(&actors.PersistHardState{Change: 1, State: logstore.HardState{Term: 2, Vote: "n1"}})
	}},
	"a leader that is heard is not deposed": {func(x bad) {
		x.follows(x.a, 1)
		x.hears(&messages.Heartbeat{Group: 1, Term: 1})
		x.end()
		x.hears(&messages.RequestVote{Group: 1, Term: 2, Candidate: "n2"})
		x.a.asked.Term = 2
		x.end()
	}},
	"who hears a leader does not stand": {func(x bad) {
		x.follows(x.a, 1)
		x.hears(&messages.Heartbeat{Group: 1, Term: 1})
		x.end()
		x.hears(&messages.ElectionTimeout{})
		x.c.sent(x.a.n, x.b.n, "raft-1", &messages.RequestPreVote{Group: 1, Term: 2, Campaign: 1})
	}},
	"who grants a vote gives time": {func(x bad) {
		x.follows(x.a, 1)
		x.hears(&messages.RequestVote{Group: 1, Term: 2, Candidate: "n2"})
		x.a.asksHardState(&actors.PersistHardState{Change: 1, State: logstore.HardState{Term: 2, Vote: "n2"}})
		x.a.asked = logstore.HardState{Term: 2, Vote: "n2"}
		x.end()
		x.hears(&messages.ElectionTimeout{})
		x.c.sent(x.a.n, x.b.n, "raft-1", &messages.RequestPreVote{Group: 1, Term: 3, Campaign: 1})
	}},
	"higher terms are taken up": {func(x bad) {
		x.follows(x.a, 1)
		x.hears(&messages.PreVoteRejected{Group: 1, Term: 2})
		x.end()
	}},
	"an older leader is told": {func(x bad) {
		x.follows(x.a, 2)
		x.hears(&messages.Heartbeat{Group: 1, Term: 1, Leader: "n2"})
		x.end()
	}},

	"who sleeps has nothing to do": {func(x bad) {
		x.leads(2)
		x.a.log = entries(2, 3) // none of them on its disk
		x.a.fallsAsleep(&actors.FellAsleep{On: "n2:7000"})
	}},
	"a leader sleeps when everybody has everything": {func(x bad) {
		x.leads(2)
		x.a.log = entries(2, 3)
		x.a.disk, x.a.commit, x.a.reported = x.a.log, 3, 3
		x.a.fallsAsleep(&actors.FellAsleep{Peers: []string{"n2:7000", "n3:7000"}})
	}},
	"a leader without a majority steps down": {func(x bad) {
		x.leads(2)
		x.later(time.Second)
		x.hears(&messages.HeartbeatTimeout{})
		x.a.checksProgress(&stepMailbox{})
	}},
	"one heartbeat an interval": {func(x bad) {
		x.leads(2)
		x.later(time.Millisecond)
		peer := &stepMailbox{}
		x.hears(&messages.HeartbeatTimeout{})
		x.a.checksProgress(peer)
		x.later(time.Millisecond)
		x.hears(&messages.HeartbeatTimeout{})
		x.a.checksProgress(peer)
	}},
	"a hand-over ends": {func(x bad) {
		x.leads(2)
		x.hears(&messages.TransferLeadership{Group: 1})
		x.end()
		x.later(time.Second)
		x.hears(&messages.HeartbeatTimeout{}, &messages.HeartbeatAcked{Group: 1, Term: 2, From: "n2"})
		x.a.checksProgress(&stepMailbox{})
	}},
	"nothing is appended during a hand-over": {func(x bad) {
		x.leads(2)
		x.hears(&messages.TransferLeadership{Group: 1})
		x.a.appendsAsLeader()
	}},
	"leadership goes to a whole log": {func(x bad) {
		x.leads(2)
		x.a.log, x.a.disk = entries(2, 1), entries(2, 1)
		x.hears()
		x.c.sent(x.a.n, x.b.n, "raft-1", &messages.TimeoutNow{Group: 1, Term: 2})
		x.end()
	}},
	"leadership goes to who votes": {func(x bad) {
		x.leads(2)
		x.g.unwritten.voters = []string{"n1", "n3"}
		for _, m := range x.g.members {
			m.log, m.disk = entries(2, 1), entries(2, 1)
		}
		x.hears()
		x.c.sent(x.a.n, x.b.n, "raft-1", &messages.TimeoutNow{Group: 1, Term: 2})
		x.end()
	}},
	"a crashed Replicator is started again": {func(x bad) {
		x.leads(2)
		for range 4 {
			x.later(time.Second)
			x.hears(&messages.HeartbeatTimeout{})
			x.end()
		}
	}},
	"a machine leads when its state is complete": {func(x bad) { x.leads(2); x.a.termStart = 2; x.a.leaderStarts(2) }},
	"a machine that fails stops its group": {func(x bad) {
		x.a.breaks = failsApply
		x.turn(applierActor, &stepMailbox{})
		_, _ = (&machine{member: x.a}).Apply(fsm.Entry{})
		x.end()
	}},
	"a panic ends what it must": {func(x bad) {
		x.follows(x.a, 1)
		x.turn(memberActor, &stepMailbox{})
		x.c.turn.poisoned = true
		x.end()
	}},

	"reads are confirmed by a later round": {func(x bad) {
		x.leads(2)
		x.a.beats(&messages.Heartbeat{Round: 1})
		x.hears(&messages.Query{Group: 1, Request: 1}, &messages.HeartbeatAcked{Group: 1, Term: 2, From: "n2", Round: 1})
		x.a.answersQueries(query(1, 0))
	}},
	"reads reflect what is committed": {func(x bad) {
		x.leads(2)
		x.g.committed = []committedEntry{{entry: entries(1, 1)[0], in: 1}}
		x.hears(&messages.Query{Group: 1, Request: 1})
		x.a.beats(&messages.Heartbeat{Round: 1})
		x.end()
		x.hears(&messages.HeartbeatAcked{Group: 1, Term: 2, From: "n2", Round: 1})
		x.a.answersQueries(query(1, 0))
	}},

	"heartbeats commit what is acknowledged": {func(x bad) {
		x.leads(2)
		x.hears(&messages.PeerAdvanced{Term: 1, Peer: "n2", MatchIndex: 3})
		x.a.beats(&messages.Heartbeat{Term: 2, Commit: 3})
	}},

	"an append names the entry before it": {func(x bad) {
		b := x.sends(1, 0)
		x.turn(replicatorActor, b, &messages.AppendAccepted{Session: 1})
		held := block(1, 3, 1, "x")
		b.sends.sends(x.w, &x.c.turn, &messages.AppendEntries{Group: 1, Session: 1, PrevIndex: 1, PrevTerm: 1, Block: held.Bytes()})
	}},
	"bounded in flight": {func(x bad) {
		b := x.sends(1, 0)
		b.sends.sends(x.w, &x.c.turn, &messages.AppendEntries{Group: 1, Session: 1})
	}},
	"room in the window is used": {func(x bad) {
		b := x.sends(1, 0)
		x.turn(replicatorActor, b, &messages.AppendAccepted{Session: 1}, &actors.ReplicateBlock{Block: block(1, 1, 0, "x")})
		x.end()
	}},
	"nothing is sent beside a snapshot": {func(x bad) {
		b := x.sends(1, 0)
		x.turn(replicatorActor, b, &actors.EntriesCompacted{Session: 1})
		b.sends.sendsSnapshot(x.w, &x.c.turn, &actors.SendSnapshot{Session: 2})
		b.sends.sends(x.w, &x.c.turn, &messages.AppendEntries{Group: 1, Session: 2})
	}},
	"snapshots are for who needs them": {func(x bad) {
		b := x.sends(1, 0)
		b.sends.sendsSnapshot(x.w, &x.c.turn, &actors.SendSnapshot{Session: 1})
	}},
	"a snapshot holds what is committed": {func(x bad) {
		x.a.onSnapshotDurable("taken", &messages.SnapshotMeta{Group: 1, Index: 1, Term: 1})
	}},
	"a snapshot has the configuration of its index": {func(x bad) { // without those to come
		x.commits(&messages.Configuration{Members: x.g.unwritten.Members[:1], Next: x.g.unwritten.Members})
		x.a.onSnapshotDurable("taken", &messages.SnapshotMeta{
			Group: 1, Index: 1, Term: 1, ConfigurationIndex: 1,
			Configuration: &messages.Configuration{Members: x.g.unwritten.Members[:1]},
		})
	}},
	"compaction behind a durable snapshot": {func(x bad) {
		x.a.onCompactLog(&actors.CompactLog{Group: 1, To: core.Position{Index: 1, Term: 1}})
	}},
	"compaction of what is applied": {func(x bad) {
		x.commits(&messages.Configuration{Members: x.g.unwritten.Members})
		x.a.snapshots.durable = 1
		x.a.onCompactLog(&actors.CompactLog{Group: 1, To: core.Position{Index: 1, Term: 1}})
	}},
	"members": {func(x bad) { // a second change while the first is on one disk only
		x.leads(2)
		for _, two := range []string{"n4", "n5"} {
			c := &messages.Configuration{Members: x.g.unwritten.Members, Next: []*messages.Member{{Id: two, Address: two}}}
			x.a.onPersistEntries(&actors.PersistEntries{Group: 1, Block: configurationBlock(2, uint64(len(x.a.log))+1, lastTerm(x.a.log), c)})
		}
	}},
	"an earlier session moves nothing": {
		func(x bad) {
			x.sends(2, 0)
			x.c.turn.box.sends.sends(x.w, &x.c.turn, &messages.AppendEntries{Group: 1, Session: 1})
		},
		func(x bad) {
			b := x.sends(2, 0)
			x.turn(replicatorActor, b, &messages.AppendRejected{Session: 1, PrevIndex: 4})
			b.sends.fetches(x.w, &x.c.turn, &actors.FetchEntries{Session: 3})
		},
	},
	"a refusal says where to go": {func(x bad) {
		b := x.sends(1, 9)
		x.turn(replicatorActor, b, &messages.AppendRejected{Session: 1, PrevIndex: 9, HintIndex: 2})
		b.sends.fetches(x.w, &x.c.turn, &actors.FetchEntries{Session: 2, First: 9})
	}},
	"nothing is read beyond what was asked for": {func(x bad) {
		x.turn(otherActor, &stepMailbox{}, &actors.ReadEntries{Group: 1, First: 1, Last: 1})
		x.c.posted(&stepMailbox{n: x.a.n, group: 1}, &actors.EntriesRead{First: 1, Blocks: []messages.Block{block(1, 2, 1, "x")}})
	}},
	"acknowledgements are of their term": {func(x bad) {
		x.follows(x.a, 3)
		x.c.sent(x.a.n, x.b.n, "raft-1/n1-2-1", &messages.AppendAccepted{Group: 1, Term: 3})
	}},
	"forwarded once": {func(x bad) {
		o := x.asks(x.a.n, opAppend)
		x.c.forwards(x.b.n, forwarded(1, o))
	}},
	"numbers are not used again": {func(x bad) {
		x.c.forwards(x.a.n, forwarded(1, x.asks(x.a.n, opAppend)))
		x.a.n.life++
		x.c.forwards(x.a.n, forwarded(1, x.asks(x.a.n, opAppend)))
	}},
}

// sends has a Replicator of a send an empty append in a session.
func (x bad) sends(session, prev uint64) *stepMailbox {
	x.w.setup.limits.Window = core.Window{Messages: 4, Bytes: 1000}
	b := x.turn(replicatorActor, &stepMailbox{}, &messages.CheckProgress{})
	b.sends.sends(x.w, &x.c.turn, &messages.AppendEntries{Group: 1, Session: session, PrevIndex: prev})
	return b
}

// commits has entry 1 of term 1 be a configuration that everybody has.
func (x bad) commits(c *messages.Configuration) {
	b := configurationBlock(1, 1, 0, c)
	for _, m := range x.g.members {
		m.onPersistEntries(&actors.PersistEntries{Group: 1, Block: b})
		m.disk = m.log
	}
	x.g.committed = []committedEntry{{entry: x.a.log[0], in: 1, by: x.a.current()}}
}

func configurationBlock(term, first, prev uint64, c *messages.Configuration) messages.Block {
	data := must(proto.MarshalOptions{Deterministic: true}.Marshal(c))
	w := messages.NewBlockWriter(messages.BlockHeader{Group: 1, Incarnation: 1, Term: term, FirstIndex: first, PrevTerm: prev}, messages.EntryBytes(len(data)))
	w.Add(messages.EntryView{Kind: messages.EntryKind_CONFIGURATION, Data: data})
	return w.Finish()
}

func query(request uint64, index core.Index) *actors.AnswerQueries {
	return &actors.AnswerQueries{Queries: []actors.PendingQuery{{
		Waiter: actors.Waiter{To: actor.NewPID("n2:7000", "raft-1"), Request: request}, Index: index,
	}}}
}

func forwarded(id uint64, o *op) *messages.ForwardRequests {
	return &messages.ForwardRequests{Requests: []*messages.ForwardedRequest{{Request: &messages.ForwardedRequest_Propose{
		Propose: &messages.Propose{Group: 1, Request: id, Command: o.command.encode(0)},
	}}}}
}
