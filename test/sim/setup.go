package sim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/protoraft/protoraft/actors"
	"github.com/protoraft/protoraft/actors/core"
	fsmsession "github.com/protoraft/protoraft/fsm/session"
)

// setup is what a seed draws before anything happens. Each seed has its own subset
// of faults at its own rates (swarm testing): a run with every fault at once finds
// less than many runs with a few each.
type setup struct {
	nodes, groups int
	spares        int           // of the nodes, those that are no members in the beginning
	outsiders     int           // processes without members, for clients
	witness       bool          // the last member is one, and so is the last spare
	length        time.Duration // of the chaos

	electionTimeout, heartbeat time.Duration
	priorities                 []int // of the members, empty for none
	limits                     actors.Limits
	requestTimeout             time.Duration
	snapshots                  snapshotSetup
	pulse                      bool          // beats of all groups go in one message
	sleepAfter                 time.Duration // groups in which nothing happens sleep, 0 for never
	gatewayWaiting             int

	// Time and order.
	partBatch  float64 // how often a turn hears only part of what waits
	lag        float64 // how often a turn is late
	lagTime    time.Duration
	sync       time.Duration // mean time of a sync
	syncOf     []float64     // each node's factor
	drift      float64       // of the clocks, each way
	clockDrift float64       // what members are told of it, 0 for no leases
	narrow     uint          // by how many bits election waits are alike, 0 for not at all
	lateTimers float64       // how often a timer is heard late
	heldUp     float64       // how often a Replicator is held up in its turn
	crowded    float64       // how often a member is late while its log is written, and hears of that with the rest
	cutReads   float64       // how often a block is read from disk in two pieces

	// Links.
	delay, jitter            time.Duration
	perByte                  time.Duration
	drop, duplicate, reorder float64
	stale                    float64 // how often a message is very late

	// Clients.
	clients, keys int
	think         time.Duration
	padding       int
	hashing       bool         // the machine keeps a hash of its state
	durable       bool         // the machine has a disk of its own,
	keepEvery     int          // where it keeps its state after one in so many commands,
	backwards     float64      // and starts from an older one so often
	kinds         [opKinds]int // weights
	once          float64      // how often an append belongs to a session
	sessions      fsmsession.Limits

	// Chaos: what may strike, and the mean time between two strikes.
	strikes  []strike
	interval time.Duration
	downtime time.Duration
	heavy    float64 // how often time runs in short bursts of many strikes
}

// member describes one member of the world.
func (s *setup) member(n *node, group uint64) actors.MemberOptions {
	o := actors.MemberOptions{
		Group: group, Node: core.NodeID(n.id), Bootstrap: n.bootstrap(), Witness: n.witness(),
		ElectionTimeout: s.electionTimeout, HeartbeatInterval: s.heartbeat, Limits: &s.limits,
		ClockDrift: s.clockDrift, ReadTimeout: s.requestTimeout, SleepAfter: s.sleepAfter,
	}
	if !o.Witness {
		o.Machine, o.Sessions = n.w.newMachine(n, group), n.w.checks.member(n, group).newTable(s.sessions)
	}
	s.snapshots.configure(&o, n)
	return o
}

// draw is chance with the shapes a setup needs.
type draw struct{ *rand.Rand }

func (d draw) one(of ...int) int { return of[d.IntN(len(of))] }

// between draws from [low, high] with an even logarithm: small ones are as likely
// as large ones.
func (d draw) between(low, high float64) float64 {
	return low * math.Pow(high/low, d.Float64())
}

func (d draw) count(low, high int) int { return int(d.between(float64(low), float64(high)+0.5)) }

func (d draw) time(low, high time.Duration) time.Duration {
	return time.Duration(d.between(float64(low), float64(high)))
}

func (d draw) chance(p float64) bool { return d.Float64() < p }

// maybe draws a rate, and 0 for a seed without that fault.
func (d draw) maybe(p, low, high float64) float64 {
	if !d.chance(p) {
		return 0
	}
	return d.between(low, high)
}

