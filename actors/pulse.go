package actors

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/hashicorp/go-hclog"
	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/messages"
)

// Pulse
//
//	owns   what the groups of this node are about to say to other nodes of their being
//	       there, and which of them sleep; one for all groups of a process
//	hears  SendBeat, FellAsleep and WokeUp from members, Beats from the Pulses of other
//	       nodes, MemberStarted and MemberStopped from the Node
//	says   Beats to other Pulses; heartbeats, their answers, Roused and LeaderAsleep to
//	       members here
//
// Leaders of a node beat at the same moments, so that what is gathered in a turn is about
// everything there is to say to a node. Of groups that are awake it decides nothing: rounds of reads, leases and
// check-quorum stay each group's own. A beat is delivered to the member of the name it
// was sent to, so one for another incarnation of a group reaches nobody. Sleep: pulse_sleep.go.
type pulse struct {
	opts   PulseOptions
	clock  Clock
	logger hclog.Logger
	life   uint64

	members map[string]*actor.PID // of this node, by name
	out     map[string]*messages.Beats
	bytes   map[string]int // of out
	order   []string       // of out's addresses, by first use
	rest    resters
}

// PulseOptions are of all groups of a process; the zero value is a process whose members
// send their heartbeats by themselves.
type PulseOptions struct {
	// Interval is how often leaders beat, Timeout the election timeout.
	Interval, Timeout time.Duration
}

// PulseName is the Pulse's id on every node.
const PulseName = NodeName + "/pulse"

// beatsBytesMax keeps a message of many beats from holding up what comes behind it.
const beatsBytesMax = 64 << 10

// SendBeat: Raft → Pulse, local. Tell To this Heartbeat or HeartbeatAcked, along with
// what others have for its node.
type SendBeat struct {
	To      *actor.PID
	Message any
}

// PulseProps describes a process's Pulse. Spawn it as PulseName.
func PulseProps(rt *Runtime, opts PulseOptions) *actor.Props {
	return rt.props(pulseYields, func() behavior {
		return &pulse{
			opts: opts, clock: rt.Clock, logger: rt.Logger.Named("pulse"), life: rt.Rand().Uint64() | 1,
			members: map[string]*actor.PID{}, out: map[string]*messages.Beats{}, bytes: map[string]int{},
			rest: resters{others: map[string]*otherNode{}, on: map[string]string{}},
		}
	})
}

// pulseYields: leaders that have just been woken get to say what they have for this turn.
const pulseYields = 2

func (p *pulse) started(actor.Context) {}

func (p *pulse) receive(ctx actor.Context, message any, sender *actor.PID) {
	switch m := message.(type) {
	case *SendBeat:
		p.onSendBeat(ctx, m)
	case *messages.Beats:
		p.onBeats(ctx, m, sender)
	case *FellAsleep:
		p.onFellAsleep(ctx, m)
	case *WokeUp:
		p.drop(m.PID.Id)
	case *messages.PulseTimeout:
		p.onPulseTimeout(ctx, m)
	case *MemberStarted:
		p.members[m.PID.Id] = m.PID
	case *MemberStopped:
		p.onMemberStopped(m)
	}
}

func (p *pulse) onSendBeat(ctx actor.Context, m *SendBeat) {
	b := &messages.Beat{Member: m.To.Id}
	switch beat := m.Message.(type) {
	case *messages.Heartbeat:
		b.Beat = &messages.Beat_Heartbeat{Heartbeat: beat}
	case *messages.HeartbeatAcked:
		b.Beat = &messages.Beat_Acked{Acked: beat}
	}
	size := proto.Size(b)
	p.makeRoom(ctx, m.To.Address, size)
	out := p.to(m.To.Address)
	out.Beats = append(out.Beats, b)
	p.bytes[m.To.Address] += size
}

// to is what is gathered for a node.
func (p *pulse) to(address string) *messages.Beats {
	out := p.out[address]
	if out == nil {
		out = &messages.Beats{Life: p.life}
		p.out[address] = out
		p.order = append(p.order, address)
	}
	return out
}

// makeRoom sends what is gathered for a node where so much more would be too much.
func (p *pulse) makeRoom(ctx actor.Context, address string, size int) {
	if p.bytes[address]+size > beatsBytesMax {
		p.flush(ctx, address)
	}
}

func (p *pulse) flush(ctx actor.Context, address string) {
	if out := p.out[address]; out != nil {
		ctx.Request(actor.NewPID(address, PulseName), out)
		p.out[address], p.bytes[address] = nil, 0
	}
}

// onBeats gives each member its own. Members have the same name on every node, so who
// sent it is known by that and the node.
func (p *pulse) onBeats(ctx actor.Context, m *messages.Beats, sender *actor.PID) {
	if sender == nil {
		return
	}
	p.hear(ctx, sender.Address, m)
	for _, b := range m.Beats {
		member := p.members[b.GetMember()]
		if member == nil {
			continue // none here, or of another incarnation
		}
		from := actor.NewPID(sender.Address, b.Member)
		switch beat := b.Beat.(type) {
		case *messages.Beat_Heartbeat:
			ctx.RequestWithCustomSender(member, beat.Heartbeat, from)
		case *messages.Beat_Acked:
			ctx.RequestWithCustomSender(member, beat.Acked, from)
		}
	}
}

func (p *pulse) onMemberStopped(m *MemberStopped) {
	if known := p.members[m.PID.Id]; known != nil && known.Equal(m.PID) {
		delete(p.members, m.PID.Id)
		p.drop(m.PID.Id)
	}
}

func (p *pulse) endTurn(ctx actor.Context) {
	for _, address := range p.order {
		p.flush(ctx, address)
		delete(p.out, address)
		delete(p.bytes, address)
	}
	p.order = p.order[:0]
}

func (p *pulse) stopping(actor.Context) { p.rest.tick.cancel() }

// crashed loses what was to be said, which leaders say again, and who sleeps.
func (p *pulse) crashed(ctx actor.Context, reason any, stack []byte) {
	p.logger.Error("pulse crashed, going on", "panic", reason, "stack", string(stack))
	clear(p.out)
	clear(p.bytes)
	p.order = p.order[:0]
	p.rouseEverybody(ctx)
}

// post sends what say has found to be sayable. Beats go by way of the Pulse, unless they
// are waited for.
func (r *raft) post(ctx actor.Context, to *actor.PID, message any, ask bool) {
	if r.links.Pulse != nil && to.Address != ctx.Self().Address {
		prompt := true
		switch m := message.(type) {
		case *messages.Heartbeat:
			prompt = m.Prompt
		case *messages.HeartbeatAcked:
			prompt = m.Prompt
		}
		if !prompt {
			ctx.Send(r.links.Pulse, &SendBeat{To: to, Message: message})
			return
		}
	}
	if ask {
		ctx.Request(to, message)
	} else {
		ctx.Send(to, message)
	}
}

// untilBeat is how long a leader waits for its next heartbeat. Those of a node beat
// together, at multiples of the interval, so that what they say goes in one message.
func (r *raft) untilBeat() time.Duration {
	every := r.opts.HeartbeatInterval
	if r.links.Pulse == nil {
		return every
	}
	wait := every - r.now%every
	if wait < every/2 { // this one came late
		wait += every
	}
	return wait
}
