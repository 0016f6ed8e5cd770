package actors

import (
	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/messages"
)

// proposal is a command that has no index yet.
type proposal struct {
	Waiter
	kind              messages.EntryKind
	data              []byte
	session, sequence uint64
	acknowledged      uint64
}

func (p *proposal) entry() messages.EntryView {
	return messages.EntryView{Kind: p.kind, Data: p.data, Session: p.session, Sequence: p.sequence, Acknowledged: p.acknowledged}
}

// proposals is the queue of them, in order of arrival.
type proposals struct {
	items []proposal
	bytes int
}

func (q *proposals) add(p proposal) {
	q.items = append(q.items, p)
	q.bytes += messages.EntryBytes(len(p.data))
}

// next counts how many fit a block of about maxBytes, at least one, and their size. A
// configuration stands alone.
func (q *proposals) next(maxBytes int) (n, bytes int) {
	for n < len(q.items) && (n == 0 || bytes < maxBytes) {
		alone := q.items[n].kind == messages.EntryKind_CONFIGURATION || n > 0 && q.items[n-1].kind == messages.EntryKind_CONFIGURATION
		if n > 0 && alone {
			break
		}
		bytes += messages.EntryBytes(len(q.items[n].data))
		n++
	}
	return n, bytes
}

func (q *proposals) drop(n, bytes int) {
	rest := copy(q.items, q.items[n:])
	clear(q.items[rest:])
	q.items = q.items[:rest]
	q.bytes -= bytes
}

// onPropose queues a command for the block this turn will cut, or says at the door
// why not.
func (l *leader) onPropose(ctx actor.Context, m *messages.Propose, sender *actor.PID) {
	if !l.meant(m.LeaderTerm) {
		l.refuse(ctx, sender, m.Request, messages.Reason_NOT_LEADER)
		return
	}
	if !proposable(m) {
		l.refuse(ctx, sender, m.Request, messages.Reason_REFUSED)
		return
	}
	l.enqueue(ctx, proposal{
		Waiter: Waiter{sender, m.Request}, kind: m.Kind, data: m.Command,
		session: m.Session, sequence: m.Sequence, acknowledged: m.Acknowledged,
	})
}

func (l *leader) enqueue(ctx actor.Context, p proposal) {
	switch limits := l.opts.Limits; {
	case len(p.data) > limits.CommandBytes:
		l.refuse(ctx, p.To, p.Request, messages.Reason_TOO_LARGE)
	case l.room.none:
		l.refuse(ctx, p.To, p.Request, messages.Reason_DISK_FULL)
	case l.full():
		l.refuse(ctx, p.To, p.Request, messages.Reason_BUSY)
	default:
		l.queue.add(p)
	}
}

// full says whether nothing more can be kept.
func (l *leader) full() bool {
	limits := l.opts.Limits
	return len(l.queue.items) >= limits.QueuedProposals || l.queue.bytes >= limits.QueuedBytes ||
		l.uncommitted.bytes >= limits.UncommittedBytes || l.backlog.bytes >= limits.ApplyBacklogBytes
}

// mindDoor says how much more may come in. What has come in is taken, unless nothing more
// can be kept.
func (l *leader) mindDoor() {
	l.pace.Ended(l.applied, int64(l.now))
	room, bytes, limits := 0, 0, l.opts.Limits
	if !l.full() {
		room = min(l.pace.Room(len(l.queue.items), int64(l.now)), limits.QueuedProposals-len(l.queue.items))
		bytes = limits.QueuedBytes - l.queue.bytes
	}
	l.door.open(room, bytes)
}

