package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const ownMounts = "PROTORAFT_TEST_OWN_MOUNTS"

// TestFullDisks fills the disks of real processes: first the leader's, then all, then
// none. It runs itself again where it may mount a small file system for each node, which
// needs no privileges where user namespaces are allowed.
func TestFullDisks(t *testing.T) {
	if os.Getenv(ownMounts) != "" {
		fillDisks(t)
		return
	}
	self := exec.Command(os.Args[0], "-test.run=^TestFullDisks$", "-test.v", "-cluster.log-level="+*levelFlag, "-cluster.log-engine="+*engineFlag)
	self.Env = append(os.Environ(), ownMounts+"=1")
	self.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	out, err := self.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		t.Fatalf("%v\n%s", err, out)
	case err != nil:
		t.Skipf("no user namespace here: %v", err)
	case bytes.Contains(out, []byte("--- SKIP")):
		t.Skipf("no small file systems here:\n%s", out)
	}
	t.Logf("%s", out)
}

func fillDisks(t *testing.T) {
	e := startEnsembleOn(t, 3, electionTimeout(), func(n *node) { n.mountSmallDisk() })
	w := &writes{t: t}
	w.until(e.leader(), "a write", http.StatusOK)

	first := e.leader()
	first.fillDisk()
	w.untilTrue(e.nodes[0], "the leader leaves its full disk", func() bool {
		s, err := first.status()
		return err == nil && s.DiskFull && s.Role == "follower" && s.Leader != ""
	})
	second := e.leader(first)
	w.until(second, "a write without the full disk", http.StatusOK)

	for _, n := range e.others(first) {
		n.fillDisk()
	}
	w.until(second, "a refusal with every disk full", http.StatusInsufficientStorage)
	w.check(e.leader()) // reads go on

	for _, n := range e.nodes {
		if err := os.Remove(n.foreign()); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range e.nodes {
		w.until(n, "a write with room again", http.StatusOK)
	}
	last := e.awaitEqual()
	for _, n := range e.nodes {
		w.check(n)
		if s, err := n.status(); err != nil || s.DiskFull {
			t.Errorf("%s: %+v, %v, expected room", n.id, s, err)
		}
	}
	t.Logf("%d writes acknowledged, %d refused as not applied; %d entries", len(w.acknowledged), w.refused, last)
}

// smallDisk has room for what a node keeps in reserve, and for some more.
const smallDisk = "size=64m"

func (n *node) mountSmallDisk() {
	if err := os.MkdirAll(n.dir, 0o755); err != nil {
		n.t.Fatal(err)
	}
	if err := syscall.Mount("none", n.dir, "tmpfs", 0, smallDisk); err != nil {
		n.t.Skipf("mount of a tmpfs: %v", err)
	}
	n.t.Cleanup(func() { _ = syscall.Unmount(n.dir, syscall.MNT_DETACH) })
}

func (n *node) foreign() string { return filepath.Join(n.dir, "foreign") }

// fillDisk leaves no byte of it.
func (n *node) fillDisk() {
	n.t.Helper()
	f, err := os.Create(n.foreign())
	if err != nil {
		n.t.Fatal(err)
	}
	defer f.Close()
	for piece := make([]byte, 64<<10); len(piece) > 0; {
		if _, err := f.Write(piece); errors.Is(err, syscall.ENOSPC) {
			piece = piece[:len(piece)/2]
		} else if err != nil {
			n.t.Fatal(err)
		}
	}
}

// writes is a client that remembers what was acknowledged.
type writes struct {
	t            *testing.T
	number       int
	acknowledged []int
	refused      int
}

const valueBytes = 100 << 10

func valueOf(number int) string {
	return strings.Repeat(fmt.Sprintf("%08d", number), valueBytes/8)
}

func (w *writes) put(n *node) int {
	w.t.Helper()
	w.number++
	request, err := http.NewRequest(http.MethodPut, fmt.Sprintf("http://%s/v1/kv/k%d", n.http, w.number), strings.NewReader(valueOf(w.number)))
	if err != nil {
		w.t.Fatal(err)
	}
	reply, err := asker.Do(request)
	if err != nil {
		return 0 // unknown
	}
	defer reply.Body.Close()
	text, _ := io.ReadAll(reply.Body)
	switch reply.StatusCode {
	case http.StatusOK:
		w.acknowledged = append(w.acknowledged, w.number)
	case http.StatusInsufficientStorage:
		if !bytes.Contains(text, []byte(`"not_applied"`)) || !bytes.Contains(text, []byte(`"disk_full"`)) {
			w.t.Fatalf("refused with %s", text)
		}
		w.refused++
	}
	return reply.StatusCode
}

// until writes until it gets such an answer.
func (w *writes) until(n *node, what string, code int) {
	w.t.Helper()
	w.untilTrue(n, what, func() bool { return w.put(n) == code })
}

// untilTrue writes until something holds.
func (w *writes) untilTrue(n *node, what string, holds func() bool) {
	w.t.Helper()
	await(w.t, what, func() bool {
		n.checkAlive()
		if holds() {
			return true
		}
		w.put(n)
		return false
	})
}

// check reads what was acknowledged, all of it, from one node.
func (w *writes) check(n *node) {
	w.t.Helper()
	for _, number := range w.acknowledged {
		await(w.t, fmt.Sprintf("%s reads k%d", n.id, number), func() bool {
			reply, err := asker.Get(fmt.Sprintf("http://%s/v1/kv/k%d", n.http, number))
			if err != nil {
				return false
			}
			defer reply.Body.Close()
			text, err := io.ReadAll(reply.Body)
			if err != nil || reply.StatusCode != http.StatusOK {
				return false
			}
			if string(text) != valueOf(number) {
				w.t.Fatalf("k%d at %s is not what was acknowledged", number, n.id)
			}
			return true
		})
	}
}
