package sim

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/actors"
	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/fsm"
	fsmsession "github.com/protoraft/protoraft/fsm/session"
	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/snapshots"
	"github.com/protoraft/protoraft/logstore/vfs"
	"github.com/protoraft/protoraft/messages"
)

var brokenTables = []map[string][]func(x bad){brokenByMembers, brokenByWorlds, brokenByReaders, brokenByMachines, brokenByLosses, brokenByDurables, brokenByWitnesses}

// TestEveryRuleCanBeBroken shows each rule's check what it must not let pass.
func TestEveryRuleCanBeBroken(t *testing.T) {
	for _, table := range brokenTables {
		for rule, breaks := range table {
			for i, f := range breaks {
				x := newBad()
				f(x)
				if got := x.w.failure; got == nil || got.Invariant != rule {
					t.Errorf("%s, %d: the checks say %v", rule, i+1, got)
				}
			}
		}
	}
}

// TestEveryRuleHasACase reads the rules that this package's source names, and holds the
// tables to them: none without a case, no case of a rule that is gone.
func TestEveryRuleHasACase(t *testing.T) {
	cases := map[string]bool{}
	for _, table := range brokenTables {
		for rule, breaks := range table {
			cases[rule] = cases[rule] || len(breaks) > 0
		}
	}
	rules := sourceRules(t)
	for rule, where := range rules {
		if !cases[rule] {
			t.Errorf("%v: nothing shows that %q can be broken", where, rule)
		}
	}
	for _, rule := range slices.Sorted(maps.Keys(cases)) {
		if _, ok := rules[rule]; !ok {
			t.Errorf("no check is of the rule %q", rule)
		}
	}
}

// sourceRules finds the rule that each call of violate names.
func sourceRules(t *testing.T) map[string]token.Position {
	t.Helper()
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	rules, set := map[string]token.Position{}, token.NewFileSet()
	for _, file := range files {
		if !strings.HasSuffix(file.Name(), ".go") || strings.HasSuffix(file.Name(), "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(set, file.Name(), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(node ast.Node) bool {
			call, ok := node.(*ast.CallExpr)
			if !ok {
				return true
			}
			if method, ok := call.Fun.(*ast.SelectorExpr); !ok || method.Sel.Name != "violate" {
				return true
			}
			name, ok := call.Args[0].(*ast.BasicLit)
			if !ok {
				t.Errorf("%v: violate is not given the name of a rule, expected a string", set.Position(call.Pos()))
				return true
			}
			rule, err := strconv.Unquote(name.Value)
			if err != nil {
				t.Fatalf("%v: %v", set.Position(call.Pos()), err)
			}
			rules[rule] = set.Position(call.Pos())
			return true
		})
	}
	return rules
}

var errWhim = errors.New("a whim")

// boots starts a process on nodes, or on all of them.
func (x bad) boots(nodes ...*node) {
	if len(nodes) == 0 {
		nodes = x.w.nodes
	}
	for _, n := range nodes {
		n.boot()
	}
}

// quickly lets chance into the world and makes its time limits short, so that what never
// comes is not waited for long.
func (x bad) quickly() {
	x.w.decide(Options{})
	for _, n := range x.w.everyone {
		n.up = false
	}
	x.w.setup.electionTimeout, x.w.setup.heartbeat = 20*time.Millisecond, 5*time.Millisecond
	x.w.setup.requestTimeout = 40 * time.Millisecond
}

// taken has the next process find a name of its actors in use.
func (x bad) taken(name string) {
	h := newHost()
	h.system.ProcessRegistry.Address = x.a.n.address
	h.system.ProcessRegistry.Add(&listener{n: x.a.n, hear: func(*node, any) {}}, name)
	x.w.hosts = &Hosts{free: []*host{h}}
}

// settles has the group commit a configuration of all its members, which no disk has.
func (x bad) settles() {
	x.g.configs[1] = x.g.unwritten
	x.g.committed = []committedEntry{{entry: entry{term: 1, kind: messages.EntryKind_CONFIGURATION, data: 1}, in: 1, by: x.g.unwritten}}
}

