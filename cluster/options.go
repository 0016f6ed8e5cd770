package cluster

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/protoraft/protoraft/actors"
	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/logstore/engine"
	"github.com/protoraft/protoraft/messages"
)

// Member is a node of the cluster. ID is its name for ever; Address is the
// host:port the other nodes reach it at.
type Member struct {
	ID      string
	Address string

	// Priority says who stands for election first: each election timeout without a
	// leader lets the next lower priority stand, and a hand-over to the best member goes
	// to the highest that keeps up. One below 0 leads only when nobody else has managed to
	// (what is committed may be on no other live node), and hands over as soon as
	// somebody has caught up. It is set when a group begins; the same on every node. It
	// has 32 bits.
	Priority int

	// Witness makes the node's members witnesses: they vote and count for what is
	// committed, hold the end of the log, and have no state. A group has one at most, and
	// two voters with state beside it. It is set when a group begins or the member is
	// added, the same on every node, and never changes.
	Witness bool
}

// Options of a node. ID, Members and DataDir are needed; the rest has defaults.
type Options struct {
	// ID is this node's name, one of Members'.
	ID string

	// Members are the nodes a new group begins with, the same list on every node, and
	// when all of them are up: only so one that comes back without its disk can be told
	// from a new one. A group that has a log goes by what its log says.
	Members []Member

	// Join starts a node that is to be added to a running cluster. Members are then the
	// cluster's present nodes and this one, and ClusterID is the cluster's. The node's
	// groups wait, without a log, until AddMember or the like makes it a member. So does
	// a node start whose disk was lost, where its cluster has grown from that one node.
	Join bool

	// Address is where the other nodes reach this one when it has moved: Members stay as
	// the cluster has begun with them, and so does what is derived from them. Empty: this
	// node's address in Members. See Client.MoveMember.
	Address string

	// DataDir holds this node's logs. It is made if it does not exist, locked while
	// the node runs, and refused when it belongs to another node or cluster.
	DataDir string

	// LogEngine is what keeps the log: "goleveldb" or "journal". One that is there and is
	// kept by the other is refused with ErrLogEngine; ConvertLog converts it. Default:
	// whichever keeps the log that is there, journal for a new one.
	LogEngine string

	// ClusterID names the cluster; nodes of different clusters refuse each other.
	// Default: derived from Members.
	ClusterID string

	// Listen is the host:port to bind where that is not this node's address (a
	// container, say).
	Listen string

	// Insecure allows addresses beyond loopback. Traffic is then readable, and
	// whoever reaches the port can pass for a node.
	Insecure bool

	// NoDirectLinks has everything between nodes go by Proto.Actor's remote, in both
	// directions. Else Raft's own messages go by direct links, on the same port, to each
	// node that has them too.
	NoDirectLinks bool

	// ElectionTimeout is the least time without a leader before a member stands for
	// election; each wait is drawn from [ElectionTimeout, 2×ElectionTimeout).
	// Default 1 s.
	ElectionTimeout time.Duration

	// HeartbeatInterval is how often leaders show themselves, at most a third of
	// ElectionTimeout. Default a tenth of it.
	HeartbeatInterval time.Duration

	// ClockDrift is the most by which the rate of any node's clock may differ from true
	// time, as a fraction of it. Reads by lease rest on it and on nothing else; the same
	// on every node. Default 0.05 (5 %; a crystal is some thousand times better, a
	// virtual machine's clock that is being corrected may come near). Below 0: no
	// leases, Lease reads are then Linearizable ones.
	ClockDrift float64

	// SleepAfter is how long there is nothing to do in a group before it sleeps: it sends
	// nothing then and has no timers, and wakes, without an election, when somebody needs
	// it. The same on every node. Default ten election timeouts; negative for never.
	SleepAfter time.Duration

	// BalanceEvery is how often this node, where it leads more groups than another node does
	// that has a member of one, hands one of them over. Default 0: never.
	BalanceEvery time.Duration

	// RequestTimeout is how long Propose and Query wait for their outcome. A command of
	// unknown outcome is sent again for up to as long once more, but with NoSessions.
	// Default 5 s.
	RequestTimeout time.Duration

	// NoSessions has the commands of the node's Client belong to no session: one of
	// unknown outcome is not sent again.
	NoSessions bool

	// SnapshotEntries has a member take a snapshot after so many entries were applied,
	// SnapshotBytes after so many bytes of log, SnapshotInterval after that time where
	// anything was applied at all; negative for never. A member's first one after its
	// start comes at a random point of each. Behind a snapshot the log is cut.
	// Default 100,000 entries, 256 MiB and an hour.
	SnapshotEntries  int
	SnapshotBytes    int
	SnapshotInterval time.Duration

	// KeepEntries is how many entries before a snapshot stay in the log: a follower
	// that lags by no more is sent entries, not a snapshot. Negative for none.
	// Default 10,000.
	KeepEntries int

	// TransferBytesPerSecond bounds the sending of a snapshot to one member, so that it
	// leaves disks and links to the writes that go on meanwhile. Negative for as fast as
	// the member takes it. Default 16 MiB.
	TransferBytesPerSecond int

	// CatchUpTimeout is how long a change of members waits for a new voter that does
	// not advance, in the log or in a snapshot that it is sent, before it is rolled back.
	// Default ten election timeouts.
	CatchUpTimeout time.Duration

	// Machines make the machines of groups that are made at run time, by kind: see
	// CreateGroup. A node starts only with all the kinds that its groups have.
	Machines map[string]MachineFactory

	// Logger hears what happens. Default: none.
	Logger hclog.Logger
}

