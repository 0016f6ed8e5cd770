package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Minimising bounds the search for a smaller run.
type Minimising struct {
	For      time.Duration // stop after so long
	Runs     int           // or after so many runs
	Progress func(line string)
}

// minimiser looks for the smallest run that breaks a rule: it leaves something out,
// runs, and keeps what was done where the same rule still breaks.
type minimiser struct {
	Minimising
	run     Options
	best    Result
	runs    int
	until   time.Time
	changed bool
}

// Minimise shrinks a run that breaks a rule until nothing more can be left out, or
// the bounds are reached. It returns the smallest run found that breaks the same
// rule; its plan replays it. The first result is that of the run given.
func Minimise(o Options, with Minimising) (first, best Result, err error) {
	first = Run(o)
	if first.Failure == nil {
		return first, first, fmt.Errorf("seed %d breaks no rule, there is nothing to minimise", first.Seed)
	}
	o.Trace = nil
	m := &minimiser{Minimising: with, run: o, best: first, until: time.Now().Add(with.For)}
	m.passes()
	// What is left may hang on an accident of the order in which things happen.
	for order := uint64(1); order <= ordersMax && len(m.best.Plan.Decisions) > readable; order++ {
		if m.try(func(p *Plan) { p.Order = order }) {
			m.say("of the order")
			m.passes()
		}
	}
	return first, m.best, nil
}

// ordersMax is how many other orders are tried; readable, how few decisions need none.
const (
	ordersMax = 10
	readable  = 5
)

// passes goes on until nothing more can be left out.
func (m *minimiser) passes() {
	for m.changed = true; m.changed && !m.spent(); {
		m.changed = false
		m.pass()
	}
}

// pass tries to leave out everything once, what costs most first.
func (m *minimiser) pass() {
	m.shorten()
	m.features()
	for _, name := range m.best.Plan.clients() {
		m.dropAll(func(d *Decision) bool { return d.Client == name })
	}
	m.drop("asks", isAsk)
	for _, kind := range everyFault {
		m.dropAll(func(d *Decision) bool { return d.Fault == kind })
	}
	m.drop("faults", isFault)
	m.drop("strikes", isStrike)
	m.smaller()
	m.earlier()
}

func isFault(d *Decision) bool  { return d.Fault != "" }
func isStrike(d *Decision) bool { return d.Strike != "" }
func isAsk(d *Decision) bool    { return d.Ask != "" }

func (m *minimiser) spent() bool { return m.runs >= m.Runs || time.Now().After(m.until) }

// try runs an edited plan and keeps it where it breaks the same rule. An edit makes
// new lists: the best plan is never written to.
func (m *minimiser) try(edit func(*Plan)) bool {
	if m.spent() {
		return false
	}
	p := *m.best.Plan
	edit(&p)
	m.runs++
	m.run.Plan = &p
	r := Run(m.run)
	if r.Failure == nil || r.Failure.Invariant != m.best.Failure.Invariant {
		return false
	}
	m.best, m.changed = r, true
	return true
}

func (m *minimiser) say(what string) {
	if m.Progress != nil {
		m.Progress(fmt.Sprintf("run %d, without some %s: %v", m.runs, what, m.best.Plan))
	}
}

// shorten has the chaos end sooner, for what breaks only after healing.
func (m *minimiser) shorten() {
	for _, eighths := range []Moment{1, 2, 4, 6, 7} {
		for m.try(func(p *Plan) { p.cut(p.Length * eighths / 8) }) {
			m.say("time")
		}
	}
}

// cut ends a plan sooner.
func (p *Plan) cut(length Moment) {
	p.Length = length
	p.Decisions = p.keeping(func(d *Decision) bool { return d.At <= length })
}

func (p *Plan) keeping(keep func(*Decision) bool) (kept []Decision) {
	for i := range p.Decisions {
		if keep(&p.Decisions[i]) {
			kept = append(kept, p.Decisions[i])
		}
	}
	return kept
}

func (p *Plan) count(of func(*Decision) bool) int { return len(p.keeping(of)) }

// features takes what a setup has out of it, all of it at once if that can be.
func (m *minimiser) features() {
	var all []string
	for _, f := range features {
		all = append(all, f.name)
	}
	if len(m.best.Plan.Without) == len(all) {
		return
	}
	if m.try(func(p *Plan) { p.Without = all }) {
		m.say("features")
		return
	}
	for _, name := range all {
		if !slices.Contains(m.best.Plan.Without, name) &&
			m.try(func(p *Plan) { p.Without = append(slices.Clone(p.Without), name) }) {
			m.say("features")
		}
	}
}