// brokenByWorlds breaks the rules of processes, disks, the wire and the end of a run.
var brokenByWorlds = map[string][]func(x bad){
	"a disk that works can be opened": {
		func(x bad) { x.a.n.bootFailed(errWhim) },
		func(x bad) {
			x.boots()
			x.w.engine = func(vfs.FS, string) (logstore.Store, error) { return nil, errWhim }
			x.w.scan()
		},
	},
	"a disk that works can be read": {
		func(x bad) { x.c.booted(x.a.n, badStore{}) },
		func(x bad) { // a snapshot cut short
			x.a.n.snapshots = must(snapshots.Open(x.a.n.disk, snapshotDir))
			dir := snapshotDir + "/0000000000000001"
			if err := x.a.n.disk.MkdirAll(dir); err != nil {
				panic(err)
			}
			file := must(x.a.n.disk.Create(dir + "/0000000000000001-0000000000000001.snapshot"))
			if err := file.Close(); err != nil {
				panic(err)
			}
			x.a.snapshotsFound()
		},
	},
	"a store can be closed": {
		func(x bad) {
			x.a.n.store = &watchedStore{n: x.a.n, inner: badStore{}}
			x.a.n.snapshots = must(snapshots.Open(x.a.n.disk, snapshotDir))
			x.a.n.leaveDisk(false)
		},
		func(x bad) {
			x.boots()
			open := x.w.openStore
			x.w.engine = func(vfs.FS, string) (logstore.Store, error) {
				x.w.engine = nil
				store, err := open(x.a.n)
				return badClose{store}, err
			}
			x.w.scan()
		},
	},
	"a node can be spawned":   {func(x bad) { x.taken(actors.NodeName); x.boots(x.a.n) }},
	"a member can be spawned": {func(x bad) { x.taken(memberName(1)); x.boots(x.a.n) }},
	"the setup is valid":      {func(x bad) { x.w.setup.heartbeat = 2 * x.w.setup.electionTimeout; x.boots(x.a.n) }},
	"time goes on": {
		func(x bad) {
			x.w.instant, x.w.ready = instantMax, []task{{x.a.n, x.a.n.life, func() {}}}
			x.w.step()
		},
		func(x bad) {
			var again func()
			again = func() { x.w.ready = append(x.w.ready, task{x.a.n, x.a.n.life, again}) }
			again()
			(&Script{w: x.w}).settle()
		},
	},
	"no panic": {func(x bad) {
		(&stepMailbox{n: x.a.n, pid: x.a.n.memberPID(1), user: []any{&messages.Query{}}, invoker: badInvoker{}}).turn()
	}},
	"no system messages on the wire": {func(x bad) {
		wireProcess{&host{node: x.a.n}}.SendSystemMessage(x.b.n.memberPID(1), &actor.Stop{})
	}},
	"known addresses": {func(x bad) {
		x.w.net.send(x.a.n, actor.NewPID("n9:7000", "raft-1"), &messages.Heartbeat{}, nil)
	}},
	"everything sent can be encoded": {func(x bad) { x.w.net.send(x.a.n, x.b.n.memberPID(1), "a word", nil) }},
	"everything sent can be decoded": {
		func(x bad) {
			p := must(pack(x.b.n.memberPID(1), &messages.Heartbeat{Group: 1}, nil))
			p.bytes = []byte{0xff}
			x.w.net.deliver(x.b.n, p)
		},
		func(x bad) {
			b := x.sends(1, 0)
			x.turn(replicatorActor, b, &messages.AppendAccepted{Session: 1})
			b.sends.sends(x.w, &x.c.turn, &messages.AppendEntries{Group: 1, Session: 1, Block: []byte("x")})
		},
	},
	"a majority is never stopped for a minority's state": {
		func(x bad) { x.a.onMemberFailed("state diverged at 7") },
		func(x bad) { // of three members it is known whose state is wrong
			x.a.drifts, x.g.drifted = true, true
			x.a.onMemberFailed("state diverged at 7: no state is a majority's")
		},
	},
	"a log that has the snapshot's entry stays": {func(x bad) {
		x.commits(&messages.Configuration{Members: x.g.unwritten.Members})
		x.a.snapshots.durable = 1
		x.a.onCompactLog(&actors.CompactLog{Group: 1, To: core.Position{Index: 1, Term: 1}, TruncateFrom: 1})
	}},
	"compaction of what is committed": {
		func(x bad) {
			x.a.snapshots.durable = 1
			x.a.onCompactLog(&actors.CompactLog{Group: 1, To: core.Position{Index: 1, Term: 1}})
		},
		func(x bad) { // of another term
			x.commits(&messages.Configuration{Members: x.g.unwritten.Members})
			x.a.snapshots.durable = 1
			x.a.onCompactLog(&actors.CompactLog{Group: 1, To: core.Position{Index: 1, Term: 2}})
		},
	},
	"converges after healing": {
		func(x bad) { // a client is never answered
			x.quickly()
			c := newClient(x.w, 0)
			c.waiting, x.w.clients = []*op{x.asks(x.a.n, opRead)}, []*client{c}
			x.w.healPhase()
		},
		func(x bad) { // there is no configuration, so no leader
			x.quickly()
			x.w.setup.spares = x.w.setup.nodes
			x.w.healPhase()
		},
	},
	"serves after healing": {func(x bad) { // alone
		x.quickly()
		x.w.net.each(func(_, _ int, l *link) { l.cut = true })
		x.boots(x.a.n)
		x.w.serves(x.a.n, x.g)
	}},
	"what is acknowledged survives": {
		func(x bad) { x.boots(); x.settles(); x.w.scan() },
		func(x bad) {
			x.boots()
			o := x.asks(x.a.n, opAppend)
			o.outcome, o.index = messages.Outcome_APPLIED, 1
			x.w.scan()
		},
	},
	"a read at least at an index": {func(x bad) {
		o := x.asks(x.a.n, opReadAtLeast)
		o.atLeast = 2
		x.c.history.answered(x.a.n, &messages.ResultItem{Request: o.request, Outcome: messages.Outcome_APPLIED, Index: 1, Data: (&result{}).encode()})
	}},
	"a read within an age": {func(x bad) {
		x.g.keys[0].show(x.w.now, 1)
		x.later(2 * time.Second)
		o := x.asks(x.a.n, opReadWithin)
		x.c.history.answered(x.a.n, &messages.ResultItem{Request: o.request, Outcome: messages.Outcome_APPLIED, Data: (&result{}).encode()})
	}},
}

