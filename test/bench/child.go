package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// child is a member process. It answers every line on its stdin with one on its
// stdout, and exits when its stdin closes.
type child struct {
	id  int
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	log string // where its stderr goes
}

// startMember must be called on the main thread: a member dies with the thread that
// started it.
func startMember(ctx context.Context, c memberConfig) (*child, error) {
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	config, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	logFile, err := os.OpenFile(c.Dir+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer logFile.Close()
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), memberEnv+"="+string(config))
	cmd.Stderr = logFile
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &child{id: c.ID, cmd: cmd, in: in, out: bufio.NewReader(out), log: logFile.Name()}, nil
}

func (c *child) ask(cmd string) (report, error) {
	if _, err := fmt.Fprintln(c.in, cmd); err != nil {
		return report{}, c.died(err)
	}
	line, err := c.out.ReadBytes('\n')
	if err != nil {
		return report{}, c.died(err)
	}
	var r report
	if err := json.Unmarshal(line, &r); err != nil {
		return report{}, fmt.Errorf("member %d answered %q to %q: %w", c.id, line, cmd, err)
	}
	return r, nil
}

func (c *child) died(err error) error {
	said, _ := os.ReadFile(c.log)
	return fmt.Errorf("member %d: %w; its log ends: %s", c.id, err, said[max(0, len(said)-2000):])
}

func (c *child) signal(s syscall.Signal) error {
	if err := c.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("member %d: %v: %w", c.id, s, err)
	}
	return nil
}

// kill is SIGKILL; it works on a process that is frozen too. It returns when the
// process is gone.
func (c *child) kill() {
	c.cmd.Process.Kill()
	c.in.Close()
	c.cmd.Wait()
}

// rss is what the process has in RAM, also while it is frozen; 0 where not known.
func (c *child) rss() int64 { return rssOf(strconv.Itoa(c.cmd.Process.Pid)) }

// freePorts finds n ports that nobody listens on, below those the kernel hands
// out for outgoing connections.
func freePorts(n int) ([]int, error) {
	seen := map[int]bool{}
	var ports []int
	for tries := 0; len(ports) < n; tries++ {
		if tries > 100*n {
			return nil, fmt.Errorf("found %d free ports in %d tries, need %d", len(ports), tries, n)
		}
		p := 10000 + rand.IntN(20000)
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(p))
		if err != nil || seen[p] {
			if err == nil {
				l.Close()
			}
			continue
		}
		l.Close()
		seen[p] = true
		ports = append(ports, p)
	}
	return ports, nil
}
