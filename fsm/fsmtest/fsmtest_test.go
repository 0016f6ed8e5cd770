package fsmtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/protoraft/protoraft/fsm"
)

// fault is a way in which a machine breaks the contract.
type fault string

const (
	none            fault = "none"
	chance          fault = "draws"
	countsInstances fault = "depends on the process"
	reusesReply     fault = "reuses its reply's buffer"
	keepsData       fault = "keeps Data"
	writesData      fault = "writes to Data"
	sharesState     fault = "its view shares the state"
	mapOrder        fault = "writes in map order"
	mergesRestore   fault = "Restore leaves what was there"
	halfSnapshot    fault = "a snapshot lacks a part"
	ignoresWrite    fault = "ignores a failed write"
	queryChanges    fault = "a query changes the state"
	refusesByError  fault = "refuses by an error"
	panics          fault = "panics"
	countsLeaders   fault = "counts its leaderships"
	countsBatches   fault = "counts its batches"
)

// words counts words, and how many commands it has seen.
type words struct {
	fault  fault
	mu     sync.Mutex // for sharesState: a race would be found by other means
	count  map[string]uint64
	seen   uint64
	number uint64 // of the instance
	reply  []byte
	kept   [][]byte
}

var instances atomic.Uint64

func kit(f fault) Kit {
	return Kit{
		New: func() fsm.StateMachine {
			w := &words{fault: f, count: map[string]uint64{}, number: instances.Add(1)}
			if f == countsBatches {
				return batches{w}
			}
			return w
		},
		Command: func(rng *rand.Rand) []byte { return fmt.Appendf(nil, "word%d", rng.IntN(12)) },
		Query:   func(rng *rand.Rand) []byte { return fmt.Appendf(nil, "word%d", rng.IntN(12)) },
	}.filled()
}

func (m *words) Apply(e fsm.Entry) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen++
	word := string(e.Data)
	switch {
	case m.fault == chance && rand.IntN(50) == 0:
		m.seen++
	case m.fault == countsInstances:
		m.seen += m.number
	case m.fault == keepsData:
		m.kept = append(m.kept, e.Data)
	case m.fault == writesData:
		e.Data[0] = 'W'
	case m.fault == refusesByError && word == "word7":
		return nil, errors.New("not a word")
	case m.fault == panics && word == "word7":
		panic("not a word")
	}
	m.count[word]++
	if m.fault == reusesReply {
		m.reply = binary.AppendUvarint(m.reply[:0], m.count[word])
		return m.reply, nil
	}
	return binary.AppendUvarint(nil, m.count[word]), nil
}

func (m *words) Query(q []byte) ([]byte, error) {
	if m.fault == queryChanges {
		m.count[string(q)]++
	}
	return binary.AppendUvarint(nil, m.count[string(q)]), nil
}

func (m *words) LeaderStart(uint64) {
	if m.fault == countsLeaders {
		m.seen++
	}
}

func (m *words) LeaderStop(uint64) {}

// image is what a snapshot writes.
func (m *words) image() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := binary.AppendUvarint(nil, m.seen)
	keys := slices.Sorted(maps.Keys(m.count))
	if m.fault == mapOrder {
		keys = slices.Collect(maps.Keys(m.count))
	}
	for _, k := range keys {
		if m.fault == halfSnapshot && k == "word3" {
			continue
		}
		b = fmt.Appendf(b, "%s %d\n", k, m.count[k])
	}
	for _, k := range m.kept {
		b = append(b, k...)
	}
	return b
}

func (m *words) Snapshot() (fsm.View, error) {
	if m.fault == sharesState {
		return view{m.image, m.fault}, nil
	}
	b := m.image()
	return view{func() []byte { return b }, m.fault}, nil
}

type view struct {
	image func() []byte
	fault fault
}

func (v view) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(v.image())
	if v.fault == ignoresWrite {
		err = nil
	}
	return int64(n), err
}

func (v view) Release() {}

