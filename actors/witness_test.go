package actors

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/messages"
)

// witness is n1, the witness of a group with n2 and n3, which keeps snapshots and has
// these blocks after the configuration. n2 leads term 2.
func witness(t *testing.T, blocks ...messages.Block) *member {
	t.Helper()
	m := newMember(t, 3)
	m.opts.Bootstrap.Members[0].Role = core.RoleWitness
	m.opts.Machine, m.opts.Witness = nil, true
	m.stored(2, "", blocks...)
	m.keeping(0, 0)
	return m
}

func (m *member) spares(commit, spare uint64) {
	m.t.Helper()
	m.send(m.peer("n2"), m.pid, &messages.Heartbeat{Group: 1, Term: 2, Leader: "n2", Commit: commit, Spare: spare})
}

// A witness votes and acknowledges like anybody; what is committed it passes over.
func TestWitnessVotesAndAcknowledges(t *testing.T) {
	m := witness(t)
	m.start()
	m.append(2, 1, 1, 0, block(1, 2, 2, 1, "a", "b"))
	m.sync()
	m.expectAck(3)
	m.spares(3, 0)
	m.expectLog(3, 3, 3)
	m.expectSnapshot(1, 0, 3, 3, 3)
	m.expectRole("witness", 2)
	m.clock.now += electionTimeout
	m.askVote("n3", 3, 2, 2) // its log ends before
	m.sync()
	takeOne[*messages.VoteRejected](t, m.peer("n3"))
	m.askVote("n3", 4, 3, 2)
	m.sync()
	takeOne[*messages.VoteGranted](t, m.peer("n3"))
}

// It cuts its log as far as the leader says that all with state have it, what is
// committed here, and what is on its disk; never by the amount of its log alone.
func TestWitnessCutsWhatIsSpared(t *testing.T) {
	m := witness(t, block(1, 2, 2, 1, "a", "b", "c", "d"))
	m.opts.SnapshotPolicy = core.SnapshotPolicy{Entries: 2}
	m.start()
	m.spares(5, 0)
	m.expectSnapshot(1, 0, 5, 5, 5)
	asker := m.askSnapshot()
	if r := takeOne[*messages.SnapshotRefused](t, asker); !strings.Contains(r.Reason, "nothing") {
		t.Fatal(r)
	}
	m.append(2, 5, 2, 5, block(1, 2, 6, 2, "e", "f"))
	m.spares(5, 7)
	m.sync()
	m.expectSnapshot(6, 5, 5, 5, 7)
	m.spares(7, 3) // of a leader that knows less
	m.sync()
	m.expectSnapshot(6, 5, 7, 7, 7)
	m.spares(7, 7)
	m.sync()
	m.expectSnapshot(8, 7, 7, 7, 7)
	file, err := m.opts.Snapshots.Open(1, 7)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	meta := file.Meta()
	if sections, err := file.Sections(); err != nil || len(sections) > 0 || meta.Term != 2 || meta.ConfigurationIndex != 1 || len(meta.Configuration.Members) != 3 {
		t.Fatalf("%v with sections %q, %v; expected none, of term 2, with the three members of entry 1", meta, sections, err)
	}
}

// What is not on its disk yet a crash takes away, and the log would begin behind it.
func TestWitnessDoesNotCutBeyondItsDisk(t *testing.T) {
	m := witness(t)
	m.opts.SnapshotPolicy = core.SnapshotPolicy{Entries: 2}
	m.start()
	m.append(2, 1, 1, 0, block(1, 2, 2, 1, "a", "b", "c"))
	m.spares(4, 4)
	m.expectSnapshot(2, 1, 4, 4, 4)
	m.sync()
	m.expectSnapshot(5, 4, 4, 4, 4)
}

