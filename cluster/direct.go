package cluster

import (
	"context"
	"errors"
	"io"
	"net"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/protoraft/protoraft/cluster/link"
)

// Direct links (package link) stand between the gate and the remote: what a link
// carries goes by it while it is up, the rest by the remote. They share the remote's
// port, its guard's rules and its address book.

func (e *remoteEndpoint) startDirect(o remoteOptions) (err error) {
	if o.Silence == 0 {
		return nil
	}
	d := &direct{guard: e.guard, system: e.system}
	e.direct, err = link.New(link.Options{
		Introduce: d.introduce, Admit: d.admit, Malformed: d.malformed,
		Panicked: func() { e.guard.counts[handlerPanicked].Add(1) },
		Silence:  o.Silence, ConnectTimeout: o.ConnectTimeout, HandshakeTimeout: helloTimeout,
		Logger: o.Logger.Named("link"),
	})
	return err
}

func (e *remoteEndpoint) closeDirect() {
	if e.direct != nil {
		e.direct.Close()
	}
}

func (e *remoteEndpoint) flushDirect() {
	if e.direct != nil {
		ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
		defer cancel()
		e.direct.Flush(ctx)
	}
}

// portOptions make the port serve links, too.
func (e *remoteEndpoint) portOptions() []grpc.ServerOption {
	if e.direct == nil {
		return nil
	}
	return []grpc.ServerOption{grpc.Creds(&sharedPort{TransportCredentials: insecure.NewCredentials(), links: e.direct})}
}

// sharedPort looks at the first byte of each connection and gives links what is
// theirs. gRPC hands over every connection in a goroutine of its own, with a deadline.
type sharedPort struct {
	credentials.TransportCredentials // of what is gRPC's
	links                            *link.Links
}

func (p *sharedPort) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, isLink, err := p.links.Peek(conn)
	switch {
	case err != nil:
		return nil, nil, io.EOF // nobody to tell
	case !isLink:
		return p.TransportCredentials.ServerHandshake(conn)
	}
	p.links.Serve(conn)
	return nil, nil, credentials.ErrConnDispatched
}

func (p *sharedPort) Clone() credentials.TransportCredentials {
	return &sharedPort{TransportCredentials: p.TransportCredentials.Clone(), links: p.links}
}

// sendDirect gives a message to the link to its node. Headers, which nothing here uses,
// are the remote's to carry.
func (p *gated) sendDirect(pid *actor.PID, message any) bool {
	peer := p.directPeer(pid.Address)
	if peer == nil {
		return false
	}
	header, message, sender := actor.UnwrapEnvelope(message)
	if header != nil && header.Length() > 0 {
		return false
	}
	if sender != nil && sender.Address != p.endpoint.address {
		return false // the remote names what is wrong with it
	}
	return peer.Send(pid, sender, message)
}

// directPeer is nil without links, and for clients: they come and go, each with an
// address of its own. Who is none may be listed as a member one day.
func (p *gated) directPeer(address string) *link.Peer {
	peer := p.direct.Load()
	if peer == nil && p.endpoint.direct != nil && p.endpoint.guard.rules.Load().ids[address] != "" {
		peer = p.endpoint.direct.Peer(address)
		p.direct.Store(peer)
	}
	return peer
}

// LinkStatus is what a node knows of its direct link to another.
type LinkStatus struct {
	Node    string // its id, empty when it is not listed any more
	Address string
	Up      bool
	Why     string // it is not up; empty where it was not tried yet
	Opened  uint64 // how often
	Sent    uint64 // messages that went by it, or were to
	Dropped uint64 // because its queue was full, or they were too large
}

// Links tells of the direct link to each node that something was sent to, by address;
// nil with Options.NoDirectLinks. What does not go by a link goes by the remote.
func (n *Node) Links() []LinkStatus {
	if n.remote.direct == nil {
		return nil
	}
	ids := n.remote.guard.rules.Load().ids
	all := []LinkStatus{}
	for _, s := range n.remote.direct.Status() {
		all = append(all, LinkStatus{
			Node: ids[s.Address], Address: s.Address, Up: s.Up, Why: s.Why,
			Opened: s.Links, Sent: s.Sent, Dropped: s.Dropped,
		})
	}
	return all
}

