package sim

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	flagSeeds    = flag.Int("sim.seeds", 250, "how many seeds to run")
	flagFirst    = flag.Uint64("sim.first", 1, "the first of them")
	flagSeed     = flag.Uint64("sim.seed", 0, "run this one only, 0 for many")
	flagFor      = flag.Duration("sim.for", 0, "run seeds for so long, whatever -sim.seeds says")
	flagTwice    = flag.Uint64("sim.twice", 15, "how many seeds TestDeterminism runs again, twice each")
	flagTrace    = flag.String("sim.trace", "", "file for everything that happens in the run of -sim.seed")
	flagReplay   = flag.String("sim.replay", "", "file of a plan to run, in place of a seed")
	flagMinimise = flag.String("sim.minimise", "", "file for the smallest plan that breaks the same rule as -sim.seed or -sim.replay")
	flagMinFor   = flag.Duration("sim.minimise.for", 2*time.Minute, "how long to look for it")
	flagJobs     = flag.Int("sim.jobs", runtime.GOMAXPROCS(0), "worlds at a time")
)

var hosts Hosts

func TestMain(m *testing.M) {
	flag.Parse()
	if _, known := engines[*flagEngine]; !known {
		fmt.Fprintf(os.Stderr, "-sim.engine is %q, expected simlog, journal or level\n", *flagEngine)
		os.Exit(2)
	}
	debug.SetGCPercent(800) // a world is small and short-lived
	// Each goleveldb has pools, which outlive it by one collection: the fewer there are of
	// those, the more seems to be alive.
	debug.SetMemoryLimit(2 << 30)
	os.Exit(m.Run())
}

// total sums up many runs.
type total struct {
	mu       sync.Mutex
	seeds    int
	steps    int
	writes   int
	virtual  time.Duration
	coverage Coverage
	failed   []Result
}

func (s *total) add(r Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seeds++
	s.steps += r.Steps
	s.writes += r.Writes
	s.virtual += r.Virtual
	s.coverage.Add(r.Coverage)
	if r.Failure != nil {
		s.failed = append(s.failed, r)
	}
}

// TestSeeds runs many seeds, each of which must keep every rule. Together they must
// reach every situation of Required.
func TestSeeds(t *testing.T) {
	switch {
	case *flagMinimise != "":
		minimise(t)
		return
	case *flagSeed != 0 || *flagReplay != "":
		one(t)
		return
	}
	began, usedBefore := time.Now(), cpuTime()
	s := runMany(*flagSeeds, *flagFor, *flagEngine)
	real, used := time.Since(began), cpuTime()-usedBefore
	for _, r := range s.failed { // first of all that is printed, which may be cut
		explain(t, r, *flagEngine)
	}
	missing := s.coverage.Missing(s.seeds)
	switch {
	case len(s.failed) > 0:
		t.Errorf("%d of %d seeds failed", len(s.failed), s.seeds)
	case len(missing) > 0 && *flagEngine != "level": // on which some cannot be: see onLevel
		t.Errorf("never reached: %s", strings.Join(missing, "; "))
	}
	t.Logf("%d seeds, %d steps, %d writes acknowledged, %v simulated in %v: %.0f times real time with %d worlds at a time, %.0f times per core",
		s.seeds, s.steps, s.writes, s.virtual.Round(time.Second), real.Round(time.Millisecond), float64(s.virtual)/float64(real), *flagJobs, float64(s.virtual)/float64(used))
	t.Logf("situations reached:\n%v", s.coverage)
}

// runMany runs so many seeds, or for so long. It stops early after a few failures: more of them say no more.
func runMany(seeds int, span time.Duration, engine string) *total {
	began := time.Now()
	s := &total{coverage: Coverage{}}
	var jobs sync.WaitGroup
	next := make(chan uint64)
	for range *flagJobs {
		jobs.Go(func() {
			for seed := range next {
				s.add(Run(on(engine, seed)))
			}
		})
	}
	for i := 0; ; i++ {
		if span > 0 && time.Since(began) > span || span == 0 && i >= seeds {
			break
		}
		s.mu.Lock()
		enough := len(s.failed) >= 5
		s.mu.Unlock()
		if enough {
			break
		}
		next <- *flagFirst + uint64(i)
	}
	close(next)
	jobs.Wait()
	return s
}

// explain prints what is needed to look into a failure.
func explain(t *testing.T, r Result, engine string) {
	t.Helper()
	of := fmt.Sprintf("-sim.seed=%d", r.Seed)
	if *flagReplay != "" {
		of = "-sim.replay=" + *flagReplay
	}
	line := "go test ./test/sim -run TestSeeds -sim.engine=" + engine + " " + of
	t.Errorf("commit %s, seed %d: %v\n\t%s\n\treplay: %s -sim.trace=$PWD/sim.log\n\tminimise: %s -sim.minimise=$PWD/sim.plan -v",
		commit(), r.Seed, r.Failure, r.Setup, line, line)
}

