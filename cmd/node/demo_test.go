package main

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestGrouped(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 10_000: "10,000", 1_234_567: "1,234,567"} {
		if got := grouped(n); got != want {
			t.Errorf("grouped(%d): %q, expected %q", n, got, want)
		}
	}
}

// TestDemo: the tour succeeds, also where the ports it would like are taken.
func TestDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a cluster of processes")
	}
	t.Parallel()
	taken, err := net.Listen("tcp", freeAddress(t))
	for err != nil { // another demo of this run has passed by
		taken, err = net.Listen("tcp", freeAddress(t))
	}
	defer taken.Close()
	_, port, err := net.SplitHostPort(taken.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	code, out, errs := execute(t, "demo", "--once", "--node-port", freePort(t), "--resp-port", port, "--http-port", freePort(t))
	if code != exitOK || errs != "" {
		t.Fatalf("exit %d\n%s%s", code, out, errs)
	}
	for _, want := range []string{
		"leader elected", "10,000 writes acknowledged", "killed with SIGKILL", "new leader answers", "every write read back",
		"restarted and caught up", "Nothing was lost", "passed over: port " + port,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("does not say %q:\n%s", want, out)
		}
	}
	_, path, _ := strings.Cut(out, "data in ")
	path, _, _ = strings.Cut(path, " ")
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the temporary directory %s is still there: %v", path, err)
	}
}

// TestDemoKeepsItsDir: with --dir the data is kept, and a second demo goes on with
// it. One node is a cluster, too.
func TestDemoKeepsItsDir(t *testing.T) {
	if testing.Short() {
		t.Skip("starts clusters of processes")
	}
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "demo")
	for range 2 {
		code, out, errs := execute(t, "demo", "--once", "--nodes", "1", "--dir", dir, "--node-port", freePort(t), "--resp-port", freePort(t), "--http-port", freePort(t))
		if code != exitOK || errs != "" || !strings.Contains(out, "Nothing was lost") {
			t.Fatalf("exit %d\n%s%s", code, out, errs)
		}
	}
	if code, _, errs := execute(t, "demo", "--once", "--nodes", "3", "--dir", dir); code != exitUsage || !strings.Contains(errs, "a demo of 1 node") {
		t.Errorf("another number of nodes: exit %d, %s", code, errs)
	}
}

func TestDemoRefusesForeignDir(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "thesis.tex"), []byte("x"))
	code, out, errs := execute(t, "demo", "--once", "--dir", dir)
	if code != exitFailed || out != "" || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, "thesis.tex") || !strings.Contains(errs, "--dir") {
		t.Errorf("exit %d, stdout %q, stderr %q", code, out, errs)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("the directory was changed: %v, %v", entries, err)
	}
}

// TestDemoFailure: what went wrong is shown with what the node said last.
func TestDemoFailure(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "demo")
	address := freeAddress(t)
	writeFile(t, filepath.Join(dir, demoMarker), []byte(`{"format":1,"nodes":[{"id":"n1","address":"`+address+`"}]}`))
	writeFile(t, filepath.Join(dir, "n1", "thesis.tex"), []byte("x"))
	code, out, errs := execute(t, "demo", "--once", "--dir", dir, "--node-port", freePort(t), "--resp-port", freePort(t), "--http-port", freePort(t))
	if code != exitFailed || !strings.Contains(errs, "step 1") || !strings.Contains(errs, "n1 ended by itself") {
		t.Errorf("exit %d, stderr %q", code, errs)
	}
	for _, want := range []string{"FAILED", "last lines of n1", "thesis.tex"} {
		if !strings.Contains(out, want) {
			t.Errorf("does not say %q:\n%s", want, out)
		}
	}
}

// TestNoChildOutlivesTheDemo kills the demo in a way it cannot handle, and in one it
// can. A node's connections end with its process.
func TestNoChildOutlivesTheDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("starts clusters of processes")
	}
	t.Parallel()
	for _, s := range []syscall.Signal{syscall.SIGKILL, syscall.SIGINT} {
		p := start(t, "demo", "--nodes", "2", "--node-port", freePort(t), "--resp-port", freePort(t), "--http-port", freePort(t), "--dir", filepath.Join(t.TempDir(), "demo"))
		var addresses []string
		for _, id := range []string{"n1", "n2"} {
			addresses = append(addresses, strings.Fields(p.await("  " + id + " "))[2])
		}
		p.await("Ctrl-C stops the nodes")
		var conns []net.Conn
		for _, address := range addresses {
			conns = append(conns, dialNode(t, address))
		}
		p.signal(s)
		if code := p.exit(); s == syscall.SIGINT && code != exitOK {
			t.Errorf("exit %d after SIGINT:\n%s", code, p.output())
		}
		for i, conn := range conns {
			if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("n%d is still there after %v: %v", i+1, s, err)
			}
		}
	}
}

// freePort is where a demo begins to look for its own: it passes over what is taken.
func freePort(t *testing.T) string {
	t.Helper()
	_, port, err := net.SplitHostPort(freeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	return port
}
