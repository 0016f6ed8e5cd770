package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// What the harness asks, some with numbers behind them; each is answered with a
// report.
const (
	cmdLeads  = "leads"  // which groups do you lead?
	cmdGive   = "give"   // GROUP MEMBER: have the member lead the group
	cmdStart  = "start"  // drive load on the groups you lead, in a closed loop
	cmdCount  = "count"  // begin to measure
	cmdSample = "sample" // how far are you?
	cmdFreeze = "freeze" // cease to measure, go on driving until all have frozen
	cmdStop   = "stop"   // let the operations in flight end, and report
	cmdFlood  = "flood"  // RATE: begin so many commands a second, answered or not, if you lead
	cmdCalm   = "calm"   // begin no more, and report what became of them so far
	cmdProbe  = "probe"  // find the first moment you lead and a write is acknowledged
	cmdProbed = "probed" // have you found it?
)

type report struct {
	Leads   []int    `json:",omitempty"`
	Applied []uint64 `json:",omitempty"` // by each group; of a sample, by group 0

	Latency    *histogram `json:",omitempty"`
	Errors     int64      `json:",omitempty"`
	FirstError string     `json:",omitempty"`
	Seconds    float64    `json:",omitempty"`
	RSSBytes   int64      `json:",omitempty"`
	Acked      uint64     `json:",omitempty"` // operations since cmdCount, or cmdFlood
	WorstStall int64      `json:",omitempty"` // nanoseconds
	usage

	Flood   *flooded `json:",omitempty"`
	AckedAt int64    `json:",omitempty"` // wall clock, nanoseconds: what cmdProbe found
}

// memberMain serves the harness until stdin closes.
func memberMain(config string) error {
	var c memberConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return err
	}
	lib, ok := libraries[c.Spec.Impl]
	if !ok {
		return fmt.Errorf("unknown library %q", c.Spec.Impl)
	}
	m, err := lib.open(c)
	if err != nil {
		return err
	}
	s := &server{
		member: m, spec: c.Spec,
		driver: &driver{member: m, spec: c.Spec, acked: map[int]uint64{}},
		flood:  &flood{member: m, busy: lib.busy},
	}
	out := json.NewEncoder(os.Stdout)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		r, err := s.obey(in.Text())
		if err != nil {
			return err
		}
		if err := out.Encode(r); err != nil {
			return err
		}
	}
	return nil
}

// server is what a member process does when it is told to.
type server struct {
	member member
	spec   spec
	driver *driver
	flood  *flood
	probe  *probe
}

func (s *server) obey(line string) (report, error) {
	cmd, numbers, err := parse(line)
	if err != nil {
		return report{}, err
	}
	switch cmd {
	case cmdLeads:
		return s.leads(), nil
	case cmdGive:
		return s.give(numbers)
	case cmdStart:
		s.driver.start(s.member.Leads())
	case cmdCount:
		return report{}, s.driver.count()
	case cmdSample:
		r := s.driver.sample()
		if s.flood.running() {
			r.Acked, r.Flood = 0, s.flood.sample()
			r.Applied = []uint64{s.member.Applied(0)}
		}
		return r, nil
	case cmdFreeze:
		s.driver.freeze()
	case cmdStop:
		return s.driver.stop()
	case cmdFlood:
		if len(numbers) == 1 && len(s.member.Leads()) > 0 {
			s.flood.start(numbers[0], s.spec.Payload)
		}
	case cmdCalm:
		return report{Flood: s.flood.stop()}, nil
	case cmdProbe:
		if s.probe != nil {
			s.probe.stop()
		}
		s.probe = startProbe(s.member)
	case cmdProbed:
		if s.probe == nil {
			return report{}, fmt.Errorf("asked to %q before %q", line, cmdProbe)
		}
		return report{AckedAt: s.probe.found()}, nil
	default:
		return report{}, fmt.Errorf("asked to %q", line)
	}
	return report{}, nil
}

func (s *server) leads() report {
	r := report{Leads: s.member.Leads(), Applied: make([]uint64, s.spec.Groups)}
	for g := range r.Applied {
		r.Applied[g] = s.member.Applied(g)
	}
	return r
}

// give does not fail when the library does not comply: the harness looks who leads, and
// asks again.
func (s *server) give(numbers []int) (report, error) {
	g, ok := s.member.(giver)
	if !ok || len(numbers) != 2 {
		return report{}, fmt.Errorf("%s cannot hand over %v", s.spec.Impl, numbers)
	}
	if err := g.Give(numbers[0], numbers[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return report{}, nil
}

func parse(line string) (cmd string, numbers []int, err error) {
	for i, word := range strings.Fields(line) {
		if i == 0 {
			cmd = word
			continue
		}
		n, err := strconv.Atoi(word)
		if err != nil {
			return "", nil, fmt.Errorf("asked to %q: %w", line, err)
		}
		numbers = append(numbers, n)
	}
	return cmd, numbers, nil
}
