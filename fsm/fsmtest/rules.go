package fsmtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"

	"github.com/protoraft/protoraft/fsm"
)

// rule is one promise of a state machine, on its own without a cluster.
type rule struct {
	name  string
	check func(k Kit, t *trial) error
}

var rules = []rule{
	{"determinism", determinism},
	{"replies", repliesStay},
	{"snapshot equals replay", snapshotEqualsReplay},
	{"restore replaces", restoreReplaces},
	{"snapshot isolation", isolation},
	{"failed write", failedWrite},
	{"queries", queries},
}

func (t *trial) replica(k Kit) *replica { return &replica{machine: t.fresh(k), poison: 0x11} }

// batched is a replica that gets its entries in batches of drawn sizes, as members
// of a group do.
func (t *trial) batched(k Kit) *replica {
	return &replica{machine: t.fresh(k), rng: t.rng, poison: 0xa5}
}

// determinism: the same log makes the same replies and the same state, however it is
// cut into batches, and though the bytes of the commands are gone afterwards.
func determinism(k Kit, t *trial) error {
	a, b := t.replica(k), t.batched(k)
	for rest := t.entries; len(rest) > 0; {
		n := 1 + t.rng.IntN(len(rest))
		if err := errors.Join(a.apply(rest[:n]), b.apply(rest[:n])); err != nil {
			return err
		}
		if err := equal(a, b, 0); err != nil {
			return fmt.Errorf("after entry %d: %w", rest[n-1].Index, err)
		}
		rest = rest[n:]
	}
	return nil
}

// repliesStay: a reply is on its way to a client while the machine goes on, so it
// shares no bytes with anything that changes.
func repliesStay(k Kit, t *trial) error {
	r := t.batched(k)
	if err := r.apply(t.entries); err != nil {
		return err
	}
	for i := range r.replies {
		if !bytes.Equal(r.replies[i], r.kept[i]) {
			return fmt.Errorf("the reply to entry %d was %.80q and has become %.80q", t.entries[i].Index, r.kept[i], r.replies[i])
		}
	}
	return nil
}

// snapshotEqualsReplay: a machine restored from a snapshot, and given the rest of
// the log, is where a full replay leads.
func snapshotEqualsReplay(k Kit, t *trial) error {
	full := t.batched(k)
	at := t.rng.IntN(len(t.entries) + 1)
	if err := full.apply(t.entries[:at]); err != nil {
		return err
	}
	image, err := full.snapshot()
	if err != nil {
		return err
	}
	restored := t.batched(k)
	if err := restored.restore(image, t.rng); err != nil {
		return err
	}
	again, err := restored.snapshot()
	if err != nil {
		return err
	}
	if err := sameBytes("a snapshot, and one of the machine restored from it,", image, again); err != nil {
		return err
	}
	if err := errors.Join(full.apply(t.entries[at:]), restored.apply(t.entries[at:])); err != nil {
		return err
	}
	if err := equal(full, restored, at); err != nil {
		return fmt.Errorf("replayed from the start, and from a snapshot after %d commands: %w", at, err)
	}
	return nil
}

// restoreReplaces: nothing is left of what a machine was before Restore. The snapshot
// is of a young machine, so that there is something to be left.
func restoreReplaces(k Kit, t *trial) error {
	young, used := t.replica(k), t.replica(k)
	at := t.rng.IntN(1 + len(t.entries)/8)
	if err := errors.Join(young.apply(t.entries[:at]), used.apply(t.entries)); err != nil {
		return err
	}
	image, err := young.snapshot()
	if err != nil {
		return err
	}
	if err := used.restore(image, t.rng); err != nil {
		return err
	}
	used.kept = nil
	if err := errors.Join(young.apply(t.entries[at:]), used.apply(t.entries[at:])); err != nil {
		return err
	}
	if err := equal(young, used, at); err != nil {
		return fmt.Errorf("restored over another state: %w", err)
	}
	return nil
}

