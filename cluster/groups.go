package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/protoraft/protoraft/actors"
	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/fsm"
	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/messages"
)

// GroupState is what this node does with a group that was made at run time.
type GroupState string

const (
	GroupRunning  GroupState = "running"
	GroupStopped  GroupState = "stopped"  // its member is down, its log stays
	GroupDeleting GroupState = "deleting" // its member is down; what it stored goes
	GroupDeleted  GroupState = "deleted"  // nothing is left but the incarnation's number
)

func (s GroupState) known() bool {
	switch s {
	case GroupRunning, GroupStopped, GroupDeleting, GroupDeleted:
		return true
	}
	return false
}

// Why a group was not made, stopped, started or deleted. Nothing was changed but where
// the error says so.
var (
	ErrGroupExists  = errors.New("group exists on this node")
	ErrGroupDeleted = errors.New("group was deleted on this node")
	ErrGroupBusy    = errors.New("another operation on the group is under way on this node")
	ErrGroupKind    = errors.New("no such kind of machine")
	ErrGroupSpec    = errors.New("group cannot be made")
)

// GroupSpec says which group a node is to have a member of.
type GroupSpec struct {
	Group uint64 // 1 or higher

	// Kind of its machine, one of Options.Machines. A witness has none, and may name any.
	Kind string

	// Incarnation tells a group from those of its number that were deleted: it is higher
	// than theirs on every node, and the same on all nodes of the group. 0: one above the
	// last that this node knows of.
	Incarnation uint64

	// Members are the voters the group begins with, this node among them; the same on
	// every node. Empty: Options.Members. Each group has a witness of its own, or none.
	Members []Member

	// Join: the group exists, and this node's member waits to be added to it. Members are
	// then those it has now; this node too where it is to be a witness.
	Join bool
}

// GroupInfo is what this node knows of a group.
type GroupInfo struct {
	Group       uint64
	Incarnation uint64 // 0 where the program started it by StartGroup or Props
	Kind        string
	State       GroupState
	Join        bool
	Members     []Member // it was made with
	Failure     string   // why its member could not be started, empty where it was
}

// nodeGroups are the groups a node was given at run time.
type nodeGroups struct {
	mu       sync.Mutex
	registry *groupRegistry
	busy     map[uint64]bool
	failures map[uint64]string // of members that could not be started
}

// CreateGroup has this node start a member of a new group, now and whenever the node
// starts. The group begins when all of its Members have been told so: until then its
// members wait for each other. When it returns nil, that is durable on this node. To ask
// for it again with the same GroupSpec changes nothing.
//
// Errors wrap ErrGroupSpec, ErrGroupKind, ErrGroupExists, ErrGroupDeleted where the
// incarnation was deleted here, or ErrGroupBusy.
func (n *Node) CreateGroup(ctx context.Context, spec GroupSpec) error {
	release, err := n.groups.begin(spec.Group)
	if err != nil {
		return err
	}
	defer release()
	record, known := n.groups.record(spec.Group)
	if spec.Incarnation == 0 {
		spec.Incarnation = record.Incarnation
		if !known || record.State == GroupDeleted {
			spec.Incarnation++
		}
	}
	wanted, err := n.recordOf(spec)
	if err != nil {
		return fmt.Errorf("group %d: %w", spec.Group, err)
	}
	switch {
	case known && record.State == GroupRunning && sameGroup(record, wanted):
		return n.startRecorded(record) // it may have failed to
	case known && record.State != GroupDeleted:
		return fmt.Errorf("group %d: %w, as incarnation %d, %s", spec.Group, ErrGroupExists, record.Incarnation, record.State)
	case known && wanted.Incarnation <= record.Incarnation:
		return fmt.Errorf("group %d: %w: incarnation %d, expected a higher one than %d", spec.Group, ErrGroupDeleted, record.Incarnation, wanted.Incarnation)
	case n.client.member(spec.Group) != nil:
		return fmt.Errorf("group %d: %w, started by the program", spec.Group, ErrGroupExists)
	}
	if err := n.checkNothingStored(spec.Group); err != nil {
		return fmt.Errorf("group %d: %w", spec.Group, err)
	}
	if err := n.groups.put(wanted); err != nil {
		return fmt.Errorf("group %d: %w", spec.Group, err)
	}
	return n.startRecorded(wanted)
}

