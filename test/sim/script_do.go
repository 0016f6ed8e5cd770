package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/logstore/vfs"
	"github.com/protoraft/protoraft/messages"
	"github.com/protoraft/protoraft/test/sim/simlog"
)

// Start starts a node. With held its LogWriter writes nothing until Release.
func (s *Script) Start(id string, held bool) error {
	n, err := s.node(id)
	if err != nil {
		return err
	}
	if n.up {
		return fmt.Errorf("%s is up", id)
	}
	n.boot()
	if !n.up {
		return nil // the failure says why
	}
	n.host.system.ProcessRegistry.Remove(s.pid(n))
	n.host.system.ProcessRegistry.Add(&listener{n: n, hear: s.hear}, listenerName)
	n.writer().held = held
	s.settle()
	return nil
}

// writer is the mailbox of the node's LogWriter.
func (n *node) writer() *stepMailbox {
	for _, m := range n.mailboxes {
		if m.log {
			return m
		}
	}
	panic("sim: " + n.id + " has no LogWriter")
}

// Hold keeps a node's LogWriter from writing. Release has it write all that waits,
// at once.
func (s *Script) Hold(id string) error { return s.setHeld(id, true) }

// Release undoes Hold.
func (s *Script) Release(id string) error { return s.setHeld(id, false) }

func (s *Script) setHeld(id string, held bool) error {
	n, err := s.running(id)
	if err != nil {
		return err
	}
	w := n.writer()
	w.held = held
	w.schedule()
	s.settle()
	return nil
}

// Fate is what a power cut leaves of a write that was under way.
type Fate string

const (
	Killed Fate = ""     // no power cut: the process ends between two writes
	Kept   Fate = "keep" // all of the write got to the disk
	Lost   Fate = "lose" // nothing did
	Torn   Fate = "tear" // some of it did
)

// Crash ends a node's process. With a fate, power fails while its LogWriter makes
// the write that Hold keeps it from.
func (s *Script) Crash(id string, fate Fate) error {
	n, err := s.running(id)
	if err != nil {
		return err
	}
	if fate == Killed {
		n.crash(false)
		s.settle()
		return nil
	}
	if w := n.writer(); !w.held || len(w.user) == 0 {
		return fmt.Errorf("%s is not about to write: hold its log, and give it something to write", id)
	}
	before, dying := diskBytes(n.disk), n.disk
	n.disk.Inject(func(op vfs.Op) vfs.Fault { return vfs.Fault{Crash: op.Kind == vfs.OpSync} })
	if err := s.Release(id); err != nil {
		return err
	}
	if n.up {
		return fmt.Errorf("%s made no write", id)
	}
	n.disk, err = s.survivor(n, dying, before, fate)
	return err
}

func diskBytes(disk *vfs.Mem) (sum int) {
	for _, size := range disk.FileSizes() {
		sum += size
	}
	return sum
}

// survivor looks among the disks that a power cut may leave for one of that fate.
func (s *Script) survivor(n *node, dying *vfs.Mem, before int, fate Fate) (*vfs.Mem, error) {
	for seed := range uint64(1000) {
		disk := dying.Crash(rand.New(rand.NewPCG(seed, 0)))
		store, err := simlog.Open(disk.Clone(), logDir)
		if err != nil {
			return nil, err
		}
		found, err := s.fateOf(n, store, diskBytes(disk) > before)
		if err := errors.Join(err, store.Close()); err != nil {
			return nil, err
		}
		if found == fate {
			return disk, nil
		}
	}
	return nil, fmt.Errorf("a write of %s cannot %s", n.id, fate)
}

func (s *Script) fateOf(n *node, store *simlog.Store, grown bool) (Fate, error) {
	for _, g := range s.w.checks.groups {
		m := g.members[n.number]
		if m.maybe == nil {
			continue
		}
		found, err := m.read(store)
		switch {
		case err != nil:
			return "", err
		case found.equal(*m.maybe):
			return Kept, nil
		case grown:
			return Torn, nil
		}
	}
	return Lost, nil
}

