package vfs

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// memoryDir is where Linux has a file system in memory, which is none of those that are
// known to heed a sync with a write.
const memoryDir = "/dev/shm"

// TestSyncWithTheWrite is asked for only where it is known to be heeded.
func TestSyncWithTheWrite(t *testing.T) {
	for _, dir := range []string{t.TempDir(), memoryDir} {
		f, err := os.CreateTemp(dir, "protoraft-dsync-")
		if err != nil {
			t.Skip(err)
		}
		t.Cleanup(func() { f.Close(); os.Remove(f.Name()) })
		var st unix.Statfs_t
		if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
			t.Fatal(err)
		}
		known := map[uint32]bool{0xef53: true, 0x58465342: true, 0x9123683e: true, 0xf2f52010: true}[uint32(st.Type)]
		if dir == memoryDir && known {
			t.Skipf("%s is of type %#x", dir, st.Type)
		}
		direct, err := OS{}.AppendDirect(f.Name())
		if errors.Is(err, errors.ErrUnsupported) {
			if got := syncsWithWrite(f); got != known {
				t.Fatalf("%s, type %#x: in one call %v, expected %v", dir, st.Type, got, known)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		defer direct.Close()
		if got := direct.(directFile).oneCall; got != known {
			t.Fatalf("%s, type %#x: in one call %v, expected %v", dir, st.Type, got, known)
		}
	}
}

// TestWriteThenSync: what is not written and synced in one call is written all the same,
// and synced.
func TestWriteThenSync(t *testing.T) {
	name := t.TempDir() + "/f"
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	opened, err := OS{}.AppendDirect(name)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	f := opened.(directFile)
	f.oneCall = false
	data := bytes.Repeat([]byte{7, 11}, DirectBytes)
	if err := WriteSynced(f, data, DirectBytes); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(name)
	if err != nil || !bytes.Equal(got, append(make([]byte, DirectBytes), data...)) {
		t.Fatalf("%d bytes are there (%v), expected %d", len(got), err, DirectBytes+len(data))
	}
	// What is written there is taken, and a sync refused: so it was asked for.
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if err := WriteSynced(directFile{osFile{null}, false}, data, 0); !errors.Is(err, unix.EINVAL) {
		t.Errorf("write to %s: %v, expected the error of its sync", os.DevNull, err)
	}
	f.Close()
	if err := WriteSynced(f, data, 0); !errors.Is(err, os.ErrClosed) {
		t.Errorf("write to a closed file: %v, expected %v", err, os.ErrClosed)
	}
}
