package sim

import (
	"cmp"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/protoraft/protoraft/fsm"
	"github.com/protoraft/protoraft/messages"
)

// Client history: every key's history is linearizable, with the outcomes clients were
// told; exactly one answer a request, and one for every request to a process that
// lives on; what was answered as not applied is never applied.
//
// A list that is only appended to has one order, known from the log. So every answer
// can be checked as it comes, by its place in that order: it may not be before
// anything that was answered before it was asked for. At the end Porcupine is asked
// about each key as well, which takes from the log only what clients were not told.

type history struct {
	c            *checks
	ops          []*op
	byRequest    map[uint64]*op
	clock        int64
	acknowledged int
}

// keyModel is a key's list as committed.
type keyModel struct {
	hashes  []uint64 // after each length, from 1
	indexes []uint64 // of the entries that made it so long
	floor   uint32   // longest that any client was shown
	floors  []shownFloor
}

// shownFloor says since when the longest that was shown is so long.
type shownFloor struct {
	at     time.Duration
	length uint32
}

// appended is what became of a value in the log.
type appended struct {
	index  uint64
	key    uint8
	result result
}

func (h *history) begin(c *checks) { h.c, h.byRequest = c, map[uint64]*op{} }

func (h *history) tick() int64 {
	h.clock++
	return h.clock
}

func (h *history) called(o *op) {
	o.request = uint64(len(h.ops)) + 1
	h.ops = append(h.ops, o)
	h.byRequest[o.request] = o
	o.call = h.tick()
	g := h.c.group(o.group)
	o.floor = g.keys[o.command.key].floor
	o.term = g.latestTerm()
}

func (g *groupModel) latestTerm() (term uint64) {
	for _, m := range g.members {
		term = max(term, m.leads)
	}
	return term
}

// applied is told of an entry when the first machine applies it.
func (h *history) applied(g *groupModel, e fsm.Entry) {
	w := h.c.w
	r, err := g.reference.execute(e.Data)
	if err != nil {
		w.violate("only what clients sent is applied", "group %d: entry %d: %v", g.id, e.Index, err)
		return
	}
	c, err := decodeCommand(e.Data)
	if err != nil {
		return // as above
	}
	if twice, ok := g.values[c.value]; ok {
		w.violate("applied once", "group %d: value %d at %d and at %d", g.id, c.value, twice.index, e.Index)
		return
	}
	if o, ok := g.refused[c.value]; ok {
		w.violate("not applied means never", "group %d: %v was answered as not applied (%v), and is applied at %d", g.id, o, o.reason, e.Index)
		return
	}
	if e.Index <= uint64(len(g.committed)) && g.committed[e.Index-1].inSession() {
		g.sessions.table.Applied(r.encode())
	}
	g.values[c.value] = appended{e.Index, c.key, r}
	if r.appended {
		k := &g.keys[c.key]
		k.hashes, k.indexes = append(k.hashes, r.hash), append(k.indexes, e.Index)
	}
}

// answered checks an answer, and returns the operation if its client still waits.
func (h *history) answered(n *node, item *messages.ResultItem) *op {
	w := h.c.w
	o := h.byRequest[item.Request]
	w.trace.add(evClient, uint64(n.number), item.Request, uint64(item.Outcome)<<32|uint64(item.Reason), digest(item.Data))
	w.trace.printf("answer at %s: %+v", n.id, *item)
	if o == nil || o.node != n || o.life != n.life {
		w.violate("exactly one answer", "answer at %s to request %d, which was not asked there", n.id, item.Request)
		return nil
	}
	if o.answers++; o.answers > 1 {
		w.violate("exactly one answer", "%v is answered again: %+v after %v %v", o, *item, o.outcome, o.reason)
		return nil
	}
	o.outcome, o.reason, o.index = item.Outcome, item.Reason, item.Index
	h.countAnswer(o)
	switch o.outcome {
	case messages.Outcome_APPLIED:
		h.checkApplied(o, item)
	case messages.Outcome_NOT_APPLIED:
		h.checkRefused(o)
	}
	if o.settled {
		w.cover.add("answer after its client gave up")
		return nil
	}
	o.back = h.tick()
	return o
}