// brokenByReaders breaks the rules of leases.
var brokenByReaders = map[string][]func(x bad){
	"what is read by lease is answered while it holds": {
		func(x bad) {
			x.readsByLease(1)
			x.later(time.Second)
			x.turn(applierActor, &stepMailbox{})
			x.c.sent(x.a.n, x.b.n, "raft-1", results(1))
		},
		func(x bad) { // to a client on the same node, of a machine that slept
			x.readsByLease(1)
			x.a.n.sleep(time.Second)
			x.later(time.Second)
			x.turn(applierActor, &stepMailbox{})
			l := &listener{n: x.a.n, hear: func(*node, any) {}}
			l.SendUserMessage(actor.NewPID("n2:7000", "raft-1"), results(1))
		},
	},
	"nobody is told to stand while a lease is read by": {func(x bad) {
		x.readsByLease(1, 2)
		x.turn(applierActor, &stepMailbox{})
		x.c.sent(x.a.n, x.b.n, "raft-1", results(1))
		x.end()
		x.c.sent(x.a.n, x.b.n, "raft-1", &messages.TimeoutNow{Group: 1, Term: 2})
	}},
}

// readsByLease has a, a leader, give its Applier queries that may be answered for half
// a second.
func (x bad) readsByLease(requests ...uint64) {
	x.leads(2)
	for _, request := range requests {
		q := query(request, 0)
		q.Queries[0].LeaseUntil = clock{x.a.n, x.a.n.life}.Elapsed() + time.Second/2
		x.a.givesLeased(q)
	}
}

func results(request uint64) *messages.Results {
	return &messages.Results{Items: []messages.ResultItem{{Request: request, Outcome: messages.Outcome_APPLIED}}}
}

