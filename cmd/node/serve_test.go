package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/engine"
	"github.com/protoraft/protoraft/logstore/vfs"
	"github.com/protoraft/protoraft/messages"
)

// TestServe is a node's life: it serves, refuses a second process, stops in good
// order and has its data when it comes back.
func TestServe(t *testing.T) {
	t.Parallel()
	n := newNodeAt(t)
	p := n.serve(t)
	c := n.redis(t)
	if got, err := c.Ping(t.Context()).Result(); err != nil || got != "PONG" {
		t.Fatalf("PING: %q, %v", got, err)
	}
	if err := c.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/livez", "/readyz", "/v1/kv/k"} {
		if code, body := n.get(t, path); code != http.StatusOK {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	if info, err := c.Info(t.Context(), "raft").Result(); err != nil || !strings.Contains(info, "raft_role:leader") {
		t.Errorf("INFO: %q, %v", info, err)
	}
	n.checkStatus(t)
	n.checkRefusals(t)

	p.signal(syscall.SIGTERM)
	if code := p.exit(); code != exitOK {
		t.Fatalf("exit %d after SIGTERM:\n%s", code, p.output())
	}
	n.serve(t)
	if got, err := n.redis(t).Get(t.Context(), "k").Result(); err != nil || got != "v" {
		t.Fatalf("GET after a restart: %q, %v", got, err)
	}
}

func (n nodeAt) checkStatus(t *testing.T) {
	t.Helper()
	code, out, errs := execute(t, "status", "--http", n.http+","+freeAddress(t), "-o", "json")
	var c clusterStatus
	if err := json.Unmarshal([]byte(out), &c); err != nil || code != exitOK || errs != "" {
		t.Fatalf("status: exit %d, %v, stderr %q, stdout %s", code, err, errs, out)
	}
	if c.Leader != "n1" || len(c.Nodes) != 2 || !c.Nodes[0].Reachable || c.Nodes[1].Reachable || c.Nodes[1].Error == "" {
		t.Errorf("status: %s", out)
	}
	if g := c.Nodes[0].group(); g == nil || g.Role != "leader" || g.AppliedIndex < 3 || g.CommitIndex < g.AppliedIndex {
		t.Errorf("status of the group: %+v", g)
	}
	if code, out, _ := execute(t, "status", "--http", n.http); code != exitOK || !strings.Contains(out, "leader") {
		t.Errorf("status as a table: exit %d, %s", code, out)
	}
}

// checkRefusals starts nodes that want what this one has.
func (n nodeAt) checkRefusals(t *testing.T) {
	t.Helper()
	other := newNodeAt(t)
	for _, test := range []struct {
		what string
		at   nodeAt
		want []string
	}{
		{"RESP port", nodeAt{other.address, n.resp, other.http, other.data, other.cluster}, []string{"--resp", "in use", n.resp}},
		{"HTTP port", nodeAt{other.address, other.resp, n.http, other.data, other.cluster}, []string{"--http", "in use", n.http}},
		{"cluster port", nodeAt{n.address, other.resp, other.http, other.data, n.cluster}, []string{"--cluster: node n1", "in use", n.address}},
		{"data directory", nodeAt{n.address, other.resp, other.http, n.data, n.cluster}, []string{"--data", "in use", n.data}},
		{"another cluster's directory", nodeAt{other.address, other.resp, other.http, n.data, other.cluster}, []string{"--data", "another cluster"}},
	} {
		test.at.refused(t, test.what, test.want...)
	}
}

// refused demands that the node does not start, and says why in one line.
func (n nodeAt) refused(t *testing.T, what string, want ...string) {
	t.Helper()
	code, out, errs := execute(t, n.args("--log-level", "error")...)
	if code != exitFailed || out != "" || strings.Count(errs, "\n") != 1 || strings.Contains(errs, "goroutine") {
		t.Errorf("%s: exit %d, stdout %q, stderr %q; expected exit 1 and one line", what, code, out, errs)
	}
	for _, w := range want {
		if !strings.Contains(errs, w) {
			t.Errorf("%s: %q does not say %q", what, errs, w)
		}
	}
}

func writeFile(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestBadData: a directory that is not this node's, or is damaged, is refused.
func TestBadData(t *testing.T) {
	t.Parallel()
	foreign, newer, garbled := newNodeAt(t), newNodeAt(t), newNodeAt(t)
	writeFile(t, filepath.Join(foreign.data, "thesis.tex"), []byte("x"))
	foreign.refused(t, "foreign directory", "--data", "thesis.tex", "expected an empty directory")
	writeFile(t, filepath.Join(newer.data, "IDENTITY"), []byte(`{"format":99,"cluster_id":"c","node_id":"n1"}`))
	newer.refused(t, "newer directory", "--data", "format 99", "newer version")
	writeFile(t, filepath.Join(garbled.data, "IDENTITY"), []byte("\x00\x01"))
	garbled.refused(t, "garbled identity", "--data", "expected JSON")

	file := newNodeAt(t)
	writeFile(t, file.data, nil)
	file.refused(t, "file", "--data", "is a file")

	n := filledNode(t, "--log-engine", "goleveldb")
	n.refused(t, "corrupt log", "--data", "corrupt", flipInLog(t, n.data, 3))
	n = filledNode(t, "--log-engine", "journal")
	n.refused(t, "corrupt journal", "--data", "corrupt", flipInLog(t, n.data, 1<<30))
}

// flipInLog damages the last file of a log, whichever engine keeps it, behind a part of
// what is used of it: 3 for a third. It returns the file's name.
func flipInLog(t *testing.T, data string, part int) string {
	t.Helper()
	files := logFiles(t, data)
	last := files[len(files)-1]
	raw, err := os.ReadFile(last)
	if err != nil {
		t.Fatal(err)
	}
	used := len(bytes.TrimRight(raw, "\x00")) // behind the records there are zeros
	flip(t, last, raw, used/part)
	return last
}

// flipInValue damages the first file of a log that has the value, in the midst of it, and
// returns the file's name.
func flipInValue(t *testing.T, data, value string) string {
	t.Helper()
	for _, file := range logFiles(t, data) {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if at := bytes.Index(raw, []byte(value)); at >= 0 {
			flip(t, file, raw, at+len(value)/2)
			return file
		}
	}
	t.Fatalf("no file of the log in %s has the value", data)
	return ""
}

func flip(t *testing.T, file string, raw []byte, at int) {
	t.Helper()
	for i := range 20 {
		raw[at+i] ^= 0xff
	}
	writeFile(t, file, raw)
}

func logFiles(t *testing.T, data string) (files []string) {
	t.Helper()
	for _, pattern := range []string{"*.log", "*.journal"} {
		found, err := filepath.Glob(filepath.Join(data, "log", pattern))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	if len(files) == 0 {
		t.Fatalf("no log in %s", data)
	}
	return files
}

// filledNode is a node that has written something and stopped.
func filledNode(t *testing.T, args ...string) nodeAt {
	t.Helper()
	n := newNodeAt(t)
	p := n.serve(t, args...)
	c := n.redis(t)
	for i := range 50 {
		if err := c.Set(t.Context(), fmt.Sprint("k", i), strings.Repeat("v", 1000), 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	p.signal(syscall.SIGTERM)
	if code := p.exit(); code != exitOK {
		t.Fatalf("exit %d:\n%s", code, p.output())
	}
	return n
}

// TestFailedMember: a member that cannot load its log stops; the process goes on
// and says so.
func TestFailedMember(t *testing.T) {
	t.Parallel()
	n := filledNode(t)
	damageLog(t, filepath.Join(n.data, "log"))
	n.serve(t).await("member stopped")
	if code, body := n.get(t, "/livez"); code != http.StatusOK {
		t.Errorf("/livez: %d %s", code, body)
	}
	if code, body := n.get(t, "/readyz"); code != http.StatusServiceUnavailable {
		t.Errorf("/readyz: %d %s", code, body)
	}
	if code, body := n.get(t, "/v1/status"); code != http.StatusOK || !strings.Contains(body, `"role":"failed"`) || !strings.Contains(body, "cannot load") {
		t.Errorf("/v1/status: %d %s", code, body)
	}
	if err := n.redis(t).Get(t.Context(), "k1").Err(); err == nil {
		t.Error("GET is answered from a log that cannot be trusted")
	}
	code, out, errs := execute(t, "status", "--http", n.http)
	if code != exitUnreachable || !strings.Contains(out, "failed") || !strings.Contains(out, "cannot load") || !strings.Contains(errs, "no leader") {
		t.Errorf("status: exit %d, %s%s", code, out, errs)
	}
}

// damageLog appends a configuration that is none, as a bug or a hand on the disk
// might: bytes and checksums are right, what they say is not.
func damageLog(t *testing.T, dir string) {
	t.Helper()
	store, err := engine.Open(vfs.OS{}, dir, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	st, err := store.Load(kvGroup)
	if err != nil {
		t.Fatal(err)
	}
	last := st.Runs[len(st.Runs)-1].Term
	garbage := []byte("\xff\xff\xff")
	w := messages.NewBlockWriter(messages.BlockHeader{
		Group: kvGroup, Incarnation: st.Incarnation, Term: last, PrevTerm: last, FirstIndex: st.LastIndex + 1,
	}, messages.EntryBytes(len(garbage)))
	w.Add(messages.EntryView{Kind: messages.EntryKind_CONFIGURATION, Data: garbage})
	err = store.Write([]logstore.Update{{Group: kvGroup, Incarnation: st.Incarnation, Blocks: []messages.Block{w.Finish()}}})
	if err = errors.Join(err, store.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestStorageFailure has the log's file refuse to grow, as a disk that is broken does.
// What fails is not acknowledged, the process says so and ends, and what was
// acknowledged is there on the next start.
func TestStorageFailure(t *testing.T) {
	t.Parallel()
	n := newNodeAt(t)
	const limited = `ulimit -f 2048; exec "$@"` // of half a KiB: a file has 1 MiB
	p := startCommand(t, exec.Command("sh", append([]string{"-c", limited, "sh", binary}, n.args()...)...))
	p.await("serving HTTP")
	acknowledged := setUntilRefused(t, n.redis(t), 0)
	if code := p.exit(); code != exitFailed || !strings.Contains(p.output(), "STORAGE FAILED") || !strings.Contains(p.output(), "--data "+n.data) {
		t.Errorf("exit %d:\n%s", code, p.output())
	}
	if acknowledged == 0 {
		t.Fatal("no write was acknowledged before the failure")
	}
	n.serve(t)
	checkSet(t, n.redis(t), acknowledged)
}

const setBytes = 10_000

// setUntilRefused sets one key after the other, from first on, and says how many there
// are when the node refuses.
func setUntilRefused(t *testing.T, c *redis.Client, first int) int {
	t.Helper()
	const most = 10_000
	for i, value := first, strings.Repeat("v", setBytes); i < most; i++ {
		if err := c.Set(t.Context(), fmt.Sprint("k", i), value, 0).Err(); err != nil {
			t.Logf("after %d writes: %v", i, err)
			return i
		}
	}
	t.Fatalf("%d writes of %d bytes acknowledged, expected an end", most, setBytes)
	return 0
}

func checkSet(t *testing.T, c *redis.Client, keys int) {
	t.Helper()
	for i := range keys {
		if got, err := c.StrLen(t.Context(), fmt.Sprint("k", i)).Result(); err != nil || got != setBytes {
			t.Fatalf("acknowledged write %d of %d: %d bytes, %v", i, keys, got, err)
		}
	}
}

// TestWithoutQuorum: a node by itself is live, not ready, and a second signal ends
// it while the first still waits for clients.
func TestWithoutQuorum(t *testing.T) {
	t.Parallel()
	n := newNodeAt(t)
	n.cluster += ",n2=" + freeAddress(t) + ",n3=" + freeAddress(t)
	p := n.serve(t)
	if code, _ := n.get(t, "/livez"); code != http.StatusOK {
		t.Errorf("/livez: %d", code)
	}
	if code, body := n.get(t, "/readyz"); code != http.StatusServiceUnavailable {
		t.Errorf("/readyz: %d %s", code, body)
	}
	if code, _, errs := execute(t, "status", "--http", n.http); code != exitUnreachable || !strings.Contains(errs, "no leader") {
		t.Errorf("status: exit %d, %s", code, errs)
	}
	if code, _, errs := execute(t, "status", "--http", freeAddress(t)); code != exitUnreachable || !strings.Contains(errs, "none of") {
		t.Errorf("status of nobody: exit %d, %s", code, errs)
	}
	if _, err := io.WriteString(dialNode(t, n.resp), "SET a b\r\n"); err != nil {
		t.Fatal(err)
	}
	n.awaitCommand(t)
	p.signal(syscall.SIGTERM)
	p.await("stopping")
	if code, body := n.get(t, "/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "stopping") {
		t.Errorf("/readyz: %d %s", code, body)
	}
	p.signal(syscall.SIGTERM)
	if code := p.exit(); code != exitFailed {
		t.Errorf("exit %d after two signals, expected %d:\n%s", code, exitFailed, p.output())
	}
}

// awaitCommand returns when the node has taken in a command beside the INFO that
// asks for it.
func (n nodeAt) awaitCommand(t *testing.T) {
	t.Helper()
	conn := dialNode(t, n.resp)
	r := bufio.NewReader(conn)
	for asked := 1; ; asked++ {
		if _, err := io.WriteString(conn, "INFO stats\r\nPING\r\n"); err != nil {
			t.Fatal(err)
		}
		processed := 0
		for line := ""; line != "+PONG\r\n"; {
			var err error
			if line, err = r.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
			_, _ = fmt.Sscanf(line, "total_commands_processed:%d", &processed)
		}
		if processed >= 2*asked {
			return
		}
	}
}

func dialNode(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// TestFollowStdin: a child whose parent is gone does not stay.
func TestFollowStdin(t *testing.T) {
	t.Parallel()
	n := newNodeAt(t)
	p := n.serve(t, "--follow-stdin", "--log-json")
	if !strings.Contains(p.output(), `"@message":"serving RESP"`) {
		t.Errorf("--log-json: %s", p.output())
	}
	if err := p.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if code := p.exit(); code != exitFailed {
		t.Errorf("exit %d, expected %d", code, exitFailed)
	}
}
