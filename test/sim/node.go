package sim

import (
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/hashicorp/go-hclog"

	"github.com/protoraft/protoraft/actors"
	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/logstore/snapshots"
	"github.com/protoraft/protoraft/logstore/vfs"
)

// node is a machine with a disk and, while it is up, a process on it.
type node struct {
	w       *World
	number  int
	id      string
	home    string // its address in the beginning
	address string // of its process
	moves   string // its address from the next boot on, empty for the same
	disk    *vfs.Mem
	// outsider: a process without members and so without a store, where only clients
	// live. It finds leaders by asking the others.
	outsider bool

	// Of the process, made anew with each boot. life tells two processes apart.
	life      int
	up        bool
	host      *host
	mailboxes []*stepMailbox
	places    places
	store     *watchedStore
	snapshots *snapshots.Store
	bootedAt  time.Duration
	origin    time.Duration // of its monotonic clock
	rate      float64
	wallSkew  time.Duration

	frozenUntil time.Duration
	slowUntil   time.Duration // its disk is, until then
	sleepsUntil time.Duration // the machine does, until then; it is frozen meanwhile
	slept       time.Duration // in all, by its clock

	orderLate        *lateOrder    // of the next order to stand that leaves
	heldNews         *heldNews     // of one of its Replicators
	applierAwayUntil time.Duration // its Appliers' threads are, until then

	dying       bool // the process has died within its turn: nothing it does counts
	ending      bool // the process ends soon: it has lost an actor or its storage
	actsLeft    int  // until it dies, -1 for no plan
	fault       diskFault
	panicked    bool              // a turn of this life was made to panic
	felled      bool              // one of an actor that the storage rests on
	badReads    int               // reads of the log that are still to fail
	misread     bool              // one has, in this life
	storageDown bool              // the Node has said so
	image       *vfs.Mem          // the disk as it once was
	rotten      map[uint64]uint64 // groups whose log cannot be read from an index on
	restart     *event
}

const (
	logDir      = "/data/log"
	snapshotDir = "/data/snapshots"
)

// host is an actor system. Making one takes milliseconds, so they are used again:
// a crash takes every actor out of it.
type host struct {
	system *actor.ActorSystem
	node   *node
}

// Hosts keeps actor systems for the next world. It is safe for concurrent use.
type Hosts struct {
	mu   sync.Mutex
	free []*host
}

func (p *Hosts) take(n *node) *host {
	p.mu.Lock()
	defer p.mu.Unlock()
	var h *host
	if last := len(p.free) - 1; last >= 0 {
		h, p.free = p.free[last], p.free[:last]
	} else {
		h = newHost()
	}
	h.node = n
	h.system.ID = n.id
	h.system.ProcessRegistry.Address = n.address
	h.system.ProcessRegistry.SequenceID = 0
	return h
}

func (p *Hosts) put(h *host) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h.node = nil
	p.free = append(p.free, h)
}

func newHost() *host {
	h := &host{system: actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		return slog.New(slog.DiscardHandler)
	}))}
	h.system.ProcessRegistry.RegisterAddressResolver(func(*actor.PID) (actor.Process, bool) {
		return wireProcess{h}, true
	})
	return h
}

// acts says whether the process still does things. Each one asked about may be its
// last: a crash strikes between any two messages of a turn.
func (n *node) acts(life int) bool {
	if !n.up || n.dying || life != n.life {
		return false
	}
	if n.actsLeft == 0 {
		n.w.cover.add("crash within a turn")
		n.dying = true
		n.w.after(0, n.turnEnded)
		return false
	}
	if n.actsLeft > 0 {
		n.actsLeft--
	}
	return true
}

// turnEnded buries a process that died within the turn.
func (n *node) turnEnded() {
	if n.up && (n.dying || n.disk.Crashed()) {
		n.crash(n.disk.Crashed() || n.w.chaos.IntN(2) == 0)
		n.restartIn(n.w.drawDowntime())
	}
}

// whenAwake calls f now, or when the process has been thawed, unless it has ended.
func (n *node) whenAwake(life int, f func()) {
	switch {
	case !n.up || life != n.life:
	case n.frozenUntil > n.w.now:
		n.w.at(n.frozenUntil, func() { n.whenAwake(life, f) })
	default:
		f()
	}
}

// whenThawed is whenAwake for what has no order to keep: after a thaw, timers and
// local clients come in any order with what waits on the links.
func (n *node) whenThawed(life int, f func()) {
	if n.up && life == n.life && n.frozenUntil > n.w.now {
		late := time.Duration(n.w.rng.Int64N(int64(time.Millisecond)))
		n.w.at(n.frozenUntil+late, func() { n.whenThawed(life, f) })
		return
	}
	n.whenAwake(life, f)
}

