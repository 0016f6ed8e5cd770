package actors

import (
	"errors"
	"slices"
	"testing"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/memory"
	"github.com/protoraft/protoraft/messages"
)

// countingStore counts what the LogWriter asks of its store.
type countingStore struct {
	*memory.Store
	writes  [][]logstore.Update
	reads   int
	panics  bool
	full    bool                        // no room for anything, terms and votes included
	refuses func(*logstore.Update) bool // what there is no room for; nil for nothing
	onWrite func()
}

func (s *countingStore) Write(updates []logstore.Update) error {
	s.writes = append(s.writes, append([]logstore.Update(nil), updates...))
	if s.onWrite != nil {
		s.onWrite()
	}
	if s.panics {
		panic("the store broke")
	}
	if s.full || s.refuses != nil && slices.ContainsFunc(updates, func(u logstore.Update) bool { return s.refuses(&u) }) {
		return logstore.ErrFull
	}
	return s.Store.Write(updates)
}

func (s *countingStore) Read(group, first, last uint64, maxBytes int) ([]messages.Block, error) {
	if s.reads++; s.panics {
		panic("the store broke")
	}
	return s.Store.Read(group, first, last, maxBytes)
}

// writing is one real LogWriter below a probe of the Node, with probes of members.
type writing struct {
	*world
	store   *countingStore
	members [3]*probe
	pid     *actor.PID
	watched []any
}

func newWriting(t *testing.T) *writing {
	w := &writing{world: newWorld(t), store: &countingStore{Store: memory.New()}}
	for i := range w.members {
		w.members[i] = w.probe([]string{"m1", "m2", "m3"}[i])
	}
	var child *actor.PID
	w.spawn(actor.PropsFromFunc(func(ctx actor.Context) { // the parent, who hears of failures
		switch ctx.Message().(type) {
		case *actor.Started:
			child = ctx.Spawn(LogWriterProps(w.rt, w.store))
		default:
			w.watched = append(w.watched, ctx.Message())
		}
	}, actor.WithDispatcher(w)), "parent")
	w.pid = child
	return w
}

func (w *writing) persist(member int, group, first uint64) *PersistEntries {
	return &PersistEntries{Group: group, Incarnation: 1, Term: 1, Generation: 4, Block: block(group, 1, first, min(first-1, 1), "x")}
}

// One turn is one Write, and so one sync, for all groups; what is reported is what
// was asked, each to whoever asked.
func TestOneWriteATurnForAllGroups(t *testing.T) {
	w := newWriting(t)
	w.store.onWrite = func() {
		for _, m := range w.members {
			if len(m.inbox) > 0 {
				t.Error("something was reported before it was durable")
			}
		}
	}
	for i, m := range w.members {
		group := uint64(i + 1)
		w.post(m, w.pid,
			&PersistHardState{Group: group, Incarnation: 1, Change: 7, State: logstore.HardState{Term: 1, Vote: "n1"}},
			w.persist(i, group, 1), w.persist(i, group, 2))
	}
	w.settle()
	if len(w.store.writes) != 1 || len(w.store.writes[0]) != 9 {
		t.Fatalf("%d writes", len(w.store.writes))
	}
	for i, m := range w.members {
		group := uint64(i + 1)
		h := takeOne[*messages.HardStatePersisted](t, m)
		e := take[*messages.EntriesPersisted](m)
		if h.Group != group || h.Change != 7 || len(e) != 2 || e[1].LastIndex != 2 || e[1].Generation != 4 || e[1].Group != group {
			t.Fatalf("%v %v", h, e)
		}
		if s, err := w.store.Load(group); err != nil || s.LastIndex != 2 || s.HardState.Vote != "n1" {
			t.Fatalf("stored %+v, %v", s, err)
		}
	}
	w.settle()
	if len(w.store.writes) != 1 {
		t.Fatal("a turn without work wrote")
	}
}

// After a write that failed nothing is ever acknowledged again, not even if the
// store would take it.
func TestFailedWritePoisonsTheWriter(t *testing.T) {
	for how, breaks := range map[string]func(w *writing){
		"error": func(w *writing) { w.store.FailNext(errors.New("no space"), true) },
		"panic": func(w *writing) { w.store.panics = true },
	} {
		t.Run(how, func(t *testing.T) {
			w := newWriting(t)
			breaks(w)
			w.post(w.members[0], w.pid, w.persist(0, 1, 1))
			w.post(w.members[1], w.pid, w.persist(1, 2, 1))
			w.settle()
			for _, m := range w.members[:2] {
				expectNone[*messages.EntriesPersisted](t, m, "the write failed")
				takeOne[*messages.StorageFailed](t, m)
			}
			if len(w.watched) != 1 {
				t.Fatalf("the Node heard %v", w.watched)
			}
			if _, ok := w.watched[0].(*messages.StorageFailed); !ok {
				t.Fatalf("the Node heard %T", w.watched[0])
			}
			w.store.panics = false
			w.store.Store = w.store.Restart() // as good as new
			w.send(w.members[2], w.pid, w.persist(2, 3, 1))
			expectNone[*messages.EntriesPersisted](t, w.members[2], "the writer has failed for good")
			takeOne[*messages.StorageFailed](t, w.members[2])
			if len(w.store.writes) != 1 {
				t.Fatalf("%d writes, expected no second", len(w.store.writes))
			}
		})
	}
}

