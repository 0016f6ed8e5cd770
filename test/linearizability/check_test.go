package linearizability

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"
)

// at makes an operation of key k that lasts from start to end.
func at(start, end int64, kind Kind, value string, result Result) Operation {
	op := Operation{Key: "k", Kind: kind, Value: value, Result: result, Start: start, End: end}
	if kind == Incr {
		op.Delta = 1
	}
	if result.Outcome == Unknown {
		op.End = Never
	}
	return op
}

var (
	done = Result{Outcome: Applied}
	lost = Result{Outcome: Unknown}
	none = Result{Outcome: Applied} // of a Get
	not  = Result{Outcome: NotApplied}
)

func saw(text string) Result { return Result{Outcome: Applied, Text: text, Found: true} }
func number(n int64) Result  { return Result{Outcome: Applied, Number: n} }
func get(s, e int64, text string) Operation {
	return at(s, e, Get, "", saw(text))
}

// TestPlanted plants what a broken store shows, beside what a correct one may show.
// Each violation must be named by a rule in linear time, or by porcupine alone where
// byRule is empty.
func TestPlanted(t *testing.T) {
	for _, c := range []struct {
		name   string
		ops    []Operation
		broken bool
		byRule string
	}{
		{name: "put and get", ops: []Operation{at(1, 2, Put, "a", done), get(3, 4, "a")}},
		{name: "read of an unknown write", ops: []Operation{at(1, 2, Put, "a", lost), get(3, 4, "a")}},
		{name: "unknown write shows late", ops: []Operation{
			at(1, 2, Put, "a", lost), at(3, 4, Put, "b", done), get(5, 6, "b"), get(7, 8, "a")}},
		{name: "unknown write never shows", ops: []Operation{at(1, 2, Put, "a", lost), at(3, 4, Get, "", none)}},
		{name: "concurrent reads agree", ops: []Operation{at(1, 9, Put, "a", done), at(2, 3, Get, "", none), get(4, 5, "a")}},

		{name: "lost write", broken: true, byRule: "lost write",
			ops: []Operation{at(1, 2, Put, "a", done), at(3, 4, Get, "", none)}},
		{name: "lost write after deletion", broken: true, byRule: "lost write", ops: []Operation{
			at(1, 2, Delete, "", number(0)), at(3, 4, Put, "a", done), at(5, 6, Get, "", none)}},
		{name: "deleted", ops: []Operation{
			at(1, 2, Put, "a", done), at(3, 4, Delete, "", lost), at(5, 6, Get, "", none)}},
		{name: "stale read", broken: true, byRule: "stale read", ops: []Operation{
			at(1, 2, Put, "a", done), at(3, 4, Put, "b", done), get(5, 6, "a")}},
		{name: "stale read after deletion", broken: true, byRule: "stale read", ops: []Operation{
			at(1, 2, Put, "a", done), at(3, 4, Delete, "", number(1)), get(5, 6, "a")}},
		{name: "reads go back", broken: true, ops: []Operation{
			at(1, 2, Put, "a", done), at(3, 20, Put, "b", done), get(4, 5, "b"), get(6, 7, "a")}},
		{name: "phantom", broken: true, byRule: "phantom", ops: []Operation{get(1, 2, "a")}},
		{name: "refused write shows", broken: true, byRule: "phantom", ops: []Operation{at(1, 2, Put, "a", not), get(3, 4, "a")}},
		{name: "condition failed, value shows", broken: true, byRule: "phantom", ops: []Operation{
			at(1, 2, Put, "a", done), at(3, 4, PutNew, "b", number(0)), get(5, 6, "b")}},
		{name: "read from the future", broken: true, byRule: "read from the future", ops: []Operation{
			get(1, 2, "a"), at(3, 4, Put, "a", done)}},
		{name: "put new twice", broken: true, ops: []Operation{
			at(1, 2, PutNew, "a", number(1)), at(3, 4, PutNew, "b", number(1))}},
		{name: "swaps of one value", broken: true, byRule: "lost update", ops: []Operation{
			at(1, 2, Put, "a", done), at(3, 8, Swap, "b", saw("a")), at(4, 7, Swap, "c", saw("a"))}},
		{name: "duplicate apply of a put", broken: true, byRule: "stale read", ops: []Operation{
			at(1, 2, Put, "a", done), at(3, 4, Put, "b", done), get(5, 6, "b"), get(7, 8, "a")}},

		{name: "counter", ops: []Operation{
			at(1, 2, Incr, "", number(1)), at(3, 4, Incr, "", lost), at(5, 6, Incr, "", number(3)), get(7, 8, "3")}},
		{name: "counter, not there yet", ops: []Operation{
			at(1, 2, Get, "", Result{Outcome: Applied, Text: "-1", Number: -1}), at(3, 4, Incr, "", number(1))}},
		{name: "counter, lost update", broken: true, byRule: "lost update", ops: []Operation{
			at(1, 4, Incr, "", number(1)), at(2, 3, Incr, "", number(1))}},
		{name: "counter, duplicate apply", broken: true, byRule: "counter", ops: []Operation{
			at(1, 2, Incr, "", number(1)), at(3, 4, Incr, "", number(3))}},
		{name: "counter, duplicate apply seen by a read", broken: true, byRule: "counter", ops: []Operation{
			at(1, 2, Incr, "", number(1)), get(3, 4, "2")}},
		{name: "counter, refused increment shows", broken: true, byRule: "counter", ops: []Operation{
			at(1, 2, Incr, "", not), get(3, 4, "1")}},
		{name: "counter, stale read", broken: true, byRule: "counter", ops: []Operation{
			at(1, 2, Incr, "", number(1)), at(3, 4, Incr, "", number(2)), get(5, 6, "1")}},
		{name: "counter, increments out of order", broken: true, ops: []Operation{
			at(1, 9, Incr, "", number(1)), at(2, 3, Incr, "", number(3)), at(4, 8, Incr, "", number(2))}},

		{name: "list", ops: []Operation{
			at(1, 2, Append, "a;", number(2)), at(3, 4, Append, "b;", lost), at(5, 6, Append, "c;", number(6)), get(7, 8, "a;b;c;")}},
		{name: "list, lost element", broken: true, byRule: "lost or stale", ops: []Operation{
			at(1, 2, Append, "a;", number(2)), at(3, 4, Append, "b;", number(4)), get(5, 6, "a;")}},
		{name: "list, duplicate apply", broken: true, byRule: "duplicate", ops: []Operation{
			at(1, 2, Append, "a;", number(2)), get(3, 4, "a;a;")}},
		{name: "list, phantom", broken: true, byRule: "phantom", ops: []Operation{
			at(1, 2, Append, "a;", number(2)), get(3, 4, "a;x;")}},
		{name: "list, refused element shows", broken: true, byRule: "phantom", ops: []Operation{
			at(1, 2, Append, "a;", not), get(3, 4, "a;")}},
		{name: "list, order", broken: true, byRule: "order", ops: []Operation{
			at(1, 2, Append, "a;", number(2)), at(3, 4, Append, "b;", lost), get(5, 6, "b;a;")}},
		{name: "list, histories part", broken: true, byRule: "order", ops: []Operation{
			at(1, 9, Append, "a;", lost), at(1, 9, Append, "b;", lost), get(2, 3, "a;"), get(4, 5, "b;a;")}},
		{name: "list, wrong length", broken: true, byRule: "list", ops: []Operation{
			at(1, 2, Append, "a;", number(4)), get(3, 4, "a;")}},
		{name: "list, read from the future", broken: true, byRule: "read from the future", ops: []Operation{
			get(1, 2, "a;"), at(3, 4, Append, "a;", number(2))}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := Check(c.ops, Options{})
			if got := r.Err() != nil; got != c.broken {
				t.Fatalf("broken %v, expected %v: %v", got, c.broken, r.Err())
			}
			var rules []string
			for _, v := range r.Violations {
				rules = append(rules, v.Rule)
			}
			if all := strings.Join(rules, ","); c.broken && (!strings.Contains(all, c.byRule) || !strings.Contains(all, "linearizability")) {
				t.Errorf("rules that objected: %s; expected %q and porcupine", all, c.byRule)
			}
		})
	}
}

