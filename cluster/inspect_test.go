package cluster

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/protoraft/protoraft/logstore/engine"
)

// TestInspectDataDir: who looks shares the directory with others that look, and with no
// node.
func TestInspectDataDir(t *testing.T) {
	path, id := filepath.Join(t.TempDir(), "n1"), identity{ClusterID: "c", NodeID: "n1"}
	running, err := openDataDir(path, id, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := InspectDataDir(path); !errors.Is(err, ErrDataDirLocked) {
		t.Errorf("with a node on it: %v, expected %v", err, ErrDataDirLocked)
	}
	if err := running.Close(); err != nil {
		t.Fatal(err)
	}
	var looking [2]*InspectedDir
	for i := range looking {
		if looking[i], err = InspectDataDir(path); err != nil {
			t.Fatal(err)
		}
	}
	if d := looking[0]; d.NodeID != "n1" || d.ClusterID != "c" || d.Format != formatWith(engine.Default) || d.LogDir != filepath.Join(path, logDir) || d.SnapshotsDir != "" {
		t.Errorf("%+v", d)
	}
	if _, err := openDataDir(path, id, ""); !errors.Is(err, ErrDataDirLocked) {
		t.Errorf("a node starts on what is looked at: %v", err)
	}
	for _, d := range looking {
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if running, err = openDataDir(path, id, ""); err != nil {
		t.Fatalf("after a look: %v", err)
	}
	if err := running.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestInspectCopies: a copy need not have everything, and gains nothing.
func TestInspectCopies(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o700), os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	write("log/CURRENT", "x")
	write("copy/IDENTITY", `{"format":1,"cluster_id":"c","node_id":"n1"}`)
	write("copy/log/CURRENT", "x")
	write("copy/snapshots/1/x", "x")
	write("broken/IDENTITY", "{")
	write("broken/log/CURRENT", "x")
	for name, want := range map[string]error{"log": nil, "copy": nil, "broken": ErrDataDirIdentity, "none": fs.ErrNotExist, "log/CURRENT": ErrDataDirNotADir, ".": ErrForeignDataDir} {
		d, err := InspectDataDir(filepath.Join(dir, name))
		if !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("%s: %v, expected %v", name, err, want)
		}
		if err != nil {
			continue
		}
		if name == "copy" && (d.NodeID != "n1" || d.SnapshotsDir == "") || name == "log" && (d.NodeID != "" || d.LogDir != d.Path) {
			t.Errorf("%s: %+v", name, d)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(d.LogDir, lockFile)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: a lock was made: %v", name, err)
		}
	}
}
