package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/protoraft/protoraft/cluster"
	"github.com/protoraft/protoraft/cmd/node/machine"
	"github.com/protoraft/protoraft/fsm"
	"github.com/protoraft/protoraft/fsm/kv"
)

// fake applies at once, or fails with err, or does not answer before hold closes.
type fake struct {
	mu      sync.Mutex
	machine *machine.Machine
	index   uint64
	err     error
	level   cluster.Consistency // of the last query
	hold    chan struct{}
	queries int
	once    map[string]Pending // by id and sequence
}

type done struct {
	reply []byte
	err   error
	index uint64
	hold  chan struct{}
}

func (d done) Wait() ([]byte, error) {
	if d.hold != nil {
		<-d.hold
	}
	return d.reply, d.err
}
func (d done) Index() uint64 { return d.index }

func (f *fake) Propose(command []byte) Pending {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return done{err: f.err}
	}
	f.index++
	reply, err := f.machine.Apply(fsm.Entry{Index: f.index, Time: time.Now(), Data: command})
	return done{reply: reply, err: err, index: f.index}
}

func (f *fake) ProposeOnce(id string, sequence uint64, command []byte) Pending {
	key := fmt.Sprintf("%s/%d", id, sequence)
	first, repeat := f.once[key]
	if !repeat {
		first = f.Propose(command)
		f.once[key] = first
	}
	return first
}

func (f *fake) Query(query []byte, consistency cluster.Consistency, _ bool) Pending {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.level = consistency
	f.queries++
	if f.err != nil {
		return done{err: f.err}
	}
	reply, err := f.machine.Query(query)
	return done{reply: reply, err: err, index: f.index, hold: f.hold}
}

func (f *fake) Status(context.Context) (Status, error) {
	if f.err != nil {
		return Status{}, f.err
	}
	return Status{Node: "n1", Version: "test", Groups: []GroupStatus{{Group: 1, Role: "leader", Term: 3, Leader: "n1", CommitIndex: 9}}}, nil
}

func start(t *testing.T, o Options) (*fake, string) {
	t.Helper()
	f := &fake{machine: machine.New(), once: map[string]Pending{}}
	s := httptest.NewServer(New(f, f, o))
	t.Cleanup(s.Close)
	return f, s.URL
}

func do(t *testing.T, method, url string, body io.Reader) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}

func expect(t *testing.T, what string, resp *http.Response, body string, code int, want problem) {
	t.Helper()
	var got problem
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatalf("%s: %v in %q", what, err, body)
	}
	if got.Error == "" {
		t.Errorf("%s: no error text in %q", what, body)
	}
	got.Error = ""
	if resp.StatusCode != code || got != want {
		t.Errorf("%s: %d %+v, want %d %+v", what, resp.StatusCode, got, code, want)
	}
}

func TestKeys(t *testing.T) {
	f, base := start(t, Options{})
	binary := string([]byte{0, 1, 0xff, '\n'})
	for _, key := range []string{"a", "a/b//c/../d", "with space", "per%cent", "ünïcode", binary, "?#"} {
		at := base + "/v1/kv/" + strings.ReplaceAll(url.PathEscape(key), "%2F", "/")
		resp, body := do(t, "GET", at, nil)
		expect(t, key, resp, body, 404, problem{Outcome: "applied", Reason: "no_such_key"})
		if resp, body = do(t, "PUT", at, strings.NewReader(binary+key)); resp.StatusCode != 200 || body != `{"outcome":"applied"}`+"\n" || resp.Header.Get("X-Raft-Index") == "" {
			t.Fatalf("PUT %q: %d %s", key, resp.StatusCode, body)
		}
		if reply, err := f.machine.Query(kv.Get([]byte(key))); err != nil || !bytes.Contains(reply, []byte(binary+key)) {
			t.Fatalf("%q was not stored under its name: %x, %v", key, reply, err)
		}
		resp, body = do(t, "GET", at+"?consistency=linearizable", nil)
		if resp.StatusCode != 200 || body != binary+key || resp.Header.Get("Content-Type") != "application/octet-stream" || f.level != cluster.Linearizable {
			t.Fatalf("GET %q: %d %q, %v", key, resp.StatusCode, body, f.level)
		}
		if resp, _ = do(t, "GET", at+"?consistency=stale", nil); resp.StatusCode != 200 || f.level != cluster.Stale {
			t.Fatalf("stale GET %q: %d, %v", key, resp.StatusCode, f.level)
		}
		if resp, body = do(t, "HEAD", at, nil); resp.StatusCode != 200 || body != "" {
			t.Fatalf("HEAD %q: %d %q", key, resp.StatusCode, body)
		}
		for _, want := range []string{"true", "false"} {
			if resp, body = do(t, "DELETE", at, nil); resp.StatusCode != 200 || body != `{"deleted":`+want+`,"outcome":"applied"}`+"\n" {
				t.Fatalf("DELETE %q: %d %s", key, resp.StatusCode, body)
			}
		}
	}
}

