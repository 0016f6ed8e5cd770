package cluster

import (
	"flag"
	"fmt"
	"sync"
	"testing"
	"time"
)

var entriesFlag = flag.Int("cluster.entries", 50_000, "how many entries a node replays that is started again")

// TestRestartTime tells how long a node takes until it serves, all of whose entries are
// behind its last snapshot: there is none.
func TestRestartTime(t *testing.T) {
	const (
		writers  = 4
		pipeline = 500
	)
	e := startEnsemble(t, 1, electionTimeout(), "--snapshot-entries", "0", "--snapshot-bytes", "0", "--snapshot-interval", "0")
	n := e.nodes[0]
	begin := time.Now()
	var done sync.WaitGroup
	for w := range writers {
		done.Go(func() {
			s := &respSession{address: n.resp, timeout: patience}
			defer s.close()
			for i := 0; i < *entriesFlag/writers; i += pipeline {
				var commands [][]string
				for k := range pipeline {
					commands = append(commands, []string{"SET", fmt.Sprintf("k-%d-%d", w, (i+k)%25_000), fmt.Sprint(i + k)})
				}
				if err := s.pipeline(commands); err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
			}
		})
	}
	done.Wait()
	wrote := time.Since(begin)
	had, err := n.status()
	if err != nil || had.LastIndex < uint64(*entriesFlag) || had.SnapshotIndex != 0 {
		t.Fatalf("%d entries and a snapshot up to %d (%v), expected %d and none", had.LastIndex, had.SnapshotIndex, err, *entriesFlag)
	}
	n.kill()
	begin = time.Now()
	n.start()
	await(t, "ready", n.ready)
	took := time.Since(begin)
	t.Logf("%d entries written in %v; ready %v after the start, %.2f µs an entry", had.LastIndex, wrote.Round(time.Millisecond),
		took.Round(time.Millisecond), float64(took.Microseconds())/float64(had.LastIndex))
	// What is ready has applied all of it, and says so in a moment.
	await(t, "all applied", func() bool {
		now, err := n.status()
		return err == nil && now.AppliedIndex >= had.CommitIndex
	})
}
