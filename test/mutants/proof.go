package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// verdict is what became of a mutant.
type verdict struct {
	*mutant
	by       string // who killed it, empty for a survivor
	expected bool   // it was the killer named
	seeds    int    // of simulation it took, 0 where none was needed
	broken   string // why it could not be proved
	note     string // of a survivor: how far it came
	took     time.Duration
}

func (v verdict) String() string {
	switch took := v.took.Round(100 * time.Millisecond); {
	case v.broken != "":
		return fmt.Sprintf("%s: BROKEN: %s", v.file, v.broken)
	case v.by == "":
		return fmt.Sprintf("%s: SURVIVES (%s, %v)", v.file, v.note, took)
	case v.seeds > 0:
		return fmt.Sprintf("%s: killed by %s, seed %d (%v)", v.file, v.by, v.seeds, took)
	default:
		return fmt.Sprintf("%s: killed by %s (%v)", v.file, v.by, took)
	}
}

// finding is what a step of the proof came to.
type finding struct {
	by     string
	seed   int
	hung   bool
	broken string
}

// prove plants the bug and runs the proof until something notices.
func (c *workCopy) prove(ctx context.Context, o options, m *mutant) (v verdict) {
	began := time.Now()
	v.mutant = m
	defer func() { v.took = time.Since(began) }()
	if err := c.apply(m); err != nil {
		v.broken = err.Error()
		return v
	}
	defer func() {
		if err := c.apply(m, "-R"); err != nil {
			v.broken = err.Error()
		}
	}()
	for _, step := range c.steps(o, m) {
		f := step(ctx)
		switch {
		case f.broken != "":
			v.broken = f.broken
			return v
		case f.hung && !m.liveness:
			v.note = f.by + "; where that is the bug, the header must say so"
			return v
		case f.by != "":
			v.by, v.seeds = f.by, f.seed
			v.expected = o.proof == "sim" && !m.killer.sim() || m.killer.sim() == (f.seed > 0) && strings.Contains(f.by, m.killer.what)
			return v
		}
	}
	v.note = "the whole proof passes"
	return v
}

// steps are the parts of the proof, what is expected to kill first.
func (c *workCopy) steps(o options, m *mutant) (steps []func(context.Context) finding) {
	sim := func(ctx context.Context) finding { return c.simulate(ctx, o.limit, m.budget(o)) }
	if m.killer.sim() && o.proof != "unit" {
		steps = append(steps, sim)
	}
	if o.proof != "sim" {
		if !m.killer.sim() {
			steps = append(steps, func(ctx context.Context) finding { return c.test(ctx, o.limit, m.killer.where, m.killer.what) })
		}
		for _, p := range m.tests() {
			steps = append(steps, func(ctx context.Context) finding { return c.test(ctx, o.limit, p, "") })
		}
	}
	if !m.killer.sim() && o.proof != "unit" && m.seeds > 0 {
		steps = append(steps, sim)
	}
	return steps
}

// tests are the packages whose unit tests should notice.
func (m *mutant) tests() []string {
	all := slices.Clone(m.packages)
	if slices.Contains(all, "./actors/core") && !slices.Contains(all, "./actors") {
		all = append(all, "./actors")
	}
	return all
}

func (m *mutant) budget(o options) int {
	if o.seeds > 0 {
		return o.seeds
	}
	return m.seeds
}

// test runs one test of a package, or all of them.
func (c *workCopy) test(ctx context.Context, limit time.Duration, pkg, name string) finding {
	binary := filepath.Join(c.dir, "unit.test")
	if f, ok := c.compile(ctx, pkg, binary); !ok {
		return f
	}
	args := []string{"-test.count=1", "-test.failfast"}
	if name != "" {
		args = append(args, "-test.run=^"+name+"$", "-test.v")
	}
	out, hung, err := c.command(ctx, limit, filepath.Join(c.dir, pkg), binary, args...)
	switch {
	case hung:
		return finding{by: pkg + " hangs", hung: true}
	case err == nil && name != "" && !strings.Contains(out, "--- PASS: "+name):
		return finding{broken: fmt.Sprintf("Killer: there is no %s in %s", name, pkg)}
	case err == nil:
		return finding{}
	}
	return finding{by: pkg + " " + culprit(out)}
}