// FailDisk has a node's next write fail, "sync" or "write", or its disk be "full" until
// it has "room".
func (s *Script) FailDisk(id, what string) error {
	n, err := s.running(id)
	if err != nil {
		return err
	}
	switch what {
	case "sync":
		n.inject("failed sync", 1, vfs.Fault{Err: errors.New("sync failed")}, vfs.OpSync, false)
	case "write":
		n.inject("EIO", 1, vfs.Fault{Err: syscall.EIO}, vfs.OpWrite, false)
	case "full":
		n.disk.Limit(n.disk.Used())
	case "room":
		n.disk.NoLimit()
	default:
		return fmt.Errorf("no fault %q, expected sync, write, full or room", what)
	}
	return nil
}

// Break has a member's machine fail with its next command.
func (s *Script) Break(id string, group uint64) error {
	n, err := s.running(id)
	if err == nil {
		s.broken[s.w.checks.member(n, group)] = true
	}
	return err
}

// Drift makes the number that a member's machine gives for its state wrong from now on.
func (s *Script) Drift(id string, group uint64) error {
	n, err := s.running(id)
	if err == nil {
		m := s.w.checks.member(n, group)
		m.drifts, m.g.drifted = true, true
	}
	return err
}

// Tick moves time on, timer by timer. With deliver the network works meanwhile, and
// nothing is told of what it carries.
func (s *Script) Tick(d time.Duration, deliver bool) {
	w, end := s.w, s.w.now+d
	for w.failure == nil {
		s.settle()
		if deliver {
			s.deliverQuietly()
		}
		if len(w.events) == 0 || w.events[0].at > end {
			break
		}
		if e := w.popEvent(); !e.dead {
			w.now = e.at
			e.f()
		}
	}
	w.now = end
}

// Fire has a member's own timer go off: "election" or "heartbeat". Where the member
// has heard a leader, its clock first runs ahead by two election timeouts.
func (s *Script) Fire(what, id string, group uint64) error {
	n, err := s.running(id)
	if err != nil {
		return err
	}
	st := s.describe(n, group)
	if st == nil {
		return fmt.Errorf("%s has no member of group %d", id, group)
	}
	if leads := st.Role == "leader"; leads != (what == "heartbeat") || what != "heartbeat" && what != "election" {
		return fmt.Errorf("%s is %s and has no %q timer", id, st.Role, what)
	}
	if what == "election" && st.Leader != "" {
		n.origin += 2 * ScriptElectionTimeout
	}
	fired := false
	for _, t := range slices.Clone(s.timers) { // one that greets whom it has not met may be among them
		if !t.dead && t.of.n == n && t.of.life == n.life && t.of.pid.Id == memberName(group) {
			fired = true
			t.f()
			s.settle()
		}
	}
	if fired {
		return nil
	}
	return fmt.Errorf("%s, group %d: no timer is set", id, group)
}

// Silence has a node's clock run ahead by two election timeouts: to its members, no
// leader has been heard for long.
func (s *Script) Silence(id string) error {
	n, err := s.running(id)
	if err == nil {
		n.origin += 2 * ScriptElectionTimeout
	}
	return err
}

// describe asks a member for its state; nil where it cannot say.
func (s *Script) describe(n *node, group uint64) *messages.GroupStatus {
	s.state = nil
	if n.up {
		n.host.system.Root.RequestWithCustomSender(n.memberPID(group), &messages.DescribeGroup{Group: group}, s.pid(n))
		s.settle()
	}
	return s.state
}

// Propose has a client on a node propose a command that says text.
func (s *Script) Propose(id string, group uint64, name, text string) error {
	return s.ask(id, group, name, opAppend, text)
}

