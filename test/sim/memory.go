package sim

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/vfs"
	"github.com/protoraft/protoraft/messages"
)

// Lost memory: a member whose disk was lost, was put back to an older state or rots
// does not vote and is not counted until it holds again all that is committed of what
// it ever acknowledged. What it held before goes on being counted as held: without its
// vote every election still needs another one of those who hold it.

// memoryModel is what the world knows, and the member must find out.
type memoryModel struct {
	forgot         bool                 // it has lost memory and has not been restored
	lossy          bool                 // what the next start finds is not what was durable
	before         []entry              // its disk before it forgot
	beforeSnapshot uint64               // and its newest snapshot
	stale          string               // the note it was left with
	recovers       bool                 // it knows that it has, as it last asked its disk to note
	lastLife       *messages.MemberNote // that its disk had when it started
}

// hearsOfLoss notes where a leader's log ends when it first hears of a peer's loss.
func (m *memberModel) hearsOfLoss(term, nonce uint64) {
	if _, known := m.losses[nonce]; known || nonce == 0 || m.leads == 0 || term != m.leads {
		return
	}
	if m.losses == nil {
		m.losses = map[uint64]int{}
	}
	m.losses[nonce] = len(m.log)
}

// restores: a member takes part again only behind an entry that its leader has appended
// since it heard of the loss.
func (m *memberModel) restores(to *node, r *messages.MemoryRestored) {
	if end, heard := m.losses[r.Nonce]; !heard || r.Barrier <= uint64(end) || r.Barrier > uint64(len(m.log)) || m.log[r.Barrier-1].term != r.Term {
		m.c.w.violate("restored behind a barrier", "group %d: %s restores %s by entry %d in term %d; its log ended at %d when it heard of the loss (%v)",
			m.g.id, m.n.id, to.id, r.Barrier, r.Term, end, heard)
	}
}

// held is the log that the member's disk counts for.
func (m *memberModel) held() []entry {
	if m.forgot {
		return m.before // what it has now is not counted
	}
	return m.disk
}

func takenFor(note string) *messages.MemberNote {
	n := &messages.MemberNote{}
	if err := proto.Unmarshal([]byte(note), n); err != nil {
		panic(fmt.Sprintf("note of a member: %v", err)) // the store has checked it
	}
	return n
}

// notes sees the member ask its disk to note what it takes itself for.
func (m *memberModel) notes(note []byte) {
	if note == nil {
		return
	}
	n := takenFor(string(note))
	if found := m.lastLife; n.Begun && found.Begun && n.Life.GetNumber() <= found.Life.GetNumber() {
		m.c.w.violate("each start is a life of its own", "group %d: %s takes part in life %v, and has in %v before it started", m.g.id, m.n.id, n.Life, found.Life)
	}
	m.recovers = n.Recovering
	m.begins = m.begins || n.Begun
}

func (m *memberModel) forget() {
	w := m.c.w
	if m.forgot {
		w.cover.add("memory lost while it was being recovered")
	} else {
		m.before, m.beforeSnapshot = m.disk, m.snapshots.durable
	}
	m.forgot, m.lossy, m.maybe = true, true, nil
}

// remembers looks whether the member takes itself for whole, and then whether it is.
func (m *memberModel) remembers() {
	if !m.forgot || m.note == m.stale {
		return
	}
	if n := takenFor(m.note); !n.Begun || n.Recovering {
		return
	}
	m.forgot = false
	m.c.w.cover.add("memory restored")
	m.checkRemembers()
	if last := min(len(m.before), len(m.g.committed)); last > 0 {
		m.g.checkQuorum(1, uint64(last), "after "+m.n.id+" took part again with memory lost")
	}
	m.before = nil
}

// beyondRepair says whether a change of members has come to rest on too many that had
// lost memory just before, when nobody knew yet: such a group stops for good.
func (w *World) beyondRepair() bool {
	for _, g := range w.checks.groups {
		for _, m := range g.members {
			if c := m.current(); c != nil && !g.counts(c, func(o *memberModel) bool { return !o.forgot }) {
				return true
			}
		}
	}
	return false
}

// whoCould says of each member what may keep it from electing a leader.
func (g *groupModel) whoCould() (out string) {
	for _, m := range g.members {
		what := "waits to begin"
		switch {
		case m.takesPart && m.recovers:
			what = "recovers"
		case m.takesPart:
			what = "takes part"
		}
		out += fmt.Sprintf("%s of %v %s; ", m.n.id, m.current(), what)
	}
	return out
}

// counts: what it says is counted, unless it is marked.
func (m *memberModel) counts(what string, recovering uint64) {
	if m.forgot && recovering == 0 {
		m.c.w.violate("who has forgotten does not count", "group %d: %s from %s, which has lost memory", m.g.id, what, m.n.id)
	}
}

// maySpare says whether every group can bear that the node forgets: without it and
// others that have forgotten every configuration that counts anywhere has a quorum.
func (w *World) maySpare(n *node) bool {
	if founders := w.configuration().Members; n.outsider || w.healed || len(founders) == 1 && n.id == string(founders[0].ID) {
		return false // it would take itself for its whole group, as it once was
	}
	for _, g := range w.checks.groups {
		// One may recover that is whole: who knows a later life of it than it has taken.
		whole := func(m *memberModel) bool { return m.n != n && !m.forgot && !m.recovers && m.n.rotten == nil }
		for _, m := range g.members {
			// A crash takes from the log what is not on disk.
			for _, c := range []*members{m.current(), g.lastConfig(m.disk)} {
				if c != nil && !g.counts(c, whole) {
					return false
				}
			}
		}
		all := w.configuration()
		founders := all.Quorum()
		if c, _ := g.settled(); c == nil && !founders.Agrees(func(id core.NodeID) bool { return whole(g.byID(string(id))) }) {
			return false
		}
	}
	return true
}

