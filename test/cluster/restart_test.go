package cluster

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/protoraft/protoraft/test/linearizability"
)

// TestBacklog kills a follower, writes a lot, and starts it again.
func TestBacklog(t *testing.T) {
	const (
		writers  = 4
		pipeline = 50
		rounds   = 100
		keys     = 250 // of each writer
		bound    = 15 * time.Second
	)
	e := startEnsemble(t, 3, electionTimeout())
	dead := e.others(e.leader())[0]
	dead.kill()
	begin := time.Now()
	var all []string
	var done sync.WaitGroup
	for w := range writers {
		for k := range keys {
			all = append(all, fmt.Sprintf("backlog-%d-%d", w, k))
		}
		done.Go(func() {
			s := &respSession{address: e.others(dead)[w%2].resp}
			defer s.close()
			for round := range rounds {
				batch := make([][]string, pipeline)
				for i := range batch {
					n := round*pipeline + i
					batch[i] = []string{"SET", fmt.Sprintf("backlog-%d-%d", w, n%keys), fmt.Sprint(n)}
				}
				if err := s.pipeline(batch); err != nil {
					t.Errorf("writer %d, round %d: %v", w, round, err)
					return
				}
			}
		})
	}
	done.Wait()
	t.Logf("%d writes in %v", writers*rounds*pipeline, time.Since(begin).Round(time.Millisecond))
	begin = time.Now()
	dead.start()
	e.awaitCaughtUp(dead)
	took := time.Since(begin)
	t.Logf("%s caught up %v after its start", dead.id, took.Round(time.Millisecond))
	if took > bound {
		t.Errorf("catching up took %v, expected at most %v", took, bound)
	}
	e.awaitEqual()
	e.compare(all)
}

// pipeline sends commands at once and wants them all to succeed.
func (s *respSession) pipeline(commands [][]string) error {
	if err := s.send(commands...); err != nil {
		return err
	}
	for range commands {
		v, err := s.receive()
		if _, err = resultOf(v, err); err != nil {
			return err
		}
	}
	return nil
}

// TestRollingRestart asks one node after the other to stop, the leader first, as an
// upgrade does. Leadership is handed over, so nobody waits for an election timeout.
func TestRollingRestart(t *testing.T) {
	e := startEnsemble(t, 3, time.Second)
	l := startLoad(t, e.nodes, clientTimeout)
	var times []time.Duration
	for round := range e.nodes {
		l.awaitAcks(betweenFaults)
		n := e.leader()
		asked := l.history.Now()
		n.stop()
		l.awaitAcks(betweenFaults)
		gap := l.longestGap(asked, l.history.Now())
		if gap >= e.election {
			t.Errorf("restart %d, of %s: no write acknowledged for %v, expected less than an election timeout, %v", round+1, n.id, gap, e.election)
		}
		times = append(times, gap)
		n.start()
		e.awaitCaughtUp(n)
	}
	l.verify(e)
	summary(t, "longest time without an acknowledged write while the leader stops", times)
}

// longestGap is the longest time within a span of the history in which no write was
// acknowledged.
func (l *load) longestGap(from, to int64) time.Duration {
	acks := []int64{from, to}
	for _, op := range l.history.Operations() {
		if op.Kind != linearizability.Get && op.Outcome == linearizability.Applied && op.End > from && op.End < to {
			acks = append(acks, op.End)
		}
	}
	slices.Sort(acks)
	longest := int64(0)
	for i := range acks[1:] {
		longest = max(longest, acks[i+1]-acks[i])
	}
	return time.Duration(longest)
}

// TestKillAlone kills a node that has no others in a tight loop, amid writes and
// amid its own recovery. It must always come up again with all it acknowledged.
func TestKillAlone(t *testing.T) {
	e := startEnsemble(t, 1, electionTimeout()/3)
	n, r := e.nodes[0], rand.New(rand.NewPCG(rand.Uint64(), 0))
	l := newLoad(t, e.nodes, clientTimeout)
	var times []time.Duration
	for round := range 2 * *killsFlag {
		l.writeUntilKilled(n, round, 1+r.Int64N(150))
		for range r.IntN(3) { // and again before it is up
			n.start()
			n.killAfter(time.Duration(r.Int64N(int64(60 * time.Millisecond))))
		}
		begin := time.Now()
		n.start()
		e.awaitReady()
		times = append(times, time.Since(begin))
	}
	l.verify(e)
	summary(t, "restart until ready", times)
}

// killAfter lets the node run for a random while: where in its start the kill
// strikes is the point.
func (n *node) killAfter(d time.Duration) {
	n.t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		n.kill()
	case <-n.exited:
		n.checkAlive()
	}
}

// writeUntilKilled has writers write until so many writes are acknowledged, and
// kills the node in the midst of those that follow.
func (l *load) writeUntilKilled(n *node, round int, writes int64) {
	l.t.Helper()
	const writers = 8
	var gone sync.WaitGroup
	for w := range writers {
		client, s := l.history.Client(), &respSession{address: n.resp}
		r := rand.New(rand.NewPCG(uint64(round), uint64(w)))
		gone.Add(1)
		l.clients.Go(func() {
			defer gone.Done()
			defer s.close()
			for i := 0; !l.stopped(); i++ {
				name := fmt.Sprintf("%d.%d.%d", round, w, i)
				op := linearizability.Operation{Kind: linearizability.Put, Key: "once-" + name, Value: name + strings.Repeat("x", r.IntN(4096))}
				if l.run(client, s, op, nil) != nil {
					return
				}
			}
		})
	}
	l.awaitAcks(writes)
	n.kill()
	gone.Wait()
}