func (m *words) Restore(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	seen, n := binary.Uvarint(b)
	if n <= 0 {
		return errors.New("no count")
	}
	m.seen = seen
	if m.fault != mergesRestore {
		clear(m.count)
	}
	for _, line := range strings.Split(strings.TrimSuffix(string(b[n:]), "\n"), "\n") {
		var word string
		var count uint64
		if _, err := fmt.Sscan(line, &word, &count); err == nil {
			m.count[word] = count
		}
	}
	return nil
}

// batches is a machine whose state depends on how its log was cut.
type batches struct{ *words }

func (b batches) ApplyBatch(entries []fsm.Entry, replies [][]byte) (err error) {
	b.seen++
	for i, e := range entries {
		if replies[i], err = b.Apply(e); err != nil {
			return err
		}
	}
	return nil
}

func TestSoundMachinePasses(t *testing.T) { Run(t, kit(none)) }

// TestFaultsAreCaught: each fault is caught by the rule that is there for it.
func TestFaultsAreCaught(t *testing.T) {
	for _, c := range []struct {
		fault fault
		rule  string
		says  string
	}{
		{chance, "determinism", "snapshots"},
		{countsInstances, "determinism", "snapshots"},
		{keepsData, "determinism", "snapshots"},
		{mapOrder, "determinism", "snapshots"},
		{countsBatches, "determinism", "snapshots"},
		{writesData, "determinism", "wrote to Data"},
		{refusesByError, "determinism", "answered by a reply"},
		{panics, "determinism", "panic: not a word"},
		{reusesReply, "replies", "has become"},
		{halfSnapshot, "snapshot equals replay", "from a snapshot after"},
		{mergesRestore, "restore replaces", "over another state"},
		{sharesState, "snapshot isolation", "a view before"},
		{ignoresWrite, "failed write", "expected the writer's"},
		{queryChanges, "queries", "is answered with"},
	} {
		t.Run(string(c.fault), func(t *testing.T) {
			k := kit(c.fault)
			i := slices.IndexFunc(rules, func(r rule) bool { return r.name == c.rule })
			for seed := range uint64(20) {
				if err := k.try(rules[i], seed+1); err != nil {
					if !strings.Contains(err.Error(), c.says) {
						t.Fatalf("seed %d: %v, expected something with %q", seed+1, err, c.says)
					}
					return
				}
			}
			t.Fatalf("20 seeds of %q did not catch it", c.rule)
		})
	}
}

// TestFaultsAreCaughtInACluster: what replicas do differently, though each of them
// passes alone, is seen where they are compared.
func TestFaultsAreCaughtInACluster(t *testing.T) {
	for _, f := range []fault{chance, countsInstances, mapOrder, keepsData, countsLeaders, countsBatches, queryChanges, refusesByError, panics} {
		t.Run(string(f), func(t *testing.T) {
			k := kit(f)
			for seed := range uint64(20) {
				if _, err := k.replicate(seed + 1); err != nil {
					t.Logf("seed %d: %.200v", seed+1, err)
					return
				}
			}
			t.Fatal("20 clusters did not catch it")
		})
	}
}

// TestSameSeedSameTrial: a seed says all.
func TestSameSeedSameTrial(t *testing.T) {
	k := kit(none)
	first, second, other := newTrial(k, 7), newTrial(k, 7), newTrial(k, 8)
	if fmt.Sprint(first.entries) != fmt.Sprint(second.entries) || fmt.Sprint(first.entries) == fmt.Sprint(other.entries) {
		t.Fatal("equal seeds and equal logs are not the same thing")
	}
}

func TestFailureSaysHowToReplay(t *testing.T) {
	got := explain("TestMachine/replicated", 12, errors.New("reason"))
	if want := "seed 12: reason\n\treplay in this package: go test -run '^TestMachine/replicated$' -fsmtest.seed=12"; got != want {
		t.Fatalf("%s\nexpected\n%s", got, want)
	}
}
