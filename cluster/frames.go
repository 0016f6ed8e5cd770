package cluster

import (
	"github.com/asynkron/protoactor-go/remote"
	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/messages"
)

// How much goes into one frame.
//
// Proto.Actor's writer takes up to writerBatch messages and sends them as one
// frame; a frame above the receiver's limit ends the stream and loses all of them,
// silently. With 64 blocks of 1 MiB queued for one peer, a frame would be 64 MiB.
// So a link cuts the writer's batch into frames: messages up to frameMessageBytes
// together, and at least one. The largest legal message is an AppendEntries with
// a block of messages.MaxBlockBytes (4 MiB), whose other fields are below 64 KiB:
//
//	messageBytesMax    4 MiB + 64 KiB   one message; a larger one is dropped here
//	+ frameMessageBytes        1 MiB    what may stand beside it, or instead of it
//	+ tables                 192 KiB    64 × (type, target, sender), each ≤ 1 KiB
//	≤ frameBytesMax            6 MiB    the receiver's limit
//
// The writer holds one batch of encoded copies: 64 MiB at worst for 1 MiB blocks,
// less where the Replicators' windows (≤ 4 MiB in flight each) are smaller. Frames
// of about 1 MiB let the receiver's actors begin before the rest has come.
const (
	writerBatch       = 64
	messageBytesMax   = messages.MaxBlockBytes + 64<<10
	frameMessageBytes = 1 << 20
	frameBytesMax     = 6 << 20

	// More than an envelope's fields but its data and headers take.
	envelopeBytes = 64
)

// flushTarget marks the last message to a peer before this node stops. It never
// reaches the wire.
const flushTarget = "$protoraft-flush"

// outgoing is what of the writer's batch goes on the wire, in frames. What the
// other end would refuse, ending the stream for everyone, is left out: messages
// too large, of types not listed (Proto.Actor answers a dead letter's sender with
// one, and stops remote actors with another), and in the name of an actor that is
// not at this node's address (one spawned before the remote was started).
// last tells that nothing more may be sent.
func (g *guard) outgoing(b *remote.MessageBatch) (frames []*remote.MessageBatch, last bool) {
	b, last = g.sendable(b)
	size, from := 0, 0
	for i, e := range b.Envelopes {
		n := sizeOf(e)
		if size > 0 && size+n > frameMessageBytes {
			frames = append(frames, cut(b, from, i))
			size, from = 0, i
		}
		size += n
	}
	if from < len(b.Envelopes) {
		frames = append(frames, cut(b, from, len(b.Envelopes)))
	}
	return frames, last
}

func cut(b *remote.MessageBatch, from, to int) *remote.MessageBatch {
	if from == 0 && to == len(b.Envelopes) {
		return b
	}
	// The tables are shared by all frames of a batch; indices stay as they are.
	return &remote.MessageBatch{TypeNames: b.TypeNames, Targets: b.Targets, Senders: b.Senders, Envelopes: b.Envelopes[from:to]}
}

func sizeOf(e *remote.MessageEnvelope) int {
	n := len(e.MessageData) + envelopeBytes
	if e.MessageHeader != nil {
		n += proto.Size(e.MessageHeader)
	}
	return n
}

// sendable returns b itself when all of it may go, which is nearly always.
func (g *guard) sendable(b *remote.MessageBatch) (_ *remote.MessageBatch, last bool) {
	r := g.rules.Load()
	clean := true
	for _, name := range b.TypeNames {
		clean = clean && r.types[name] != 0
	}
	for _, p := range b.Targets {
		clean = clean && len(p.Id) <= idBytesMax && p.Id != flushTarget
	}
	for _, p := range b.Senders {
		clean = clean && len(p.Id) <= idBytesMax && p.Address == g.address
	}
	for _, e := range b.Envelopes {
		clean = clean && sizeOf(e) <= messageBytesMax
	}
	if clean {
		return b, false
	}
	return g.filter(r, b)
}

// filter makes a batch of what may go, with tables of its own.
func (g *guard) filter(r *rules, b *remote.MessageBatch) (*remote.MessageBatch, bool) {
	out := &remote.MessageBatch{}
	types, targets, senders := map[int32]int32{}, map[int32]int32{}, map[int32]int32{}
	for _, e := range b.Envelopes {
		name, target := b.TypeNames[e.TypeId], b.Targets[e.Target]
		if target.Id == flushTarget {
			return out, true
		}
		fault := ""
		switch {
		case r.types[name] == 0:
			fault = "its type is not allowed on the wire"
		case sizeOf(e) > messageBytesMax:
			fault = "it is too large"
		case len(target.Id) > idBytesMax:
			fault = "its target's id is too long"
		case e.Sender > 0 && b.Senders[e.Sender-1].Address != g.address:
			fault = "its sender is not at this node's address: an actor spawned before the remote was started"
		case e.Sender > 0 && len(b.Senders[e.Sender-1].Id) > idBytesMax:
			fault = "its sender's id is too long"
		}
		if fault != "" {
			g.noteUnsent(name, target.Address, target.Id, len(e.MessageData), fault)
			continue
		}
		c := &remote.MessageEnvelope{MessageData: e.MessageData, MessageHeader: e.MessageHeader}
		c.TypeId = place(types, e.TypeId, name, &out.TypeNames)
		c.Target = place(targets, e.Target, target, &out.Targets)
		if e.Sender > 0 {
			c.Sender = 1 + place(senders, e.Sender, b.Senders[e.Sender-1], &out.Senders)
		}
		out.Envelopes = append(out.Envelopes, c)
	}
	return out, false
}

// place is where entry old of one table stands in another, added there if need be.
func place[T any](moved map[int32]int32, old int32, entry T, table *[]T) int32 {
	at, ok := moved[old]
	if !ok {
		at = int32(len(*table))
		moved[old] = at
		*table = append(*table, entry)
	}
	return at
}

// noteUnsent counts a message left out. Answers to dead letters are left out all
// day long; everything else is somebody's mistake.
func (g *guard) noteUnsent(name, address, target string, bytes int, fault string) {
	g.counts[unsent].Add(1)
	if name == deadLetterAnswer {
		return
	}
	if n, ok := g.logs[unsent].allow(refusalLogInterval); ok {
		g.logger.Warn("message not sent", "why", fault, "type", name, "target", target, "address", address, "bytes", bytes, "like_it_before", n)
	}
}

const deadLetterAnswer = "actor.DeadLetterResponse"