// strikeMemory ends a process and takes from its disk what it must never forget.
func (w *World) strikeMemory(s strike, n *node) {
	if w.setup.durable || !w.maySpare(n) {
		return // a machine's own disk would have to be lost, or put back, as well
	}
	switch s {
	case strikeDiskLost:
		w.crash(n)
		n.disk, n.image, n.rotten = vfs.NewMem(stream(w.seed, chanceDisk, uint64(n.number)<<32|uint64(n.life))), nil, nil
		w.cover.add("disk lost")
	case strikeDiskOld:
		if n.image == nil || !w.noticed(n) {
			return
		}
		w.crash(n)
		n.disk, n.image, n.rotten = n.image, nil, nil
		w.cover.add("disk put back")
	case strikeBitRot:
		w.rot(n)
		return
	}
	for _, g := range w.checks.groups {
		g.members[n.number].forget()
	}
}

// keepImage remembers, now and then, how a disk is.
func (n *node) keepImage() {
	if n.w.script == nil && n.w.strikesWith(strikeDiskOld) && n.life > 1 && (n.image == nil || n.life%8 == 3) {
		n.image = n.disk.Clone()
	}
}

func (w *World) strikesWith(s strike) bool {
	for _, one := range w.setup.strikes {
		if one == s {
			return true
		}
	}
	return false
}

// noticed says whether each of the others has written down a life of each of the
// node's members that the image knows nothing of. That is what is promised: one who
// knows of no later life cannot tell.
func (w *World) noticed(n *node) bool {
	store, err := w.openStoreOn(n.image.Clone())
	if err != nil {
		return false
	}
	defer store.Close()
	for _, g := range w.checks.groups {
		st, err := store.Load(g.id)
		var old messages.MemberNote
		if err != nil || proto.Unmarshal(st.Note, &old) != nil {
			return false
		}
		if c := g.lastStored(&st); c != nil && c.decide(func(id string) bool { return id == n.id }) {
			return false // it then was its whole group, and asks nobody
		}
		next := old.GetLife().GetNumber()
		if old.Begun {
			next++
		}
		for _, o := range g.everMembers() {
			if o.n != n && o.knows(n.id) < max(next, 1) {
				return false
			}
			if o.n != n && !old.Begun && o.knows(n.id) == next {
				return false // it goes on with a life it had not begun
			}
		}
	}
	return true
}

// lastConfig is the configuration a log ends with, nil for none.
func (g *groupModel) lastConfig(log []entry) *members {
	for i := len(log); i > 0; i-- {
		if log[i-1].kind == messages.EntryKind_CONFIGURATION {
			return g.configs[log[i-1].data]
		}
	}
	return nil
}

// lastStored is the configuration that a stored log ends with, nil for none.
func (g *groupModel) lastStored(st *logstore.GroupState) *members {
	if k := len(st.Configurations); k > 0 {
		return g.configs[digest(st.Configurations[k-1].Data)]
	}
	return g.lastConfig(g.prefix(st.LastIndex))
}

// knows is the number of the latest life of a member that this one has written down.
func (m *memberModel) knows(id string) uint64 {
	for _, k := range takenFor(m.note).Known {
		if k.Member == id {
			return k.GetLife().GetNumber()
		}
	}
	return 0
}

// everMembers are those that any configuration has ever had.
func (g *groupModel) everMembers() (out []*memberModel) {
	for _, m := range g.members {
		ever := false
		for _, c := range g.configs {
			ever = ever || c.has(m.n.id)
		}
		if ever {
			out = append(out, m)
		}
	}
	return out
}

// rot makes the log of one of the node's members unreadable somewhere.
func (w *World) rot(n *node) {
	g := w.checks.groups[w.chaos.IntN(len(w.checks.groups))]
	m := g.members[n.number]
	if _, can := n.store.inner.(interface {
		Rot(group, index uint64) bool
	}); !can || m.snapshots.purged >= uint64(len(m.disk)) {
		return
	}
	index := m.snapshots.purged + 1 + uint64(w.chaos.IntN(len(m.disk)-int(m.snapshots.purged)))
	w.crash(n)
	if n.rotten == nil {
		n.rotten = map[uint64]uint64{}
	}
	n.rotten[g.id] = index
}

// decay makes unreadable, at a start, what is rotten.
func (n *node) decay(store logstore.Store) {
	for _, g := range n.w.checks.groups {
		index, rotten := n.rotten[g.id]
		if !rotten {
			continue
		}
		if store.(interface {
			Rot(group, index uint64) bool
		}).Rot(g.id, index) {
			n.w.cover.add("log rotten")
			g.members[n.number].forget()
		} else {
			delete(n.rotten, g.id) // a power cut has taken it
		}
	}
	if len(n.rotten) == 0 {
		n.rotten = nil
	}
}

// mended: what was rotten has been written anew.
func (n *node) mended(updates []logstore.Update) {
	for i := range updates {
		if updates[i].ResetFrom != 0 {
			delete(n.rotten, updates[i].Group)
		}
	}
	if len(n.rotten) == 0 {
		n.rotten = nil
	}
}
