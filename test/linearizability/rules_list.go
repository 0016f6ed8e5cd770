package linearizability

import (
	"math"
	"strings"
)

// ListSeparator ends every Value that is appended to a list.
const ListSeparator = ";"

// checkList: a list only grows, so whatever is read of it is the beginning of the
// longest reading. Lists that are also replaced or deleted are left to porcupine.
func (r *rules) checkList() {
	if r.has(Put, PutNew, Swap, CompareAndSwap, Delete, Incr) {
		return
	}
	longest := ""
	for i := range r.ops {
		if op := &r.ops[i]; op.Kind == Get && op.Outcome == Applied && len(op.Text) > len(longest) {
			longest = op.Text
		}
	}
	ends, ok := r.checkElements(longest)
	if !ok {
		return
	}
	var acknowledged []point // when acknowledged, where it ends in the list
	for i := range r.ops {
		op := &r.ops[i]
		if op.Kind != Append || op.Outcome != Applied {
			continue
		}
		end, there := ends[op.Value]
		if !there {
			end = math.MaxInt64 // beyond every reading
		}
		acknowledged = append(acknowledged, point{op.End, end})
		if there && op.Number != end {
			r.report("list", "%v, but it ends at %d", op, end)
		}
	}
	r.checkReadings(longest, newTimeline(acknowledged), r.starts(ends))
}

// checkElements checks the longest reading, and returns where each element ends.
func (r *rules) checkElements(longest string) (map[string]int64, bool) {
	appends := map[string]*Operation{}
	for i := range r.ops {
		if op := &r.ops[i]; op.Kind == Append {
			if appends[op.Value] != nil || !strings.HasSuffix(op.Value, ListSeparator) {
				return nil, false // elements that cannot be told apart
			}
			appends[op.Value] = op
		}
	}
	ends := map[string]int64{}
	end, latest := int64(0), int64(math.MinInt64)
	for element := range strings.SplitAfterSeq(longest, ListSeparator) {
		if element == "" {
			continue
		}
		end += int64(len(element))
		op, _ := appends[element]
		switch {
		case op == nil:
			r.report("phantom", "element %q, which nobody appended", element)
			continue
		case op.Outcome == NotApplied:
			r.report("phantom", "element %q is there, but %v", element, op)
		case ends[element] != 0:
			r.report("duplicate", "element %q is there twice: %v", element, op)
		case op.End < latest:
			r.report("order", "element %q stands behind one appended later: %v", element, op)
		}
		ends[element], latest = end, max(latest, op.Start)
	}
	return ends, true
}

// starts is, by length of the list, the latest start of the appends within it.
func (r *rules) starts(ends map[string]int64) *timeline {
	var points []point
	for i := range r.ops {
		if op := &r.ops[i]; op.Kind == Append && ends[op.Value] != 0 {
			points = append(points, point{ends[op.Value], op.Start})
		}
	}
	return newTimeline(points)
}

func (r *rules) checkReadings(longest string, acknowledged, starts *timeline) {
	for i := range r.ops {
		op := &r.ops[i]
		if op.Kind != Get || op.Outcome != Applied {
			continue
		}
		length := int64(len(op.Text))
		switch {
		case !strings.HasPrefix(longest, op.Text):
			r.report("order", "%v is not the beginning of %q", op, longest)
		case acknowledged.mostBefore(op.Start) > length:
			r.report("lost or stale", "%v lacks an element acknowledged before", op)
		case starts.mostBefore(length+1) > op.End:
			r.report("read from the future", "%v has an element appended later", op)
		}
	}
}
