package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

const (
	members      = 3
	electionMax  = 30 * time.Second // for every group to have one leader
	teardownMax  = 20 * time.Second // for a member to finish what is in flight
	leaderSettle = 500 * time.Millisecond
)

// spec is one run.
type spec struct {
	Impl    string        `json:"impl"`
	Payload int           `json:"payload"` // bytes of a command
	Conc    int           `json:"conc"`    // operations in flight, split evenly over the groups
	Groups  int           `json:"groups"`
	Reads   float64       `json:"reads"` // fraction of operations that are linearizable reads
	Warm    time.Duration `json:"-"`
	Dur     time.Duration `json:"-"`
	Dir     string        `json:"-"` // where the data directories are made

	CPUProfile string `json:"cpuprofile,omitempty"` // file, written by the member that leads
}

// outcome is one run's line of JSON.
type outcome struct {
	spec
	OpsPerSecond int64   `json:"ops_s"`
	P50          int64   `json:"p50_us"`
	P99          int64   `json:"p99_us"`
	P999         int64   `json:"p999_us"`
	CPUPerOp     float64 `json:"cpu_us_op"` // user and system time of all three processes
	Cores        float64 `json:"cores"`     // the same, over elapsed time
	RSS          int64   `json:"rss_mb"`    // of all three processes, at the end
	Errors       int64   `json:"errs"`
	FirstError   string  `json:"first_err,omitempty"`
}

// run starts three members, waits for leaders, drives the load and sums up. It
// must be called on the main thread: the members die with the thread that
// started them.
func run(s spec) (o outcome, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), electionMax+s.Warm+s.Dur+2*teardownMax)
	defer cancel()
	root, err := os.MkdirTemp(s.Dir, "raftbench-")
	if err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(root)) }()
	ports, err := freePorts(members * s.Groups)
	if err != nil {
		return o, err
	}
	var all []*child
	defer func() {
		for _, c := range all {
			c.kill()
		}
	}()
	for id := 1; id <= members; id++ {
		c, err := startMember(ctx, memberConfig{
			Spec: s, ID: id, Dir: filepath.Join(root, strconv.Itoa(id)), Ports: ports,
		})
		if err != nil {
			return o, err
		}
		all = append(all, c)
	}
	if err := awaitLeaders(all, s.Groups); err != nil {
		return o, err
	}
	return measure(s, all)
}

// awaitLeaders returns when each group has been led by one and the same member
// for a while.
func awaitLeaders(all []*child, groups int) error {
	deadline := time.Now().Add(electionMax)
	var before []int
	for {
		leaders := make([]int, groups)
		led := 0
		for id, c := range all {
			r, err := c.ask(cmdLeads)
			if err != nil {
				return err
			}
			for _, g := range r.Leads {
				leaders[g] = id + 1
				led++
			}
		}
		if led == groups && equal(leaders, before) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no stable leaders within %v: %d of %d groups led", electionMax, led, groups)
		}
		before = leaders
		time.Sleep(leaderSettle)
	}
}

func equal(a, b []int) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] == 0 || a[i] != b[i] {
			return false
		}
	}
	return true
}

func measure(s spec, all []*child) (outcome, error) {
	o := outcome{spec: s}
	askAll := func(cmd string) ([]report, error) {
		rs := make([]report, len(all))
		for i, c := range all {
			r, err := c.ask(cmd)
			if err != nil {
				return nil, err
			}
			rs[i] = r
		}
		return rs, nil
	}
	if _, err := askAll(cmdStart); err != nil {
		return o, err
	}
	time.Sleep(s.Warm)
	if _, err := askAll(cmdCount); err != nil {
		return o, err
	}
	time.Sleep(s.Dur)
	if _, err := askAll(cmdFreeze); err != nil {
		return o, err
	}
	rs, err := askAll(cmdStop)
	if err != nil {
		return o, err
	}
	var all3 histogram
	var seconds, cpu float64
	for _, r := range rs {
		all3.add(r.Latency)
		o.Errors += r.Errors
		if o.FirstError == "" {
			o.FirstError = r.FirstError
		}
		o.RSS += r.RSSBytes >> 20
		cpu += r.CPUSeconds
		seconds = max(seconds, r.Seconds)
	}
	ops := all3.count()
	if ops == 0 {
		return o, fmt.Errorf("no operation succeeded, %d failed: %s", o.Errors, o.FirstError)
	}
	o.OpsPerSecond = int64(float64(ops) / seconds)
	o.P50, o.P99, o.P999 = all3.quantile(.5), all3.quantile(.99), all3.quantile(.999)
	o.CPUPerOp = float64(int64(cpu*1e8/float64(ops))) / 100
	o.Cores = float64(int64(cpu*100/seconds)) / 100
	return o, nil
}

// child is a member process. It answers every line on its stdin with one on its
// stdout, and exits when its stdin closes.
type child struct {
	id  int
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	log string // where its stderr goes
}

func startMember(ctx context.Context, c memberConfig) (*child, error) {
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	config, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	logFile, err := os.Create(c.Dir + ".log")
	if err != nil {
		return nil, err
	}
	defer logFile.Close()
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), memberEnv+"="+string(config))
	cmd.Stderr = logFile
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &child{id: c.ID, cmd: cmd, in: in, out: bufio.NewReader(out), log: logFile.Name()}, nil
}

func (c *child) ask(cmd string) (report, error) {
	if _, err := fmt.Fprintln(c.in, cmd); err != nil {
		return report{}, c.died(err)
	}
	line, err := c.out.ReadBytes('\n')
	if err != nil {
		return report{}, c.died(err)
	}
	var r report
	if err := json.Unmarshal(line, &r); err != nil {
		return report{}, fmt.Errorf("member %d answered %q to %q: %w", c.id, line, cmd, err)
	}
	return r, nil
}

func (c *child) died(err error) error {
	said, _ := os.ReadFile(c.log)
	return fmt.Errorf("member %d: %w; its log ends: %s", c.id, err, said[max(0, len(said)-2000):])
}

func (c *child) kill() {
	c.in.Close()
	c.cmd.Process.Kill()
	c.cmd.Wait()
}

// freePorts finds n ports that nobody listens on, below those the kernel hands
// out for outgoing connections.
func freePorts(n int) ([]int, error) {
	seen := map[int]bool{}
	var ports []int
	for tries := 0; len(ports) < n; tries++ {
		if tries > 100*n {
			return nil, fmt.Errorf("found %d free ports in %d tries, need %d", len(ports), tries, n)
		}
		p := 10000 + rand.IntN(20000)
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(p))
		if err != nil || seen[p] {
			if err == nil {
				l.Close()
			}
			continue
		}
		l.Close()
		seen[p] = true
		ports = append(ports, p)
	}
	return ports, nil
}
