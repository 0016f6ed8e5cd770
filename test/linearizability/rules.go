package linearizability

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sort"
	"strconv"
)

// CheckRules checks the operations of one key in linear time, but for sorting.
// What it reports is wrong for certain; what it accepts may still be.
func CheckRules(ops []Operation) []Violation {
	if len(ops) == 0 {
		return nil
	}
	r := &rules{key: ops[0].Key, ops: ops}
	switch {
	case r.has(Incr):
		r.checkCounter()
	case r.has(Append):
		r.checkList()
	default:
		r.checkRegister()
	}
	return r.found
}

type rules struct {
	key   string
	ops   []Operation
	found []Violation
}

func (r *rules) has(kinds ...Kind) bool {
	return slices.ContainsFunc(r.ops, func(op Operation) bool { return slices.Contains(kinds, op.Kind) })
}

func (r *rules) report(rule, format string, args ...any) {
	r.found = append(r.found, Violation{r.key, rule, fmt.Sprintf(format, args...)})
}

// timeline answers questions of the kind "the most among those that were at before
// t": most(t) is the greatest value of the points before t, total(t) their sum.
type timeline struct {
	points []point
	most   []int64
	total  []int64
}

type point struct{ at, value int64 }

func newTimeline(points []point) *timeline {
	slices.SortFunc(points, func(a, b point) int { return cmp.Compare(a.at, b.at) })
	l := &timeline{points: points}
	most, total := int64(math.MinInt64), int64(0)
	for _, p := range points {
		most, total = max(most, p.value), total+p.value
		l.most, l.total = append(l.most, most), append(l.total, total)
	}
	return l
}

func (l *timeline) before(t int64) int {
	return sort.Search(len(l.points), func(i int) bool { return l.points[i].at >= t })
}

func (l *timeline) mostBefore(t int64) int64 {
	if n := l.before(t); n > 0 {
		return l.most[n-1]
	}
	return math.MinInt64
}

func (l *timeline) totalBefore(t int64) int64 {
	if n := l.before(t); n > 0 {
		return l.total[n-1]
	}
	return 0
}

// checkRegister follows each value that was seen to the operation that stored it.
func (r *rules) checkRegister() {
	writers := map[string]*Operation{}
	var stored, overwritten, deleted []point // see below
	for i := range r.ops {
		op := &r.ops[i]
		if op.Kind != Get && op.Kind != Delete {
			if writers[op.Value] != nil {
				return // values that are not unique name nobody
			}
			writers[op.Value] = op
		}
		if op.Kind == Delete && op.Outcome != NotApplied {
			deleted = append(deleted, point{op.Start, op.End})
		}
		if !op.changed() {
			continue
		}
		overwritten = append(overwritten, point{op.End, op.Start})
		if op.Kind != Delete {
			stored = append(stored, point{op.End, op.Start})
		}
	}
	// By a time, the latest start of: anything that replaced the value, a value being
	// stored; and the latest end of a deletion.
	replaced, put, gone := newTimeline(overwritten), newTimeline(stored), newTimeline(deleted)
	predecessors := map[string]*Operation{}
	for i := range r.ops {
		op := &r.ops[i]
		if op.Outcome != Applied || op.Kind != Get && op.Kind != Swap {
			continue
		}
		if !op.Found {
			if latest := put.mostBefore(op.Start); latest != math.MinInt64 && gone.mostBefore(op.End) < latest {
				r.report("lost write", "%v, after a value was stored and none deleted", op)
			}
			continue
		}
		r.checkSeen(op, writers[op.Text], replaced)
		if op.Kind != Swap {
			continue
		}
		if other := predecessors[op.Text]; other != nil {
			r.report("lost update", "%v and %v replaced the same value", other, op)
		}
		predecessors[op.Text] = op
	}
}

// changed tells whether the operation surely replaced what was stored.
func (op *Operation) changed() bool {
	if op.Outcome != Applied {
		return false
	}
	switch op.Kind {
	case Put, Swap, Append, Incr:
		return true
	case PutNew, CompareAndSwap, Delete:
		return op.Number == 1
	default:
		return false
	}
}

func (r *rules) checkSeen(op, writer *Operation, replaced *timeline) {
	switch {
	case writer == nil:
		r.report("phantom", "%v, which nobody stored", op)
	case writer.Outcome == NotApplied, writer.Outcome == Applied && !writer.changed():
		r.report("phantom", "%v, but %v", op, writer)
	case writer.Start > op.End:
		r.report("read from the future", "%v, but %v", op, writer)
	case replaced.mostBefore(op.Start) > writer.End:
		r.report("stale read", "%v, long replaced: %v", op, writer)
	}
}

// checkCounter: a sum is at least what was acknowledged before, and at most what
// was begun. With deletions or negative deltas nothing of the kind holds.
func (r *rules) checkCounter() {
	var acknowledged, begun []point
	for i := range r.ops {
		op := &r.ops[i]
		if op.Kind != Get && op.Kind != Incr || op.Delta < 0 {
			return
		}
		if op.Kind == Incr && op.Outcome != NotApplied {
			begun = append(begun, point{op.Start, op.Delta})
			if op.Outcome == Applied {
				acknowledged = append(acknowledged, point{op.End, op.Delta})
			}
		}
	}
	least, most := newTimeline(acknowledged), newTimeline(begun)
	sums := map[int64]*Operation{}
	for i := range r.ops {
		op := &r.ops[i]
		if op.Outcome != Applied {
			continue
		}
		n, low := op.Number, least.totalBefore(op.Start)+op.Delta
		if op.Kind == Get {
			var err error
			if n, err = numberIn(op); err != nil {
				r.report("phantom", "%v, which is no number", op)
				continue
			}
		}
		if high := most.totalBefore(op.End + 1); n < low || n > high {
			r.report("counter", "%v, expected %d to %d", op, low, high)
		}
		if op.Kind != Incr || op.Delta == 0 {
			continue
		}
		if other := sums[n]; other != nil {
			r.report("lost update", "%v and %v answered the same", other, op)
		}
		sums[n] = op
	}
}

// numberIn is what a Get saw of a counter: 0 where there is none.
func numberIn(op *Operation) (int64, error) {
	if !op.Found {
		return 0, nil
	}
	return strconv.ParseInt(op.Text, 10, 64)
}