// TestUndecided plants one bad read among so many unknown writes that porcupine
// must give up.
func TestUndecided(t *testing.T) {
	var ops []Operation
	for i := range int64(24) {
		ops = append(ops, at(1, Never, Append, fmt.Sprintf("u%d", i), lost))
	}
	for i := range int64(40) {
		ops = append(ops, at(10+i, 11+i, Append, "x", lost))
	}
	ops = append(ops, get(1000, 1001, "no"))
	r := Check(ops, Options{Budget: time.Millisecond})
	if len(r.Undecided) != 1 || r.Err() == nil || !strings.Contains(r.Err().Error(), "undecided") {
		t.Fatalf("undecided %q, error %v; expected key k to be undecided, and that to be an error", r.Undecided, r.Err())
	}
}

// store is a correct store, or one that breaks a little: now and then it forgets an
// acknowledged write, serves a read from the state before, or applies twice.
type store struct {
	mu      sync.Mutex
	now     map[string]string
	before  map[string]string
	fault   string
	chance  int // one in
	r       *rand.Rand
	planted int
}

func (s *store) do(op Operation) Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	faulty := s.fault != "" && s.r.IntN(s.chance) == 0
	if op.Kind == Get {
		text, found := s.now[op.Key]
		if old, was := s.before[op.Key]; faulty && s.fault == "stale" && was && old != text {
			s.planted++
			text = old
		}
		return Result{Outcome: Applied, Text: text, Found: found}
	}
	if s.r.IntN(100) == 0 { // refused
		return Result{Outcome: NotApplied}
	}
	old, had := s.now[op.Key]
	result := s.apply(op)
	switch {
	case faulty && s.fault == "lost" && had:
		s.planted++
		s.now[op.Key] = old
	case faulty && s.fault == "twice":
		s.planted++
		s.apply(op)
	}
	if s.r.IntN(100) == 0 {
		return Result{}
	}
	s.before[op.Key] = old
	return result
}

