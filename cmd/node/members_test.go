package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/protoraft/protoraft/cmd/node/web"
)

// townNode is one of several nodes.
type townNode struct {
	id, address, http, data string
	process                 *process
}

// town is a cluster of processes that an operator works on.
type town struct {
	t     *testing.T
	first string // --cluster of the first three
	nodes []*townNode
}

func newTown(t *testing.T) *town {
	t.Helper()
	w := &town{t: t}
	var list []string
	for i := range 3 {
		n := w.node(fmt.Sprint("n", i+1))
		list = append(list, n.id+"="+n.address)
	}
	w.first = strings.Join(list, ",")
	for _, n := range w.nodes {
		w.start(n, "--cluster", w.first)
	}
	return w
}

func (w *town) node(id string) *townNode {
	n := &townNode{id: id, address: freeAddress(w.t), http: freeAddress(w.t), data: filepath.Join(w.t.TempDir(), id)}
	w.nodes = append(w.nodes, n)
	return n
}

func (w *town) start(n *townNode, more ...string) {
	w.t.Helper()
	n.process = start(w.t, append([]string{
		"serve", "--id", n.id, "--data", n.data, "--http", n.http, "--election-timeout", "300ms",
	}, more...)...)
	n.process.await("serving HTTP")
}

func (w *town) addresses() string {
	var list []string
	for _, n := range w.nodes {
		list = append(list, n.http)
	}
	return strings.Join(list, ",")
}

// does demands that a command succeeds, and reads its JSON into out where not nil.
func (w *town) does(out any, args ...string) {
	w.t.Helper()
	args = append(args, "--http", w.addresses(), "-o", "json")
	code, stdout, stderr := execute(w.t, args...)
	if code != exitOK || stderr != "" {
		w.t.Fatalf("%q: exit %d, stderr %q, stdout %s", args, code, stderr, stdout)
	}
	if err := json.Unmarshal([]byte(stdout), out); err != nil {
		w.t.Fatalf("%q: %v in %s", args, err, stdout)
	}
}

// refuses demands that a command ends with code and says why in one line.
func refuses(t *testing.T, code int, want string, args ...string) {
	t.Helper()
	got, _, stderr := execute(t, args...)
	if got != code || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, want) {
		t.Errorf("%q: exit %d, %q; expected exit %d and one line that says %q", args, got, stderr, code, want)
	}
}

