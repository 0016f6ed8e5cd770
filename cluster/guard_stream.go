package cluster

import (
	"context"
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/remote"
	"google.golang.org/grpc"
)

const (
	// A stream that does not introduce itself in this time is closed.
	helloTimeout = 5 * time.Second

	// Streams open at a time, of peers and clients together.
	streamsMax = 1024

	// Bounds on one batch; a batch of ours is far below (remote.go).
	batchMessagesMax = 4096
	batchHeadersMax  = 64

	// The longest actor id, node id or address.
	idBytesMax = 512
)

// guardedStream is a stream as Proto.Actor's reader sees it: only what passed.
//
// Payloads are not decoded here. The reader does that once and, when one does not
// decode, ends the stream with an error that settle reports; looking first would
// decode every message twice.
type guardedStream struct {
	grpc.ServerStream
	guard *guard
	from  caller
	hello *remote.RemoteMessage // read already, nil once passed on

	rules          *rules  // that the caller was judged by last
	types, targets []class // of the batch in hand; kept for their room
}

// awaitHello reads the first message, which must say who is there, as the stream's
// metadata did.
func (g *guard) awaitHello(ss grpc.ServerStream, from caller) (*remote.RemoteMessage, error) {
	hello := new(remote.RemoteMessage)
	read := make(chan error, 1)
	go func() { read <- ss.RecvMsg(hello) }() // ends with the stream at the latest
	timer := time.NewTimer(helloTimeout)
	defer timer.Stop()
	select {
	case err := <-read:
		if err != nil {
			return nil, err
		}
	case <-timer.C:
		return nil, refuse(refusedHello, "no hello within %v", helloTimeout)
	}
	server := hello.GetConnectRequest().GetServerConnection()
	if server == nil {
		return nil, refuse(refusedHello, "the stream began with %s, expected a hello", nameOf(hello))
	}
	if server.Address != from.address {
		return nil, refuse(refusedHello, "the hello says %.64q, the stream %q", server.Address, from.address)
	}
	return hello, nil
}

func nameOf(m *remote.RemoteMessage) string {
	if m.MessageType == nil {
		return "an empty message"
	}
	return fmt.Sprintf("%T", m.MessageType)
}

// RecvMsg passes the hello, then batches that were checked.
func (s *guardedStream) RecvMsg(m any) error {
	rm, ok := m.(*remote.RemoteMessage)
	if !ok {
		return refuse(refusedUnary, "only the stream of messages is served")
	}
	if s.hello != nil {
		rm.MessageType, s.hello = s.hello.MessageType, nil
		return nil
	}
	if err := s.ServerStream.RecvMsg(rm); err != nil {
		return err
	}
	batch := rm.GetMessageBatch()
	if batch == nil {
		return refuse(refusedHello, "unexpected %s after the hello, expected a batch of messages", nameOf(rm))
	}
	return s.check(batch)
}

// check refuses the batch or takes out of it what has nowhere to go.
func (s *guardedStream) check(b *remote.MessageBatch) error {
	r := s.guard.rules.Load()
	if r != s.rules {
		if err := r.stillThere(s.from); err != nil {
			return err
		}
		s.rules = r
	}
	if n := max(len(b.Envelopes), len(b.TypeNames), len(b.Targets), len(b.Senders)); n > batchMessagesMax {
		return refuse(refusedEnvelope, "batch of %d, at most %d are accepted", n, batchMessagesMax)
	}
	if err := s.checkTypes(r, b.TypeNames); err != nil {
		return err
	}
	if err := s.checkTargets(r, b.Targets); err != nil {
		return err
	}
	for _, p := range b.Senders {
		if p == nil || p.Address != s.from.address || len(p.Id) > idBytesMax {
			return refuse(refusedSender, "message in the name of %s, the stream speaks for %s", show(p), s.from.address)
		}
	}
	passed := b.Envelopes[:0]
	for _, e := range b.Envelopes {
		ok, err := s.checkEnvelope(b, e)
		if err != nil {
			return err
		}
		if ok {
			passed = append(passed, e)
		}
	}
	b.Envelopes = passed
	return nil
}

func (s *guardedStream) checkTypes(r *rules, names []string) error {
	s.types = s.types[:0]
	for _, name := range names {
		c := r.types[name]
		if c&s.from.allowed() == 0 {
			return refuse(refusedType, "message type %.64q is not accepted from %v", name, s.from)
		}
		s.types = append(s.types, c)
	}
	return nil
}

func (s *guardedStream) checkTargets(r *rules, targets []*actor.PID) error {
	s.targets = s.targets[:0]
	for _, p := range targets {
		if p == nil || p.Address != s.guard.address || len(p.Id) > idBytesMax {
			return refuse(refusedTarget, "message to %s, this node takes only its own at %s", show(p), s.guard.address)
		}
		s.targets = append(s.targets, r.classOf(p.Id))
	}
	return nil
}

// checkEnvelope tells whether to pass the message on. An actor that is not listed
// may be a member not yet spawned here, or just stopped: a peer's message to it is
// dropped like any that comes too early or too late, or one group's absence would
// cut the stream that all groups share.
func (s *guardedStream) checkEnvelope(b *remote.MessageBatch, e *remote.MessageEnvelope) (bool, error) {
	switch {
	case e == nil:
		return false, refuse(refusedEnvelope, "empty envelope")
	case e.TypeId < 0 || int(e.TypeId) >= len(b.TypeNames):
		return false, refuse(refusedEnvelope, "message type %d of %d", e.TypeId, len(b.TypeNames))
	case e.Target < 0 || int(e.Target) >= len(b.Targets):
		return false, refuse(refusedEnvelope, "target %d of %d", e.Target, len(b.Targets))
	case e.Sender < 0 || int(e.Sender) > len(b.Senders):
		return false, refuse(refusedEnvelope, "sender %d of %d", e.Sender, len(b.Senders))
	case e.SerializerId != 0:
		return false, refuse(refusedEnvelope, "serializer %d, only protobuf (0) is accepted", e.SerializerId)
	case e.TargetRequestId != 0 || e.SenderRequestId != 0:
		return false, refuse(refusedEnvelope, "request ids %d and %d, none are in use", e.TargetRequestId, e.SenderRequestId)
	case len(e.GetMessageHeader().GetHeaderData()) > batchHeadersMax:
		return false, refuse(refusedEnvelope, "%d headers, at most %d are accepted", len(e.MessageHeader.HeaderData), batchHeadersMax)
	}
	kind, target := s.types[e.TypeId], s.targets[e.Target]
	if target == 0 && s.from.role == peerRole {
		s.guard.counts[unrouted].Add(1)
		return false, nil
	}
	if kind&target == 0 {
		return false, refuse(refusedTarget, "%s may not be sent to %s by %v", b.TypeNames[e.TypeId], show(b.Targets[e.Target]), s.from)
	}
	return true, nil
}

func show(p *actor.PID) string {
	return fmt.Sprintf("%.64q at %.64q", p.GetId(), p.GetAddress())
}

// refuseUnary is the server's interceptor of everything that is no stream:
// Proto.Actor's handlers of those calls panic.
func (g *guard) refuseUnary(ctx context.Context, _ any, info *grpc.UnaryServerInfo, _ grpc.UnaryHandler) (any, error) {
	r := refuse(refusedUnary, "%s is not served", info.FullMethod).(*refusal)
	g.note(r, caller{}, peerOf(ctx))
	return nil, r
}
