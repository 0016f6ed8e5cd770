package sim

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestPlanReplays: a run told as a plan, written down and read again, is the same run,
// for as long as nobody edits it.
func TestPlanReplays(t *testing.T) {
	for seed := uint64(1); seed <= 12; seed++ {
		first := Run(Options{Seed: seed, Hosts: &hosts})
		again := Run(Options{Plan: copied(t, first.Plan), Hosts: &hosts})
		if again.Trace != first.Trace || again.Events != first.Events || again.Steps != first.Steps {
			t.Errorf("seed %d: trace %016x of %d events, as a plan %016x of %d", seed, first.Trace, first.Events, again.Trace, again.Events)
		}
		if !slices.Equal(again.Plan.Decisions, first.Plan.Decisions) {
			t.Errorf("seed %d: %v, told again %v", seed, first.Plan, again.Plan)
		}
	}
}

// copied writes a plan and reads it.
func copied(t *testing.T, p *Plan) *Plan {
	t.Helper()
	var file bytes.Buffer
	if err := p.Write(&file); err != nil {
		t.Fatal(err)
	}
	read, err := ReadPlan(&file)
	if err != nil {
		t.Fatal(err)
	}
	return read
}

// TestMinimiseFindsTheCause plants a bug that takes a crash of one node and then two
// things to come together: the smallest plan has nothing else.
func TestMinimiseFindsTheCause(t *testing.T) {
	planted := func() func(*World, *Decision) {
		w, crashed, dropped := (*World)(nil), false, false
		return func(in *World, d *Decision) {
			if in != w {
				w, crashed, dropped = in, false, false
			}
			crashed = crashed || d.Strike == strikeCrash.String() && d.Node == "n1"
			dropped = dropped || d.Fault == faultDrop && d.To == "n2"
			if crashed && dropped && d.Client == "client-2" && d.Ask == opAppend.String() {
				w.violate("planted", "%+v", *d)
			}
		}
	}
	seed := uint64(1)
	for ; ; seed++ {
		if seed > 300 {
			t.Fatal("no seed of 300 does what the planted bug takes")
		}
		if r := Run(Options{Seed: seed, Hosts: &hosts, planted: planted()}); r.Failure != nil && len(r.Plan.Decisions) > 100 && r.Plan.Nodes > 2 {
			break
		}
	}
	o := Options{Seed: seed, Hosts: &hosts, planted: planted()}
	first, best, err := Minimise(o, Minimising{For: time.Minute, Runs: math.MaxInt})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("from %v to %v", first.Plan, best.Plan)
	p := best.Plan
	if len(p.Decisions) != 3 || p.count(isStrike) != 1 || p.count(isFault) != 1 || p.count(isAsk) != 1 ||
		p.Nodes > highestNamed(p) || p.Groups != 1 || p.Outsiders != 0 || len(p.Without) != len(features) {
		t.Errorf("%v, expected a crash of n1, a drop to n2, and an append of client-2, and no node above those named; it begins %+v", p, p.Decisions[:min(5, len(p.Decisions))])
	}
	o.Plan = copied(t, p)
	if again := Run(o); again.Failure == nil || *again.Failure != *best.Failure || again.Trace != best.Trace {
		t.Errorf("replayed: %v, trace %016x; minimised: %v, trace %016x", again.Failure, again.Trace, best.Failure, best.Trace)
	}
}

// highestNamed is the number of the last node that a decision names: those before it
// cannot be left out.
func highestNamed(p *Plan) int {
	highest := 2 // that drops and loses a message
	for _, d := range p.Decisions {
		for _, id := range []string{d.Node, d.To} {
			var n int
			if _, err := fmt.Sscanf(id, "n%d", &n); err == nil {
				highest = max(highest, n)
			}
		}
	}
	return highest
}

// TestMinimiseKeepsTheRule: what breaks another rule is another failure.
func TestMinimiseKeepsTheRule(t *testing.T) {
	asks := 0
	var w *World
	o := Options{Seed: 1, Hosts: &hosts, planted: func(in *World, d *Decision) {
		if in != w {
			w, asks = in, 0
		}
		if asks++; asks == 20 {
			w.violate("planted", "enough was decided")
		} else if len(in.everyone) == 1 {
			w.violate("another", "a single node")
		}
	}}
	_, best, err := Minimise(o, Minimising{For: time.Minute, Runs: 200})
	if err != nil {
		t.Fatal(err)
	}
	if best.Failure.Invariant != "planted" || best.Plan.Breaks != "planted" || best.Plan.Nodes == 1 || len(best.Plan.Decisions) != 20 {
		t.Errorf("%v: %v", best.Failure, best.Plan)
	}
}

// TestMinimiseStopsInTime: no more runs than allowed; and a run that keeps every rule
// is refused.
func TestMinimiseStopsInTime(t *testing.T) {
	runs := map[*World]bool{}
	o := Options{Seed: 1, Hosts: &hosts, planted: func(w *World, d *Decision) {
		runs[w] = true
		if d.Strike != "" {
			w.violate("planted", "%+v", *d)
		}
	}}
	if _, _, err := Minimise(o, Minimising{For: time.Minute, Runs: 3}); err != nil || len(runs) > 4 {
		t.Errorf("%d runs, expected the first and 3 more; error %v", len(runs), err)
	}
	o.planted = nil
	if _, _, err := Minimise(o, Minimising{For: time.Minute, Runs: 3}); err == nil {
		t.Error("a run that breaks no rule was minimised")
	}
}

func TestReadPlanRefuses(t *testing.T) {
	const head = `{"seed":1,"length":"1s","nodes":3,"groups":1,"outsiders":0}`
	for text, why := range map[string]string{
		``: "first value",
		`{"seed":1,"length":"1s","nodes":0,"groups":1,"outsiders":0}`:                          "0 nodes",
		`{"seed":1,"length":"-1s","nodes":3,"groups":1,"outsiders":0}`:                         "length -1s",
		`{"seed":1,"length":"1s","nodes":3,"groups":1,"outsiders":0,"without":["wheels"]}`:     "wheels",
		head + `{"at":"1ms","strike":"lightning","node":"n1","number":1}`:                      "lightning",
		head + `{"at":"1ms","strike":"crash","node":"n4","number":1}`:                          `no node "n4"`,
		head + `{"at":"1ms","strike":"crash","ask":"read","node":"n1","number":1}`:             "one of",
		head + `{"at":"1ms","ask":"read","client":"client-0","key":99,"node":"n1","number":1}`: "key 99",
		head + `{"at":"1ms","fault":"drop","node":"n1","number":1}`:                            `no node ""`,
		head + `{"at":"1ms","fault":"bent","node":"n1","to":"n2","number":1}`:                  "bent",
		head + `{"at":"soon","strike":"crash","node":"n1","number":1}`:                         "soon",
		head + `{"at":"1ms","strike":"crash","node":"n1","wheels":4}`:                          "wheels",
	} {
		if _, err := ReadPlan(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: error %v, expected one about %s", text, err, why)
		}
	}
	if _, err := ReadPlan(strings.NewReader(head)); err != nil {
		t.Error(err)
	}
}