// restore gives the machine a snapshot in pieces of drawn sizes, as a network does.
func (r *replica) restore(image []byte, rng *rand.Rand) error {
	if err := r.machine.Restore(&pieces{image, rng}); err != nil {
		return fmt.Errorf("restore a snapshot of %d bytes: %w", len(image), err)
	}
	return nil
}

type pieces struct {
	rest []byte
	rng  *rand.Rand
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.rest[:1+p.rng.IntN(len(p.rest))])
	p.rest = p.rest[n:]
	return n, nil
}

// isolation: a view is the state at its index for as long as it is held, and is
// written by another goroutine while entries are applied. -race sees what they share.
func isolation(k Kit, t *trial) error {
	r := t.batched(k)
	at := t.rng.IntN(len(t.entries))
	if err := r.apply(t.entries[:at]); err != nil {
		return err
	}
	before, err := r.snapshot()
	if err != nil {
		return err
	}
	v, err := r.machine.Snapshot()
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	defer v.Release()
	type outcome struct {
		image []byte
		err   error
	}
	meanwhile := make(chan outcome, 1)
	go func() {
		image, err := written(v)
		meanwhile <- outcome{image, err}
	}()
	applied := r.apply(t.entries[at:])
	during := <-meanwhile
	after, err := written(v)
	if err := errors.Join(applied, during.err, err); err != nil {
		return err
	}
	if err := sameBytes("a view before and while entries are applied", before, during.image); err != nil {
		return err
	}
	return sameBytes("a view before and after entries are applied", before, after)
}

var errFull = errors.New("no space left")

// failedWrite: a view that could not be written says so: else half a snapshot would
// count as one.
func failedWrite(k Kit, t *trial) error {
	r := t.batched(k)
	if err := r.apply(t.entries); err != nil {
		return err
	}
	image, err := r.snapshot()
	if err != nil || len(image) == 0 {
		return err
	}
	v, err := r.machine.Snapshot()
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	defer v.Release()
	room := t.rng.IntN(len(image))
	if _, err := v.WriteTo(&full{room}); !errors.Is(err, errFull) {
		return fmt.Errorf("WriteTo to a writer that fails after %d of %d bytes: error %v, expected the writer's", room, len(image), err)
	}
	return nil
}

// full takes so many bytes.
type full struct{ room int }

func (f *full) Write(p []byte) (int, error) {
	if len(p) > f.room {
		n := f.room
		f.room = 0
		return n, errFull
	}
	f.room -= len(p)
	return len(p), nil
}

// queries: they change nothing, and equal machines answer them with the same.
func queries(k Kit, t *trial) error {
	a, b := t.replica(k), t.batched(k)
	qa, ok := a.machine.(fsm.Querier)
	if !ok || k.Query == nil {
		return nil
	}
	qb := b.machine.(fsm.Querier)
	for rest := t.entries; len(rest) > 0; {
		n := 1 + t.rng.IntN(min(len(rest), 20))
		if err := errors.Join(a.apply(rest[:n]), b.apply(rest[:n])); err != nil {
			return err
		}
		rest = rest[n:]
		q := k.Query(t.rng)
		if err := sameAnswer(qa, qb, q); err != nil {
			return err
		}
		for range t.rng.IntN(5) { // b is asked more than a
			_, _ = qb.Query(k.Query(t.rng))
		}
	}
	if err := equal(a, b, 0); err != nil {
		return fmt.Errorf("of two machines that were asked different queries: %w", err)
	}
	return nil
}

func sameAnswer(a, b fsm.Querier, query []byte) error {
	first, second := slices.Clone(query), slices.Clone(query)
	x, errX := a.Query(first)
	y, errY := b.Query(second)
	switch {
	case !bytes.Equal(first, query):
		return fmt.Errorf("query %.80q: Query wrote to it", query)
	case (errX == nil) != (errY == nil):
		return fmt.Errorf("query %.80q: error %v and error %v", query, errX, errY)
	case !bytes.Equal(x, y):
		return fmt.Errorf("query %.80q is answered with %.80q and with %.80q", query, x, y)
	}
	return nil
}