func (m *minimiser) dropAll(of func(*Decision) bool) bool {
	return m.best.Plan.count(of) > 0 && m.try(func(p *Plan) {
		p.Decisions = p.keeping(func(d *Decision) bool { return !of(d) })
	})
}

// drop leaves out decisions of a class: all, then halves, and so on down to single
// ones (delta debugging). What a run did not come to is gone from its plan too.
func (m *minimiser) drop(what string, of func(*Decision) bool) {
	before := len(m.best.Plan.Decisions)
	for size := m.best.Plan.count(of); size > 0 && !m.spent(); size /= 2 {
		for from := 0; from < m.best.Plan.count(of); {
			if !m.try(func(p *Plan) { p.leaveOut(of, from, size) }) {
				from += size
			}
			if m.spent() {
				break
			}
		}
	}
	if len(m.best.Plan.Decisions) < before {
		m.say(what)
	}
}

// leaveOut takes out so many decisions of a class, from its nth.
func (p *Plan) leaveOut(of func(*Decision) bool, from, size int) {
	n := -1
	p.Decisions = p.keeping(func(d *Decision) bool {
		if !of(d) {
			return true
		}
		n++
		return n < from || n >= from+size
	})
}

// clients lists who still asks.
func (p *Plan) clients() (names []string) {
	for _, d := range p.Decisions {
		if d.Client != "" && !slices.Contains(names, d.Client) {
			names = append(names, d.Client)
		}
	}
	return names
}

// earlierFaults bounds how many are looked at one by one.
const earlierFaults = 20

// earlier has faults befall a message with a lower number: fewer need to be sent
// before it then.
func (m *minimiser) earlier() {
	if m.best.Plan.count(isFault) > earlierFaults {
		return
	}
	for i := 0; i < m.best.Plan.count(isFault); i++ {
		for m.pull(i, func(number uint64) uint64 { return number / 2 }) || m.pull(i, func(number uint64) uint64 { return number - 1 }) {
			m.say("messages")
		}
	}
}

// pull has the plan's nth fault befall another message, from the second one down.
func (m *minimiser) pull(nth int, to func(uint64) uint64) bool {
	for i, d := range m.best.Plan.Decisions {
		if !isFault(&d) {
			continue
		}
		if nth--; nth >= 0 {
			continue
		}
		return d.Number > 1 && m.try(func(p *Plan) {
			p.Decisions = slices.Clone(p.Decisions)
			p.Decisions[i].Number = to(d.Number)
		})
	}
	return false
}

// smaller leaves out groups, then processes, with what was decided about them. Those
// that stay are numbered anew.
func (m *minimiser) smaller() {
	for m.best.Plan.Groups > 1 && (m.try(func(p *Plan) { p.Groups = 1 }) || m.try(func(p *Plan) { p.Groups-- })) {
		m.say("groups")
	}
	for i := m.best.Plan.Nodes + m.best.Plan.Outsiders - 1; i >= 0; i-- {
		last := i == 0 && m.best.Plan.Nodes == 1
		if !last && m.try(func(p *Plan) { p.removeNode(i) }) {
			m.say("processes")
		}
	}
}

func (p *Plan) removeNode(number int) {
	size := p.Nodes + p.Outsiders
	if number < p.Nodes {
		if p.Nodes--; number >= p.Nodes+1-p.Spares {
			p.Spares--
		}
		p.Spares = min(p.Spares, p.Nodes-1)
	} else {
		p.Outsiders--
	}
	p.Decisions = p.keeping(func(d *Decision) bool { return d.Node != nodeID(number) && d.To != nodeID(number) })
	for i := range p.Decisions {
		d := &p.Decisions[i]
		d.Node, d.To = renumber(d.Node, number, size), renumber(d.To, number, size)
	}
}

// renumber closes the gap that a node has left.
func renumber(id string, gone, size int) string {
	if n, err := nodeNumber(id, size); err == nil && n > gone {
		return nodeID(n - 1)
	}
	return id
}

// String says how large the plan is.
func (p *Plan) String() string {
	s := fmt.Sprintf("%v of chaos, %d nodes, %d groups, %d outsiders, %d strikes, %d asks of %d clients, %d faults",
		time.Duration(p.Length), p.Nodes, p.Groups, p.Outsiders, p.count(isStrike), p.count(isAsk), len(p.clients()), p.count(isFault))
	if len(p.Without) > 0 {
		s += ", without " + strings.Join(p.Without, ", ")
	}
	return s
}
