package actors

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/messages"
)

// What the Pulse does for groups that sleep. To the nodes of those that its own members
// lead asleep it says something every interval, and names each of them once in a round of
// vouchTicks intervals. Of the nodes that its own sleepers rely on it wants the same: when
// one is silent for an election timeout, or is another process now, everybody who relies
// on it is roused; who has not been named for vouchPatience intervals is, too: its leader
// has ended on a node that lives, and what it said then was lost.
const (
	vouchTicks    = 20
	vouchPatience = 4 * vouchTicks
)

// sleeper is a member here that sleeps.
type sleeper struct {
	pid     *actor.PID
	term    core.Term
	on      string            // the node that it relies on, empty for one that leads
	peers   []string          // nodes of those it leads
	word    *messages.Sleeper // that names it there, the same every time
	vouched uint64            // the tick in which it was named last, or fell asleep
}

// sleepers are in an order that depends on what has happened alone.
type sleepers struct {
	list []*sleeper
	at   map[string]int // by name
}

func (s *sleepers) put(one *sleeper) {
	if s.at == nil {
		s.at = map[string]int{}
	}
	s.remove(one.pid.Id)
	s.at[one.pid.Id] = len(s.list)
	s.list = append(s.list, one)
}

func (s *sleepers) find(name string) *sleeper {
	if i, ok := s.at[name]; ok {
		return s.list[i]
	}
	return nil
}

func (s *sleepers) remove(name string) *sleeper {
	i, ok := s.at[name]
	if !ok {
		return nil
	}
	one, last := s.list[i], len(s.list)-1
	s.list[i] = s.list[last]
	s.at[s.list[i].pid.Id] = i
	s.list[last] = nil
	s.list = s.list[:last]
	delete(s.at, name)
	return one
}

// otherNode is one that ours have to do with.
type otherNode struct {
	heardAt time.Duration
	life    uint64   // of its process, as heard last, 0 for not yet
	relying sleepers // members here that follow, asleep, one of its
	led     int      // of our sleepers that lead one of its
}

// resters are the Pulse's part in sleep.
type resters struct {
	others map[string]*otherNode // by address
	on     map[string]string     // sleepers that follow: the node they rely on, by name
	led    sleepers              // those that lead
	next   int                   // of led, to be named next

	tick     timer
	ticks    uint64
	tickedAt time.Duration
	excused  bool // the last tick came late
}

func (p *pulse) other(address string) *otherNode {
	o := p.rest.others[address]
	if o == nil {
		o = &otherNode{heardAt: p.clock.Now()}
		p.rest.others[address] = o
	}
	return o
}

func (p *pulse) onFellAsleep(ctx actor.Context, m *FellAsleep) {
	p.drop(m.PID.Id)
	one := &sleeper{pid: m.PID, term: m.Term, on: m.On, peers: m.Peers, vouched: p.rest.ticks}
	if m.On != "" {
		p.other(m.On).relying.put(one)
		p.rest.on[m.PID.Id] = m.On
	} else {
		one.word = &messages.Sleeper{Member: m.PID.Id, Term: uint64(m.Term)}
		p.rest.led.put(one)
		for _, address := range m.Peers {
			p.other(address).led++
		}
	}
	if p.rest.tick.stop == nil {
		p.rest.tickedAt = p.clock.Now()
		p.armTick(ctx)
	}
}

// drop forgets a sleeper.
func (p *pulse) drop(name string) {
	if one := p.rest.led.remove(name); one != nil {
		for _, address := range one.peers {
			p.other(address).led--
		}
	}
	if on, relies := p.rest.on[name]; relies {
		p.other(on).relying.remove(name)
		delete(p.rest.on, name)
	}
}

func (p *pulse) armTick(ctx actor.Context) {
	p.rest.tick.set(ctx, p.clock, p.opts.Interval, func(generation uint64) any {
		return &messages.PulseTimeout{Generation: generation}
	})
}