// A lagging witness is told where its log begins, and takes no state; a member with
// state takes nothing else.
func TestOffersFit(t *testing.T) {
	m := witness(t)
	m.start()
	m.heartbeatOf("n2", 2, 0)
	f := elsewhere(t, snapshotMeta(9, 2), "9@2 z")
	f.info.Meta.Configuration.Members[0].Role = messages.Role_WITNESS
	m.offer(f, 2)
	if d := takeOne[*messages.SnapshotDeclined](t, m.snapshotSender()); !strings.Contains(d.Reason, "is a witness") {
		t.Fatal(d)
	}
	bare := f
	bare.info.Size, bare.info.Checksum = 0, 0
	m.offer(bare, 2)
	m.expectOffset(0)
	m.expectNotInstalled("the log is not reset on disk")
	m.sync()
	if i := takeOne[*messages.SnapshotInstalled](t, m.snapshotSender()); i.Index != 9 {
		t.Fatal(i)
	}
	m.expectSnapshot(10, 9, 9, 9, 9)

	other, _ := behind(t, 9, 2)
	other.offer(bare, 2)
	if d := takeOne[*messages.SnapshotDeclined](t, other.snapshotSender()); !strings.Contains(d.Reason, "is no witness") {
		t.Fatal(d)
	}
	other.expectSnapshot(1, 0, 0, 0, 1)
}

// A leader tells the witness, and nobody else, what all with state have. What it sends
// to one that lags is the snapshot's name.
func TestLeaderAndItsWitness(t *testing.T) {
	m := newMember(t, 3)
	m.opts.Bootstrap.Members[2].Role = core.RoleWitness
	m.keeping(0, 0)
	m.begin().elect()
	m.accept("n3")
	m.advance(heartbeat)
	spareOf := func(id core.NodeID) uint64 {
		all := take[*messages.Heartbeat](m.peer(id))
		return all[len(all)-1].Spare
	}
	if got := spareOf("n3"); got != 0 || m.status().CommitIndex != 2 {
		t.Fatalf("%d to spare, and n2 has nothing", got)
	}
	m.accept("n2")
	m.advance(heartbeat)
	if w, v := spareOf("n3"), spareOf("n2"); w != 2 || v != 0 {
		t.Fatalf("the witness may spare %d, n2 %d, expected 2 and 0", w, v)
	}
	m.ack("n2", "n3")
	m.propose("a", "b")
	m.sync()
	m.accept("n2")
	m.forgetAppendsTo("n3")
	takeOne[*messages.SnapshotTaken](t, m.askSnapshot())
	m.sync()
	m.send(m.peer("n2"), m.pid, &messages.TransferLeadership{Group: 1, To: "n3"})
	takeOne[*messages.LeadershipKept](t, m.peer("n2"))
	for range 12 {
		m.advance(heartbeat)
		m.accept("n2")
		m.ack("n2", "n3")
		for _, l := range takeLetters[*messages.AppendEntries](m.peer("n3")) {
			a := l.message.(*messages.AppendEntries)
			m.send(m.peer("n3"), l.from, &messages.AppendRejected{Group: 1, Term: 2, From: "n3", Session: a.Session, PrevIndex: a.PrevIndex})
		}
	}
	offers := take[*messages.OfferSnapshot](m.peer("n3"))
	if len(offers) == 0 || offers[0].Size != 0 || offers[0].Checksum != 0 || offers[0].Meta.Index != 4 {
		t.Fatalf("offered %v, expected what ends at 4, and nothing of it", offers)
	}
}

