package cluster

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/protoraft/protoraft/fsm/counter"
	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/engine"
	"github.com/protoraft/protoraft/logstore/vfs"
)

// round starts a node, adds 5, expects the sum, and stops it.
func round(t *testing.T, o Options, want int64) {
	t.Helper()
	n := startAlone(t, o)
	if _, err := n.StartGroup(1, counter.New(counter.Hooks{})); err != nil {
		t.Fatal(err)
	}
	if got := add(t, n, 1, 5); got != want {
		t.Errorf("sum %d, expected %d", got, want)
	}
	shutDown(t, n)
}

func engineOf(t *testing.T, dir string) string {
	t.Helper()
	found, err := engine.Detect(vfs.OS{}, filepath.Join(dir, logDir))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestConvertLog goes to the other engine and back, with a node in between that goes on
// where it was.
func TestConvertLog(t *testing.T) {
	o := alone(t, filepath.Join(t.TempDir(), "data"), freeAddress(t))
	o.LogEngine = engine.Goleveldb
	round(t, o, 5)
	sum := int64(5)
	for _, to := range []string{engine.Journal, engine.Goleveldb, engine.Journal} {
		o.LogEngine = to
		if _, err := Start(NewSystem(hclog.NewNullLogger()), o); !errors.Is(err, ErrLogEngine) || !strings.Contains(err.Error(), engineOf(t, o.DataDir)) {
			t.Fatalf("%v, expected %v that names the engine", err, ErrLogEngine)
		}
		c, err := ConvertLog(ConvertOptions{DataDir: o.DataDir, LogEngine: to})
		if err != nil || c.To != to || c.From == to || c.Groups != 1 || c.Entries == 0 || c.NodeID != o.ID {
			t.Fatalf("%+v, %v", c, err)
		}
		sum += 5
		round(t, o, sum)
		o.LogEngine = ""
		sum += 5
		round(t, o, sum)
		if found := engineOf(t, o.DataDir); found != to {
			t.Fatalf("the log is kept by %q, expected %q", found, to)
		}
	}
	c, err := ConvertLog(ConvertOptions{DataDir: o.DataDir, LogEngine: engine.Journal})
	if err != nil || c.From != c.To || c.Entries != 0 {
		t.Fatalf("converted to what it is: %+v, %v", c, err)
	}
	onlyThese(t, o.DataDir)
}

// onlyThese: nothing of a conversion is left.
func onlyThese(t *testing.T, dir string) {
	t.Helper()
	for _, name := range []string{convertingDir, convertedDir, formerDir} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			t.Errorf("%s is left of a conversion", name)
		}
	}
}

// TestConversionCutOff starts a node on what each step of a conversion leaves when it is
// the last, and converts again.
func TestConversionCutOff(t *testing.T) {
	for name, c := range map[string]struct {
		cut  func(t *testing.T, dir, converted string) // dir has the old log, converted the new one
		want string
	}{
		"while it is written": {func(t *testing.T, dir, converted string) {
			move(t, converted, filepath.Join(dir, convertingDir))
			if err := os.Remove(filepath.Join(dir, convertingDir, "000001.journal")); err != nil {
				t.Fatal(err)
			}
		}, engine.Goleveldb},
		"when it is whole": {func(t *testing.T, dir, converted string) {
			move(t, converted, filepath.Join(dir, convertedDir))
		}, engine.Goleveldb},
		"between the two renames": {func(t *testing.T, dir, converted string) {
			move(t, converted, filepath.Join(dir, convertedDir))
			move(t, filepath.Join(dir, logDir), filepath.Join(dir, formerDir))
		}, engine.Journal},
		"before the old one is removed": {func(t *testing.T, dir, converted string) {
			move(t, filepath.Join(dir, logDir), filepath.Join(dir, formerDir))
			move(t, converted, filepath.Join(dir, logDir))
		}, engine.Journal},
	} {
		t.Run(name, func(t *testing.T) {
			for _, again := range []bool{false, true} {
				o := alone(t, filepath.Join(t.TempDir(), "data"), freeAddress(t))
				o.LogEngine = engine.Goleveldb
				round(t, o, 5)
				o.LogEngine = ""
				c.cut(t, o.DataDir, convertedCopy(t, o.DataDir))
				d, err := InspectDataDir(o.DataDir)
				if err != nil {
					t.Fatal(err)
				}
				if found, err := engine.Detect(vfs.OS{}, d.LogDir); found != c.want || err != nil {
					t.Fatalf("what is looked at is of %q (%v), expected %q", found, err, c.want)
				}
				if err := d.Close(); err != nil {
					t.Fatal(err)
				}
				want := c.want
				if again {
					want = engine.Journal
					if _, err := ConvertLog(ConvertOptions{DataDir: o.DataDir, LogEngine: want}); err != nil {
						t.Fatal(err)
					}
				}
				round(t, o, 10)
				if found := engineOf(t, o.DataDir); found != want {
					t.Fatalf("the log is kept by %q, expected %q", found, want)
				}
				onlyThese(t, o.DataDir)
			}
		})
	}
}

func move(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// convertedCopy is a journal with what is in the log of a data directory.
func convertedCopy(t *testing.T, dir string) string {
	t.Helper()
	target := filepath.Join(t.TempDir(), "copy")
	from, err := engine.Open(vfs.OS{}, filepath.Join(dir, logDir), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	to, err := engine.Open(vfs.OS{}, target, engine.Journal, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = engine.Copy(from, to)
	if err := errors.Join(err, from.Close(), to.Close()); err != nil {
		t.Fatal(err)
	}
	return target
}

// TestConvertRefuses what it must not touch.
func TestConvertRefuses(t *testing.T) {
	o := alone(t, filepath.Join(t.TempDir(), "data"), freeAddress(t))
	o.LogEngine = engine.Journal
	n := startAlone(t, o)
	to := ConvertOptions{DataDir: o.DataDir, LogEngine: engine.Goleveldb}
	if _, err := ConvertLog(to); !errors.Is(err, ErrDataDirLocked) {
		t.Errorf("of a node that runs: %v, expected %v", err, ErrDataDirLocked)
	}
	if _, err := n.StartGroup(1, counter.New(counter.Hooks{})); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		add(t, n, 1, 5)
	}
	shutDown(t, n)
	if _, err := ConvertLog(ConvertOptions{DataDir: t.TempDir(), LogEngine: engine.Goleveldb}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of no data directory: %v, expected %v", err, os.ErrNotExist)
	}
	if _, err := ConvertLog(ConvertOptions{DataDir: o.DataDir, LogEngine: "sqlite"}); err == nil {
		t.Error("to an engine that there is not")
	}
	files, err := filepath.Glob(filepath.Join(o.DataDir, logDir, "*.journal"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i := 8192; i+200 < len(raw); i += 4096 { // in the blocks of every frame
			raw[i+200] ^= 1
		}
		if err := os.WriteFile(file, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := ConvertLog(to); !errors.Is(err, logstore.ErrCorrupt) {
		t.Errorf("of a damaged log: %v, expected %v", err, logstore.ErrCorrupt)
	}
	if found := engineOf(t, o.DataDir); found != engine.Journal {
		t.Errorf("the log is of %q after all that", found)
	}
	onlyThese(t, o.DataDir)
}
