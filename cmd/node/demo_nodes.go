package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/protoraft/protoraft/cmd/node/web"
)

// demo is a cluster of child processes and the tour through it.
type demo struct {
	out   io.Writer
	dir   *demoDir
	exe   string
	run   string // marks the values this demo writes
	nodes []*demoNode
	step  int

	passedOver []string // ports that were taken
}

// demoNode is a node, running as a child process or dead.
type demoNode struct {
	id, address, resp, http string
	log                     string // file
	cmd                     *exec.Cmd
	stdin                   io.Closer     // its end tells the child that the demo is gone
	ended                   chan struct{} // closed when the child has ended
	err                     error         // how, readable then
}

func newDemo(f *demoFlags, dir *demoDir, out io.Writer) (*demo, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("cannot find this program to start it again: %w", err)
	}
	d := &demo{out: out, dir: dir, exe: exe, run: rand.Text()[:8]}
	respPorts, takenRESP, err := freePorts(f.respPort, len(dir.members))
	if err != nil {
		return nil, err
	}
	httpPorts, takenHTTP, err := freePorts(f.httpPort, len(dir.members))
	if err != nil {
		return nil, err
	}
	for _, port := range slices.Concat(dir.passedOver, takenRESP, takenHTTP) {
		d.passedOver = append(d.passedOver, strconv.Itoa(port))
	}
	for i, m := range dir.members {
		d.nodes = append(d.nodes, &demoNode{
			id: m.ID, address: m.Address, resp: loopback(respPorts[i]), http: loopback(httpPorts[i]),
			log: filepath.Join(dir.path, m.ID+".log"),
		})
	}
	return d, nil
}

// start runs a node as a child. The calling thread must outlive the child.
func (d *demo) start(n *demoNode) error {
	log, err := os.OpenFile(n.log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the child has its own
	var members []string
	for _, m := range d.nodes {
		members = append(members, m.id+"="+m.address)
	}
	cmd := exec.Command(d.exe, "serve", "--id", n.id, "--cluster", strings.Join(members, ","),
		"--data", filepath.Join(d.dir.path, n.id), "--resp", n.resp, "--http", n.http,
		"--election-timeout", demoElectionTimeout.String(), "--follow-stdin")
	cmd.Stdout, cmd.Stderr = log, log
	isolate(cmd)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", n.id, err)
	}
	n.cmd, n.stdin, n.ended = cmd, stdin, make(chan struct{})
	go func() {
		n.err = cmd.Wait()
		close(n.ended)
	}()
	return nil
}

func (d *demo) startAll() error {
	for _, n := range d.nodes {
		if err := d.start(n); err != nil {
			return err
		}
	}
	return nil
}

// running tells whether the node's process is there.
func (n *demoNode) running() bool {
	if n.cmd == nil {
		return false
	}
	select {
	case <-n.ended:
		return false
	default:
		return true
	}
}

// kill ends the node's process with SIGKILL and waits for its end.
func (n *demoNode) kill() {
	_ = n.cmd.Process.Kill()
	<-n.ended
}

// stopTimeout is how long children may take to leave in good order.
const stopTimeout = 10 * time.Second

// stop ends every child, all at the same time, and waits for it. There is nobody
// to hand leadership over to, so none of them waits for another.
func (d *demo) stop() {
	var wait sync.WaitGroup
	for _, n := range d.nodes {
		if !n.running() {
			continue
		}
		wait.Go(func() {
			if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				_ = n.stdin.Close() // no such signal on this system
			}
			timer := time.NewTimer(stopTimeout)
			defer timer.Stop()
			select {
			case <-n.ended:
			case <-timer.C:
				n.kill()
			}
		})
	}
	wait.Wait()
}

// running returns the nodes whose processes are there.
func (d *demo) running() []*demoNode {
	var alive []*demoNode
	for _, n := range d.nodes {
		if n.running() {
			alive = append(alive, n)
		}
	}
	return alive
}

// pollInterval is how often the demo looks whether something has happened: what it
// measures is at most that much too long.
const pollInterval = 5 * time.Millisecond

// until polls every node of nodes at once, again and again, until done says so.
// It fails when a node ends, or ctx.
func (d *demo) until(ctx context.Context, nodes []*demoNode, done func(statuses []*web.GroupStatus) bool) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	addresses := make([]string, len(nodes))
	for i, n := range nodes {
		addresses[i] = n.http
	}
	for {
		c := askCluster(ctx, addresses)
		statuses := make([]*web.GroupStatus, len(nodes))
		for i := range c.Nodes {
			statuses[i] = c.Nodes[i].group()
			if g := statuses[i]; g != nil && g.Failure != "" {
				return fmt.Errorf("%s: group %d stopped: %s", nodes[i].id, g.Group, g.Failure)
			}
		}
		if done(statuses) {
			return nil
		}
		for _, n := range nodes {
			if !n.running() {
				return fmt.Errorf("%s ended by itself: %w", n.id, howEnded(n.err))
			}
		}
		select {
		case <-ctx.Done():
			return errors.New("it did not happen")
		case <-ticker.C:
		}
	}
}

// howEnded describes the end of a process: Wait returns nil for exit status 0.
func howEnded(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// leader waits until one of nodes says that it leads, in a term above term.
func (d *demo) leader(ctx context.Context, nodes []*demoNode, term uint64) (leader *demoNode, in uint64, err error) {
	err = d.until(ctx, nodes, func(statuses []*web.GroupStatus) bool {
		for i, g := range statuses {
			if g != nil && g.Role == "leader" && g.Term > max(term, in) {
				leader, in = nodes[i], g.Term
			}
		}
		return leader != nil
	})
	return leader, in, err
}
