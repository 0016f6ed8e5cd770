package cluster

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is for what must come: longer where much is to be done.
var patience = 30 * time.Second

const pollEvery = 5 * time.Millisecond // a process outside is asked; it does not tell

// await polls until cond holds.
func await(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// node is one process, or the place of one that was killed. The test's goroutine
// starts and kills it; any may use its addresses.
type node struct {
	t                testing.TB
	id, dir, log     string
	peer, resp, http string
	args             []string
	plug             *plug // nil for one in the test's own network

	process *os.Process
	exited  chan struct{}    // closed when the process has ended
	state   *os.ProcessState // readable then
	running bool             // and is expected to
}

func (n *node) start() {
	n.t.Helper()
	out, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		n.t.Fatal(err)
	}
	defer out.Close()
	cmd, namespaces, begin := exec.Command(binary, n.args...), uintptr(0), func() {}
	if n.plug != nil {
		cmd, begin = n.plug.command(n.args)
		namespaces = syscall.CLONE_NEWNET
	}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = append(os.Environ(), "GORACE=halt_on_error=1")
	if err := startChildIn(cmd, namespaces); err != nil {
		n.t.Fatalf("start %s: %v", n.id, err)
	}
	begin()
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait() // its error is in the state
		n.state = cmd.ProcessState
		close(exited)
	}()
	n.process, n.exited, n.running = cmd.Process, exited, true
}

// kill ends the process without giving it a chance to do anything.
func (n *node) kill() {
	n.t.Helper()
	n.signal(syscall.SIGKILL)
	n.running = false
	<-n.exited
}

// stop asks the process to end, and wants it to do so in good order.
func (n *node) stop() {
	n.t.Helper()
	n.signal(syscall.SIGTERM)
	n.running = false
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	select {
	case <-n.exited:
	case <-deadline.C:
		n.t.Fatalf("%s, asked to stop, runs on after %v", n.id, patience)
	}
	if !n.state.Success() {
		n.t.Errorf("%s, asked to stop, ended with %v", n.id, n.state)
	}
}

// freeze stops the process in its tracks and returns when it stands still.
func (n *node) freeze() {
	n.t.Helper()
	n.signal(syscall.SIGSTOP)
	stat := fmt.Sprintf("/proc/%d/stat", n.process.Pid)
	await(n.t, n.id+" frozen", func() bool {
		text, err := os.ReadFile(stat)
		_, state, found := strings.Cut(string(text), ") ")
		return err == nil && found && state[0] == 'T'
	})
}

func (n *node) thaw() {
	n.t.Helper()
	n.signal(syscall.SIGCONT)
}

func (n *node) signal(sig syscall.Signal) {
	n.t.Helper()
	n.checkAlive()
	if err := n.process.Signal(sig); err != nil {
		n.t.Fatalf("%v to %s: %v", sig, n.id, err)
	}
}

// checkAlive fails the test when the process has ended by itself.
func (n *node) checkAlive() {
	n.t.Helper()
	if !n.running {
		n.t.Fatalf("%s does not run", n.id)
	}
	select {
	case <-n.exited:
		n.running = false
		n.t.Fatalf("%s has ended by itself: %v", n.id, n.state)
	default:
	}
}

// status is what the tests need of /v1/status.
type status struct {
	Role          string       `json:"role"`
	Leader        string       `json:"leader"`
	Term          uint64       `json:"term"`
	FirstIndex    uint64       `json:"first_index"`
	LastIndex     uint64       `json:"last_index"`
	CommitIndex   uint64       `json:"commit_index"`
	AppliedIndex  uint64       `json:"applied_index"`
	SnapshotIndex uint64       `json:"snapshot_index"`
	Failure       string       `json:"failure"`
	DiskFull      bool         `json:"disk_full"`
	Peers         []peerStatus `json:"peers"`
}

// peerStatus is what a leader says of another node.
type peerStatus struct {
	Node         string `json:"node"`
	State        string `json:"state"`
	SnapshotSent uint64 `json:"snapshot_sent"`
	SnapshotSize uint64 `json:"snapshot_size"`
}

// asker speaks to nodes that may be dead or frozen.
var asker = &http.Client{Timeout: 300 * time.Millisecond, Transport: &http.Transport{DisableKeepAlives: true}}

func (n *node) status() (status, error) {
	reply, err := asker.Get("http://" + n.http + "/v1/status")
	if err != nil {
		return status{}, err
	}
	defer reply.Body.Close()
	var s struct{ Groups []status }
	if reply.StatusCode != http.StatusOK {
		return status{}, fmt.Errorf("status of %s: %s", n.id, reply.Status)
	}
	if err := json.NewDecoder(reply.Body).Decode(&s); err != nil {
		return status{}, err
	}
	if len(s.Groups) != 1 {
		return status{}, fmt.Errorf("status of %s has %d groups, expected 1", n.id, len(s.Groups))
	}
	if s.Groups[0].Failure != "" {
		return status{}, fmt.Errorf("%s has failed: %s", n.id, s.Groups[0].Failure)
	}
	return s.Groups[0], nil
}

// ready tells whether the node answers a linearizable read.
func (n *node) ready() bool {
	reply, err := asker.Get("http://" + n.http + "/readyz")
	if err != nil {
		return false
	}
	defer reply.Body.Close()
	_, _ = io.Copy(io.Discard, reply.Body)
	return reply.StatusCode == http.StatusOK
}

// ensemble is a cluster of processes.
type ensemble struct {
	t        testing.TB
	nodes    []*node
	election time.Duration
}

