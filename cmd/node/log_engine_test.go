package main

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
)

// TestLogEngine serves on each engine in turn, one after the other on the same data, and
// looks at the log in between.
func TestLogEngine(t *testing.T) {
	t.Parallel()
	n := newNodeAt(t)
	for i, engine := range []string{"journal", "goleveldb", "journal"} {
		p := n.serve(t, "--log-engine", engine)
		n.awaitReady(t)
		c := n.redis(t)
		for k := range i {
			if got, err := c.Get(t.Context(), fmt.Sprint("k", k)).Result(); err != nil || got != fmt.Sprint(k) {
				t.Fatalf("on %s, k%d: %q, %v", engine, k, got, err)
			}
		}
		if err := c.Set(t.Context(), fmt.Sprint("k", i), i, 0).Err(); err != nil {
			t.Fatal(err)
		}
		p.signal(syscall.SIGTERM)
		if code := p.exit(); code != exitOK {
			t.Fatalf("exit %d:\n%s", code, p.output())
		}
		code, out, errs := execute(t, "log", "dump", n.data)
		if code != exitOK || !strings.Contains(out, fmt.Sprintf(`SET "k%d"`, i)) || !strings.Contains(out, "0 places damaged") {
			t.Fatalf("dump: exit %d, %s\n%s", code, errs, out)
		}
		other := map[string]string{"journal": "goleveldb", "goleveldb": "journal"}[engine]
		refused := start(t, n.args("--log-engine", other)...)
		if code := refused.exit(); code != exitFailed || !strings.Contains(refused.output(), "is of "+engine+", expected "+other) || !strings.Contains(refused.output(), "node log convert") {
			t.Fatalf("%s on a log of %s: exit %d:\n%s", other, engine, code, refused.output())
		}
		code, out, errs = execute(t, "log", "convert", n.data, "--to", other)
		if code != exitOK || !strings.Contains(out, "was kept by "+engine+" and is kept by "+other) {
			t.Fatalf("convert: exit %d, %s%s", code, out, errs)
		}
		if code, out, _ := execute(t, "log", "convert", n.data, "--to", other); code != exitOK || !strings.Contains(out, "nothing was done") {
			t.Fatalf("convert again: exit %d, %s", code, out)
		}
	}
}