// checkNothingStored: what a program of before has stored under the number is not the
// new group's, and not this node's to delete unasked.
func (n *Node) checkNothingStored(group uint64) error {
	stored, err := n.store.Load(group)
	if err != nil && !errors.Is(err, logstore.ErrCorrupt) {
		return err
	}
	if err != nil || stored.Exists() {
		return fmt.Errorf("%w: a log of it is stored here that no list names; have the program start it by StartGroup, or choose another number", ErrGroupExists)
	}
	return nil
}

// recordOf checks a spec whatever is known of the group.
func (n *Node) recordOf(spec GroupSpec) (groupRecord, error) {
	members := spec.Members
	if len(members) == 0 {
		members = n.options.Members
	}
	own := slices.ContainsFunc(members, func(m Member) bool { return m.ID == n.options.ID })
	switch {
	case spec.Group == 0:
		return groupRecord{}, fmt.Errorf("%w: 0 is no number of a group, expected 1 or higher", ErrGroupSpec)
	case spec.Incarnation > actors.IncarnationMax:
		return groupRecord{}, fmt.Errorf("%w: incarnation %d, expected at most %d", ErrGroupSpec, spec.Incarnation, actors.IncarnationMax)
	case !own && !spec.Join:
		return groupRecord{}, fmt.Errorf("%w: node %s is not among its members %s, and is not to join them", ErrGroupSpec, n.options.ID, memberList(members))
	}
	if err := checkMembers(members); err != nil {
		return groupRecord{}, fmt.Errorf("%w: %w", ErrGroupSpec, err)
	}
	if err := core.CheckWitness(bootstrapOf(members).Members); err != nil && !spec.Join {
		return groupRecord{}, fmt.Errorf("%w: members: %w", ErrGroupSpec, err)
	}
	record := groupRecord{Group: spec.Group, Incarnation: spec.Incarnation, State: GroupRunning, Kind: spec.Kind, Join: spec.Join}
	for _, m := range byID(members) {
		record.Members = append(record.Members, memberLine(m))
	}
	if err := n.checkKind(&record); err != nil {
		return groupRecord{}, err
	}
	return record, nil
}

// witnessIn says whether this node's member of a group is a witness.
func (n *Node) witnessIn(group uint64) bool {
	if record, known := n.groups.record(group); known {
		return isWitness(record.members(), n.options.ID)
	}
	return n.options.witness()
}

// members are those the group was made with.
func (r *groupRecord) members() (members []Member) {
	for _, m := range r.Members {
		members = append(members, Member(m))
	}
	return members
}

func (n *Node) checkKind(record *groupRecord) error {
	kind := record.Kind
	if n.options.Machines[kind] != nil || isWitness(record.members(), n.options.ID) {
		return nil
	}
	var kinds []string
	for name := range n.options.Machines {
		kinds = append(kinds, name)
	}
	slices.Sort(kinds)
	return fmt.Errorf("%w %q: Options.Machines has %q", ErrGroupKind, kind, kinds)
}

func sameGroup(a, b groupRecord) bool {
	return a.Incarnation == b.Incarnation && a.Kind == b.Kind && a.Join == b.Join && slices.Equal(a.Members, b.Members)
}

// StopGroup stops this node's member of a group that CreateGroup made. It stays stopped
// when the node starts again. Where it leads it hands over first, for an election timeout
// at most; the others go on as if the node were down for this group. Nil where it is
// stopped already.
func (n *Node) StopGroup(ctx context.Context, group uint64) error {
	return n.changeGroup(group, func(record groupRecord) error {
		switch record.State {
		case GroupStopped:
			return nil
		case GroupRunning:
		default:
			return fmt.Errorf("%w: it is %s", ErrGroupDeleted, record.State)
		}
		n.leaveOffice(ctx, group)
		record.State = GroupStopped
		if err := n.groups.put(record); err != nil {
			return err
		}
		return n.stopMember(record)
	})
}

