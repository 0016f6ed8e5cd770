package level

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/syndtr/goleveldb/leveldb/util"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/vfs"
	"github.com/protoraft/protoraft/messages"
)

const smallDisk = "LEVEL_TEST_SMALL_DISK"

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
	foreign, opts := filepath.Join(dir, "foreign"), Options{MemtableBytes: 1 << 20, LogBytes: 4 << 20}
	last, term := uint64(0), uint64(1)
	for range 3 {
		s, err := Open(vfs.OS{}, filepath.Join(dir, "db"), opts)
		if err != nil {
			t.Fatalf("open: %v", err)
		}
		for range 40 {
			writeSoon(t, s, entry(last+1))
			last++
		}
		// What a flush takes from the reserve a file that grows just then may get.
		if err := s.db.CompactRange(util.Range{}); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			writeSoon(t, s, entry(last+1))
			last++
		}
		fillUp(t, foreign)
		for ; ; last++ { // into zeros that were written before
			if err = s.Write(entry(last + 1)); err != nil {
				break
			}
		}
		if !errors.Is(err, logstore.ErrFull) {
			t.Fatalf("entry %d on a full disk: %v, expected %v", last+1, err, logstore.ErrFull)
		}
		for range 100 {
			term++
			if err := s.Write([]logstore.Update{{Group: 1, HardState: &logstore.HardState{Term: term, Vote: "n1"}}}); err != nil {
				t.Fatalf("vote of term %d on a full disk: %v", term, err)
			}
		}
		s.Close()
		if s, err = Open(vfs.OS{}, filepath.Join(dir, "db"), opts); err != nil {
			t.Fatalf("open on a full disk: %v", err)
		}
		if st, err := s.Load(1); err != nil || st.LastIndex != last || st.HardState.Term != term {
			t.Fatalf("%+v, %v, expected %d entries and term %d", st, err, last, term)
		}
		if err := os.Remove(foreign); err != nil {
			t.Fatal(err)
		}
		writeSoon(t, s, entry(last+1))
		last++
		writeSoon(t, s, []logstore.Update{{Group: 1, CompactTo: last - 1, CompactTerm: 1}})
		if st, err := s.Load(1); err != nil || st.LastIndex != last {
			t.Fatalf("%+v, %v, expected an end at %d", st, err, last)
		}
		t.Logf("%d entries, term %d", last, term)
		s.Close()
	}
}

func entry(index uint64) []logstore.Update {
	return []logstore.Update{{Group: 1, Incarnation: 1, Blocks: []messages.Block{blockOf(1, index, 1, bytes.Repeat([]byte{'d'}, 50<<10))}}}
}

// writeSoon repeats a write until there is room, for longer than goleveldb waits between
// two attempts of its own.
func writeSoon(t *testing.T, s *Store, updates []logstore.Update) {
	t.Helper()
	every := time.NewTicker(10 * time.Millisecond)
	defer every.Stop()
	for deadline := time.Now().Add(30 * time.Second); ; <-every.C {
		err := s.Write(updates)
		if err == nil {
			return
		}
		if !errors.Is(err, logstore.ErrFull) || time.Now().After(deadline) {
			t.Fatalf("write with room on the disk: %v", err)
		}
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
