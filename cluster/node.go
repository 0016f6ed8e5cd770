package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/hashicorp/go-hclog"

	"github.com/protoraft/protoraft/actors"
	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/fsm"
	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/engine"
	"github.com/protoraft/protoraft/logstore/snapshots"
	"github.com/protoraft/protoraft/logstore/vfs"
	"github.com/protoraft/protoraft/messages"
)

// Node is this process's place in a cluster.
type Node struct {
	options Options
	system  *actor.ActorSystem
	logger  hclog.Logger

	dir         *dataDir
	store       logstore.Store
	snapshots   *snapshots.Store
	remote      *remoteEndpoint
	runtime     *actors.Runtime
	stopRuntime func()
	pid         *actor.PID
	links       actors.Links
	client      *Client
	groups      nodeGroups
	begin       core.Configuration // that Options.Members make, shared by all groups
	limits      *actors.Limits     // of all of them

	failOnce sync.Once
	failed   chan struct{}
	failure  string // readable once failed is closed

	stopOnce sync.Once
	stopErr  error
}

// Start makes the process a node: it opens and locks the data directory, binds the
// node's address and starts the actors that its members share. The system must not
// have a remote yet; actors that other nodes refer to are spawned afterwards.
//
// Errors wrap ErrDataDirLocked, ErrDataDirForeign and their like, ErrPortInUse,
// ErrInsecure, ErrLogEngine, or logstore.ErrCorrupt and logstore.ErrNewerFormat. After an error
// nothing of the node is left running.
func Start(system *actor.ActorSystem, o Options) (_ *Node, err error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	n := &Node{options: o, system: system, logger: o.Logger, failed: make(chan struct{}), begin: o.bootstrap(), limits: o.limits()}
	defer func() {
		if err != nil {
			n.close(false)
		}
	}()
	if n.dir, err = openDataDir(o.DataDir, identity{ClusterID: o.ClusterID, NodeID: o.ID}, o.LogEngine); err != nil {
		return nil, err
	}
	n.store, err = engine.Open(vfs.OS{}, filepath.Join(o.DataDir, logDir), o.LogEngine, o.Logger.Named("store"))
	if err != nil {
		return nil, fmt.Errorf("open the log in %s: %w", o.DataDir, err)
	}
	n.snapshots, err = snapshots.Open(vfs.OS{}, filepath.Join(o.DataDir, snapshotsDir))
	if err != nil {
		return nil, fmt.Errorf("open the snapshots in %s: %w", o.DataDir, err)
	}
	n.groups = nodeGroups{busy: map[uint64]bool{}, failures: map[uint64]string{}}
	if n.groups.registry, err = openGroups(o.DataDir); err != nil {
		return nil, err
	}
	if err := n.finishDeletions(); err != nil {
		return nil, err
	}
	n.remote, err = startRemote(system, remoteOptions{
		Listen: o.Listen, Advertise: o.address(), ClusterID: o.ClusterID, NodeID: o.ID,
		Members: o.book(), Insecure: o.Insecure, Silence: o.silence(), Logger: o.Logger,
	})
	if err != nil {
		return nil, err
	}
	if err := n.spawn(); err != nil {
		return nil, err
	}
	if n.client, err = newClient(system, n.links.Gateway, o.RequestTimeout); err != nil {
		return n, err
	}
	n.client.noSessions = o.NoSessions
	if err := n.startGroups(); err != nil {
		return nil, err
	}
	return n, nil
}

func (n *Node) spawn() (err error) {
	n.runtime, n.stopRuntime = actors.NewRuntime(n.logger)
	n.remote.guard.allowTarget(actors.GatewayName, requests|answers)
	n.remote.guard.allowTarget(actors.PulseName, raftTraffic)
	props := actors.NodeProps(n.runtime, actors.NodeOptions{
		Store: n.store, Gateway: n.options.gateway(),
		Pulse:          actors.PulseOptions{Interval: n.options.HeartbeatInterval, Timeout: n.options.ElectionTimeout},
		Balance:        actors.BalanceOptions{Every: n.options.BalanceEvery, Node: core.NodeID(n.options.ID)},
		StorageFailed:  n.fail,
		MemberStopped:  func(group uint64, pid *actor.PID) { n.client.forget(group, pid) },
		MembersChanged: n.remote.guard.configured,
	})
	n.pid, n.links, err = spawnNode(n.system, props)
	return err
}

