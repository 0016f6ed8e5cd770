package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/protoraft/protoraft/logstore/engine"
)

func formatOf(t *testing.T, dir string) int {
	t.Helper()
	id, err := readIdentity(dir)
	if err != nil {
		t.Fatal(err)
	}
	return id.Format
}

// TestFormatOfEngine: a version that knows format 1 only, and no journal, finds a
// directory with one to be newer than itself, and opens every other.
func TestFormatOfEngine(t *testing.T) {
	want := map[string]int{engine.Goleveldb: 1, engine.Journal: 2}
	o := alone(t, filepath.Join(t.TempDir(), "data"), freeAddress(t))
	o.LogEngine = engine.Goleveldb
	round(t, o, 5)
	if got := formatOf(t, o.DataDir); got != 1 {
		t.Fatalf("begun with goleveldb: format %d, expected 1", got)
	}
	for _, to := range []string{engine.Journal, engine.Goleveldb} {
		if _, err := ConvertLog(ConvertOptions{DataDir: o.DataDir, LogEngine: to}); err != nil {
			t.Fatal(err)
		}
		if got := formatOf(t, o.DataDir); got != want[to] {
			t.Errorf("converted to %s: format %d, expected %d", to, got, want[to])
		}
	}
	for _, keptBy := range engine.Names() {
		d, err := openDataDir(filepath.Join(t.TempDir(), "new"), mine, keptBy)
		if err != nil {
			t.Fatal(err)
		}
		if got := formatOf(t, d.path); got != want[keptBy] {
			t.Errorf("new with %s: format %d, expected %d", keptBy, got, want[keptBy])
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFormatIsPutRight: whatever a crash has left the identity to say, the format is that
// of the engine before its log is written to, and after a conversion.
func TestFormatIsPutRight(t *testing.T) {
	for _, keptBy := range engine.Names() {
		for _, left := range []int{1, 2} {
			t.Run(fmt.Sprint(keptBy, left), func(t *testing.T) {
				o := alone(t, filepath.Join(t.TempDir(), "data"), freeAddress(t))
				o.LogEngine = keptBy
				round(t, o, 5)
				says := func() {
					t.Helper()
					id, err := readIdentity(o.DataDir)
					if err != nil {
						t.Fatal(err)
					}
					id.Format = left
					if err := writeIdentity(o.DataDir, id); err != nil {
						t.Fatal(err)
					}
				}
				says()
				if _, err := ConvertLog(ConvertOptions{DataDir: o.DataDir, LogEngine: keptBy}); err != nil || formatOf(t, o.DataDir) != formatWith(keptBy) {
					t.Errorf("converted to what it is: %v, format %d", err, formatOf(t, o.DataDir))
				}
				says()
				o.LogEngine = map[string]string{engine.Journal: engine.Goleveldb, engine.Goleveldb: engine.Journal}[keptBy]
				if _, err := Start(NewSystem(hclog.NewNullLogger()), o); !errors.Is(err, ErrLogEngine) || formatOf(t, o.DataDir) != left {
					t.Errorf("refused: %v, format %d, expected the one there was", err, formatOf(t, o.DataDir))
				}
				o.LogEngine = ""
				round(t, o, 10)
				if got := formatOf(t, o.DataDir); got != formatWith(keptBy) {
					t.Errorf("after a start: format %d, expected %d", got, formatWith(keptBy))
				}
			})
		}
	}
}

// TestFormatGoesFirst: while a log changes places with a journal's, the identity says the
// higher format: it is raised before, and lowered after.
func TestFormatGoesFirst(t *testing.T) {
	for from, to := range map[string]string{engine.Goleveldb: engine.Journal, engine.Journal: engine.Goleveldb} {
		o := alone(t, filepath.Join(t.TempDir(), "data"), freeAddress(t))
		o.LogEngine = from
		round(t, o, 5)
		// What is in the way of the exchange stops it between the two.
		in := filepath.Join(o.DataDir, formerDir)
		if err := os.MkdirAll(filepath.Join(in, "in", "the", "way"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := exchangeLogs(o.DataDir, from, to); err == nil || !strings.Contains(err.Error(), formerDir) {
			t.Fatalf("%v, expected that %s is in the way", err, in)
		}
		if got := formatOf(t, o.DataDir); got != 2 {
			t.Errorf("from %s to %s: format %d in between, expected 2", from, to, got)
		}
	}
}