func drawSetup(rng *rand.Rand) setup {
	d := draw{rng}
	s := setup{
		nodes:  d.one(1, 2, 3, 3, 3, 3, 3, 4, 5, 5, 5, 6, 7),
		groups: d.one(1, 1, 1, 2, 3),
		length: d.time(3*time.Second, 12*time.Second),
	}
	s.spares = d.one(0, 0, 1, 2, 3)
	s.nodes += s.spares
	s.electionTimeout = d.time(60*time.Millisecond, 300*time.Millisecond)
	s.heartbeat = s.electionTimeout / time.Duration(d.one(3, 4, 6, 10))
	s.drawPriorities(d)
	s.requestTimeout = time.Duration(d.between(1, 10) * float64(s.electionTimeout))
	s.gatewayWaiting = d.one(2, 8, 1000)
	s.limits = drawLimits(d)
	s.limits.QueueDelay, s.limits.PatientProposals = s.electionTimeout, 4*s.limits.QueuedProposals
	s.drawTime(d)
	s.drawLinks(d)
	s.drawClients(d)
	s.drawChaos(d)
	s.outsiders = d.one(0, 0, 0, 1, 2)
	s.drawSnapshots(d)
	s.drawRare(d)
	s.hashing = d.chance(0.5)
	s.drawAimed(d)
	s.drawDurable(d)
	s.witness = s.nodes >= 3 && d.chance(0.2)
	return s
}

// drawPriorities leaves at least one member that may lead.
func (s *setup) drawPriorities(d draw) {
	if !d.chance(0.25) {
		return
	}
	s.priorities = append(s.priorities, d.one(0, 1, 2))
	for range s.nodes - 1 {
		s.priorities = append(s.priorities, d.one(-1, 0, 0, 1, 2))
	}
}

func (s *setup) priority(number int) int {
	if number < len(s.priorities) {
		return s.priorities[number]
	}
	return 0
}

// drawLimits makes edges common: limits that fill up after a few entries.
func drawLimits(d draw) actors.Limits {
	if d.chance(0.1) {
		l := *actors.DefaultLimits()
		l.CommandBytes = 2000 // what is too large is sent all the same
		return l
	}
	return actors.Limits{
		CommandBytes:      d.one(60, 200, 2000),
		BlockBytes:        d.one(1, 150, 400, 2000, 1<<16),
		QueuedProposals:   d.one(1, 3, 10, 1000),
		QueuedBytes:       d.one(300, 2000, 1<<20),
		UncommittedBytes:  d.one(200, 1000, 5000, 1<<20),
		ApplyBacklogBytes: d.one(1, 200, 1000, 1<<20),
		PendingReads:      d.one(1, 3, 1000),
		TailBytes:         d.one(0, 0, 200, 1000, 1<<20),
		UnpersistedBlocks: d.one(1, 1, 2, 4),
		Window:            core.Window{Messages: d.one(1, 2, 4, 64), Bytes: d.one(100, 500, 3000, 1<<20)},
	}
}

func (s *setup) drawTime(d draw) {
	s.partBatch = d.maybe(0.6, 0.05, 1)
	if s.lag = d.maybe(0.4, 0.01, 0.3); s.lag > 0 {
		s.lagTime = d.time(50*time.Microsecond, 10*time.Millisecond)
	}
	if d.chance(0.7) {
		s.sync = d.time(50*time.Microsecond, s.electionTimeout/10)
	}
	for range s.nodes {
		factor := 1.0
		if d.chance(0.2) {
			factor = d.between(1, 20)
		}
		s.syncOf = append(s.syncOf, factor)
	}
	s.drift = d.maybe(0.4, 0.001, 0.2)
	if d.chance(0.8) {
		s.clockDrift = s.drift + 0.001
	}
}