// With nobody else to lead a witness does, takes nothing, and hands over to one that it
// has brought on.
func TestWitnessLeadsToHandOver(t *testing.T) {
	m := witness(t, block(1, 2, 2, 1, "a"))
	m.start()
	m.sync()
	m.forget()
	m.advance(4 * electionTimeout)
	expectNone[*messages.RequestPreVote](t, m.peer("n2"), "others may lead")
	m.send(m.peer("n2"), m.pid, &messages.TimeoutNow{Group: 1, Term: 2, From: "n2"})
	expectNone[*messages.RequestVote](t, m.peer("n2"), "not even by order")
	m.stand()
	takeOne[*messages.ElectionRefused](t, m.client)
	m.advance(6 * electionTimeout)
	m.elect()
	for _, changed := range take[*LeaderChanged](m.gateway) {
		if changed.Leader != "" {
			t.Fatalf("%+v, expected clients to wait for another", changed)
		}
	}
	m.propose("x")
	m.query(2, "q")
	m.send(m.at("n2:1", "gateway"), m.pid, &messages.Propose{Group: 1, Request: 9, Command: []byte("y")})
	if r := results(m.at("n2:1", "gateway")); len(r) != 1 || r[0].Reason != messages.Reason_NOT_LEADER {
		t.Fatalf("%v, expected y to be refused", r)
	}
	if back := take[*messages.Propose](m.gateway); len(back) != 1 {
		t.Fatalf("%v came back, expected x", back)
	}
	takeOne[*messages.Query](t, m.gateway)
	m.sync()
	m.expectLog(3, 3, 0)
	m.accept("n2")
	m.expectLog(3, 3, 3)
	m.advance(heartbeat)
	takeOne[*messages.TimeoutNow](t, m.peer("n2"))
}

// It hands over to one with state that has all of its log, also where that is too few to
// commit anything: the others may lack what only a leader with state can send.
func TestWitnessHandsOverBeforeItCommits(t *testing.T) {
	m := newMember(t, 5)
	m.opts.Bootstrap.Members[0].Role = core.RoleWitness
	m.opts.Bootstrap.Members[2].Priority = 3
	m.opts.Machine, m.opts.Witness = nil, true
	m.stored(2, "", block(1, 2, 2, 1, "a"))
	m.start()
	m.sync()
	m.advance(14 * electionTimeout)
	m.elect()
	m.sync()
	m.ack("n2", "n3")
	m.advance(heartbeat)
	for _, id := range []core.NodeID{"n2", "n3"} {
		expectNone[*messages.TimeoutNow](t, m.peer(id), "nobody has its log")
	}
	m.accept("n2")
	m.advance(heartbeat)
	takeOne[*messages.TimeoutNow](t, m.peer("n2"))
	m.expectLog(3, 3, 0)
}

// A witness is no place to read: its node's Gateway finds one.
func TestWitnessIsNoPlaceToRead(t *testing.T) {
	m := witness(t, block(1, 2, 2, 1, "a"))
	m.start()
	m.spares(2, 0)
	m.forget()
	for _, c := range []messages.Consistency{messages.Consistency_STALE, messages.Consistency_MEMBER, messages.Consistency_AT_LEAST, messages.Consistency_WITHIN} {
		m.memberRead(uint64(c), &messages.Query{Consistency: c})
		takeOne[*messages.Query](t, m.gateway)
	}
	expectNone[*messages.Results](t, m.client, "somebody else answers")
}

// What a member is started as must be what its group says of it.
func TestWitnessMustBeOne(t *testing.T) {
	m := witness(t)
	m.opts.Bootstrap = nil
	m.opts.Machine, m.opts.Witness = m.machine, false
	m.start()
	m.expectFailure("is a witness of its group, and was started with a state machine")

	m = newMember(t, 3).stored(2, "")
	m.opts.Bootstrap = nil
	m.opts.Machine, m.opts.Witness = nil, true
	m.start()
	m.expectFailure("started as a witness, and is none in its group")

	m = newMember(t, 3).begin()
	c := members("n1", "n2", "n3")
	c.Members[0].Role = core.RoleWitness
	data, err := proto.Marshal(describeConfiguration(&c))
	if err != nil {
		t.Fatal(err)
	}
	m.append(2, 1, 1, 0, blockOf(1, 2, 2, 1, messages.EntryView{Kind: messages.EntryKind_CONFIGURATION, Data: data}))
	m.expectFailure("is a witness of its group")
}