// ResumeGroup starts the member of a group that StopGroup has stopped. Nil where it runs.
func (n *Node) ResumeGroup(group uint64) error {
	return n.changeGroup(group, func(record groupRecord) error {
		if record.State != GroupRunning && record.State != GroupStopped {
			return fmt.Errorf("%w: it is %s", ErrGroupDeleted, record.State)
		}
		if err := n.checkKind(&record); err != nil {
			return err
		}
		record.State = GroupRunning
		if err := n.groups.put(record); err != nil {
			return err
		}
		return n.startRecorded(record)
	})
}

// DeleteGroup stops this node's member of a group that CreateGroup made and removes all
// that it has stored: log, term and vote, snapshots. When it returns nil that is durable;
// after an error, or a crash, ask again, else the node does so when it next starts. The
// incarnation's number stays known. What a machine keeps on a disk of its own is the
// program's to remove. Other nodes' members stay: ask each of their nodes.
func (n *Node) DeleteGroup(ctx context.Context, group uint64) error {
	return n.changeGroup(group, func(record groupRecord) error {
		if record.State == GroupDeleted {
			return nil
		}
		record.State = GroupDeleting
		if err := n.groups.put(record); err != nil {
			return err
		}
		if err := n.stopMember(record); err != nil {
			return err
		}
		answer, err := ask[any](ctx, n.system, n.pid, &actors.DeleteGroup{Group: group})
		if err != nil {
			return err
		}
		switch m := answer.(type) {
		case *actors.LogDeleted:
		case *actors.GroupKept:
			return errors.New(m.Reason)
		case *messages.StorageFailed:
			return fmt.Errorf("%w: %s", ErrStorageFailed, m.Reason)
		default:
			return fmt.Errorf("the log writer answered %T, expected LogDeleted", answer)
		}
		if err := n.snapshots.Forget(group); err != nil {
			return err
		}
		n.client.sessions.Delete(group)
		n.remote.guard.forget(group)
		return n.groups.put(groupRecord{Group: group, Incarnation: record.Incarnation, State: GroupDeleted})
	})
}

// changeGroup does something with a group in the registry, one thing at a time.
func (n *Node) changeGroup(group uint64, f func(groupRecord) error) error {
	release, err := n.groups.begin(group)
	if err != nil {
		return err
	}
	defer release()
	record, known := n.groups.record(group)
	if !known {
		return fmt.Errorf("group %d: %w that was made by CreateGroup", group, ErrNoGroup)
	}
	if err := f(record); err != nil {
		return fmt.Errorf("group %d: %w", group, err)
	}
	return nil
}

// Groups are those this node has been given, by CreateGroup or by the program, and the
// deleted ones, ordered by number.
func (n *Node) Groups() []GroupInfo {
	var infos []GroupInfo
	n.groups.mu.Lock()
	for _, record := range n.groups.registry.all() {
		info := GroupInfo{
			Group: record.Group, Incarnation: record.Incarnation, Kind: record.Kind, State: record.State, Join: record.Join,
			Failure: n.groups.failures[record.Group], Members: record.members(),
		}
		infos = append(infos, info)
	}
	listed := func(group uint64) bool { _, listed := n.groups.registry.records[group]; return listed }
	for _, group := range n.client.groups() {
		if !listed(group) {
			infos = append(infos, GroupInfo{Group: group, State: GroupRunning})
		}
	}
	n.groups.mu.Unlock()
	slices.SortFunc(infos, func(a, b GroupInfo) int { return cmp.Compare(a.Group, b.Group) })
	return infos
}

// startGroups brings up what the registry says, when the node starts.
func (n *Node) startGroups() error {
	for _, record := range n.groups.registry.all() {
		if record.State != GroupRunning {
			continue
		}
		if err := n.checkKind(&record); err != nil {
			return fmt.Errorf("group %d, made at run time: %w", record.Group, err)
		}
		if err := n.startRecorded(record); err != nil {
			n.logger.Error("a group's member could not be started", "group", record.Group, "error", err) // the others go on
		}
	}
	return nil
}

