package web

import (
	"net/http"
	"strings"
	"testing"

	"github.com/protoraft/protoraft/cluster"
)

func TestIdempotencyKey(t *testing.T) {
	f, base := start(t, Options{})
	for _, k := range []struct {
		key, value, now string
		code            int
	}{
		{"me/1", "a", "a", 200},
		{"me/2", "b", "b", 200},
		{"me/1", "a", "b", 200}, // not done again
		{`"me/1"`, "a", "b", 200},
		{"one", "c", "c", 200},
		{"one/1", "d", "c", 200},
		{"me/0", "e", "c", 400},
		{"me/x", "e", "c", 400},
		{"/1", "e", "c", 400},
		{strings.Repeat("n", cluster.MaxSessionIDBytes+1), "e", "c", 400},
	} {
		req, err := http.NewRequest("PUT", base+"/v1/kv/k", strings.NewReader(k.value))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Idempotency-Key", k.key)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if _, body := do(t, "GET", base+"/v1/kv/k", nil); resp.StatusCode != k.code || body != k.now {
			t.Errorf("%s: %d, the value is %q; expected %d, %q", k.key, resp.StatusCode, body, k.code, k.now)
		}
	}
	f.mu.Lock()
	f.err = &cluster.Error{Outcome: cluster.Unknown, Reason: cluster.ErrSessionExpired}
	f.mu.Unlock()
	resp, body := do(t, "DELETE", base+"/v1/kv/k", nil)
	expect(t, "expired", resp, body, http.StatusGatewayTimeout, problem{Outcome: "unknown", Reason: "session_expired"})
}
