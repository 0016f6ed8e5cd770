package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// member is one process's handle on the library under test. Groups are counted
// from 0.
type member interface {
	// Leads says whether this member leads the group now.
	Leads(group int) bool
	// Propose returns when the command is durable on a majority and applied here.
	Propose(group int, command []byte) error
	// Read returns when a linearizable read of the group has been answered.
	Read(group int) error
	// Applied counts the commands the group's state machine has applied here.
	Applied(group int) uint64
}

// opTimeout bounds an operation in the libraries whose call takes a bound.
const opTimeout = 5 * time.Second

var libraries = map[string]func(memberConfig) (member, error){
	"dragonboat":        newDragonboat,
	"hashicorp":         newHashicorp,
	"protoraft":         protoraftOn("goleveldb"),
	"protoraft-journal": protoraftOn("journal"),
}

// memberConfig is what a member process is told, as JSON in memberEnv.
type memberConfig struct {
	Spec  spec
	ID    int // 1..members
	Dir   string
	Ports []int // members × groups
}

const memberEnv = "RAFTBENCH_MEMBER"

// addr is where a member listens for a group; libraries that share one port among
// all groups use group 0's.
func (c memberConfig) addr(id, group int) string {
	return "127.0.0.1:" + strconv.Itoa(c.Ports[group*members+id-1])
}

// What the harness asks; each is answered with a report.
const (
	cmdLeads  = "leads"  // which groups do you lead?
	cmdStart  = "start"  // drive load on the groups you lead
	cmdCount  = "count"  // begin to measure
	cmdFreeze = "freeze" // cease to measure, go on driving until all have frozen
	cmdStop   = "stop"   // let the operations in flight end, and report
)

type report struct {
	Leads      []int      `json:",omitempty"`
	Latency    *histogram `json:",omitempty"`
	Errors     int64      `json:",omitempty"`
	FirstError string     `json:",omitempty"`
	Seconds    float64    `json:",omitempty"`
	CPUSeconds float64    `json:",omitempty"`
	RSSBytes   int64      `json:",omitempty"`
}

// memberMain serves the harness until stdin closes.
func memberMain(config string) error {
	var c memberConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return err
	}
	open, ok := libraries[c.Spec.Impl]
	if !ok {
		return fmt.Errorf("unknown library %q", c.Spec.Impl)
	}
	m, err := open(c)
	if err != nil {
		return err
	}
	d := &driver{member: m, spec: c.Spec}
	out := json.NewEncoder(os.Stdout)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		r, err := d.obey(in.Text())
		if err != nil {
			return err
		}
		if err := out.Encode(r); err != nil {
			return err
		}
	}
	return nil
}

// driver keeps conc operations in flight in a closed loop.
type driver struct {
	member  member
	spec    spec
	led     []int
	phase   atomic.Int32
	workers int
	done    chan tally

	from       time.Time
	cpuFrom    float64
	seconds    float64
	cpuSeconds float64
	rss        int64
}

const (
	warming int32 = iota
	counting
	frozen
	stopped
)

// tally is what one worker saw.
type tally struct {
	group      int
	latency    histogram
	acked      uint64 // writes, measured or not
	errors     int64
	firstError error
}

func (d *driver) obey(cmd string) (report, error) {
	switch cmd {
	case cmdLeads:
		d.led = nil
		for g := range d.spec.Groups {
			if d.member.Leads(g) {
				d.led = append(d.led, g)
			}
		}
		return report{Leads: d.led}, nil
	case cmdStart:
		d.start()
	case cmdCount:
		if err := d.beginProfile(); err != nil {
			return report{}, err
		}
		d.from, d.cpuFrom = time.Now(), cpuSeconds()
		d.phase.Store(counting)
	case cmdFreeze:
		d.phase.Store(frozen)
		d.seconds, d.cpuSeconds = time.Since(d.from).Seconds(), cpuSeconds()-d.cpuFrom
		d.rss = rssBytes()
		pprof.StopCPUProfile()
	case cmdStop:
		return d.stop()
	default:
		return report{}, fmt.Errorf("asked to %q", cmd)
	}
	return report{}, nil
}

// beginProfile does nothing unless a profile is wanted of this member.
func (d *driver) beginProfile() error {
	if d.spec.CPUProfile == "" || len(d.led) == 0 {
		return nil
	}
	f, err := os.Create(d.spec.CPUProfile)
	if err != nil {
		return err
	}
	return pprof.StartCPUProfile(f)
}

func (d *driver) start() {
	each := max(1, d.spec.Conc/d.spec.Groups)
	d.workers = each * len(d.led)
	d.done = make(chan tally, d.workers)
	for _, g := range d.led {
		for w := range each {
			go d.work(g, w)
		}
	}
}

func (d *driver) work(group, worker int) {
	t := tally{group: group}
	random := rand.New(rand.NewPCG(uint64(group), uint64(worker)))
	for {
		read := d.spec.Reads > 0 && random.Float64() < d.spec.Reads
		began := time.Now()
		err := d.operate(group, read, random)
		phase := d.phase.Load()
		switch {
		case err != nil && phase == counting:
			t.errors++
			if t.firstError == nil {
				t.firstError = err
			}
		case err == nil && phase == counting:
			t.latency.record(time.Since(began))
		}
		if err == nil && !read {
			t.acked++
		}
		if phase == stopped {
			d.done <- t
			return
		}
		if err != nil {
			time.Sleep(time.Millisecond) // a refusal costs nothing: do not count them by the million
		}
	}
}

// operate makes a command of its own for every write: a library may hold on to
// the bytes long after it has answered.
func (d *driver) operate(group int, read bool, random *rand.Rand) error {
	if read {
		return d.member.Read(group)
	}
	command := make([]byte, max(8, d.spec.Payload))
	binary.LittleEndian.PutUint64(command, random.Uint64())
	return d.member.Propose(group, command[:d.spec.Payload])
}

func (d *driver) stop() (report, error) {
	d.phase.Store(stopped)
	r := report{Latency: &histogram{}, Seconds: d.seconds, CPUSeconds: d.cpuSeconds, RSSBytes: d.rss}
	acked := map[int]uint64{}
	deadline := time.After(teardownMax)
	for left := d.workers; left > 0; left-- {
		select {
		case t := <-d.done:
			r.Latency.add(&t.latency)
			r.Errors += t.errors
			if t.firstError != nil {
				r.FirstError = t.firstError.Error()
			}
			acked[t.group] += t.acked
		case <-deadline:
			return r, fmt.Errorf("%d of %d operations unanswered after %v", left, d.workers, teardownMax)
		}
	}
	for g, n := range acked {
		if applied := d.member.Applied(g); applied < n {
			return r, fmt.Errorf("group %d: %d writes acknowledged, %d applied", g, n, applied)
		}
	}
	return r, nil
}

// cpuSeconds is the user and system time this process has used.
func cpuSeconds() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // it has no way to fail on this process
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// rssBytes is the memory of this process that is in RAM, 0 where not known.
func rssBytes() int64 {
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(statm))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize())
}
