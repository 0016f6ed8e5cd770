// Command bench measures Raft libraries on the same work: three member processes
// on loopback, each with a data directory of its own on one disk, every write
// synced on a majority before it is acknowledged. The process that leads drives
// the load, as an embedding program would. See README.md.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

func main() {
	if config, ok := os.LookupEnv(memberEnv); ok {
		if err := memberMain(config); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	runtime.LockOSThread() // members are told to die with the thread that starts them
	if err := benchMain(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func benchMain(args []string) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	compare := flags.Bool("compare", false, "run every library in turn, -rounds times, and print a table")
	rounds := flags.Int("rounds", 3, "with -compare: runs of each library at each concurrency")
	impls := flags.String("impl", strings.Join(libraryNames(), ","), "libraries, separated by commas")
	concs := flags.String("conc", "1,256,2048", "operations in flight, separated by commas")
	var s spec
	flags.IntVar(&s.Payload, "payload", 16, "bytes of a command")
	flags.IntVar(&s.Groups, "groups", 1, "Raft groups")
	flags.Float64Var(&s.Reads, "reads", 0, "fraction of operations that are linearizable reads, 0 to 1")
	flags.DurationVar(&s.Warm, "warm", 2*time.Second, "time to warm up")
	flags.DurationVar(&s.Dur, "dur", 5*time.Second, "time measured")
	flags.StringVar(&s.CPUProfile, "cpuprofile", "", "file for a CPU profile of the process that leads, over the time measured")
	flags.StringVar(&s.Dir, "dir", "", "where data directories are made (default: the system's temporary directory)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if !*compare {
		*rounds = 1
	}
	if s.CPUProfile != "" {
		var err error
		if s.CPUProfile, err = filepath.Abs(s.CPUProfile); err != nil {
			return err
		}
	}
	specs, err := plan(s, *impls, *concs, *rounds)
	if err != nil {
		return err
	}
	var outcomes []outcome
	for _, s := range specs {
		o, err := run(s)
		if err != nil {
			return fmt.Errorf("%s at %d in flight: %w", s.Impl, s.Conc, err)
		}
		line, err := json.Marshal(o)
		if err != nil {
			return err
		}
		fmt.Println(string(line))
		outcomes = append(outcomes, o)
	}
	if *compare {
		fmt.Print("\n", table(outcomes))
	}
	return nil
}

// plan lists the runs, libraries taking turns so that a slow spell of the machine
// falls on all of them.
func plan(base spec, impls, concs string, rounds int) ([]spec, error) {
	if base.Payload < 0 || base.Groups < 1 || base.Reads < 0 || base.Reads > 1 || base.Dur <= 0 || base.Warm < 0 || rounds < 1 {
		return nil, fmt.Errorf("need -payload ≥ 0, -groups ≥ 1, -reads within 0..1, -dur > 0, -warm ≥ 0, -rounds ≥ 1")
	}
	var specs []spec
	for range rounds {
		for _, conc := range strings.Split(concs, ",") {
			n, err := strconv.Atoi(conc)
			if err != nil || n < 1 {
				return nil, fmt.Errorf("-conc %q: %q is not a number above 0", concs, conc)
			}
			for _, impl := range strings.Split(impls, ",") {
				if libraries[impl] == nil {
					return nil, fmt.Errorf("-impl %q: %q is none of %s", impls, impl, strings.Join(libraryNames(), ", "))
				}
				s := base
				s.Impl, s.Conc = impl, n
				specs = append(specs, s)
			}
		}
	}
	return specs, nil
}

func libraryNames() []string {
	var names []string
	for name := range libraries {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
