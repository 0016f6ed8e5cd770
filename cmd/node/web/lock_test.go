package web

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// call sends a request with headers, given as name, value, ….
func call(t *testing.T, method, url, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var text strings.Builder
	if _, err := io.Copy(&text, resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp, text.String()
}

// step is a request and what its answer contains.
type step struct {
	method, path, body string
	headers            []string
	code               int
	want               string
}

func walk(t *testing.T, base string, steps []step) {
	t.Helper()
	for _, s := range steps {
		resp, body := call(t, s.method, base+s.path, s.body, s.headers...)
		if resp.StatusCode != s.code || !strings.Contains(body, s.want) {
			t.Errorf("%s %s %s %v: %d %s; want %d and %q", s.method, s.path, s.body, s.headers, resp.StatusCode, body, s.code, s.want)
		}
	}
}

func TestLocks(t *testing.T) {
	_, base := start(t, Options{})
	const l = "/v1/lock/a%2Fb"
	walk(t, base, []step{
		{"GET", l, "", nil, 404, `"no_such_lock"`},
		{"POST", l, `{"owner":"me","ttl_ms":60000}`, nil, 200, `"token":1}`},
		{"POST", l, `{"owner":"you","ttl_ms":60000}`, nil, 409, `"held"`},
		{"POST", l, `{"owner":"you","ttl_ms":60000,"wait_ms":60000}`, nil, 409, `"held"`},
		{"GET", l, "", nil, 200, `{"owner":"me","token":1,"left_ms":`},
		{"GET", l, "", nil, 200, `"waiting":1}`},
		{"PUT", l, `{"token":1,"ttl_ms":60000}`, nil, 200, `"applied"`},
		{"PUT", l, `{"token":2,"ttl_ms":60000}`, nil, 409, `"not_held"`},
		{"DELETE", l + "?token=2", "", nil, 409, `"not_held"`},
		{"DELETE", l, "", nil, 400, `"bad_token"`},
		{"DELETE", l + "?token=1", "", nil, 200, `"applied"`},
		{"POST", l, `{"owner":"other","ttl_ms":60000}`, nil, 409, `"held"`},
		{"POST", l, `{"owner":"you","ttl_ms":60000}`, nil, 200, `"token":9}`},
		{"POST", l, `{"owner":"you","ttl_ms":0}`, nil, 400, `a TTL of 0 ms, expected 1 to 86400000`},
		{"POST", l, `{"owner":"","ttl_ms":9}`, nil, 400, `an owner's name has 0 bytes, expected 1 to 256`},
		{"POST", l, `{"owner":"me","ttl":9}`, nil, 400, `"bad_body"`},
		{"POST", l, `{} {}`, nil, 400, `something follows the object`},
		{"POST", "/v1/lock/", `{}`, nil, 400, `"bad_name"`},
		{"PATCH", l, ``, nil, 405, `"method_not_allowed"`},
	})
}

func TestConditionsAndLifetimes(t *testing.T) {
	_, base := start(t, Options{})
	const k = "/v1/kv/k"
	walk(t, base, []step{
		{"PUT", k, "a", []string{"If-None-Match", "*"}, 200, "applied"},
		{"PUT", k, "b", []string{"If-None-Match", "*"}, 412, `"changed"`},
		{"GET", k + "?version=true", "", nil, 200, "a"},
		{"GET", k + "?version=true&consistency=stale", "", nil, 400, "bad_consistency"},
		{"GET", "/v1/kv/none?version=true", "", nil, 404, "no_such_key"},
		{"PUT", k, "c", []string{"If-Match", `"1"`}, 412, `"changed"`},
		{"PUT", k, "c", []string{"If-Match", `"x"`}, 400, `"bad_condition"`},
		{"PUT", k, "c", []string{"If-Match", `"3"`, "If-None-Match", "*"}, 400, `"bad_condition"`},
		{"PUT", k + "?ttl=x", "c", nil, 400, `"bad_ttl"`},
		{"PUT", k + "?ttl=1ns", "c", nil, 400, `"bad_ttl"`},
		{"GET", k, "", nil, 200, "a"},
		{"POST", "/v1/ids/orders?count=10", "", nil, 200, `{"first":1,"last":10,`},
		{"POST", "/v1/ids/orders", "", nil, 200, `{"first":11,"last":11,`},
		{"POST", "/v1/ids/orders?count=0", "", nil, 400, `"bad_count"`},
		{"POST", "/v1/ids/k", "", nil, 400, `not an integer`},
		{"GET", "/v1/ids/k", "", nil, 405, `"method_not_allowed"`},
	})
	resp, _ := call(t, "GET", base+k+"?version=true", "")
	tag := resp.Header.Get("ETag")
	if resp, body := call(t, "PUT", base+k, "d", "If-Match", tag); resp.StatusCode != 200 {
		t.Errorf("If-Match: %s: %d %s", tag, resp.StatusCode, body)
	}
	if resp, _ := call(t, "PUT", base+k, "e", "If-Match", tag); resp.StatusCode != 412 {
		t.Errorf("If-Match: %s again: %d, want 412", tag, resp.StatusCode)
	}
	// A key ends by itself, though nobody writes.
	if resp, body := call(t, "PUT", base+k+"?ttl=20ms", "f"); resp.StatusCode != 200 {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	for deadline := time.Now().Add(20 * time.Second); ; {
		resp, _ := call(t, "GET", base+k, "")
		if resp.StatusCode == 404 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the key is still there")
		}
	}
}