func TestOptionsOfAWitness(t *testing.T) {
	for want, change := range map[string]func(*MemberOptions){
		"options Machine and Witness":        func(o *MemberOptions) { o.Witness = true },
		"option Machine: nil":                func(o *MemberOptions) { o.Machine = nil },
		"option Witness: true, and false by": func(o *MemberOptions) { o.Machine, o.Witness = nil, true },
		"option Witness: false, and true by": func(o *MemberOptions) { o.Bootstrap.Members[0].Role = core.RoleWitness },
		"option Bootstrap: witnesses: 2": func(o *MemberOptions) {
			o.Bootstrap.Members[1].Role, o.Bootstrap.Members[2].Role = core.RoleWitness, core.RoleWitness
		},
	} {
		o := newMember(t, 3).opts
		change(&o)
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, expected %q", err, want)
		}
	}
}

// While there is to be a witness, those who go do not go before every voter with state
// that stays has what the witness may have been sent no more. Whoever has it is not
// asked for more.
func TestMembersLeaveAWitnessBehindWithCompleteLogsOnly(t *testing.T) {
	m := newMember(t, 4)
	m.opts.Bootstrap.Members[3].Role = core.RoleWitness
	m.begin().elect()
	m.accept("n2")
	m.accept("n4")
	m.expectLog(2, 2, 2)
	m.change(&messages.ChangeMembers{Remove: []string{"n2"}})
	m.sync()
	m.accept("n2")
	m.accept("n4")
	m.expectConfig(3, "n1,n2,n3,n4 / n1,n3,n4 /  / ") // n3 has nothing of the log
	for _, l := range takeLetters[*messages.AppendEntries](m.peer("n3"))[:1] {
		m.send(m.peer("n3"), l.from, accepted(t, l, "n3"))
	}
	m.expectConfig(4, "n1,n3,n4 /  / n1,n2,n3,n4 / ")
}

// What was committed by voters of whom one goes must be with the witness, or with a majority
// without it, before that one may go; from then on commits need those to come.
func TestNothingCommittedIsLeftToThoseWhoGo(t *testing.T) {
	acceptUpTo := func(m *member, id core.NodeID, index uint64) {
		t.Helper()
		for _, l := range slices.Backward(takeLetters[*messages.AppendEntries](m.peer(id))) {
			if a := accepted(t, l, id); a.MatchIndex == index {
				m.send(m.peer(id), l.from, a)
				return
			}
		}
		t.Fatalf("%s was sent nothing up to %d", id, index)
	}
	for name, end := range map[string]func(m *member){
		"the newcomer has it": func(m *member) {
			acceptUpTo(m, "n4", 4)
			m.expectConfig(6, "n1,n3,n4 /  / n1,n2,n3 / ")
			m.expectLog(6, 5, 4)
		},
		"the witness has it": func(m *member) {
			acceptUpTo(m, "n3", 5)
			m.expectConfig(6, "n1,n3,n4 /  / n1,n2,n3 / ")
			m.expectLog(6, 5, 5)
		},
		"the change is undone": func(m *member) {
			m.send(m.client, m.pid, &messages.AbortChange{Group: 1, Request: 78})
			m.expectConfig(6, "n1,n2,n3 /  /  / ")
			m.expectLog(6, 5, 5)
		},
		"the newcomer is silent": func(m *member) {
			for range 8 {
				m.advance(heartbeat)
				m.ack("n2", "n3")
			}
			m.expectConfig(3, "n1,n2,n3 / n1,n3,n4 /  / ")
			m.expectLog(5, 5, 5)
		},
	} {
		m := newMember(t, 3)
		m.opts.Bootstrap.Members[2].Role = core.RoleWitness
		m.begin().elect()
		m.accept("n2")
		m.accept("n3")
		m.change(&messages.ChangeMembers{Add: newMembers("n4"), Remove: []string{"n2"}})
		m.accept("n4")
		m.sync()
		m.propose("a")
		m.sync()
		acceptUpTo(m, "n2", 4)
		m.propose("b")
		m.sync()
		acceptUpTo(m, "n2", 5)
		t.Run(name, func(t *testing.T) {
			m.t = t
			m.expectConfig(3, "n1,n2,n3 / n1,n3,n4 /  / ") // a is with n1 and n2 alone
			m.expectLog(5, 5, 4)
			end(m)
		})
	}
}

