// Command mutants tests the tests: it plants one known bug after another in a copy
// of the tree and demands that something notices.
//
//	go run ./test/mutants [-only REGEXP] [-proof all|unit|sim] [-seeds N] [-limit 2m] [-jobs 1]
//
// Each NNN-name.patch holds one bug and says in its header what it is and who is
// expected to find it; README.md has the rules. The exit code is 1 when a mutant
// survives, does not apply or does not compile.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"sync"
	"time"
)

// options are the flags.
type options struct {
	only     *regexp.Regexp
	proof    string
	seeds    int
	limit    time.Duration
	jobs     int
	baseline bool
}

func main() {
	var o options
	only := flag.String("only", "", "regular expression that the file name must match")
	flag.StringVar(&o.proof, "proof", "all", "what may kill: unit, sim, or all: unit tests first, then simulation")
	flag.IntVar(&o.seeds, "seeds", 0, "seeds a mutant may live through, instead of what its header says; 0 for the header's")
	flag.DurationVar(&o.limit, "limit", 2*time.Minute, "time one step of the proof of one mutant may take, without compiling")
	flag.IntVar(&o.jobs, "jobs", 1, "mutants at a time")
	flag.BoolVar(&o.baseline, "baseline", true, "first run the proof on the tree as it is: one that fails there kills nothing")
	flag.Parse()
	var err error
	if o.only, err = regexp.Compile(*only); err != nil {
		fmt.Fprintln(os.Stderr, "-only:", err)
		os.Exit(2)
	}
	if o.proof != "all" && o.proof != "unit" && o.proof != "sim" {
		fmt.Fprintf(os.Stderr, "-proof: %q, expected all, unit or sim\n", o.proof)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	alive, err := run(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
	if alive > 0 {
		os.Exit(1)
	}
}

// run proves every mutant and returns how many were not killed.
func run(ctx context.Context, o options) (alive int, err error) {
	root, err := repository()
	if err != nil {
		return 0, err
	}
	all, err := readMutants(root)
	if err != nil {
		return 0, err
	}
	var mutants []*mutant
	for _, m := range all {
		if o.only.MatchString(m.file) && (o.proof != "sim" || m.seeds > 0) {
			mutants = append(mutants, m)
		}
	}
	if len(mutants) == 0 {
		return 0, fmt.Errorf("no mutant matches -only %v", o.only)
	}
	if o.baseline {
		if err := baseline(ctx, root, o, mutants); err != nil {
			return 0, err
		}
	}
	verdicts, err := judge(ctx, root, o, mutants)
	if err != nil {
		return 0, err
	}
	return summarize(os.Stdout, verdicts), nil
}

// judge proves the mutants, each worker in a copy of its own.
func judge(ctx context.Context, root string, o options, mutants []*mutant) ([]verdict, error) {
	verdicts := make([]verdict, len(mutants))
	errs := make([]error, o.jobs)
	next := make(chan int)
	var workers sync.WaitGroup
	for k := range o.jobs {
		workers.Go(func() {
			c, err := newCopy(root)
			if err != nil {
				errs[k] = err
			} else {
				defer c.remove()
			}
			for i := range next {
				if err == nil && ctx.Err() == nil {
					verdicts[i] = c.prove(ctx, o, mutants[i])
					fmt.Println(verdicts[i])
				}
			}
		})
	}
	for i := range mutants {
		next <- i
	}
	close(next)
	workers.Wait()
	for _, err := range append(errs, ctx.Err()) {
		if err != nil {
			return nil, err
		}
	}
	return verdicts, nil
}
