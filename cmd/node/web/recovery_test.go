package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/protoraft/protoraft/cluster"
)

// rescuer is an Admin of which only Recovery is asked.
type rescuer struct {
	Admin
	file     io.Reader
	size     int64
	newest   bool
	accepted bool
	closed   bool
	err      error // of Backup
}

func (r *rescuer) Read(p []byte) (int, error) { return r.file.Read(p) }
func (r *rescuer) Close() error               { r.closed = true; return nil }

func (r *rescuer) Backup(_ context.Context, newest bool) (Backup, error) {
	if r.err != nil {
		return Backup{}, r.err
	}
	if r.newest = newest; newest && r.file == nil {
		return Backup{}, fmt.Errorf("group 1: %w: there is none yet", cluster.ErrNoSnapshot)
	}
	return Backup{ReadCloser: r, Name: "c-1-7.backup", Size: r.size}, nil
}

func (r *rescuer) ResetPeers(_ context.Context, accept bool) (PeersReset, error) {
	if r.accepted = accept; !accept {
		return PeersReset{}, &Refusal{Code: http.StatusConflict, Reason: "members_kept", Text: "acceptance of loss was not given"}
	}
	return PeersReset{Node: "n1", Term: 9, Removed: []string{"n2"}}, nil
}

func serveRecovery(t *testing.T, a Admin) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(New(nil, nil, Options{Admin: a}))
	t.Cleanup(s.Close)
	return s
}

func fetchRecovery(t *testing.T, method, url, body string) (*http.Response, string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return res, string(text), err
}

// TestBackupFails: whatever went wrong, nothing was changed by it.
func TestBackupFails(t *testing.T) {
	r := &rescuer{}
	s := serveRecovery(t, r)
	for _, c := range []struct {
		err    error
		code   int
		reason string
	}{
		{errors.New("the disk has failed"), http.StatusInternalServerError, "internal"},
		{fmt.Errorf("waiting: %w", context.DeadlineExceeded), http.StatusGatewayTimeout, "timeout"},
	} {
		r.err = c.err
		res, body, err := fetchRecovery(t, http.MethodGet, s.URL+"/v1/admin/backup", "")
		if err != nil || res.StatusCode != c.code || !strings.Contains(body, `"outcome":"not_applied","reason":"`+c.reason+`"`) {
			t.Errorf("%v: HTTP %d %s, %v; expected %d, not applied and %q", c.err, res.StatusCode, body, err, c.code, c.reason)
		}
	}
}

// A backup comes as it is, with its size; where reading it fails midway, the connection
// breaks.
func TestBackupIsStreamed(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789"), 100_000)
	r := &rescuer{file: bytes.NewReader(content), size: int64(len(content))}
	s := serveRecovery(t, r)
	res, body, err := fetchRecovery(t, http.MethodGet, s.URL+"/v1/admin/backup?newest=true&timeout=5s", "")
	s.Close() // when the handler has returned
	if err != nil || res.StatusCode != http.StatusOK || body != string(content) || res.ContentLength != r.size || !r.newest || !r.closed {
		t.Fatalf("HTTP %d, %d bytes, %v, newest %v, closed %v", res.StatusCode, len(body), err, r.newest, r.closed)
	}
	if name := res.Header.Get("Content-Disposition"); !strings.Contains(name, "c-1-7.backup") {
		t.Errorf("Content-Disposition %q", name)
	}
	r = &rescuer{file: io.MultiReader(bytes.NewReader(content[:500_000]), failing{}), size: r.size}
	s = serveRecovery(t, r)
	if _, body, err := fetchRecovery(t, http.MethodGet, s.URL+"/v1/admin/backup", ""); err == nil || len(body) >= len(content) {
		t.Errorf("%d bytes, %v: expected that the connection breaks", len(body), err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("the disk has failed") }

func TestRecoveryIsRefused(t *testing.T) {
	r := &rescuer{}
	s := serveRecovery(t, r)
	for _, c := range []struct {
		method, path, body string
		code               int
		want               string
	}{
		{"GET", "backup?newest=true", "", http.StatusConflict, "no_snapshot"},
		{"GET", "backup?newest=perhaps", "", http.StatusBadRequest, "expected true or false"},
		{"GET", "backup?timeout=0s", "", http.StatusBadRequest, "bad_timeout"},
		{"GET", "backup?oldest=true", "", http.StatusBadRequest, "expected newest, timeout or none"},
		{"POST", "backup", "{}", http.StatusMethodNotAllowed, "GET"},
		{"POST", "reset-peers", "", http.StatusConflict, "acceptance of loss"},
		{"POST", "reset-peers", `{"accept_loss":false}`, http.StatusConflict, "members_kept"},
		{"POST", "reset-peers", `{"accept":true}`, http.StatusBadRequest, "bad_body"},
		{"GET", "reset-peers", "", http.StatusMethodNotAllowed, "POST"},
	} {
		res, body, err := fetchRecovery(t, c.method, s.URL+"/v1/admin/"+c.path, c.body)
		if err != nil || res.StatusCode != c.code || !strings.Contains(body, c.want) || r.accepted {
			t.Errorf("%s %s: HTTP %d %s, %v; expected %d and %q", c.method, c.path, res.StatusCode, body, err, c.code, c.want)
		}
	}
	res, body, err := fetchRecovery(t, http.MethodPost, s.URL+"/v1/admin/reset-peers", `{"accept_loss":true}`)
	if err != nil || res.StatusCode != http.StatusOK || !strings.Contains(body, `"removed":["n2"]`) {
		t.Errorf("HTTP %d %s, %v", res.StatusCode, body, err)
	}
	none := serveRecovery(t, struct{ Admin }{})
	if res, body, _ := fetchRecovery(t, http.MethodGet, none.URL+"/v1/admin/backup", ""); res.StatusCode != http.StatusNotFound {
		t.Errorf("HTTP %d %s from a server that makes none", res.StatusCode, body)
	}
}
