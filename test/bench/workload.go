package main

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// spec is one run.
type spec struct {
	Workload string        `json:"workload"`
	Impl     string        `json:"impl"`
	Payload  int           `json:"payload"` // bytes of a command
	Conc     int           `json:"conc"`    // operations in flight, split evenly over the groups that are active
	Groups   int           `json:"groups"`
	Active   int           `json:"active,omitempty"` // how many of them are driven, 0 for all
	Reads    float64       `json:"reads"`            // fraction of operations that are linearizable reads
	Spread   bool          `json:"spread,omitempty"` // members lead the groups in turn
	Election time.Duration `json:"election_ns,omitempty"`
	Kills    int           `json:"kills,omitempty"` // of the leader, instead of a load

	State bool `json:"state,omitempty"` // a machine with something to snapshot
	Calls bool `json:"calls,omitempty"` // a goroutine waits for each operation

	Warm time.Duration `json:"-"`
	Dur  time.Duration `json:"-"`
	Dir  string        `json:"-"` // where the data directories are made

	CPUProfile string `json:"cpuprofile,omitempty"` // file, written by the member that leads
}

func (s spec) active() int {
	if s.Active > 0 {
		return min(s.Active, s.Groups)
	}
	return s.Groups
}

func (s spec) check() error {
	if s.Payload < 0 || s.Groups < 1 || s.Conc < 0 || s.Active < 0 || s.Reads < 0 || s.Reads > 1 || s.Dur <= 0 || s.Warm < 0 {
		return fmt.Errorf("need -payload, -conc and -active ≥ 0, -groups ≥ 1, -reads within 0..1, -dur > 0, -warm ≥ 0")
	}
	return nil
}

// suits says which libraries a run can be of.
func (s spec) suits(lib library) bool { return s.Groups == 1 || lib.groups }

// workloads are what -all runs, but for those that stand apart: they are run when
// -only names them.
var workloads = []struct {
	spec
	apart bool
}{
	{spec: spec{Workload: "16B-1", Payload: 16, Conc: 1, Groups: 1}},
	{spec: spec{Workload: "16B-16", Payload: 16, Conc: 16, Groups: 1}},
	{spec: spec{Workload: "16B-256", Payload: 16, Conc: 256, Groups: 1}},
	{spec: spec{Workload: "16B-2048", Payload: 16, Conc: 2048, Groups: 1}},
	{spec: spec{Workload: "1KiB-256", Payload: 1024, Conc: 256, Groups: 1}},
	{spec: spec{Workload: "reads90-1024", Payload: 16, Conc: 1024, Groups: 1, Reads: .9}},
	{spec: spec{Workload: "groups48-2048", Payload: 16, Conc: 2048, Groups: 48, Spread: true}},
	{spec: spec{Workload: "failover-1s", Payload: 16, Groups: 1, Election: time.Second, Kills: 30}},
	{spec: spec{Workload: "failover-150ms", Payload: 16, Groups: 1, Election: 150 * time.Millisecond, Kills: 30}},
	{spec: spec{Workload: "groups10000-active100", Payload: 16, Conc: 2048, Groups: 10_000, Active: 100}, apart: true},
}

// plan lists the runs of -all, libraries taking turns so that a slow spell of the
// machine falls on all of them. Kills are shared out among the rounds. base is what is
// the same in all.
func plan(base spec, only, libs string, rounds int) ([]spec, error) {
	matches, err := regexp.Compile(only)
	if err != nil {
		return nil, fmt.Errorf("-only: %w", err)
	}
	if rounds < 1 {
		return nil, fmt.Errorf("-rounds %d, need 1 or more", rounds)
	}
	var chosen []string
	if chosen, err = chooseLibraries(libs, func(library) bool { return true }); err != nil {
		return nil, err
	}
	var specs []spec
	for round := range rounds {
		for _, w := range workloads {
			if w.apart && only == "" || !matches.MatchString(w.Workload) {
				continue
			}
			for _, name := range chosen {
				if !w.suits(libraries[name]) {
					continue
				}
				s := w.spec
				s.Impl, s.Warm, s.Dur, s.Dir, s.Calls = name, base.Warm, base.Dur, base.Dir, base.Calls
				s.Kills = w.Kills*(round+1)/rounds - w.Kills*round/rounds
				if w.Kills > 0 && s.Kills == 0 {
					continue
				}
				specs = append(specs, s)
			}
		}
	}
	if len(specs) == 0 {
		return nil, fmt.Errorf("-only %q: no workload that these libraries can do, of %s", only, strings.Join(workloadNames(), ", "))
	}
	return specs, nil
}

func workloadNames() []string {
	var names []string
	for _, w := range workloads {
		names = append(names, w.Workload)
	}
	return names
}

// leftOut lists the libraries that a workload is not run with, for having no groups.
func leftOut(s spec) (names []string) {
	for _, name := range libraryNames() {
		if !s.suits(libraries[name]) {
			names = append(names, name)
		}
	}
	return names
}
