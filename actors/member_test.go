package actors

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/fsm"
	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/memory"
	"github.com/protoraft/protoraft/messages"
)

const (
	electionTimeout = 300 * time.Millisecond
	heartbeat       = 50 * time.Millisecond
)

// member is one real Raft actor with its real Applier and Replicators, amid probes.
type member struct {
	*world
	store             *memory.Store
	node, gateway     *probe
	pulse             *probe // nil: the member sends its heartbeats by itself
	rounds            atomic.Int32
	writer, reader    *disk
	client            *probe
	machine           *recorder
	opts              MemberOptions
	pid               *actor.PID
	spawned           int
	ids               []core.NodeID
	nextClientRequest uint64
}

// disk stands in for LogWriter and LogReader over a real store. What it is asked to
// write waits, unless auto, until flush.
type disk struct {
	*probe
	m       *member
	auto    bool
	pending []letter
}

func (d *disk) hear(l letter) {
	d.pending = append(d.pending, l)
	if d.auto {
		d.flush(len(d.pending))
	}
}

// flush does the n oldest things that wait.
func (d *disk) flush(n int) {
	d.m.t.Helper()
	todo := d.pending[:n]
	d.pending = d.pending[n:]
	for _, l := range todo {
		d.do(l)
	}
}

func (d *disk) do(l letter) {
	d.m.t.Helper()
	root := d.m.system.Root
	switch m := l.message.(type) {
	case *PersistHardState:
		d.write(logstore.Update{Group: m.Group, Incarnation: m.Incarnation, HardState: &m.State, Note: m.Note})
		root.Send(l.from, &messages.HardStatePersisted{Group: m.Group, Incarnation: m.Incarnation, Change: m.Change})
	case *PersistEntries:
		d.write(logstore.Update{
			Group: m.Group, Incarnation: m.Incarnation, ResetFrom: uint64(m.ResetFrom), TruncateFrom: uint64(m.TruncateFrom), Blocks: []messages.Block{m.Block},
		})
		root.Send(l.from, &messages.EntriesPersisted{
			Group: m.Group, Incarnation: m.Incarnation, Term: uint64(m.Term), Generation: m.Generation, LastIndex: m.Block.LastIndex(),
		})
	case *CompactLog:
		d.write(logstore.Update{
			Group: m.Group, Incarnation: m.Incarnation, TruncateFrom: uint64(m.TruncateFrom),
			CompactTo: uint64(m.To.Index), CompactTerm: uint64(m.To.Term),
		})
		root.Send(l.from, &messages.LogCompacted{Group: m.Group, Incarnation: m.Incarnation, Index: uint64(m.To.Index)})
	case *LoadGroup:
		loaded := &GroupLoaded{}
		if loaded.State, loaded.Err = d.m.store.Load(m.Group); errors.Is(loaded.Err, logstore.ErrCorrupt) {
			loaded.State, loaded.Damage, loaded.Err = d.m.store.Salvage(m.Group)
		}
		root.Send(l.from, loaded)
	case *ReadEntries:
		blocks, err := d.m.store.Read(m.Group, uint64(m.First), uint64(m.Last), m.MaxBytes)
		root.Send(m.ReplyTo, &EntriesRead{First: m.First, PrevTerm: m.PrevTerm, Blocks: blocks, Session: m.Session, Err: err})
	}
}

func (d *disk) write(u logstore.Update) {
	d.m.t.Helper()
	if err := d.m.store.Write([]logstore.Update{u}); err != nil {
		d.m.t.Fatalf("write: %v", err)
	}
}

// sync makes everything that waits durable, and lets everybody act on it.
func (m *member) sync() {
	m.t.Helper()
	for len(m.writer.pending) > 0 {
		m.writer.flush(len(m.writer.pending))
		m.settle()
	}
}

// recorder is a state machine that writes down what it is given.
type recorder struct {
	applied []string // "index@term data"
	log     []string // leadership news
	panicAt uint64
	failAt  uint64
	queried func(q string)
	onApply func()

	viewErr error
	onWrite func() // of a view
	views   []*recorderView
}

func (r *recorder) Apply(e fsm.Entry) ([]byte, error) {
	switch e.Index {
	case r.panicAt:
		panic("the machine broke")
	case r.failAt:
		return nil, errors.New("the machine refused to go on")
	}
	r.applied = append(r.applied, fmt.Sprintf("%d@%d %s", e.Index, e.Term, e.Data))
	if r.onApply != nil {
		r.onApply()
	}
	return append([]byte("did "), e.Data...), nil
}

func (r *recorder) Query(q []byte) ([]byte, error) {
	if r.queried != nil {
		r.queried(string(q))
	}
	return []byte(fmt.Sprintf("%s after %d", q, len(r.applied))), nil
}

