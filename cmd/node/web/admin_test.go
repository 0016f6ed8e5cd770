package web

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/protoraft/protoraft/cluster"
	"github.com/protoraft/protoraft/cmd/node/machine"
)

// fakeAdmin remembers what it was asked for.
type fakeAdmin struct {
	asked string
	left  time.Duration // until the deadline
	err   error
}

func (a *fakeAdmin) done(ctx context.Context, what string) error {
	until, _ := ctx.Deadline()
	a.asked, a.left = what, time.Until(until)
	return a.err
}

func (a *fakeAdmin) Status(ctx context.Context) (AdminStatus, error) {
	return AdminStatus{Status: Status{Node: "n1"}, Groups: []AdminGroup{{GroupStatus: GroupStatus{Group: 1, Role: "leader"}, Membership: Members{Index: 4}}}}, a.done(ctx, "status")
}

func (a *fakeAdmin) Members(ctx context.Context) (Members, error) {
	return Members{Index: 4, Voters: []Member{{ID: "n1", Address: "127.0.0.1:1"}}, Learners: []Member{}, Removed: []string{}}, a.done(ctx, "members")
}

func (a *fakeAdmin) ChangeMembers(ctx context.Context, change MembersChange) (Members, error) {
	raw, err := json.Marshal(change)
	if err != nil {
		return Members{}, err
	}
	return Members{Index: 5}, a.done(ctx, "change "+string(raw))
}

func (a *fakeAdmin) AbortChange(ctx context.Context) (Members, error) {
	return Members{Index: 6}, a.done(ctx, "abort")
}

func (a *fakeAdmin) TransferLeadership(ctx context.Context, to string) (Leadership, error) {
	return Leadership{Leader: "n2", Term: 7}, a.done(ctx, "transfer "+to)
}

func (a *fakeAdmin) TakeSnapshot(ctx context.Context) (Snapshot, error) {
	return Snapshot{Node: "n1", Index: 8}, a.done(ctx, "snapshot")
}

func admin() (*fakeAdmin, http.Handler) {
	a, f := &fakeAdmin{}, &fake{machine: machine.New()}
	return a, New(f, f, Options{Admin: a})
}

// request is one of this machine's operator, unless it is changed.
func request(method, path, body string) *http.Request {
	r := httptest.NewRequest(method, "http://127.0.0.1:8001/v1/admin/"+path, strings.NewReader(body))
	r.RemoteAddr = "127.0.0.1:54321"
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	return r
}

func answer(h http.Handler, r *http.Request) (*http.Response, string) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result(), w.Body.String()
}

func TestAdmin(t *testing.T) {
	a, h := admin()
	for _, test := range []struct {
		method, path, body string
		asked, says        string
		within             time.Duration
	}{
		{"GET", "status", "", "status", `"groups":[{"group":1,"role":"leader",`, 30 * time.Second},
		{"GET", "members", "", "members", `{"index":4,"voters":[{"id":"n1","address":"127.0.0.1:1"}],"learners":[],"removed":[]}`, 30 * time.Second},
		{"HEAD", "members?timeout=5s", "", "members", "", 5 * time.Second},
		{"POST", "members?timeout=2m", `{"add":[{"id":"n4","address":"127.0.0.1:7004"}],"remove":["n1"],"expected_index":4}`,
			`change {"expected_index":4,"add":[{"id":"n4","address":"127.0.0.1:7004"}],"remove":["n1"]}`, `"index":5`, 2 * time.Minute},
		{"POST", "members/abort", "{}", "abort", `"index":6`, 30 * time.Second},
		{"POST", "transfer", `{"to":"n2"}`, "transfer n2", `{"leader":"n2","term":7}`, 30 * time.Second},
		{"POST", "transfer", "", "transfer ", `{"leader":"n2","term":7}`, 30 * time.Second},
		{"POST", "snapshot?timeout=1h", "{}", "snapshot", `{"node":"n1","index":8}`, time.Hour},
	} {
		a.asked = ""
		res, body := answer(h, request(test.method, test.path, test.body))
		if res.StatusCode != 200 || a.asked != test.asked || !strings.Contains(body, test.says) {
			t.Errorf("%s %s: %d %s, asked %q", test.method, test.path, res.StatusCode, body, a.asked)
		}
		if a.left > test.within || a.left < test.within-time.Minute/2 {
			t.Errorf("%s %s: %v to go, expected %v", test.method, test.path, a.left, test.within)
		}
	}
}