func TestLogReaderAnswersWhoAsked(t *testing.T) {
	w := newWriting(t)
	w.send(w.members[0], w.pid, w.persist(0, 1, 1), w.persist(0, 1, 2))
	reader := w.spawn(LogReaderProps(w.rt, w.store), "reader")
	w.send(w.members[1], reader, &LoadGroup{Group: 1})
	if l := takeOne[*GroupLoaded](t, w.members[1]); l.Err != nil || l.State.LastIndex != 2 {
		t.Fatalf("%+v", l)
	}
	w.tell(reader, &ReadEntries{Group: 1, First: 2, Last: 2, MaxBytes: 100, Session: 6, PrevTerm: 1, ReplyTo: w.members[2].pid})
	if r := takeOne[*EntriesRead](t, w.members[2]); r.Err != nil || r.First != 2 || r.Session != 6 || r.PrevTerm != 1 || len(r.Blocks) != 1 {
		t.Fatalf("%+v", r)
	}
	w.tell(reader, &ReadEntries{Group: 1, First: 9, Last: 9, MaxBytes: 100, ReplyTo: w.members[2].pid})
	if r := takeOne[*EntriesRead](t, w.members[2]); !errors.Is(r.Err, logstore.ErrOutOfRange) {
		t.Fatalf("%+v", r)
	}
}

// house is a real Node, with everything below it, on a real store.
type house struct {
	*world
	store    *countingStore
	node     *actor.PID
	machines map[uint64]*recorder
	members  map[uint64]*actor.PID
	failed   []string
	stopped  []uint64
	client   *probe
}

func newHouse(t *testing.T) *house {
	h := &house{world: newWorld(t), store: &countingStore{Store: memory.New()}, machines: map[uint64]*recorder{}, members: map[uint64]*actor.PID{}}
	h.client = h.probe("client")
	h.node = h.spawn(NodeProps(h.rt, NodeOptions{
		Store: h.store, Gateway: GatewayOptions{RequestTimeout: patience, Waiting: 10, WaitingBytes: 1 << 20},
		StorageFailed: func(reason string) { h.failed = append(h.failed, reason) },
		MemberStopped: func(group uint64, _ *actor.PID) { h.stopped = append(h.stopped, group) },
	}), NodeName)
	return h
}

func (h *house) describe() *NodeDescription {
	h.t.Helper()
	asker := h.at("status", "node")
	h.send(asker, h.node, &DescribeNode{})
	return takeOne[*NodeDescription](h.t, asker)
}

// member starts a group of one, named so that two of a group can be tried.
func (h *house) member(group uint64, name string) *actor.PID {
	h.t.Helper()
	machine := &recorder{}
	props, _ := MemberProps(h.rt, new(h.describe().Links), MemberOptions{
		Group: group, Node: "n1", Bootstrap: new(members("n1")), Machine: machine,
		ElectionTimeout: electionTimeout, HeartbeatInterval: heartbeat, ReadTimeout: readTimeout, Limits: DefaultLimits(),
	})
	pid := h.spawn(props, name)
	if h.members[group] == nil {
		h.machines[group], h.members[group] = machine, pid
	}
	return pid
}

func (h *house) propose(group, request uint64) {
	h.t.Helper()
	h.post(h.client, h.describe().Links.Gateway, &messages.Propose{Group: group, Request: request, Command: []byte("x")})
	h.settle()
}

// Two groups share one store and one LogWriter; a fault in one changes nothing in
// the other.
func TestGroupsOfOneNodeShareTheDiskAndNoFault(t *testing.T) {
	h := newHouse(t)
	h.member(1, "one")
	h.member(2, "two")
	h.advance(2 * electionTimeout)
	h.machines[1].panicAt = 4
	for i := range uint64(4) {
		h.propose(1, 10+i)
		h.propose(2, 20+i)
	}
	h.advance(2 * patience) // the Gateway waits for another leader, as there might be one
	expectResults(t, h.client, "10 APPLIED", "11 UNKNOWN STOPPED", "12 NOT_APPLIED NO_LEADER", "13 NOT_APPLIED NO_LEADER",
		"20 APPLIED", "21 APPLIED", "22 APPLIED", "23 APPLIED")
	for group, want := range map[uint64]uint64{1: 4, 2: 6} {
		if s, err := h.store.Load(group); err != nil || s.LastIndex != want {
			t.Fatalf("group %d: %+v, %v", group, s, err)
		}
	}
	if len(h.failed) > 0 || h.describe().StorageFailure != "" {
		t.Fatalf("storage failed: %v", h.failed)
	}
}

