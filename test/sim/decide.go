package sim

import (
	"fmt"
	"time"
)

// decisions are what troubled a run: strikes, what clients asked, and what befell
// messages. They are drawn from the seed, or read from a plan; both are noted, so
// that every run can be told again as a plan. How a decision is carried out (how long
// a freeze takes, what a torn write keeps) is drawn from the seed and the decision's
// number: leaving one out changes no other.
type decisions struct {
	w                   *World
	strikes, asks, wire *source // of how each is carried out
	what                *source // of what a seed decides
	draw                draw    // from it
	made                []Decision
	struck              uint64 // strikes drawn so far
	planned             *planned
	without             []string
	order               uint64

	// planted, where a test has set it, hears of every decision as it is carried out.
	planted func(*World, *Decision)
}

// planned is a plan in the order in which it is needed. The zero one plans nothing.
type planned struct {
	strikes []Decision
	asks    map[string][]Decision // by client
	faults  map[fault]bool
}

// fault names what befalls a message: its link's nth.
type fault struct {
	kind     string
	from, to string
	number   uint64
}

// Kinds of faults. A copy is what a duplicated message arrives as besides.
const (
	faultDrop        = "drop"
	faultDuplicate   = "duplicate"
	faultReorder     = "reorder"
	faultReorderCopy = "reorder copy"
	faultLate        = "late"
	faultLateCopy    = "late copy"
	faultLateCopy2   = "late duplicate"
)

var everyFault = []string{
	faultDrop, faultDuplicate, faultReorder, faultReorderCopy, faultLate, faultLateCopy, faultLateCopy2,
}

// What a seed decides first, and what only when the time has come.
const (
	aspectWhat uint64 = iota
	aspectWho
)

func newPlanned(all []Decision) *planned {
	p := &planned{asks: map[string][]Decision{}, faults: map[fault]bool{}}
	for _, d := range all {
		switch {
		case d.Strike != "":
			p.strikes = append(p.strikes, d)
		case d.Ask != "":
			p.asks[d.Client] = append(p.asks[d.Client], d)
		default:
			p.faults[fault{d.Fault, d.Node, d.To, d.Number}] = true
		}
	}
	return p
}

func (ds *decisions) note(d Decision) {
	d.At = Moment(ds.w.now)
	ds.made = append(ds.made, d)
	if ds.planted != nil {
		ds.planted(ds.w, &d)
	}
}

// nextStrike says when to strike next and with what; whom, only where a plan does.
func (ds *decisions) nextStrike() (d Decision, ok bool) {
	w := ds.w
	if p := ds.planned; p != nil {
		if len(p.strikes) == 0 {
			return d, false
		}
		d, p.strikes = p.strikes[0], p.strikes[1:]
	} else {
		if len(w.setup.strikes) == 0 {
			return d, false
		}
		ds.struck++
		ds.what.begin(chanceStrikes, ds.struck, aspectWhat)
		wait := time.Duration(ds.draw.ExpFloat64() * float64(w.setup.interval))
		if ds.draw.Float64() < w.setup.heavy {
			wait /= 20
		}
		kind := w.setup.strikes[ds.draw.IntN(len(w.setup.strikes))]
		d = Decision{At: Moment(w.now + wait), Strike: kind.String(), Number: ds.struck}
	}
	return d, time.Duration(d.At) <= w.setup.length
}

// strikeAt completes a strike, now that it is due, and sets the chance it draws from.
func (ds *decisions) strikeAt(d Decision) (strike, *node) {
	if ds.planned == nil {
		ds.what.begin(chanceStrikes, d.Number, aspectWho)
		d.Node = ds.w.someone(ds.draw.Rand).id
	}
	ds.note(d)
	ds.strikes.begin(d.Number)
	return must(strikeNamed(d.Strike)), must(ds.w.nodeNamed(d.Node))
}

// nextAsk says when a client asks next; what and whom, only where a plan does.
func (ds *decisions) nextAsk(c *client) (d Decision, ok bool) {
	w := ds.w
	if p := ds.planned; p != nil {
		mine := p.asks[c.name]
		if len(mine) == 0 {
			return d, false
		}
		d, p.asks[c.name] = mine[0], mine[1:]
		if d.At < Moment(w.now) {
			// It had to wait for an answer: it comes after what has freed it, also when
			// this run is told again.
			d.At = Moment(w.now) + 1
		}
	} else {
		c.asked++
		ds.what.begin(chanceAsks, uint64(c.number), c.asked, aspectWhat)
		wait := time.Duration(ds.draw.ExpFloat64() * float64(w.setup.think))
		d = Decision{At: Moment(w.now + wait), Client: c.name, Number: c.asked}
	}
	return d, time.Duration(d.At) <= w.setup.length && w.now <= w.setup.length
}

// askAt completes what a client asks, now that it does.
func (ds *decisions) askAt(c *client, d Decision) (kind opKind, key uint8, n *node) {
	w := ds.w
	if ds.planned == nil {
		ds.what.begin(chanceAsks, uint64(c.number), d.Number, aspectWho)
		d.Node = w.someone(ds.draw.Rand).id
		d.Ask, d.Key = w.setup.drawKind(ds.draw).String(), ds.draw.IntN(w.setup.keys)
	}
	ds.note(d)
	ds.asks.begin(uint64(c.number), d.Number)
	return must(opNamed(d.Ask)), uint8(min(d.Key, w.setup.keys-1)), must(w.nodeNamed(d.Node))
}

// message begins a link's next message: whatever befalls those before it, its own
// fate and delay are the same.
func (ds *decisions) message(l *link) {
	l.sent++
	ds.wire.begin(uint64(l.from.number), uint64(l.to.number), l.sent)
}

// befalls says whether a fault befalls a link's newest message; rate is how often one
// does where no plan says which.
func (ds *decisions) befalls(l *link, kind string, rate float64) bool {
	does := ds.w.wire.Float64() < rate // a plan draws too: the delay comes after it
	if ds.planned != nil {
		does = ds.planned.faults[fault{kind, l.from.id, l.to.id, l.sent}]
	}
	if does {
		ds.note(Decision{Fault: kind, Node: l.from.id, To: l.to.id, Number: l.sent})
	}
	return does
}

func (w *World) nodeNamed(id string) (*node, error) {
	for _, n := range w.everyone {
		if n.id == id {
			return n, nil
		}
	}
	return nil, fmt.Errorf("no node %q, expected n1 to n%d", id, len(w.everyone))
}

// named finds a kind by what it prints as.
func named[K interface {
	~int
	fmt.Stringer
}](name string, kinds K) (K, error) {
	for k := range kinds {
		if k.String() == name {
			return k, nil
		}
	}
	return 0, fmt.Errorf("no kind %q", name)
}

func strikeNamed(name string) (strike, error) { return named(name, strikes) }
func opNamed(name string) (opKind, error)     { return named(name, opKinds) }

// must is for what Plan.check has looked at.
func must[T any](v T, err error) T {
	if err != nil {
		panic("sim: " + err.Error())
	}
	return v
}