func (r *recorder) LeaderStart(term uint64) { r.log = append(r.log, fmt.Sprintf("start %d", term)) }
func (r *recorder) LeaderStop(term uint64)  { r.log = append(r.log, fmt.Sprintf("stop %d", term)) }

func members(ids ...core.NodeID) (c core.Configuration) {
	for _, id := range ids {
		c.Members = append(c.Members, core.Member{ID: id, Address: string(id) + ":1"})
	}
	return c
}

// newMember makes a world with one member, n1, of a group of the given size, not
// started yet.
func newMember(t *testing.T, size int) *member {
	m := &member{world: newWorld(t), store: memory.New(), machine: &recorder{}}
	for i := range size {
		m.ids = append(m.ids, core.NodeID(fmt.Sprintf("n%d", i+1)))
	}
	m.node, m.gateway, m.client = m.probe("node"), m.probe("gateway"), m.probe("client")
	m.writer, m.reader = &disk{probe: m.probe("writer"), m: m}, &disk{probe: m.probe("reader"), m: m, auto: true}
	m.writer.answers, m.reader.answers = m.writer.hear, m.reader.hear
	m.opts = MemberOptions{
		Group: 1, Node: "n1", Bootstrap: new(members(m.ids...)), Machine: m.machine,
		ElectionTimeout: electionTimeout, HeartbeatInterval: heartbeat, ReadTimeout: readTimeout, Limits: DefaultLimits(),
	}
	return m
}

func (m *member) links() *Links {
	l := &Links{Node: m.node.pid, LogWriter: m.writer.pid, LogReader: m.reader.pid, Gateway: m.gateway.pid}
	if m.pulse != nil {
		l.Pulse, l.Rounds = m.pulse.pid, &m.rounds
	}
	return l
}

// start spawns the actor and admits it, and has its peers know of nothing that it
// lacks. What it writes then waits.
func (m *member) start() *member {
	m.t.Helper()
	m.arrive()
	if len(m.ids) > 1 {
		m.sync()
		m.greeted()
		if m.status().Role != "starting" {
			m.sync()
		}
	}
	return m
}

// greeted has the peers answer those of the member's greetings they have received.
func (m *member) greeted() {
	m.t.Helper()
	for _, id := range []core.NodeID{"n2", "n3", "n4", "n5"} {
		for _, g := range take[*messages.Greet](m.peer(id)) {
			m.send(m.peer(id), m.pid, &messages.Greeted{
				Group: 1, From: string(id), Life: g.Life, Own: &messages.Life{Number: 1, Nonce: 1},
			})
		}
	}
}

// arrive spawns the actor and admits it. Its writes wait, unless the disk is auto.
func (m *member) arrive() *member {
	m.t.Helper()
	if err := m.opts.Validate(); err != nil {
		m.t.Fatal(err)
	}
	m.spawned++
	props, _ := MemberProps(m.rt, m.links(), m.opts)
	m.pid = m.spawn(props, fmt.Sprintf("group-1-%d", m.spawned))
	m.tell(m.pid, &MemberAdmitted{})
	return m
}

// begin starts with everything written at once being durable, and drops what the
// probes heard of it.
func (m *member) begin() *member {
	m.t.Helper()
	m.start()
	m.sync()
	m.forget()
	return m
}

// stored puts a log on the disk before the member starts: entry 1 is the
// configuration, of term 1.
func (m *member) stored(term uint64, vote string, blocks ...messages.Block) *member {
	m.t.Helper()
	data, err := proto.Marshal(describeConfiguration(m.opts.Bootstrap))
	if err != nil {
		m.t.Fatal(err)
	}
	first := blockOf(1, 1, 1, 0, messages.EntryView{Kind: messages.EntryKind_CONFIGURATION, Data: data})
	m.writer.write(logstore.Update{
		Group: 1, Incarnation: 1, HardState: &logstore.HardState{Term: term, Vote: vote},
		Blocks: append([]messages.Block{first}, blocks...),
	})
	return m
}

// restart ends the actor as a crash would: what was not flushed is lost.
func (m *member) restart() *member {
	m.t.Helper()
	return m.stop().start()
}

// stop ends the process; what was not written is gone.
func (m *member) stop() *member {
	m.t.Helper()
	m.system.Root.Stop(m.pid)
	m.settle()
	m.writer.pending = nil
	m.store = m.store.Restart()
	m.machine = &recorder{}
	if !m.opts.Witness {
		m.opts.Machine = m.machine
	}
	m.forget()
	return m
}

func (m *member) forget() {
	for _, p := range []*probe{m.node, m.gateway, m.client, m.writer.probe, m.reader.probe} {
		p.inbox = nil
	}
	for _, p := range m.remote {
		p.inbox = nil
	}
}

