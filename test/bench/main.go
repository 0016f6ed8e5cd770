// Command bench measures Raft libraries on the same work: three member processes
// on loopback, each with a data directory of its own on one disk, every write
// synced on a majority before it is acknowledged. The process that leads drives
// the load, as an embedding program would. See README.md.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
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

// command is what the command line asks for.
type command struct {
	spec
	all, list        bool
	steady, overload time.Duration
	idle             int
	only, libs, out  string
	rounds           int
	given            map[string]bool // flags
}

func parseCommand(args []string) (*command, error) {
	c := &command{given: map[string]bool{}}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.BoolVar(&c.all, "all", false, "run every workload with every library in turn, -rounds times, and write a table")
	flags.BoolVar(&c.list, "list", false, "list workloads, scenarios and libraries")
	flags.DurationVar(&c.steady, "steady", 0, "run this library for so long, with snapshots of a state worth the name")
	flags.DurationVar(&c.overload, "overload", 0, "run each scenario of too much work, or of a follower in trouble, for so long")
	flags.IntVar(&c.idle, "idle", 0, "run so many groups that have nothing to do")
	flags.StringVar(&c.only, "only", "", "regular expression of the workloads or scenarios to run (default: all)")
	flags.StringVar(&c.libs, "libs", "", "libraries, separated by commas (default: all that can)")
	flags.StringVar(&c.out, "out", "", "file for the Markdown, written anew after each run (default: only what is printed)")
	flags.IntVar(&c.rounds, "rounds", 3, "with -all: runs of each library at each workload")
	flags.DurationVar(&c.Warm, "warm", 2*time.Second, "time to warm up")
	flags.DurationVar(&c.Dur, "dur", 5*time.Second, "time measured")
	flags.StringVar(&c.Dir, "dir", "", "where data directories are made (default: the system's temporary directory)")
	flags.IntVar(&c.Payload, "payload", 16, "bytes of a command; not with -all")
	flags.IntVar(&c.Conc, "conc", 256, "operations in flight; not with -all")
	flags.IntVar(&c.Groups, "groups", 1, "Raft groups; one run only")
	flags.IntVar(&c.Active, "active", 0, "how many of them are driven, 0 for all; one run only")
	flags.Float64Var(&c.Reads, "reads", 0, "fraction of operations that are linearizable reads, 0 to 1; one run only")
	flags.BoolVar(&c.Calls, "calls", false, "have a goroutine wait for each operation, also where a library can begin several; so it always is with -overload")
	flags.StringVar(&c.CPUProfile, "cpuprofile", "", "file for a CPU profile of the process that leads, over the time measured; one run only")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	flags.Visit(func(f *flag.Flag) { c.given[f.Name] = true })
	return c, c.check(flags.Args())
}

func (c *command) check(rest []string) error {
	if len(rest) > 0 {
		return fmt.Errorf("%q: expected flags only", rest)
	}
	modes := 0
	for _, mode := range []string{"all", "list", "steady", "overload", "idle"} {
		if c.given[mode] {
			modes++
		}
	}
	if modes > 1 {
		return fmt.Errorf("need one of -all, -list, -steady, -overload, -idle, got %d of them", modes)
	}
	if c.steady < 0 || c.overload < 0 || c.idle < 0 {
		return fmt.Errorf("need -steady, -overload and -idle above 0")
	}
	if c.CPUProfile != "" {
		var err error
		if c.CPUProfile, err = filepath.Abs(c.CPUProfile); err != nil {
			return err
		}
	}
	return c.spec.check()
}

// otherwise takes what was given, or else the default of the mode.
func (c *command) otherwise(flag string, given, otherwise int) int {
	if c.given[flag] {
		return given
	}
	return otherwise
}

func benchMain(args []string) error {
	c, err := parseCommand(args)
	if err != nil {
		return err
	}
	switch {
	case c.list:
		c.tell()
		return nil
	case c.all:
		return c.compare()
	case c.steady > 0:
		return c.runSteady()
	case c.overload > 0:
		return c.runOverload()
	case c.idle > 0:
		return c.runIdle()
	}
	return c.runOne()
}

func (c *command) tell() {
	fmt.Println("workloads:", strings.Join(workloadNames(), " "))
	var names []string
	for _, sc := range scenarios {
		names = append(names, sc.name)
	}
	fmt.Println("scenarios:", strings.Join(names, " "))
	fmt.Println("libraries:", strings.Join(libraryNames(), " "))
}