// Read has a client on a node read: "linearizable", "log", "lease", "member", "stale", or "after" for a
// read that must see the commands sent before it.
func (s *Script) Read(id string, group uint64, name, how string) error {
	kind, ok := map[string]opKind{"linearizable": opRead, "log": opReadLog, "lease": opReadLease, "member": opReadMember, "stale": opReadStale, "after": opRead}[how]
	if !ok {
		return fmt.Errorf("no way to read %q, expected linearizable, log, lease, member, stale or after", how)
	}
	if how == "after" {
		name = "after " + name
	}
	return s.ask(id, group, name, kind, "")
}

func (s *Script) ask(id string, group uint64, name string, kind opKind, text string) error {
	n, err := s.running(id)
	if err != nil {
		return err
	}
	c := &client{w: s.w, name: listenerName, group: group}
	o := c.newOp(n, kind, 0)
	if rest, after := strings.CutPrefix(name, "after "); after {
		name, o.after = rest, s.lastWrite(n)
		if o.after == nil {
			return fmt.Errorf("nothing was proposed at %s", id)
		}
	}
	s.names[o.request] = name
	if kind == opAppend {
		s.values[o.command.value] = text
		s.data[digest(o.command.encode(0))] = text
	}
	c.send(n.memberPID(group), o)
	s.settle()
	return nil
}

func (s *Script) lastWrite(n *node) *op {
	ops := s.w.checks.history.ops
	for _, o := range slices.Backward(ops) {
		if o.kind.writes() && o.node == n && o.life == n.life {
			return o
		}
	}
	return nil
}

// Transfer asks a member to hand leadership over, to the best one where to is empty.
func (s *Script) Transfer(id string, group uint64, to string) error {
	n, err := s.running(id)
	if err != nil {
		return err
	}
	m := &messages.TransferLeadership{Group: group, To: to}
	n.host.system.Root.RequestWithCustomSender(n.memberPID(group), m, s.pid(n))
	s.settle()
	return nil
}

// Snapshot asks a member to take a snapshot of what it has applied.
func (s *Script) Snapshot(id string, group uint64) error {
	n, err := s.running(id)
	if err != nil {
		return err
	}
	n.host.system.Root.RequestWithCustomSender(n.memberPID(group), &messages.TakeSnapshot{Group: group}, s.pid(n))
	s.settle()
	return nil
}

// Receive has a member receive one entry of each of these terms at its log's end, as
// if from a leader of that term; entries of one term and index are the same
// wherever they are received.
func (s *Script) Receive(id string, group uint64, terms []uint64) error {
	n, err := s.running(id)
	if err != nil {
		return err
	}
	leader := s.w.nodes[0]
	if leader == n {
		leader = s.w.nodes[1%len(s.w.nodes)]
	}
	m := s.w.checks.member(n, group)
	for len(terms) > 0 {
		term, prev, index := terms[0], lastTerm(m.log), uint64(len(m.log))+1
		if term < m.asked.Term {
			return fmt.Errorf("%s is in term %d, an entry of term %d cannot be received", id, m.asked.Term, term)
		}
		w := messages.NewBlockWriter(messages.BlockHeader{Group: group, Incarnation: 1, Term: term, FirstIndex: index, PrevTerm: prev, Time: epoch}, 0)
		for i := index; len(terms) > 0 && terms[0] == term; i++ {
			w.Add(messages.EntryView{Kind: messages.EntryKind_COMMAND, Data: s.given(term, i)})
			terms = terms[1:]
		}
		b := w.Finish()
		n.host.system.Root.RequestWithCustomSender(n.memberPID(group), &messages.AppendEntries{
			Group: group, Term: term, Leader: leader.id, Session: 1, PrevIndex: index - 1, PrevTerm: prev, Block: b.Bytes(),
		}, actor.NewPID(n.address, listenerName))
		s.settle()
	}
	return nil
}

// given is the command of an entry that no client has proposed. Its value is far
// above the requests of clients, which are the values of other commands.
func (s *Script) given(term, index uint64) []byte {
	c := command{value: 1<<40 | term<<20 | index}
	data := c.encode(0)
	s.values[c.value] = fmt.Sprintf("%d.%d", term, index)
	s.data[digest(data)] = s.values[c.value]
	return data
}