func (s *store) apply(op Operation) Result {
	switch op.Kind {
	case Append:
		s.now[op.Key] += op.Value
		return number(int64(len(s.now[op.Key])))
	case Incr:
		var n int64
		_, _ = fmt.Sscan(s.now[op.Key], &n)
		s.now[op.Key] = fmt.Sprint(n + op.Delta)
		return number(n + op.Delta)
	default:
		s.now[op.Key] = op.Value
		return done
	}
}

// load has clients work on a store at the same time.
func load(s *store, kind Kind) []Operation {
	h, keys := NewHistory(), NewKeys("k", 4)
	var clients sync.WaitGroup
	for id := range 6 {
		client, r := h.Client(), rand.New(rand.NewPCG(1, uint64(id)))
		clients.Go(func() {
			for n := range 400 {
				op := Operation{Key: keys.Pick(r)}
				if r.IntN(3) > 0 {
					op.Kind, op.Value, op.Delta = kind, fmt.Sprintf("%d.%d;", id, n), 1
				}
				if client.Do(op, func() Result { return s.do(op) }).Outcome == Unknown {
					keys.Unknown(op.Key)
				}
			}
		})
	}
	clients.Wait()
	return h.Operations()
}

// TestLoad checks concurrent histories of a correct store and of broken ones.
func TestLoad(t *testing.T) {
	for _, kind := range []Kind{Put, Incr, Append} {
		for _, fault := range []string{"", "lost", "stale", "twice"} {
			if fault == "twice" && kind == Put {
				continue // invisible when nothing comes between
			}
			t.Run(fmt.Sprintf("%v %s", kind, fault), func(t *testing.T) {
				s := &store{now: map[string]string{}, before: map[string]string{}, fault: fault, chance: 40, r: rand.New(rand.NewPCG(7, 7))}
				r := Check(load(s, kind), Options{})
				t.Log(r)
				if fault == "" && r.Err() != nil {
					t.Error(r.Err())
				}
				if fault != "" && (s.planted == 0 || len(r.Violations) == 0) {
					t.Errorf("%d faults planted, %d violations found", s.planted, len(r.Violations))
				}
			})
		}
	}
}

func TestKeysAreReplaced(t *testing.T) {
	keys, r := NewKeys("k", 1), rand.New(rand.NewPCG(1, 1))
	for range OperationsPerKeyMax {
		if k := keys.Pick(r); k != "k0" {
			t.Fatalf("key %s, expected k0", k)
		}
	}
	for range UnknownsPerKeyMax {
		if k := keys.Pick(r); k != "k1" {
			t.Fatalf("key %s after %d operations, expected k1", k, OperationsPerKeyMax)
		}
		keys.Unknown("k1")
		keys.Unknown("k0") // replaced already
	}
	if k := keys.Pick(r); k != "k2" {
		t.Errorf("key %s after %d unknowns, expected k2", k, UnknownsPerKeyMax)
	}
}

func TestHistory(t *testing.T) {
	h := NewHistory()
	c := h.Client()
	c.Do(Operation{Key: "k", Kind: Put}, func() Result { return lost })
	c.Do(Operation{Key: "k", Kind: Put}, func() Result { return done })
	c.begin(Operation{Key: "k", Kind: Put})
	ops := h.Operations()
	if ops[0].Client == ops[1].Client || ops[0].End != Never {
		t.Errorf("%v, %v: expected another client after an operation that never ends", ops[0], ops[1])
	}
	if ops[1].Start < ops[0].Start || ops[1].End < ops[1].Start {
		t.Errorf("%v after %v: the clock went back", ops[1], ops[0])
	}
	if ops[2].Outcome != Unknown || ops[2].End != Never {
		t.Errorf("%v is under way, expected it to be unknown", ops[2])
	}
}
