package journal

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/vfs"
)

const smallDisk = "JOURNAL_TEST_SMALL_DISK"

// TestRealFullDisk runs itself again where it may mount a small file system of its own,
// which needs no privileges where user namespaces are allowed.
func TestRealFullDisk(t *testing.T) {
	if dir := os.Getenv(smallDisk); dir != "" {
		fillRealDisk(t, dir)
		return
	}
	self := exec.Command(os.Args[0], "-test.run=^TestRealFullDisk$", "-test.v")
	self.Env = append(os.Environ(), smallDisk+"="+t.TempDir())
	self.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := self.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		t.Fatalf("%v\n%s", err, out)
	case err != nil:
		t.Skipf("no user namespace here: %v", err)
	case bytes.Contains(out, []byte("--- SKIP")):
		t.Skipf("no small file system here:\n%s", out)
	}
	t.Logf("%s", out)
}

// fillRealDisk has a foreign file fill the disk under a store that is written to, three
// times over, and opens the store on a full disk in between.
func fillRealDisk(t *testing.T, dir string) {
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=32m"); err != nil {
		t.Skipf("mount of a tmpfs: %v", err)
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH)
	foreign, db := filepath.Join(dir, "foreign"), filepath.Join(dir, "db")
	opts := Options{SegmentBytes: 2 << 20, SlackBytes: 2 << 20, ReserveBytes: 2 << 20}
	entry := func(index uint64) logstore.Update { return put(1, index, bytes.Repeat([]byte{'d'}, 50<<10)) }
	last, term := uint64(0), uint64(1)
	for range 3 {
		s, err := Open(vfs.OS{}, db, opts)
		if err != nil {
			t.Fatalf("open: %v", err)
		}
		for range 50 {
			last++
			write(t, s, entry(last))
		}
		fillUp(t, foreign)
		for { // into zeros that were written before
			if err = s.Write([]logstore.Update{entry(last + 1)}); err != nil {
				break
			}
			last++
		}
		if !errors.Is(err, logstore.ErrFull) {
			t.Fatalf("entry %d on a full disk: %v, expected %v", last+1, err, logstore.ErrFull)
		}
		for range 100 {
			term++
			write(t, s, logstore.Update{Group: 1, HardState: &logstore.HardState{Term: term, Vote: "n1"}})
		}
		s.Close()
		if s, err = Open(vfs.OS{}, db, opts); err != nil {
			t.Fatalf("open on a full disk: %v", err)
		}
		if st, err := s.Load(1); err != nil || st.LastIndex != last || st.HardState.Term != term {
			t.Fatalf("%+v, %v, expected %d entries and term %d", st, err, last, term)
		}
		if err := os.Remove(foreign); err != nil {
			t.Fatal(err)
		}
		last++
		write(t, s, entry(last))
		write(t, s, logstore.Update{Group: 1, CompactTo: last - 1, CompactTerm: 1})
		t.Logf("%d entries, term %d", last, term)
		s.Close()
	}
}

// fillUp leaves no byte of a file system.
func fillUp(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for piece := make([]byte, 64<<10); len(piece) > 0; {
		if _, err := f.Write(piece); err != nil {
			if !vfs.IsFull(err) {
				t.Fatal(err)
			}
			piece = piece[:len(piece)/2]
		}
	}
}