// A disk that fails stops every group, once, and a member that comes later does not
// even begin.
func TestFailedStorageStopsEveryGroup(t *testing.T) {
	h := newHouse(t)
	h.member(1, "one")
	h.member(2, "two")
	h.advance(2 * electionTimeout)
	h.store.FailNext(errors.New("no space"), false)
	h.propose(1, 1)
	h.propose(2, 2)
	h.advance(2 * patience)
	expectResults(t, h.client, "1 UNKNOWN STOPPED", "2 NOT_APPLIED NO_LEADER")
	if len(h.failed) != 1 {
		t.Fatalf("reported %d times: %v", len(h.failed), h.failed)
	}
	late := h.member(3, "three")
	asker := h.at("status", "asker")
	for _, pid := range []*actor.PID{h.members[1], h.members[2], late} {
		h.send(asker, pid, &messages.DescribeGroup{})
		if s := takeOne[*messages.GroupStatus](t, asker); s.Role != "failed" {
			t.Fatalf("group %d is %s", s.Group, s.Role)
		}
	}
}

// A group has one member on a node. A second one touches nothing, and its end does
// not hurt the first, nor anybody when the first is gone already.
func TestSecondMemberIsRefusedAndLeavesQuietly(t *testing.T) {
	h := newHouse(t)
	first := h.member(1, "one")
	second := h.member(1, "another")
	if d := h.describe(); !d.Members[1].Equal(first) {
		t.Fatalf("registered %v", d.Members)
	}
	h.advance(2 * electionTimeout)
	h.propose(1, 1)
	expectResults(t, h.client, "1 APPLIED")
	h.system.Root.Stop(first)
	h.settle()
	h.system.Root.Stop(second)
	h.settle()
	if len(h.stopped) != 1 || len(h.describe().Members) != 0 {
		t.Fatalf("stopped %v, left %v", h.stopped, h.describe().Members)
	}
	if len(h.failed) > 0 {
		t.Fatalf("storage failed: %v", h.failed)
	}
	h.tell(h.node, &DescribeNode{}) // from nobody
	if len(h.failed) > 0 {
		t.Fatalf("storage failed: %v", h.failed)
	}
	h.propose(1, 2)
	h.advance(2 * patience)
	expectResults(t, h.client, "2 NOT_APPLIED NO_LEADER")
}

// A LogReader that breaks is a disk that cannot be read: the node says so.
func TestBrokenReaderIsFailedStorage(t *testing.T) {
	h := newHouse(t)
	h.store.panics = true
	h.tell(h.describe().Links.LogReader, &ReadEntries{Group: 1, First: 1, Last: core.Index(1), ReplyTo: h.client.pid})
	if len(h.failed) != 1 {
		t.Fatalf("reported %v", h.failed)
	}
}

// An update that cannot be stops its own group; the store has not failed, and what the
// others wanted written in the same turn is.
func TestRefusedUpdateStopsItsGroupOnly(t *testing.T) {
	w := newWriting(t)
	w.post(w.members[0], w.pid, w.persist(0, 1, 1))
	w.post(w.members[1], w.pid, w.persist(1, 2, 1))
	w.settle()
	w.post(w.members[0], w.pid, w.persist(0, 1, 7)) // a gap
	w.post(w.members[1], w.pid, w.persist(1, 2, 2))
	w.settle()
	takeOne[*messages.StorageFailed](t, w.members[0])
	if e := take[*messages.EntriesPersisted](w.members[1]); len(e) != 2 || e[1].LastIndex != 2 {
		t.Fatalf("reported %v, expected up to 2", e)
	}
	w.post(w.members[1], w.pid, w.persist(1, 2, 3))
	w.settle()
	if e := takeOne[*messages.EntriesPersisted](t, w.members[1]); e.LastIndex != 3 {
		t.Fatalf("reported %v, expected 3", e)
	}
}

// A member begins only when what an earlier life of it had under way is on disk and
// reported: else it would load too little, and take those reports for its own.
func TestMemberIsAdmittedBehindWhatIsUnderWay(t *testing.T) {
	w := newWriting(t)
	w.post(w.members[0], w.pid, w.persist(0, 1, 1), &AdmitMember{Group: 1, PID: w.members[0].pid})
	w.settle()
	if len(w.members[0].inbox) != 2 {
		t.Fatalf("received %v", w.members[0].inbox)
	}
	if _, ok := w.members[0].inbox[0].message.(*messages.EntriesPersisted); !ok {
		t.Fatalf("received %T first, expected the report", w.members[0].inbox[0].message)
	}
	takeOne[*MemberAdmitted](t, w.members[0])
	w.post(w.members[0], w.pid, &AdmitMember{Group: 1, PID: w.members[0].pid})
	w.settle()
	takeOne[*MemberAdmitted](t, w.members[0]) // also when nothing is written
}