// spawnNode spawns the Node actor and waits for its children.
func spawnNode(system *actor.ActorSystem, props *actor.Props) (*actor.PID, actors.Links, error) {
	pid, err := system.Root.SpawnNamed(props, actors.NodeName)
	if err != nil {
		return nil, actors.Links{}, fmt.Errorf("spawn %s: %w (one node a system)", actors.NodeName, err)
	}
	d, err := ask[*actors.NodeDescription](context.Background(), system, pid, &actors.DescribeNode{})
	if err != nil {
		return pid, actors.Links{}, err
	}
	return pid, d.Links, nil
}

// askTimeout bounds questions to actors of this process where their context has no
// deadline.
const askTimeout = 5 * time.Second

func askLimit(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return max(time.Until(deadline), 1) // a future waits for ever with less
	}
	return askTimeout
}

// ask sends a question to a local actor and waits for the answer until ctx ends.
func ask[T any](ctx context.Context, system *actor.ActorSystem, pid *actor.PID, question any) (answer T, err error) {
	if err := ctx.Err(); err != nil {
		return answer, err
	}
	future := system.Root.RequestFuture(pid, question, askLimit(ctx))
	answered := make(chan struct{})
	go func() {
		_ = future.Wait() // Result has its error
		close(answered)
	}()
	select {
	case <-answered:
	case <-ctx.Done():
		return answer, fmt.Errorf("%s has not answered: %w", pid.Id, ctx.Err())
	}
	result, err := future.Result()
	if errors.Is(err, actor.ErrTimeout) {
		err = context.DeadlineExceeded // the same, by whichever of the two clocks
	}
	if err != nil {
		return answer, fmt.Errorf("%s does not answer: %w", pid.Id, err)
	}
	answer, ok := result.(T)
	if !ok {
		return answer, fmt.Errorf("%s answered %T, expected %T", pid.Id, result, answer)
	}
	return answer, nil
}

// fail notes why storage failed. It is called from an actor's turn.
func (n *Node) fail(reason string) {
	n.failOnce.Do(func() {
		n.failure = reason
		close(n.failed)
	})
}

// Failed is closed when a write or sync to this node's disk has failed. Its members
// have stopped; nothing unacknowledged was lost, and the process should end.
func (n *Node) Failed() <-chan struct{} { return n.failed }

// Err tells why the node failed, nil while it has not.
func (n *Node) Err() error {
	select {
	case <-n.failed:
		return fmt.Errorf("%w: %s", ErrStorageFailed, n.failure)
	default:
		return nil
	}
}

// ID is the node's id.
func (n *Node) ID() string { return n.options.ID }

// ClusterID is the cluster's id.
func (n *Node) ClusterID() string { return n.options.ClusterID }

// GroupName is the name StartGroup spawns a group's members under.
func GroupName(group uint64) string { return actors.MemberName(group, 0) }

// StartGroup spawns this node's member of a group as GroupName(group). The member
// loads its log, or begins one with Options.Members, and takes part from then on; on a
// node that joins it waits to be added.
// machine belongs to the member; it is nil on a node that is a witness, see Member. The
// program does so whenever the node starts; for a group that is to be stopped and deleted
// at run time, see CreateGroup.
func (n *Node) StartGroup(group uint64, machine fsm.StateMachine) (*actor.PID, error) {
	if record, known := n.groups.record(group); known {
		return nil, fmt.Errorf("group %d: %w, made at run time and %s", group, ErrGroupExists, record.State)
	}
	props, err := n.Props(group, machine)
	if err != nil {
		return nil, err
	}
	pid, err := n.system.Root.SpawnNamed(props, GroupName(group))
	if err != nil {
		return nil, fmt.Errorf("spawn the member of group %d: %w", group, err)
	}
	return pid, nil
}

