package cluster

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// membership is what 'node members list -o json' says.
type membership struct {
	Index  uint64                         `json:"index"`
	Voters []struct{ ID, Address string } `json:"voters"`
	Change *struct{ Phase string }        `json:"change"`
}

func (m membership) ids() (ids []string) {
	for _, v := range m.Voters {
		ids = append(ids, v.ID)
	}
	slices.Sort(ids)
	return ids
}

// plugged makes the places of nodes in namespaces. The first have each other as the
// members to begin with; the others join them.
func plugged(t *testing.T, size, first int, election time.Duration) []*node {
	dir := t.TempDir()
	var nodes []*node
	var members []string
	for i := range size {
		n := &node{t: t, id: fmt.Sprint("n", i+1)}
		n.dir, n.log = filepath.Join(dir, n.id), filepath.Join(dir, n.id+".log")
		p := newPlug(n, i+1)
		n.peer, n.resp, n.http = p.address+":7000", p.address+":6379", p.address+":8000"
		if i < first {
			members = append(members, n.id+"="+n.peer)
		}
		nodes = append(nodes, n)
	}
	for i, n := range nodes {
		cluster := members
		n.args = []string{
			"serve", "--id", n.id, "--data", n.dir, "--resp", ":6379", "--http", ":8000", "--insecure",
			"--log-level", *levelFlag, "--election-timeout", election.String(), "--heartbeat", (election / 10).String(),
			"--log-engine", *engineFlag,
		}
		if i >= first {
			cluster = append(slices.Clone(members), n.id+"="+n.peer)
			n.args = append(n.args, "--join", "--cluster-id", "replaced")
		} else {
			n.args = append(n.args, "--cluster-id", "replaced")
		}
		n.args = append(n.args, "--cluster", strings.Join(cluster, ","))
	}
	return nodes
}

// step is a change of members, and who votes when it is done.
type step struct {
	command []string
	voters  []string
}

// change asks for it until it is done, at whichever node answers.
func (s step) change(t *testing.T, nodes []*node) error {
	end := time.Now().Add(2 * patience)
	var last error
	for try := 0; time.Now().Before(end); try++ {
		n := nodes[try%len(nodes)]
		out, err := n.operate("members", "list", "--http", "127.0.0.1:8000", "-o", "json", "--timeout", "2s")
		var now membership
		if err == nil {
			err = json.Unmarshal(out, &now)
		}
		if err == nil && now.Change == nil && slices.Equal(now.ids(), s.voters) {
			return nil
		}
		if err == nil {
			_, err = n.operate(slices.Concat([]string{"members"}, s.command, []string{"--http", "127.0.0.1:8000", "--timeout", "10s"})...)
		}
		if err != nil {
			t.Logf("%v", err)
			last = err
		}
	}
	return fmt.Errorf("%v is not done within %v: %w", s.command, 2*patience, last)
}

// partition cuts nodes off from each other in some shape until the cluster has shown
// that it works without that, and heals it.
func (l *load) partition(e *ensemble, voters []*node) {
	l.t.Helper()
	type cut struct{ from, to *node }
	var cuts []cut
	apart := func(a, b *node) { cuts = append(cuts, cut{a, b}, cut{b, a}) }
	alone := voters[rand.IntN(len(voters))]
	other := voters[rand.IntN(len(voters))]
	shape := [...]string{"leader alone", "one alone", "two apart", "one way", "none"}[rand.IntN(5)]
	switch shape {
	case "leader alone":
		alone = e.leader()
		fallthrough
	case "one alone":
		for _, o := range e.others(alone) {
			apart(alone, o)
		}
	case "two apart":
		if alone != other {
			apart(alone, other)
		}
	case "one way":
		if alone != other {
			cuts = append(cuts, cut{alone, other})
		}
	}
	for _, c := range cuts {
		c.from.sendsNothingTo(c.to)
	}
	if shape == "leader alone" {
		e.leader(alone)
	}
	l.awaitAcks(betweenFaults)
	for _, c := range cuts {
		c.from.sendsAgainTo(c.to)
	}
}

// TestReplaceAll grows a cluster of three to five and shrinks it to three others, by
// the commands an operator has, under load and partitions.
func TestReplaceAll(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	nodes := plugged(t, 6, 3, electionTimeout())
	e := &ensemble{t: t, nodes: nodes[:3], election: electionTimeout()}
	all := &ensemble{t: t, nodes: nodes, election: electionTimeout()}
	t.Cleanup(all.end)
	for _, n := range nodes {
		n.start()
	}
	e.awaitReady()
	l := startLoad(t, nodes, e.election)
	for _, s := range []step{
		{[]string{"add", "n4=10.77.0.4:7000", "n5=10.77.0.5:7000"}, []string{"n1", "n2", "n3", "n4", "n5"}},
		{[]string{"replace", "n1", "n6=10.77.0.6:7000"}, []string{"n2", "n3", "n4", "n5", "n6"}},
		{[]string{"remove", "n2", "n3"}, []string{"n4", "n5", "n6"}},
	} {
		l.awaitAcks(betweenFaults)
		done := make(chan error, 1)
		begin := time.Now()
		go func() { done <- s.change(t, nodes) }()
		var err error
		partitions := 0
		for ended := false; !ended; {
			l.partition(all, nodes)
			partitions++
			select {
			case err = <-done:
				ended = true
			default:
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%v: done after %v and %d partitions", s.command, time.Since(begin).Round(time.Millisecond), partitions)
	}
	final := &ensemble{t: t, nodes: nodes[3:], election: electionTimeout()}
	final.awaitReady()
	l.verify(final)
	compareConfigurations(t, nodes)
}

// compareConfigurations stops the nodes and holds the configurations in their logs
// against each other, as far as each had committed.
func compareConfigurations(t *testing.T, nodes []*node) {
	t.Helper()
	known := map[uint64]string{}
	for _, n := range nodes {
		s, err := n.status()
		if err != nil {
			t.Fatal(err)
		}
		n.stop()
		for index, text := range n.configurations() {
			if index > s.CommitIndex {
				continue
			}
			if other, ok := known[index]; ok && other != text {
				t.Errorf("%s has the configuration %s at %d, another has %s", n.id, text, index, other)
			}
			known[index] = text
		}
	}
	var indexes []uint64
	for index := range known {
		indexes = append(indexes, index)
	}
	slices.Sort(indexes)
	for _, index := range indexes {
		t.Logf("%d: %s", index, known[index])
	}
}

// configurations are those in the log of a node that does not run, by index.
func (n *node) configurations() map[uint64]string {
	n.t.Helper()
	cmd := exec.Command(binary, "log", "dump", n.dir, "-o", "json")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	if err := startChild(cmd); err != nil {
		n.t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		n.t.Fatalf("dump of %s: %v", n.dir, err)
	}
	found := map[uint64]string{}
	for lines := json.NewDecoder(&out); lines.More(); {
		var line struct {
			Type, Kind, Command string
			Index, Term         uint64
		}
		if err := lines.Decode(&line); err != nil {
			n.t.Fatalf("dump of %s: %v", n.dir, err)
		}
		if line.Type == "entry" && line.Kind == "configuration" {
			found[line.Index] = fmt.Sprintf("term %d: %s", line.Term, line.Command)
		}
	}
	return found
}
