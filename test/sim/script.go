package sim

import (
	"cmp"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors"
	"github.com/protoraft/protoraft/fsm"
	fsmsession "github.com/protoraft/protoraft/fsm/session"
	"github.com/protoraft/protoraft/messages"
)

// Script is a world in which nothing is left to chance: actors run in the order in
// which work comes up, messages stay on the wire until they are delivered, time
// stands still until it is moved, and disks write when they are let. All rules are
// checked as in any other run; see Failure.
//
// Every method first does what it says and then lets the actors run until they have
// nothing to do.
type Script struct {
	w      *World
	flight []*flying
	timers []ownTimer
	broken map[*memberModel]bool // whose machine fails with its next command

	names  map[uint64]string   // of operations, by request
	values map[uint64]string   // what commands say, by value
	data   map[uint64]string   // what entries say, by digest
	lists  map[uint64][]string // what a machine holds, by its hash
	state  *messages.GroupStatus

	quiet bool // deliveries are not told
	lines []string
	last  map[string]string // what was told last of each member
}

type ownTimer struct {
	*event
	of *stepMailbox
}

// scriptChunkBytes makes two or three chunks of a snapshot.
const scriptChunkBytes = 200

// The times of every script.
const (
	ScriptElectionTimeout   = time.Second
	ScriptHeartbeatInterval = 100 * time.Millisecond
	ScriptRequestTimeout    = 20 * time.Second
	ScriptSleepAfter        = 2 * time.Second
)

// NewScript makes a world of nodes n1, n2, …, none of them started, each to have a
// member of every group.
func NewScript(nodes, groups int) *Script {
	fixed := func(k uint64) *rand.Rand { return rand.New(rand.NewPCG(0, k)) }
	w := &World{
		rng: fixed(1), chaos: fixed(2), work: fixed(3), hosts: &Hosts{},
		byAddress: map[string]*node{}, types: typeNumbers{}, cover: Coverage{}, healed: true,
	}
	w.setup = setup{
		nodes: nodes, groups: groups, electionTimeout: ScriptElectionTimeout, heartbeat: ScriptHeartbeatInterval,
		limits: *actors.DefaultLimits(), requestTimeout: ScriptRequestTimeout, gatewayWaiting: 100, keys: 1,
		syncOf: make([]float64, nodes), sessions: fsmsession.DefaultLimits(),
	}
	w.setup.limits.Transfer = actors.Transfer{ChunkBytes: scriptChunkBytes, Chunks: 1}
	w.trace = trace{w: w}
	w.script = &Script{
		w: w, broken: map[*memberModel]bool{}, names: map[uint64]string{}, values: map[uint64]string{},
		data: map[uint64]string{}, lists: map[uint64][]string{}, last: map[string]string{},
	}
	w.checks = newChecks(w)
	w.buildNodes()
	return w.script
}

// Failure is the first rule that was broken, nil for none.
func (s *Script) Failure() *Failure { return s.w.failure }

// Finish takes the world down and makes the checks of a run's end.
func (s *Script) Finish() {
	if s.w.failure == nil {
		s.checkHistory()
	}
	s.w.end()
}

// checkHistory looks for an order of all that clients saw. An operation may still
// wait where a script ends.
func (s *Script) checkHistory() {
	h := &s.w.checks.history
	for _, g := range h.c.groups {
		h.linearizable(g, 0)
	}
}

func (s *Script) node(id string) (*node, error) {
	for _, n := range s.w.nodes {
		if n.id == id {
			return n, nil
		}
	}
	return nil, fmt.Errorf("no node %q, expected n1 to n%d", id, len(s.w.nodes))
}

// running returns a node that is up.
func (s *Script) running(id string) (*node, error) {
	n, err := s.node(id)
	if err == nil && !n.up {
		err = fmt.Errorf("%s is down", id)
	}
	return n, err
}

// settleMax bounds what may happen at one time.
const settleMax = 100_000

