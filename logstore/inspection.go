package logstore

import "github.com/protoraft/protoraft/messages"

// Inspection is a store opened to be looked at, damaged or not. Nothing of it is changed:
// what opening would cut off is passed over, and no lock is taken, which is the caller's
// to do. It is for one goroutine.
type Inspection interface {
	// Damage is what keeps the store from being opened for work. What can be read all the
	// same may then be less, or older, than what was written.
	Damage() []error

	// Groups lists the groups that have anything stored, in ascending order.
	Groups() (ids []uint64, damage []error)

	// Group reads what a group says of itself.
	Group(id uint64) GroupInfo

	// Blocks hands every block of the group's log to see, and every damaged place, in the
	// order of the log; entries removed behind a snapshot are left out. It ends with see's
	// error.
	Blocks(id uint64, info *GroupInfo, see func(Record) error) error

	// Close ends the inspection.
	Close() error
}

// Record is something found in a group's log: a block, or a damaged place.
type Record struct {
	Block  messages.Block // valid until the next record
	Damage *CorruptError  // nil for a block that is whole
}

// GroupInfo is what a group's log should be by its own account.
type GroupInfo struct {
	HardState   HardState
	Incarnation uint64
	FirstIndex  uint64 // 0 where that is gone or damaged
	PrevTerm    uint64
	Reached     uint64 // the log has had so many entries
	Damage      []error
}
