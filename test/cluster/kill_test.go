package cluster

import (
	"fmt"
	"testing"
	"time"
)

const betweenFaults = 300 // acknowledged writes

// times of one kill after the other.
type killTimes struct {
	failover []time.Duration // from the kill to the first acknowledged write begun after it
	rejoin   []time.Duration // from the restart until it has applied what it missed
}

// killRepeatedly kills a node again and again under load.
func (l *load) killRepeatedly(e *ensemble, kills int, victim func(round int) *node) (times killTimes) {
	l.t.Helper()
	for round := range kills {
		l.awaitAcks(betweenFaults)
		n := victim(round)
		killed := l.history.Now()
		n.kill()
		l.probe(e.others(n), fmt.Sprintf("kill %d of %s", round, n.id))
		took := l.firstAck(killed)
		restarted := time.Now()
		n.start()
		e.awaitCaughtUp(n)
		back := time.Since(restarted)
		l.t.Logf("kill %d: %s, first acknowledged write after %v, back after %v",
			round+1, n.id, took.Round(time.Millisecond/10), back.Round(time.Millisecond/10))
		times.failover, times.rejoin = append(times.failover, took), append(times.rejoin, back)
	}
	return times
}

// TestKillLeader kills the leader in a loop under load.
func TestKillLeader(t *testing.T) {
	e := startEnsemble(t, 3, electionTimeout())
	l := startLoad(t, e.nodes, clientTimeout)
	times := l.killRepeatedly(e, *killsFlag, func(int) *node { return e.leader() })
	l.verify(e)
	summary(t, "failover, election timeout "+e.election.String(), times.failover)
	summary(t, "restart until caught up", times.rejoin)
}

// TestKillFollower kills followers in a loop under load: the leader goes on.
func TestKillFollower(t *testing.T) {
	e := startEnsemble(t, 3, time.Second)
	l := startLoad(t, e.nodes, clientTimeout)
	before, err := e.leader().status()
	if err != nil {
		t.Fatal(err)
	}
	times := l.killRepeatedly(e, *killsFlag, func(round int) *node {
		return e.others(e.leader())[round%2]
	})
	after, err := e.leader().status()
	if err != nil {
		t.Fatal(err)
	}
	l.verify(e)
	if after.Term != before.Term {
		t.Errorf("term %d became %d: killing followers deposed the leader", before.Term, after.Term)
	}
	summary(t, "kill of a follower to the next acknowledged write", times.failover)
	summary(t, "restart until caught up", times.rejoin)
}

// TestFailoverTime kills leaders of a cluster as it is by default. Half of the
// kills must be over within three election timeouts: the rest is for votes that
// split, and for machines with better things to do.
func TestFailoverTime(t *testing.T) {
	e := startEnsemble(t, 3, time.Second)
	l := startLoad(t, e.nodes, clientTimeout)
	times := l.killRepeatedly(e, (*killsFlag+1)/2, func(int) *node { return e.leader() })
	l.verify(e)
	if half := summary(t, "failover, election timeout 1s", times.failover); half > 3*e.election {
		t.Errorf("half of the failovers took more than %v, expected at most three election timeouts", half)
	}
}

// TestKillAll kills every node at once, under load, and starts them again.
func TestKillAll(t *testing.T) {
	e := startEnsemble(t, 3, electionTimeout())
	l := startLoad(t, e.nodes, clientTimeout)
	var times []time.Duration
	for range min(*killsFlag, 10) {
		l.awaitAcks(betweenFaults)
		for _, n := range e.nodes {
			n.kill()
		}
		begin := time.Now()
		for _, n := range e.nodes {
			n.start()
		}
		e.awaitReady()
		times = append(times, time.Since(begin))
	}
	l.verify(e)
	summary(t, "restart of all until all are ready", times)
}
