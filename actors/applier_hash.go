package actors

import (
	"hash/crc32"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/fsm"
)

// hashes are what the Applier knows of the state for comparison with other members:
// a chain over every reply since the first entry, or what the machine itself says.
type hashes struct {
	hasher  fsm.Hasher // nil for a machine that keeps no hash
	chain   uint64
	partial bool       // the chain does not go back to the first entry: it tells nothing
	applied core.Index // that the chain reaches
	points  []core.Checkpoint
}

func newHashes(machine fsm.StateMachine) hashes {
	h, _ := machine.(fsm.Hasher)
	return hashes{hasher: h}
}

// resume is called before entries are applied. Where others were passed over, the
// chain is broken: the state came from elsewhere.
func (h *hashes) resume(applied core.Index) {
	if h.applied != applied {
		h.partial = true
	}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// replied adds a reply to the chain. It must not change: members of other versions
// compare with it.
func (h *hashes) replied(index uint64, reply []byte) {
	if h.hasher == nil {
		sum := uint64(crc32.Checksum(reply, castagnoli))<<32 | uint64(uint32(len(reply)))
		h.chain = mixed(mixed(h.chain^index) ^ sum)
	}
	h.passed(index)
}

// mixed spreads a number over all bits.
func mixed(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// passed takes a checkpoint where one is due.
func (h *hashes) passed(index uint64) {
	if index%core.CheckpointEvery != 0 {
		return
	}
	c := core.Checkpoint{Index: core.Index(index)}
	switch {
	case h.hasher != nil:
		c.State = h.hasher.StateHash()
	case !h.partial:
		c.Replies = max(h.chain, 1)
	}
	if c.State != 0 || c.Replies != 0 {
		h.points = append(h.points, c)
	}
}

// mustStop: a machine that is asked for its state is asked at the index itself, so no
// batch may go beyond.
func (h *hashes) mustStop(index uint64) bool {
	return h.hasher != nil && index%core.CheckpointEvery == 0
}

func (h *hashes) take() []core.Checkpoint {
	points := h.points
	h.points = nil
	return points
}