// turnDelay is how long an actor's next turn waits: a sync takes its time, and any
// actor may lag behind the others.
func (n *node) turnDelay(m *stepMailbox) time.Duration {
	s := &n.w.setup
	switch {
	case n.frozenUntil > n.w.now:
		return n.frozenUntil - n.w.now
	case m.kind == memberActor && s.crowded > 0 && n.writes() && n.w.rng.Float64() < s.crowded:
		return time.Duration(n.w.rng.ExpFloat64() * float64(s.sync) * s.syncOf[n.number])
	case m.kind == applierActor && n.applierAwayUntil > n.w.now:
		return n.applierAwayUntil - n.w.now
	case m.stores && m.number > 0 && n.slowUntil > n.w.now:
		return time.Duration(n.w.rng.ExpFloat64() * float64(s.electionTimeout))
	case m.log && s.sync > 0:
		return time.Duration(n.w.rng.ExpFloat64() * float64(s.sync) * s.syncOf[n.number])
	case s.lag > 0 && n.w.rng.Float64() < s.lag:
		return time.Duration(n.w.rng.ExpFloat64() * float64(s.lagTime))
	}
	return 0
}

// writes says whether the LogWriter has something to write.
func (n *node) writes() bool {
	for _, m := range n.mailboxes {
		if m.log {
			return len(m.user) > 0
		}
	}
	return false
}

// boot starts the process. It may fail to: then it is tried again later.
func (n *node) boot() {
	w := n.w
	n.restart = nil
	n.life++
	n.up, n.dying, n.actsLeft = true, false, -1
	n.fault.clear(w.cover)
	n.panicked, n.felled, n.badReads, n.misread, n.storageDown = false, false, 0, false, false
	n.bootedAt = w.now
	n.sleepsUntil, n.slept, n.orderLate, n.heldNews, n.applierAwayUntil = 0, 0, nil, nil, 0
	n.origin = time.Duration(w.chaos.Int64N(int64(time.Hour)))
	n.rate = 1 + (w.chaos.Float64()*2-1)*w.setup.drift
	n.mailboxes = n.mailboxes[:0]
	n.settleIn()
	w.trace.printf("%s boots", n.id)
	w.trace.add(evFault, uint64(n.number), 1)
	if !n.outsider {
		n.keepImage()
		store, err := w.openStore(n)
		if err != nil {
			n.bootFailed(err)
			return
		}
		n.store = &watchedStore{n: n, life: n.life, inner: store}
		if n.snapshots, err = snapshots.Open(n.disk, snapshotDir); err != nil {
			store.Close() // it has failed with the disk
			n.bootFailed(err)
			return
		}
		n.decay(store)
		w.checks.booted(n, store)
	}
	n.host = w.hosts.take(n)
	n.spawn()
	for _, c := range w.clients {
		c.register(n)
	}
	w.probe.register(n)
}

// bootFailed: only an injected fault may keep a node from starting.
func (n *node) bootFailed(err error) {
	n.up = false
	if !n.disk.Crashed() && !n.fault.struck() {
		n.w.violate("a disk that works can be opened", "%s: %v", n.id, err)
		return
	}
	n.w.cover.add("start failed by a disk fault")
	if n.disk.Crashed() {
		n.disk = n.disk.Crash(n.w.chaos)
	} else {
		n.disk.Inject(nil)
	}
	n.restartIn(n.w.drawDowntime())
}

func (n *node) spawn() {
	w := n.w
	rt := &actors.Runtime{
		Clock: clock{n, n.life},
		Rand:  n.chance,
		Mailbox: func(int) actor.MailboxProducer {
			return func() actor.Mailbox { return &stepMailbox{n: n, life: n.life} }
		},
		Dispatcher: dispatcher{n},
		Logger:     w.logger(n),
	}
	root := n.host.system.Root
	o := actors.NodeOptions{
		Gateway:       actors.GatewayOptions{RequestTimeout: w.setup.requestTimeout, Waiting: w.setup.gatewayWaiting, WaitingBytes: 1 << 20},
		StorageFailed: n.storageFailed, MembersChanged: n.configured, Pulse: w.setup.pulseOptions(),
	}
	if n.outsider {
		o.Gateway.Found = func(id core.NodeID, address string) { n.places.list(string(id), address) }
		for _, server := range w.nodes {
			for _, at := range server.told() {
				n.places.list(server.id, at)
				o.Gateway.Servers = append(o.Gateway.Servers, at)
			}
		}
	} else {
		o.Store = n.store
	}
	pid, err := root.SpawnNamed(actors.NodeProps(rt, o), actors.NodeName)
	if err != nil {
		w.violate("a node can be spawned", "%s: %v", n.id, err)
		return
	}
	// A process spawns members when its Node has answered.
	n.mailboxes[0].turn()
	if n.outsider {
		return
	}
	links := &actors.Links{
		Node: pid, Gateway: actor.NewPID(n.address, actors.GatewayName),
		LogWriter: actor.NewPID(n.address, actors.NodeName+"/log-writer"),
		LogReader: actor.NewPID(n.address, actors.NodeName+"/log-reader"),
	}
	if w.setup.pulse {
		links.Pulse, links.Rounds = actor.NewPID(n.address, actors.PulseName), new(atomic.Int32)
	}
	for group := uint64(1); group <= uint64(w.setup.groups); group++ {
		o := w.setup.member(n, group)
		if err := o.Validate(); err != nil {
			w.violate("the setup is valid", "%v", err)
			return
		}
		props, _ := actors.MemberProps(rt, links, o)
		if _, err := root.SpawnNamed(props, memberName(group)); err != nil {
			w.violate("a member can be spawned", "%s: %v", n.id, err)
		}
	}
}

