package sim

import (
	"bytes"
	"io"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/protoraft/protoraft/fsm"
)

// Guest is somebody's state machine, replicated in a world beside the world's own.
// Its commands travel behind those of the clients, so every rule is checked as in
// any run; besides, all members' guests must answer each entry with the same bytes,
// in this life and the next, and be in the same state after it.
type Guest struct {
	New     func() fsm.StateMachine
	Command func(rng *rand.Rand) []byte
	Query   func(rng *rand.Rand) []byte // nil for none
}

// guests are the guest machines of a world.
type guests struct {
	w *World
	Guest
	rng    *rand.Rand
	groups map[uint64]*guestGroup
}

// guestGroup is what the first guest to get there has made of a group's log.
type guestGroup struct {
	entries []fsm.Entry
	replies map[uint64][]byte // by index
	states  map[uint64]uint64
	newest  map[string]*hosted // by node
}

func (w *World) invite(g *Guest, rng *rand.Rand) {
	if g == nil {
		return
	}
	w.guests = &guests{w: w, Guest: *g, rng: rng, groups: map[uint64]*guestGroup{}}
	w.setup.limits.CommandBytes = 1 << 20 // a guest's commands are as large as they are
	w.setup.kinds[opLarge] = 0
	w.setup.durable, w.setup.sessions.Lossy = false, false
}

// newMachine makes what a member replicates.
func (w *World) newMachine(n *node, group uint64) fsm.StateMachine {
	own := &machine{member: w.checks.member(n, group)}
	switch {
	case w.script != nil:
		return &scripted{machine: own, s: w.script}
	case w.guests == nil && w.setup.durable:
		return newDurable(own, n, group)
	case w.guests == nil && w.setup.hashing:
		return &hashing{own}
	case w.guests == nil:
		return own
	}
	g := w.guests.groups[group]
	if g == nil {
		g = &guestGroup{replies: map[uint64][]byte{}, states: map[uint64]uint64{}, newest: map[string]*hosted{}}
		w.guests.groups[group] = g
	}
	h := &hosted{machine: own, guests: w.guests, group: g, guest: w.guests.New()}
	g.newest[n.id] = h
	return h
}

// commandBytes is the part of a command that is the world's own.
const commandBytes = 14

// add puts a guest's command behind a client's.
func (g *guests) add(command []byte) []byte {
	if g == nil {
		return command
	}
	return append(command[:commandBytes:commandBytes], g.Command(g.rng)...)
}

// compare looks at the state all guests have come to.
func (g *guests) compare() {
	if g == nil || g.w.failure != nil {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(g.groups)) {
		group := g.groups[id]
		replay := &hosted{machine: &machine{}, guests: g, group: group, guest: g.New()}
		err := replay.Start(Alone())
		if err == nil {
			err = replay.applyGuest(group.entries)
		}
		if err != nil {
			g.w.violate("a log can be replayed", "group %d: %v", id, err)
			return
		}
		want, ok := replay.state()
		replay.Stop()
		members, _ := g.w.checks.group(id).settled()
		for _, node := range slices.Sorted(maps.Keys(group.newest)) {
			if !members.has(node) {
				continue // it waits to be added, or has been removed: its log has an end of its own
			}
			if got, okay := group.newest[node].state(); ok && okay && got != want {
				g.w.violate("equal logs make equal states", "group %d: the machine of %s writes another snapshot than one that has replayed its %d commands", id, node, len(group.entries))
			}
		}
	}
}

// hosted is the world's machine with a guest beside it.
type hosted struct {
	*machine
	guests *guests
	group  *guestGroup
	guest  fsm.StateMachine
}

var _ fsm.BatchApplier = (*hosted)(nil)

// ApplyBatch implements fsm.BatchApplier.
func (h *hosted) ApplyBatch(entries []fsm.Entry, replies [][]byte) error {
	stripped := make([]fsm.Entry, len(entries))
	for i, e := range entries {
		reply, err := h.machine.Apply(e)
		if err != nil {
			return err
		}
		replies[i] = reply
		e.Data = slices.Clone(e.Data[commandBytes:])
		stripped[i] = e
	}
	for _, e := range stripped {
		if n := len(h.group.entries); n == 0 || h.group.entries[n-1].Index < e.Index {
			e.Data = slices.Clone(e.Data)
			h.group.entries = append(h.group.entries, e)
		}
	}
	err := h.applyGuest(stripped)
	for _, e := range stripped {
		for i := range e.Data {
			e.Data[i] ^= 0xff // what a guest has kept of it is not what it was
		}
	}
	return err
}

