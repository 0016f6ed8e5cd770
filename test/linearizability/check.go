package linearizability

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// Options of Check.
type Options struct {
	// Budget is how long porcupine may think about a key. A key it does not decide
	// is given ten times as much, once. Default 2 s.
	Budget time.Duration
}

const (
	defaultBudget = 2 * time.Second
	secondBudget  = 10 // times the first
)

// Violation is something one store could not have shown.
type Violation struct {
	Key    string
	Rule   string
	Detail string
}

func (v Violation) String() string { return fmt.Sprintf("key %s: %s: %s", v.Key, v.Rule, v.Detail) }

// Report is what Check found.
type Report struct {
	Keys       int
	Operations int
	Applied    int
	NotApplied int
	Unknown    int      // writes; reads of unknown outcome say nothing
	Undecided  []string // keys porcupine gave up on
	Violations []Violation
	Slowest    time.Duration // porcupine took for a key
}

// Err is nil when every key was decided and found in order.
func (r Report) Err() error {
	if len(r.Violations) == 0 && len(r.Undecided) == 0 {
		return nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d violations, %d keys undecided (not a pass)", len(r.Violations), len(r.Undecided))
	for _, v := range r.Violations[:min(len(r.Violations), 20)] {
		fmt.Fprintf(&b, "\n  %v", v)
	}
	for _, k := range r.Undecided[:min(len(r.Undecided), 20)] {
		fmt.Fprintf(&b, "\n  key %s: undecided", k)
	}
	return fmt.Errorf("%s", b.String())
}

func (r Report) String() string {
	return fmt.Sprintf("%d operations on %d keys: %d applied, %d not applied, %d writes unknown; %d violations, %d keys undecided, slowest key %v",
		r.Operations, r.Keys, r.Applied, r.NotApplied, r.Unknown, len(r.Violations), len(r.Undecided), r.Slowest.Round(time.Millisecond))
}

// Check checks a history, key by key.
func Check(ops []Operation, o Options) Report {
	if o.Budget == 0 {
		o.Budget = defaultBudget
	}
	r := Report{Operations: len(ops)}
	byKey := map[string][]Operation{}
	for _, op := range ops {
		byKey[op.Key] = append(byKey[op.Key], op)
		switch {
		case op.Outcome == Applied:
			r.Applied++
		case op.Outcome == NotApplied:
			r.NotApplied++
		case op.writes():
			r.Unknown++
		}
	}
	r.Keys = len(byKey)
	var mu sync.Mutex
	var workers sync.WaitGroup
	keys := make(chan string)
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for key := range keys {
				verdict, took := decide(byKey[key], o.Budget)
				found := CheckRules(byKey[key])
				mu.Lock()
				r.note(key, verdict, took, found)
				mu.Unlock()
			}
		})
	}
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		keys <- key
	}
	close(keys)
	workers.Wait()
	slices.Sort(r.Undecided)
	slices.SortStableFunc(r.Violations, func(a, b Violation) int { return strings.Compare(a.Key, b.Key) })
	return r
}

func (r *Report) note(key string, verdict porcupine.CheckResult, took time.Duration, found []Violation) {
	r.Slowest = max(r.Slowest, took)
	r.Violations = append(r.Violations, found...)
	switch verdict {
	case porcupine.Ok:
	case porcupine.Illegal:
		r.Violations = append(r.Violations, Violation{key, "linearizability", "no order of the operations explains what the clients saw"})
	default:
		r.Undecided = append(r.Undecided, key)
	}
}

// decide asks porcupine about the operations of one key.
func decide(ops []Operation, budget time.Duration) (porcupine.CheckResult, time.Duration) {
	model := textModel
	if slices.ContainsFunc(ops, func(op Operation) bool { return op.Kind == Incr }) {
		model = counterModel
	}
	history := make([]porcupine.Operation, 0, len(ops))
	for i := range ops {
		op := &ops[i]
		if op.Outcome == NotApplied || op.Outcome == Unknown && !op.writes() {
			continue
		}
		history = append(history, porcupine.Operation{ClientId: op.Client, Input: stepOf(op), Call: op.Start, Return: op.End})
	}
	begin := time.Now()
	verdict := porcupine.CheckOperationsTimeout(model, history, budget)
	if verdict == porcupine.Unknown {
		verdict = porcupine.CheckOperationsTimeout(model, history, secondBudget*budget)
	}
	return verdict, time.Since(begin)
}