// startEnsemble starts a cluster and waits for its leader. The nodes get more flags
// than the usual ones where there are some.
func startEnsemble(t testing.TB, size int, election time.Duration, flags ...string) *ensemble {
	t.Helper()
	return startEnsembleOn(t, size, election, func(n *node) { n.args = append(n.args, flags...) })
}

// startEnsembleOn has prepare see to each node's place before it starts.
func startEnsembleOn(t testing.TB, size int, election time.Duration, prepare func(*node)) *ensemble {
	t.Helper()
	e := &ensemble{t: t, election: election}
	dir := t.TempDir()
	if *keepFlag != "" {
		dir = filepath.Join(*keepFlag, t.Name())
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	ports := freePorts(t, 3*size)
	var members []string
	for i := range size {
		id := fmt.Sprintf("n%d", i+1)
		n := &node{
			t: t, id: id, dir: filepath.Join(dir, id), log: filepath.Join(dir, id+".log"),
			peer: ports[3*i], resp: ports[3*i+1], http: ports[3*i+2],
		}
		members = append(members, id+"="+n.peer)
		e.nodes = append(e.nodes, n)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.end)
	for _, n := range e.nodes {
		n.args = []string{
			"serve", "--id", n.id, "--cluster", strings.Join(members, ","), "--data", n.dir,
			"--resp", n.resp, "--http", n.http, "--log-level", *levelFlag,
			"--election-timeout", election.String(), "--heartbeat", (election / 10).String(), "--log-engine", *engineFlag,
		}
		prepare(n)
		n.start()
	}
	e.awaitReady()
	return e
}

// end kills what runs and looks for what no log may contain.
func (e *ensemble) end() {
	for _, n := range e.nodes {
		if n.process == nil {
			continue
		}
		select {
		case <-n.exited:
			if n.running {
				e.t.Errorf("%s has ended by itself: %v", n.id, n.state)
			}
		default:
			_ = n.process.Kill()
			<-n.exited
		}
		text, err := os.ReadFile(n.log)
		if err != nil {
			e.t.Error(err)
		}
		for _, alarm := range []string{"DATA RACE", "panic:", "fatal error:", "STORAGE FAILED"} {
			if strings.Contains(string(text), alarm) {
				e.t.Errorf("the log of %s has %q", n.id, alarm)
			}
		}
		if e.t.Failed() {
			e.t.Logf("end of the log of %s:\n%s", n.id, tail(string(text), 16<<10))
		}
	}
}

func tail(text string, bytes int) string {
	if len(text) <= bytes {
		return text
	}
	text = text[len(text)-bytes:]
	_, text, _ = strings.Cut(text, "\n")
	return text
}

// freePorts finds addresses that nobody listens on, below the ports the kernel
// hands out for outgoing connections: a node that is dead for a while keeps its own.
func freePorts(t testing.TB, n int) []string {
	t.Helper()
	var free []string
	seen := map[string]bool{}
	for range 100 * n {
		if len(free) == n {
			return free
		}
		address := fmt.Sprintf("127.0.0.1:%d", 10000+rand.IntN(20000))
		l, err := net.Listen("tcp", address)
		if err != nil || seen[address] {
			if err == nil {
				l.Close()
			}
			continue
		}
		l.Close()
		seen[address] = true
		free = append(free, address)
	}
	t.Fatalf("%d free ports found, expected %d", len(free), n)
	return nil
}

// awaitReady waits until every node answers linearizable reads.
func (e *ensemble) awaitReady() {
	e.t.Helper()
	for _, n := range e.nodes {
		await(e.t, n.id+" ready", func() bool {
			n.checkAlive()
			return n.ready()
		})
	}
}

// leader waits until a node leads, other than those left out.
func (e *ensemble) leader(leftOut ...*node) *node {
	e.t.Helper()
	var leader *node
	await(e.t, "a leader", func() bool {
		var term uint64
		leader = nil
		for _, n := range e.others(leftOut...) {
			if !n.running {
				continue
			}
			if s, err := n.status(); err == nil && s.Role == "leader" && s.Term > term {
				leader, term = n, s.Term
			}
		}
		return leader != nil
	})
	return leader
}

// others are the nodes but those left out.
func (e *ensemble) others(leftOut ...*node) []*node {
	var rest []*node
next:
	for _, n := range e.nodes {
		for _, out := range leftOut {
			if n == out {
				continue next
			}
		}
		rest = append(rest, n)
	}
	return rest
}

// awaitCaughtUp waits until n has applied what the others had committed when it
// was called, and returns how long that took.
func (e *ensemble) awaitCaughtUp(n *node) time.Duration {
	e.t.Helper()
	begin := time.Now()
	var target uint64
	for _, other := range e.others(n) {
		if s, err := other.status(); err == nil {
			target = max(target, s.CommitIndex)
		}
	}
	await(e.t, fmt.Sprintf("%s applies index %d", n.id, target), func() bool {
		n.checkAlive()
		s, err := n.status()
		return err == nil && s.AppliedIndex >= target
	})
	return time.Since(begin)
}

// awaitEqual waits until every node has applied the same, all there is, and
// returns the index.
func (e *ensemble) awaitEqual() uint64 {
	e.t.Helper()
	var first status
	await(e.t, "all nodes apply the same", func() bool {
		for i, n := range e.nodes {
			n.checkAlive()
			s, err := n.status()
			if err != nil || s.AppliedIndex != s.LastIndex || i > 0 && s.AppliedIndex != first.AppliedIndex {
				return false
			}
			if i == 0 {
				first = s
			}
		}
		return true
	})
	return first.AppliedIndex
}