// settle runs the actors, the one that had work first first, until none has any.
func (s *Script) settle() {
	w := s.w
	for n := 0; len(w.ready) > 0 && w.failure == nil; n++ {
		t := w.ready[0]
		w.ready = w.ready[1:]
		w.steps++
		if n > settleMax {
			w.violate("time goes on", "%d steps at %v", n, w.now)
		}
		if t.n.up && t.life == t.n.life {
			t.f()
		}
	}
}

// evenChance makes every election wait the same for a node, and longer for a node
// with a higher number: no two ever stand together by accident.
type evenChance struct{ n *node }

func (c evenChance) Uint64() uint64 {
	const tenth = ^uint64(0) / 10
	// The life is there for numbers that must differ from those of the last one.
	return tenth*uint64(1+c.n.number) + uint64(c.n.life)<<32
}

// timerSet hears of every timer. It is nil-safe: other worlds have no script.
func (s *Script) timerSet(e *event) {
	if s == nil {
		return
	}
	f := e.f
	e.f = func() {
		e.dead = true
		f()
	}
	kept := s.timers[:0]
	for _, t := range s.timers {
		if !t.dead {
			kept = append(kept, t)
		}
	}
	s.timers = append(kept, ownTimer{e, s.w.turning})
}

// expects says whether an alarming line of the log is what the script asked for.
func (s *Script) expects(line string) bool {
	return s != nil && len(s.broken) > 0 && strings.Contains(line, "state machine failed")
}

// scripted is the world's machine, which remembers what its commands said and fails
// where the script wants it to.
type scripted struct {
	*machine
	s    *Script
	list []string
}

func (m *scripted) Apply(e fsm.Entry) ([]byte, error) {
	if m.s.broken[m.member] {
		return nil, fmt.Errorf("broken by the script")
	}
	reply, err := m.machine.Apply(e)
	if err != nil {
		return nil, err
	}
	c, err := decodeCommand(e.Data)
	m.list = append(m.list[:len(m.list):len(m.list)], m.s.values[c.value])
	m.s.lists[m.lists[0].hash] = m.list
	return reply, err
}

// StateHash implements fsm.Hasher.
func (m *scripted) StateHash() uint64 { return (&hashing{m.machine}).StateHash() }

// Restore implements fsm.StateMachine.
func (m *scripted) Restore(r io.Reader) error {
	if err := m.machine.Restore(r); err != nil {
		return err
	}
	m.list = m.s.lists[m.lists[0].hash]
	return nil
}

// listenerName is where the script hears answers, on every node.
const listenerName = "script"

func (s *Script) pid(n *node) *actor.PID { return actor.NewPID(n.address, listenerName) }

// hear takes what actors say to the script.
func (s *Script) hear(n *node, message any) {
	switch m := message.(type) {
	case *messages.GroupStatus:
		s.state = m
		s.w.checks.member(n, m.Group).described(m)
	case *messages.Results:
		if s.membersAnswered(m) {
			return
		}
		for i := range m.Items {
			s.answered(n, &m.Items[i])
		}
	case *messages.LeadershipTransferred:
		s.tell("%s: leadership handed over, %s leads term %d", n.id, cmp.Or(m.Leader, "nobody known"), m.Term)
	case *messages.SnapshotTaken:
		s.tell("%s: snapshot taken, up to %d@%d", n.id, m.Index, m.Term)
	case *messages.SnapshotRefused:
		s.tell("%s: no snapshot taken: %s", n.id, m.Reason)
	case *messages.PeersReset:
		s.w.checks.member(n, m.Group).wasReset(m)
		s.tell("%s: goes on alone in term %d, by entry %d; kept up to %d, committed by this up to %d, removed %v",
			n.id, m.Term, m.Index, m.CommitIndex, m.LastIndex, m.Removed)
	case *messages.PeersKept:
		s.tell("%s: does not go on alone: %s", n.id, m.Reason)
	case *messages.LeadershipKept:
		s.w.checks.member(n, m.Group).keeps()
		s.tell("%s: leadership not handed over: %s", n.id, m.Reason)
	case *messages.AppendAccepted, *messages.AppendRejected: // to Receive, which looks at the log
	default:
		s.w.violate("no stray message", "%T for the script on %s", message, n.id)
	}
}
