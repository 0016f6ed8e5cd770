package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// binary is this package, built once.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "node-test-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "node")
		if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// patience is how long a test waits for what should take a second or two.
const patience = 30 * time.Second

// process is a running command and what it prints.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines chan string // of standard output and error; closed at its end
	ended chan struct{}

	mu      sync.Mutex
	printed []string
}

func start(t *testing.T, args ...string) *process {
	t.Helper()
	return startCommand(t, exec.Command(binary, args...))
}

func startCommand(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: cmd, lines: make(chan string, 100_000), ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = w, w
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	go func() {
		for s := bufio.NewScanner(r); s.Scan(); {
			p.mu.Lock()
			p.printed = append(p.printed, s.Text())
			p.mu.Unlock()
			p.lines <- s.Text()
		}
		close(p.lines)
		_ = p.cmd.Wait()
		_ = r.Close()
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
	})
	return p
}

// output is all that was printed so far.
func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.printed, "\n")
}

// await returns the first line that contains text.
func (p *process) await(text string) string {
	p.t.Helper()
	for line := range strings.SplitSeq(p.output(), "\n") {
		if strings.Contains(line, text) {
			return line
		}
	}
	timeout := time.After(patience)
	for {
		select {
		case line, more := <-p.lines:
			if strings.Contains(line, text) {
				return line
			}
			if !more {
				p.t.Fatalf("ended without saying %q:\n%s", text, p.output())
			}
		case <-timeout:
			p.t.Fatalf("has not said %q:\n%s", text, p.output())
		}
	}
}

// signal sends s.
func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// exit waits for the end and returns the exit code, -1 after a signal.
func (p *process) exit() int {
	p.t.Helper()
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		p.t.Fatalf("still running:\n%s", p.output())
		return 0
	}
}

// execute runs a command to its end.
func execute(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// addressesGiven: no two of one run's tests get the same.
var addressesGiven sync.Map

func freeAddress(t *testing.T) string {
	t.Helper()
	for range 1000 {
		// Below the ports the kernel gives away: one that is closed for a while, as its
		// node is down, must not be somebody's connection when it comes back.
		address := fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12000))
		if _, given := addressesGiven.LoadOrStore(address, true); given {
			continue
		}
		if l, err := net.Listen("tcp", address); err == nil {
			defer l.Close()
			return address
		}
	}
	t.Fatal("no free port")
	return ""
}

// nodeAt is one node and how it is started.
type nodeAt struct {
	address, resp, http, data string
	cluster                   string
}

func newNodeAt(t *testing.T) nodeAt {
	n := nodeAt{address: freeAddress(t), resp: freeAddress(t), http: freeAddress(t), data: filepath.Join(t.TempDir(), "n1")}
	n.cluster = "n1=" + n.address
	return n
}

func (n nodeAt) args(more ...string) []string {
	return append([]string{
		"serve", "--id", "n1", "--cluster", n.cluster, "--data", n.data, "--resp", n.resp, "--http", n.http,
		"--election-timeout", "150ms",
	}, more...)
}

// serve starts the node and returns when its ports are open.
func (n nodeAt) serve(t *testing.T, more ...string) *process {
	t.Helper()
	p := start(t, n.args(more...)...)
	p.await("serving HTTP")
	return p
}

func (n nodeAt) redis(t *testing.T) *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: n.resp, MaxRetries: -1, ReadTimeout: patience})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func (n nodeAt) get(t *testing.T, path string) (code int, body string) {
	t.Helper()
	res, err := http.Get("http://" + n.http + path)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}