// commit names the sources, where git knows them.
func commit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty", "--abbrev=12").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// theRun is the one that the flags name.
func theRun(t *testing.T) Options {
	t.Helper()
	o := on(*flagEngine, *flagSeed)
	if *flagReplay != "" {
		f, err := os.Open(*flagReplay)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if o.Plan, err = ReadPlan(f); err != nil {
			t.Fatalf("%s: %v", *flagReplay, err)
		}
	}
	return o
}

// minimise writes the smallest plan that fails as the run of the flags does.
func minimise(t *testing.T) {
	began := time.Now()
	o := theRun(t)
	first, best, err := Minimise(o, Minimising{
		For: *flagMinFor, Runs: math.MaxInt,
		Progress: func(line string) { t.Log(line) },
	})
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(*flagMinimise)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(best.Plan.Write(f), f.Close()); err != nil {
		t.Fatal(err)
	}
	t.Errorf("commit %s, seed %d: %v\n\t%v, %d events\n\tin %v, from: %v, %d events\n\treplay: go test ./test/sim -run TestSeeds -sim.replay=%s -sim.trace=$PWD/sim.log",
		commit(), best.Seed, best.Failure, best.Plan, best.Events, time.Since(began).Round(time.Second), first.Plan, first.Events, *flagMinimise)
}

// one runs a single seed, or plan, and shows how it ended.
func one(t *testing.T) {
	var last tailWriter
	o := theRun(t)
	o.Trace = &last
	if *flagTrace != "" {
		f, err := os.Create(*flagTrace)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		o.Trace = f
	}
	r := Run(o)
	t.Logf("seed %d: %d steps, %v simulated, trace %016x\n%s\n%v", r.Seed, r.Steps, r.Virtual, r.Trace, r.Setup, r.Coverage)
	if r.Failure != nil {
		explain(t, r, *flagEngine)
		t.Logf("the last that happened:\n%s", last.String())
	}
}

// tailWriter keeps the last lines written to it.
type tailWriter struct{ bytes.Buffer }

const tailBytes = 16 << 10

func (w *tailWriter) Write(p []byte) (int, error) {
	if w.Len() > 4*tailBytes {
		w.Next(w.Len() - tailBytes)
	}
	return w.Buffer.Write(p)
}

// TestDeterminism: a seed says all. The same one gives the same run again, however
// many threads there are and whether or not somebody listens.
func TestDeterminism(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(before)
	different, all := map[uint64]bool{}, uint64(0)
	for seed := uint64(1); seed <= *flagTwice; seed++ {
		first := Run(Options{Seed: seed, Hosts: &hosts})
		for i, procs := range []int{1, 2} {
			runtime.GOMAXPROCS(procs)
			o := Options{Seed: seed}
			if i == 0 {
				o.Hosts, o.Trace = &hosts, &tailWriter{}
			}
			again := Run(o)
			if again.Trace != first.Trace || again.Events != first.Events || again.Steps != first.Steps {
				t.Fatalf("seed %d: trace %016x of %d events, then %016x of %d with GOMAXPROCS %d",
					seed, first.Trace, first.Events, again.Trace, again.Events, procs)
			}
		}
		different[first.Trace] = true
		all = mix(all, first.Trace)
	}
	t.Logf("%d seeds, all their traces together: %016x", *flagTwice, all) // equal in every build
	if uint64(len(different)) != *flagTwice {
		t.Fatalf("%d seeds gave %d different runs", *flagTwice, len(different))
	}
}

// regressions are seeds that once broke a rule, with what was wrong. What a seed does
// changes with every change of setup or actors; they are kept for as long as they
// cost little.
var regressions = []struct {
	seed uint64
	was  string
}{
	{74, "a Gateway numbered its operations from 1 after a restart and took an answer to its last life for one to this"},
	{5240, "a leader elected again was not announced in its later term, and what was forwarded to it named the earlier one"},
	{23799, "a Replicator gave up sooner than a distant peer could answer, and began again for ever"},
	{440, "the heartbeat timer of each leadership counted from 1, and a late wake-up of one was taken for the next one's"},
	{6083, "a member took the answer to a question of its last life for one to this, and read within an age what was older"},
	{572, "a change of members began with a voter that had lost its disk, and could neither go on nor back"},
	{37941, "a member that lost its disk again while it recovered took the same life again, and was held for lost once more"},
	{47165, "a member that lost its disk and joined took the lives it had had, and was held for lost when it was whole"},
	{696, "leadership was handed over, again and again, to a member that recovered, which so never got its barrier"},
	{1789, "a sole voter waited for its learner, which had gone where only a leader could have it looked for"},
	{67306, "the rule of the own term took what a leader says for what it commits: its disk full, it had said nothing of it in the term before"},
	{111286, "an answer by way of the Pulse was taken for one to who has moved to its receiver's address since"},
	{112748, "a group that had committed nothing yet was taken to have settled, with a member still behind what a slow link carried"},
	{5087, "a heartbeat went to where a group that was behind had another member, and said not whom it was for"},
}

func TestRegressions(t *testing.T) {
	for _, r := range regressions {
		t.Run(fmt.Sprint(r.seed), func(t *testing.T) {
			if result := Run(Options{Seed: r.seed, Hosts: &hosts}); result.Failure != nil {
				t.Errorf("once: %s", r.was)
				explain(t, result, "simlog")
			}
		})
	}
}