func (h *history) countAnswer(o *op) {
	w := h.c.w
	switch o.reason {
	case messages.Reason_BUSY:
		w.cover.add("answer: busy")
	case messages.Reason_DISK_FULL:
		w.cover.add("answer: disk full")
	case messages.Reason_LEADERSHIP_LOST:
		w.cover.add("answer: leadership lost")
	case messages.Reason_TOO_LARGE:
		w.cover.add("answer: too large")
	case messages.Reason_NO_LEADER:
		w.cover.add("answer: no leader")
	case messages.Reason_TIMED_OUT:
		w.cover.add("answer: timed out")
	case messages.Reason_SESSION_EXPIRED:
		w.cover.add("answer: session expired")
	case messages.Reason_STOPPED:
		w.cover.add("answer: stopped")
	}
	if o.outcome == messages.Outcome_APPLIED && !o.kind.writes() {
		w.cover.add("answered: " + o.kind.String())
	}
	if o.outcome == messages.Outcome_APPLIED && o.kind == opRead && o.term != h.c.group(o.group).latestTerm() {
		w.cover.add("read answered after the leader changed")
	}
}

func (h *history) checkApplied(o *op, item *messages.ResultItem) {
	w, g := h.c.w, h.c.group(o.group)
	if o.kind == opOpen {
		o.opened = item.Index
		return
	}
	if item.Reason == messages.Reason_REPLY_LOST && !h.replyLost(o, item) {
		return
	}
	r, err := decodeResult(item.Data)
	if err != nil {
		w.violate("linearizable", "%v: %v", o, err)
		return
	}
	o.result = r
	if o.node.outsider {
		w.cover.add("answer to a process without members")
	}
	k := &g.keys[o.command.key]
	if r.length > uint32(len(k.hashes)) || r.length > 0 && k.hashes[r.length-1] != r.hash {
		w.violate("linearizable", "%v shows a list of %d that never was (committed: %d)", o, r.length, len(k.hashes))
		return
	}
	if o.kind.writes() {
		h.acknowledged++
		a, ok := g.values[o.command.value]
		if !ok || a.index != item.Index || a.result != r || a.key != o.command.key {
			w.violate("acknowledged means applied", "%v was acknowledged at %d with %+v, the log has %+v", o, item.Index, r, a)
			return
		}
	}
	switch o.kind {
	case opReadStale:
		return
	case opReadAtLeast:
		if due, _ := slices.BinarySearch(k.indexes, o.atLeast+1); item.Index < o.atLeast || r.length < uint32(due) {
			w.violate("a read at least at an index", "%v, read at %d, shows a list of %d; at %d it was %d long", o, item.Index, r.length, o.atLeast, due)
		}
		return
	case opReadWithin:
		if r.length < o.floor {
			w.violate("a read within an age", "%v shows a list of %d, and %d had been shown %v before it was asked for", o, r.length, o.floor, o.within)
		}
		return
	}
	if r.length < o.floor || r.appended && r.length == o.floor {
		w.violate("linearizable", "%v shows a list of %d, and %d had been shown before it was asked for", o, r.length, o.floor)
		return
	}
	if !o.settled { // else its client never sees it
		k.show(w.now, r.length)
		if o.kind.writes() {
			g.acknowledged = max(g.acknowledged, item.Index)
		}
	}
}

func (k *keyModel) show(at time.Duration, length uint32) {
	if length > k.floor {
		k.floor = length
		k.floors = append(k.floors, shownFloor{at, length})
	}
}

// floorBefore is what a read must show that may be so old, by clocks that may run fast.
func (h *history) floorBefore(o *op) uint32 {
	floors := h.c.group(o.group).keys[o.command.key].floors
	since := h.c.w.now - time.Duration(float64(o.within)/(1-h.c.w.setup.drift)) - 1
	n, _ := slices.BinarySearchFunc(floors, since, func(f shownFloor, t time.Duration) int { return cmp.Compare(f.at, t) })
	if n == 0 {
		return 0
	}
	return floors[n-1].length
}

func (h *history) checkRefused(o *op) {
	g := h.c.group(o.group)
	if !o.kind.writes() || o.once != nil {
		return // another try may be applied
	}
	if a, ok := g.values[o.command.value]; ok {
		h.c.w.violate("not applied means never", "%v was answered as not applied (%v), and was applied at %d", o, o.reason, a.index)
		return
	}
	g.refused[o.command.value] = o
}

