// Package storetest is what any engine of a logstore.Store must pass: the contract,
// a crash at every change of the disk, a failure of every call, a full disk, and
// flipped bits.
//
// Passing means: nothing acknowledged is lost, nothing else is half there, an
// interrupted write opens, and damage is named, never an empty or shortened log
// passed off as a healthy one.
package storetest

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/memory"
	"github.com/protoraft/protoraft/logstore/vfs"
	"github.com/protoraft/protoraft/messages"
)

// Factory opens the store in dir, making it where there is none. It should set
// limits low enough for files to be rotated and merged within a few hundred KiB.
type Factory func(fs vfs.FS, dir string) (logstore.Store, error)

var long = flag.Bool("storetest.long", false, "more seeds, every byte flipped")

const dir = "/data/log"

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0x10c)) }

// Run runs the whole suite.
func Run(t *testing.T, open Factory) {
	t.Run("contract", func(t *testing.T) {
		Contract(t, func(t *testing.T) logstore.Store { return mustOpen(t, vfs.NewMem(newRand(1)), open) })
	})
	t.Run("reopen", func(t *testing.T) { testReopen(t, open) })
	t.Run("first crash", func(t *testing.T) { testFirstCrash(t, open) })
	t.Run("crash", func(t *testing.T) { testCrash(t, open) })
	t.Run("crash again", func(t *testing.T) { testCrashAgain(t, open) })
	t.Run("killed", func(t *testing.T) { testKilled(t, open) })
	t.Run("failure", func(t *testing.T) { testFailure(t, open) })
	t.Run("read failure", func(t *testing.T) { testReadFailure(t, open) })
	t.Run("flip", func(t *testing.T) { testFlip(t, open) })
	t.Run("vanish", func(t *testing.T) { testVanish(t, open) })
}

func mustOpen(t testing.TB, fs vfs.FS, open Factory) logstore.Store {
	t.Helper()
	s, err := open(fs, dir)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// block makes a block of count entries. A word repeated to size bytes is the data of
// each; its index is in it, so that no two entries are alike.
func block(group, term, prevTerm, first uint64, count, size int) messages.Block {
	w := messages.NewBlockWriter(messages.BlockHeader{
		Group: group, Incarnation: 7, Term: term, FirstIndex: first, PrevTerm: prevTerm, Time: int64(1e9 + first),
	}, count*messages.EntryBytes(size))
	for i := range count {
		word := fmt.Sprintf("group %d term %d index %d. ", group, term, first+uint64(i))
		data := bytes.Repeat([]byte(word), size/len(word)+1)[:size]
		w.Add(messages.EntryView{Data: data, Session: 1, Sequence: first})
	}
	return w.Finish()
}

// configuration makes a block of one configuration entry.
func configuration(group, term, prevTerm, index uint64, data string) messages.Block {
	w := messages.NewBlockWriter(messages.BlockHeader{
		Group: group, Incarnation: 7, Term: term, FirstIndex: index, PrevTerm: prevTerm, Time: int64(1e9 + index),
	}, messages.EntryBytes(len(data)))
	w.Add(messages.EntryView{Kind: messages.EntryKind_CONFIGURATION, Data: []byte(data)})
	return w.Finish()
}

// contents is everything that can be asked of a group.
type contents struct {
	state   logstore.GroupState
	entries []string
}

// look reads a group twice over: by Load and by Read.
func look(s logstore.Store, group uint64) (c contents, err error) {
	if c.state, err = s.Load(group); err != nil {
		return c, err
	}
	for next := c.state.FirstIndex; next != 0 && next <= c.state.LastIndex; {
		blocks, err := s.Read(group, next, c.state.LastIndex, 1<<12)
		if err != nil {
			return c, fmt.Errorf("group %d, read from %d of %+v: %w", group, next, c.state, err)
		}
		for i := range blocks {
			err := blocks[i].Entries(func(index uint64, e messages.EntryView) error {
				if index == next {
					c.entries = append(c.entries, fmt.Sprintf("%d/%d %v %x", blocks[i].Term, index, e.Kind, e.Data))
					next++
				}
				return nil
			})
			if err != nil {
				return c, err
			}
		}
	}
	return c, nil
}

// same says whether two looks saw the same.
func (c *contents) same(o *contents) bool { return reflect.DeepEqual(c, o) }

func (c *contents) String() string { return fmt.Sprintf("%+v, %d entries", c.state, len(c.entries)) }

// history is what a run of writes did, by the memory store.
type history struct {
	model  *memory.Store // after all that is known to have happened
	before *memory.Store // before the write whose fate is unknown; nil where all are known
}

func (h *history) acknowledged(updates []logstore.Update) error {
	h.before = nil
	return h.model.Write(updates)
}

// unknown takes note of a write that was not acknowledged.
func (h *history) unknown(updates []logstore.Update) error {
	if h.before == nil {
		h.before = h.model.Restart()
	}
	return h.model.Write(updates)
}

// explain returns nil when each group is as after the last write, or as before it
// where that one was not acknowledged.
func (h *history) explain(s logstore.Store) error {
	for group := uint64(1); group <= groups; group++ {
		if err := h.explainGroup(s, group); err != nil {
			return err
		}
	}
	return nil
}

func (h *history) explainGroup(s logstore.Store, group uint64) error {
	got, err := look(s, group)
	if err != nil {
		return err
	}
	want, err := look(h.model, group)
	if err != nil || got.same(&want) {
		return err
	}
	if h.before == nil {
		return fmt.Errorf("%w: group %d is %v, expected %v", errWrong, group, &got, &want)
	}
	old, err := look(h.before, group)
	if err != nil || got.same(&old) {
		return err
	}
	return fmt.Errorf("%w: group %d is %v, expected %v or %v", errWrong, group, &got, &old, &want)
}

// errWrong: a store showed something it should not have.
var errWrong = errors.New("wrong contents")

// goOn checks that a recovered store is of use: it takes writes, and keeps them
// when everything unsynced is lost.
func goOn(t testing.TB, disk *vfs.Mem, s logstore.Store, open Factory, seed uint64) {
	t.Helper()
	after := memory.New()
	for group := uint64(1); group <= groups; group++ {
		st, err := s.Load(group)
		if err != nil {
			t.Fatalf("load of group %d: %v", group, err)
		}
		first, prevTerm := max(st.LastIndex+1, 1), st.PrevTerm
		if n := len(st.Runs); n > 0 {
			prevTerm = st.Runs[n-1].Term
		}
		u := []logstore.Update{{
			Group: group, Incarnation: 9, HardState: &logstore.HardState{Term: 100, Vote: "me"}, Note: []byte("another"),
			Blocks: []messages.Block{block(group, 100, prevTerm, first, 2, 30)},
		}, {Group: group, CompactTo: first - 1, CompactTerm: prevTerm}}
		if err := s.Write(u); err != nil {
			t.Fatalf("write after recovery: %v", err)
		}
		// The model has no history: the log it knows begins with this write.
		if err := after.Write(u); err != nil {
			t.Fatalf("model: %v", err)
		}
	}
	disk = disk.Crash(newRand(seed))
	s.Close()
	again := mustOpen(t, disk, open)
	if err := (&history{model: after}).explain(again); err != nil {
		t.Fatalf("after recovery, more writes and a second crash: %v", err)
	}
	again.Close()
}
