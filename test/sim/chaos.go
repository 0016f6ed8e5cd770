package sim

import (
	"errors"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/protoraft/protoraft/logstore/vfs"
	"github.com/protoraft/protoraft/messages"
)

// strike is a kind of fault, or of other trouble, that befalls a run.
type strike int

const (
	strikeCrash strike = iota
	strikeCrashInTurn
	strikeCrashAll
	strikeFreeze
	strikePartition
	strikeOneWay
	strikeBridge
	strikeRing
	strikeMend
	strikeReset
	strikeSlowLink
	strikeClockJump
	strikeDiskCrash
	strikeDiskError
	strikeDiskFull
	strikeFailedSync
	strikeTransfer
	strikeSnapshot
	strikeLeap
	strikeElections
	strikeIsolate
	strikePanic
	strikeMachine
	strikeRead
	strikeSlowDisk
	strikeStand
	strikeDrift
	strikeMembers
	strikeDiskLost
	strikeDiskOld
	strikeBitRot
	strikeLease
	strikeLateIndex
	strikeNews
	strikeMove
	strikes
)

func (s strike) String() string {
	return [...]string{"crash", "crash in turn", "crash all", "freeze", "partition", "one-way", "bridge", "ring", "mend",
		"reset", "slow link", "clock jump", "disk crash", "disk error", "disk full", "failed sync", "transfer", "snapshot",
		"leap", "elections", "isolate", "panic", "machine", "read", "slow disk", "stand", "drift", "change members",
		"disk lost", "disk put back", "bit rot", "lease", "late index", "late news", "move"}[s]
}

// everyStrike is all of them but those with an aim, for which a setup has to be made.
var everyStrike = func() (all []strike) {
	for s := strike(0); s < strikeLease; s++ {
		all = append(all, s)
	}
	return all
}()

// plan has the next strike happen.
func (w *World) plan() {
	next, ok := w.decisions.nextStrike()
	if !ok {
		return
	}
	w.at(time.Duration(next.At), func() {
		w.strike(w.decisions.strikeAt(next))
		w.plan()
	})
}

func (w *World) strike(s strike, n *node) {
	w.trace.printf("strike: %v (at %s)", s, n.id)
	w.trace.add(evFault, uint64(s)<<8, uint64(n.number))
	switch s {
	case strikeCrashAll:
		for _, n := range w.nodes {
			w.crash(n)
		}
		w.cover.add("all nodes down")
	case strikePartition, strikeOneWay, strikeBridge, strikeRing:
		w.partition(s, n)
	case strikeMend:
		w.net.heal()
	case strikeReset:
		w.net.each(func(from, to int, l *link) {
			if from == n.number || to == n.number {
				w.net.reset(l)
			}
		})
	case strikeSlowLink:
		w.net.links[n.number][w.chaos.IntN(len(w.everyone))].slow = draw{w.chaos}.between(2, 100)
	case strikeClockJump:
		n.wallSkew = time.Duration(w.chaos.Int64N(int64(20*time.Second))) - 10*time.Second
	case strikeElections:
		w.strikeElections()
	case strikeIsolate:
		w.isolate(n)
	case strikeLease:
		w.strikeLease(n)
	case strikeLateIndex:
		w.strikeLateIndex(n)
	case strikeNews:
		w.strikeNews(n)
	case strikeMove:
		w.strikeMove(n)
	default:
		if n.up {
			w.strikeNode(s, n)
		}
	}
}

// someone is a process, half of the time one that leads a group: that is where
// trouble and work are of most use.
func (w *World) someone(rng *rand.Rand) *node {
	if rng.IntN(2) == 0 {
		g := w.checks.groups[rng.IntN(len(w.checks.groups))]
		first := rng.IntN(len(g.members))
		for i := range g.members {
			if m := g.members[(first+i)%len(g.members)]; m.leads != 0 {
				return m.n
			}
		}
	}
	return w.everyone[rng.IntN(len(w.everyone))]
}