// finish looks at what can only be said at the end.
func (h *history) finish() {
	w := h.c.w
	for _, o := range h.ops {
		if o.answers == 0 && o.node.up && o.life == o.node.life {
			w.violate("exactly one answer", "%v was never answered, and its process lives on", o)
			return
		}
		if o.after != nil && o.outcome == messages.Outcome_APPLIED && o.after.outcome == messages.Outcome_APPLIED && o.answers > 0 && o.after.answers > 0 &&
			o.result.length < o.after.result.length {
			w.violate("a read after writes sees them", "%v shows a list of %d, the append before it made it %d", o, o.result.length, o.after.result.length)
			return
		}
	}
	for _, g := range h.c.groups {
		for key := range g.keys {
			h.linearizable(g, uint8(key))
		}
	}
}

// porcupineOps bounds a key's history for Porcupine: a prefix of a linearizable
// history is linearizable, and one that is cut is cheap.
const (
	porcupineOps  = 300
	porcupineTime = 2 * time.Minute
)

func (h *history) linearizable(g *groupModel, key uint8) {
	var ops []*op
	for _, o := range h.ops {
		if o.group == g.id && o.command.key == key && o.kind.linearizable() && o.kind != opLarge && o.kind != opOpen && !o.repeats && !h.crowds(o) {
			ops = append(ops, o)
		}
	}
	end := h.clock + 1
	if len(ops) > porcupineOps {
		end = ops[porcupineOps].call
		ops = ops[:porcupineOps]
	}
	var events []porcupine.Operation
	longest := uint32(0)
	for _, o := range ops {
		if o.shown(end) && o.outcome == messages.Outcome_APPLIED {
			events = append(events, porcupine.Operation{Input: o, Call: o.call, Output: o.result, Return: o.back})
			longest = max(longest, o.result.length)
		}
	}
	// A write whose client was not told, or not yet, is where the log has it. Beyond
	// what anybody was shown it tells nothing.
	for _, o := range ops {
		a, inLog := g.values[o.command.value]
		if o.kind.writes() && !o.shown(end) && inLog && a.result.appended && a.result.length <= longest {
			events = append(events, porcupine.Operation{Input: o, Call: o.call, Output: a.result, Return: h.clock + 2})
		}
	}
	if len(events) == 0 {
		return
	}
	// Each operation as a client of its own: one that timed out goes on.
	for i := range events {
		events[i].ClientId = i
	}
	switch porcupine.CheckOperationsTimeout(listModel, slices.Clip(events), porcupineTime) {
	case porcupine.Illegal:
		h.c.w.violate("linearizable", "group %d, key %d: Porcupine finds no order for its %d operations", g.id, key, len(events))
	case porcupine.Unknown:
		h.c.w.violate("linearizable", "group %d, key %d: Porcupine has not decided on %d operations in %v", g.id, key, len(events), porcupineTime)
	}
}

// crowds says whether it is one of the many reads at once of a strike, which change
// nothing: each was looked at when it was answered, and Porcupine takes long over them.
func (h *history) crowds(o *op) bool {
	hunter := h.c.w.hunter
	return hunter != nil && o.client == hunter.number && !o.kind.writes()
}

// shown says whether the client was told before end what became of its operation.
func (o *op) shown(end int64) bool {
	return o.back > 0 && o.back < end && o.outcome != messages.Outcome_UNKNOWN &&
		(o.once == nil || o.outcome == messages.Outcome_APPLIED) // else another try may be
}

// listModel is one key's list.
var listModel = porcupine.Model{
	Init: func() any { return list{} },
	Step: func(state, input, output any) (bool, any) {
		l, o, r := state.(list), input.(*op), output.(result)
		if !o.kind.writes() {
			return r.list == l, l
		}
		does := !o.command.onlyAt || o.command.expect == l.length
		if does {
			l.append(o.command.value)
		}
		return r.appended == does && r.list == l, l
	},
	Equal: func(a, b any) bool { return a.(list) == b.(list) },
	Hash:  func(state any) uint64 { return state.(list).hash },
}
