package cluster

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/protoraft/protoraft/fsm/counter"
)

// TestPipelineTellsInOrder: whatever comes together, outcomes are told in the order of
// what was added, and each query sees the commands before it; with sessions, too.
func TestPipelineTellsInOrder(t *testing.T) {
	for _, sessions := range []bool{false, true} {
		o := alone(t, filepath.Join(t.TempDir(), "data"), freeAddress(t))
		o.NoSessions = !sessions
		n := startAlone(t, o)
		if _, err := n.StartGroup(1, counter.New(counter.Hooks{})); err != nil {
			t.Fatal(err)
		}
		p, sum := n.Client().NewPipeline(1), int64(0)
		for _, size := range []int{1, 2, 3, 2*pipelineSendCount + 5, 40} {
			var want []int64
			for i := range size {
				switch i % 5 {
				case 2:
					p.Query(counter.Read(), Linearizable, true)
				case 4:
					sum += 100
					p.ProposeOnce(fmt.Sprintf("%v/%d/%d", sessions, size, i), 1, counter.Add(100))
				default:
					sum++
					p.Propose(counter.Add(1))
				}
				want = append(want, sum)
				if i%50 == 7 {
					p.Send()
				}
			}
			last := uint64(0)
			for i, w := range want {
				reply, index, err := p.Next()
				got, parseErr := counter.Parse(reply)
				switch asks := i%5 == 2; {
				case err != nil || parseErr != nil:
					t.Fatalf("operation %d of %d: %v, %v", i, size, err, parseErr)
				case asks && got < w || !asks && got != w:
					t.Fatalf("operation %d of %d: %d, expected %d", i, size, got, w)
				case !asks && index <= last:
					t.Fatalf("operation %d of %d at index %d, after %d", i, size, index, last)
				case !asks:
					last = index
				}
			}
		}
		if calls := len(*n.Client().calls.all.Load()); calls > 4*pipelineSendCount {
			t.Errorf("%d calls were made: those that are told of are used again", calls)
		}
	}
}

// TestPipelineRefuses: what a client that ends or a limit refuses is told in its place,
// and not sent.
func TestPipelineRefuses(t *testing.T) {
	o := alone(t, filepath.Join(t.TempDir(), "data"), freeAddress(t))
	o.NoSessions = true
	n := startAlone(t, o)
	if _, err := n.StartGroup(1, counter.New(counter.Hooks{})); err != nil {
		t.Fatal(err)
	}
	p := n.Client().NewPipeline(1)
	p.Propose(counter.Add(1))
	p.Propose(make([]byte, MaxCommandBytes+1))
	p.Propose(counter.Add(1))
	if _, _, err := p.Next(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.Next(); !errors.Is(err, ErrTooLarge) || OutcomeOf(err) != NotApplied {
		t.Fatalf("%v, expected too large", err)
	}
	if reply, _, err := p.Next(); err != nil || len(reply) == 0 {
		t.Fatalf("%v behind one that was refused", err)
	}
	p.Propose(counter.Add(1))
	p.Query(counter.Read(), Linearizable, true)
	n.Client().drain(false)
	for range 2 {
		if _, _, err := p.Next(); !errors.Is(err, ErrStopped) || OutcomeOf(err) != NotApplied {
			t.Fatalf("%v, expected not applied, stopped", err)
		}
	}
}

// TestPipelineEndsWithItsClient: what is under way when the client closes is told, too.
func TestPipelineEndsWithItsClient(t *testing.T) {
	c := Client{calls: newCallTable(patience), noSessions: true}
	p := c.NewPipeline(1)
	f := &flight{done: make(chan struct{}, 1)}
	p.Propose(counter.Add(1))
	p.Query(counter.Read(), Linearizable, true)
	if !c.calls.beginAll(f, p.gathered) {
		t.Fatal("refused")
	}
	p.gathered, p.flights = nil, []*flight{f}
	c.calls.close()
	if _, _, err := p.Next(); OutcomeOf(err) != Unknown {
		t.Errorf("command: %v, expected unknown", err)
	}
	if _, _, err := p.Next(); OutcomeOf(err) != NotApplied {
		t.Errorf("query: %v, expected not applied", err)
	}
}
