package main

import (
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// The test binary is its own member, as the command is.
func TestMain(m *testing.M) {
	if config, ok := os.LookupEnv(memberEnv); ok {
		if err := memberMain(config); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// onMainThread keeps a test on one thread: members die with the thread that started
// them.
func onMainThread(t *testing.T) {
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
}

func expectEmpty(t *testing.T, dir string) {
	t.Helper()
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// Every library elects a leader in each group, does the work without an error and
// leaves nothing behind.
func TestEveryLibraryRuns(t *testing.T) {
	for _, name := range libraryNames() {
		t.Run(name, func(t *testing.T) {
			onMainThread(t)
			dir := t.TempDir()
			s := spec{
				Workload: "test", Impl: name, Payload: 16, Conc: 6, Groups: 1, Reads: .2,
				Warm: 100 * time.Millisecond, Dur: 300 * time.Millisecond, Dir: dir,
			}
			if libraries[name].groups {
				s.Groups, s.Spread = 3, true
			}
			o, err := run(s)
			if err != nil {
				t.Fatal(err)
			}
			if o.Errors != 0 || o.OpsPerSecond < 1 || o.P50 < 1 || o.P99 < o.P50 || o.P999 < o.P99 || o.CPUPerOp <= 0 || o.RSS < 1 || o.WorstStall <= 0 {
				t.Errorf("implausible outcome %+v", o)
			}
			expectEmpty(t, dir)
		})
	}
}

// A leader that is killed is replaced, comes back, and the next one is killed.
func TestEveryLibraryFailsOver(t *testing.T) {
	for _, name := range libraryNames() {
		t.Run(name, func(t *testing.T) {
			onMainThread(t)
			dir := t.TempDir()
			o, err := run(spec{Workload: "test", Impl: name, Payload: 16, Groups: 1, Election: 500 * time.Millisecond, Kills: 2, Dur: time.Second, Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			if len(o.FailoverMS) != 2 || o.FailoverMS[0] <= 0 || o.FailoverMS[1] <= 0 {
				t.Errorf("failovers %v, expected two", o.FailoverMS)
			}
			expectEmpty(t, dir)
		})
	}
}

func TestSteadyRuns(t *testing.T) {
	onMainThread(t)
	dir := t.TempDir()
	o, err := runSteady(spec{
		Workload: "steady", Impl: "protoraft", Payload: 64, Conc: 4, Groups: 1, State: true,
		Dur: 3 * time.Second, Dir: dir,
	}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if len(o.Seconds) < 2 || o.Verdict.First <= 0 || o.OpsPerSecond < 1 || len(o.RSSes) != len(o.Seconds) || o.RSSes[0] < 1 {
		t.Errorf("implausible outcome %+v", o)
	}
	if text := steadyReport(o); !strings.Contains(text, "| 0 | ") {
		t.Errorf("report lacks its series:\n%s", text)
	}
	expectEmpty(t, dir)
}

func TestScenariosRun(t *testing.T) {
	for _, sc := range []scenario{
		{"overload-frozen", true, faultFrozen},
		{"follower-killed", false, faultKilled},
		{"follower-slow", false, faultSlow},
	} {
		t.Run(sc.name, func(t *testing.T) {
			onMainThread(t)
			dir := t.TempDir()
			o, err := runScenario(spec{
				Workload: sc.name, Impl: "protoraft", Payload: 64, Conc: 1, Groups: 1,
				Dur: 500 * time.Millisecond, Dir: dir,
			}, sc, 2*time.Second, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			if o.Capacity < 1 || o.Goodput < 1 || o.DuringP99 < 1 || len(o.RSSes) != len(o.BySecond) || sc.flood != (o.Flood != nil) {
				t.Errorf("implausible outcome %+v", o)
			}
			expectEmpty(t, dir)
		})
	}
}

func TestLeadersOf(t *testing.T) {
	leaders, led := leadersOf([members]report{{Leads: []int{0, 2}}, {Leads: []int{2, 3}}, {}}, 5)
	if led != 2 || leaders[0] != 1 || leaders[2] != 0 || leaders[3] != 2 || leaders[4] != 0 {
		t.Errorf("leaders %v, %d led; expected group 0 by member 1 and 3 by 2, since two claim group 2", leaders, led)
	}
}
