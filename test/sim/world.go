package sim

import (
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/protoraft/protoraft/logstore/vfs"
)

// Options say which run to make.
type Options struct {
	Seed  uint64
	Plan  *Plan     // of the run, nil to have the seed decide; its seed counts
	Hosts *Hosts    // of actor systems to use again; nil for new ones
	Trace io.Writer // where everything that happens is written, nil for nowhere

	// Guest, where set, is a machine that is replicated beside the world's own.
	Guest *Guest

	// Engine keeps the nodes' logs; nil for simlog. InTurn says that it does all its work
	// in the caller's turn, as simlog does. With any other the seed does not say all: the
	// engine's own goroutines work and meet faults when they do.
	Engine Engine
	InTurn bool

	planted func(*World, *Decision) // see decisions
}

// Result is what a run came to.
type Result struct {
	Seed     uint64
	Failure  *Failure // nil where every rule was kept
	Steps    int
	Virtual  time.Duration
	Trace    uint64 // equal for equal runs
	Events   int
	Coverage Coverage
	Setup    string
	Writes   int // acknowledged
	Plan     *Plan
}

// Failure is the first rule that was broken.
type Failure struct {
	Invariant string
	Detail    string
	Step      int
	At        time.Duration
}

func (f *Failure) String() string {
	return fmt.Sprintf("%s: %s (step %d, at %v)", f.Invariant, f.Detail, f.Step, f.At)
}

// World is one run. All of it happens on the caller's goroutine.
type World struct {
	seed  uint64
	setup setup
	// rng draws the order of things, chaos the faults, work what clients do, wire the
	// fate of messages; see source.
	rng, chaos, work, wire *rand.Rand
	again                  *rand.Rand // what clients do in sessions
	machines               *rand.Rand // of machines with disks of their own
	decisions              decisions
	hosts                  *Hosts
	engine                 Engine
	background             bool // the engine has goroutines of its own

	now     time.Duration
	seq     uint64
	steps   int
	instant int // steps since time last moved
	ready   []task
	events  events

	nodes     []*node          // with members
	everyone  []*node          // those, and processes without members after them
	byAddress map[string]*node // who is there, or was last
	net       *network
	clients   []*client
	hunter    *hunter // one of them
	probe     *probe
	healed    bool
	thawed    time.Duration // when all that was put off by freezes, or was on its way when the faults ended, has come

	memberRequest uint64 // counts requests about members

	mover    *mover       // nil while nobody has moved
	guests   *guests      // nil without a guest machine
	script   *Script      // nil where the seed decides what happens
	turning  *stepMailbox // whose turn it is
	withheld *[]func()    // what the turn says, where its actor is held up before it leaves

	trace   trace
	types   typeNumbers
	checks  *checks
	cover   Coverage
	failure *Failure
}

// Run makes the run of a seed.
func Run(o Options) Result {
	if o.Hosts == nil {
		o.Hosts = &Hosts{}
	}
	if o.Plan != nil {
		o.Seed = o.Plan.Seed
	}
	w := &World{
		seed: o.Seed, setup: drawSetup(stream(o.Seed, chanceSetup, 0)),
		hosts: o.Hosts, engine: o.Engine, background: o.Engine != nil && !o.InTurn, byAddress: map[string]*node{}, types: typeNumbers{}, cover: Coverage{},
	}
	w.setup.drawSessions(draw{stream(o.Seed, chanceSessions, 0)})
	w.setup.drawMoves(draw{stream(o.Seed, chanceMoves, 0)})
	w.setup.drawGroups(draw{stream(o.Seed, chanceGroups, 0)})
	w.decide(o)
	w.again = rand.New(w.newSource(chanceSessions, 1))
	w.machines = rand.New(w.newSource(chanceMachines, 0))
	w.invite(o.Guest, stream(o.Seed, chanceGuest, 0))
	w.trace = trace{w: w, out: o.Trace}
	w.trace.printf("seed %d: %s", o.Seed, w.setup.String())
	w.checks = newChecks(w)
	w.build()
	w.chaosPhase()
	w.healPhase()
	w.lostPhase()
	w.end()
	return Result{
		Seed: o.Seed, Failure: w.failure, Steps: w.steps, Virtual: w.now,
		Trace: w.trace.sum, Events: w.trace.events, Coverage: w.cover, Setup: w.setup.String(),
		Writes: w.checks.history.acknowledged, Plan: w.told(),
	}
}