// request asks a node for a key and returns status, body and X-Raft-Index.
func (n *townNode) request(t *testing.T, method, path, body string) (code int, text, index string) {
	t.Helper()
	req, err := http.NewRequest(method, "http://"+n.http+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(raw), res.Header.Get("X-Raft-Index")
}

// TestOperator is an operator's day: a fourth node joins, leadership moves, snapshots
// are taken, a member goes, and a log is looked at.
func TestOperator(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	n1 := w.nodes[0]
	var m web.Members
	w.does(&m, "members", "list", "--timeout", "20s")
	if len(m.Voters) != 3 || m.Cluster == "" || m.Leader == "" || m.Index == 0 {
		t.Fatalf("members %+v", m)
	}
	for i := range 5 {
		if code, body, _ := n1.request(t, "PUT", fmt.Sprint("/v1/kv/k", i), strings.Repeat("v", 5000)); code != http.StatusOK {
			t.Fatalf("PUT: %d %s", code, body)
		}
	}
	w.join(m.Cluster)
	w.move(m.Cluster)
	w.lead()
	w.snapshot()
	w.leave()
	w.lookAt(n1)
}

// join adds a fourth node, which then answers with what was written elsewhere.
func (w *town) join(cluster string) {
	w.t.Helper()
	before := w.addresses()
	n4 := w.node("n4")
	w.start(n4, "--join", "--cluster-id", cluster, "--cluster", w.first+",n4="+n4.address)
	var m web.Members
	w.does(&m, "members", "add", "n4="+n4.address)
	if len(m.Voters) != 4 || m.Change != nil {
		w.t.Fatalf("members %+v", m)
	}
	refuses(w.t, exitFailed, "it is a member already", "members", "add", "n4="+n4.address, "--http", before)
	refuses(w.t, exitFailed, "the members have changed", "members", "remove", "n4", "--if-index", "1", "--http", before)
	refuses(w.t, exitFailed, "not a member", "members", "remove", "n9", "--http", before)
	refuses(w.t, exitUsage, "--insecure", "members", "add", "n5=10.0.0.5:7005", "--http", before)
	code, body, index := w.nodes[0].request(w.t, "PUT", "/v1/kv/token", "new")
	if code != http.StatusOK {
		w.t.Fatalf("PUT: %d %s", code, body)
	}
	if code, body, at := n4.request(w.t, "GET", "/v1/kv/token?min_index="+index, ""); code != http.StatusOK || body != "new" || at == "" {
		w.t.Errorf("GET from index %s on: %d %s at %s", index, code, body, at)
	}
	for _, level := range []string{"linearizable", "lease", "member", "log"} {
		if code, body, _ := n4.request(w.t, "GET", "/v1/kv/token?consistency="+level, ""); code != http.StatusOK || body != "new" {
			w.t.Errorf("GET, %s: %d %s", level, code, body)
		}
	}
	// A newcomer that nobody runs: the change is undone by hand.
	gone := "n5=" + freeAddress(w.t)
	code, _, errs := execute(w.t, "members", "add", gone, "--timeout", "1s", "--http", before)
	if code != exitUnknown || !strings.Contains(errs, "n5 has 0 of ") || !strings.Contains(errs, "'node members abort'") {
		w.t.Errorf("a newcomer that does not come: exit %d, %q", code, errs)
	}
	w.does(&m, "members", "abort")
	if len(m.Voters) != 4 || m.Change != nil {
		w.t.Errorf("after abort: %+v", m)
	}
	refuses(w.t, exitFailed, "there is no change that could be undone", "members", "abort", "--http", before)
	w.does(&m, "members", "demote", "n4")
	if len(m.Voters) != 3 || len(m.Learners) != 1 {
		w.t.Errorf("after demote: %+v", m)
	}
	w.does(&m, "members", "promote", "n4")
	if len(m.Voters) != 4 || len(m.Learners) != 0 {
		w.t.Errorf("after promote: %+v", m)
	}
}

// move has n4 move with its data.
func (w *town) move(cluster string) {
	w.t.Helper()
	n4, before := w.nodes[3], w.addresses()
	first := n4.address
	n4.address = freeAddress(w.t)
	var m web.Members
	w.does(&m, "members", "move", "n4="+n4.address)
	if len(m.Voters) != 4 || m.Voters[3] != (web.Member{ID: "n4", Address: n4.address}) || len(m.Removed) != 0 {
		w.t.Fatalf("members %+v", m)
	}
	refuses(w.t, exitFailed, "is its address already", "members", "move", "n4="+n4.address, "--http", before)
	refuses(w.t, exitFailed, `is the address of "n4"`, "members", "move", "n3="+n4.address, "--http", before)
	refuses(w.t, exitFailed, "not a member", "members", "move", "n9="+first, "--http", before)
	refuses(w.t, exitUsage, "--insecure", "members", "move", "n4=10.0.0.5:7005", "--http", before)
	n4.process.signal(syscall.SIGTERM)
	if code := n4.process.exit(); code != exitOK {
		w.t.Fatalf("exit %d:\n%s", code, n4.process.output())
	}
	w.start(n4, "--address", n4.address, "--join", "--cluster-id", cluster, "--cluster", w.first+",n4="+first)
	if code, body, _ := n4.request(w.t, "PUT", "/v1/kv/moved", "yes"); code != http.StatusOK {
		w.t.Fatalf("PUT where it has moved to: %d %s", code, body)
	}
}

// lead has n2 lead.
func (w *town) lead() {
	w.t.Helper()
	var l web.Leadership
	var m web.Members
	if w.does(&m, "members", "list"); m.Leader != "n3" { // who has been elected is chance
		w.does(&l, "transfer", "--to", "n3")
	}
	w.does(&l, "transfer", "--to", "n2")
	if l.Leader != "n2" || l.Term == 0 {
		w.t.Errorf("after transfer: %+v", l)
	}
	refuses(w.t, exitFailed, "n2 leads already", "transfer", "--to", "n2", "--http", w.addresses())
	refuses(w.t, exitFailed, "n9 is not a voter", "transfer", "--to", "n9", "--http", w.addresses())
	refuses(w.t, exitUnreachable, "node n2 leads and is not at any of", "transfer", "--http", w.nodes[0].http)
	refuses(w.t, exitUnreachable, "none of", "transfer", "--http", freeAddress(w.t)+","+freeAddress(w.t))
}

func (w *town) snapshot() {
	w.t.Helper()
	var rows []snapshotRow
	w.does(&rows, "snapshot")
	for i, r := range rows {
		if r.Node != w.nodes[i].id || r.Index < 5 || r.Error != "" {
			w.t.Errorf("snapshot %+v", r)
		}
	}
	code, out, errs := execute(w.t, "snapshot", "--http", w.nodes[0].http+","+freeAddress(w.t))
	if code != exitUnreachable || !strings.Contains(errs, "1 of 2 nodes") || !strings.Contains(out, "connection refused") || !strings.Contains(out, "n1") {
		w.t.Errorf("snapshot with a node down: exit %d, %s%s", code, out, errs)
	}
}

// leave removes n4.
func (w *town) leave() {
	w.t.Helper()
	var m web.Members
	w.does(&m, "members", "remove", "n4")
	if len(m.Voters) != 3 || !slices.Equal(m.Removed, []string{"n4"}) {
		w.t.Errorf("after remove: %+v", m)
	}
	code, out, errs := execute(w.t, "members", "list", "--http", w.nodes[1].http)
	if code != exitOK || errs != "" || !strings.Contains(out, "leader n2") || !strings.Contains(out, "removed, not to come back: n4") {
		w.t.Errorf("list: exit %d, %s%s", code, out, errs)
	}
}

// lookAt dumps the log of a node that runs, of the same stopped, and damaged.
func (w *town) lookAt(n *townNode) {
	w.t.Helper()
	if code, body, _ := n.request(w.t, "PUT", "/v1/kv/last", "seen"); code != http.StatusOK {
		w.t.Fatalf("PUT: %d %s", code, body)
	}
	refuses(w.t, exitFailed, "in use", "log", "dump", n.data)
	n.process.signal(syscall.SIGTERM)
	if code := n.process.exit(); code != exitOK {
		w.t.Fatalf("exit %d:\n%s", code, n.process.output())
	}
	before := sums(w.t, n.data)
	code, out, errs := execute(w.t, "log", "dump", n.data)
	for _, want := range []string{"of node n1", `SET "k0" "vvv`, `… (5000 bytes)`, `SET "last" "seen"`, "; removed n4", "snapshot " + n.data, "0 places damaged"} {
		if !strings.Contains(out, want) {
			w.t.Errorf("dump does not say %q:\n%s", want, out)
		}
	}
	if code != exitOK || errs != "" {
		w.t.Errorf("dump: exit %d, %s", code, errs)
	}
	code, out, _ = execute(w.t, "log", "dump", n.data, "-o", "json", "--from", "3", "--to", "4", "--full")
	if got := kindsOf(w.t, out); code != exitOK || got["entry"] != 2 || got["damage"] != 0 || got["snapshot"] != 1 || got["end"] != 1 {
		w.t.Errorf("dump as JSON: exit %d, %v in %s", code, got, out)
	}
	file := flipInValue(w.t, n.data, strings.Repeat("v", 200))
	harmed := sums(w.t, n.data)
	if maps.Equal(before, harmed) {
		w.t.Fatal("nothing was damaged")
	}
	code, out, errs = execute(w.t, "log", "dump", n.data, "-o", "json")
	if got := kindsOf(w.t, out); code != exitFailed || got["damage"] < 1 || !strings.Contains(out, filepath.Base(file)) || !strings.Contains(errs, "damaged") {
		w.t.Errorf("dump of a damaged log: exit %d, %v in %s%s", code, got, out, errs)
	}
	if !maps.Equal(harmed, sums(w.t, n.data)) {
		w.t.Error("dump has changed the directory")
	}
}

// kindsOf counts lines of JSON by type.
func kindsOf(t *testing.T, lines string) map[string]int {
	t.Helper()
	count := map[string]int{}
	for line := range strings.Lines(lines) {
		var one struct{ Type string }
		if err := json.Unmarshal([]byte(line), &one); err != nil || one.Type == "" {
			t.Fatalf("%v in %q", err, line)
		}
		count[one.Type]++
	}
	return count
}

func sums(t *testing.T, dir string) map[string][32]byte {
	t.Helper()
	all := map[string][32]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		all[path] = sha256.Sum256(raw)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestLogDumpRefuses: what is no log is said to be none, and not touched.
func TestLogDumpRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "foreign", "thesis.tex"), []byte("x"))
	writeFile(t, filepath.Join(dir, "newer", "IDENTITY"), []byte(`{"format":99,"cluster_id":"c","node_id":"n1"}`))
	writeFile(t, filepath.Join(dir, "lost", "IDENTITY"), []byte(`{"format":1,"cluster_id":"c","node_id":"n1"}`))
	before := sums(t, dir)
	refuses(t, exitFailed, "neither a file IDENTITY", "log", "dump", filepath.Join(dir, "foreign"))
	refuses(t, exitFailed, "newer version", "log", "dump", filepath.Join(dir, "newer"))
	refuses(t, exitFailed, "lost its log", "log", "dump", filepath.Join(dir, "lost"))
	refuses(t, exitFailed, "no such file", "log", "dump", filepath.Join(dir, "none"))
	refuses(t, exitFailed, "is a file", "log", "dump", filepath.Join(dir, "foreign", "thesis.tex"))
	if !maps.Equal(before, sums(t, dir)) {
		t.Error("something was changed")
	}
}
