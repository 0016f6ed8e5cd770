package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
)

// TestRun builds the example and runs it as its reader would.
func TestRun(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "lock")
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
	m := regexp.MustCompile(`^slow has the lock, token (\d+), and falls asleep
quick has the lock, token (\d+)
held by "quick", token \d+, 0 waiting
slow wakes up and writes: the token is old: somebody else has had the lock since
the report is "by quick"; slow still held the lock: false
quick still held the lock: true
$`).FindStringSubmatch(string(out))
	if m == nil {
		t.Fatalf("unexpected output:\n%s", out)
	}
	first, _ := strconv.Atoi(m[1])
	second, _ := strconv.Atoi(m[2])
	if second <= first {
		t.Errorf("tokens %d and then %d, expected them to grow", first, second)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}

func TestStoreRemembersTheHighestToken(t *testing.T) {
	s := &store{}
	for _, w := range []struct {
		token uint64
		ok    bool
	}{{3, true}, {3, true}, {2, false}, {7, true}, {3, false}} {
		if err := s.write(w.token, "x"); (err == nil) != w.ok {
			t.Errorf("token %d: %v", w.token, err)
		}
	}
}
