package sim

import (
	"bytes"
	"flag"
	"fmt"
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
	flagSeeds = flag.Int("sim.seeds", 250, "how many seeds to run")
	flagFirst = flag.Uint64("sim.first", 1, "the first of them")
	flagSeed  = flag.Uint64("sim.seed", 0, "run this one only, 0 for many")
	flagFor   = flag.Duration("sim.for", 0, "run seeds for so long, whatever -sim.seeds says")
	flagTwice = flag.Uint64("sim.twice", 15, "how many seeds TestDeterminism runs again")
	flagTrace = flag.String("sim.trace", "", "file for everything that happens in the run of -sim.seed")
	flagJobs  = flag.Int("sim.jobs", runtime.GOMAXPROCS(0), "worlds at a time")
)

var hosts Hosts

func TestMain(m *testing.M) {
	flag.Parse()
	debug.SetGCPercent(400) // a world is small and short-lived
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
	if *flagSeed != 0 {
		one(t, *flagSeed)
		return
	}
	began := time.Now()
	s := runMany(began)
	real := time.Since(began)
	t.Logf("%d seeds, %d steps, %d writes acknowledged, %v simulated in %v: %.0f times real time with %d worlds at a time",
		s.seeds, s.steps, s.writes, s.virtual.Round(time.Second), real.Round(time.Millisecond), float64(s.virtual)/float64(real), *flagJobs)
	t.Logf("situations reached:\n%v", s.coverage)
	for _, r := range s.failed {
		explain(t, r)
	}
	if len(s.failed) > 0 {
		t.Fatalf("%d of %d seeds failed", len(s.failed), s.seeds)
	}
	if missing := s.coverage.Missing(); s.seeds >= 250 && len(missing) > 0 {
		t.Errorf("never reached: %s", strings.Join(missing, "; "))
	}
}

// runMany stops early after a few failures: more of them say no more.
func runMany(began time.Time) *total {
	s := &total{coverage: Coverage{}}
	var jobs sync.WaitGroup
	next := make(chan uint64)
	for range *flagJobs {
		jobs.Go(func() {
			for seed := range next {
				s.add(Run(Options{Seed: seed, Hosts: &hosts}))
			}
		})
	}
	for i := 0; ; i++ {
		if *flagFor > 0 && time.Since(began) > *flagFor || *flagFor == 0 && i >= *flagSeeds {
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
func explain(t *testing.T, r Result) {
	t.Helper()
	t.Errorf("commit %s, seed %d: %v\n\t%s\n\treplay: go test ./test/sim -run TestSeeds -sim.seed=%d -sim.trace=$PWD/sim.log", commit(), r.Seed, r.Failure, r.Setup, r.Seed)
}

// commit names the sources, where git knows them.
func commit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty", "--abbrev=12").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// one runs a single seed and shows how it ended.
func one(t *testing.T, seed uint64) {
	var last tailWriter
	o := Options{Seed: seed, Hosts: &hosts, Trace: &last}
	if *flagTrace != "" {
		f, err := os.Create(*flagTrace)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		o.Trace = f
	}
	r := Run(o)
	t.Logf("seed %d: %d steps, %v simulated, trace %016x\n%s\n%v", seed, r.Steps, r.Virtual, r.Trace, r.Setup, r.Coverage)
	if r.Failure != nil {
		explain(t, r)
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
	different := map[uint64]bool{}
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
	}
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
}

func TestRegressions(t *testing.T) {
	for _, r := range regressions {
		t.Run(fmt.Sprint(r.seed), func(t *testing.T) {
			if result := Run(Options{Seed: r.seed, Hosts: &hosts}); result.Failure != nil {
				t.Errorf("once: %s", r.was)
				explain(t, result)
			}
		})
	}
}
