package cluster

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

var mine = identity{ClusterID: "c1", NodeID: "n1"}

func mustOpen(t *testing.T, path string) *dataDir {
	t.Helper()
	d, err := openDataDir(path, mine, "")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDataDirIdempotent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b")
	var first []byte
	for range 3 {
		d := mustOpen(t, path)
		raw, err := os.ReadFile(filepath.Join(path, identityFile))
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = raw
		}
		if string(raw) != string(first) {
			t.Errorf("identity became %q, was %q", raw, first)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		// What the node writes beside it is its own from now on.
		if err := os.WriteFile(filepath.Join(path, "000001.log"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDataDirLocked(t *testing.T) {
	path := t.TempDir()
	d := mustOpen(t, path)
	if _, err := openDataDir(path, mine, ""); !errors.Is(err, ErrDataDirLocked) || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v, expected ErrDataDirLocked naming %s", err, path)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := mustOpen(t, path).Close(); err != nil {
		t.Fatal(err)
	}
}

// Each directory that is not this node's is refused with its own error, and
// nothing in it is changed.
func TestDataDirRefuses(t *testing.T) {
	for _, c := range []struct {
		name, file, holds string
		is                error
		saying            string
	}{
		{"other cluster", identityFile, `{"format":1,"cluster_id":"c2","node_id":"n1"}`, ErrDataDirOfCluster, `expected cluster "c1"`},
		{"other node", identityFile, `{"format":1,"cluster_id":"c1","node_id":"n2"}`, ErrDataDirOfNode, `expected node "n1"`},
		{"newer", identityFile, `{"format":3,"who":{}}`, ErrNewerDataDir, "says format 3, this version knows up to 2"},
		{"garbled", identityFile, "\x00\x00\x00", ErrDataDirIdentity, "expected JSON"},
		{"empty", identityFile, "", ErrDataDirIdentity, "expected JSON"},
		{"cut short", identityFile, `{"format":1,"cluster_id":"c1`, ErrDataDirIdentity, "expected JSON"},
		{"no node", identityFile, `{"format":1,"cluster_id":"c1"}`, ErrDataDirIdentity, "expected all three"},
		{"no format", identityFile, `{"cluster_id":"c1","node_id":"n1"}`, ErrDataDirIdentity, "expected all three"},
		{"huge", identityFile, strings.Repeat("x", identityBytes+1), ErrDataDirIdentity, "expected a file of at most"},
		{"foreign", "holiday.jpg", "x", ErrForeignDataDir, "holiday.jpg"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := t.TempDir()
			if err := os.WriteFile(filepath.Join(path, c.file), []byte(c.holds), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := openDataDir(path, mine, "")
			if !errors.Is(err, c.is) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), c.saying) {
				t.Errorf("error %v, expected %v naming %s and saying %q", err, c.is, path, c.saying)
			}
			entries, err := os.ReadDir(path)
			if err != nil || len(entries) != 1 || entries[0].Name() != c.file {
				t.Errorf("directory holds %v (%v), expected %s alone", entries, err, c.file)
			}
		})
	}
}

func TestDataDirIsFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openDataDir(file, mine, ""); !errors.Is(err, ErrDataDirNotADir) {
		t.Errorf("error %v, expected ErrDataDirNotADir", err)
	}
	for _, id := range []identity{{}, {ClusterID: "c"}, {NodeID: "n"}} {
		if _, err := openDataDir(t.TempDir(), id, ""); err == nil {
			t.Errorf("identity %+v was accepted", id)
		}
	}
}

// What a crash during the first start leaves does not make the directory foreign.
func TestDataDirAfterCrash(t *testing.T) {
	path := t.TempDir()
	for _, name := range []string{lockFile, identityTemp} {
		if err := os.WriteFile(filepath.Join(path, name), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := mustOpen(t, path).Close(); err != nil {
		t.Fatal(err)
	}
}

func TestDataDirNoPermission(t *testing.T) {
	parent := t.TempDir()
	path := filepath.Join(parent, "d")
	if err := os.Mkdir(path, 0o500); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		// Root may write anywhere: look at the file system as somebody else.
		runtime.LockOSThread()
		if err := unix.Setfsuid(65534); err != nil {
			t.Fatal(err)
		}
		defer runtime.UnlockOSThread()
		defer func() { _ = unix.Setfsuid(0) }()
	}
	for _, p := range []string{path, filepath.Join(path, "below")} {
		if _, err := openDataDir(p, mine, ""); !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), p) {
			t.Errorf("error %v, expected permission denied for %s", err, p)
		}
	}
}
