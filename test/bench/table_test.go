package main

import (
	"math"
	"strings"
	"testing"
	"time"
)

func expectIn(t *testing.T, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
}

func TestTableComparesWithTheBestPeer(t *testing.T) {
	o := func(impl string, ops, p50 int64) outcome {
		return outcome{spec: spec{Workload: "w", Impl: impl, Groups: 1}, OpsPerSecond: ops, P50: p50, P99: 2 * p50, CPUPerOp: float64(p50)}
	}
	outcomes := []outcome{
		o("etcd", 100, 10), o("protoraft", 300, 6), o("hashicorp", 200, 12),
		o("etcd", 110, 10), o("protoraft", 500, 8), o("hashicorp", 200, 12),
		o("etcd", 120, 10), o("protoraft", 400, 7), o("hashicorp", 100, 12),
	}
	expectIn(t, comparison("", outcomes),
		"| w | protoraft | 400 (300–500) | 7 | 14 |", "| 2.00 | 0.70 | 0.70 | 0.70 |",
		"| w | hashicorp | 200 (100–200) | 12 |", "|  |  |  |  |")
	if strings.Contains(comparison("", outcomes), "kills") {
		t.Error("a table of failovers without a failover")
	}
}

func TestTableOfOursAlone(t *testing.T) {
	expectIn(t, loadTable([]outcome{{spec: spec{Workload: "w", Impl: "protoraft"}, OpsPerSecond: 3}}), "| w | protoraft | 3 (3–3) |", "|  |  |  |  |")
}

func TestFailoversOfAllRoundsCount(t *testing.T) {
	o := func(ms ...float64) outcome {
		return outcome{spec: spec{Workload: "failover-1s", Impl: "etcd", Kills: len(ms), Groups: 1}, FailoverMS: ms}
	}
	expectIn(t, comparison("", []outcome{o(1500, 1200), o(1300)}), "| failover-1s | etcd | 3 | 1300 | 1500 | 1200 | 1500 |")
}

func TestLeftOutAreNamed(t *testing.T) {
	expectIn(t, comparison("", []outcome{{spec: spec{Workload: "groups48-2048", Impl: "protoraft", Groups: 48}}}),
		"groups48-2048 is not run with etcd and hashicorp")
}

func TestMedianAndQuantile(t *testing.T) {
	for _, c := range []struct {
		in          []float64
		median, p99 float64
	}{{nil, 0, 0}, {[]float64{3}, 3, 3}, {[]float64{3, 1}, 2, 3}, {[]float64{9, 1, 2}, 2, 9}} {
		if got := median(c.in); got != c.median {
			t.Errorf("median of %v is %v, expected %v", c.in, got, c.median)
		}
		if got := quantile(c.in, .99); got != c.p99 {
			t.Errorf("p99 of %v is %v, expected %v", c.in, got, c.p99)
		}
	}
	if got := quantile([]float64{4, 3, 2, 1}, .5); got != 2 {
		t.Errorf("p50 of 1 to 4 is %v, expected 2, of rank ceil(q·n)", got)
	}
}

func TestOutcomeSums(t *testing.T) {
	var latency histogram
	for range 1000 {
		latency.record(time.Millisecond)
	}
	o := outcome{spec: spec{Conc: 1, Payload: 10, Reads: .5}}
	err := o.sum([members]report{
		{Latency: &latency, Acked: 1000, Seconds: 2, RSSBytes: 5 << 20, WorstStall: 7e6, usage: usage{CPUSeconds: 1, Written: 9000}},
		{Latency: &histogram{}, Seconds: 2, RSSBytes: 3 << 20, WorstStall: 2e9, usage: usage{CPUSeconds: .5, Written: 6000}},
		{},
	}, 20_000)
	if err != nil {
		t.Fatal(err)
	}
	if o.OpsPerSecond != 500 || o.CPUPerOp != 1500 || o.Cores != .75 || o.NodeCores != .5 || o.RSS != 8 || o.NodeRSS != 5 || o.Written != 3 || o.Device != 4 {
		t.Errorf("outcome %+v", o)
	}
	if o.WorstStall != 7 {
		t.Errorf("worst stall %v ms, expected 7: who leads nothing acknowledges nothing", o.WorstStall)
	}
	if err := (&outcome{spec: spec{Conc: 1}}).sum([members]report{{Seconds: 1, Errors: 2, FirstError: "why"}}, 0); err == nil || !strings.Contains(err.Error(), "why") {
		t.Errorf("no operation: error %v", err)
	}
}

func TestMachine(t *testing.T) {
	mounts := "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/b /tmpfoo xfs rw 0 0\n"
	for path, want := range map[string]string{"/tmp/x": "tmpfs (tmpfs)", "/tmp": "tmpfs (tmpfs)", "/tmpfo": "/dev/a (ext4)", "/tmpfoo/y": "/dev/b (xfs)"} {
		if got := mountOf(mounts, path); got != want {
			t.Errorf("%s is on %q, expected %q", path, got, want)
		}
	}
	expectIn(t, setting(spec{Dur: time.Second}, []string{"etcd"}), "- etcd: go.etcd.io/etcd/server/v3 v3.6", "1s measured", "- Go: go1.")
	if got := ioField("rchar: 1\nwrite_bytes: 42\ncancelled_write_bytes: 7\n", "write_bytes"); got != 42 {
		t.Errorf("write_bytes is %d, expected 42", got)
	}
	if got := sectorsWritten("  1 2 3 4 5 6 70 8 9\n"); got != 70 {
		t.Errorf("%d sectors written, expected 70", got)
	}
	if math.IsNaN(rounded(0, 2)) || rounded(1.2345, 2) != 1.23 {
		t.Errorf("1.2345 rounded to two digits is %v", rounded(1.2345, 2))
	}
}