// storageFailed is told by the Node. The process ends, as the binary does.
func (n *node) storageFailed(reason string) {
	if !n.fault.struck() && !n.felled && !n.disk.Crashed() && !n.dying {
		n.w.violate("storage fails only where a fault was injected", "%s: %s", n.id, reason)
	}
	n.w.cover.add("storage failed")
	n.storageDown, n.w.checks.turn.stopped = true, true
	n.w.checks.storageFailed(n)
	if n.w.script != nil {
		return // it ends the process when it wants to
	}
	n.endSoon(n.w.setup.electionTimeout)
}

// crash ends the process. With the power, what was not synced goes too.
func (n *node) crash(power bool) {
	w := n.w
	w.trace.printf("%s crashes, power cut: %v", n.id, power)
	w.trace.add(evFault, uint64(n.number), 2)
	n.up, n.dying, n.ending, n.actsLeft = false, false, false, -1
	n.life++
	n.frozenUntil = 0
	for _, m := range n.mailboxes {
		n.host.system.ProcessRegistry.Remove(m.pid)
	}
	n.forgetGuests()
	for _, c := range w.clients {
		c.unregister(n)
	}
	w.probe.unregister(n)
	w.hosts.put(n.host)
	n.host = nil
	if n.outsider {
		return
	}
	w.checks.crashed(n)
	n.leaveDisk(power)
}

// chance is a source for one of the node's actors.
func (n *node) chance() *rand.Rand {
	if n.w.script != nil {
		return rand.New(evenChance{n})
	}
	source := rand.NewPCG(n.w.rng.Uint64(), n.w.rng.Uint64())
	if n.w.setup.narrow > 0 {
		return rand.New(narrow{n, source})
	}
	return rand.New(source)
}

func (n *node) restartIn(d time.Duration) {
	if n.w.script != nil {
		return // the script says when
	}
	if n.restart != nil {
		n.restart.dead = true
	}
	n.restart = n.w.after(d, n.boot)
}

// memberPID addresses the node's member of a group.
func (n *node) memberPID(group uint64) *actor.PID { return actor.NewPID(n.address, memberName(group)) }

func (n *node) gatewayPID() *actor.PID { return actor.NewPID(n.address, actors.GatewayName) }

// bootstrap is what a member begins with; a spare waits to be added.
func (n *node) bootstrap() *core.Configuration {
	if n.number >= n.w.setup.nodes-n.w.setup.spares {
		return nil
	}
	return new(n.w.configuration())
}

// configuration is what every group begins with: all nodes vote, but for the spares.
func (w *World) configuration() core.Configuration {
	var c core.Configuration
	for _, n := range w.nodes[:w.setup.nodes-w.setup.spares] {
		m := core.Member{ID: core.NodeID(n.id), Address: n.home, Priority: w.setup.priority(n.number)}
		if n.witness() {
			m.Role = core.RoleWitness
		}
		c.Members = append(c.Members, m)
	}
	return c
}

// logger listens for what the code itself calls wrong, and writes to the trace.
func (w *World) logger(n *node) hclog.Logger {
	level := hclog.Warn
	if w.trace.out != nil {
		level = hclog.Debug
	}
	return hclog.New(&hclog.LoggerOptions{Output: logSpy{w, n}, Level: level, DisableTime: true})
}

type logSpy struct {
	w *World
	n *node
}

// alarms are words of a log line that no fault explains.
var alarms = []string{"unexpected message", "panic", "replicator crashed", "gateway crashed", "writer crashed", "reader crashed", "node crashed", "snapshotter crashed", "snapshot sender crashed", "the view of the state machine failed"}

// expects says whether an alarm was to be given: a turn was made to panic, or a machine.
func (s logSpy) expects(alarm string) bool {
	return alarm != "unexpected message" && (s.n.panicked || s.n.w.checks.broken(s.n))
}

func (s logSpy) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	s.w.trace.printf("%s", text)
	if strings.Contains(text, "own disk full, handing over") {
		s.w.cover.add("leader leaves its full disk")
	}
	for _, a := range alarms {
		if strings.Contains(text, a) && !s.expects(a) && !s.w.script.expects(text) {
			s.w.violate("no panic and no stray message", "%s", text)
		}
	}
	return len(line), nil
}