// Props describes this node's member of a group. Spawn it once, with SpawnNamed and
// under the same name on every node; a second member of the group on this node
// stops at once. The member answers *messages.Propose, *messages.Query,
// *messages.ChangeMembers, *messages.AbortChange, *messages.ListMembers,
// *messages.DescribeGroup, *messages.TransferLeadership, *messages.StandForElection,
// *messages.TakeSnapshot and *messages.ResetPeers.
func (n *Node) Props(group uint64, machine fsm.StateMachine) (*actor.Props, error) {
	return n.props(group, 0, &n.begin, n.options.Members, machine)
}

// props is a member's of a group of these nodes, which begins with a configuration or, if
// it is empty, waits to be added.
func (n *Node) props(group, incarnation uint64, begin *core.Configuration, nodes []Member, machine fsm.StateMachine) (*actor.Props, error) {
	o := actors.MemberOptions{
		Group: group, Incarnation: incarnation, Node: core.NodeID(n.options.ID), Bootstrap: begin, Machine: machine,
		Witness:         isWitness(nodes, n.options.ID),
		ElectionTimeout: n.options.ElectionTimeout, HeartbeatInterval: n.options.HeartbeatInterval,
		ClockDrift: n.options.ClockDrift, ReadTimeout: n.options.RequestTimeout, SleepAfter: n.options.SleepAfter,
		Snapshots: n.snapshots, SnapshotInterval: n.options.SnapshotInterval,
		SnapshotPolicy: core.SnapshotPolicy{Entries: core.Index(n.options.SnapshotEntries), Bytes: n.options.SnapshotBytes},
		KeepEntries:    core.Index(n.options.KeepEntries),
		CatchUpTimeout: n.options.CatchUpTimeout,
		Limits:         n.limits,
	}
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("group %d: %w", group, err)
	}
	// Peers may be here before the member's first turn.
	member, door := actors.MemberProps(n.runtime, &n.links, o)
	admit := actor.WithOnInit(func(ctx actor.Context) {
		id := ctx.Self().Id
		n.remote.guard.allowMember(id)
		n.client.routes.learn(group, ctx.Self(), door)
	})
	return member.Configure(admit), nil
}

// Client returns the node's client. It is shared and lives as long as the node.
func (n *Node) Client() *Client { return n.client }

// System is the actor system the node runs in.
func (n *Node) System() *actor.ActorSystem { return n.system }

// Guard returns what the guard has refused so far.
func (n *Node) Guard() GuardStats { return n.remote.guard.stats() }

// TransferLeadership hands the group's leadership to member to, or to the best
// other one where to is empty: of those that keep up the one of the highest priority. It
// returns when another leader is known, or this node has led no more for an election
// timeout, and ErrLeadershipKept when it leads on or does not lead. Proposals wait
// meanwhile (thesis §3.10).
func (n *Node) TransferLeadership(ctx context.Context, group uint64, to string) error {
	pid := n.client.member(group)
	if pid == nil {
		return fmt.Errorf("group %d: %w", group, ErrNoGroup)
	}
	answer, err := ask[any](ctx, n.system, pid, &messages.TransferLeadership{Group: group, To: to})
	if err != nil {
		return fmt.Errorf("group %d: %w", group, err)
	}
	if kept, ok := answer.(*messages.LeadershipKept); ok {
		return fmt.Errorf("group %d: %w: %s", group, ErrLeadershipKept, kept.Reason)
	}
	return nil
}

// StandForElection has this node's member stand at once, with a pre-vote, rather than
// wait for its election timeout. It returns when the member stands, which says nothing
// about its winning, and ErrNotStanding where it may not, as while a leader is heard:
// transfer its leadership then.
func (n *Node) StandForElection(ctx context.Context, group uint64) error {
	pid := n.client.member(group)
	if pid == nil {
		return fmt.Errorf("group %d: %w", group, ErrNoGroup)
	}
	answer, err := ask[any](ctx, n.system, pid, &messages.StandForElection{Group: group})
	if err != nil {
		return fmt.Errorf("group %d: %w", group, err)
	}
	if refused, ok := answer.(*messages.ElectionRefused); ok {
		return fmt.Errorf("group %d: %w: %s", group, ErrNotStanding, refused.Reason)
	}
	return nil
}