func TestBadRequests(t *testing.T) {
	f, base := start(t, Options{})
	large := strings.Repeat("x", kv.MaxValueBytes+1)
	for _, test := range []struct {
		what, method, path string
		body               io.Reader
		code               int
		reason             string
	}{
		{"unknown path", "GET", "/", nil, 404, "no_such_path"},
		{"method", "POST", "/v1/kv/a", nil, 405, "method_not_allowed"},
		{"method of a probe", "PUT", "/livez", nil, 405, "method_not_allowed"},
		{"no key", "GET", "/v1/kv/", nil, 400, "bad_key"},
		{"consistency", "GET", "/v1/kv/a?consistency=maybe", nil, 400, "bad_consistency"},
		{"key", "GET", "/v1/kv/" + strings.Repeat("k", kv.MaxKeyBytes+1), nil, 413, "too_large"},
		{"value", "PUT", "/v1/kv/a", strings.NewReader(large), 413, "too_large"},
		{"value of unknown length", "PUT", "/v1/kv/a", io.MultiReader(strings.NewReader(large)), 413, "too_large"},
	} {
		resp, body := do(t, test.method, base+test.path, test.body)
		expect(t, test.what, resp, body, test.code, problem{Outcome: "not_applied", Reason: test.reason})
		if test.code == 405 && resp.Header.Get("Allow") == "" {
			t.Errorf("%s: no Allow header", test.what)
		}
	}
	if f.index != 0 {
		t.Errorf("%d commands were proposed", f.index)
	}
	if resp, _ := do(t, "PUT", base+"/v1/kv/a", strings.NewReader(large[1:])); resp.StatusCode != 200 {
		t.Errorf("the largest value: %d", resp.StatusCode)
	}
}

type endless struct{ sent int }

func (e *endless) Read(p []byte) (int, error) { e.sent += len(p); return len(p), nil }

func TestEndlessBodyIsCutOff(t *testing.T) {
	_, base := start(t, Options{})
	body := &endless{}
	req, err := http.NewRequest("PUT", base+"/v1/kv/a", body)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := http.DefaultClient.Do(req); err == nil {
		if resp.StatusCode != 413 {
			t.Errorf("status %d, want 413", resp.StatusCode)
		}
		_ = resp.Body.Close()
	}
	if body.sent > 32<<20 {
		t.Errorf("%d bytes were taken", body.sent)
	}
}