// direct judges what comes by links, as the guard does what comes by the remote.
type direct struct {
	guard  *guard
	system *actor.ActorSystem
}

func (d *direct) introduce(address string) link.Hello {
	g := d.guard
	return link.Hello{
		Version: protocolVersion, Minimum: protocolMinimum, Cluster: g.cluster, Node: g.node, Address: g.address,
		ToNode: g.rules.Load().ids[address], ToAddress: address,
	}
}

func (d *direct) admit(c link.Caller) (link.Visitor, error) {
	from, err := d.identify(c)
	if err != nil {
		return nil, d.refused(caller{}, c.At, err)
	}
	return &visitor{direct: d, from: from, at: c.At, targets: map[string]*actorName{}, senders: map[string]*actor.PID{}}, nil
}

func (d *direct) identify(c link.Caller) (caller, error) {
	from := caller{node: c.Node, address: c.Address}
	if err := checkVersions(c.Version, c.Minimum, from); err != nil {
		return caller{}, err
	}
	from, err := d.guard.judge(from, c.Cluster, c.ToNode, c.ToAddress)
	if err == nil && from.role != peerRole {
		err = refuse(refusedIdentity, "unknown member: %.64q at %.64s is not in the cluster, and only members have direct links", c.Node, c.Address)
	}
	return from, err
}

func (d *direct) malformed(c link.Caller, err error) error {
	return d.refused(caller{node: c.Node}, c.At, refuse(refusedPayload, "direct link: %v", err))
}

func (d *direct) refused(from caller, at net.Addr, err error) error {
	var r *refusal
	if errors.As(err, &r) {
		d.guard.note(r, from, at)
	}
	return err
}

// visitor takes the messages of one link.
type visitor struct {
	*direct
	from  caller
	at    net.Addr
	rules *rules // that what follows was judged by

	types   map[link.Kind]class
	targets map[string]*actorName
	senders map[string]*actor.PID
}

// actorName is an actor here, and what it may be sent.
type actorName struct {
	pid   *actor.PID
	class class
}

// namesMax bounds what a visitor remembers; Replicators come and go.
const namesMax = 1024

func (v *visitor) Take(kind link.Kind, target, sender []byte, message any) error {
	if r := v.guard.rules.Load(); r != v.rules {
		if err := r.stillThere(v.from); err != nil {
			return v.refused(v.from, v.at, err)
		}
		v.learn(r)
	}
	to := v.target(target)
	what := v.types[kind]
	switch {
	case what&v.from.allowed() == 0:
		return v.refuse(refusedType, "message of kind %d is not accepted from %v", kind, v.from)
	case to.class == 0:
		v.guard.counts[unrouted].Add(1)
		return nil
	case what&to.class == 0:
		return v.refuse(refusedTarget, "message of kind %d may not be sent to %s by %v", kind, show(to.pid), v.from)
	}
	if len(sender) > 0 {
		message = &actor.MessageEnvelope{Message: message, Sender: v.sender(sender)}
	}
	v.system.Root.Send(to.pid, message)
	return nil
}

// learn begins anew by other rules.
func (v *visitor) learn(r *rules) {
	v.rules = r
	v.types = map[link.Kind]class{}
	for kind, m := range link.Messages() {
		v.types[kind] = r.types[string(m.ProtoReflect().Descriptor().FullName())]
	}
	clear(v.targets)
}

func (v *visitor) target(id []byte) *actorName {
	if n := v.targets[string(id)]; n != nil {
		return n
	}
	if len(v.targets) >= namesMax {
		clear(v.targets)
	}
	name := string(id)
	n := &actorName{pid: actor.NewPID(v.guard.address, name), class: v.rules.classOf(name)}
	if n.class != 0 { // members come without a change of the rules: one that is not there yet may be the next time
		v.targets[name] = n
	}
	return n
}

// sender's PID is made once: it remembers the way back.
func (v *visitor) sender(id []byte) *actor.PID {
	if pid := v.senders[string(id)]; pid != nil {
		return pid
	}
	if len(v.senders) >= namesMax {
		clear(v.senders)
	}
	name := string(id)
	pid := actor.NewPID(v.from.address, name)
	v.senders[name] = pid
	return pid
}

func (v *visitor) refuse(r reason, format string, args ...any) error {
	return v.refused(v.from, v.at, refuse(r, format, args...))
}