// TakeSnapshot has this node's member of a group take a snapshot of what it has
// applied, and cut its log behind it. When it returns, the snapshot up to index is
// durable. ErrNoSnapshot says that there is none; the member goes on. Nothing bounds the
// wait but ctx: the machine is as large as it is.
func (n *Node) TakeSnapshot(ctx context.Context, group uint64) (index uint64, err error) {
	pid := n.client.member(group)
	if pid == nil {
		return 0, fmt.Errorf("group %d: %w", group, ErrNoGroup)
	}
	answers := make(chan any, 1)
	asker := n.system.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
		switch m := c.Message().(type) {
		case *actor.Started:
			c.Request(pid, &messages.TakeSnapshot{Group: group})
		case *messages.SnapshotTaken, *messages.SnapshotRefused:
			answers <- m
			c.Stop(c.Self())
		}
	}))
	select {
	case answer := <-answers:
		if refused, ok := answer.(*messages.SnapshotRefused); ok {
			return 0, fmt.Errorf("group %d: %w: %s", group, ErrNoSnapshot, refused.Reason)
		}
		return answer.(*messages.SnapshotTaken).Index, nil
	case <-ctx.Done():
		n.system.Root.Stop(asker)
		return 0, fmt.Errorf("group %d: waiting for a snapshot: %w", group, ctx.Err())
	}
}

// Shutdown leaves the cluster in good order: it hands leadership over where it
// leads, lets operations in flight finish, stops the members, and closes log and
// directory. What was acknowledged is durable before and after. ctx bounds the
// hand-over; the rest takes a few seconds at the most.
func (n *Node) Shutdown(ctx context.Context) error {
	n.stopOnce.Do(func() {
		n.handOver(ctx)
		n.stopErr = n.close(true)
	})
	return n.stopErr
}

// handOver moves every leadership away. It is a courtesy: without it the others
// elect a leader after an election timeout.
func (n *Node) handOver(ctx context.Context) {
	status, err := n.Status(ctx)
	if err != nil {
		return
	}
	var handovers sync.WaitGroup
	for _, g := range status.Groups {
		if g.Role == "leader" && len(g.Members()) > 1 {
			handovers.Go(func() {
				if err := n.TransferLeadership(ctx, g.Group, ""); err != nil {
					n.logger.Warn("leadership not handed over", "group", g.Group, "error", err)
				}
			})
		}
	}
	handovers.Wait()
}

// close stops what was started, in reverse order.
func (n *Node) close(graceful bool) error {
	var errs []error
	if n.client != nil {
		n.client.drain(graceful)
	}
	if n.pid != nil {
		n.stopActors()
	}
	if n.client != nil {
		n.client.Close()
	}
	if n.remote != nil {
		errs = append(errs, n.remote.Stop(graceful))
	}
	if n.stopRuntime != nil {
		n.stopRuntime()
	}
	if n.groups.registry != nil {
		errs = append(errs, n.groups.registry.close())
	}
	if n.store != nil {
		errs = append(errs, n.store.Close())
	}
	if n.snapshots != nil {
		errs = append(errs, n.snapshots.Close())
	}
	if n.dir != nil {
		errs = append(errs, n.dir.Close())
	}
	return errors.Join(errs...)
}

// stopActors ends the members first: they still answer while their log is there.
func (n *Node) stopActors() {
	if n.client != nil { // nil where the start ended before there was one
		for _, pid := range n.client.members() {
			n.stop(pid)
		}
	}
	n.stop(n.pid)
}

func (n *Node) stop(pid *actor.PID) {
	if err := n.system.Root.PoisonFuture(pid).Wait(); err != nil {
		n.logger.Warn("actor did not stop", "actor", pid.Id, "error", err)
	}
}

// Status is what a node knows of itself. It needs nobody else.
type Status struct {
	ID             string
	ClusterID      string
	StorageFailure string // empty while storage works
	DiskFull       string // what the disk refused, empty while it has room
	Groups         []GroupStatus
}