// TestAdminRefusals: what is not an operator's request of this machine does nothing.
func TestAdminRefusals(t *testing.T) {
	a, h := admin()
	with := func(change func(*http.Request)) *http.Request {
		r := request("POST", "snapshot", "{}")
		change(r)
		return r
	}
	header := func(name, value string) *http.Request {
		return with(func(r *http.Request) { r.Header.Set(name, value) })
	}
	for _, test := range []struct {
		r            *http.Request
		code         int
		reason, says string
	}{
		{with(func(r *http.Request) { r.RemoteAddr = "10.0.0.7:1234" }), 403, "forbidden", "10.0.0.7:1234"},
		{with(func(r *http.Request) { r.RemoteAddr = "[2001:db8::1]:1234" }), 403, "forbidden", "this machine alone"},
		{with(func(r *http.Request) { r.RemoteAddr = "@" }), 403, "forbidden", "this machine alone"},
		{with(func(r *http.Request) { r.Host = "evil.example:8001" }), 403, "forbidden", "evil.example"},
		{with(func(r *http.Request) { r.Host = "127.0.0.1.evil.example" }), 403, "forbidden", "Host"},
		{with(func(r *http.Request) { r.Host = "" }), 403, "forbidden", "Host"},
		{header("Origin", "http://evil.example"), 403, "forbidden", "Origin"},
		{header("Origin", "null"), 403, "forbidden", "Origin"},
		{header("Origin", "http://127.0.0.1:8002"), 403, "forbidden", "Origin"},
		{header("Sec-Fetch-Site", "cross-site"), 403, "forbidden", "cross-site"},
		{header("Sec-Fetch-Site", "same-site"), 403, "forbidden", "same-site"},
		{header("X-Forwarded-For", "10.0.0.7"), 403, "forbidden", "proxy"},
		{header("Forwarded", "for=10.0.0.7"), 403, "forbidden", "proxy"},
		{header("Content-Type", "text/plain"), 415, "bad_content_type", "application/json"},
		{header("Content-Type", "application/x-www-form-urlencoded"), 415, "bad_content_type", "application/json"},
		{with(func(r *http.Request) { r.Header.Del("Content-Type") }), 415, "bad_content_type", "application/json"},
		{request("POST", "members", `{"ad":[]}`), 400, "bad_body", `unknown field \"ad\"`},
		{request("POST", "members", `{"remove":"n1"}`), 400, "bad_body", "remove"},
		{request("POST", "members", `{"expected_index":-1}`), 400, "bad_body", "expected_index"},
		{request("POST", "members", `[]`), 400, "bad_body", "array"},
		{request("POST", "members", `{} {}`), 400, "bad_body", "something follows"},
		{request("POST", "members", `{"remove":`), 400, "bad_body", "EOF"},
		{request("POST", "transfer", `{"to":"n1","force":true}`), 400, "bad_body", `unknown field \"force\"`},
		{request("POST", "snapshot", `{"to":"n1"}`), 400, "bad_body", `unknown field \"to\"`},
		{request("POST", "members", `{"remove":["`+strings.Repeat("x", adminBodyMax)+`"]}`), 413, "too_large", "65536"},
		{request("POST", "snapshot?timeout=0s", "{}"), 400, "bad_timeout", "1ms"},
		{request("POST", "snapshot?timeout=2h", "{}"), 400, "bad_timeout", "1h"},
		{request("POST", "snapshot?timeout=soon", "{}"), 400, "bad_timeout", "such as 30s"},
		{request("GET", "members?group=2", ""), 400, "bad_parameter", "group"},
		{request("GET", "nothing", ""), 404, "no_such_path", "members/abort"},
	} {
		res, body := answer(h, test.r)
		expect(t, test.r.Method+" "+test.r.URL.String(), res, body, test.code, problem{Outcome: "not_applied", Reason: test.reason})
		if !strings.Contains(body, test.says) {
			t.Errorf("%s %s: %s does not say %q", test.r.Method, test.r.URL, body, test.says)
		}
	}
	for path, allowed := range map[string]string{
		"status": "GET, HEAD", "members": "GET, HEAD, POST", "members/abort": "POST", "transfer": "POST", "snapshot": "POST",
	} {
		res, body := answer(h, request("DELETE", path, ""))
		expect(t, path, res, body, 405, problem{Outcome: "not_applied", Reason: "method_not_allowed"})
		if res.Header.Get("Allow") != allowed {
			t.Errorf("%s: Allow %q, expected %q", path, res.Header.Get("Allow"), allowed)
		}
	}
	if a.asked != "" {
		t.Errorf("%q was done", a.asked)
	}
	for _, fine := range []*http.Request{
		with(func(r *http.Request) { r.Host = "localhost:8001" }),
		with(func(r *http.Request) { r.Host, r.RemoteAddr = "[::1]:8001", "[::1]:9" }),
		header("Origin", "http://127.0.0.1:8001"),
		header("Sec-Fetch-Site", "same-origin"),
		header("Content-Type", "application/json; charset=utf-8"),
	} {
		if res, body := answer(h, fine); res.StatusCode != 200 {
			t.Errorf("%v from %s to %s: %d %s", fine.Header, fine.RemoteAddr, fine.Host, res.StatusCode, body)
		}
	}
	f := &fake{machine: machine.New()}
	if res, _ := answer(New(f, f, Options{}), request("GET", "status", "")); res.StatusCode != 404 {
		t.Errorf("without an Admin: %d, expected 404", res.StatusCode)
	}
}

