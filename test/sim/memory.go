package sim

import (
	"google.golang.org/protobuf/proto"

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
	forgot bool    // it has lost memory and has not been restored
	lossy  bool    // what the next start finds is not what was durable
	before []entry // its disk before it forgot
	stale  string  // the note it was left with
}

func (m *memberModel) forget() {
	w := m.c.w
	if m.forgot {
		w.cover.add("memory lost while it was being recovered")
	} else {
		m.before = m.disk
	}
	m.forgot, m.lossy, m.maybe = true, true, nil
}

// remembers looks whether the member takes itself for whole, and then whether it is.
func (m *memberModel) remembers() {
	var n messages.MemberNote
	if !m.forgot || m.note == m.stale || proto.Unmarshal([]byte(m.note), &n) != nil || !n.Begun || n.Recovering {
		return
	}
	m.forgot = false
	m.c.w.cover.add("memory restored")
	if last := min(len(m.before), len(m.g.committed)); last > 0 {
		m.g.checkQuorum(1, uint64(last), "after "+m.n.id+" took part again with memory lost")
	}
	m.before = nil
}

// counts: what it says is counted, unless it is marked.
func (m *memberModel) counts(what string, recovering uint64) {
	if m.forgot && recovering == 0 {
		m.c.w.violate("who has forgotten does not count", "group %d: %s from %s, which has lost memory", m.g.id, what, m.n.id)
	}
}

// maySpare says whether every group can bear that the node forgets: others that have
// forgotten included it is a minority.
func (w *World) maySpare(n *node) bool {
	if n.outsider || w.healed {
		return false
	}
	for _, g := range w.checks.groups {
		forgot := 1
		for _, m := range g.members {
			if m.n != n && (m.forgot || m.n.rotten != nil) {
				forgot++
			}
		}
		if 2*forgot >= len(g.members) {
			return false
		}
	}
	return true
}

// strikeMemory ends a process and takes from its disk what it must never forget.
func (w *World) strikeMemory(s strike, n *node) {
	if !w.maySpare(n) {
		return
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
		next := old.GetLife().GetNumber()
		if old.Begun {
			next++
		}
		for _, o := range g.members {
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

// knows is the number of the latest life of a member that this one has written down.
func (m *memberModel) knows(id string) uint64 {
	var n messages.MemberNote
	if proto.Unmarshal([]byte(m.note), &n) == nil {
		for _, k := range n.Known {
			if k.Member == id {
				return k.GetLife().GetNumber()
			}
		}
	}
	return 0
}

// rot makes the log of one of the node's members unreadable somewhere.
func (w *World) rot(n *node) {
	g := w.checks.groups[w.chaos.IntN(len(w.checks.groups))]
	m := g.members[n.number]
	if _, can := n.store.inner.(interface {
		Rot(group, index uint64) bool
	}); !can || len(m.disk) == 0 {
		return
	}
	index := uint64(1 + w.chaos.IntN(len(m.disk)))
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