const (
	defaultElectionTimeout = time.Second
	defaultRequestTimeout  = 5 * time.Second
	heartbeatsPerTimeout   = 10
	defaultClockDrift      = 0.05
	timeoutsBeforeSleep    = 10

	defaultSnapshotEntries        = 100_000
	defaultSnapshotBytes          = 256 << 20
	defaultSnapshotInterval       = time.Hour
	defaultKeepEntries            = 10_000
	defaultTransferBytesPerSecond = 16 << 20
)

// MaxCommandBytes is the largest command Propose takes.
const MaxCommandBytes = 1 << 20

// MaxSessionIDBytes is the longest id StartProposeOnce takes.
const MaxSessionIDBytes = messages.MaxNameBytes

// waitingMax and waitingBytesMax bound the operations that wait in a process for a
// leader elsewhere.
const (
	waitingMax      = 1 << 16
	waitingBytesMax = 64 << 20
)

func (o *Options) fill() error {
	if o.ID == "" {
		return fmt.Errorf("cluster: Options.ID is empty, expected one of the members' ids")
	}
	if err := checkMembers(o.Members); err != nil {
		return err
	}
	if addressBook(o.Members)[o.ID] == "" {
		return fmt.Errorf("cluster: Options.ID %q is not among the members %s", o.ID, memberList(o.Members))
	}
	if err := CheckMember(Member{ID: o.ID, Address: o.address()}); err != nil {
		return fmt.Errorf("cluster: Options.Address: %w", err)
	}
	if o.DataDir == "" {
		return fmt.Errorf("cluster: Options.DataDir is empty, expected a directory for this node alone")
	}
	if err := engine.Check(o.LogEngine); err != nil {
		return fmt.Errorf("cluster: Options.LogEngine: %w", err)
	}
	if o.ElectionTimeout == 0 {
		o.ElectionTimeout = defaultElectionTimeout
	}
	if o.HeartbeatInterval == 0 {
		o.HeartbeatInterval = o.ElectionTimeout / heartbeatsPerTimeout
	}
	if o.HeartbeatInterval <= 0 || o.ElectionTimeout < 3*o.HeartbeatInterval {
		return fmt.Errorf("cluster: Options.ElectionTimeout %v, HeartbeatInterval %v: expected an election timeout of at least three heartbeats", o.ElectionTimeout, o.HeartbeatInterval)
	}
	switch {
	case o.ClockDrift == 0:
		o.ClockDrift = defaultClockDrift
	case o.ClockDrift < 0:
		o.ClockDrift = 0
	case o.ClockDrift >= 0.5:
		return fmt.Errorf("cluster: Options.ClockDrift %v, expected a fraction below 0.5", o.ClockDrift)
	}
	if o.SleepAfter == 0 {
		o.SleepAfter = timeoutsBeforeSleep * o.ElectionTimeout
	}
	o.SleepAfter = max(o.SleepAfter, 0)
	if o.BalanceEvery < 0 {
		return fmt.Errorf("cluster: Options.BalanceEvery %v, expected 0 for never, or more", o.BalanceEvery)
	}
	if o.RequestTimeout == 0 {
		o.RequestTimeout = defaultRequestTimeout
	}
	if o.RequestTimeout < 0 {
		return fmt.Errorf("cluster: Options.RequestTimeout %v, expected more than 0", o.RequestTimeout)
	}
	o.fillSnapshots()
	if o.CatchUpTimeout < 0 {
		return fmt.Errorf("cluster: Options.CatchUpTimeout %v, expected 0 for the default, or more", o.CatchUpTimeout)
	}
	if o.Join && o.ClusterID == "" {
		return fmt.Errorf("cluster: Options.Join without ClusterID, expected the id of the cluster to join, as its nodes tell it")
	}
	if o.Join && len(o.Members) == 1 {
		return fmt.Errorf("cluster: Options.Join with no members but %s itself, expected those of the cluster to join too", o.ID)
	}
	if err := core.CheckWitness(o.bootstrap().Members); err != nil {
		return fmt.Errorf("cluster: Options.Members: %w", err)
	}
	if o.ClusterID == "" {
		o.ClusterID = deriveClusterID(o.Members)
	}
	if o.Listen == "" {
		o.Listen = o.address()
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	return nil
}

// fillSnapshots puts defaults where there is 0, and 0 where there is less: to the
// members, 0 is never.
func (o *Options) fillSnapshots() {
	fill := func(v *int, otherwise int) {
		if *v == 0 {
			*v = otherwise
		}
		*v = max(*v, 0)
	}
	fill(&o.SnapshotEntries, defaultSnapshotEntries)
	fill(&o.SnapshotBytes, defaultSnapshotBytes)
	fill(&o.KeepEntries, defaultKeepEntries)
	fill(&o.TransferBytesPerSecond, defaultTransferBytesPerSecond)
	if o.SnapshotInterval == 0 {
		o.SnapshotInterval = defaultSnapshotInterval
	}
	o.SnapshotInterval = max(o.SnapshotInterval, 0)
}

// silence is how long a peer of a direct link may show no sign of life, 0 for no links.
func (o *Options) silence() time.Duration {
	if o.NoDirectLinks {
		return 0
	}
	return o.ElectionTimeout
}

func (o *Options) address() string {
	if o.Address != "" {
		return o.Address
	}
	return addressBook(o.Members)[o.ID]
}

// book is where the nodes are until a configuration says otherwise. Whoever was where this
// node is now has left that place.
func (o *Options) book() map[string]string {
	book := addressBook(o.Members)
	maps.DeleteFunc(book, func(_, address string) bool { return address == o.address() })
	book[o.ID] = o.address()
	return book
}

func checkMembers(members []Member) error {
	if len(members) == 0 {
		return fmt.Errorf("cluster: no members, expected at least this node itself")
	}
	ids, addresses := map[string]bool{}, map[string]string{}
	for _, m := range members {
		switch err := CheckMember(m); {
		case err != nil:
			return fmt.Errorf("cluster: %w", err)
		case ids[m.ID]:
			return fmt.Errorf("cluster: member id %q appears twice", m.ID)
		case addresses[m.Address] != "":
			return fmt.Errorf("cluster: members %s and %s have the same address %s", addresses[m.Address], m.ID, m.Address)
		}
		ids[m.ID], addresses[m.Address] = true, m.ID
	}
	return nil
}

// CheckMember says what is wrong with a member wherever it may belong: its id as
// CheckMemberID, an address that is not host:port with both of them and the port a number
// from 1 to 65535, or a priority beyond 32 bits.
func CheckMember(m Member) error {
	if err := CheckMemberID(m.ID); err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(m.Address)
	if err != nil {
		return fmt.Errorf("member %s: address %.100q, expected host:port", m.ID, m.Address)
	}
	if host == "" {
		return fmt.Errorf("member %s: address %.100q has no host, expected host:port as the other nodes reach it", m.ID, m.Address)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("member %s: port %.100q of address %.100q, expected a number from 1 to 65535", m.ID, port, m.Address)
	}
	if p := int64(m.Priority); p < math.MinInt32 || p > math.MaxInt32 {
		return fmt.Errorf("member %s: priority %d, expected %d to %d", m.ID, m.Priority, math.MinInt32, math.MaxInt32)
	}
	return nil
}

// CheckMemberID says what is wrong with an id of a member: it is a name without spaces,
// '/', '=' and ','.
func CheckMemberID(id string) error {
	if id == "" || strings.ContainsAny(id, " \t\r\n/=,") {
		return fmt.Errorf("member id %.100q, expected a name without spaces, '/', '=' and ','", id)
	}
	return nil
}

func memberList(members []Member) string {
	parts := make([]string, len(members))
	for i, m := range members {
		parts[i] = m.ID + "=" + m.Address
	}
	return strings.Join(parts, ",")
}

// deriveClusterID: nodes that were told different members must not meet, since each
// of them writes the members into its log by itself. A priority of 0 leaves no trace: ids
// of clusters that have none stay what they were.
func deriveClusterID(members []Member) string {
	var parts []string
	for _, m := range byID(members) {
		part := m.ID + "=" + m.Address
		if m.Priority != 0 {
			part += "@" + strconv.Itoa(m.Priority)
		}
		if m.Witness {
			part += " witness"
		}
		parts = append(parts, part)
	}
	sum := sha256.Sum256([]byte(strings.Join(parts, ",")))
	return hex.EncodeToString(sum[:8])
}

// byID is the members in the one order that every node has them in.
func byID(members []Member) []Member {
	return slices.SortedFunc(slices.Values(members), func(a, b Member) int { return strings.Compare(a.ID, b.ID) })
}

func addressBook(members []Member) map[string]string {
	book := make(map[string]string, len(members))
	for _, m := range members {
		book[m.ID] = m.Address
	}
	return book
}

// bootstrap is the configuration a new group begins with: sorted, so that every
// node writes the same bytes. A node that joins begins with none.
func (o *Options) bootstrap() core.Configuration {
	if o.Join {
		return core.Configuration{}
	}
	return bootstrapOf(o.Members)
}

// limits are those of every member here.
func (o *Options) limits() *actors.Limits {
	l := actors.DefaultLimits()
	l.Transfer.BytesPerSecond = o.TransferBytesPerSecond
	return l
}

// bootstrapOf is what a group of the members begins with.
func bootstrapOf(members []Member) (c core.Configuration) {
	for _, m := range byID(members) {
		one := core.Member{ID: core.NodeID(m.ID), Address: m.Address, Role: core.RoleVoter, Priority: m.Priority}
		if m.Witness {
			one.Role = core.RoleWitness
		}
		c.Members = append(c.Members, one)
	}
	return c
}

// witness says whether this node's members are to be witnesses.
func (o *Options) witness() bool {
	return isWitness(o.Members, o.ID)
}

func isWitness(members []Member, id string) bool {
	return slices.ContainsFunc(members, func(m Member) bool { return m.ID == id && m.Witness })
}

func (o *Options) gateway() actors.GatewayOptions {
	g := actors.GatewayOptions{RequestTimeout: o.RequestTimeout, Waiting: waitingMax, WaitingBytes: waitingBytesMax}
	for _, m := range o.Members {
		if o.Join && m.ID != o.ID && m.Address != o.address() { // whom to ask until the node belongs to a group
			g.Servers = append(g.Servers, m.Address)
		}
	}
	return g
}
