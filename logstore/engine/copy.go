package engine

import (
	"fmt"
	"reflect"

	"github.com/protoraft/protoraft/logstore"
)

// copyBytes is how much of a log is copied at a time.
const copyBytes = 1 << 20

// Copied counts what Copy has copied.
type Copied struct {
	Groups  int
	Entries uint64
}

// Copy has to, which is empty, hold what from holds, durably, and compares the two. A
// group that is damaged is an error wrapping ErrCorrupt: what it has promised cannot be
// told. After an error to is of no use.
func Copy(from, to logstore.Store) (c Copied, err error) {
	ids, err := from.Groups()
	if err != nil {
		return c, err
	}
	for _, id := range ids {
		n, err := copyGroup(from, to, id)
		if err != nil {
			return c, fmt.Errorf("engine: copy of group %d: %w", id, err)
		}
		c.Groups++
		c.Entries += n
	}
	return c, nil
}

func copyGroup(from, to logstore.Store, id uint64) (entries uint64, err error) {
	state, err := from.Load(id)
	if err != nil {
		return 0, err
	}
	u := logstore.Update{
		Group: id, Incarnation: state.Incarnation, HardState: &state.HardState, Note: state.Note,
		CompactTo: state.FirstIndex - 1, CompactTerm: state.PrevTerm,
	}
	if err := to.Write([]logstore.Update{u}); err != nil {
		return 0, err
	}
	for next := state.FirstIndex; next <= state.LastIndex; {
		blocks, err := from.Read(id, next, state.LastIndex, copyBytes)
		if err != nil {
			return 0, err
		}
		if blocks[0].FirstIndex < next { // it begins before the log does
			if blocks[0], err = blocks[0].Suffix(next); err != nil {
				return 0, err
			}
		}
		if err := to.Write([]logstore.Update{{Group: id, Blocks: blocks}}); err != nil {
			return 0, err
		}
		next = blocks[len(blocks)-1].LastIndex() + 1
	}
	return state.LastIndex + 1 - state.FirstIndex, same(to, id, state)
}

// same checks that a group is what it should be. Load reads all of its blocks.
func same(s logstore.Store, id uint64, want logstore.GroupState) error {
	got, err := s.Load(id)
	if err == nil && !reflect.DeepEqual(got, want) {
		err = fmt.Errorf("it is %+v, expected %+v", got, want)
	}
	return err
}
