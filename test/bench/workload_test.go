package main

import (
	"slices"
	"strings"
	"testing"
	"time"
)

var planBase = spec{Dur: time.Second}

func TestPlanTakesTurns(t *testing.T) {
	specs, err := plan(planBase, "^16B-1$|256", "dragonboat,protoraft", 2)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range specs {
		got = append(got, s.Workload+" "+s.Impl)
	}
	round := []string{
		"16B-1 dragonboat", "16B-1 protoraft", "16B-256 dragonboat", "16B-256 protoraft", "1KiB-256 dragonboat", "1KiB-256 protoraft",
	}
	if want := append(round, round...); !slices.Equal(got, want) {
		t.Errorf("plan %v, expected %v", got, want)
	}
}

func TestPlanLeavesOutWhoCannot(t *testing.T) {
	specs, err := plan(planBase, "", "", 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range specs {
		if s.Groups > 1 && !libraries[s.Impl].groups {
			t.Errorf("%s is run with %s", s.Workload, s.Impl)
		}
		if s.Groups > 1000 {
			t.Errorf("%s is run without being named", s.Workload)
		}
	}
	if got := leftOut(spec{Groups: 48}); !slices.Equal(got, []string{"etcd", "hashicorp"}) {
		t.Errorf("left out: %v", got)
	}
	if specs, err = plan(planBase, "groups10000", "protoraft", 1); err != nil || len(specs) != 1 || specs[0].active() != 100 {
		t.Errorf("named: plan %+v, %v; expected the one workload", specs, err)
	}
}

// However many rounds, the kills are as many.
func TestPlanSharesOutKills(t *testing.T) {
	for _, rounds := range []int{1, 3, 4, 40} {
		specs, err := plan(planBase, "failover-1s", "etcd", rounds)
		if err != nil {
			t.Fatal(err)
		}
		kills := 0
		for _, s := range specs {
			if s.Kills < 1 {
				t.Errorf("%d rounds: a run without a kill", rounds)
			}
			kills += s.Kills
		}
		if kills != 30 {
			t.Errorf("%d rounds: %d kills, expected 30", rounds, kills)
		}
	}
}

func TestPlanRefuses(t *testing.T) {
	for _, c := range []struct {
		only, libs string
		rounds     int
		want       string
	}{
		{"(", "", 1, "-only"},
		{"nothing", "", 1, "no workload"},
		{"groups48", "etcd", 1, "no workload"},
		{"", "nobody", 1, `"nobody" is none of`},
		{"", "", 0, "-rounds 0"},
	} {
		if _, err := plan(planBase, c.only, c.libs, c.rounds); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error %v, expected one with %q", c, err, c.want)
		}
	}
}

func TestCommandLine(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"-all -steady 1s", "need one of"},
		{"-overload -1s", "above 0"},
		{"-groups 0", "need -payload"},
		{"-reads 2", "need -payload"},
		{"all", "expected flags only"},
	} {
		if _, err := parseCommand(strings.Fields(c.args)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, expected one with %q", c.args, err, c.want)
		}
	}
	c, err := parseCommand(strings.Fields("-overload 1m -payload 64"))
	if err != nil {
		t.Fatal(err)
	}
	if s := c.scenarioSpec(scenarios[0], "protoraft"); s.Payload != 64 || s.Conc != floodConc {
		t.Errorf("spec %+v, expected the payload that was given and the conc that was not", s)
	}
}
