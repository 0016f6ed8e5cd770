package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/protoraft/protoraft/fsm"
	"github.com/protoraft/protoraft/fsm/fsmtest"
)

// audited is a bank with an auditor: money comes from opening accounts alone. An error
// stops the group, so that every replica under every fault proves it.
type audited struct{ *Bank }

func (a audited) Apply(e fsm.Entry) ([]byte, error) {
	before := a.total()
	reply, err := a.Bank.Apply(e)
	after := a.total()
	if opened := string(reply) == "ok" && strings.HasPrefix(string(e.Data), "open "); !opened && after != before {
		return nil, fmt.Errorf("%q has changed the total from %d to %d", e.Data, before, after)
	}
	return reply, err
}

func name(rng *rand.Rand) string { return string(rune('a' + rng.IntN(5))) }

// TestBank tries the machine alone, and replicated while nodes crash, disks fail and
// the network loses messages.
func TestBank(t *testing.T) {
	fsmtest.Run(t, fsmtest.Kit{
		New: func() fsm.StateMachine { return audited{New()} },
		Command: func(rng *rand.Rand) []byte {
			switch rng.IntN(8) {
			case 0:
				return []byte([]string{"", "open", "open  5", "move a b", "move a b -1", "steal a b 5", "open z 99999999999999999999"}[rng.IntN(7)])
			case 1, 2:
				return Open(name(rng), rng.Uint64N(1000))
			}
			return Move(name(rng), name(rng), rng.Uint64N(300))
		},
		Query: func(rng *rand.Rand) []byte {
			if rng.IntN(2) == 0 {
				return Total()
			}
			return []byte("balance " + name(rng))
		},
	})
}

func TestCommands(t *testing.T) {
	b := New()
	for _, step := range []struct{ command, want string }{
		{"open a 100", "ok"}, {"open a 100", "there is such an account"}, {"open b 0", "ok"}, {"open c 1099511627776", "too much money"}, {"open  5", "an account needs a name"},
		{"move a b 101", "not enough money"}, {"move a b 40", "ok"}, {"move a a 60", "ok"}, {"move a x 1", "no such account"}, {"move a b x", "no amount"}, {"gift a 5", "no command of this bank"},
	} {
		if got := b.apply(step.command); got != step.want {
			t.Errorf("%s: %s, want %s", step.command, got, step.want)
		}
	}
	if b.accounts["a"] != 60 || b.accounts["b"] != 40 {
		t.Errorf("%v, want a 60 and b 40", b.accounts)
	}
}

// TestRun builds the example and runs it as its reader would.
func TestRun(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "bank")
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
	if n := strings.Count(string(out), "holds 5000, as at the beginning"); n != 3 {
		t.Errorf("%d nodes have all of the money, want 3:\n%s", n, out)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}
