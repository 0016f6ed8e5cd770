package logstore

import (
	"errors"
	"fmt"

	"github.com/protoraft/protoraft/messages"
)

// Store keeps the logs and hard states of many groups on one device.
//
// Write is called from one goroutine at a time. The other methods may be called
// beside it and beside each other. A block handed to Write or returned by Read
// is shared and must not be changed.
//
// Crash assumptions: what a completed sync covered survives; of what it did not
// cover, any part of any write may survive or be lost, sectors (512 bytes) are
// torn, and a file's name survives only after its directory was synced. A group
// found damaged is refused with ErrCorrupt, and only that group.
type Store interface {
	// Groups lists the groups that have anything stored, in ascending order.
	Groups() ([]uint64, error)

	// Load reads what a member needs to start. A group never written is the zero
	// GroupState. It checks every block of the group: contiguous, chained by term,
	// checksums right. It returns an error wrapping ErrCorrupt that names group and
	// place when the group cannot be trusted; other groups are not affected.
	Load(group uint64) (GroupState, error)

	// Salvage reads what is whole of a group that Load refuses: the log up to the
	// damage, and hard state and note where they are readable, else their zero
	// values. damage names what is not whole; it is nil where nothing is wrong. It
	// changes nothing on disk. From then on the group takes updates; it takes blocks
	// only after, or with, a ResetFrom. Where nothing of the group can be made out
	// it returns an error wrapping ErrCorrupt, as Load does.
	Salvage(group uint64) (state GroupState, damage *CorruptError, err error)

	// Write makes the updates durable, in order, with at most one sync for all of
	// them; when it returns nil, all of them are. When it returns an error, each
	// group's part may or may not be durable, never half visible after a restart;
	// the store refuses every later Write with ErrFailed, and nothing retries.
	// An error wrapping ErrInvalid, ErrCorrupt or ErrFull is an exception: nothing of
	// any update was written, and the store has not failed. After ErrFull the same
	// updates may be written again when there is room; a store may then still take
	// updates without blocks, from room that it keeps for terms and votes.
	Write(updates []Update) error

	// Read returns the group's stored blocks that cover [first, last], in order,
	// up to about maxBytes but at least one. The first block may begin before first.
	// It returns ErrCompacted when first is below the group's first index, and an
	// error wrapping ErrOutOfRange when first is beyond its last.
	Read(group, first, last uint64, maxBytes int) ([]messages.Block, error)

	// Close releases the store. Nothing is written any more.
	Close() error
}

// Update is what one group wants durable. Its parts happen together, in the order
// of the fields: hard state, note, then reset, truncation, blocks, compaction.
type Update struct {
	Group       uint64
	Incarnation uint64

	// HardState replaces term and vote, where set.
	HardState *HardState

	// Note replaces what the member keeps beside its log, where not nil. The store
	// does not look into it.
	Note []byte

	// ResetFrom removes everything stored of the log at or above it, where not 0,
	// readable or not: it is how a salvaged group becomes whole again. It is not
	// above the entry after the last one, nor below the first.
	ResetFrom uint64

	// TruncateFrom removes every entry at or above it, where not 0.
	TruncateFrom uint64

	// Blocks are appended. The first must follow the last entry that is left, or,
	// in a group without entries, may begin anywhere. Within a group that has an
	// entry before it, PrevTerm must be that entry's term.
	Blocks []messages.Block

	// CompactTo removes every entry at or below it, where not 0: from then on the
	// log begins after it, even where it held no entry that far. CompactTerm is
	// the term at CompactTo. A block that ends above CompactTo may stay whole on
	// disk. Entries are gone for Load and Read at once, their bytes some time later.
	CompactTo   uint64
	CompactTerm uint64

	// Delete removes everything of the group, first of all the fields.
	Delete bool
}

// GroupState is what a group has stored.
type GroupState struct {
	Incarnation uint64
	HardState   HardState
	Note        []byte // nil where there is none

	// FirstIndex is the lowest index stored; PrevTerm is the term of the entry
	// before it (0 at the start of the log). In a group without entries,
	// FirstIndex is where the next one belongs.
	FirstIndex uint64
	PrevTerm   uint64

	// Runs are the stretches of one term of the stored log, in order.
	Runs []TermRun

	// Configurations are the stored entries of kind CONFIGURATION, in order. Such
	// an entry always stands alone in its block.
	Configurations []ConfigurationEntry

	LastIndex uint64 // FirstIndex-1 where there are no entries
	LastTime  int64  // log time of the last block, nanoseconds since 1970
}

// ConfigurationEntry is an entry of kind CONFIGURATION.
type ConfigurationEntry struct {
	Index uint64
	Data  []byte
}

// HardState is what a member may never forget. On disk it is a messages.HardState.
type HardState struct {
	Term uint64
	Vote string // the candidate voted for in Term, empty for none
	// Machine is the highest index that a state machine with a disk of its own has said
	// to hold there.
	Machine uint64
}

// TermRun says that the entries First..Last are of one term.
type TermRun struct {
	Term, First, Last uint64
}

// Exists says whether anything was ever stored for the group.
func (s *GroupState) Exists() bool {
	return s.Incarnation != 0 || s.HardState.Term != 0 || s.Note != nil || len(s.Runs) > 0 || s.FirstIndex > 1
}

var (
	// ErrCorrupt: stored bytes are not what was written.
	ErrCorrupt = errors.New("logstore: corrupt")
	// ErrCompacted: the entries asked for were removed behind a snapshot.
	ErrCompacted = errors.New("logstore: index compacted")
	// ErrOutOfRange: the entries asked for were never written.
	ErrOutOfRange = errors.New("logstore: index out of range")
	// ErrFailed: an earlier write or sync failed. It is never retried: after a
	// failed sync the page cache proves nothing.
	ErrFailed = errors.New("logstore: storage failed")
	// ErrFull: the disk has no room. Nothing of any update was written, not even in
	// part: an engine may only say so when it is sure.
	ErrFull = errors.New("logstore: disk full")
	// ErrNewerFormat: the files were written by a later version.
	ErrNewerFormat = errors.New("logstore: written by a newer version")
	// ErrInvalid: the caller broke the contract; nothing was written.
	ErrInvalid = errors.New("logstore: invalid update")
)

// CorruptError names what was found damaged. It wraps ErrCorrupt.
type CorruptError struct {
	Group  uint64 // 0 where the damage is not within one group
	Index  uint64 // 0 where not known
	Where  string // file or key
	Reason string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%v: group %d, index %d, %s: %s", ErrCorrupt, e.Group, e.Index, e.Where, e.Reason)
}

func (e *CorruptError) Unwrap() error { return ErrCorrupt }