// applyGuest gives the guest entries in the way it prefers, and compares what it
// answers with what others did.
func (h *hosted) applyGuest(entries []fsm.Entry) (err error) {
	replies := make([][]byte, len(entries))
	if batch, ok := h.guest.(fsm.BatchApplier); ok {
		if err := batch.ApplyBatch(entries, replies); err != nil {
			return err
		}
	}
	for i, e := range entries {
		if _, ok := h.guest.(fsm.BatchApplier); !ok {
			if replies[i], err = h.guest.Apply(e); err != nil {
				return err
			}
			h.compareState(e.Index)
		}
		h.compareReply(e.Index, replies[i])
	}
	if len(entries) > 0 {
		h.compareState(entries[len(entries)-1].Index)
	}
	return nil
}

func (h *hosted) compareReply(index uint64, reply []byte) {
	first, known := h.group.replies[index]
	if !known {
		h.group.replies[index] = slices.Clone(reply)
	} else if !bytes.Equal(first, reply) {
		h.guests.w.violate("replies are deterministic", "entry %d was answered with %.60q, and elsewhere with %.60q", index, first, reply)
	}
}

// stateEvery: a snapshot after each entry costs too much.
const stateEvery = 8

func (h *hosted) compareState(index uint64) {
	if index%stateEvery != 0 {
		return
	}
	state, ok := h.state()
	if !ok {
		return
	}
	if first, known := h.group.states[index]; !known {
		h.group.states[index] = state
	} else if first != state {
		h.guests.w.violate("equal logs make equal states", "after entry %d two machines write different snapshots", index)
	}
}

// state is a number for what the guest's snapshot writes.
func (h *hosted) state() (uint64, bool) {
	v, err := h.guest.Snapshot()
	if err != nil {
		h.guests.w.violate("a snapshot can be taken", "%v", err)
		return 0, false
	}
	defer v.Release()
	var b bytes.Buffer
	if _, err := v.WriteTo(&b); err != nil {
		h.guests.w.violate("a snapshot can be written", "%v", err)
		return 0, false
	}
	return digest(b.Bytes()), true
}

// Snapshot implements fsm.StateMachine. The guest's view is written when it has gone
// on, as any other.
func (h *hosted) Snapshot() (fsm.View, error) {
	own, err := h.machine.Snapshot()
	if err != nil {
		return nil, err
	}
	guest, err := h.guest.Snapshot()
	if err != nil {
		return nil, err
	}
	return &hostedView{own, guest}, nil
}

// hostedView writes the world's own state, then the guest's.
type hostedView struct {
	own, guest fsm.View
}

func (v *hostedView) WriteTo(w io.Writer) (int64, error) {
	n, err := v.own.WriteTo(w)
	if err != nil {
		return n, err
	}
	more, err := v.guest.WriteTo(w)
	return n + more, err
}

func (v *hostedView) Release() {
	v.own.Release()
	v.guest.Release()
}

// Restore implements fsm.StateMachine.
func (h *hosted) Restore(r io.Reader) error {
	if err := h.machine.Restore(io.LimitReader(r, viewBytes)); err != nil {
		return err
	}
	return h.guest.Restore(r)
}

// Query implements fsm.Querier. The guest is asked something too: where that changes
// it, it differs from the others afterwards.
func (h *hosted) Query(q []byte) ([]byte, error) {
	if guest, ok := h.guest.(fsm.Querier); ok && h.guests.Guest.Query != nil {
		// A refusal is an answer like any other.
		_, _ = guest.Query(h.guests.Guest.Query(h.guests.rng))
	}
	return h.machine.Query(q)
}

// LeaderStart implements fsm.LeaderObserver.
func (h *hosted) LeaderStart(term uint64) {
	if o, ok := h.guest.(fsm.LeaderObserver); ok {
		o.LeaderStart(term)
	}
}

// LeaderStop implements fsm.LeaderObserver.
func (h *hosted) LeaderStop(term uint64) {
	if o, ok := h.guest.(fsm.LeaderObserver); ok {
		o.LeaderStop(term)
	}
}

// StartFollowing implements fsm.FollowObserver.
func (h *hosted) StartFollowing(leader string, term uint64) {
	if o, ok := h.guest.(fsm.FollowObserver); ok {
		o.StartFollowing(leader, term)
	}
}

// StopFollowing implements fsm.FollowObserver.
func (h *hosted) StopFollowing(leader string, term uint64) {
	if o, ok := h.guest.(fsm.FollowObserver); ok {
		o.StopFollowing(leader, term)
	}
}

// Failed implements fsm.FailureObserver.
func (h *hosted) Failed(reason string) {
	if o, ok := h.guest.(fsm.FailureObserver); ok {
		o.Failed(reason)
	}
}

// Shutdown implements fsm.ShutdownObserver.
func (h *hosted) Shutdown() {
	if o, ok := h.guest.(fsm.ShutdownObserver); ok {
		o.Shutdown()
	}
}

// ConfigurationCommitted implements fsm.ConfigurationObserver.
func (h *hosted) ConfigurationCommitted(index uint64, members []string) {
	if o, ok := h.guest.(fsm.ConfigurationObserver); ok {
		o.ConfigurationCommitted(index, members)
	}
}
