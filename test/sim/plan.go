package sim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/protoraft/protoraft/actors"
)

// Plan is a run told by its decisions. What it does not say comes from the seed. A
// plan can be edited: take decisions out, make the run shorter or smaller. It means
// the same for as long as the code under test and the simulation stay what they are.
type Plan struct {
	Seed      uint64   `json:"seed"`
	Breaks    string   `json:"breaks,omitempty"` // the rule that it breaks
	Length    Moment   `json:"length"`           // of the chaos, before everything is healed
	Nodes     int      `json:"nodes"`
	Spares    int      `json:"spares,omitempty"` // of the nodes, that wait to be added
	Groups    int      `json:"groups"`
	Outsiders int      `json:"outsiders"`
	Without   []string `json:"without,omitempty"` // features of the setup, see below
	Order     uint64   `json:"order,omitempty"`   // not 0: other turns and delays than the seed's own

	Decisions []Decision `json:"-"` // by time
}

// Decision is one strike, one thing that a client asks, or one fault of a message.
type Decision struct {
	At     Moment `json:"at"` // of a fault: when it happened, nothing depends on it
	Strike string `json:"strike,omitempty"`
	Ask    string `json:"ask,omitempty"`
	Fault  string `json:"fault,omitempty"`
	Client string `json:"client,omitempty"` // that asks
	Node   string `json:"node,omitempty"`   // that is struck, asked, or sends
	To     string `json:"to,omitempty"`     // that a message is for
	Key    int    `json:"key,omitempty"`
	// Number tells a strike from others, what a client asks from what else it does, a
	// message from others of its link. Details are drawn from it.
	Number uint64 `json:"number"`
}

// Moment is a virtual time since the run began; as text, "1.2s".
type Moment time.Duration

