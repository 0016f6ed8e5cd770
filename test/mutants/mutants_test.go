package main

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// TestPatchesApply: a patch that no longer applies plants no bug, and proves nothing.
func TestPatchesApply(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	mutants, err := readMutants(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(mutants) < 40 {
		t.Fatalf("%d mutants, expected at least 40", len(mutants))
	}
	for _, m := range mutants {
		if err := gitApply(root, m.path, "--check"); err != nil {
			t.Errorf("%s: %v", m.file, err)
		}
	}
}

func TestVerdictsAreReadFromTheOutput(t *testing.T) {
	out := `--- FAIL: TestSeeds (1.20s)
    sim_test.go:1: seed 31: log matching: group 1: n2 has another entry (step 9, at 1s)
    sim_test.go:1: seed 7: election safety: group 1, term 3: n1 leads (step 5, at 1s)
    sim_test.go:1: 2 of 40 seeds failed`
	if seed, by := firstViolation(out); seed != 7 || by != "election safety" {
		t.Errorf("seed %d, %q, expected seed 7, election safety", seed, by)
	}
	if by := culprit(out); by != "TestSeeds" {
		t.Errorf("culprit %q, expected TestSeeds", by)
	}
	if by := culprit("panic: oh no\n\ngoroutine 1"); by != "panic: oh no" {
		t.Errorf("culprit %q, expected the panic", by)
	}
}

func TestHeadersAreChecked(t *testing.T) {
	good := mutant{file: "001-a-b.patch", name: "a-b", idea: "x", catalogue: "1", killer: killer{"sim", "x"}, packages: []string{"./actors"}}
	if err := good.check("5"); err != nil {
		t.Errorf("refused: %v", err)
	}
	for what, spoil := range map[string]func(m *mutant){
		"another name": func(m *mutant) { m.name = "b" },
		"no number":    func(m *mutant) { m.file = "a-b.patch" },
		"no idea":      func(m *mutant) { m.idea = "" },
		"no killer":    func(m *mutant) { m.killer = killer{} },
		"a bare test":  func(m *mutant) { m.killer = killer{"TestX", "y"} },
		"no code":      func(m *mutant) { m.packages = nil },
		"a reason why simulation does not reach what it kills": func(m *mutant) { m.unreached = "x" },
	} {
		m := good
		spoil(&m)
		if m.check("5") == nil {
			t.Errorf("%s is accepted", what)
		}
	}
	unit := good
	unit.killer = killer{"./actors", "TestX"}
	if unit.check("0") == nil {
		t.Error("no seeds and no reason for it are accepted")
	}
	if unit.unreached = "why"; unit.check("0") != nil {
		t.Error("no seeds are refused, with the reason given")
	}
	if good.check("0") == nil || good.check("many") == nil || good.check("-1") == nil {
		t.Error("a killer that is simulation without seeds is accepted, or seeds that are no number")
	}
}
