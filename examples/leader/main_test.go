package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
)

// TestRun builds the example and runs it as its reader would.
func TestRun(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "leader")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	temp := t.TempDir()
	cmd := exec.CommandContext(t.Context(), binary)
	cmd.Env = append(os.Environ(), "TMPDIR="+temp)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	lines := regexp.MustCompile(`(?m)^the actor works on (n[123]), since term (\d+)$`).FindAllStringSubmatch(string(out), -1)
	if len(lines) != 3 {
		t.Fatalf("the actor has worked %d times, want 3:\n%s", len(lines), out)
	}
	last := 0
	for _, l := range lines {
		term, _ := strconv.Atoi(l[2])
		if term <= last {
			t.Errorf("term %d after %d:\n%s", term, last, out)
		}
		last = term
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}

// TestOneAtATime: whatever the keeper hears, there is one actor below it or none.
func TestOneAtATime(t *testing.T) {
	system := actor.NewActorSystem()
	defer system.Shutdown()
	work := make(chan worked, 10)
	k := &keeper{node: "n1", work: work}
	children := make(chan int, 10)
	pid := system.Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
		k.Receive(ctx)
		if _, ok := ctx.Message().(string); ok {
			n := 0
			if k.singleton != nil {
				n = 1
			}
			children <- n
		}
	}))
	for _, step := range []struct {
		message any
		want    int
	}{{&follow{1}, 0}, {&lead{2}, 1}, {&lead{3}, 1}, {&follow{3}, 0}, {&follow{3}, 0}, {&lead{5}, 1}} {
		system.Root.Send(pid, step.message)
		system.Root.Send(pid, "count")
		if n := <-children; n != step.want {
			t.Errorf("after %+v there are %d actors, want %d", step.message, n, step.want)
		}
	}
	got := []uint64{(<-work).term, (<-work).term, (<-work).term}
	seen := map[uint64]bool{}
	for _, term := range got {
		seen[term] = true
	}
	if !seen[2] || !seen[3] || !seen[5] {
		t.Errorf("the actor has worked in terms %v, want 2, 3 and 5", got)
	}
}
