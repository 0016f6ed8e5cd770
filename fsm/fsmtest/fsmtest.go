// Package fsmtest tries a state machine before it is trusted with data: whether it
// keeps the contract of package fsm, by itself and replicated by the real actors in
// a simulated cluster whose nodes crash, whose disks fail and whose network loses
// messages.
//
//	func TestMachine(t *testing.T) {
//		fsmtest.Run(t, fsmtest.Kit{
//			New:     func() fsm.StateMachine { return mymachine.New() },
//			Command: func(rng *rand.Rand) []byte { … },
//			Query:   func(rng *rand.Rand) []byte { … },
//		})
//	}
//
// Everything is drawn from seeds. A failure names the rule that was broken, its seed
// and the line that runs that seed again.
//
// The kit stands on package test/sim, so it is above everything else in this module:
// only tests import it.
package fsmtest

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"testing"

	"github.com/protoraft/protoraft/fsm"
	"github.com/protoraft/protoraft/test/sim"
)

var (
	flagSeed  = flag.Uint64("fsmtest.seed", 0, "try a state machine with this seed only, 0 for many")
	flagSeeds = flag.Int("fsmtest.seeds", 0, "with how many seeds to try a state machine, 0 for the kit's own number")
)

// Kit is a state machine and what to try it with. New and Command are needed. A machine
// may be an actor: New then returns what fsm.FromProps makes, and Command and Query
// what fsm.Encode makes.
//
// Command and Query draw from rng and nothing else: what they return is a function
// of the seed. Small ranges (few keys, small numbers) find more than large ones,
// since commands then meet each other. Nonsense belongs among the commands too: a
// machine refuses it with a reply, not with an error.
type Kit struct {
	New     func() fsm.StateMachine
	Command func(rng *rand.Rand) []byte
	Query   func(rng *rand.Rand) []byte // nil for a machine without queries

	Commands int // for each seed outside the cluster; default 200
	Seeds    int // for each rule outside the cluster; default 100
	Worlds   int // simulated clusters, one a seed, some 100 ms of work each; default 8
}

const (
	defaultCommands = 200
	defaultSeeds    = 100
	defaultWorlds   = 8
)

// Run tries the machine, each rule in a subtest of its own. Run it with -race as
// well: a view is written while entries are applied.
func Run(t *testing.T, k Kit) {
	t.Helper()
	if k.New == nil || k.Command == nil {
		t.Fatal("fsmtest: Kit.New and Kit.Command are needed")
	}
	k = k.filled()
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			for _, seed := range seeds(k.Seeds) {
				report(t, seed, k.try(r, seed))
			}
		})
	}
	t.Run("replicated", func(t *testing.T) {
		written := 0
		for _, seed := range seeds(k.Worlds) {
			n, err := k.replicate(seed)
			report(t, seed, err)
			written += n
		}
		if written == 0 {
			t.Error("no command was acknowledged in any world: are they above 1 MiB?")
		}
	})
}

func (k Kit) filled() Kit {
	for _, d := range []struct {
		field     *int
		otherwise int
	}{{&k.Commands, defaultCommands}, {&k.Seeds, defaultSeeds}, {&k.Worlds, defaultWorlds}} {
		if *d.field == 0 {
			*d.field = d.otherwise
		}
	}
	return k
}

// seeds are 1 to n, or what the command line says; a fifth of them with -short.
func seeds(n int) (all []uint64) {
	if *flagSeed != 0 {
		return []uint64{*flagSeed}
	}
	switch {
	case *flagSeeds != 0:
		n = *flagSeeds
	case testing.Short():
		n = (n + 4) / 5
	}
	for seed := range uint64(n) {
		all = append(all, seed+1)
	}
	return all
}

func report(t *testing.T, seed uint64, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(explain(t.Name(), seed, err))
	}
}

func explain(test string, seed uint64, err error) string {
	return fmt.Sprintf("seed %d: %v\n\treplay in this package: go test -run '^%s$' -fsmtest.seed=%d", seed, err, test, seed)
}

// try runs one rule; a panic of the machine breaks it.
func (k Kit) try(r rule, seed uint64) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	t := newTrial(k, seed)
	defer t.end()
	return r.check(k, t)
}

// hosts are used again from world to world.
var hosts sim.Hosts

// replicate runs a seed's cluster with the machine as its guest, and returns how many
// commands were acknowledged.
func (k Kit) replicate(seed uint64) (written int, err error) {
	r := sim.Run(sim.Options{Seed: seed, Hosts: &hosts, Guest: &sim.Guest{New: k.New, Command: k.Command, Query: k.Query}})
	if r.Failure != nil {
		return 0, fmt.Errorf("%v\n\tin a cluster of %s", r.Failure, r.Setup)
	}
	return r.Writes, nil
}
