package main

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// patience is how long a line may take that should come at once.
const patience = 20 * time.Second

// process is a run of the built example whose output comes line by line.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string
}

func start(t *testing.T, binary string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(binary, args...), lines: make(chan string, 1<<16)}
	r, w := io.Pipe()
	p.cmd.Stdout, p.cmd.Stderr = w, w
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		for s := bufio.NewScanner(r); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
		_ = w.Close()
	})
	return p
}

// await returns the submatches of the first line that matches.
func (p *process) await(pattern string) []string {
	p.t.Helper()
	re, seen := regexp.MustCompile(pattern), []string(nil)
	timeout := time.After(patience)
	for {
		select {
		case line := <-p.lines:
			seen = append(seen, line)
			if m := re.FindStringSubmatch(line); m != nil {
				return m
			}
		case <-timeout:
			p.t.Fatalf("%v: no line like %q, but\n%s", p.cmd.Args, pattern, strings.Join(seen, "\n"))
		}
	}
}

func (p *process) exits(code int) {
	p.t.Helper()
	_ = p.cmd.Wait()
	if got := p.cmd.ProcessState.ExitCode(); got != code {
		p.t.Errorf("%v: exit code %d, expected %d", p.cmd.Args, got, code)
	}
}

func freeAddresses(t *testing.T) string {
	var all []string
	for len(all) < 3 {
		// Below the ports the kernel gives away, so that a server finds its own again.
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12000)))
		if err != nil {
			continue
		}
		defer l.Close()
		all = append(all, l.Addr().String())
	}
	return strings.Join(all, ",")
}

// TestRun goes through what main.go tells the reader to try.
func TestRun(t *testing.T) {
	binary, dir := filepath.Join(t.TempDir(), "counter"), t.TempDir()
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	addresses := freeAddresses(t)
	servers := map[string]*process{}
	serve := func(id string) {
		servers[id] = start(t, binary, "server", "--id", id, "--dir", dir, "--servers", addresses, "--election-timeout", "300ms")
	}
	for _, id := range []string{"1", "2", "3"} {
		serve(id)
	}
	client := func(args ...string) *process {
		return start(t, binary, append([]string{"client", "--servers", addresses}, args...)...)
	}

	c := client("--delta", "5", "--times", "3")
	leader := c.await(`^leader is server ([123]) at 127\.0\.0\.1:`)[1]
	for _, sum := range []int{5, 10, 15} {
		c.await(fmt.Sprintf(`^add \+5: %d  \(.*s\)$`, sum))
	}
	c.await(`^3 acknowledged in .*s$`)
	c.await(`^read: 15  \(.*s\)$`)
	c.exits(0)
	servers[leader].await("this server leads now: term=")

	// The leader dies while a client counts down; the client goes on, and each of its
	// additions counts once: what was on its way is sent again in the client's session.
	c = client("--delta", "-1", "--times", "120", "--every", "2ms")
	c.await(`^add -1: 10 `)
	if err := servers[leader].cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	servers[leader].exits(-1)
	c.await(`^120 acknowledged in`)
	sum := c.await(`^read: (-105) `)[1]
	c.exits(0)

	// The dead one comes back and follows. All stop on Ctrl-C, and start again with
	// what they had.
	serve(leader)
	servers[leader].await("following")
	next := client("--times", "0").await(`^leader is server ([123])`)[1]
	if next == leader {
		t.Errorf("server %s leads again, expected another while it was away", leader)
	}
	for _, p := range servers {
		if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range servers {
		p.await("shutting down")
		p.exits(0)
	}
	for id := range servers {
		serve(id)
	}
	c = client("--times", "0")
	c.await(fmt.Sprintf(`^read: %s `, sum))
	c.exits(0)
}
