package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestFullDisk fills a node's disk. Writes are refused as not applied, reads go on, the
// node says why, and when there is room again it takes writes without a restart.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	n := newNodeAt(t)
	disk := t.TempDir()
	inNamespace := []string{"unshare", "--user", "--map-root-user", "--mount", "sh", "-c"}
	if err := exec.Command(inNamespace[0], append(inNamespace[1:], "mount -t tmpfs tmpfs "+disk)...).Run(); err != nil {
		t.Skipf("cannot mount a small disk here: %v", err)
	}
	n.data = filepath.Join(disk, "n1")
	command := append(inNamespace, `mount -t tmpfs -o size=64m tmpfs "$1"; shift; exec "$@"`, "sh", disk, binary)
	p := startCommand(t, exec.Command(command[0], append(command[1:], n.args()...)...))
	p.await("serving HTTP")
	foreign := filepath.Join("/proc", fmt.Sprint(p.cmd.Process.Pid), "root", disk, "foreign")
	fillDisk(t, foreign)

	c := n.redis(t)
	acknowledged := setUntilRefused(t, c, 0)
	if err := c.Set(t.Context(), "refused", "v", 0).Err(); err == nil || !strings.HasPrefix(err.Error(), "DISKFULL not applied") {
		t.Fatalf("SET on a full disk: %v, expected DISKFULL not applied", err)
	}
	checkSet(t, c, acknowledged)
	if got, err := c.Exists(t.Context(), "refused").Result(); err != nil || got != 0 {
		t.Fatalf("%d, %v: what was refused is there", got, err)
	}
	if code, out, errs := execute(t, "status", "--http", n.http); code != exitOK || !strings.Contains(out+errs, "disk full") {
		t.Errorf("status: exit %d, %s%s", code, out, errs)
	}
	if err := os.Remove(foreign); err != nil {
		t.Fatal(err)
	}
	every := time.NewTicker(20 * time.Millisecond)
	defer every.Stop()
	for deadline := time.Now().Add(time.Minute); c.Set(t.Context(), "again", "v", 0).Err() != nil; <-every.C {
		if time.Now().After(deadline) {
			t.Fatalf("no write is taken with room on the disk:\n%s", p.output())
		}
	}
	checkSet(t, c, acknowledged)
	p.signal(syscall.SIGTERM)
	if code := p.exit(); code != exitOK {
		t.Errorf("exit %d after SIGTERM:\n%s", code, p.output())
	}
}

// fillDisk leaves no byte of it.
func fillDisk(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Skipf("the disk of the node cannot be reached: %v", err)
	}
	defer f.Close()
	for piece := make([]byte, 64<<10); len(piece) > 0; {
		if _, err := f.Write(piece); errors.Is(err, syscall.ENOSPC) {
			piece = piece[:len(piece)/2]
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
