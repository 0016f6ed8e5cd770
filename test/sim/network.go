package sim

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/remote"

	"github.com/protoraft/protoraft/messages"
)

// network is a directed link between each two nodes. A link keeps its order, as
// one stream does, except where the seed has it reorder; a reset loses everything
// in flight without a word, as the real remote does.
type network struct {
	w     *World
	links [][]*link // from, to
	calm  bool      // healed: no loss any more
}

type link struct {
	from, to *node
	sent     uint64 // messages so far

	cut    bool
	epoch  int // counts resets
	slow   float64
	lastAt time.Duration

	heldUntil    time.Duration // nothing arrives before
	starvedUntil time.Duration // it bears no entries, and answers about indexes late and twice

	pending int
}

func newNetwork(w *World) *network {
	net := &network{w: w}
	for _, from := range w.everyone {
		row := make([]*link, len(w.everyone))
		for k, to := range w.everyone {
			row[k] = &link{from: from, to: to, slow: 1}
		}
		net.links = append(net.links, row)
	}
	return net
}

// wireProcess is how one actor system reaches the others.
type wireProcess struct{ h *host }

func (p wireProcess) SendUserMessage(to *actor.PID, message any) {
	_, inner, sender := actor.UnwrapEnvelope(message)
	p.h.node.w.net.send(p.h.node, to, inner, sender)
}

func (p wireProcess) SendSystemMessage(to *actor.PID, message any) {
	p.h.node.w.violate("no system messages on the wire", "%T from %s to %s/%s", message, p.h.node.id, to.Address, to.Id)
}

func (p wireProcess) Stop(to *actor.PID) { p.SendSystemMessage(to, &actor.Stop{}) }

// packet is a message as bytes: nothing of the sender's memory crosses.
type packet struct {
	bytes            []byte
	typeName         string
	to               string
	toAddr, fromAddr string // of the processes
	fromID           string
	senderAddr, from string
	listed           listing // by which the sender is where it is
}

func (net *network) send(from *node, to *actor.PID, message any, sender *actor.PID) {
	if _, answer := message.(*actor.DeadLetterResponse); answer || !from.acts(from.life) {
		return // the guard lets no answers to dead letters out
	}
	w := net.w
	target := from.nodeAt(to.Address)
	if target == nil {
		w.violate("known addresses", "%T from %s to %s/%s", message, from.id, to.Address, to.Id)
		return
	}
	if results, ok := message.(*messages.Results); ok && to.Address != target.address {
		w.checks.turn.answers(to, results) // whoever asked was there, before the node moved
	} else {
		w.checks.sent(from, target, to.Id, message)
	}
	p, err := pack(to, message, sender)
	if err != nil {
		w.violate("everything sent can be encoded", "%T from %s: %v", message, from.id, err)
		return
	}
	sum := digest(p.bytes)
	w.trace.add(evSend, uint64(from.number), uint64(target.number), sum)
	if w.trace.out != nil {
		w.trace.printf("%s → %s  %T %v", from.id, target.id, message, message)
	}
	p.toAddr, p.fromAddr, p.fromID, p.listed = to.Address, from.address, from.id, from.places.own
	if !from.finds(target, to.Address) {
		w.cover.add("message to where nobody is known to be")
		return
	}
	if w.withheld != nil {
		*w.withheld = append(*w.withheld, func() { net.post(from, target, message, p) })
		return
	}
	net.post(from, target, message, p)
}

// post gives a packet to the link.
func (net *network) post(from, target *node, message any, p *packet) {
	w := net.w
	s, l := &w.setup, net.links[from.number][target.number]
	if l.cut {
		w.cover.add("message into a partition")
		return
	}
	if w.script != nil {
		w.script.sent(from, target, message, p)
		return
	}
	w.decisions.message(l)
	starved, again := l.starves(w.now, message)
	if starved {
		return
	}
	if !net.calm && w.decisions.befalls(l, faultDrop, s.drop) {
		return
	}
	// The real remote delivers at most once and in order. What members say to each
	// other must bear more than that; what Gateways say need not.
	gateways := betweenGateways(message)
	how := arrival{late: faultLate, reorder: faultReorder}
	if gateways {
		how = arrival{}
	}
	switch {
	case again:
		net.carry(l, p, arrival{by: lateIndex(w)})
		how.by = lateIndex(w)
	case from.orderLate != nil:
		how.by = from.orders(message)
	}
	net.carry(l, p, how)
	if !net.calm && s.duplicate > 0 && onlyOnce(message) && w.decisions.befalls(l, faultForwardAgain, forwardedAgain) {
		w.cover.add("forwarded commands of sessions duplicated")
		net.carry(l, p, arrival{})
	}
	if s.stale > 0 && !net.calm && electionTraffic(message) && w.decisions.befalls(l, faultLateCopy, lateCopies) {
		net.carry(l, p, arrival{surelyLate: true})
	}
	if !net.calm && !gateways && w.decisions.befalls(l, faultDuplicate, s.duplicate) {
		w.cover.add("message duplicated")
		net.carry(l, p, arrival{late: faultLateCopy2, reorder: faultReorderCopy})
	}
}