// decide sets the sources of all chance, and what the plan says.
func (w *World) decide(o Options) {
	order := uint64(0)
	if o.Plan != nil {
		order = o.Plan.Order
	}
	strikes, asks, wire := w.newSource(chanceStrikes, 0), w.newSource(chanceAsks, 0), w.newSource(chanceWire, order)
	w.rng, w.chaos, w.work, w.wire = rand.New(w.newSource(chanceOrder, order)), rand.New(strikes), rand.New(asks), rand.New(wire)
	what := w.newSource(chanceDecisions, 0)
	w.decisions = decisions{
		w: w, strikes: strikes, asks: asks, wire: wire, what: what, draw: draw{rand.New(what)}, planted: o.planted,
	}
	if p := o.Plan; p != nil {
		p.amend(&w.setup)
		w.decisions.planned, w.decisions.without, w.decisions.order = newPlanned(p.Decisions), p.Without, p.Order
	}
}

func (w *World) build() {
	w.buildNodes()
	for i := range w.setup.clients {
		w.clients = append(w.clients, newClient(w, i))
	}
	w.hunter = newHunter(w)
	w.clients = append(w.clients, w.hunter.client)
	for _, n := range w.everyone {
		n.restartIn(time.Duration(w.chaos.Int64N(int64(w.setup.electionTimeout))))
	}
	for _, c := range w.clients {
		c.next()
	}
	w.probe.next()
	w.plan()
}

func (w *World) buildNodes() {
	for i := range w.setup.nodes + w.setup.outsiders {
		n := &node{
			w: w, number: i, id: nodeID(i), home: fmt.Sprintf("n%d:7000", i+1), actsLeft: -1,
			disk:     vfs.NewMem(stream(w.seed, chanceDisk, uint64(i))),
			outsider: i >= w.setup.nodes,
		}
		w.everyone = append(w.everyone, n)
		n.address = n.home
		w.byAddress[n.address] = n
	}
	w.nodes = w.everyone[:w.setup.nodes]
	w.net = newNetwork(w)
	w.checks.begin()
	w.probe = newProbe(w)
}

// violate notes a broken rule. The first one counts; the run stops after the step.
func (w *World) violate(invariant, format string, args ...any) {
	if w.failure == nil {
		w.failure = &Failure{invariant, fmt.Sprintf(format, args...), w.steps, w.now}
		w.trace.printf("VIOLATION: %v", w.failure)
	}
}

// instantMax bounds how much may happen without time passing: actors that keep
// each other busy for ever would never let a timer fire.
const instantMax = 200_000

// step does one thing that can be done now, or moves time to the next event.
func (w *World) step() bool {
	w.steps++
	if last := len(w.ready) - 1; last >= 0 {
		i := w.rng.IntN(last + 1)
		t := w.ready[i]
		w.ready[i] = w.ready[last]
		w.ready[last] = task{}
		w.ready = w.ready[:last]
		if w.instant++; w.instant > instantMax {
			w.violate("time goes on", "%d steps at %v", w.instant, w.now)
		}
		if t.n.up && t.life == t.n.life {
			t.n.whenAwake(t.life, t.f)
		}
		return true
	}
	for len(w.events) > 0 {
		e := w.popEvent()
		if e.dead {
			continue
		}
		if e.at > w.now {
			w.now, w.instant = e.at, 0
		}
		e.f()
		return true
	}
	return false
}

// runUntil steps until a time, a broken rule, or until done says so.
func (w *World) runUntil(t time.Duration, done func() bool) bool {
	for w.failure == nil {
		if len(w.ready) == 0 {
			if done != nil && done() {
				return true
			}
			if len(w.events) == 0 || w.events[0].at > t {
				w.now, w.instant = t, 0
				return false
			}
		}
		w.step()
	}
	return false
}

func (w *World) chaosPhase() { w.runUntil(w.setup.length, nil) }

// end takes what is left of the world down.
func (w *World) end() {
	for _, n := range w.everyone {
		if n.up {
			n.crash(false)
		}
	}
}