// peer is the Raft actor of another member.
func (m *member) peer(id core.NodeID) *probe { return m.at(string(id)+":1", m.pid.Id) }

// status asks the member what it is.
func (m *member) status() *messages.GroupStatus {
	m.t.Helper()
	asker := m.at("status", "asker")
	m.send(asker, m.pid, &messages.DescribeGroup{Group: 1})
	return takeOne[*messages.GroupStatus](m.t, asker)
}

func (m *member) expectRole(role string, term uint64) {
	m.t.Helper()
	if s := m.status(); s.Role != role || s.Term != term {
		m.t.Fatalf("%s in term %d, expected %s in term %d (%s)", s.Role, s.Term, role, term, s.Failure)
	}
}

// elect makes the member leader of the next term, with its first entry durable
// here and nowhere else.
func (m *member) elect() *member {
	m.t.Helper()
	m.advance(2 * electionTimeout)
	m.grantPreVotes()
	m.sync()
	term := m.status().Term
	for _, id := range m.ids[1:] {
		m.send(m.peer(id), m.pid, &messages.VoteGranted{Group: 1, Term: term, From: string(id)})
	}
	m.sync()
	m.expectRole("leader", term)
	m.tell(m.pid, &GatewayCaughtUp{Term: core.Term(term)})
	return m
}

func (m *member) grantPreVotes() {
	m.t.Helper()
	for _, id := range m.ids[1:] {
		for _, r := range take[*messages.RequestPreVote](m.peer(id)) {
			m.send(m.peer(id), m.pid, &messages.PreVoteGranted{Group: 1, Term: r.Term, From: string(id), Campaign: r.Campaign})
		}
	}
}

// accept has a peer accept every append it has received.
func (m *member) accept(id core.NodeID) {
	m.t.Helper()
	p := m.peer(id)
	for {
		appends := takeLetters[*messages.AppendEntries](p)
		if len(appends) == 0 {
			return
		}
		for _, l := range appends {
			m.send(p, l.from, accepted(m.t, l, id))
		}
	}
}

func accepted(t *testing.T, l letter, id core.NodeID) *messages.AppendAccepted {
	t.Helper()
	a := l.message.(*messages.AppendEntries)
	return &messages.AppendAccepted{Group: 1, Term: a.Term, From: string(id), Session: a.Session, MatchIndex: lastOf(t, a)}
}

func lastOf(t *testing.T, a *messages.AppendEntries) uint64 {
	t.Helper()
	if len(a.Block) == 0 {
		return a.PrevIndex
	}
	b, err := messages.OpenBlock(a.Block)
	if err != nil {
		t.Fatal(err)
	}
	return b.LastIndex()
}

// ack answers the heartbeats a peer has received.
func (m *member) ack(ids ...core.NodeID) {
	m.t.Helper()
	for _, id := range ids {
		for _, h := range take[*messages.Heartbeat](m.peer(id)) {
			m.send(m.peer(id), m.pid, &messages.HeartbeatAcked{Group: 1, Term: h.Term, From: string(id), Round: h.Round})
		}
	}
}

// lead starts a member of three that leads term 2, with entry 2, its first,
// committed.
func lead(t *testing.T) *member {
	t.Helper()
	m := newMember(t, 3).begin().elect()
	m.accept("n2")
	m.accept("n3")
	if s := m.status(); s.CommitIndex != 2 || s.Term != 2 {
		t.Fatalf("commit %d in term %d, expected 2 in 2", s.CommitIndex, s.Term)
	}
	m.forget()
	return m
}

// propose sends commands in one turn; their request numbers count from 1.
func (m *member) propose(commands ...string) {
	m.t.Helper()
	for _, c := range commands {
		m.nextClientRequest++
		m.post(m.client, m.pid, &messages.Propose{Group: 1, Request: m.nextClientRequest, Command: []byte(c)})
	}
	m.settle()
}

func (m *member) query(request uint64, q string) {
	m.t.Helper()
	m.send(m.client, m.pid, &messages.Query{Group: 1, Request: request, Query: []byte(q)})
}

// append sends an append of n2, leader of term.
func (m *member) append(term, prevIndex, prevTerm, commit uint64, blocks ...messages.Block) {
	m.t.Helper()
	a := &messages.AppendEntries{Group: 1, Term: term, Leader: "n2", Session: 1, PrevIndex: prevIndex, PrevTerm: prevTerm, Commit: commit}
	if len(blocks) > 0 {
		a.Block = blocks[0].Bytes()
	}
	m.send(m.peer("n2"), m.pid, a)
}

func (m *member) expectApplied(want ...string) {
	m.t.Helper()
	if !slices.Equal(m.machine.applied, want) {
		m.t.Fatalf("applied %q, expected %q", m.machine.applied, want)
	}
}
