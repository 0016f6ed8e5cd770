package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
)

// compare is -all. What fails is told and left out, so that one library's bad day does
// not cost the others' results; the command then fails in the end.
func (c *command) compare() error {
	specs, err := plan(c.spec, c.only, c.libs, c.rounds)
	if err != nil {
		return err
	}
	var impls []string
	for _, s := range specs {
		if !slices.Contains(impls, s.Impl) {
			impls = append(impls, s.Impl)
		}
	}
	head := setting(c.spec, impls) + fmt.Sprintf("- rounds: %d, libraries in turn; medians, and the range of throughput\n", c.rounds)
	var outcomes []outcome
	failed := 0
	for _, s := range specs {
		o, err := run(s)
		if err != nil {
			failed++
			fmt.Fprintf(os.Stderr, "bench: %s of %s: %v\n", s.Workload, s.Impl, err)
			continue
		}
		if err := printLine(os.Stdout, o); err != nil {
			return err
		}
		outcomes = append(outcomes, o)
		if err := c.write(comparison(head, outcomes)); err != nil {
			return err
		}
	}
	fmt.Print("\n", comparison(head, outcomes))
	if failed > 0 {
		return fmt.Errorf("%d of %d runs failed", failed, len(specs))
	}
	return nil
}

// write puts what is known so far into the file that was asked for.
func (c *command) write(markdown string) error {
	if c.out == "" {
		return nil
	}
	return os.WriteFile(c.out, []byte(markdown), 0o644)
}

func (c *command) runSteady() error {
	impls, err := chooseLibraries(c.libs, func(lib library) bool { return lib.ours })
	if err != nil {
		return err
	}
	s := c.spec
	s.Workload, s.Dur, s.Groups, s.State = "steady", c.steady, 1, true
	s.Payload, s.Conc = c.otherwise("payload", s.Payload, 256), c.otherwise("conc", s.Conc, 256)
	markdown := "# Steady state\n\n" + setting(s, impls)
	for _, s.Impl = range impls {
		o, err := runSteady(s, os.Stderr)
		if err != nil {
			return fmt.Errorf("%s: %w", s.Impl, err)
		}
		if err := printLine(os.Stdout, o); err != nil {
			return err
		}
		text := steadyReport(o)
		fmt.Print("\n", text)
		markdown += "\n" + text
		if err := c.write(markdown); err != nil {
			return err
		}
	}
	return nil
}

func (c *command) runOverload() error {
	matches, err := regexp.Compile(c.only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	suits := func(library) bool { return true }
	if c.libs == "" {
		suits = func(lib library) bool { return lib.ours }
	}
	impls, err := chooseLibraries(c.libs, suits)
	if err != nil {
		return err
	}
	head := "# Too much work, and followers in trouble\n\n" + setting(c.spec, impls)
	var ordeals []ordeal
	for _, sc := range scenarios {
		if !matches.MatchString(sc.name) {
			continue
		}
		for _, impl := range impls {
			o, err := runScenario(c.scenarioSpec(sc, impl), sc, c.overload, os.Stderr)
			if err != nil {
				return fmt.Errorf("%s of %s: %w", sc.name, impl, err)
			}
			if err := printLine(os.Stdout, o); err != nil {
				return err
			}
			ordeals = append(ordeals, o)
			if err := c.write(head + "\n" + ordealTable(ordeals)); err != nil {
				return err
			}
		}
	}
	if len(ordeals) == 0 {
		return fmt.Errorf("-only %q: no such scenario; -list lists them", c.only)
	}
	fmt.Print("\n", head, "\n", ordealTable(ordeals))
	return nil
}

func (c *command) scenarioSpec(sc scenario, impl string) spec {
	s := c.spec
	conc := followerConc
	if sc.flood {
		conc = floodConc
	}
	s.Workload, s.Impl, s.Groups = sc.name, impl, 1
	s.Payload, s.Conc = c.otherwise("payload", s.Payload, 1024), c.otherwise("conc", s.Conc, conc)
	s.Calls = true // as the open loop begins them: one by one
	return s
}

// runIdle tells what groups cost that have nothing to do.
func (c *command) runIdle() error {
	s := c.spec
	s.Workload, s.Groups, s.Conc = fmt.Sprintf("idle-%d", c.idle), c.idle, 0
	return c.each(s, func(o outcome) {
		fmt.Printf("%s, %s: %.2f %% of one core and %d MB on the node with the most\n", o.Workload, o.Impl, o.NodeCores*100, o.NodeRSS)
	})
}

// runOne does what the flags say, with each library once.
func (c *command) runOne() error {
	s := c.spec
	if s.Conc < 1 {
		return fmt.Errorf("-conc %d, need 1 or more", s.Conc)
	}
	s.Workload = "one"
	return c.each(s, func(outcome) {})
}

func (c *command) each(s spec, tell func(outcome)) error {
	impls, err := chooseLibraries(c.libs, s.suits)
	if err != nil {
		return err
	}
	for _, s.Impl = range impls {
		o, err := run(s)
		if err != nil {
			return fmt.Errorf("%s of %s: %w", s.Workload, s.Impl, err)
		}
		if err := printLine(os.Stdout, o); err != nil {
			return err
		}
		tell(o)
	}
	return nil
}