func (c *workCopy) compile(ctx context.Context, pkg, binary string) (finding, bool) {
	out, hung, err := c.command(ctx, 10*time.Minute, c.dir, "go", "test", "-c", "-trimpath", "-vet=off", "-o", binary, pkg)
	if err != nil || hung {
		return finding{broken: fmt.Sprintf("%s does not compile: %s", pkg, out)}, false
	}
	return finding{}, true
}

var (
	failed   = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)
	panicked = regexp.MustCompile(`(?m)^(?:panic|fatal error): (.+)$`)
	violated = regexp.MustCompile(`(?m)seed (\d+): (.+)$`)
)

// culprit names the failed test, or what ended the process.
func culprit(out string) string {
	names := failed.FindAllStringSubmatch(out, -1)
	if len(names) > 0 {
		return names[0][1]
	}
	if m := panicked.FindStringSubmatch(out); m != nil {
		return "panic: " + m[1]
	}
	return "fails"
}

// simulate runs seeds from 1 on, a few first: most mutants die early.
func (c *workCopy) simulate(ctx context.Context, limit time.Duration, seeds int) finding {
	binary := filepath.Join(c.dir, "sim.test")
	if f, ok := c.compile(ctx, "./test/sim", binary); !ok {
		return f
	}
	for first, n := 1, 5; first <= seeds; first, n = first+n, min(3*n, simStep) {
		n = min(n, seeds-first+1)
		out, hung, err := c.command(ctx, limit, filepath.Join(c.dir, "test/sim"), binary,
			"-test.run=^TestSeeds$", "-sim.jobs=1", fmt.Sprintf("-sim.first=%d", first), fmt.Sprintf("-sim.seeds=%d", n))
		if hung {
			return finding{by: fmt.Sprintf("sim: seeds %d to %d do not end within %v", first, first+n-1, limit), seed: first, hung: true}
		}
		if err != nil {
			seed, by := firstViolation(out)
			if seed == 0 {
				seed, by = first, culprit(out)
			}
			return finding{by: "sim " + by, seed: seed}
		}
	}
	return finding{}
}

// simStep is how many seeds run before another look; they end well within -limit
// where nothing hangs.
const simStep = 50

// firstViolation finds the lowest seed that broke a rule, and the rule.
func firstViolation(out string) (seed int, invariant string) {
	for _, m := range violated.FindAllStringSubmatch(out, -1) {
		var n int
		if _, err := fmt.Sscan(m[1], &n); err == nil && (seed == 0 || n < seed) {
			seed = n
			invariant, _, _ = strings.Cut(m[2], ":")
		}
	}
	return seed, invariant
}

// command runs a program with all it starts, until it ends or its time is up.
func (c *workCopy) command(ctx context.Context, limit time.Duration, dir, name string, args ...string) (out string, hung bool, err error) {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(limited, name, args...)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	var buffer bytes.Buffer
	cmd.Stdout, cmd.Stderr = &buffer, &buffer
	err = cmd.Run()
	return buffer.String(), limited.Err() != nil && ctx.Err() == nil, err
}

// baseline runs everything that may kill on the tree without a bug.
func baseline(ctx context.Context, root string, o options, mutants []*mutant) error {
	c, err := newCopy(root)
	if err != nil {
		return err
	}
	defer c.remove()
	packages, seeds := map[string]bool{}, 0
	for _, m := range mutants {
		for _, p := range m.tests() {
			packages[p] = true
		}
		if !m.killer.sim() {
			packages[m.killer.where] = true
		}
		if m.seeds > 0 {
			seeds = max(seeds, min(m.budget(o), baselineSeeds))
		}
	}
	if o.proof != "sim" {
		for _, p := range slices.Sorted(maps.Keys(packages)) {
			if f := c.test(ctx, o.limit, p, ""); f != (finding{}) {
				return fmt.Errorf("the tree fails without a mutant: %s%s", f.by, f.broken)
			}
		}
	}
	if o.proof != "unit" && seeds > 0 {
		if f := c.simulate(ctx, o.limit, seeds); f != (finding{}) {
			return fmt.Errorf("the tree fails without a mutant: %s%s, seed %d", f.by, f.broken, f.seed)
		}
	}
	return ctx.Err()
}

// baselineSeeds: nearly every mutant dies within so many.
const baselineSeeds = 100
