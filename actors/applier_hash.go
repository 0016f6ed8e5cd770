package actors

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

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
		var sum uint64 // of no bytes
		if len(reply) > 0 {
			sum = uint64(crc32.Checksum(reply, castagnoli))<<32 | uint64(uint32(len(reply)))
		}
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

// The bytes of what a snapshot says for comparison, version 1: version, 1 where the
// chain is known, chain (8), the machine's state (8, 0 where it is not known); little
// endian.
const (
	comparedVersion = 1
	comparedBytes   = 18
)

// view is where chain and state stand at the last entry applied.
func (h *hashes) view() (fsm.View, error) {
	b := make([]byte, comparedBytes)
	b[0] = comparedVersion
	if h.hasher != nil {
		binary.LittleEndian.PutUint64(b[10:], h.hasher.StateHash())
	} else if !h.partial {
		b[1] = 1
		binary.LittleEndian.PutUint64(b[2:], h.chain)
	}
	return comparedView(b), nil
}

type comparedView []byte

func (v comparedView) WriteTo(w io.Writer) (int64, error) { return bytes.NewReader(v).WriteTo(w) }
func (comparedView) Release()                             {}

// load goes on with a snapshot's chain, and compares the machine's state with the one
// that the snapshot was taken of: the machine has been restored before.
func (h *hashes) load(r io.Reader) error {
	b, err := io.ReadAll(io.LimitReader(r, comparedBytes+1))
	switch {
	case err != nil:
		return err
	case len(b) != comparedBytes || b[0] != comparedVersion:
		return fmt.Errorf("%x, expected %d bytes of version %d", b, comparedBytes, comparedVersion)
	}
	h.chain, h.partial = binary.LittleEndian.Uint64(b[2:]), b[1] != 1
	taken := binary.LittleEndian.Uint64(b[10:])
	if h.hasher == nil || taken == 0 {
		return nil
	}
	if state := h.hasher.StateHash(); state != 0 && state != taken {
		return fmt.Errorf("the state restored is %#x, expected %#x, that of the state the snapshot was taken of: one of the two members' memory has failed, or the machine does not restore what it saves", state, taken)
	}
	return nil
}

func (h *hashes) take() []core.Checkpoint {
	points := h.points
	h.points = nil
	return points
}