// electionTraffic is rare, and much rests on it: of it late copies come more often.
func electionTraffic(message any) bool {
	switch message.(type) {
	case *messages.RequestVote, *messages.VoteGranted, *messages.RequestPreVote, *messages.PreVoteGranted:
		return true
	}
	return false
}

func betweenGateways(message any) bool {
	switch message.(type) {
	case *messages.ForwardRequests, *messages.Results, *messages.FindLeader, *messages.LeaderFound:
		return true
	}
	return false
}

func pack(to *actor.PID, message any, sender *actor.PID) (*packet, error) {
	if s, ok := message.(remote.RootSerializable); ok {
		serialized, err := s.Serialize()
		if err != nil {
			return nil, err
		}
		message = serialized
	}
	bytes, name, err := remote.Serialize(message, remote.DefaultSerializerID)
	p := &packet{bytes: bytes, typeName: name, to: to.Id}
	if sender != nil {
		p.senderAddr, p.from = sender.Address, sender.Id
	}
	return p, err
}

func (p *packet) unpack() (any, error) {
	message, err := remote.Deserialize(p.bytes, p.typeName, remote.DefaultSerializerID)
	if err != nil {
		return nil, err
	}
	if s, ok := message.(remote.RootSerialized); ok {
		return s.Deserialize()
	}
	return message, nil
}

// forwardedAgain is how often commands of sessions that are forwarded arrive twice.
const forwardedAgain = 0.2

// lateCopies is how often a message of an election arrives again, much later.
const lateCopies = 0.2

// arrival says which faults may befall a packet on its way; the zero one comes behind
// those before it.
type arrival struct {
	late, reorder string
	surelyLate    bool
	by            time.Duration // so much later, whatever comes behind it
}

// carry draws when the packet arrives: behind those before it, unless a fault befalls
// it.
func (net *network) carry(l *link, p *packet, how arrival) {
	w, s, target := net.w, &net.w.setup, l.to
	d := s.delay + time.Duration(w.wire.ExpFloat64()*float64(s.jitter))
	if !net.calm {
		d = time.Duration(float64(d) * l.slow)
		d += time.Duration(len(p.bytes)) * s.perByte
	}
	at := w.now + d
	if how.by > 0 {
		at += how.by
	} else if how.surelyLate || !net.calm && how.late != "" && s.stale > 0 && w.decisions.befalls(l, how.late, s.stale) {
		w.cover.add("message very late")
		at += time.Duration(w.wire.ExpFloat64() * float64(2*s.electionTimeout))
	} else if !net.calm && how.reorder != "" && w.decisions.befalls(l, how.reorder, s.reorder) {
		w.cover.add("message reordered")
	} else {
		at = max(at, l.lastAt, l.heldUntil)
		l.lastAt = at
	}
	epoch := l.epoch
	l.pending++
	w.at(at, func() {
		l.pending--
		if l.epoch != epoch {
			w.cover.add("message lost in a reset")
			return
		}
		target.whenAwake(target.life, func() { net.deliver(target, p) })
	})
}

func (net *network) deliver(target *node, p *packet) {
	w := net.w
	message, err := p.unpack()
	if err != nil {
		w.violate("everything sent can be decoded", "%s for %s: %v", p.typeName, target.id, err)
		return
	}
	if !target.admits(p) {
		return
	}
	w.trace.add(evDeliver, uint64(target.number), digest(p.bytes))
	to := actor.NewPID(target.address, p.to)
	if p.from == "" {
		target.host.system.Root.Send(to, message)
		return
	}
	target.host.system.Root.Send(to, &actor.MessageEnvelope{Message: message, Sender: actor.NewPID(p.senderAddr, p.from)})
}

// reset loses what is in flight on a link.
func (net *network) reset(l *link) {
	if l.pending > 0 {
		net.w.cover.add("stream reset with messages in flight")
	}
	l.epoch++
}

// heal mends the links, and returns when the last of what a slow one still carries, which
// what follows does not overtake, arrives.
func (net *network) heal() (last time.Duration) {
	for _, row := range net.links {
		for _, l := range row {
			last = max(last, l.lastAt)
			l.cut, l.slow, l.heldUntil, l.starvedUntil = false, 1, 0, 0
		}
	}
	return last
}

func (net *network) each(f func(from, to int, l *link)) {
	for from, row := range net.links {
		for to, l := range row {
			if from != to {
				f(from, to, l)
			}
		}
	}
}