// strikeNode is trouble for a process that is up.
func (w *World) strikeNode(s strike, n *node) {
	switch s {
	case strikeCrash:
		w.crash(n)
	case strikeCrashInTurn:
		n.actsLeft = w.chaos.IntN(60)
	case strikeFreeze:
		n.frozenUntil = max(n.sleepsUntil, w.now+draw{w.chaos}.time(w.setup.heartbeat, 10*w.setup.electionTimeout))
		w.cover.add("process frozen")
	case strikeDiskCrash:
		n.inject("power cut", 1+w.chaos.IntN(8), vfs.Fault{Crash: true}, vfs.OpRead, false)
	case strikeDiskError:
		n.inject("EIO", 1+w.chaos.IntN(8), vfs.Fault{Err: syscall.EIO, Keep: w.chaos.IntN(1024)}, vfs.OpRead, false)
	case strikeDiskFull:
		n.fillDisk(w.chaos.IntN(2000), draw{w.chaos}.time(w.setup.heartbeat, 20*w.setup.electionTimeout))
	case strikeFailedSync:
		n.inject("failed sync", 1+w.chaos.IntN(4), vfs.Fault{Err: errors.New("sync failed")}, vfs.OpSync, false)
	case strikeSnapshot:
		if n.outsider {
			return
		}
		group := uint64(1 + w.chaos.IntN(w.setup.groups))
		n.host.system.Root.RequestWithCustomSender(n.memberPID(group), &messages.TakeSnapshot{Group: group}, w.probe.pid(n))
	case strikeLeap:
		w.leap([]*node{n})
	case strikePanic:
		w.panicIn(n)
	case strikeMachine:
		if !n.outsider {
			w.breakMachine(n)
		}
	case strikeSlowDisk:
		n.slowUntil = w.now + draw{w.chaos}.time(w.setup.electionTimeout, 10*w.setup.electionTimeout)
		w.cover.add("disk slower than elections")
	case strikeRead:
		n.badReads = 1 + w.chaos.IntN(3)
	case strikeDiskLost, strikeDiskOld, strikeBitRot:
		w.strikeMemory(s, n)
	case strikeStand:
		if !n.outsider {
			group := uint64(1 + w.chaos.IntN(w.setup.groups))
			n.host.system.Root.RequestWithCustomSender(n.memberPID(group), &messages.StandForElection{Group: group}, w.probe.pid(n))
		}
	case strikeDrift:
		w.drift(n)
	case strikeMembers:
		w.changeMembers(n)
	case strikeTransfer:
		if n.outsider {
			return
		}
		group := uint64(1 + w.chaos.IntN(w.setup.groups))
		for _, g := range w.checks.groups {
			if g.members[n.number].leads != 0 && w.chaos.IntN(4) > 0 {
				group = g.id
			}
		}
		m := &messages.TransferLeadership{Group: group}
		if w.chaos.IntN(2) == 0 {
			m.To = w.nodes[w.chaos.IntN(len(w.nodes))].id
		}
		n.host.system.Root.RequestWithCustomSender(n.memberPID(group), m, w.probe.pid(n))
	}
}

// inject makes the nth change of the disk from now fail, or that kind of change,
// and all after it where stay.
func (n *node) inject(name string, nth int, fault vfs.Fault, only vfs.OpKind, stay bool) {
	seen := 0
	n.disk.Inject(func(op vfs.Op) vfs.Fault {
		if op.Kind == vfs.OpRead || only != vfs.OpRead && op.Kind != only {
			return vfs.Fault{}
		}
		if seen++; seen < nth || seen > nth && !stay {
			return vfs.Fault{}
		}
		n.fault.strike(name)
		return fault
	})
}

func (w *World) crash(n *node) {
	if !n.up {
		return
	}
	n.crash(w.chaos.IntN(3) > 0)
	n.restartIn(w.drawDowntime())
}

func (w *World) drawDowntime() time.Duration {
	return time.Duration(w.chaos.ExpFloat64() * float64(w.setup.downtime))
}

// partition cuts links in one of the shapes. In a bridge one node sees both sides;
// in a ring each sees only its neighbours.
func (w *World) partition(s strike, n *node) {
	size := len(w.everyone)
	side := make([]bool, size)
	for i := range side {
		side[i] = w.chaos.IntN(2) == 0
	}
	single := w.chaos.IntN(2) == 0
	w.net.each(func(from, to int, l *link) {
		switch s {
		case strikePartition:
			l.cut = side[from] != side[to]
			if single {
				l.cut = from == n.number || to == n.number
			}
		case strikeOneWay:
			if single {
				l.cut = from == n.number
			} else {
				l.cut = side[from] && !side[to]
			}
		case strikeBridge:
			l.cut = from != n.number && to != n.number && side[from] != side[to]
		case strikeRing:
			l.cut = (from+1)%size != to && (to+1)%size != from
		}
	})
}
