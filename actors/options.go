package actors

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/fsm"
	"github.com/protoraft/protoraft/fsm/session"
	"github.com/protoraft/protoraft/logstore/snapshots"
	"github.com/protoraft/protoraft/messages"
)

// Links are the actors of a node that its members work with, and share. Without a Pulse
// they send their heartbeats by themselves.
type Links struct {
	Node, LogWriter, LogReader, Gateway, Pulse *actor.PID

	// Rounds counts the rounds of reads that the node's leaders have under way. It comes
	// with a Pulse.
	Rounds *atomic.Int32
}

// MemberOptions describe one member of one group.
type MemberOptions struct {
	Group uint64
	Node  core.NodeID

	// Incarnation tells a group from those of its number that were deleted, the same on
	// every member, which is to be spawned as MemberName. 0: that of what is stored, or 1.
	Incarnation uint64

	// Bootstrap is the configuration a group begins with, the same on every
	// member. A member that has anything stored ignores it. Nil, or of nobody, for a
	// member of a group that exists already: it waits to be added. The members of a node
	// may share it; nobody changes it.
	Bootstrap *core.Configuration

	// Machine is the member's alone; nil for a witness.
	Machine fsm.StateMachine

	// Witness makes this member one that votes and holds the log's end, and has no state.
	// It must be what the group's configuration says of it.
	Witness bool

	// Sessions is the table of the group's client sessions, empty and this member's
	// alone, as Machine is. Its limits must be the same on every member. nil: a table
	// with session.DefaultLimits.
	Sessions *session.Table
	// Snapshots is where the node keeps them, shared by its members. A member without
	// takes none, and cannot be sent any: its log grows for ever.
	Snapshots *snapshots.Store
	// SnapshotPolicy says when a member takes a snapshot by itself, and SnapshotInterval
	// after which time it does where anything was applied since; 0 for not at all. The
	// first of a member's life comes at a random point.
	SnapshotPolicy   core.SnapshotPolicy
	SnapshotInterval time.Duration
	// KeepEntries is how many entries before a snapshot stay in the log, so that a
	// follower which lags a little needs no snapshot.
	KeepEntries core.Index

	// ElectionTimeout is the least time without a leader before a member stands;
	// each wait is drawn from [ElectionTimeout, 2×ElectionTimeout).
	ElectionTimeout time.Duration
	// HeartbeatInterval is how often a leader shows itself, at most a third of
	// ElectionTimeout.
	HeartbeatInterval time.Duration

	// ClockDrift is the most by which the rate of any member's clock differs from true
	// time, as a fraction (0.05: 5 %). Leases rest on it; a wrong value makes reads by
	// lease stale, nothing else. 0 means no leases: reads that ask for one take a
	// round. The same on every member.
	ClockDrift float64
	// SleepAfter is how long there is nothing to do in a group before its leader has it
	// sleep, and with it all timers and messages of the group. 0: never. It needs a Pulse.
	SleepAfter time.Duration
	// ReadTimeout is how long a query waits for the index it must reflect.
	ReadTimeout time.Duration
	// CatchUpTimeout is how long a change of members waits for a new voter that does
	// not advance before it is rolled back. 0: ten election timeouts.
	CatchUpTimeout time.Duration

	// Limits are shared like Bootstrap.
	Limits *Limits
}

// defaultCatchUp is CatchUpTimeout in election timeouts.
const defaultCatchUp = 10

func (o *MemberOptions) catchUpTimeout() time.Duration {
	if o.CatchUpTimeout == 0 {
		return defaultCatchUp * o.ElectionTimeout
	}
	return o.CatchUpTimeout
}

// Limits bound a member's work and memory. What exceeds them is answered BUSY or
// TOO_LARGE, not applied.
type Limits struct {
	CommandBytes    int // largest command
	BlockBytes      int // a block is closed when it has reached this size
	QueuedProposals int // commands waiting for their block
	QueuedBytes     int
	// QueueDelay is how long a command is to wait at most from its block to its answer:
	// new ones are refused where there is more to do before them, see core.Pace.
	QueueDelay time.Duration
	// PatientProposals may wait for longer: a short stall is no flood.
	PatientProposals  int
	UncommittedBytes  int // appended and not committed
	ApplyBacklogBytes int // committed and not applied, in memory
	PendingReads      int // queries waiting for their round
	TailBytes         int // of log kept in memory for followers that lag a little
	UnpersistedBlocks int // blocks a leader may have outstanding at its own disk
	Window            core.Window
	Transfer          Transfer
}

// Transfer bounds the sending of a snapshot to one peer.
type Transfer struct {
	ChunkBytes     int // of one message, at most 64 KiB
	Chunks         int // sent and not acknowledged
	BytesPerSecond int // 0 for as fast as the peer takes it
}

// ChunkBytesMax keeps a chunk from holding up heartbeats behind it.
const ChunkBytesMax = 64 << 10