// onPulseTimeout says that this node lives, and looks whether the others do. While nobody
// sleeps there is no timer.
func (p *pulse) onPulseTimeout(ctx actor.Context, m *messages.PulseTimeout) {
	if m.Generation != p.rest.tick.generation {
		return
	}
	p.rest.tick.cancel()
	if len(p.rest.led.list)+len(p.rest.on) == 0 {
		return
	}
	p.rest.ticks++
	p.excuse()
	for _, address := range sortedKeys(p.rest.others) {
		o := p.rest.others[address]
		if o.led > 0 {
			p.to(address)
		}
		p.look(ctx, address, o)
	}
	p.vouch(ctx)
	p.armTick(ctx)
}

// excuse: a process that was held up itself has heard nobody, which says nothing of them.
func (p *pulse) excuse() {
	now := p.clock.Now()
	late := now-p.rest.tickedAt > p.opts.Interval+p.opts.Timeout/2
	if late && !p.rest.excused {
		for _, o := range p.rest.others {
			o.heardAt = now
		}
	}
	p.rest.excused, p.rest.tickedAt = late, now
}

// look rouses those who rely on what is not so any more.
func (p *pulse) look(ctx actor.Context, address string, o *otherNode) {
	if len(o.relying.list) == 0 {
		return
	}
	if p.clock.Now()-o.heardAt >= p.opts.Timeout {
		p.rouseAll(ctx, o, "the leader's node "+address+" is silent")
		return
	}
	if p.rest.ticks%vouchTicks != 0 {
		return
	}
	for i := len(o.relying.list) - 1; i >= 0; i-- { // rouse takes out of the list
		if one := o.relying.list[i]; p.rest.ticks-one.vouched > vouchPatience {
			p.rouse(ctx, one, "the leader's node "+address+" does not name its group any more")
		}
	}
}

func (p *pulse) rouseAll(ctx actor.Context, o *otherNode, reason string) {
	for len(o.relying.list) > 0 {
		p.rouse(ctx, o.relying.list[0], reason)
	}
}

func (p *pulse) rouse(ctx actor.Context, one *sleeper, reason string) {
	p.drop(one.pid.Id)
	ctx.Send(one.pid, &Roused{Term: one.term, Reason: reason})
}

// vouch names some of those that lead asleep to the nodes of their peers.
func (p *pulse) vouch(ctx actor.Context) {
	led := p.rest.led.list
	for range (len(led) + vouchTicks - 1) / vouchTicks {
		if p.rest.next >= len(led) {
			p.rest.next = 0
		}
		one := led[p.rest.next]
		p.rest.next++
		size := proto.Size(one.word) + 2
		for _, address := range one.peers {
			p.makeRoom(ctx, address, size)
			out := p.to(address)
			out.Asleep = append(out.Asleep, one.word)
			p.bytes[address] += size
		}
	}
}

// hear takes notice of another node's word.
func (p *pulse) hear(ctx actor.Context, address string, m *messages.Beats) {
	o := p.other(address)
	o.heardAt = p.clock.Now()
	if o.life != m.Life {
		if o.life != 0 {
			p.rouseAll(ctx, o, "the leader's node "+address+" has started again")
		}
		o.life = m.Life
	}
	for _, word := range m.Asleep {
		switch one := o.relying.find(word.GetMember()); {
		case one == nil:
			p.tellAwake(ctx, address, word)
		case uint64(one.term) == word.GetTerm():
			one.vouched = p.rest.ticks
		}
	}
}

// tellAwake tells a member that does not sleep, as one that has begun anew, that its leader
// takes it to.
func (p *pulse) tellAwake(ctx actor.Context, address string, word *messages.Sleeper) {
	name := word.GetMember()
	_, relies := p.rest.on[name]
	if pid := p.members[name]; pid != nil && !relies && p.rest.led.find(name) == nil {
		ctx.Send(pid, &LeaderAsleep{Term: core.Term(word.GetTerm()), At: address})
	}
}

// rouseEverybody: what is known of sleepers cannot be trusted any more.
func (p *pulse) rouseEverybody(ctx actor.Context) {
	p.rest.tick.cancel()
	for _, name := range sortedKeys(p.members) {
		one := p.rest.led.find(name)
		if on, relies := p.rest.on[name]; relies {
			one = p.other(on).relying.find(name)
		}
		if one != nil {
			ctx.Send(one.pid, &Roused{Term: one.term, Reason: "the node's Pulse has crashed"})
		}
	}
	p.rest = resters{others: map[string]*otherNode{}, on: map[string]string{}}
}