func (s *setup) drawLinks(d draw) {
	s.delay = d.time(20*time.Microsecond, s.electionTimeout/12)
	s.jitter = d.time(time.Microsecond, s.electionTimeout/10)
	s.drop = d.maybe(0.4, 0.001, 0.2)
	s.duplicate = d.maybe(0.3, 0.001, 0.2)
	s.reorder = d.maybe(0.3, 0.001, 0.3)
	if d.chance(0.2) {
		s.perByte = d.time(100*time.Nanosecond, 10*time.Microsecond)
	}
}

// drawRare draws what makes late and equal things common.
func (s *setup) drawRare(d draw) {
	s.stale = d.maybe(0.3, 0.001, 0.1)
	s.lateTimers = d.maybe(0.3, 0.01, 0.5)
	s.cutReads = d.maybe(0.4, 0.05, 1)
	s.heldUp = d.maybe(0.3, 0.001, 0.05)
	s.narrow = uint(d.one(0, 0, 0, 3, 5, 8))
}

func (s *setup) drawClients(d draw) {
	s.clients = d.count(1, 8)
	s.keys = d.count(1, 5)
	s.think = d.time(500*time.Microsecond, 50*time.Millisecond)
	s.padding = d.one(0, 10, 40, 150)
	for k := range s.kinds {
		s.kinds[k] = d.one(0, 1, 2, 5)
	}
	s.kinds[opAppend]++
	s.kinds[opRead]++
}

func (s *setup) drawChaos(d draw) {
	for _, one := range everyStrike {
		if d.chance(0.4) {
			s.strikes = append(s.strikes, one)
		}
	}
	if slices.Contains(s.strikes, strikeLeap) || slices.Contains(s.strikes, strikeElections) {
		s.clockDrift = 0 // a clock that leaps keeps no bound
	}
	if slices.Contains(s.strikes, strikeMembers) {
		s.priorities = nil // who is added has none, and all that may lead may be removed
	}
	s.interval = d.time(s.electionTimeout/4, 8*s.electionTimeout)
	s.downtime = d.time(time.Millisecond, 6*s.electionTimeout)
	s.heavy = d.maybe(0.3, 0.05, 0.5)
}

// drawAimed adds strikes with an aim. They are drawn last, and need members that read by
// leases; some worlds know no other trouble, which would come between.
func (s *setup) drawAimed(d draw) {
	lease, index, news, alone := d.chance(0.3), d.chance(0.2), d.chance(0.2), d.chance(0.5)
	if alone && (lease || index || news) {
		s.strikes, s.heavy = nil, 0
		s.interval = max(s.interval, 2*s.electionTimeout)
	}
	if lease {
		s.strikes = slices.DeleteFunc(s.strikes, func(one strike) bool { return one == strikeLeap || one == strikeElections })
		s.clockDrift = s.drift + 0.001
		s.strikes = append(s.strikes, strikeLease)
	}
	if index {
		s.strikes = append(s.strikes, strikeLateIndex)
	}
	if news {
		s.strikes = append(s.strikes, strikeNews)
	}
	s.crowded = d.maybe(0.3, 0.05, 1)
}

func (s *setup) drawDurable(d draw) {
	s.durable, s.keepEvery, s.backwards = d.chance(0.25), d.one(1, 2, 5, 20), d.maybe(0.5, 0.05, 0.5)
	s.hashing = s.hashing && !s.durable
}

func (s *setup) String() string {
	return fmt.Sprintf("%d nodes, %d of them spares, witness %v, %d groups, %v; election timeout %v, heartbeat %v, limits %+v; links %v+%v drop %.3f duplicate %.3f reorder %.3f; sync %v, drift %.3f; %d clients, %d keys; %v; strikes %v every %v; stale %.3f, late timers %.3f, cut reads %.3f, crowded %.3f, narrow %d, pulse %v, sleep after %v",
		s.nodes, s.spares, s.witness, s.groups, s.length, s.electionTimeout, s.heartbeat, s.limits, s.delay, s.jitter, s.drop, s.duplicate, s.reorder, s.sync, s.drift, s.clients, s.keys, &s.snapshots, s.strikes, s.interval, s.stale, s.lateTimers, s.cutReads, s.crowded, s.narrow, s.pulse, s.sleepAfter)
}
