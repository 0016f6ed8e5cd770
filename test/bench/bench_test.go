package main

import (
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

// Every library elects a leader in each group, does the work without an error and
// leaves nothing behind.
func TestEveryLibraryRuns(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for _, name := range libraryNames() {
		t.Run(name, func(t *testing.T) {
			runtime.LockOSThread() // members die with the thread that started them
			defer runtime.UnlockOSThread()
			dir := t.TempDir()
			o, err := run(spec{
				Impl: name, Payload: 16, Conc: 8, Groups: 2, Reads: .2,
				Warm: 100 * time.Millisecond, Dur: 300 * time.Millisecond, Dir: dir,
			})
			if err != nil {
				t.Fatal(err)
			}
			if o.Errors != 0 || o.OpsPerSecond < 1 || o.P50 < 1 || o.P99 < o.P50 || o.P999 < o.P99 || o.CPUPerOp <= 0 || o.RSS < 1 {
				t.Errorf("implausible outcome %+v", o)
			}
			left, err := os.ReadDir(dir)
			if err != nil || len(left) != 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

func TestPlanTakesTurns(t *testing.T) {
	names := strings.Join(libraryNames()[:2], ",")
	specs, err := plan(spec{Groups: 1, Dur: time.Second}, names, "1,64", 2)
	if err != nil {
		t.Fatal(err)
	}
	if len(specs) != 8 || specs[0].Impl == specs[1].Impl || specs[0].Conc != specs[1].Conc || specs[2].Conc == specs[1].Conc {
		t.Errorf("plan %+v: expected two rounds of two libraries, in turn at each concurrency", specs)
	}
	for _, bad := range []struct{ impls, concs, want string }{
		{"nobody", "1", `"nobody" is none of`},
		{names, "1,x", `"x" is not a number`},
		{names, "0", `"0" is not a number above 0`},
	} {
		if _, err := plan(spec{Groups: 1, Dur: time.Second}, bad.impls, bad.concs, 1); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("-impl %s -conc %s: error %v, expected one with %q", bad.impls, bad.concs, err, bad.want)
		}
	}
	if _, err := plan(spec{Groups: 0, Dur: time.Second}, names, "1", 1); err == nil {
		t.Error("no groups: no error")
	}
}

func TestTableComparesWithTheBestPeer(t *testing.T) {
	o := func(impl string, ops, p50 int64) outcome {
		return outcome{spec: spec{Impl: impl, Conc: 256}, OpsPerSecond: ops, P50: p50}
	}
	got := table([]outcome{
		o("slow", 100, 10), o(ours, 300, 6), o("fast", 200, 12),
		o("slow", 110, 10), o(ours, 500, 8), o("fast", 200, 12),
		o("slow", 120, 10), o(ours, 400, 7), o("fast", 100, 12),
	})
	for _, want := range []string{
		"| 256 | protoraft | 400 (300–500) | 7 |", "| 2.00 | 0.70 |", "| 256 | fast | 200 (100–200) | 12 |",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("table lacks %q:\n%s", want, got)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{3, 1}, 2}, {[]float64{9, 1, 2}, 2}} {
		if got := median(c.in); got != c.want {
			t.Errorf("median of %v is %v, expected %v", c.in, got, c.want)
		}
	}
}
