// Package cluster tests the node binary as its users run it: real processes on
// loopback with real disks, killed and frozen while clients work on them. What the
// clients saw is checked by package linearizability, and what the nodes hold is
// compared at the end.
//
// The defaults are small. The long run is
//
//	go test ./test/cluster -timeout 60m -cluster.kills=50
package cluster

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"
)

var (
	killsFlag = flag.Int("cluster.kills", 5, "how often a test that kills does so")
	raceFlag  = flag.Bool("cluster.race", raceDetector, "build the nodes with the race detector")
	keepFlag  = flag.String("cluster.keep", "", "directory to leave data and logs of the nodes in")
	levelFlag = flag.String("cluster.log-level", "info", "log level of the nodes")

	engineFlag = flag.String("cluster.log-engine", "", "what keeps the nodes' logs; what a new node gets where it is not said")
)

// binary is the node, built once.
var binary string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	patience += time.Duration(*bytesFlag>>20)*100*time.Millisecond + time.Duration(*entriesFlag)*50*time.Microsecond
	go launch()
	if binary = os.Getenv(insideEnv); binary != "" {
		return m.Run() // it was built outside
	}
	dir, err := os.MkdirTemp("", "protoraft-cluster-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "node")
	build := []string{"build", "-o", binary}
	if *raceFlag {
		build = append(build, "-race")
	}
	if out, err := exec.Command("go", append(build, "github.com/protoraft/protoraft/cmd/node")...).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go %v: %v\n%s", build, err, out)
		return 1
	}
	return m.Run()
}

// electionTimeout of most tests: short, to be quick.
func electionTimeout() time.Duration {
	if *raceFlag {
		return time.Second
	}
	return 300 * time.Millisecond
}

// starts are run by launch. A child asked to die with its parent dies with the
// thread that started it, so one thread that lives as long as the process does it.
var starts = make(chan func())

func launch() {
	runtime.LockOSThread()
	for start := range starts {
		start()
	}
}

// startChild starts a command that does not outlive this process, however it ends.
func startChild(cmd *exec.Cmd) error { return startChildIn(cmd, 0) }

// startChildIn starts it in new namespaces.
func startChildIn(cmd *exec.Cmd, namespaces uintptr) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Cloneflags: namespaces}
	done := make(chan error, 1)
	starts <- func() { done <- cmd.Start() }
	return <-done
}
