package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestRun builds the example and runs it as its reader would.
func TestRun(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "kv")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	temp := t.TempDir()
	cmd := exec.CommandContext(t.Context(), binary, "--times", "20")
	cmd.Env = append(os.Environ(), "TMPDIR="+temp)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, w := range ways {
		// Once for one node, once for three, once with what it promises.
		if n := strings.Count(string(out), "\n"+strings.TrimSuffix(w.name, " (a write)")); n != 3 {
			t.Errorf("%q stands in the output %d times, expected 3:\n%s", w.name, n, out)
		}
	}
	left, err := os.ReadDir(temp)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}