// brokenByMachines breaks the rules of states, sessions and guests.
var brokenByMachines = map[string][]func(x bad){
	"equal logs make equal tables": {func(x bad) { // a session that the member has not opened
		x.a.newTable(fsmsession.DefaultLimits())
		x.a.commit, x.g.committed = 1, []committedEntry{{entry: entry{term: 1, kind: messages.EntryKind_SESSION}}}
		x.a.onEntriesApplied(1)
	}},
	"sessions hold back repeats only": {
		func(x bad) {
			x.given(2)
			x.a.applied(fsm.Entry{Index: 2, Term: 1, Data: []byte("x")}, 0)
		},
		func(x bad) {
			x.given(1)
			x.a.newTable(fsmsession.DefaultLimits())
			x.a.onEntriesApplied(1)
		},
	},
	"snapshot equivalence": {
		func(x bad) { x.a.restored(0, 0) },
		func(x bad) { x.a.viewed(1); x.b.viewed(2) },
		func(x bad) { // the bytes are those of a view, the state is another
			x.a.viewed(1)
			x.b.snapshots.restores = []*messages.SnapshotMeta{{Index: 1}}
			x.b.restored(1, 1)
		},
		func(x bad) { // bytes that no view wrote
			x.b.snapshots.restores = []*messages.SnapshotMeta{{Index: 1}}
			x.b.restored(0, 1)
		},
	},
	"a log can be replayed": {func(x bad) {
		h := x.hosts(&oddGuest{err: errWhim})
		h.group.entries = []fsm.Entry{{Index: 1}}
		x.w.guests.compare()
	}},
	"equal logs make equal states": {
		func(x bad) {
			h := x.hosts(&oddGuest{})
			h.compareState(stateEvery)
			h.guest.(*oddGuest).state = "another"
			h.compareState(stateEvery)
		},
		func(x bad) { // in the end
			x.settles()
			h := x.hosts(&oddGuest{})
			h.group.newest["n1"] = &hosted{guests: x.w.guests, group: h.group, guest: &oddGuest{state: "another"}}
			x.w.guests.compare()
		},
	},
	"replies are deterministic": {func(x bad) {
		h := x.hosts(&oddGuest{})
		h.compareReply(1, []byte("x"))
		h.compareReply(1, []byte("y"))
	}},
	"a snapshot can be taken":   {func(x bad) { x.hosts(&oddGuest{err: errWhim}).compareState(stateEvery) }},
	"a snapshot can be written": {func(x bad) { x.hosts(&oddGuest{unwritten: true}).compareState(stateEvery) }},
}

// given commits so many commands that the member may act on.
func (x bad) given(n int) {
	for range n {
		x.g.committed = append(x.g.committed, committedEntry{entry: entry{term: 1, kind: messages.EntryKind_COMMAND, data: digest([]byte("x"))}, in: 1})
	}
	x.a.commit = uint64(n)
}

// hosts has the world replicate a guest.
func (x bad) hosts(g *oddGuest) *hosted {
	x.w.invite(&Guest{New: func() fsm.StateMachine { return g }}, nil)
	group := &guestGroup{replies: map[uint64][]byte{}, states: map[uint64]uint64{}, newest: map[string]*hosted{}}
	x.w.guests.groups[1] = group
	return &hosted{machine: &machine{}, guests: x.w.guests, group: group, guest: g}
}

// oddGuest does what the contract of machines forbids.
type oddGuest struct {
	err       error
	unwritten bool
	state     string
}

func (g *oddGuest) Apply(fsm.Entry) ([]byte, error) { return nil, g.err }
func (g *oddGuest) Snapshot() (fsm.View, error)     { return oddView{g}, g.err }
func (g *oddGuest) Restore(io.Reader) error         { return g.err }

type oddView struct{ g *oddGuest }

func (v oddView) WriteTo(w io.Writer) (int64, error) {
	if v.g.unwritten {
		return 0, errWhim
	}
	n, err := io.WriteString(w, v.g.state)
	return int64(n), err
}

func (v oddView) Release() {}

type badInvoker struct{ actor.MessageInvoker }

func (badInvoker) InvokeUserMessage(any) { panic(errWhim) }

// badStore can be neither read nor closed.
type badStore struct{ logstore.Store }

func (badStore) Load(uint64) (logstore.GroupState, error) { return logstore.GroupState{}, errWhim }
func (badStore) Close() error                             { return errWhim }

type badClose struct{ logstore.Store }

func (s badClose) Close() error { return errors.Join(s.Store.Close(), errWhim) }

// brokenByLosses breaks the rules of members that lost memory.
var brokenByLosses = map[string][]func(x bad){
	"each start is a life of its own": {func(x bad) {
		x.a.lastLife = &messages.MemberNote{Begun: true, Life: &messages.Life{Number: 2}}
		note, _ := proto.Marshal(&messages.MemberNote{Begun: true, Life: &messages.Life{Number: 2, Nonce: 7}})
		x.a.notes(note)
	}},
	"restored behind a barrier": {
		func(x bad) { x.a.restores(x.b.n, &messages.MemoryRestored{Term: 2, Nonce: 7, Barrier: 1}) },
		func(x bad) { // by an entry that was there when it heard of the loss
			x.leads(2)
			x.a.log = entries(2, 3)
			x.a.hearsOfLoss(2, 7)
			x.a.restores(x.b.n, &messages.MemoryRestored{Term: 2, Nonce: 7, Barrier: 3})
		},
	},
	"who has forgotten does not count": {func(x bad) { x.a.forgot = true; x.a.counts("a vote", 0) }},
}
