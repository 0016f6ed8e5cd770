package cluster

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// moves has the cluster look for n at another address, by the command an operator has. n
// is named first, and may be cut off: the command finds who leads.
func (e *ensemble) moves(n *node, to string) {
	e.t.Helper()
	at := []string{n.http}
	for _, o := range e.others(n) {
		at = append(at, o.http)
	}
	cmd := exec.Command(binary, "members", "move", n.id+"="+to, "--http", strings.Join(at, ","), "--timeout", "30s")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := startChild(cmd); err != nil {
		e.t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil || !strings.Contains(out.String(), to) {
		e.t.Fatalf("%v: %v\n%s", cmd.Args[1:], err, &out)
	}
}

// startAt starts a node that is down at another address, with the flags it had.
func (n *node) startAt(address string) {
	n.t.Helper()
	n.args = append(n.args, "--address", address)
	n.start()
}

// TestMove has every node move to another port under load, with its data: a follower after
// the members are changed, the leader before them, killed, and the next leader while it
// leads. Nothing acknowledged is lost, and each starts again where it is.
func TestMove(t *testing.T) {
	e := startEnsemble(t, 3, electionTimeout())
	l := startLoad(t, e.nodes, clientTimeout)
	to := freePorts(t, 3)

	l.awaitAcks(betweenFaults)
	follower := e.others(e.leader())[0]
	e.moves(follower, to[0])
	l.awaitAcks(betweenFaults)
	follower.stop()
	follower.startAt(to[0])
	e.awaitCaughtUp(follower)

	l.awaitAcks(betweenFaults)
	former := e.leader(follower)
	former.kill()
	former.startAt(to[1])
	e.leader(former)
	l.awaitAcks(betweenFaults)
	if s, err := former.status(); err == nil && (s.Role == "leader" || s.Leader != "") {
		t.Errorf("%s, which the others look for elsewhere, is %+v", former.id, s)
	}
	e.moves(former, to[1])
	e.awaitCaughtUp(former)

	l.awaitAcks(betweenFaults)
	last := e.others(follower, former)[0]
	if e.leader() != last {
		e.handOver(e.leader(), last)
	}
	e.moves(last, to[2])
	e.leader(last) // it hands over
	l.awaitAcks(betweenFaults)
	last.kill()
	last.startAt(to[2])
	e.awaitReady()

	for _, n := range e.nodes {
		l.awaitAcks(betweenFaults)
		n.kill()
		n.start()
		e.awaitCaughtUp(n)
	}
	l.verify(e)
}

// handOver has to lead.
func (e *ensemble) handOver(from, to *node) {
	e.t.Helper()
	await(e.t, to.id+" leads", func() bool {
		if s, err := to.status(); err == nil && s.Role == "leader" {
			return true
		}
		cmd := exec.Command(binary, "transfer", "--to", to.id, "--http", fmt.Sprintf("%s,%s", e.leader().http, from.http))
		if err := startChild(cmd); err != nil {
			e.t.Fatal(err)
		}
		_ = cmd.Wait() // it is looked at above
		return false
	})
}