// GroupStatus is this node's member of a group.
type GroupStatus struct {
	Group         uint64
	Role          string // starting, follower, learner, witness, removed, pre-candidate, candidate, leader, failed
	Term          uint64
	Leader        string // id, empty while not known
	LeaderAddress string
	FirstIndex    uint64
	LastIndex     uint64
	DurableIndex  uint64
	CommitIndex   uint64
	AppliedIndex  uint64
	SnapshotIndex uint64 // of the newest durable snapshot, 0 for none
	Failure       string // why the member stopped
	DiskFull      bool   // this node's disk takes nothing but terms and votes
	Asleep        bool   // nothing happens in the group; who needs it wakes it
	// Recovering says what memory the member has lost and what is done about it: it
	// neither votes nor counts until it holds again what the leader has. Empty for none.
	Recovering string
	// Awaits is who has not answered a member that starts, and cannot begin without: all
	// members for a new group, enough of them for one with a log.
	Awaits     []string
	Membership Membership   // as this member knows it
	Peers      []PeerStatus // on the leader
}

// Members are the voters, and the learners behind them.
func (g GroupStatus) Members() []Member {
	return slices.Concat(g.Membership.Voters, g.Membership.Learners)
}

// PeerStatus is what a leader knows of another member.
type PeerStatus struct {
	ID         string
	State      string // probe, replicate or snapshot
	MatchIndex uint64
	NextIndex  uint64
	Inflight   uint64 // appends sent and not answered
	Active     bool   // answered within the last election timeout
	DiskFull   bool   // said so last

	// In state snapshot: how many bytes of how many the member has.
	SnapshotSent, SnapshotSize uint64
	Recovering                 bool // has lost memory and does not count until it holds it again

	// ComparedIndex is the last at which the peer's state machine was seen to equal the
	// leader's, DivergedIndex the first at which it was seen to differ; 0 for none.
	ComparedIndex, DivergedIndex uint64
}

// Status describes the node and its members, ordered by group.
func (n *Node) Status(ctx context.Context) (Status, error) {
	s := Status{ID: n.options.ID, ClusterID: n.options.ClusterID}
	d, err := ask[*actors.NodeDescription](ctx, n.system, n.pid, &actors.DescribeNode{})
	if err != nil {
		return s, err
	}
	s.StorageFailure, s.DiskFull = d.StorageFailure, d.DiskFull
	for _, pid := range d.Members {
		g, err := ask[*messages.GroupStatus](ctx, n.system, pid, &messages.DescribeGroup{})
		if err != nil {
			return s, err
		}
		s.Groups = append(s.Groups, groupStatus(g))
	}
	slices.SortFunc(s.Groups, func(a, b GroupStatus) int { return cmp.Compare(a.Group, b.Group) })
	return s, nil
}

func groupStatus(m *messages.GroupStatus) GroupStatus {
	g := GroupStatus{
		Group: m.Group, Role: m.Role, Term: m.Term, Leader: m.Leader,
		FirstIndex: m.FirstIndex, LastIndex: m.LastIndex, DurableIndex: m.DurableIndex,
		CommitIndex: m.CommitIndex, AppliedIndex: m.AppliedIndex, Failure: m.Failure, Recovering: m.Recovering, Awaits: m.Awaits,
		SnapshotIndex: m.SnapshotIndex, DiskFull: m.DiskFull, Asleep: m.Asleep,
	}
	g.Membership = membershipOf(m)
	g.LeaderAddress = addressBook(g.Members())[g.Leader]
	for _, p := range m.Peers {
		g.Peers = append(g.Peers, PeerStatus{
			ID: p.Id, State: p.State, MatchIndex: p.MatchIndex, NextIndex: p.NextIndex,
			Inflight: p.Inflight, Active: p.Active, Recovering: p.Recovering, DiskFull: p.DiskFull,
			SnapshotSent: p.SnapshotSent, SnapshotSize: p.SnapshotSize,
			ComparedIndex: p.ComparedIndex, DivergedIndex: p.DivergedIndex,
		})
	}
	return g
}
