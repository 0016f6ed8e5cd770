package web

import (
	"strings"
	"testing"
	"time"

	"github.com/protoraft/protoraft/cluster"
)

// TestConsistency: a read asks for the level that the request names.
func TestConsistency(t *testing.T) {
	f, base := start(t, Options{})
	at := base + "/v1/kv/k"
	if resp, body := do(t, "PUT", at, strings.NewReader("v")); resp.StatusCode != 200 {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	for query, want := range map[string]cluster.Consistency{
		"":                                   cluster.Linearizable,
		"?consistency=linearizable":          cluster.Linearizable,
		"?consistency=lease":                 cluster.Lease,
		"?consistency=member":                cluster.OnMember,
		"?consistency=log":                   cluster.ThroughLog,
		"?consistency=stale":                 cluster.Stale,
		"?min_index=7":                       cluster.AtLeast(7),
		"?consistency=at-least&min_index=7":  cluster.AtLeast(7),
		"?max_age=2s":                        cluster.Within(2 * time.Second),
		"?consistency=within&max_age=1500ms": cluster.Within(1500 * time.Millisecond),
		"?consistency=lease&version=true":    cluster.Lease,
	} {
		resp, body := do(t, "GET", at+query, nil)
		if resp.StatusCode != 200 || body != "v" || f.level != want || resp.Header.Get("X-Raft-Index") == "" {
			t.Errorf("%q: %d %q at %s, asked for %v, expected %v", query, resp.StatusCode, body, resp.Header.Get("X-Raft-Index"), f.level, want)
		}
	}
	f.queries = 0
	for query, says := range map[string]string{
		"?consistency=fresh":              "expected linearizable",
		"?consistency=at-least":           "min_index",
		"?consistency=within":             "max_age",
		"?min_index=":                     "expected an index",
		"?min_index=x":                    "expected an index",
		"?max_age=2":                      "expected a duration",
		"?max_age=2s&min_index=1":         "expected one of them",
		"?consistency=lease&min_index=1":  "expected those without it",
		"?consistency=stale&version=true": "version",
		"?min_index=1&version=true":       "version",
	} {
		resp, body := do(t, "GET", at+query, nil)
		expect(t, query, resp, body, 400, problem{Outcome: "not_applied", Reason: "bad_consistency"})
		if !strings.Contains(body, says) {
			t.Errorf("%q: %s does not say %q", query, body, says)
		}
	}
	if f.queries != 0 {
		t.Errorf("%d queries for requests that were refused", f.queries)
	}
}
