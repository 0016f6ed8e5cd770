package actors

import (
	"fmt"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/messages"
)

// Groups that come and go. A group that was deleted and is made again is another
// incarnation of it: its members have other names, so that what was meant for those of
// an earlier one reaches nobody; its terms and its sessions' numbers begin above all of
// theirs, so that what goes by group alone cannot be taken for its own.

// IncarnationMax is the highest incarnation of a group.
const IncarnationMax = 1 << 20

// incarnationBits: so many terms, and indexes of sessions, has one incarnation.
const incarnationBits = 40

// incarnationStart is what the terms of an incarnation are all above.
func incarnationStart(incarnation uint64) uint64 {
	return (max(incarnation, 1) - 1) << incarnationBits
}

// MemberName is what a group's member is to be spawned as on every node. Incarnation 0
// is 1.
func MemberName(group, incarnation uint64) string {
	if incarnation <= 1 {
		return fmt.Sprintf("raft-%d", group)
	}
	return fmt.Sprintf("raft-%d.%d", group, incarnation)
}

// bootstrapTerm is the term of the entry that every member of a new group begins
// with; elections start above it.
func (r *raft) bootstrapTerm() core.Term { return core.Term(incarnationStart(r.incarnation) + 1) }

// sessionID numbers the session that an entry opens: unlike its index it is nobody
// else's in any incarnation of the group.
func sessionID(index, incarnation uint64) uint64 { return incarnationStart(incarnation) + index }

// settleIncarnation takes that of what is stored, or the one asked for where nothing is.
// One member may be asked for no other than it has: whoever deletes a group says so.
func (s *starting) settleIncarnation(st *logstore.GroupState) error {
	found := max(st.Incarnation, s.snapshot.GetIncarnation())
	asked := s.opts.Incarnation
	if found != 0 && asked != 0 && found != asked {
		return fmt.Errorf("what is stored is of incarnation %d of the group, expected %d: delete that one first", found, asked)
	}
	s.incarnation = max(found, asked, 1)
	return nil
}

// DeleteGroup: any actor → Node, local; answered with LogDeleted by the LogWriter, with
// GroupKept by the Node, or with StorageFailed. Forget all that is stored of a group that
// has no member here any more.
type DeleteGroup struct {
	Group uint64
}

// GroupKept: Node → whoever sent DeleteGroup, local. Nothing was deleted.
type GroupKept struct {
	Group  uint64
	Reason string
}

// DeleteLog: Node → LogWriter, local; answered with LogDeleted or StorageFailed to who
// asked. Delete everything of the group, behind what was to be written of it before.
type DeleteLog struct {
	Group uint64
}

// LogDeleted: LogWriter → whoever sent DeleteGroup, local. Nothing of the group's log,
// terms and votes is left on disk.
type LogDeleted struct {
	Group uint64
}

// GroupDeleted: Node → Gateway, local. Nobody here knows the group any more.
type GroupDeleted struct {
	Group uint64
}

// onDeleteGroup: a member that has stopped has given its last to the LogWriter before.
func (n *node) onDeleteGroup(ctx actor.Context, m *DeleteGroup, sender *actor.PID) {
	reason := ""
	switch {
	case sender == nil:
		return
	case n.members[m.Group] != nil:
		reason = fmt.Sprintf("group %d has a member on this node: %s; stop it first", m.Group, n.members[m.Group].Id)
	case n.links.LogWriter == nil:
		reason = "this process keeps no groups"
	case n.storage != "":
		reason = "storage failed: " + n.storage
	}
	if reason != "" {
		ctx.Send(sender, &GroupKept{Group: m.Group, Reason: reason})
		return
	}
	ctx.Send(n.links.Gateway, &GroupDeleted{Group: m.Group})
	ctx.RequestWithCustomSender(n.links.LogWriter, &DeleteLog{Group: m.Group}, sender)
}

// onGroupDeleted refuses what waits for a group that is no more.
func (g *gateway) onGroupDeleted(m *GroupDeleted) {
	r := g.routes[m.Group]
	if r == nil {
		return
	}
	for _, id := range r.parked {
		if op := g.waiting[id]; op != nil {
			g.forget(id)
			g.refuse(op.asker, messages.Reason_NO_GROUP, "")
		}
	}
	for _, id := range g.ids() { // with a leader elsewhere: it knows, nobody here will
		if op := g.waiting[id]; op.group == m.Group {
			g.forget(id)
			item := expired(op)
			item.Reason = messages.Reason_NO_GROUP
			g.replies.add(op.asker, item)
		}
	}
	delete(g.routes, m.Group)
}

func (w *logWriter) onDeleteLog(m *DeleteLog, sender *actor.PID) {
	w.updates = append(w.updates, logstore.Update{Group: m.Group, Delete: true})
	w.facts = append(w.facts, fact{m.Group, sender, &LogDeleted{Group: m.Group}, true})
}