// What a peer that has lost its disk once held spares a witness nothing until it holds it
// again, and members do not change meanwhile.
func TestNothingIsSparedByAPeerThatRecovers(t *testing.T) {
	m := newMember(t, 3)
	m.opts.Bootstrap.Members[2].Role = core.RoleWitness
	m.begin().elect()
	m.accept("n2")
	m.accept("n3")
	m.forget()
	spare := func() uint64 {
		t.Helper()
		m.advance(heartbeat)
		beats := take[*messages.Heartbeat](m.peer("n3"))
		if len(beats) == 0 {
			t.Fatal("no heartbeat to the witness")
		}
		for _, b := range take[*messages.Heartbeat](m.peer("n2")) {
			if b.Spare != 0 {
				t.Fatalf("%v to one with state", b)
			}
		}
		return beats[len(beats)-1].Spare
	}
	if s := spare(); s != 2 {
		t.Fatalf("spare %d, expected 2: all with state hold it", s)
	}
	const nonce = 7
	m.send(m.peer("n2"), m.pid, &messages.HeartbeatAcked{Group: 1, Term: 2, From: "n2", Recovering: nonce})
	m.sync()
	m.tell(m.pid, &messages.PeerAdvanced{Term: 2, Peer: "n2", MatchIndex: 3, Recovering: nonce})
	m.accept("n3")
	if s := m.status(); s.CommitIndex != 3 {
		t.Fatalf("commit %d, expected 3 by the leader and the witness", s.CommitIndex)
	}
	if s := spare(); s != 0 {
		t.Fatalf("spare %d, expected 0: n2 recovers", s)
	}
}

// A witness whose disk was lost neither votes nor counts until it is restored; where its
// log begins it is told meanwhile.
func TestWitnessRecovers(t *testing.T) {
	m := witness(t, block(1, 2, 2, 1, "a"))
	m.start()
	m.lose(5)
	if s := m.status(); s.Recovering == "" || s.Role != "witness" {
		t.Fatalf("role %q, recovering %q", s.Role, s.Recovering)
	}
	m.heartbeatOf("n2", 2, 2)
	m.clock.now += electionTimeout
	m.askVote("n3", 3, 9, 2)
	m.sync()
	expectNone[*messages.VoteGranted](t, m.peer("n3"), "it may have voted before")
	f := elsewhere(t, snapshotMeta(9, 2), "9@2 z")
	f.info.Meta.Configuration.Members[0].Role = messages.Role_WITNESS
	f.info.Size, f.info.Checksum = 0, 0
	m.offer(f, 3)
	m.sync()
	if i := takeOne[*messages.SnapshotInstalled](t, m.snapshotSender()); i.Index != 9 {
		t.Fatal(i)
	}
	m.expectSnapshot(10, 9, 9, 9, 9)
	if s := m.status(); s.Recovering == "" {
		t.Fatal("a snapshot alone restores nobody's memory")
	}
}

// A witness has nothing to go on alone from, also one that waits for its peers.
func TestWitnessDoesNotGoOnAlone(t *testing.T) {
	m := witness(t, block(1, 2, 2, 1, "a"))
	m.start()
	m.advance(3 * electionTimeout)
	m.resetPeers(true)
	m.expectKept("it is a witness and has no state")
	m.stop().arrive() // and meets nobody
	m.resetPeers(true)
	m.expectKept("it is a witness and has no state")
	m.expectRole("starting", 2)
}