// finishDeletions does what a crash has cut off, before anybody uses store and snapshots.
func (n *Node) finishDeletions() error {
	for _, record := range n.groups.registry.all() {
		if record.State != GroupDeleting {
			continue
		}
		if err := n.store.Write([]logstore.Update{{Group: record.Group, Delete: true}}); err != nil {
			return fmt.Errorf("group %d, being deleted: %w", record.Group, err)
		}
		if err := n.snapshots.Forget(record.Group); err != nil {
			return fmt.Errorf("group %d, being deleted: %w", record.Group, err)
		}
		if err := n.groups.put(groupRecord{Group: record.Group, Incarnation: record.Incarnation, State: GroupDeleted}); err != nil {
			return err
		}
		n.logger.Info("group deleted, as was begun before the node started", "group", record.Group)
	}
	return nil
}

// startRecorded spawns the member of a record, unless it runs.
func (n *Node) startRecorded(record groupRecord) error {
	if n.client.member(record.Group) != nil {
		return nil
	}
	err := n.spawnRecorded(record)
	n.groups.noteFailure(record.Group, err)
	if err != nil {
		return fmt.Errorf("start the member of group %d: %w", record.Group, err)
	}
	return nil
}

func (n *Node) spawnRecorded(record groupRecord) error {
	members := record.members()
	var machine fsm.StateMachine
	if !isWitness(members, n.options.ID) {
		var err error
		if machine, err = n.options.Machines[record.Kind](record.Group); err != nil {
			return fmt.Errorf("make its machine: %w", err)
		}
	}
	for _, m := range members {
		n.remote.guard.admit(m.ID, m.Address)
	}
	var begin *core.Configuration
	if !record.Join {
		begin = new(bootstrapOf(members))
		if slices.Equal(begin.Members, n.begin.Members) {
			begin = &n.begin
		}
	}
	props, err := n.props(record.Group, record.Incarnation, begin, members, machine)
	if err != nil {
		return err
	}
	_, err = n.system.Root.SpawnNamed(props, actors.MemberName(record.Group, record.Incarnation))
	return err
}

// stopMember ends the member, and waits until nothing of it uses the group's files.
func (n *Node) stopMember(record groupRecord) error {
	pid := n.client.member(record.Group)
	if pid == nil {
		return nil
	}
	if err := n.system.Root.PoisonFuture(pid).Wait(); err != nil {
		return fmt.Errorf("its member %s did not stop: %w", pid.Id, err)
	}
	n.client.forget(record.Group, pid)
	n.remote.guard.dismiss(pid.Id)
	return nil
}

// leaveOffice is a courtesy: the others need not wait for an election timeout.
func (n *Node) leaveOffice(ctx context.Context, group uint64) {
	pid := n.client.member(group)
	if pid == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, n.options.ElectionTimeout+time.Second)
	defer cancel()
	g, err := ask[*messages.GroupStatus](ctx, n.system, pid, &messages.DescribeGroup{})
	if err != nil || g.Role != "leader" || len(g.GetConfiguration().GetMembers()) < 2 {
		return
	}
	if err := n.TransferLeadership(ctx, group, ""); err != nil {
		n.logger.Warn("leadership not handed over", "group", group, "error", err)
	}
}

func (g *nodeGroups) begin(group uint64) (release func(), err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.busy[group] {
		return nil, fmt.Errorf("group %d: %w", group, ErrGroupBusy)
	}
	g.busy[group] = true
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.busy, group)
	}, nil
}

func (g *nodeGroups) record(group uint64) (groupRecord, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	record, known := g.registry.records[group]
	return record, known
}

func (g *nodeGroups) put(record groupRecord) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.registry.put(record)
}

func (g *nodeGroups) noteFailure(group uint64, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.failures, group)
	if err != nil {
		g.failures[group] = err.Error()
	}
}

// MachineFactory makes the machine of a member that starts: an empty one, or one with the
// state that it keeps on a disk of its own.
type MachineFactory func(group uint64) (fsm.StateMachine, error)
