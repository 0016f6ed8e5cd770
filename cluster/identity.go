package cluster

import (
	"context"
	"fmt"
	"net"
	"strconv"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
)

// Every stream says, in its metadata, who opens it and whom it believes to be
// at the other end. Without that a node whose address was given to another
// cluster, or to another node, would feed it its own log.

// Versions of what is said on the wire. Two nodes understand each other when
// neither is below the other's minimum, so one release may speak the new version
// while the cluster still speaks the old one.
const (
	protocolVersion = 2 // heartbeats of all groups in one message, and sleep
	protocolMinimum = 2
)

// Keys end in -bin where the value is free text: gRPC carries those unchanged.
const (
	keyVersion   = "protoraft-version"
	keyMinimum   = "protoraft-minimum"
	keyCluster   = "protoraft-cluster-bin"
	keyNode      = "protoraft-node-bin"
	keyAddress   = "protoraft-address-bin"
	keyListed    = "protoraft-listed" // a listing, by which the caller is at keyAddress
	keyToNode    = "protoraft-to-node-bin"
	keyToAddress = "protoraft-to-address-bin"
)

type callerRole int

const (
	unknownRole callerRole = iota
	peerRole               // a member of the cluster
	clientRole             // a process that is none
)

// caller is who opened a stream.
type caller struct {
	role    callerRole
	node    string
	address string   // in the PIDs of its actors
	listed  *listing // nil where no configuration of its own has it there
}

func (c caller) String() string {
	switch c.role {
	case peerRole:
		return fmt.Sprintf("member %q at %s", c.node, c.address)
	case clientRole:
		return fmt.Sprintf("client %.64q at %.64s", c.node, c.address)
	default:
		return "unknown"
	}
}

func (c caller) allowed() class {
	if c.role == peerRole {
		return fromPeer
	}
	return fromClient
}

// introduce adds this node's identity to a stream it opens to address.
func (g *guard) introduce(ctx context.Context, address string) context.Context {
	return metadata.AppendToOutgoingContext(ctx,
		keyVersion, strconv.Itoa(protocolVersion),
		keyMinimum, strconv.Itoa(protocolMinimum),
		keyCluster, g.cluster,
		keyNode, g.node,
		keyAddress, g.address,
		keyListed, g.listed.Load().String(),
		keyToNode, g.rules.Load().ids[address],
		keyToAddress, address,
	)
}

// identify reads who opened a stream and refuses who should not have.
func (g *guard) identify(ctx context.Context) (caller, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	one := func(key string) string {
		if v := md.Get(key); len(v) == 1 {
			return v[0]
		}
		return ""
	}
	c := caller{node: one(keyNode), address: one(keyAddress), listed: parseListing(one(keyListed))}
	if err := checkVersion(one(keyVersion), one(keyMinimum), c); err != nil {
		return caller{}, err
	}
	return g.judge(c, one(keyCluster), one(keyToNode), one(keyToAddress))
}

// judge refuses whoever is of another cluster, looks for somebody else, or is not who
// it says.
func (g *guard) judge(c caller, cluster, toNode, toAddress string) (caller, error) {
	if cluster != g.cluster {
		return caller{}, refuse(refusedIdentity, "wrong cluster: %.64q at %.64s is of cluster %.64q, this is node %q of cluster %q", c.node, c.address, cluster, g.node, g.cluster)
	}
	if err := g.checkAddressee(toNode, toAddress, c); err != nil {
		return caller{}, err
	}
	return g.assignRole(c)
}

func checkVersion(version, minimum string, c caller) error {
	v, err1 := strconv.Atoi(version)
	lowest, err2 := strconv.Atoi(minimum)
	if err1 != nil || err2 != nil {
		c = caller{} // it has none
	}
	return checkVersions(v, lowest, c)
}

func checkVersions(v, lowest int, c caller) error {
	switch {
	case c.node == "" || c.address == "":
		return refuse(refusedIdentity, "no identity in the stream: expected a node of this cluster, or its client")
	case lowest > protocolVersion:
		return refuse(refusedProtocol, "newer protocol: %.64q speaks version %d down to %d, this node up to %d: upgrade this node first", c.node, v, lowest, protocolVersion)
	case v < protocolMinimum:
		return refuse(refusedProtocol, "older protocol: %.64q speaks version %d, this node %d down to %d: upgrade that node", c.node, v, protocolVersion, protocolMinimum)
	}
	return nil
}

// checkAddressee refuses who looks for somebody else: an address that passed from
// one node to another, or an alias of this node's address, whose PIDs would never
// be taken for local.
func (g *guard) checkAddressee(node, address string, c caller) error {
	me := g.rules.Load().ids[g.address] // empty in a client's process
	if node != me {
		return refuse(refusedIdentity, "wrong node: %.64q looks for node %.64q at %.64s, where node %q of cluster %q is", c.node, node, address, g.node, g.cluster)
	}
	if address != g.address {
		return refuse(refusedIdentity, "wrong address: %.64q calls node %q %.64s, its PIDs say %s: use that address everywhere", c.node, g.node, address, g.address)
	}
	return nil
}

// assignRole takes who is listed for a peer, and everybody else for a client.
func (g *guard) assignRole(c caller) (caller, error) {
	r := g.rules.Load()
	listed, isMember := r.members[c.node]
	switch {
	case isMember && c.node == g.node:
		return caller{}, refuse(refusedIdentity, "wrong node: a stream from %s says it is %q, which is this node", c.address, c.node)
	case isMember && r.ids[c.address] != c.node && (c.address == g.address || !g.isCurrent(c.node, c.address, c.listed)):
		return caller{}, refuse(refusedIdentity, "wrong address: member %q is listed at %s, a stream of that name came from %.64s: if it has moved, have the members changed", c.node, listed, c.address)
	case isMember:
		g.heardAt(c.node, c.address)
		c.role = peerRole
		return c, nil
	case r.ids[c.address] != "":
		return caller{}, refuse(refusedIdentity, "unknown member: %.64q is not in the cluster, and %s is the address of %q", c.node, c.address, r.ids[c.address])
	case c.address == g.address || len(c.node) > idBytesMax || len(c.address) > idBytesMax:
		return caller{}, refuse(refusedIdentity, "client %.64q says it is at %.64s: not an address of its own", c.node, c.address)
	case !g.insecure && !isLoopback(c.address):
		return caller{}, refuse(refusedIdentity, "client %.64q says it is at %.64s: without TLS clients must be on loopback, unless the node is set to be insecure", c.node, c.address)
	}
	c.role = clientRole
	return c, nil
}

// isLoopback tells whether address, a host:port, can only be this machine.
func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// peerOf is where the stream's connection really comes from.
func peerOf(ctx context.Context) net.Addr {
	if p, ok := peer.FromContext(ctx); ok {
		return p.Addr
	}
	return nil
}
