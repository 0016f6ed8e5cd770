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
	cut     bool
	epoch   int // counts resets
	slow    float64
	lastAt  time.Duration
	pending int
}

func newNetwork(w *World, n int) *network {
	net := &network{w: w}
	for range n {
		row := make([]*link, n)
		for k := range row {
			row[k] = &link{slow: 1}
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
	senderAddr, from string
}

func (net *network) send(from *node, to *actor.PID, message any, sender *actor.PID) {
	if _, answer := message.(*actor.DeadLetterResponse); answer || !from.acts(from.life) {
		return // the guard lets no answers to dead letters out
	}
	w := net.w
	target := w.byAddress[to.Address]
	if target == nil {
		w.violate("known addresses", "%T from %s to %s/%s", message, from.id, to.Address, to.Id)
		return
	}
	w.checks.sent(from, target, message)
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
	s, l := &w.setup, net.links[from.number][target.number]
	if l.cut {
		w.cover.add("message into a partition")
		return
	}
	if w.script != nil {
		w.script.sent(from, target, message, p)
		return
	}
	if !net.calm && w.rng.Float64() < s.drop {
		return
	}
	// The real remote delivers at most once and in order. What members say to each
	// other must bear more than that; what Gateways say need not.
	gateways := betweenGateways(message)
	net.carry(l, target, p, gateways)
	if !net.calm && !gateways && w.rng.Float64() < s.duplicate {
		w.cover.add("message duplicated")
		net.carry(l, target, p, false)
	}
	if !net.calm && s.duplicate > 0 && onlyOnce(message) && w.again.Float64() < 0.2 {
		w.cover.add("forwarded commands of sessions duplicated")
		net.carry(l, target, p, true)
	}
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

// carry draws when the packet arrives; inOrder has it stay behind those before it.
func (net *network) carry(l *link, target *node, p *packet, inOrder bool) {
	w, s := net.w, &net.w.setup
	d := s.delay + time.Duration(w.rng.ExpFloat64()*float64(s.jitter))
	if !net.calm {
		d = time.Duration(float64(d) * l.slow)
		d += time.Duration(len(p.bytes)) * s.perByte
	}
	at := w.now + d
	if !net.calm && !inOrder && w.rng.Float64() < s.reorder {
		w.cover.add("message reordered")
	} else {
		at = max(at, l.lastAt)
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

// heal mends everything.
func (net *network) heal() {
	for _, row := range net.links {
		for _, l := range row {
			l.cut, l.slow = false, 1
		}
	}
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