func TestFailures(t *testing.T) {
	f, base := start(t, Options{})
	for _, test := range []struct {
		err  error
		code int
		want problem
	}{
		{&cluster.Error{Outcome: cluster.NotApplied, Reason: cluster.ErrNoLeader}, 503, problem{Outcome: "not_applied", Reason: "no_leader"}},
		{&cluster.Error{Outcome: cluster.NotApplied, Reason: cluster.ErrDiskFull}, 507, problem{Outcome: "not_applied", Reason: "disk_full"}},
		{&cluster.Error{Outcome: cluster.NotApplied, Reason: cluster.ErrBusy, Leader: "n2"}, 503, problem{Outcome: "not_applied", Reason: "busy", Leader: "n2"}},
		{&cluster.Error{Outcome: cluster.NotApplied, Reason: cluster.ErrTooLarge}, 413, problem{Outcome: "not_applied", Reason: "too_large"}},
		{&cluster.Error{Outcome: cluster.NotApplied, Reason: cluster.ErrRefused}, 400, problem{Outcome: "not_applied", Reason: "refused"}},
		{&cluster.Error{Outcome: cluster.Unknown, Reason: cluster.ErrTimeout}, 504, problem{Outcome: "unknown", Reason: "timeout"}},
		{&cluster.Error{Outcome: cluster.Unknown, Reason: cluster.ErrTooLarge}, 504, problem{Outcome: "unknown", Reason: "too_large"}},
		{errors.New("strange"), 504, problem{Outcome: "unknown", Reason: "internal"}},
	} {
		f.err = test.err
		for _, method := range []string{"GET", "PUT", "DELETE"} {
			resp, body := do(t, method, base+"/v1/kv/k", nil)
			expect(t, method+" "+test.err.Error(), resp, body, test.code, test.want)
		}
	}
}

func TestProbes(t *testing.T) {
	f, base := start(t, Options{ReadyTimeout: 30 * time.Millisecond})
	if resp, _ := do(t, "GET", base+"/readyz", nil); resp.StatusCode != 200 || f.level != cluster.Linearizable {
		t.Errorf("ready: %d, %v", resp.StatusCode, f.level)
	}
	f.err = &cluster.Error{Outcome: cluster.NotApplied, Reason: cluster.ErrNoLeader}
	resp, body := do(t, "GET", base+"/readyz", nil)
	expect(t, "no leader", resp, body, 503, problem{Outcome: "not_applied", Reason: "not_ready"})
	if resp, _ := do(t, "GET", base+"/livez", nil); resp.StatusCode != 200 {
		t.Errorf("live without a leader: %d", resp.StatusCode)
	}
	f.err, f.hold, f.queries = nil, make(chan struct{}), 0
	for range 3 * probesMax {
		resp, body = do(t, "GET", base+"/readyz", nil)
		expect(t, "no answer", resp, body, 503, problem{Outcome: "not_applied", Reason: "not_ready"})
	}
	if f.queries > probesMax {
		t.Errorf("%d reads under way, want at most %d", f.queries, probesMax)
	}
	close(f.hold)
}

func TestStatus(t *testing.T) {
	f, base := start(t, Options{})
	resp, body := do(t, "GET", base+"/v1/status", nil)
	var got Status
	if err := json.Unmarshal([]byte(body), &got); err != nil || resp.StatusCode != 200 || got.Node != "n1" || got.Groups[0].CommitIndex != 9 {
		t.Fatalf("%d %s, %v", resp.StatusCode, body, err)
	}
	f.err = errors.New("stopping")
	resp, body = do(t, "GET", base+"/v1/status", nil)
	expect(t, "failing status", resp, body, 503, problem{Outcome: "not_applied", Reason: "status_unavailable"})
}

func TestServerTakesTheLongestKey(t *testing.T) {
	f := &fake{machine: machine.New(), once: map[string]Pending{}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(New(f, f, Options{}))
	go func() { _ = s.Serve(l) }()
	defer s.Close()
	key := strings.Repeat("%ff", kv.MaxKeyBytes)
	if resp, body := do(t, "PUT", "http://"+l.Addr().String()+"/v1/kv/"+key, strings.NewReader("v")); resp.StatusCode != 200 {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	if s.ReadHeaderTimeout == 0 || s.ReadTimeout == 0 || s.WriteTimeout == 0 || s.IdleTimeout == 0 {
		t.Error("a timeout is not set")
	}
}