// DefaultLimits are sized for commands of up to a MiB and tens of groups a node.
func DefaultLimits() *Limits {
	return &Limits{
		CommandBytes:      1 << 20,
		BlockBytes:        1 << 20,
		QueuedProposals:   1 << 16,
		QueuedBytes:       32 << 20,
		QueueDelay:        500 * time.Millisecond,
		PatientProposals:  4096,
		UncommittedBytes:  64 << 20,
		ApplyBacklogBytes: 32 << 20,
		PendingReads:      1 << 16,
		TailBytes:         8 << 20,
		UnpersistedBlocks: 1,
		Window:            core.Window{Messages: 64, Bytes: 4 << 20},
		Transfer:          Transfer{ChunkBytes: ChunkBytesMax, Chunks: 4},
	}
}

func (o *MemberOptions) sessions() *session.Table {
	if o.Sessions != nil {
		return o.Sessions
	}
	l := session.DefaultLimits()
	l.Lossy = o.durableMachine()
	return session.New(l)
}

// founders are whom a new group begins with; nobody where it exists already.
func (o *MemberOptions) founders() []core.Member {
	if o.Bootstrap == nil {
		return nil
	}
	return o.Bootstrap.Members
}

// durableMachine: the machine keeps its state on disk by itself.
func (o *MemberOptions) durableMachine() bool {
	_, ok := o.Machine.(fsm.Durable)
	return ok
}

// Validate names the first field that cannot be.
func (o *MemberOptions) Validate() error {
	l := o.Limits
	switch {
	case l == nil:
		return fmt.Errorf("option Limits: nil, expected some, as DefaultLimits")
	case o.Group == 0:
		return fmt.Errorf("option Group: 0 is not a group id, expected 1 or higher")
	case o.Incarnation > IncarnationMax:
		return fmt.Errorf("option Incarnation: %d, expected at most %d", o.Incarnation, IncarnationMax)
	case o.Node == "":
		return fmt.Errorf("option Node: empty")
	case o.Machine == nil && !o.Witness:
		return fmt.Errorf("option Machine: nil")
	case o.Machine != nil && o.Witness:
		return fmt.Errorf("options Machine and Witness: a witness has no state machine, expected nil")
	case o.Sessions != nil && o.Sessions.Lossy() != o.durableMachine():
		return fmt.Errorf("option Sessions: lossy is %v, expected %v: so is a machine fsm.Durable, and no other", o.Sessions.Lossy(), o.durableMachine())
	case o.HeartbeatInterval <= 0:
		return fmt.Errorf("option HeartbeatInterval: %v, expected more than 0", o.HeartbeatInterval)
	case o.ElectionTimeout < 3*o.HeartbeatInterval:
		return fmt.Errorf("option ElectionTimeout: %v, expected at least three heartbeat intervals (%v)", o.ElectionTimeout, 3*o.HeartbeatInterval)
	case o.ClockDrift < 0 || o.ClockDrift >= 0.5:
		return fmt.Errorf("option ClockDrift: %v, expected 0 (no leases) or a fraction below 0.5", o.ClockDrift)
	case o.SleepAfter < 0:
		return fmt.Errorf("option SleepAfter: %v, expected 0 for never, or more", o.SleepAfter)
	case o.ReadTimeout <= 0:
		return fmt.Errorf("option ReadTimeout: %v, expected more than 0", o.ReadTimeout)
	case o.CatchUpTimeout < 0:
		return fmt.Errorf("option CatchUpTimeout: %v, expected 0 for the default, or more", o.CatchUpTimeout)
	case l.CommandBytes <= 0 || messages.EntryBytes(l.CommandBytes)+l.BlockBytes > messages.MaxBlockBytes:
		return fmt.Errorf("option Limits.CommandBytes: %d with blocks of %d, expected a sum below %d", l.CommandBytes, l.BlockBytes, messages.MaxBlockBytes)
	case l.BlockBytes <= 0 || l.QueuedProposals <= 0 || l.QueuedBytes <= 0 || l.QueueDelay <= 0 || l.PatientProposals <= 0 || l.UncommittedBytes <= 0 ||
		l.ApplyBacklogBytes <= 0 || l.PendingReads <= 0 || l.TailBytes < 0 || l.UnpersistedBlocks <= 0 ||
		l.Transfer.Chunks <= 0 || l.Transfer.BytesPerSecond < 0 || l.Window.Messages <= 0 || l.Window.Bytes <= 0:
		return fmt.Errorf("option Limits: %+v, expected every limit above 0", *l)
	case l.Transfer.ChunkBytes <= 0 || l.Transfer.ChunkBytes > ChunkBytesMax:
		return fmt.Errorf("option Limits.Transfer.ChunkBytes: %d, expected 1 to %d", l.Transfer.ChunkBytes, ChunkBytesMax)
	case o.SnapshotPolicy.Bytes < 0 || o.SnapshotInterval < 0:
		return fmt.Errorf("options SnapshotPolicy.Bytes and SnapshotInterval: %d and %v, expected 0 or more", o.SnapshotPolicy.Bytes, o.SnapshotInterval)
	}
	return o.validateWitness()
}

// validateWitness compares what the member is with what a new group is to begin with.
func (o *MemberOptions) validateWitness() error {
	if len(o.founders()) == 0 {
		return nil
	}
	if err := core.CheckWitness(o.Bootstrap.Members); err != nil {
		return fmt.Errorf("option Bootstrap: %w", err)
	}
	if is := o.Bootstrap.Witness(o.Node); is != o.Witness {
		return fmt.Errorf("option Witness: %v, and %v by option Bootstrap, expected the same", o.Witness, is)
	}
	return nil
}