// cut closes a block of what is queued and sends it to the peers and to the own
// disk. One block at a time is outstanding at the disk, and where that pays it waits for
// the one before to be applied: what comes meanwhile makes the next one larger. force is
// for the first entry of a term.
func (l *leader) cut(ctx actor.Context, force bool) {
	gathered := l.gather.MayClose(l.applied, int64(l.now))
	for len(l.queue.items) > 0 && (force || gathered && l.tail.unreported < l.opts.Limits.UnpersistedBlocks) {
		force = false
		b := l.encode()
		if err := l.appendBlock(ctx, b); err != nil {
			panic(err) // a leader does not write what it cannot read
		}
		l.uncommitted.add(core.Index(b.LastIndex()), b.Len())
		l.gather.Began(core.Index(b.LastIndex()), int64(l.now))
		l.pace.Began(core.Index(b.LastIndex()), len(b.Waiters), int64(l.now))
		l.eachReplicator(func(_ core.NodeID, pid *actor.PID) { ctx.Send(pid, &ReplicateBlock{Block: b.Block, Commit: l.commit}) })
		l.persist(ctx, b.Block, 0)
		if l.configIndex() == core.Index(b.LastIndex()) {
			l.reconfigure(ctx)
		}
	}
}

// handBackProposals gives what has no index yet to the Gateway, in order.
func (l *leader) handBackProposals(ctx actor.Context) {
	for _, p := range l.queue.items {
		switch p.kind {
		case messages.EntryKind_COMMAND, messages.EntryKind_NAMED_COMMAND, messages.EntryKind_SESSION:
			l.handBack(ctx, &messages.Propose{
				Group: l.opts.Group, Request: p.Request, Command: p.data, Kind: p.kind,
				Session: p.session, Sequence: p.sequence, Acknowledged: p.acknowledged,
			}, p.Waiter)
		case messages.EntryKind_QUERY:
			l.handBack(ctx, &messages.Query{
				Group: l.opts.Group, Request: p.Request, Query: p.data, Consistency: messages.Consistency_THROUGH_LOG,
			}, p.Waiter)
		}
	}
	l.queue = proposals{}
}

func (l *leader) handBack(ctx actor.Context, message any, w Waiter) {
	if l.failure != "" {
		l.refuse(ctx, w.To, w.Request, messages.Reason_STOPPED)
		return
	}
	l.forward(ctx, message, w.Request, w.To)
}

// encode makes one block of what is queued: the bytes that disk, wire and Applier
// share.
func (l *leader) encode() CommittedBlock {
	n, bytes := l.queue.next(l.opts.Limits.BlockBytes)
	last := l.tail.last()
	room := 0
	for i := range n {
		room += l.queue.items[i].entry().EncodedBytes()
	}
	w := messages.NewBlockWriter(messages.BlockHeader{
		Group: l.opts.Group, Incarnation: l.incarnation, Term: uint64(l.term),
		FirstIndex: uint64(last.Index) + 1, PrevTerm: uint64(last.Term),
		Time: max(l.tail.lastTime, l.rt.Clock.Wall()),
	}, room)
	waiters := make([]Waiter, n)
	for i := range n {
		p := &l.queue.items[i]
		w.Add(p.entry())
		waiters[i] = p.Waiter
	}
	l.queue.drop(n, bytes)
	return CommittedBlock{Block: w.Finish(), Waiters: waiters}
}

// uncommittedFrom counts what earlier leaders left in the log above commit.
func (l *leader) uncommittedFrom(commit core.Index) (b backlog) {
	if l.tail.last().Index > commit {
		for _, block := range l.tail.between(commit+1, l.tail.last().Index) {
			b.add(core.Index(block.LastIndex()), block.Len())
		}
	}
	return b
}

// backlog counts bytes on their way, until an index is reached.
type backlog struct {
	items []backlogItem
	bytes int
}

type backlogItem struct {
	last  core.Index
	bytes int
}

func (b *backlog) add(last core.Index, bytes int) {
	b.items = append(b.items, backlogItem{last, bytes})
	b.bytes += bytes
}

func (b *backlog) upTo(i core.Index) {
	n := 0
	for n < len(b.items) && b.items[n].last <= i {
		b.bytes -= b.items[n].bytes
		n++
	}
	b.items = b.items[:copy(b.items, b.items[n:])]
}
