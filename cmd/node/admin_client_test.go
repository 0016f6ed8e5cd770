package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestAdminAnswers: whatever is at the port, the exit code says what is known.
func TestAdminAnswers(t *testing.T) {
	t.Parallel()
	says := func(code int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			_, _ = io.WriteString(w, body)
		}
	}
	hangsUp := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	for _, test := range []struct {
		what   string
		answer http.HandlerFunc
		args   string
		code   int
		want   string
	}{
		{"a web server", says(200, "<html>"), "members list", exitFailed, "not as a node does"},
		{"a web server without the page", says(404, "<html>"), "members list", exitFailed, "HTTP 404"},
		{"one that hangs up on a question", hangsUp, "members list", exitUnreachable, "EOF"},
		{"one that hangs up on a change", hangsUp, "members remove n1", exitUnknown, "is not known"},
		{"one that hangs up on a transfer", hangsUp, "transfer", exitUnknown, "is not known"},
		{"one that hangs up on a snapshot", hangsUp, "snapshot", exitUnknown, "1 of 1 nodes"},
		{"a node without a leader", says(503, `{"error":"no leader known","outcome":"not_applied","reason":"no_leader"}`), "members list", exitUnreachable, "no leader known"},
		{"a node that does not know", says(504, `{"error":"timed out","outcome":"unknown","reason":"timeout"}`), "members remove n1", exitUnknown, "members abort"},
		{"a node that refuses", says(409, `{"error":"kept","outcome":"not_applied","reason":"members_kept"}`), "members remove n1", exitFailed, "kept"},
		{"a node that wants something else", says(400, `{"error":"bad","outcome":"not_applied","reason":"bad_change"}`), "members remove n1", exitUsage, "bad"},
		{"a node elsewhere", says(403, `{"error":"this machine alone","outcome":"not_applied","reason":"forbidden"}`), "members list", exitFailed, "alone"},
		{"a follower without a leader", says(409, `{"error":"n1 does not lead","outcome":"not_applied","reason":"not_leader"}`), "transfer", exitUnreachable, "no leader"},
	} {
		s := httptest.NewServer(test.answer)
		args := append(strings.Fields(test.args), "--http", strings.TrimPrefix(s.URL, "http://"))
		var out, errs strings.Builder
		code := run(args, &out, &errs)
		if code != test.code || strings.Count(errs.String(), "\n") != 1 || !strings.Contains(errs.String(), test.want) {
			t.Errorf("%s: exit %d, %q; expected exit %d and one line that says %q", test.what, code, errs.String(), test.code, test.want)
		}
		s.Close()
	}
}

// TestAdminAsksTheNext: a node that is down is passed over, and the leader's is asked
// before one that knows of no leader, or of one of an earlier term.
func TestAdminAsksTheNext(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 10)
	node := func(id, status string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v1/status" {
				_, _ = fmt.Fprintf(w, `{"node":%q,"groups":[{"group":1,%s}]}`, id, status)
				return
			}
			asked <- id
			_, _ = io.WriteString(w, `{"index":4,"voters":[{"id":"n1","address":"127.0.0.1:7001"}],"learners":[],"removed":[]}`)
		}))
		t.Cleanup(s.Close)
		return strings.TrimPrefix(s.URL, "http://")
	}
	cutOff := node("n1", `"term":7,"leader":""`)
	late := node("n2", `"term":7,"leader":"n2"`)
	follows := node("n3", `"term":8,"leader":"n4"`)
	leads := node("n4", `"term":8,"leader":"n4"`)
	for _, test := range []struct {
		nodes []string
		want  string
	}{
		{[]string{freeAddress(t), cutOff, follows}, "n3"},
		{[]string{cutOff, late, follows, leads}, "n4"},
		{[]string{cutOff, freeAddress(t)}, "n1"},
		{[]string{leads}, "n4"},
	} {
		var out, errs strings.Builder
		code := run([]string{"members", "list", "--http", strings.Join(test.nodes, ",")}, &out, &errs)
		if code != exitOK || len(asked) != 1 || <-asked != test.want || !strings.Contains(out.String(), "n1    voter") {
			t.Errorf("expected %s to be asked: exit %d, %s%s", test.want, code, out.String(), errs.String())
		}
	}
}

// TestAdminFile: a file goes where it is to go, and one that breaks off is no whole one.
func TestAdminFile(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		answer http.HandlerFunc
		code   int
		want   string // in the file, or in the error
	}{
		{func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.RawQuery) }, exitOK, "newest=true&timeout=1m0s"},
		{func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "9")
			_, _ = io.WriteString(w, "half")
		}, exitFailed, "broke off"},
		{func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusConflict)
			_, _ = io.WriteString(w, `{"error":"there is none yet","outcome":"not_applied","reason":"no_snapshot"}`)
		}, exitFailed, "there is none yet"},
	} {
		s := httptest.NewServer(test.answer)
		var file strings.Builder
		call := adminCall{method: http.MethodGet, path: "backup", query: url.Values{"newest": {"true"}}, file: &file, timeout: time.Minute}
		err := call.at(t.Context(), strings.TrimPrefix(s.URL, "http://"))
		got := file.String()
		if err != nil {
			got = err.Error()
		}
		if exitCode(err) != test.code || !strings.Contains(got, test.want) {
			t.Errorf("exit %d, %q; expected exit %d and %q", exitCode(err), got, test.code, test.want)
		}
		s.Close()
	}
}