// TestAdminFailures: who asked learns what became of it.
func TestAdminFailures(t *testing.T) {
	a, h := admin()
	for _, test := range []struct {
		err  error
		code int
		want problem
	}{
		{&cluster.Error{Outcome: cluster.NotApplied, Reason: cluster.ErrMembersKept, Detail: "why"}, 409, problem{Outcome: "not_applied", Reason: "members_kept"}},
		{&cluster.Error{Outcome: cluster.NotApplied, Reason: cluster.ErrNoLeader}, 503, problem{Outcome: "not_applied", Reason: "no_leader"}},
		{&cluster.Error{Outcome: cluster.Unknown, Reason: cluster.ErrTimeout, Leader: "n2"}, 504, problem{Outcome: "unknown", Reason: "timeout", Leader: "n2"}},
		{fmt.Errorf("group 1: %w: x", cluster.ErrLeadershipKept), 409, problem{Outcome: "not_applied", Reason: "leadership_kept"}},
		{fmt.Errorf("group 1: %w: x", cluster.ErrNoSnapshot), 409, problem{Outcome: "not_applied", Reason: "no_snapshot"}},
		{fmt.Errorf("group 1: %w", cluster.ErrNoGroup), 503, problem{Outcome: "not_applied", Reason: "no_group"}},
		{&Refusal{Code: 409, Reason: "not_leader", Text: "n2 leads", Leader: "n2"}, 409, problem{Outcome: "not_applied", Reason: "not_leader", Leader: "n2"}},
		{context.DeadlineExceeded, 504, problem{Outcome: "unknown", Reason: "timeout"}},
		{fmt.Errorf("raft-1 has not answered: %w", context.DeadlineExceeded), 504, problem{Outcome: "unknown", Reason: "timeout"}},
		{io.ErrUnexpectedEOF, 500, problem{Outcome: "unknown", Reason: "internal"}},
	} {
		a.err = test.err
		res, body := answer(h, request("POST", "members", `{"remove":["n1"]}`))
		expect(t, test.err.Error(), res, body, test.code, test.want)
	}
}

func TestMembersChangeCheck(t *testing.T) {
	at := func(id, address string) []Member { return []Member{{ID: id, Address: address}} }
	for _, test := range []struct {
		change MembersChange
		says   string
	}{
		{MembersChange{ExpectedIndex: 3}, "nothing is to be changed"},
		{MembersChange{Add: at("", "127.0.0.1:1")}, "id"},
		{MembersChange{Add: at("a=b", "127.0.0.1:1")}, "a=b"},
		{MembersChange{AddLearners: at("n4", "127.0.0.1")}, "host:port"},
		{MembersChange{Add: at("n4", ":7004")}, "host:port"},
		{MembersChange{Add: at("n4", "127.0.0.1:0")}, "1 to 65535"},
		{MembersChange{Add: []Member{{ID: "n4", Address: "127.0.0.1:1", Priority: 1 << 31}}}, "priority 2147483648"},
		{MembersChange{Remove: []string{""}}, `member id ""`},
		{MembersChange{Promote: []string{"n 1"}}, `member id "n 1"`},
		{MembersChange{Remove: []string{"n1"}, Demote: []string{"n1"}}, "n1 appears twice"},
		{MembersChange{Add: at("n4", "127.0.0.1:1"), AddLearners: at("n4", "127.0.0.1:2")}, "n4 appears twice"},
	} {
		if got := test.change.Check(); !strings.Contains(got, test.says) || got == "" {
			t.Errorf("%+v: %q does not say %q", test.change, got, test.says)
		}
	}
	fine := MembersChange{Add: at("n4", "host:7004"), Remove: []string{"n1"}, Promote: []string{"n2"}, Demote: []string{"n3"}}
	if got := fine.Check(); got != "" {
		t.Errorf("%+v: %s", fine, got)
	}
}

// slowAdmin takes its time over a snapshot.
type slowAdmin struct {
	fakeAdmin
	takes time.Duration
}

func (a *slowAdmin) TakeSnapshot(ctx context.Context) (Snapshot, error) {
	timer := time.NewTimer(a.takes)
	defer timer.Stop()
	select {
	case <-timer.C:
		return Snapshot{Node: "n1", Index: 8}, nil
	case <-ctx.Done():
		return Snapshot{}, ctx.Err()
	}
}

// TestAdminOutlivesTheServersDeadlines: what an operator waits for may take longer than
// any other request, and no longer than was asked for.
func TestAdminOutlivesTheServersDeadlines(t *testing.T) {
	f := &fake{machine: machine.New()}
	s := httptest.NewUnstartedServer(New(f, f, Options{Admin: &slowAdmin{takes: 500 * time.Millisecond}}))
	s.Config.ReadTimeout, s.Config.WriteTimeout = 100*time.Millisecond, 100*time.Millisecond
	s.Start()
	t.Cleanup(s.Close)
	for path, want := range map[string]int{"snapshot": http.StatusOK, "snapshot?timeout=10ms": http.StatusGatewayTimeout} {
		res, err := http.Post(s.URL+"/v1/admin/"+path, "application/json", strings.NewReader("{}"))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != want {
			t.Errorf("%s: %d %s, %v, expected %d", path, res.StatusCode, body, err, want)
		}
	}
}
