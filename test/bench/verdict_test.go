package main

import (
	"slices"
	"testing"
	"time"
)

func TestSteadyVerdict(t *testing.T) {
	run := func(minutes ...float64) (seconds []float64) {
		for _, rate := range minutes {
			seconds = append(seconds, slices.Repeat([]float64{rate}, steadyMinute)...)
		}
		return seconds
	}
	for _, c := range []struct {
		name           string
		seconds        []float64
		stall          time.Duration
		kept           float64
		kept80, still  bool
		lowest, latest float64
	}{
		{"as fast as ever", run(100, 100, 100, 100, 100), 0, 1, true, true, 100, 100},
		{"one slow minute", run(100, 79, 100, 100, 100), 0, .79, false, true, 79, 100},
		{"slower, not too much", run(100, 90, 85, 81, 80), 250 * time.Millisecond, .8, true, true, 80, 80},
		{"a stall", run(100, 100, 100, 100, 100), 251 * time.Millisecond, 1, true, false, 100, 100},
		{"short: by fifths", []float64{100, 100, 50, 50, 60, 60, 60, 60, 90, 90}, 0, .5, false, true, 50, 90},
		{"a second beyond the last minute", append(run(100, 100, 100, 100, 100), 1), 0, 1, true, true, 100, 100},
		{"nothing at all", nil, 0, 0, false, true, 0, 0},
	} {
		v := judgeSteady(c.seconds, c.stall)
		if v.Kept != c.kept || v.Kept80 != c.kept80 || v.NoStall != c.still || v.Lowest != c.lowest || v.Last != c.latest {
			t.Errorf("%s: %+v, expected %+v", c.name, v, c)
		}
	}
}

func TestRates(t *testing.T) {
	got := ratesOf([]point{{at: time.Second, acked: 10}, {at: 3 * time.Second, acked: 50}})
	if !slices.Equal(got, []float64{10, 20}) {
		t.Errorf("rates %v, expected 10 and 20", got)
	}
}

func TestMemoryIsFlat(t *testing.T) {
	for _, c := range []struct {
		name string
		mb   []int64
		want bool
	}{
		{"settles in", []int64{10, 400, 500, 500, 505, 500, 510, 500}, true},
		{"grows", []int64{100, 200, 300, 400, 500, 600, 700, 800}, false},
		{"grows by a little", []int64{100, 100, 100, 100, 110, 110, 120, 120}, true},
		{"one peak", []int64{500, 500, 500, 500, 500, 500, 500, 500, 500, 500, 900, 500}, true},
		{"too short", []int64{1, 1, 1}, false},
	} {
		if got := flat(c.mb); got != c.want {
			t.Errorf("%s: flat %v, expected %v", c.name, got, c.want)
		}
	}
}

func TestNormalAfter(t *testing.T) {
	at := func(acked ...uint64) (points []point) {
		for i, n := range acked {
			points = append(points, point{at: time.Duration(i+1) * recoveryStep, acked: n})
		}
		return points
	}
	for _, c := range []struct {
		name   string
		points []point
		want   time.Duration
	}{
		{"at once", at(50, 100, 150), 0},
		{"after a second", at(0, 0, 50, 100), time.Second},
		{"never", at(10, 20, 30), -time.Second},
		{"one good step is no window", at(0, 60, 60, 60), -time.Second},
	} {
		if got := normalAfter(c.points, 100); got != c.want {
			t.Errorf("%s: normal after %v, expected %v", c.name, got, c.want)
		}
	}
}

func TestOrdealVerdict(t *testing.T) {
	good := func() *ordeal {
		return &ordeal{
			Capacity: 1000, P99: 500, Goodput: 800, DuringP99: 1000, BusyP99: 100, NormalAfter: 5,
			RSSes: []int64{100, 100, 100, 100}, Flood: &flooded{Refused: 1},
		}
	}
	if v := judgeOrdeal(good(), true); !*v.Goodput || !*v.Busy || v.P99 != nil || !v.Memory || !v.Normal {
		t.Errorf("all kept: %s", v.words())
	}
	if v := judgeOrdeal(good(), false); !*v.P99 || v.Goodput != nil || v.Busy != nil {
		t.Errorf("all kept: %s", v.words())
	}
	for name, spoil := range map[string]func(*ordeal){
		"goodput":  func(o *ordeal) { o.Goodput = 799 },
		"unasked":  func(o *ordeal) { o.Flood.Refused = 0 },
		"held":     func(o *ordeal) { o.Flood.Held = 1 },
		"late":     func(o *ordeal) { o.BusyP99 = busyMax.Microseconds() + 1 },
		"memory":   func(o *ordeal) { o.RSSes[3] = 200 },
		"abnormal": func(o *ordeal) { o.NormalAfter = 5.5 },
		"never":    func(o *ordeal) { o.NormalAfter = -1 },
	} {
		o := good()
		spoil(o)
		if v := judgeOrdeal(o, true); *v.Goodput && *v.Busy && v.Memory && v.Normal {
			t.Errorf("%s: nothing found", name)
		}
	}
	o := good()
	o.DuringP99 = 1001
	if v := judgeOrdeal(o, false); *v.P99 {
		t.Error("p99 more than twice: nothing found")
	}
	expectIn(t, ordealTable([]ordeal{*good()}), "| 800 (80 %) |", "| 100, 100, 100 |")
}