// MarshalText implements encoding.TextMarshaler.
func (m Moment) MarshalText() ([]byte, error) { return []byte(time.Duration(m).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *Moment) UnmarshalText(b []byte) error {
	d, err := time.ParseDuration(string(b))
	*m = Moment(d)
	return err
}

// feature is something of a setup that a run can do without.
type feature struct {
	name string
	off  func(*setup)
}

var features = []feature{
	{"part batches", func(s *setup) { s.partBatch = 0 }},
	{"pulse", func(s *setup) { s.pulse, s.sleepAfter = false, 0 }},
	{"sleep", func(s *setup) { s.sleepAfter = 0 }},
	{"lag", func(s *setup) { s.lag = 0 }},
	{"time of syncs", func(s *setup) { s.sync = 0 }},
	{"slower disks", func(s *setup) {
		for i := range s.syncOf {
			s.syncOf[i] = 1
		}
	}},
	{"drift", func(s *setup) { s.drift = 0 }},
	{"late timers", func(s *setup) { s.lateTimers = 0 }},
	{"turns held up", func(s *setup) { s.heldUp = 0 }},
	{"crowded turns", func(s *setup) { s.crowded = 0 }},
	{"reads in pieces", func(s *setup) { s.cutReads = 0 }},
	{"equal election waits", func(s *setup) { s.narrow = 0 }},
	{"jitter", func(s *setup) { s.jitter = 0 }},
	{"time of bytes", func(s *setup) { s.perByte = 0 }},
	{"snapshots", func(s *setup) { s.snapshots.off = true }},
	{"keys", func(s *setup) { s.keys = 1 }},
	{"padding", func(s *setup) { s.padding = 0 }},
	{"tiny limits", func(s *setup) {
		s.limits = *actors.DefaultLimits()
		s.limits.CommandBytes = 2000
		s.gatewayWaiting = 1000
	}},
}

// amend has a setup say what the plan does.
func (p *Plan) amend(s *setup) {
	s.length, s.nodes, s.groups, s.outsiders = time.Duration(p.Length), p.Nodes, p.Groups, p.Outsiders
	s.spares = p.Spares
	for len(s.syncOf) < s.nodes {
		s.syncOf = append(s.syncOf, 1)
	}
	for _, f := range features {
		if slices.Contains(p.Without, f.name) {
			f.off(s)
		}
	}
}

// told tells the run as it was.
func (w *World) told() *Plan {
	s := &w.setup
	p := &Plan{
		Seed: w.seed, Length: Moment(s.length), Nodes: s.nodes, Spares: s.spares, Groups: s.groups, Outsiders: s.outsiders,
		Without: w.decisions.without, Order: w.decisions.order, Decisions: w.decisions.made,
	}
	if w.failure != nil {
		p.Breaks = w.failure.Invariant
		p.Length = min(p.Length, Moment(w.failure.At)) // nothing happened afterwards
	}
	return p
}

// Write writes the plan as lines of JSON: the run, then a decision each.
func (p *Plan) Write(out io.Writer) error {
	var b bytes.Buffer
	lines := json.NewEncoder(&b)
	if err := lines.Encode(p); err != nil {
		return err
	}
	for i := range p.Decisions {
		if err := lines.Encode(&p.Decisions[i]); err != nil {
			return err
		}
	}
	_, err := out.Write(b.Bytes())
	return err
}

// ReadPlan reads what Write has written, and somebody may have edited.
func ReadPlan(in io.Reader) (*Plan, error) {
	lines := json.NewDecoder(in)
	lines.DisallowUnknownFields()
	p := &Plan{}
	if err := lines.Decode(p); err != nil {
		return nil, fmt.Errorf("plan: first value: %w", err)
	}
	for {
		var d Decision
		if err := lines.Decode(&d); errors.Is(err, io.EOF) {
			return p, p.check()
		} else if err != nil {
			return nil, fmt.Errorf("plan: decision %d: %w", len(p.Decisions)+1, err)
		}
		p.Decisions = append(p.Decisions, d)
	}
}

// Bounds of a plan, far above what a seed draws.
const (
	planNodes  = 32
	planLength = time.Hour
)

func (p *Plan) check() error {
	if p.Nodes < 1 || p.Nodes > planNodes || p.Outsiders < 0 || p.Outsiders > planNodes || p.Groups < 1 || p.Groups > planNodes {
		return fmt.Errorf("plan: %d nodes, %d groups, %d outsiders, expected 1 to %d (outsiders from 0)", p.Nodes, p.Groups, p.Outsiders, planNodes)
	}
	if p.Spares < 0 || p.Spares >= p.Nodes {
		return fmt.Errorf("plan: %d spares of %d nodes, expected fewer", p.Spares, p.Nodes)
	}
	if p.Length < 0 || time.Duration(p.Length) > planLength {
		return fmt.Errorf("plan: length %v, expected 0 to %v", time.Duration(p.Length), planLength)
	}
	for _, name := range p.Without {
		if !slices.ContainsFunc(features, func(f feature) bool { return f.name == name }) {
			return fmt.Errorf("plan: without %q, which no setup has", name)
		}
	}
	for i := range p.Decisions {
		if err := p.Decisions[i].check(p.Nodes + p.Outsiders); err != nil {
			return fmt.Errorf("plan: decision %d: %w", i+1, err)
		}
	}
	return nil
}

func (d *Decision) check(nodes int) (err error) {
	switch {
	case d.Strike != "" && d.Ask == "" && d.Fault == "":
		_, err = strikeNamed(d.Strike)
	case d.Ask != "" && d.Strike == "" && d.Fault == "":
		if d.Key < 0 || d.Key >= keysMax || d.Client == "" {
			return fmt.Errorf("key %d of client %q, expected a key below %d and a client", d.Key, d.Client, keysMax)
		}
		_, err = opNamed(d.Ask)
	case d.Fault != "" && d.Strike == "" && d.Ask == "":
		if !slices.Contains(everyFault, d.Fault) {
			return fmt.Errorf("no fault %q", d.Fault)
		}
		_, err = nodeNumber(d.To, nodes)
	default:
		return errors.New("expected one of strike, ask and fault")
	}
	if err == nil {
		_, err = nodeNumber(d.Node, nodes)
	}
	return err
}

// nodeNumber reads the id of one of so many nodes.
func nodeNumber(id string, nodes int) (int, error) {
	var n int
	if _, err := fmt.Sscanf(id, "n%d", &n); err != nil || n < 1 || n > nodes || id != nodeID(n-1) {
		return 0, fmt.Errorf("no node %q, expected n1 to n%d", id, nodes)
	}
	return n - 1, nil
}

func nodeID(number int) string { return fmt.Sprintf("n%d", number+1) }
